"""Session: a process's work on a run directory, from its first line to its page, for studies and reproductions."""

from __future__ import annotations

import contextlib
import datetime
import errno
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from study.core.far_copy import FarCopy
from study.core.ledger import SESSION, SESSION_END, Event, Ledger
from study.core.run_dir import checkpoints_of, resume_command
from study.core.spec import RunSpec
from study.core.text import duration
from study.engine import access, signals
from study.engine.cluster import Cluster
from study.engine.console import StudyConsole
from study.engine.signals import TERMINATED, interrupted_status, raise_interrupt, signals_to
from study.records.provenance import data_lines, describe_machine, describe_versions, git_commit
from study.records.summary import State
from trainables.common.files import StorageError
from trainables.data.types import ImageDataset

STOPPED = 1  # the exit status where a disk took no more
RAY_LOST = 3  # ... where Ray was lost
NO_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class Session(ABC):
    """Opens a session in the ledger, works, and concludes with tables and page, also when it is interrupted.

    A subclass defines the work: introduce, facts, work, write, write_page, outcome.
    """

    kept = "all that was finished is kept"
    """The console's words about the work done before an interruption."""

    def __init__(self, *, spec: RunSpec, ledger: Ledger, console: StudyConsole) -> None:
        self._spec, self._ledger, self._console = spec, ledger, console
        self._run_dir = spec.run_dir
        self._checkpoints = checkpoints_of(spec)
        self._copy = FarCopy(self._run_dir, self._checkpoints) if spec.checkpoints else None
        self._concluding = threading.RLock()
        self._status: int | None = None

    def conduct(
        self, *, cluster: Cluster, slots: int, command: str, on_start: Callable[[], object] = lambda: None
    ) -> int:
        """Do the whole session. Returns the exit status. An exception of work is raised again after the conclusion.

        on_start is called when nothing stands in the session's way any more, before it is recorded.
        Raises StudyError, and records no session, if the cluster does not start.
        """
        self._ledger.on_event = self._console.recorded
        for notice in self._ledger.notices:
            self._console.insist(f"note: {notice}")
        self.introduce(slots)
        cluster.start(self._console.insist, cpus=slots * (self._spec.cpus_per_trial or 0.0))
        with signals_to(raise_interrupt):  # Ray has put a handler of its own into the place of the command's
            self._say_where(cluster)
            on_start()
            started = time.monotonic()
            self._open(cluster, command)
            if self._copy is not None:
                self._ledger.on_backup = self._copy.send
                self._ledger.back_up()
            cluster.on_loss = lambda lost: self._once(lambda: self._end_without(lost, time.monotonic() - started))
            try:
                self.write("running")
                is_interrupted = self.work(slots)
            except KeyboardInterrupt:
                is_interrupted = True
            except Exception as error:
                seconds = time.monotonic() - started
                if (refusal := _storage_error(error)) is not None:
                    return self._once(lambda: self._stop_for(refusal, seconds))
                if (lost := cluster.loss()) is not None:  # whatever Ray says of it
                    return cluster.on_loss(lost)
                self._once(lambda: self._conclude("interrupted", seconds))
                raise
            if is_interrupted and (lost := cluster.loss()) is not None:
                return cluster.on_loss(lost)
            return self._once(lambda: self._ended("interrupted" if is_interrupted else "complete", started))

    def _once(self, conclude: Callable[[], int]) -> int:
        """Conclude the session unless that was done: the watchdog may be quicker. Returns the exit status."""
        with self._concluding:
            if self._status is None:
                self._status = conclude()
                self._send_last_copy()
            return self._status

    def _send_last_copy(self) -> None:
        if self._copy is None:
            return
        self._ledger.back_up()
        self._copy.send()  # what it could not send before, too
        if (refusal := self._copy.refusal) is not None:
            self._console.insist(
                f"note: the copy of this run is not up to date: {refusal.filename} cannot be written: "
                f"{refusal.strerror}"
            )

    def write_progress(self) -> None:
        """Write the tables of a session that goes on; not over those of one that another thread has concluded."""
        with self._concluding:
            if self._status is None:
                self.write("running")

    def _ended(self, state: State, started: float) -> int:
        try:
            return self._conclude(state, time.monotonic() - started)
        except OSError as error:
            if (refusal := _storage_error(error)) is None:
                raise
            return self._stop_for(refusal, time.monotonic() - started)

    def _end_without(self, lost: str, wall_seconds: float) -> int:
        """Conclude, in any thread, when Ray is gone and the work with it. lost: what is. Returns the exit status."""
        self._ledger.seal()  # what the work still hears of its workers would come after the session's end
        self._console.end_display()
        self._console.insist(f"stopped after {duration(wall_seconds)}: {lost}")
        self._conclude("interrupted", wall_seconds)
        self._ledger.back_up()
        return TERMINATED if signals.was_terminated else RAY_LOST  # SIGTERM to all processes of the group

    def _stop_for(self, refusal: OSError, wall_seconds: float) -> int:
        """Conclude as far as the disk allows, and say what it lacks. Returns the exit status."""
        self._console.insist(
            f"stopped after {duration(wall_seconds)}: {refusal.filename} cannot be written: {refusal.strerror}; "
            f"{self.kept}"
        )
        with contextlib.suppress(OSError):
            self._end("interrupted", wall_seconds)
            self.write("interrupted")
            self._console.insist(f"report so far: {self.write_page()}")
        self._console.insist(f"continue, when it can be written: {resume_command(self._run_dir)}")
        return STOPPED

    @abstractmethod
    def introduce(self, slots: int) -> None:
        """Say what is planned, on the console."""

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """The session's entries in the ledger besides machine, versions and command."""

    @abstractmethod
    def work(self, slots: int) -> bool:
        """Do the remaining work. Returns whether it was interrupted; may raise KeyboardInterrupt instead."""

    @abstractmethod
    def write(self, state: State) -> None:
        """Write the tables and summary.json from the ledger."""

    @abstractmethod
    def write_page(self) -> Path: ...

    @abstractmethod
    def outcome(self) -> int:
        """Say and clean up what remains after completed work. Returns the exit status."""

    def result(self) -> Sequence[str]:
        """What came out of completed work, in a sentence or more, for the console."""
        return ()

    def seconds(self) -> Mapping[str, float]:
        """The durations of the parts of the work, by name."""
        return {}

    def say_data(self, dataset: ImageDataset) -> None:
        first, *notes = data_lines(dataset)
        self._console.say(first)
        for note in notes:
            self._console.insist(note)

    def _say_where(self, cluster: Cluster) -> None:
        self._console.say(f"run:  {self._run_dir}")
        if cluster.dashboard_url:
            token = "; it asks for a token: ray get-auth-token prints it" if access.token_is_on() else ""
            self._console.say(f"Ray dashboard: {cluster.dashboard_url}{token}")

    def _open(self, cluster: Cluster, command: str) -> None:
        payload = {
            "started": _now(),
            "ended": None,
            "command": command,
            "hardware": describe_machine(cpus=cluster.cpus, gpus=cluster.gpus),
            "versions": describe_versions(),
            "commit": git_commit(),
            **cluster.place,
            **self.facts(),
        }
        self._ledger.append(Event(kind=SESSION, payload=payload))

    def _end(self, state: State, wall_seconds: float) -> None:
        payload = {"ended": _now(), "state": state, **self.seconds(), "wall_seconds": wall_seconds}
        self._ledger.append(Event(kind=SESSION_END, payload=payload))

    def _conclude(self, state: State, wall_seconds: float) -> int:
        self._end(state, wall_seconds)
        self.write(state)
        page = self.write_page()
        say = self._console.insist
        if state == "interrupted":
            say(f"interrupted after {duration(wall_seconds)}; {self.kept}")
            say(f"continue: {resume_command(self._run_dir)}")
            say(f"report so far: {page}")
            return interrupted_status()
        say(f"done in {duration(wall_seconds)}")
        for line in self.result():
            say(line)
        say(f"report: {page}")
        return self.outcome()


def _storage_error(error: BaseException | None) -> OSError | None:
    """What a disk refused, among the causes of an error: a file of ours, or one of Ray's for lack of space."""
    while error is not None:
        if isinstance(error, StorageError) or (isinstance(error, OSError) and error.errno in NO_PLACE):
            return error
        error = error.__cause__ or error.__context__
    return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
