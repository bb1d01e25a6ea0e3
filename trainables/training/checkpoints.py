"""Checkpoints of a trial: tensors and plain values, each with a SHA-256 file; two are kept, nothing is unpickled."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainables.common.files import write_durably

NUM_KEPT = 2
_NO_CHECKPOINT = (
    pickle.UnpicklingError, ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError,
    OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What torch raises for bytes that are none: as many types as it has readers, each of which takes them for its own."""
_NAME = re.compile(r"epoch-(\d+)\.pt")


def write_checkpoint(directory: Path, state: dict[str, Any], *, epoch: int) -> tuple[Path, str]:
    """Write state as epoch-NNNN.pt, then its checksum, then delete all but the newest two. Returns path and SHA-256.

    The checksum is written last: a checkpoint without one is incomplete and is skipped when reading.
    """
    import torch  # slow to import, and who only removes checkpoints reads none

    directory.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    sha256 = hashlib.sha256(content).hexdigest()
    path = directory / f"epoch-{epoch:04d}.pt"
    write_durably(path, content)
    write_durably(_checksum_path(path), sha256.encode())
    _remove(_newest_first(directory)[NUM_KEPT:])
    return path, sha256


def read_newest_checkpoint(directory: Path | str) -> dict[str, Any] | None:
    """Read the newest checkpoint whose bytes match its checksum, or return None; damaged ones are skipped."""
    for path in _newest_first(Path(directory)):
        state = _read_checkpoint(path)
        if state is not None:
            return state
    return None


def forget_epochs_after(directory: Path, epoch: int) -> None:
    """Remove the checkpoints of later epochs."""
    _remove([path for path in _newest_first(directory) if _epoch(path) > epoch])


def newest_epoch(directory: Path) -> int:
    """The epoch of the newest checkpoint in the directory, intact or not; 0 if there is none."""
    newest = _newest_first(directory)
    return _epoch(newest[0]) if newest else 0


def written_checkpoint(directory: Path, *, epoch: int) -> tuple[Path, str]:
    """The path and SHA-256 that write_checkpoint returned for that epoch, from the checksum file."""
    path = _path(directory, epoch)
    return path, _checksum_path(path).read_text()


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    import torch

    try:
        content = path.read_bytes()
        expected = _checksum_path(path).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest().encode() != expected:
        return None
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except _NO_CHECKPOINT:
        return None
    return state if isinstance(state, dict) else None


def _newest_first(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted((path for path in directory.iterdir() if _NAME.fullmatch(path.name)), key=_epoch, reverse=True)


def _epoch(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    assert found
    return int(found[1])


def _remove(checkpoints: Sequence[Path]) -> None:
    for path in checkpoints:
        _checksum_path(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _path(directory: Path, epoch: int) -> Path:
    return directory / f"epoch-{epoch:04d}.pt"


def _checksum_path(path: Path) -> Path:
    return path.with_suffix(".sha256")
