"""Where a run is kept: a place and a name of its own, a lock, and a ledger on whatever file system lies there."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import signal
import socket
import sqlite3
import time
from pathlib import Path

import pytest
from study_process import assert_one_sentence, run_here

from study.core import ledger as ledger_module
from study.core.errors import StudyError
from study.core.ledger import LEDGER, SESSION, Event, Ledger
from study.core.lock import OWNER, locked
from study.core.parsing import parse_json
from study.core.run_dir import checkpoints_of, first_made, new_run, numbered, require_checkpoints
from study.tasks.imbalance import ImbalanceSpec
from study.tasks.resolve import dated_name
from trainables.common.places import LocalPlace

BEGUN = Event(kind=SESSION, payload={"command": "first"})


def spec_in(folder: Path) -> ImbalanceSpec:
    return ImbalanceSpec(task="imbalance", dataset="digits", output_dir=folder)


# --- names


@pytest.mark.parametrize(
    "dataset",
    ["/data/" + "x" * 250, "/data/" + "猫" * 80, "a\tb", "C:\\images\\cats", "/", ".", "/data/birds/", "/data/-x"],
)
def test_a_name_that_nobody_chose_is_one_that_may_be_chosen(dataset):
    name = dated_name("imbalance", dataset)
    last = next(itertools.islice(numbered(name), 98, None))
    assert last == f"{name}-99"
    assert ImbalanceSpec(task="imbalance", name=last).name == last
    assert len(os.fsencode(f"lr-range-{last}")) < 255


def test_a_dated_name_says_task_and_data():
    assert dated_name("imbalance", "digits").startswith("imbalance-digits-20")
    assert dated_name("imbalance", "/data/birds/").startswith("imbalance-birds-20")
    assert dated_name("imbalance", "/data/" + "x" * 250).startswith("imbalance-" + "x" * 50)


def test_runs_that_begin_in_the_same_second_have_names_of_their_own(tmp_path):
    names = []
    for _ in range(3):
        with new_run(spec_in(tmp_path), numbered("it")) as (spec, ledger):
            ledger.append(BEGUN)
            names.append(spec.name)
            assert json.loads((spec.run_dir / "spec.json").read_text())["name"] == spec.name
    assert names == ["it", "it-2", "it-3"]


def test_a_name_that_was_chosen_is_taken_once(tmp_path):
    with new_run(spec_in(tmp_path), ("it",)) as (_, ledger):
        ledger.append(BEGUN)
    with (
        pytest.raises(StudyError, match="it exists already: choose another --name"),
        new_run(spec_in(tmp_path), ("it",)),
    ):
        pass
    with pytest.raises(FileExistsError):
        first_made(tmp_path, ("it",))


def test_runs_of_one_name_have_checkpoints_of_their_own_in_the_place_that_they_share(tmp_path):
    places = []
    for machine in ("a", "b"):
        spec = spec_in(tmp_path / machine).model_copy(update={"checkpoints": "s3://bucket/all?region=eu-west-1"})
        with new_run(spec, ("night",)) as (spec, _):
            kept = parse_json((spec.run_dir / "spec.json").read_text())
        assert checkpoints_of(ImbalanceSpec(**kept)) == checkpoints_of(spec)
        places.append(str(checkpoints_of(spec)))
        assert re.fullmatch(r"s3://bucket/all/night-[0-9a-f]{8}\?region=eu-west-1", places[-1])
    assert places[0] != places[1]
    spec = spec_in(tmp_path).model_copy(update={"name": "night"})
    assert checkpoints_of(spec) == LocalPlace(tmp_path.resolve() / "night" / "checkpoints")


def test_a_folder_in_spec_json_that_is_missing_or_leads_elsewhere_is_refused():
    with pytest.raises(ValueError, match="must be a plain folder name"):
        ImbalanceSpec(task="imbalance", checkpoints="file:///mnt/shared", checkpoint_folder="..")
    with pytest.raises(StudyError, match=r"spec\.json lacks checkpoint_folder"):
        checkpoints_of(ImbalanceSpec(task="imbalance", checkpoints="file:///mnt/shared", name="x"))


@pytest.mark.faults
def test_a_place_for_checkpoints_that_takes_none_is_refused_before_anything_begins(tmp_path, faults):
    (tmp_path / "file").write_text("")
    runs = tmp_path / "runs"
    refused = {
        (tmp_path / "file" / "folder").as_uri(): "Not a directory",
        "ftp://host/folder": "Unrecognized filesystem type",
    }
    words = ("imbalance", "--dataset", "digits", "--output-dir", str(runs), "--checkpoints")
    for uri in faults.each(list(refused), few=2):
        status, said, complained = run_here("study.run", *words, uri)
        assert (status, said) == (2, "")
        assert_one_sentence(complained)
        assert complained.startswith(f"error: --checkpoints {uri} cannot be used: ")
        assert refused[uri] in complained
    assert not runs.exists()


def test_what_was_tried_there_leaves_nothing(tmp_path):
    spec = spec_in(tmp_path).model_copy(update={"checkpoints": (tmp_path / "new").as_uri()})
    require_checkpoints(spec)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_name_longer_than_a_file_system_takes_is_refused():
    with pytest.raises(ValueError, match="must be at most 200 bytes long, got 300"):
        ImbalanceSpec(task="imbalance", name="猫" * 100)


# --- what is left behind


def test_a_run_in_which_no_session_began_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_run(spec_in(tmp_path / "a/b"), ("it",)):
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_a_run_in_which_one_began_stays_and_so_does_what_lay_there(tmp_path):
    (tmp_path / "a").mkdir()
    with contextlib.suppress(ZeroDivisionError), new_run(spec_in(tmp_path / "a"), ("it",)) as (_, ledger):
        ledger.append(BEGUN)
        raise ZeroDivisionError
    assert {"spec.json", LEDGER} <= set(os.listdir(tmp_path / "a/it"))
    with pytest.raises(ZeroDivisionError), new_run(spec_in(tmp_path / "a"), ("other",)):
        raise ZeroDivisionError
    assert os.listdir(tmp_path / "a") == ["it"]


# --- locks that a file system refuses


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused_in_one_sentence_and_nothing_is_left(tmp_path, monkeypatch, number):
    fcntl = pytest.importorskip("fcntl")

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StudyError, match=rf"it cannot be locked \(.*{os.strerror(number)}.*another --output-dir"):  # noqa: SIM117
        with new_run(spec_in(tmp_path / "reports"), ("it",)):
            pass
    assert os.listdir(tmp_path) == []


# --- two at once


def contend(run_dir: Path, start: int) -> str:
    """In a process of its own: try to lock when there is something to read, and say by a line how it went."""
    os.read(start, 1)
    try:
        with locked(run_dir):
            time.sleep(0.002)  # so that the other one tries meanwhile, more often than not
            return "held"
    except StudyError as error:
        return str(error)


@pytest.mark.faults
@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_of_two_processes_one_has_the_run_and_the_other_is_told_who(tmp_path, faults):
    """Each race: both are let go at once; what holds the lock is either alone or named, with host and time."""
    for _ in faults.each(range(200), few=10):
        (start, go), (output, said) = os.pipe(), os.pipe()
        children = []
        for _ in range(2):
            if (pid := os.fork()) == 0:
                try:
                    line = contend(tmp_path, start)
                    os.write(said, f"{os.getpid()} {line}\n".encode())
                finally:
                    os._exit(0)
            children.append(pid)
        os.write(go, b"12")
        for pid in children:
            os.waitpid(pid, 0)
        os.close(said)
        with os.fdopen(output) as lines:
            told = dict(line.split(" ", 1) for line in lines.read().splitlines())
        for descriptor in (start, go):
            os.close(descriptor)
        assert set(told) == {str(pid) for pid in children}
        holders = [pid for pid, line in told.items() if line == "held"]
        assert holders
        for pid, line in told.items():
            if pid not in holders:
                [other] = holders
                assert line in {
                    f"{tmp_path} is being worked on by another process",
                    f"{tmp_path} is being worked on by another process (pid {other} on {socket.gethostname()}, "
                    f"since {line[-17:-1]})",
                }
    assert not (tmp_path / OWNER).exists()


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_the_owner_is_named_and_a_dead_one_s_lock_is_taken_over(tmp_path):
    told, tell = os.pipe()
    if (pid := os.fork()) == 0:
        with locked(tmp_path):
            os.write(tell, b"1")
            time.sleep(600)
        os._exit(0)
    os.read(told, 1)
    with pytest.raises(StudyError, match=rf"by another process \(pid {pid} on .+, since 20\d\d-.*\)$"):  # noqa: SIM117
        with locked(tmp_path):
            pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert (tmp_path / OWNER).exists()  # it had no time to remove it
    with locked(tmp_path):
        assert parse_json((tmp_path / OWNER).read_text())["pid"] == os.getpid()


def test_an_owner_that_cannot_be_read_or_is_dead_is_not_named(tmp_path):
    with locked(tmp_path):
        for content in (
            "",
            "[]",
            "{",
            '{"pid": "x", "host": "h", "since": 0}',
            '{"pid": 1, "host": "h", "since": 1e300}',
        ):
            (tmp_path / OWNER).write_text(content)
            with pytest.raises(StudyError, match=r"by another process$"):  # noqa: SIM117
                with locked(tmp_path):
                    pass


# --- file systems on which SQLite has no write-ahead log


@pytest.fixture
def no_shared_memory(monkeypatch):
    """SQLite on a file system of which processes cannot share memory, by its own driver for such: vfs=unix-dotfile."""
    if os.name != "posix":
        pytest.skip("SQLite has this driver on POSIX alone")
    connect = sqlite3.connect
    monkeypatch.setattr(
        ledger_module.sqlite3,
        "connect",
        lambda path, **options: connect(f"file:{path}?vfs=unix-dotfile", uri=True, **options),
    )


def journal_mode(path: Path) -> str:
    connection = sqlite3.connect(path)
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    connection.close()
    return mode


def test_a_ledger_has_a_write_ahead_log_where_there_can_be_one(tmp_path):
    with Ledger(tmp_path):
        pass
    assert journal_mode(tmp_path / LEDGER) == "wal"


def test_a_ledger_takes_another_journal_where_there_can_be_none(tmp_path, no_shared_memory):
    with Ledger(tmp_path) as ledger:
        ledger.append(BEGUN)
    with Ledger(tmp_path) as ledger:
        assert list(ledger.events()) == [BEGUN]
        assert ledger._connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
        assert ledger._connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL


def test_a_run_begun_with_a_write_ahead_log_goes_on_without(tmp_path, request):
    """A run directory that was moved to a network file system."""
    with Ledger(tmp_path) as ledger:
        ledger.append(BEGUN)
    assert journal_mode(tmp_path / LEDGER) == "wal"
    request.getfixturevalue("no_shared_memory")
    with Ledger(tmp_path) as ledger:
        assert list(ledger.events()) == [BEGUN]
        ledger.append(BEGUN)
        assert ledger._connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete"


def test_where_sqlite_can_write_in_no_way_a_sentence_says_so_and_nothing_is_left(tmp_path, monkeypatch):
    class Refused(sqlite3.Connection):
        def execute(self, statement, *values):
            if statement.startswith("BEGIN"):
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(statement, *values)

    connect = sqlite3.connect
    monkeypatch.setattr(
        ledger_module.sqlite3, "connect", lambda path, **options: connect(path, factory=Refused, **options)
    )
    with pytest.raises(StudyError, match=r"ledger.db cannot be written \(disk I/O error\): .*another --output-dir"):  # noqa: SIM117
        with new_run(spec_in(tmp_path / "reports"), ("it",)):
            pass
    assert os.listdir(tmp_path) == []
