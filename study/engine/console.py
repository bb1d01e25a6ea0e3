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
from study.core.ledger import Book, Event, TrialRecord
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
        with self._live_display():
            yield

    def trial_changed(self, trial: TrialRecord) -> None:
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
        done = sum(trial.is_finished for trial in self._trials())
        parts = [f"{done}/{self._stage.num_trials} trials", f"{self._num_epochs()}/{self._epochs_expected()} epochs"]
        if (left := self._seconds_left()) is not None:
            parts.append(f"about {duration(left)} left")
        return "[" + " · ".join(parts) + "]"

    def _ended(self, trial: TrialRecord) -> str:
        if trial.status == "failed":
            return f"{trial.trial_id} failed: {trial.message}"
        value = _percent(trial.value(self._stage.task.metric))
        best = self._best(trial.arm)
        if trial.status == "stopped":
            cutoff = trial.rungs[-1]["cutoff"]
            why = f" below {_percent(cutoff)}" if cutoff is not None else ""
            return f"{trial.trial_id} stopped early at epoch {trial.num_epochs}: {value}{why}; best of arm {best}"
        return f"{trial.trial_id} completed {plural(trial.num_epochs, 'epoch')}: {value}; best of arm {best}"

    def _best(self, arm: str) -> str:
        completed = [t for t in self._book.of_arm(arm) if t.status == "completed" and t.control is None]
        values = [value for t in completed if (value := t.value(self._stage.task.metric)) is not None]
        if not values:
            return "none yet"
        return _percent(max(values) if self._stage.task.mode == "max" else min(values))

    def _trials(self) -> list[TrialRecord]:
        return self._stage.trials(self._book)

    def _num_epochs(self) -> int:
        return sum(trial.num_epochs for trial in self._trials())

    def _epochs_expected(self) -> int:
        """The total epochs if every unfinished trial runs to its end, those done included."""
        full = sum(self._stage.num_epochs(arm) for arm in self._stage.arms) * self._stage.all_trials_per_arm
        over = [trial for trial in self._trials() if trial.is_finished]
        return full - sum(self._stage.num_epochs(trial.arm) - trial.num_epochs for trial in over)

    def _seconds_left(self) -> float | None:
        """Trials left × the mean time of a finished one; None until as many have finished as run at once."""
        trials = self._trials()
        over = [trial for trial in trials if trial.is_finished and trial.num_epochs]
        new_epochs = self._num_epochs() - self._num_epochs_before
        if len(over) < self._slots or not new_epochs:
            return None
        wall_per_epoch = (time.monotonic() - self._started) / new_epochs
        mean_epochs = sum(trial.num_epochs for trial in over) / len(over)
        begun = sum(trial.num_epochs for trial in trials if not trial.is_finished)
        num_over = sum(trial.is_finished for trial in trials)
        return max(0.0, ((self._stage.num_trials - num_over) * mean_epochs - begun) * wall_per_epoch)

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for name in ("arm", "completed", "stopped early", "failed", "running", "best validation"):
            table.add_column(name, justify="left" if name == "arm" else "right")
        for arm in self._stage.arms:
            trials = self._book.of_arm(arm)
            count = {s: str(sum(t.status == s for t in trials)) for s in ("completed", "stopped", "failed")}
            running = ", ".join(f"epoch {t.num_epochs}" for t in trials if t.status == "running")
            table.add_row(arm, *count.values(), running, self._best(arm))
        return Group(Text(self._done()), table)


def _percent(value: float | None) -> str:
    return "no value" if value is None else f"{100 * value:.1f} %"
