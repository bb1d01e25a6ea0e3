"""Checkpoints of a trial: tensors and plain values, each with a SHA-256 file; two are kept, nothing is unpickled."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from trainables.common.files import write_durably

NUM_KEPT = 2
_NAME = re.compile(r"epoch-(\d+)\.pt")


def write_checkpoint(directory: Path, state: dict[str, Any], *, epoch: int) -> tuple[Path, str]:
    """Write state as epoch-NNNN.pt, then its checksum, then delete all but the newest two. Returns path and SHA-256.

    The checksum is written last: a checkpoint without one is incomplete and is skipped when reading.
    """
    directory.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    sha256 = hashlib.sha256(content).hexdigest()
    path = directory / f"epoch-{epoch:04d}.pt"
    write_durably(path, content)
    write_durably(_checksum_path(path), sha256.encode())
    for old in _newest_first(directory)[NUM_KEPT:]:
        _checksum_path(old).unlink(missing_ok=True)
        old.unlink(missing_ok=True)
    return path, sha256


def read_newest_checkpoint(directory: Path | str) -> dict[str, Any] | None:
    """Read the newest checkpoint whose bytes match its checksum, or return None; damaged ones are skipped."""
    for path in _newest_first(Path(directory)):
        state = _read_checkpoint(path)
        if state is not None:
            return state
    return None


def newest_epoch(directory: Path) -> int:
    """The epoch of the newest checkpoint in the directory, intact or not; 0 if there is none."""
    newest = _newest_first(directory)
    return int(_NAME.fullmatch(newest[0].name)[1]) if newest else 0  # type: ignore[index]


def written_checkpoint(directory: Path, *, epoch: int) -> tuple[Path, str]:
    """The path and SHA-256 that write_checkpoint returned for that epoch, from the checksum file."""
    path = _path(directory, epoch)
    return path, _checksum_path(path).read_text()


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    try:
        content = path.read_bytes()
        expected = _checksum_path(path).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest().encode() != expected:
        return None
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        return None


def _newest_first(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    matches = [match for path in directory.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [directory / match[0] for match in sorted(matches, key=lambda match: int(match[1]), reverse=True)]


def _path(directory: Path, epoch: int) -> Path:
    return directory / f"epoch-{epoch:04d}.pt"


def _checksum_path(path: Path) -> Path:
    return path.with_suffix(".sha256")
