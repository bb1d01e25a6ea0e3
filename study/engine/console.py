"""Progress for people to read: a live table on a terminal, plain lines in a pipe, as much of it as they want."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from study.core.entrants import Entrant, outcomes, retested_anew
from study.core.ledger import ArmRecord, Book, Event, TrialRecord
from study.core.stage import Stage
from study.core.streams import Loudness, unfailing
from study.core.text import duration, plural
from study.engine.event_lines import event_line
from study.records.differences import first_difference

HEARTBEAT_SECONDS = 60.0


class StudyConsole:
    """Reports progress: what is done, each arm's best so far, trials stopped early, and the time left.

    loudness: how much of it; what is insisted on is always said.
    """

    def __init__(self, console: Console | None = None, *, loudness: Loudness = "usual") -> None:
        # In a notebook, rich would make a block of HTML of every line. From Python, stdout may refuse what is said.
        self._console = console or Console(highlight=False, force_jupyter=False, file=unfailing(sys.stdout))
        # FORCE_COLOR makes rich take anything for a terminal, on which it would draw the live table over and over.
        self._is_terminal = self._console.file.isatty() and not self._console.is_dumb_terminal
        self._loudness = loudness
        if self._console.width < 1:  # as COLUMNS=0 says, in which nothing would be shown
            self._console.width = 80
        self._live: Live | None = None

    def say(self, line: str) -> None:
        """Say how it goes."""
        if self._loudness != "quiet":
            self.insist(line)

    def recorded(self, event: Event) -> None:
        """Say what the ledger has just recorded, if all is to be said."""
        if self._loudness == "verbose" and (line := event_line(event)):
            self.insist(line)

    def insist(self, line: str) -> None:
        """Say what must be known: warnings, and the result."""
        # Lines are wrapped between words on a terminal, and not wrapped in a pipe.
        self._console.print(Text(line), soft_wrap=not self._is_terminal)

    def end_display(self) -> None:
        """Leave the terminal as it was, wherever the live table is drawn from."""
        if self._live is not None:
            self._live.stop()

    @contextlib.contextmanager
    def tuning(self, stage: Stage, book: Book, slots: int) -> Iterator[None]:
        """Report on a stage's trials while the block lasts. Call trial_changed after each of their events."""
        self._stage, self._book, self._slots = stage, book, slots
        self._started, self._spoke = time.monotonic(), time.monotonic()
        self._num_epochs_before = self._num_epochs()
        self._best: dict[str, float] = {}
        for trial in stage.trials(book):
            self._note_best(trial)
        with self._live_display():
            if self._live is None and len(stage.trials(book)) < stage.num_trials:
                self.say("tuning begins: a worker takes some seconds to start, then come the first epochs")
            yield

    def trial_changed(self, trial: TrialRecord) -> None:
        self._note_best(trial)
        if self._live is not None:
            self._live.update(self._table())
        if trial.is_finished:
            say = self.insist if trial.status == "failed" else self.say
            say(f"{self._done()}  {self._ended(trial)}")
            self._spoke = time.monotonic()
        elif self._live is None and time.monotonic() - self._spoke > HEARTBEAT_SECONDS:
            num_epochs = self._stage.num_epochs(trial.arm)
            self.say(f"{self._done()}  {trial.trial_id} is at epoch {trial.num_epochs} of {num_epochs}")
            self._spoke = time.monotonic()

    def retested(self, book: Book, stage: Stage, total: int, entrant: Entrant, seed: int) -> None:
        among, score = retested_anew(stage, book), stage.task.score
        num_done = sum(len(outcomes(rows, among)) for rows in (book.retests, book.retest_failures))
        done = f"retest {num_done}/{total}  {entrant.label}, seed {seed}:"
        key = entrant.trial.trial_id, seed
        if key in book.retest_failures:
            self.insist(f"{done} failed, {book.retest_failures[key]['message']}")
        else:
            self.say(f"{done} {score.replace('_', ' ')} {_percent(book.retests[key][score])}")

    def audited(self, book: Book, stage: Stage, trial: TrialRecord) -> None:
        done = f"audit {len(book.audits) + len(book.audit_failures)}/{len(book.audit_chosen)}  {trial.trial_id}"
        if trial.trial_id in book.audit_failures:
            self.insist(f"{done} failed: {book.audit_failures[trial.trial_id]}")
            return
        epochs = book.audits[trial.trial_id]
        winner = stage.winners(book, trial.of_search)[trial.arm].value(stage.task.metric)
        difference = first_difference(trial.epochs, epochs)
        again = f"; not as recorded from epoch {difference.epoch} on: {difference}" if difference else ""
        self.say(f"{done} ends at {_percent(epochs[-1][stage.task.metric])}, its winner at {_percent(winner)}{again}")

    @contextlib.contextmanager
    def _live_display(self) -> Iterator[None]:
        if not self._is_terminal or self._loudness == "quiet":
            yield
            return
        with Live(self._table(), console=self._console, refresh_per_second=4, transient=True) as self._live:
            try:
                yield
            finally:
                self._live = None

    def _done(self) -> str:
        done = f"{self._num_finished()}/{self._stage.num_trials} trials"
        parts = [done, f"{self._num_epochs()}/{self._epochs_expected()} epochs"]
        if (left := self._seconds_left()) is not None:
            parts.append(f"about {duration(left)} left")
        return "[" + " · ".join(parts) + "]"

    def _ended(self, trial: TrialRecord) -> str:
        if trial.status == "failed":
            return f"{trial.trial_id} failed: {trial.message}"
        value = _percent(trial.value(self._stage.task.metric))
        best = self._best_of(trial.arm)
        if trial.status == "stopped":
            cutoff = trial.rungs[-1]["cutoff"]
            why = f" below {_percent(cutoff)}" if cutoff is not None else ""
            return f"{trial.trial_id} stopped early at epoch {trial.num_epochs}: {value}{why}; best of arm {best}"
        return f"{trial.trial_id} completed {plural(trial.num_epochs, 'epoch')}: {value}; best of arm {best}"

    def _note_best(self, trial: TrialRecord) -> None:
        value = trial.value(self._stage.task.metric)
        if trial.status == "completed" and trial.control is None and value is not None:
            better = max if self._stage.task.mode == "max" else min
            self._best[trial.arm] = better(self._best.get(trial.arm, value), value)

    def _best_of(self, arm: str) -> str:
        return _percent(self._best[arm]) if arm in self._best else "none yet"

    def _arms(self) -> list[ArmRecord]:
        return [self._book.arms[arm] for arm in self._stage.arms]

    def _num_finished(self) -> int:
        return sum(arm.num_finished for arm in self._arms())

    def _num_epochs(self) -> int:
        return sum(arm.num_epochs for arm in self._arms())

    def _epochs_begun(self) -> int:
        """Those of the unfinished trials."""
        return sum(trial.num_epochs for arm in self._arms() for trial in arm.running.values())

    def _epochs_expected(self) -> int:
        """The total epochs if every unfinished trial runs to its end, those done included."""
        stage = self._stage
        unfinished = sum(
            stage.num_epochs(arm) * (stage.all_trials_per_arm - self._book.arms[arm].num_finished) for arm in stage.arms
        )
        return unfinished + self._num_epochs() - self._epochs_begun()

    def _seconds_left(self) -> float | None:
        """Trials left × the mean time of a finished one; None until as many have finished as run at once."""
        num_trained = sum(arm.num_trained for arm in self._arms())
        num_epochs, begun = self._num_epochs(), self._epochs_begun()
        new_epochs = num_epochs - self._num_epochs_before
        if num_trained < self._slots or not new_epochs:
            return None
        wall_per_epoch = (time.monotonic() - self._started) / new_epochs
        mean_epochs = (num_epochs - begun) / num_trained
        return max(0.0, ((self._stage.num_trials - self._num_finished()) * mean_epochs - begun) * wall_per_epoch)

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for name in ("arm", "completed", "stopped early", "failed", "running", "best validation"):
            table.add_column(name, justify="left" if name == "arm" else "right")
        for arm in self._stage.arms:
            record = self._book.arms[arm]
            counts = (str(record.num_ended[status]) for status in ("completed", "stopped", "failed"))
            running = ", ".join(f"epoch {trial.num_epochs}" for trial in record.running.values())
            table.add_row(arm, *counts, running, self._best_of(arm))
        return Group(Text(self._done()), table)


def _percent(value: float | None) -> str:
    return "no value" if value is None else f"{100 * value:.1f} %"
