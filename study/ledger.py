"""The truth of a study: an append-only table of events in SQLite, and the Book, its state, folded from them.

Every event is committed (WAL, synchronous=FULL) before the decision that rests on it takes effect. Searcher, scheduler,
console and records read the Book and nothing else, so a resumed study sees what an uninterrupted one would.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from study.errors import StudyError

LEDGER = "ledger.db"
Status = Literal["running", "completed", "stopped", "failed"]
SCHEMA_VERSION = 1

# Kinds of event, and what their payload holds:
SESSION = "session"  # versions, hardware, command: a process begins to work on the study
SESSION_END = "session_end"  # state, tune_seconds, retest_seconds
ASKED = "asked"  # arm, number, seed, params (Optuna's), hparams
EPOCH = "epoch"  # a row of epochs.parquet
CHECKPOINT = "checkpoint"  # epoch, file, sha256
RUNG = "rung"  # rung_epoch, value, cutoff, num_peers, decision
FINISHED = "finished"  # status, message
RETEST = "retest"  # a row of retests.parquet, and its epochs
RETEST_FAILED = "retest_failed"  # arm, trial_id, seed, message


@dataclass(frozen=True, kw_only=True)
class Event:
    kind: str
    trial_id: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class TrialRecord:
    """A trial as the ledger knows it."""

    trial_id: str
    arm: str
    number: int
    seed: int
    params: dict[str, Any]
    hparams: dict[str, Any]
    status: Status = "running"
    message: str | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)
    rungs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def num_epochs(self) -> int:
        return len(self.epochs)

    @property
    def is_finished(self) -> bool:
        return self.status != "running"

    def value(self, metric: str) -> float | None:
        """The metric at the trial's last epoch."""
        return self.epochs[-1][metric] if self.epochs else None


@dataclass(kw_only=True)
class Book:
    """The study's state: what its events add up to. trials are in the order in which they were asked for."""

    trials: dict[str, TrialRecord] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    retests: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)  # by arm and seed, the last one
    retest_failures: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        payload = dict(event.payload)
        trial = self.trials.get(event.trial_id) if event.trial_id else None
        if event.kind == ASKED:
            assert event.trial_id
            assert trial is None
            self.trials[event.trial_id] = TrialRecord(trial_id=event.trial_id, **payload)
        elif event.kind == EPOCH and trial:
            trial.epochs.append(payload)
        elif event.kind == RUNG and trial:
            trial.rungs.append(payload)
        elif event.kind == FINISHED and trial:
            trial.status, trial.message = payload["status"], payload.get("message")
        elif event.kind == RETEST:
            self.retests[payload["arm"], payload["seed"]] = payload
        elif event.kind == RETEST_FAILED:
            self.retest_failures[payload["arm"], payload["seed"]] = payload
        elif event.kind == SESSION:
            self.sessions.append(payload)
        elif event.kind == SESSION_END:
            self.sessions[-1].update(payload)

    def is_retested(self, trial: TrialRecord, seed: int) -> bool:
        """Whether this winner was; an earlier one of its arm, of a study that was shorter then, does not count."""
        for outcomes in (self.retests, self.retest_failures):
            if outcomes.get((trial.arm, seed), {}).get("trial_id") == trial.trial_id:
                return True
        return False

    def of_arm(self, arm: str) -> list[TrialRecord]:
        return [trial for trial in self.trials.values() if trial.arm == arm]


class Ledger:
    """Opens or makes the ledger of a run directory. book is always what the committed events add up to."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / LEDGER
        self.book = Book()
        self.num_events = 0
        self.write_seconds = 0.0
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, "
                "trial_id TEXT, payload TEXT NOT NULL)"
            )
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in {0, SCHEMA_VERSION}:  # 0: made just now
                raise StudyError(f"{self.path} is of version {version}; this program reads version {SCHEMA_VERSION}")
            self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            for event in self.events():
                self.book.apply(event)
        except sqlite3.DatabaseError as error:
            raise StudyError(f"{self.path} is not a ledger that can be read ({error})") from None

    def append(self, *events: Event) -> None:
        """Commit all events, or none; when it returns they are on disk and in the book."""
        with self._lock:
            started = time.perf_counter()
            now = time.time()
            rows = [(now, e.kind, e.trial_id, json.dumps(dict(e.payload))) for e in events]
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(
                    "INSERT INTO events (time, kind, trial_id, payload) VALUES (?, ?, ?, ?)", rows
                )
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            for event in events:
                self.book.apply(event)
            self.num_events += len(events)
            self.write_seconds += time.perf_counter() - started

    def events(self) -> Iterator[Event]:
        """All committed events, in order."""
        query = "SELECT kind, trial_id, payload FROM events ORDER BY seq"
        for kind, trial_id, payload in self._connection.execute(query):
            yield Event(kind=kind, trial_id=trial_id, payload=json.loads(payload))

    def milliseconds_per_event(self) -> float | None:
        """Mean cost of an event in this process, its commit included."""
        return 1000 * self.write_seconds / self.num_events if self.num_events else None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()


def finished(trial_id: str, status: Status, message: str | None = None) -> Event:
    return Event(kind=FINISHED, trial_id=trial_id, payload={"status": status, "message": message})
