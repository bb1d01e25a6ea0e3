"""Run directories: how one is made, and its spec.json, read from wherever the directory is now."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from study.core.checksums import DamagedFileError, is_as_written, read_checked, write_checked
from study.core.errors import StudyError, last_line
from study.core.invocation import invocation
from study.core.ledger import Book, Ledger, reopened
from study.core.ledger_files import BACKUP, LEDGER
from study.core.lock import locked
from study.core.parsing import parse_json
from study.core.spec import RunSpec, Spec
from trainables.common.files import TEMPORARY, json_bytes, write_durably
from trainables.common.places import LocalPlace, Place, place_at
from trainables.training.checkpoints import forget_epochs_after

SPEC = "spec.json"
CHECKPOINTS = "checkpoints"
WEIGHTS = "weights"
"""The folder of the winners' weights, those of their retest on the first seed."""


def resume_command(run_dir: Path) -> str:
    """The command that continues the run."""
    return f"{invocation('study.resume')} {run_dir}"


def retest_folder(trial_id: str, seed: int) -> str:
    """The name of a retest's folder. The trial is in it, so that another winner does not continue from it."""
    return f"retest-{trial_id}-{seed}"


def checkpoints_of(spec: RunSpec) -> Place:
    """Where the run's checkpoints lie, each training's in a folder of its own. Raises StudyError."""
    if spec.checkpoints is None:
        return LocalPlace(spec.run_dir.resolve() / CHECKPOINTS)  # workers have other working directories
    if spec.checkpoint_folder is None:
        raise StudyError(f"{spec.run_dir / SPEC} lacks checkpoint_folder, the run's own folder at {spec.checkpoints}")
    return place_at(spec.checkpoints) / spec.checkpoint_folder


def require_checkpoints(spec: RunSpec) -> None:
    """Raise StudyError unless a file can be written, read and removed where --checkpoints says."""
    if spec.checkpoints is None:
        return
    place, name, content = place_at(spec.checkpoints), f"probe-{secrets.token_hex(8)}", secrets.token_bytes(8)
    try:
        place.write(name, content)
        is_kept = place.read(name) == content
        place.remove(name)
    except OSError as error:
        raise StudyError(
            f"--checkpoints {spec.checkpoints} cannot be used: {error.strerror or last_line(error)}"
        ) from None
    if not is_kept:
        raise StudyError(f"--checkpoints {spec.checkpoints} cannot be used: what was written is not what is read")


def forget_unrecorded(checkpoints: Place, book: Book) -> None:
    """Remove a study's checkpoints that its ledger does not lead up to, as after a loss of the last events.

    Those of trials that it does not know, and those more than an epoch ahead of it: a trial that went on from there
    would have epochs that nobody recorded. What is removed is trained again, to the same weights.
    """
    for folder in _training_folders(checkpoints):
        kind, trial_id = _kind_and_trial(folder.name)
        trial = book.trials.get(trial_id)
        if trial is None or (kind, trial.status) not in {
            ("", trial.status), ("retest", "completed"), ("audit", "stopped"),
        }:  # fmt: skip
            folder.remove_all()
        elif not kind and not trial.is_finished:
            forget_epochs_after(folder, trial.num_epochs + 1)


def remove_checkpoints(checkpoints: Place) -> None:
    """Remove the folders of all trainings; what cannot be removed stays, and so does the run's copy."""
    with contextlib.suppress(OSError):
        for folder in _training_folders(checkpoints):
            folder.remove_all()
    if checkpoints.is_near and not checkpoints.folders():
        checkpoints.remove_all()


def _training_folders(checkpoints: Place) -> list[Place]:
    return [checkpoints / name for name in checkpoints.folders() if name != BACKUP]


def _kind_and_trial(folder: str) -> tuple[str, str]:
    """('retest', 'none-0003') of 'retest-none-0003-1000'; the kind of a trial's own folder is ''."""
    if folder.startswith("retest-"):
        return "retest", folder.removeprefix("retest-").rpartition("-")[0]
    if folder.startswith("audit-"):
        return "audit", folder.removeprefix("audit-")
    return "", folder


def require_place(spec: RunSpec) -> None:
    """Raise StudyError if the run directory exists or cannot be made."""
    if spec.name is not None and _lies_there(spec.run_dir):
        raise _taken(spec.run_dir)
    _require_writable(spec.output_dir)


def existing_parent(folder: Path) -> Path:
    """The folder, or what there is of its path."""
    while not _lies_there(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _require_writable(folder: Path) -> None:
    existing = existing_parent(folder)
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
def new_run(spec: Spec, names: Iterable[str]) -> Iterator[tuple[Spec, Ledger]]:
    """Make a run directory of the first of these names that is free, locked while the block lasts.

    Yields its spec, which is in its spec.json, and its ledger. It is removed if no session has begun when an error ends
    the block. Raises StudyError.
    """
    with contextlib.ExitStack() as on_error:
        for folder in _made(spec.output_dir):
            on_error.callback(_remove_if_empty, folder)
        try:
            run_dir = first_made(spec.output_dir, names)
        except FileExistsError as error:
            raise _taken(Path(error.filename)) from None
        spec = spec.model_copy(update={"name": run_dir.name, "checkpoint_folder": _own_folder(spec, run_dir.name)})
        on_error.callback(shutil.rmtree, run_dir, ignore_errors=True)
        with locked(run_dir), Ledger(run_dir) as ledger:
            write_spec(spec)
            try:
                yield spec, ledger
            finally:
                if ledger.book.sessions:
                    on_error.pop_all()
        on_error.pop_all()


def _own_folder(spec: RunSpec, name: str) -> str | None:
    """Of runs of one name, made on several machines, each has its own."""
    return None if spec.checkpoints is None else f"{name}-{secrets.token_hex(4)}"


def is_checkpoint_folder(folder: str, name: str) -> bool:
    """Whether a folder at --checkpoints is one that a run of that name was given."""
    return re.fullmatch(re.escape(name) + "-[0-9a-f]{8}", folder) is not None


def write_spec(spec: RunSpec) -> None:
    """Write spec.json, and after it the copy from which it is put right, unless both say this already.

    Until the copy is written, checksums.json knows both what it was and what it is.
    """
    content = json_bytes(spec.model_dump(mode="json"))
    path, copy = spec.run_dir / SPEC, spec.run_dir / BACKUP / SPEC
    if all(file.is_file() and file.read_bytes() == content for file in (path, copy)):
        return
    write_checked(spec.run_dir, {SPEC: content})
    copy.parent.mkdir(exist_ok=True)
    write_durably(copy, content)


def numbered(name: str) -> Iterator[str]:
    """name, name-2, name-3, ..., for a name that nobody chose: another run may have begun in the same second."""
    yield name
    yield from (f"{name}-{number}" for number in itertools.count(2))


def first_made(output_dir: Path, names: Iterable[str]) -> Path:
    """Make the first folder of these names in output_dir that does not exist yet, and those above it.

    Raises FileExistsError if all exist, StudyError if none can be made.
    """
    _made(output_dir)
    for name in names:
        folder = output_dir / name
        try:
            folder.mkdir()  # atomic: only one of two processes can make it
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise _unwritable(output_dir, error) from None
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))


def _made(folder: Path) -> list[Path]:
    """Make a folder and those above it. Returns those that were not there, from the top. Raises StudyError."""
    new = [path for path in (*reversed(folder.parents), folder) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None
    return new


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # something else lies in it
        folder.rmdir()


@contextlib.contextmanager
def worked_on_again(run_dir: Path) -> Iterator[Ledger]:
    """The ledger of a run that goes on, locked while the block lasts, mended and swept. Raises StudyError."""
    with locked(run_dir):
        _remove_strays(run_dir)
        with reopened(run_dir) as ledger:
            yield ledger


def _remove_strays(run_dir: Path) -> None:
    """Remove the temporary files that killed processes left: nobody else writes while the directory is locked."""
    for entry in run_dir.iterdir():
        if entry.name == "ray":  # Ray's own
            continue
        for path in [entry, *(entry.rglob(".*") if entry.is_dir() else [])]:
            if TEMPORARY.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()


def task_of(run_dir: Path) -> str | None:
    """The task named in a run directory's spec.json; None if it cannot be read."""
    try:
        values = parse_json(_spec_text(run_dir))
    except (OSError, ValueError):
        return None
    return values.get("task") if isinstance(values, dict) else None


def settings_of(run_dir: Path) -> dict[str, Any]:
    """The settings in spec.json, with name and output_dir from where the run directory is now. Raises StudyError.

    A run directory may have been moved. Relative paths to the data still start at the current directory.
    """
    path = run_dir / SPEC
    if not path.is_file() or not any((folder / LEDGER).is_file() for folder in (run_dir, run_dir / BACKUP)):
        raise StudyError(f"{run_dir} is not a run directory (it lacks {SPEC} or {LEDGER})")
    try:
        values = parse_json(_spec_text(run_dir))
    except DamagedFileError as error:
        raise StudyError(str(error)) from None
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise StudyError(f"{path} is damaged: it is not a study's spec")
    # "." has no name, and a link's name is not that of the run directory.
    found = run_dir if run_dir.name and not run_dir.is_symlink() else run_dir.resolve()
    return {**values, "name": found.name, "output_dir": str(found.parent)}


def _spec_text(run_dir: Path) -> str:
    """The text of spec.json, put right from its copy where it was damaged or edited. Raises OSError, ValueError."""
    path, copy = run_dir / SPEC, run_dir / BACKUP / SPEC
    try:
        return read_checked(path).decode()
    except DamagedFileError as damage:
        content = path.read_bytes()
        kept = copy.read_bytes() if copy.is_file() else b""
        if kept == content:  # it is the checksums that are damaged
            print(f"note: {damage}; {path} is what the run began with", file=sys.stderr)
        else:
            if not is_as_written(run_dir, SPEC, kept):
                raise
            print(f"note: {damage}; what the run began with is used, from {copy}", file=sys.stderr)
            with contextlib.suppress(OSError):  # one who may only read uses the copy
                write_durably(path.with_name(f"{SPEC}.damaged"), content)
                write_durably(path, kept)
        return kept.decode()


def _unwritable(output_dir: Path, error: OSError) -> StudyError:
    return StudyError(f"--output-dir {output_dir} cannot be written to: {error.strerror}")


def _taken(run_dir: Path) -> StudyError:
    return StudyError(f"{run_dir} exists already: choose another --name, or continue it by {resume_command(run_dir)}")
