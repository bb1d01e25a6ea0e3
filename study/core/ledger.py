"""The ledger of a run: an append-only table of events in SQLite, and the Book, the state that they add up to.

Every event is committed (synchronous=FULL) before a decision based on it takes effect. Searcher, scheduler,
console and records read only the Book and the events, so a resumed study sees what an uninterrupted one would.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import sqlite3
import tempfile
import threading
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from study.core.errors import StudyError, last_line
from study.core.extension import Extension
from study.core.fork import Fork
from study.core.ledger_files import (
    COUNT,
    LEDGER,
    VERSION,
    Count,
    CountFile,
    DamagedLedgerError,
    Row,
    add_chain,
    back_up,
    checked_rows,
    create_table,
    has_traces,
    insert,
    link,
    mend,
    read_count,
    require_intact,
)
from study.core.names import require_plain
from study.core.search import Control, Search
from trainables.common.files import StorageError, storage_error

Status = Literal["running", "completed", "stopped", "failed"]
FIRST_BACKUP_SECONDS = 10.0
BACKUP_SECONDS = 180.0
BACKUP_SHARE = 20  # with a copy elsewhere, the backup and its copy take one in so many seconds at most
PAGE_BYTES = 4096  # SQLite's own
WAL_PAGES = 100  # a log of more is put into the database: what a damaged log can lose is little

# Kinds of events, and the content of their payloads:
SESSION = "session"  # versions, hardware, command, ...: a process begins to work on the run
SESSION_END = "session_end"  # state, tune_seconds, retest_seconds
FORKED = "forked"  # a Fork: which trials of another study this one begins with
EXTENDED = "extended"  # an Extension: from here on, trials are of a larger budget
ASKED = "asked"  # arm, number, seed, params (Optuna's), hparams; search and control where it is not the plain one
EPOCH = "epoch"  # a row of epochs.parquet
CHECKPOINT = "checkpoint"  # epoch, file, sha256; of an epoch that has one
RUNG = "rung"  # rung_epoch, value, cutoff, num_peers, decision
FINISHED = "finished"  # status, message
RETEST = "retest"  # a row of retests.parquet, and its epochs; search where it is not the first one
RETEST_FAILED = "retest_failed"  # arm, trial_id, seed, message, likewise
AUDIT_CHOSEN = "audit_chosen"  # trials: the stopped ones that are to be trained to their end; num_stopped: of how many
AUDITED = "audited"  # epochs: all of a stopped trial's, trained again to its end
AUDIT_FAILED = "audit_failed"  # message


@dataclass(frozen=True, kw_only=True)
class Event:
    kind: str
    trial_id: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class TrialRecord:
    """A trial as recorded in the ledger. search, control: see Search.

    extension: how often the study had been extended when the trial was asked for.
    """

    trial_id: str
    arm: str
    number: int
    seed: int
    params: dict[str, Any]
    hparams: dict[str, Any]
    search: int = 1
    control: Control | None = None
    extension: int = 0
    status: Status = "running"
    message: str | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)
    rungs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def of_search(self) -> Search:
        return Search(number=self.search, control=self.control)

    @property
    def num_epochs(self) -> int:
        return len(self.epochs)

    @property
    def is_finished(self) -> bool:
        return self.status != "running"

    def value(self, metric: str) -> float | None:
        """The metric at the trial's last epoch; None before the first."""
        return self.epochs[-1][metric] if self.epochs else None

    @property
    def epoch_seconds(self) -> float | None:
        """What an epoch took to train, the mean over the trial's epochs; None before the first."""
        return sum(row["train_seconds"] for row in self.epochs) / len(self.epochs) if self.epochs else None


@dataclass(kw_only=True)
class ArmRecord:
    """What an arm's trials add up to, kept with every event, so that no look at a study goes over all its trials.

    trials: in the order in which they were asked for, of each search too; running: those that are not finished, by
    name; num_ended: of the finished ones, by status; num_epochs: of all trials; num_trained: the finished trials that
    have an epoch; rung_values: (search, epoch) -> the values of the trials that reached the rung at that epoch.
    """

    trials: list[TrialRecord] = field(default_factory=list)
    of_search: dict[Search, list[TrialRecord]] = field(default_factory=lambda: defaultdict(list))
    running: dict[str, TrialRecord] = field(default_factory=dict)
    num_ended: Counter[Status] = field(default_factory=Counter)
    num_epochs: int = 0
    num_trained: int = 0
    rung_values: dict[tuple[Search, int], array[float]] = field(default_factory=lambda: defaultdict(_no_values))

    @property
    def num_finished(self) -> int:
        return len(self.trials) - len(self.running)

    def asked(self, trial: TrialRecord) -> None:
        self.trials.append(trial)
        self.of_search[trial.of_search].append(trial)
        self.running[trial.trial_id] = trial

    def finished(self, trial: TrialRecord) -> None:
        if self.running.pop(trial.trial_id, None) is not None:
            self.num_ended[trial.status] += 1
            self.num_trained += bool(trial.epochs)


def _no_values() -> array[float]:
    return array("d")


@dataclass(kw_only=True)
class Book:
    """The state of a study: what its events add up to. trials: in the order in which they were asked for."""

    trials: dict[str, TrialRecord] = field(default_factory=dict)
    arms: defaultdict[str, ArmRecord] = field(default_factory=lambda: defaultdict(ArmRecord))
    sessions: list[dict[str, Any]] = field(default_factory=list)
    fork: Fork | None = None
    extensions: list[Extension] = field(default_factory=list)
    retests: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)  # by trial and seed, the latest
    retest_failures: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    audit_chosen: list[str] = field(default_factory=list)  # stopped trials, in the order in which they were drawn
    audits: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # trial -> all epochs to its end
    audit_failures: dict[str, str] = field(default_factory=dict)  # trial -> message

    def apply(self, event: Event) -> None:
        payload = dict(event.payload)
        trial = self.trials.get(event.trial_id) if event.trial_id else None
        if event.kind == ASKED:
            assert event.trial_id
            assert trial is None
            trial = TrialRecord(trial_id=event.trial_id, extension=len(self.extensions), **payload)
            self.trials[trial.trial_id] = trial
            self.arms[trial.arm].asked(trial)
        elif event.kind == EPOCH and trial:
            trial.epochs.append(payload)
            self.arms[trial.arm].num_epochs += 1
        elif event.kind == RUNG and trial:
            trial.rungs.append(payload)
            self.arms[trial.arm].rung_values[trial.of_search, payload["rung_epoch"]].append(payload["value"])
        elif event.kind == FINISHED and trial:
            trial.status, trial.message = payload["status"], payload.get("message")
            self.arms[trial.arm].finished(trial)
        elif event.kind in {RETEST, RETEST_FAILED}:
            key = payload["trial_id"], payload["seed"]
            for outcomes in (self.retests, self.retest_failures):
                outcomes.pop(key, None)
            (self.retests if event.kind == RETEST else self.retest_failures)[key] = payload
        elif event.kind == AUDIT_CHOSEN:
            self.audit_chosen += payload["trials"]
        elif event.kind == AUDITED and trial:
            self.audits[trial.trial_id] = payload["epochs"]
        elif event.kind == AUDIT_FAILED and trial:
            self.audit_failures[trial.trial_id] = payload["message"]
        elif event.kind == FORKED:
            self.fork = Fork.model_validate(payload)
        elif event.kind == EXTENDED:
            self.extensions.append(Extension.model_validate(payload))
        elif event.kind == SESSION:
            self.sessions.append(payload)
        elif event.kind == SESSION_END:
            self.sessions[-1].update(payload)

    def winners(
        self, arms: Sequence[str], metric: str, mode: str, search: Search | None = None
    ) -> dict[str, TrialRecord]:
        """The best completed trial of each arm by the metric at its last epoch; ties go to the first.

        search: that one alone; None: all of the arm's own, which the controls are not.
        """
        best: dict[str, TrialRecord] = {}
        sign = 1 if mode == "max" else -1
        for arm in arms:  # another stage's trials have another metric
            for trial in self.of_arm(arm, search):
                if trial.status != "completed" or (search is None and trial.control is not None):
                    continue
                value = trial.value(metric)
                if value is None or math.isnan(value):
                    continue
                if arm not in best or sign * value > sign * (best[arm].value(metric) or 0.0):
                    best[arm] = trial
        return best

    def retested(self, winners: Mapping[str, TrialRecord]) -> list[dict[str, Any]]:
        """The retests of these winners, by arm and seed.

        Retests of an earlier winner are left out; a study that was extended may have some.
        """
        return _of_winners(self.retests, winners)

    def failed_retests(self, winners: Mapping[str, TrialRecord]) -> list[dict[str, Any]]:
        return _of_winners(self.retest_failures, winners)

    def of_arm(self, arm: str, search: Search | None = None) -> Sequence[TrialRecord]:
        """The arm's trials, which grow with the study; search: of that one alone."""
        record = self.arms[arm]
        return record.trials if search is None else record.of_search[search]


def _of_winners(
    outcomes: Mapping[tuple[str, int], dict[str, Any]], winners: Mapping[str, TrialRecord]
) -> list[dict[str, Any]]:
    order = list(winners)
    rows = [row for row in outcomes.values() if row["arm"] in winners]
    rows = [row for row in rows if row["trial_id"] == winners[row["arm"]].trial_id]
    return sorted(rows, key=lambda row: (order.index(row["arm"]), row["seed"]))


class Ledger:
    """The ledger of a run directory, opened or created. book: always the state after the committed events.

    Raises DamagedLedgerError where an event is missing or altered: `reopened` mends it.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / LEDGER
        self.book = Book()
        self.num_events = 0
        self.write_seconds = 0.0
        self.notices: list[str] = []  # what was damaged and is put right, in sentences
        self.on_backup: Callable[[], None] | None = None  # sends the backup elsewhere; it is then made more often
        self.on_event: Callable[[Event], None] = lambda event: None  # told of each that is committed
        self._run_dir = run_dir
        self._lock = threading.Lock()
        self._writer: int | None = None  # the thread whose events alone are taken
        self._next_backup = time.monotonic() + FIRST_BACKUP_SECONDS
        self._seq = self._backed_up_seq = 0
        self._head = ""
        self._count: CountFile | None = None
        count = read_count(run_dir)  # before the rows: another process may be appending
        try:
            self._connection = _connected(self.path)
            try:
                self._open(count)
            except BaseException:
                self._connection.close()
                raise
        except (sqlite3.DatabaseError, ValueError) as error:
            if isinstance(error, StudyError):
                raise
            raise DamagedLedgerError(self.path, str(error)) from None
        self._inode = self.path.stat().st_ino

    def _open(self, count: Count | None) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version not in {0, 1, VERSION} and count is None:
            raise StudyError(f"{self.path} is of version {version}; this program reads version {VERSION}")
        if version != VERSION and count is not None:
            raise ValueError(f"it is of version {version}, was {VERSION}" if version else "it is empty")
        if version == 0:  # made just now
            if has_traces(self._run_dir):
                raise ValueError("it is empty")
            create_table(self._connection)
        elif version == 1:
            add_chain(self._connection)
        elif count is None:
            path = self._run_dir / COUNT
            self.notices.append(f"{path} was missing or damaged: whether the last events are there is not known")
        for row, head in checked_rows(self._connection):
            self._seq, _, kind, trial_id, payload = row
            self._head = head
            self._apply(Event(kind=kind, trial_id=trial_id, payload=json.loads(payload)))
        require_intact(self._connection, count)
        if not self._seq:
            self.notices.clear()
            if has_traces(self._run_dir):
                raise ValueError("it is empty")
        if version == 1:
            self._begin_count()

    def _apply(self, event: Event) -> None:
        """Bring an event that was read into the book. Raises StudyError if none of this program's is like it."""
        try:
            for name in (event.trial_id, event.payload.get("trial_id"), event.payload.get("arm")):
                if name is not None:
                    require_plain(name)
            self.book.apply(event)
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise StudyError(
                f"{self.path} holds an event that this program does not know, number {self._seq} ({event.kind!r:.50}): "
                f"{type(error).__name__}: {last_line(error)}"
            ) from error

    @property
    def _counted(self) -> Count:
        return Count(events=self._seq, head=self._head)

    def _begin_count(self) -> None:
        with contextlib.suppress(OSError):  # the events are committed: the next one tries again
            self._count = CountFile(self._run_dir, self._counted)

    def seal(self) -> None:
        """Take events of this thread alone from now on: it concludes the session while work goes on in another."""
        with self._lock:
            self._writer = threading.get_ident()

    def append(self, *events: Event) -> None:
        """Commit all events or none; on return they are on disk and in the book.

        Raises ValueError for a second trial of the same id, StorageError if the disk is full, read-only or gone,
        RuntimeError if another thread has sealed the ledger; then nothing is committed.
        """
        with self._lock:
            if self._writer not in {None, threading.get_ident()}:
                raise RuntimeError("the session is over: its ledger takes no more events of its work")
            for event in events:  # a ledger that holds a trial twice could not be opened again
                if event.kind == ASKED and event.trial_id in self.book.trials:
                    raise ValueError(f"the ledger has a trial {event.trial_id} already")
            started = time.perf_counter()
            rows = self._linked(events)
            try:
                self._commit(rows)
            except sqlite3.OperationalError as error:
                raise self._refused(error, rows) from error
            if rows:
                (self._seq, *_), self._head = rows[-1]
            if self._count is None:  # not before: one who only reads must not replace a running study's
                self._begin_count()
            else:
                self._count.write(self._counted)
            for event in events:
                self.book.apply(event)
            self.num_events += len(events)
            self.write_seconds += time.perf_counter() - started
            if time.monotonic() > self._next_backup:
                self._back_up()
            for event in events:
                self.on_event(event)

    def _commit(self, rows: Sequence[tuple[Row, str]]) -> None:
        try:
            is_there = self.path.stat().st_ino == self._inode
        except OSError as error:
            raise storage_error(error, self.path, 0) from error
        if not is_there:  # SQLite would write on into the one that is gone
            raise StorageError(errno.ESTALE, "another file has taken its place", str(self.path))
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            insert(self._connection, rows)
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.OperationalError):  # SQLite has rolled back by itself
                self._connection.execute("ROLLBACK")
            raise

    def _refused(self, error: sqlite3.OperationalError, rows: Sequence[tuple[Row, str]]) -> StorageError:
        is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        size = sum(len(row[-1]) for row, _ in rows) + 2 * PAGE_BYTES  # at least: a page of events, and one of the tree
        return storage_error(OSError(errno.ENOSPC if is_full else errno.EIO, str(error)), self.path, size)

    def _linked(self, events: Sequence[Event]) -> list[tuple[Row, str]]:
        now, head, rows = time.time(), self._head, []
        for seq, event in enumerate(events, start=self._seq + 1):
            row = (seq, now, event.kind, event.trial_id, json.dumps(dict(event.payload)))
            head = link(head, row)
            rows.append((row, head))
        return rows

    def back_up(self) -> None:
        """Write the backup, from which a damaged ledger is mended, if there is anything new to it."""
        with self._lock:
            self._back_up()

    def _back_up(self) -> None:
        started = time.monotonic()
        self._next_backup = started + BACKUP_SECONDS
        if self._backed_up_seq == self._seq:
            return
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            if self._count is not None:
                self._count.sync()
            back_up(self._connection, self._run_dir, self._head)
        except (sqlite3.Error, ValueError, OSError):
            return  # the last one stays: a study does not end for want of a copy
        self._backed_up_seq = self._seq
        if self.on_backup is not None:
            self.on_backup()
            ended = time.monotonic()
            wait = BACKUP_SHARE * (ended - started)
            self._next_backup = ended + min(BACKUP_SECONDS, max(FIRST_BACKUP_SECONDS, wait))

    def events(self, *kinds: str) -> Iterator[Event]:
        """The committed events of these kinds, in order; of all kinds, if none is given."""
        where = f"WHERE kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
        query = f"SELECT kind, trial_id, payload FROM events {where} ORDER BY seq"
        for kind, trial_id, payload in self._connection.execute(query, kinds):
            yield Event(kind=kind, trial_id=trial_id, payload=json.loads(payload))

    def milliseconds_per_event(self) -> float | None:
        """Mean cost of an event in this process, its commit included."""
        return 1000 * self.write_seconds / self.num_events if self.num_events else None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.num_events:
            self.back_up()
        if self._count is not None:
            self._count.close()
        self._connection.close()


def reopened(run_dir: Path) -> Ledger:
    """The ledger of a run that goes on, mended if it was damaged; its notices say what is lost. Raises StudyError."""
    try:
        return Ledger(run_dir)
    except DamagedLedgerError as error:
        sentence = mend(run_dir, error.damage)
    ledger = Ledger(run_dir)
    ledger.notices.append(sentence)
    return ledger


def _connected(path: Path) -> sqlite3.Connection:
    """A connection that has written: with a write-ahead log, or with a rollback journal where there can be none.

    A write-ahead log needs memory that processes share, which network file systems lack. Both journals keep every
    commit; the second one costs more, and lets nobody else read while the run goes on. Raises StudyError where the file
    system takes neither, sqlite3.DatabaseError where path is no database.
    """
    with_log = ("journal_mode=WAL", f"wal_autocheckpoint={WAL_PAGES}")
    for pragmas in (with_log, ("locking_mode=EXCLUSIVE", "journal_mode=DELETE")):
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            for pragma in (*pragmas, "synchronous=FULL"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            connection.execute("BEGIN IMMEDIATE")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            connection.execute(f"PRAGMA user_version={version}")  # a write that changes nothing
            connection.execute("COMMIT")
            return connection
        except sqlite3.OperationalError as error:
            refusal = error
            connection.close()
        except sqlite3.DatabaseError:
            connection.close()
            raise
    is_held = getattr(refusal, "sqlite_errorcode", None) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
    if not is_held and _can_write_beside(path):
        raise sqlite3.DatabaseError(str(refusal))  # it is this file
    raise StudyError(
        f"{path} cannot be written ({refusal}): the ledger needs a file system with locks and some space, such as "
        "another --output-dir on a local disk"
    )


def _can_write_beside(path: Path) -> bool:
    """Whether another database can be written in the same folder."""
    with (
        contextlib.suppress(OSError, sqlite3.Error),
        tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder,
        contextlib.closing(sqlite3.connect(Path(folder) / LEDGER, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        other.execute(f"PRAGMA user_version={VERSION}")
        other.execute("COMMIT")
        return True
    return False


def finished(trial_id: str, status: Status, message: str | None = None) -> Event:
    return Event(kind=FINISHED, trial_id=trial_id, payload={"status": status, "message": message})
