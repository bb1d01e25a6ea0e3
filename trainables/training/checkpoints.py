"""Checkpoints of a trial: tensors and plain values, each with a SHA-256 file; two are kept, nothing is unpickled."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trainables.common.files import StorageError
from trainables.common.places import Place, place_at

Folder = Place | Path | str
"""Where checkpoints lie: a place, or what place_at takes for one."""
NUM_KEPT = 2
FAR_SHARE = 10
FAR_SECONDS = 20.0
"""In a place that is not near, writing checkpoints takes at most one in so many seconds of a training, and two of its
checkpoints are so far apart: of the two that are kept, one is then older than the last copy of the ledger there."""
_NO_CHECKPOINT = (
    pickle.UnpicklingError, ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError,
    OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What torch raises for bytes that are none: as many types as it has readers, each of which takes them for its own."""
_NAME = re.compile(r"epoch-(\d+)\.pt")


def write_checkpoint(folder: Folder, state: dict[str, Any], *, epoch: int) -> tuple[str, str]:
    """Write state as epoch-NNNN.pt, then its checksum, then delete all but the newest two. Returns name and SHA-256.

    The checksum is written last: a checkpoint without one is incomplete and is skipped when reading.
    """
    import torch  # slow to import, and who only removes checkpoints reads none

    place = place_at(folder)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    sha256 = hashlib.sha256(content).hexdigest()
    name = f"epoch-{epoch:04d}.pt"
    place.write(name, content)
    place.write(_checksum_name(name), sha256.encode())
    _remove(place, _newest_first(place)[NUM_KEPT:])
    return name, sha256


class CheckpointWriter:
    """Writes the checkpoints of one training: after each epoch, but in a place that is not near only every so often.

    There, the first and the last epoch have one, and of the others each for which it is time (FAR_SHARE, FAR_SECONDS).
    What a lost worker had trained since is trained again.
    """

    def __init__(self, folder: Folder, *, num_epochs: int) -> None:
        self._place, self._num_epochs = place_at(folder), num_epochs
        self._due = 0.0  # by time.monotonic()

    def write(self, state: Callable[[], dict[str, Any]], *, epoch: int) -> tuple[str, str] | None:
        """Write the checkpoint of the epoch, if it has one. Returns what write_checkpoint does. Raises OSError."""
        started = time.monotonic()
        if started < self._due and epoch < self._num_epochs:
            return None
        written = write_checkpoint(self._place, state(), epoch=epoch)
        if not self._place.is_near:
            ended = time.monotonic()
            self._due = ended + max(FAR_SECONDS, (FAR_SHARE - 1) * (ended - started))
        return written


def read_newest_checkpoint(folder: Folder) -> dict[str, Any] | None:
    """Read the newest checkpoint whose bytes match its checksum, or return None; damaged ones are skipped.

    Raises StorageError where the place cannot be reached: whether it holds one is not known then.
    """
    place = place_at(folder)
    for name in _newest_first(place):
        state = _read_checkpoint(place, name)
        if state is not None:
            return state
    return None


def forget_epochs_after(folder: Folder, epoch: int) -> None:
    """Remove the checkpoints of later epochs."""
    place = place_at(folder)
    _remove(place, [name for name in _newest_first(place) if _epoch(name) > epoch])


def newest_epoch(folder: Folder) -> int:
    """The epoch of the newest checkpoint in the folder, intact or not; 0 if there is none."""
    newest = _newest_first(place_at(folder))
    return _epoch(newest[0]) if newest else 0


def written_checkpoint(folder: Folder, *, epoch: int) -> tuple[str, str]:
    """The name and SHA-256 that write_checkpoint returned for that epoch, from the checksum file."""
    name = f"epoch-{epoch:04d}.pt"
    return name, place_at(folder).read(_checksum_name(name)).decode()


def _read_checkpoint(place: Place, name: str) -> dict[str, Any] | None:
    import torch

    try:
        content = place.read(name)
        expected = place.read(_checksum_name(name))
    except StorageError:
        raise
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest().encode() != expected:
        return None
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except _NO_CHECKPOINT:
        return None
    return state if isinstance(state, dict) else None


def _newest_first(place: Place) -> list[str]:
    return sorted((name for name in place.files() if _NAME.fullmatch(name)), key=_epoch, reverse=True)


def _epoch(name: str) -> int:
    found = _NAME.fullmatch(name)
    assert found
    return int(found[1])


def _remove(place: Place, checkpoints: Sequence[str]) -> None:
    for name in checkpoints:
        place.remove(_checksum_name(name))
        place.remove(name)


def _checksum_name(name: str) -> str:
    return name.replace(".pt", ".sha256")
