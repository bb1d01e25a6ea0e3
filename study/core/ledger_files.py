"""What makes a lost or altered event known, and mends a damaged ledger: a chain of hashes, a count beside the database,
and a backup.

Each event holds the hash of itself and of the one before, so that nothing in the middle can change. That nothing is
missing at the end is known from a file beside the database, which says how many events were committed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from study.core.errors import StudyError
from study.core.invocation import invocation
from trainables.common.files import write_durably

LEDGER = "ledger.db"
COUNT = "ledger.count"
BACKUP = "backup"
"""The folder of what a damaged file of the run is put right from."""
VERSION = 2  # 1: without the chain
TRACES = ("*.parquet", "checkpoints/*")
"""What lies in a run directory only after events were committed."""

Row = tuple[int, float, str, str | None, str]
"""seq, time, kind, trial_id, payload"""


class DamagedLedgerError(StudyError):
    """Events are missing or altered. damage: what was found, as part of a sentence."""

    def __init__(self, path: Path, damage: str) -> None:
        restores = f"{invocation('study.resume')} {path.parent} restores what can be restored"
        super().__init__(f"{path} is not a ledger that can be read ({damage}); {restores}")
        self.damage = damage


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many events were committed at least, and the chain's hash after the last of them."""

    events: int
    head: str

    @property
    def line(self) -> bytes:
        """Of one length, so that one write in place replaces it."""
        text = f"{VERSION} {self.events:12d} {self.head:64}"
        return f"{text} {_sha256(text)[:16]}\n".encode()


def read_count(run_dir: Path) -> Count | None:
    """None if there is none, as in runs of before, or none that can be read."""
    try:
        content = (run_dir / COUNT).read_bytes()
        _, events, *head, _ = content.decode("ascii").split()
        count = Count(events=int(events), head=head[0] if head else "")
    except (OSError, ValueError):
        return None
    return count if count.line == content else None


class CountFile:
    """The count, written after each commit and synced at backups alone: it survives the process for next to nothing.

    After a power cut it may say less than was committed, never more.
    """

    def __init__(self, run_dir: Path, count: Count) -> None:
        path = run_dir / COUNT
        write_durably(path, count.line)
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115

    def write(self, count: Count) -> None:
        with contextlib.suppress(OSError):  # it then says less
            self._file.seek(0)
            self._file.write(count.line)

    def sync(self) -> None:
        with contextlib.suppress(OSError):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def link(before: str, row: Row) -> str:
    """The chain's hash after this row."""
    return _sha256(before + json.dumps(row))


def create_table(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE events (seq INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, "
        "trial_id TEXT, payload TEXT NOT NULL, chain TEXT)"
    )
    connection.execute(f"PRAGMA user_version={VERSION}")


def add_chain(connection: sqlite3.Connection) -> None:
    """Bring a ledger of version 1 to this one. Raises ValueError, sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    heads = [(head, row[0]) for row, head in checked_rows(connection)]
    connection.execute("ALTER TABLE events ADD COLUMN chain TEXT")
    connection.executemany("UPDATE events SET chain = ? WHERE seq = ?", heads)
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


def insert(connection: sqlite3.Connection, rows: Iterable[tuple[Row, str]]) -> None:
    connection.executemany(
        "INSERT INTO events (seq, time, kind, trial_id, payload, chain) VALUES (?, ?, ?, ?, ?, ?)",
        ((*row, head) for row, head in rows),
    )


def checked_rows(connection: sqlite3.Connection) -> Iterator[tuple[Row, str]]:
    """The rows in order, each with the chain's hash after it. Raises ValueError, or sqlite3.Error, at the first damage.

    Of a ledger of version 1 the hashes are those that it would have.
    """
    columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(events)")}
    known = "chain" if "chain" in columns else "NULL"
    head = ""
    for *row, expected in connection.execute(
        f"SELECT seq, time, kind, trial_id, payload, {known} FROM events ORDER BY seq"
    ):
        try:
            json.loads(row[-1])
            head = link(head, tuple(row))
        except (TypeError, ValueError):  # bytes, or no JSON
            raise ValueError(f"event {row[0]} is damaged") from None
        if known == "chain" and head != expected:
            raise ValueError(f"event {row[0]} is not the one that was written")
        yield tuple(row), head


def require_intact(connection: sqlite3.Connection, count: Count | None) -> None:
    """Raise ValueError where the database's structure is damaged, or events are missing that the count knows."""
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise ValueError(" ".join(str(found).split()))
    if count is None or not count.events:
        return
    last = connection.execute("SELECT chain FROM events WHERE seq = ?", (count.events,)).fetchone()
    if last != (count.head,):
        (events,) = connection.execute("SELECT count(*) FROM events").fetchone()
        raise ValueError(f"it has {events} of the {count.events} events that were committed")


def back_up(connection: sqlite3.Connection, run_dir: Path, head: str) -> None:
    """Copy the database by SQLite's online backup, read the copy, and put it into the place of the last one.

    head: the chain's hash after the last event. Raises ValueError, sqlite3.Error or OSError, and keeps the last one.
    """
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        connection.backup(copy)
        *_, (_, found) = checked_rows(copy)
        if found != head:
            raise ValueError("the copy lacks events")
        _write_database(run_dir / BACKUP / LEDGER, copy)


def mend(run_dir: Path, damage: str) -> str:
    """Write the ledger anew with the events that its own file or its backup still has. Returns a sentence on the loss.

    The damaged files stay beside it, as *.damaged. Raises StudyError if no event is left.
    """
    path = run_dir / LEDGER
    count = read_count(run_dir)
    rows = max(_readable_rows(path), _readable_rows(run_dir / BACKUP / LEDGER), key=len)
    if not rows:
        raise StudyError(
            f"{path} is not a ledger that can be read ({damage}), and it has no backup: {run_dir} cannot go on; what "
            "lies in it is untouched"
        )
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        create_table(database)
        insert(database, rows)
        # The backup first: whenever this is cut short, the next start finds no fewer events.
        _write_database(run_dir / BACKUP / LEDGER, database)
        for ending in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{path}{ending}", f"{path}.damaged{ending}")
        for ending in ("-wal", "-shm", "-journal"):  # SQLite would put them into the new database
            Path(f"{path}{ending}").unlink(missing_ok=True)
        _write_database(path, database)
    events = len(rows)
    write_durably(run_dir / COUNT, Count(events=events, head=rows[-1][1]).line)
    lost = max(0, count.events - events) if count else None
    if lost is None:
        loss = "how many were lost is not known"
    else:
        loss = "none is lost" if not lost else f"the last {lost} are lost, and what they recorded is done again"
    return f"{path} was damaged ({damage}) and is restored with {events} events: {loss}"


def has_traces(run_dir: Path) -> bool:
    return any(next(run_dir.glob(pattern), None) for pattern in TRACES)


def _readable_rows(path: Path) -> list[tuple[Row, str]]:
    """The events before the first damage."""
    rows: list[tuple[Row, str]] = []
    if not path.is_file():
        return rows
    with contextlib.suppress(ValueError, sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as connection:
        for found in checked_rows(connection):
            rows.append(found)  # what came before the damage is kept
    return rows


def _write_database(path: Path, database: sqlite3.Connection) -> None:
    path.parent.mkdir(exist_ok=True)
    content = bytearray(database.serialize())
    content[18:20] = b"\x01\x01"  # no write-ahead log: the file is whole by itself
    write_durably(path, bytes(content))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
