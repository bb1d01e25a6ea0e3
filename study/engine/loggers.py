"""--logger: a study's trials and retests handed to MLflow and Weights & Biases as they happen, at no risk to it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from study.core.entrants import Entrant, Row, former_retests, outcomes, retested_anew
from study.core.errors import last_line
from study.core.ledger import Book, TrialRecord
from study.core.stage import Stage
from study.exports import follower
from study.exports.installed import missing
from study.exports.logged import LoggedTraining, to_line
from study.exports.trainings import of_retest, of_trial
from study.records.tables import former_row, retest_row, trial_row

FOLDER = "loggers"
CATCH_UP_SECONDS = 60.0
"""How long a study waits, when all is done and shown, for loggers that are behind."""
KILL_SECONDS = 5.0
Say = Callable[[str], None]


class Loggers:
    """The loggers of a session. All methods return at once, except close."""

    def __init__(self, names: Sequence[str], *, study: str, run_dir: Path, stages: Sequence[Stage], say: Say) -> None:
        self._stages, self._stage_of = stages, {arm: stage for stage in stages for arm in stage.arms}
        self._followers = [Follower(name, study, run_dir / FOLDER, say) for name in names if missing(name) is None]
        for sentence in filter(None, map(missing, names)):  # of a run that goes on elsewhere
            say(f"note: {sentence}; the study goes on without it")

    def catch_up(self, book: Book) -> None:
        """Hand over what earlier sessions recorded: a logger takes of it what it lacks."""
        for stage in self._stages:
            for trial in stage.trials(book):
                self.trial_changed(trial)
            for entrant, row in outcomes({**book.retests, **book.retest_failures}, retested_anew(stage, book)):
                self._retested(stage, entrant, row)
        self.overtaken(book)

    def overtaken(self, book: Book) -> None:
        """Hand over the retests of what is no winner any more, as such."""
        for stage in self._stages:
            for row in former_retests(stage, book):
                self._tested(stage, book.trials[row["trial_id"]], former_row(stage, row))

    def trial_changed(self, trial: TrialRecord) -> None:
        row = trial_row(self._stage_of[trial.arm], trial, active=True)
        self._update(of_trial(row, list(trial.epochs)))

    def retested(self, book: Book, stage: Stage, entrant: Entrant, seed: int) -> None:
        key = entrant.trial.trial_id, seed
        self._retested(stage, entrant, book.retests.get(key) or book.retest_failures[key])

    def close(self) -> None:
        """Let the loggers finish, but wait no longer than CATCH_UP_SECONDS."""
        until = time.monotonic() + CATCH_UP_SECONDS
        for one in self._followers:
            one.finish()
        for one in self._followers:
            one.wait(until)

    def _retested(self, stage: Stage, entrant: Entrant, row: Row) -> None:
        self._tested(stage, entrant.trial, retest_row(stage, entrant, row))

    def _tested(self, stage: Stage, trial: TrialRecord, row: Row) -> None:
        hparams = of_trial(trial_row(stage, trial, active=True), []).hparams
        self._update(of_retest(row, row.get("epochs", []), hparams))

    def _update(self, training: LoggedTraining) -> None:
        for one in self._followers:
            one.update(training)


class Follower:
    """A logger in a process of its own, and the thread that feeds it, so that neither can hold up the study.

    What it says lies in FOLDER, beside the record of what it was given.
    """

    def __init__(self, name: str, study: str, folder: Path, say: Say) -> None:
        self._name, self._study, self._folder, self._say = name, study, folder, say
        self._waiting: dict[str, LoggedTraining] = {}  # the latest state of each training
        self._num_sent: dict[str, int] = {}  # epochs of it
        self._changed = threading.Condition()
        self._is_over = self._is_given_up = False
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._work, name=f"logger {name}", daemon=True)

    def update(self, training: LoggedTraining) -> None:
        with self._changed:
            self._waiting[training.name] = training
            self._changed.notify()
        if self._thread.ident is None:
            self._thread.start()

    def finish(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def wait(self, until: float) -> None:
        """Wait for it, by time.monotonic(); then end it. Ctrl-C ends the waiting."""
        if self._thread.ident is None:
            return
        with contextlib.suppress(KeyboardInterrupt):
            self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive() and self._process is not None:
            self._is_given_up = True
            self._process.kill()
            self._thread.join(KILL_SECONDS)

    def _work(self) -> None:
        try:
            why = self._feed()
        except Exception as error:
            why = last_line(error)
        if why is not None:
            self._say(
                f"note: {self._name} did not take everything ({why}): the study itself is unaffected; study.resume or "
                f"study.export adds what is missing; details are in {self._folder / self._name}.log"
            )

    def _feed(self) -> str | None:
        """Feed the process until all is over. Returns what went wrong."""
        self._folder.mkdir(exist_ok=True)
        log, record = self._folder / f"{self._name}.log", self._folder / f"{self._name}.jsonl"
        with log.open("w") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", follower.__name__, self._name, self._study, record, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is the study's
                env={**os.environ, "PYTHONPATH": os.pathsep.join(_search_path())},
                text=True,
            )
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError), pipe:
            while (training := self._next()) is not None:
                pipe.write(to_line(training))
                pipe.flush()
        status = self._process.wait()
        if status == 0:
            return None
        if self._is_given_up:
            return "it was still busy at the end"
        complaint = log.read_text(errors="replace")
        return last_line(complaint) if complaint.strip() else f"it ended with status {status}"

    def _next(self) -> LoggedTraining | None:
        """The next training that changed, with the epochs that are new; None when all is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_over)
            if not self._waiting:
                return None
            name = next(iter(self._waiting))
            training = self._waiting.pop(name)
        num_sent, self._num_sent[name] = self._num_sent.get(name, 0), len(training.epochs)
        return replace(training, epochs=training.epochs[num_sent:])


def _search_path() -> list[str]:
    """Where the process finds this package, and then what this process was told."""
    here = str(Path(__file__).resolve().parents[2])
    return [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
