"""The copy of a run beside checkpoints that lie elsewhere: what another machine needs to go on with it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.core.checksums import write_checked
from study.core.errors import StudyError, last_line
from study.core.ledger_files import BACKUP, LEDGER
from study.core.parsing import parse_json
from study.core.plugins import FOLDER as PLUGINS
from study.core.run_dir import SPEC, WEIGHTS, first_made, is_checkpoint_folder, resume_command
from study.core.spec import RunSpec, validated
from trainables.common.files import TEMPORARY, StorageError, json_bytes, write_durably
from trainables.common.places import Place, place_at, require_uri, split_uri


class FarCopy:
    """The copy, in the folder backup of the checkpoints' place: backup/, plugins/ and weights/ of the run directory.

    refusal: why the last files could not be sent, if they could not.
    """

    def __init__(self, run_dir: Path, checkpoints: Place) -> None:
        self._run_dir, self._place = run_dir, checkpoints / BACKUP
        self._sent: dict[Path, tuple[int, int]] = {}
        self.refusal: StorageError | None = None

    def send(self) -> None:
        """Send the files that are new or changed. A study does not end for want of a copy: nothing is raised."""
        try:
            for folder in (PLUGINS, WEIGHTS, BACKUP):  # a retest is in the ledger after its weights are kept
                for path in sorted((self._run_dir / folder).rglob("*")):
                    if path.is_file() and not TEMPORARY.fullmatch(path.name):
                        self._send(path, self._place if folder == BACKUP else self._place / folder, folder)
            self.refusal = None
        except OSError as error:
            self.refusal = error if isinstance(error, StorageError) else None

    def _send(self, path: Path, place: Place, folder: str) -> None:
        found = path.stat()
        if self._sent.get(path) == (found.st_mtime_ns, found.st_size):
            return
        for part in path.parent.relative_to(self._run_dir / folder).parts:
            place /= part
        place.write(path.name, path.read_bytes())
        self._sent[path] = found.st_mtime_ns, found.st_size


@dataclass(frozen=True, kw_only=True)
class FarRun:
    """A run's copy in a store. above: the URI of the folder of its folder; values: those of its spec.json."""

    above: str
    folder: str
    values: Mapping[str, Any]

    @property
    def uri(self) -> str:
        """The run's folder at --checkpoints."""
        return str(place_at(self.above) / self.folder)

    @property
    def task(self) -> str:
        """The task in its spec.json. Raises StudyError."""
        task = self.values.get("task")
        if not isinstance(task, str):
            raise _damaged(self.uri, "it names no task")
        return task

    def fetched(self, output_dir: Path) -> Path:
        """Make a run directory of it. Returns it. Raises StudyError."""
        copy = place_at(self.uri) / BACKUP
        with _refusals(self.uri):
            ledger = copy.read(LEDGER)
            with _made(output_dir, self.values["name"]) as run_dir:
                # Where it was found, which is not where it began if the whole folder was moved.
                spec = json_bytes({**self.values, "checkpoints": self.above, "checkpoint_folder": self.folder})
                (run_dir / BACKUP).mkdir()
                write_durably(run_dir / BACKUP / SPEC, spec)
                write_durably(run_dir / BACKUP / LEDGER, ledger)
                for name in (PLUGINS, WEIGHTS):
                    _fetch(copy / name, run_dir / name)
                write_durably(run_dir / LEDGER, ledger)
                write_checked(run_dir, {SPEC: spec})
        return run_dir


def run_at(uri: str) -> FarRun:
    """The run whose folder is URI/RUN-TOKEN, or the only run of that name at URI/RUN. Raises StudyError."""
    try:
        require_uri(uri)
        above, folder = split_uri(uri)
    except ValueError as error:
        raise StudyError(f"RUN {error}") from None
    with _refusals(uri):
        around = place_at(above)
        if SPEC not in (around / folder / BACKUP).files():
            made_of_name = [name for name in around.folders() if is_checkpoint_folder(name, folder)]
            named = sorted(name for name in made_of_name if SPEC in (around / name / BACKUP).files())
            if len(named) > 1:
                raise StudyError(f"{uri} is the name of several runs, {' and '.join(named)}: give the folder of one")
            folder = named[0] if named else folder
        values = parse_json((around / folder / BACKUP).read(SPEC).decode())
        if not isinstance(values, dict):
            raise _damaged(uri, "it is not a study's spec")
    return FarRun(above=above, folder=folder, values=values)


@contextlib.contextmanager
def _refusals(uri: str) -> Iterator[None]:
    """What may fail while the copy at the URI is read becomes a StudyError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise StudyError(f"{uri} is not the folder of a run (it lacks {BACKUP}/{SPEC} or {BACKUP}/{LEDGER})") from None
    except OSError as error:
        raise StudyError(f"{error.filename} cannot be read or written: {error.strerror}") from None
    except StudyError:
        raise
    except (LookupError, TypeError, ValueError) as error:
        raise _damaged(uri, last_line(error)) from None


def _damaged(uri: str, why: str) -> StudyError:
    return StudyError(f"{SPEC} in {place_at(uri) / BACKUP} is damaged: {why}")


@contextlib.contextmanager
def _made(output_dir: Path, name: str) -> Iterator[Path]:
    """A new run directory, which is removed if what follows fails. Raises StudyError if there is one of that name."""
    validated(RunSpec, {"task": "", "name": name})  # a path is made of it
    try:
        run_dir = first_made(output_dir, (name,))
    except FileExistsError as error:
        there = Path(error.filename)
        raise StudyError(
            f"{there} exists already: continue it by {resume_command(there)}, or fetch the copy into another folder by "
            "--output-dir"
        ) from None
    try:
        yield run_dir
    except BaseException:
        shutil.rmtree(run_dir, ignore_errors=True)
        raise


def _fetch(place: Place, folder: Path) -> None:
    for name in place.files():
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / name, place.read(name))
    for name in place.folders():
        _fetch(place / name, folder / name)
