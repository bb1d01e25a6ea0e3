"""Run directories: how one is made and locked, and its spec.json, read from wherever the directory is now."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from study.core.errors import StudyError
from study.core.ledger import LEDGER
from study.core.parsing import parse_json
from study.core.spec import RunSpec
from trainables.common.files import write_json

SPEC = "spec.json"
LOCK = ".lock"
CHECKPOINTS = "checkpoints"


def resume_command(run_dir: Path) -> str:
    """The command that continues the run."""
    return f"python -m study.resume {run_dir}"


def require_place(spec: RunSpec) -> None:
    """Raise StudyError if the run directory exists or cannot be made."""
    if spec.name is not None and _lies_there(spec.run_dir):
        raise _taken(spec.run_dir)
    _require_writable(spec.output_dir)


def _require_writable(folder: Path) -> None:
    existing = folder
    while not _lies_there(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise StudyError(f"--output-dir {folder} cannot be made: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise StudyError(f"--output-dir {folder} cannot be written to")


def _lies_there(path: Path) -> bool:
    """Whether there is anything of that name, be it a link to nothing, in whose place no folder can be made."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


@contextlib.contextmanager
def new_run(spec: RunSpec) -> Iterator[None]:
    """Make the run directory, locked while the block lasts, with its spec.json. Raises StudyError."""
    try:
        spec.output_dir.mkdir(parents=True, exist_ok=True)
        spec.run_dir.mkdir()  # atomic: only one of two processes can make it
    except FileExistsError:
        raise _taken(spec.run_dir) from None
    except OSError as error:
        raise StudyError(f"--output-dir {spec.output_dir} cannot be written to: {error.strerror}") from None
    with locked(spec.run_dir):
        write_json(spec.run_dir / SPEC, spec.model_dump(mode="json"))
        yield


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Lock the run directory while the block lasts. Raises StudyError if another process works on it."""
    lock = filelock.FileLock(run_dir / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise StudyError(f"{run_dir} is being worked on by another process") from None
    try:
        yield
    finally:
        lock.release()


def task_of(run_dir: Path) -> str | None:
    """The task named in a run directory's spec.json; None if it cannot be read."""
    try:
        values = parse_json((run_dir / SPEC).read_text())
    except (OSError, ValueError):
        return None
    return values.get("task") if isinstance(values, dict) else None


def settings_of(run_dir: Path) -> dict[str, Any]:
    """The settings in spec.json, with name and output_dir from where the run directory is now. Raises StudyError.

    A run directory may have been moved. Relative paths to the data still start at the current directory.
    """
    path = run_dir / SPEC
    if not path.is_file() or not (run_dir / LEDGER).is_file():
        raise StudyError(f"{run_dir} is not a run directory (it lacks {SPEC} or {LEDGER})")
    try:
        values = parse_json(path.read_text())
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise StudyError(f"{path} is damaged: it is not a study's spec")
    # "." has no name, and a link's name is not that of the run directory.
    found = run_dir if run_dir.name and not run_dir.is_symlink() else run_dir.resolve()
    return {**values, "name": found.name, "output_dir": str(found.parent)}


def _taken(run_dir: Path) -> StudyError:
    return StudyError(f"{run_dir} exists already: choose another --name, or continue it by {resume_command(run_dir)}")
