"""A file of a run cut, or with a byte flipped: it is known, what can be is put right, and nothing begins anew."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from fake_run import write_run
from faults import Faults, cut_or_flip, damages
from study_cases import as_version_1, asked, epoch_events, make_stage

from study.analysis.tables import load_tables
from study.core import ledger as ledger_module
from study.core.checksums import json_bytes, write_checked
from study.core.errors import StudyError
from study.core.ledger import SESSION, Event, Ledger, finished, reopened
from study.core.ledger_files import BACKUP, COUNT, LEDGER, DamagedLedgerError
from study.core.run_dir import CHECKPOINTS, forget_unrecorded, new_run, resume_command, settings_of
from study.records.writer import write_records
from study.tasks.imbalance import ImbalanceSpec
from trainables.common.places import place_at
from trainables.training.checkpoints import newest_epoch, write_checkpoint

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

TABLES = ("trials.parquet", "epochs.parquet", "rungs.parquet", "retests.parquet", "summary.json")
NUM_EPOCHS = 30


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A run directory as a kill leaves it: the write-ahead log holds what came after the backup."""
    folder = tmp_path_factory.mktemp("killed")
    summary = json.loads((write_run(folder / "fake") / "summary.json").read_text())
    spec = ImbalanceSpec(task="imbalance", dataset="digits", output_dir=folder)
    with new_run(spec, ("run",)) as (spec, ledger):
        ledger.append(Event(kind=SESSION, payload={"command": "first"}))
        ledger.append(asked("none-0000"))
        for epoch in range(1, NUM_EPOCHS + 1):
            ledger.append(*epoch_events("none-0000", epoch, 0.5))
            if epoch == NUM_EPOCHS // 2:
                ledger.back_up()
        ledger.append(asked("focal-0000"))
        write_records(spec.run_dir, ledger.book, stages=(make_stage(),), active=True)
        write_checked(spec.run_dir, {"summary.json": json_bytes({**summary, "winners": {}})})
        shutil.copytree(spec.run_dir, folder / "killed")
    assert (folder / "killed" / f"{LEDGER}-wal").stat().st_size > 0
    return folder / "killed"


@pytest.fixture
def run_dir(killed, tmp_path) -> Path:
    return Path(shutil.copytree(killed, tmp_path / "run"))


def again(killed: Path, run_dir: Path) -> None:
    shutil.rmtree(run_dir)
    shutil.copytree(killed, run_dir)


def events_of(run_dir: Path) -> list[Event]:
    with Ledger(run_dir) as ledger:
        return list(ledger.events())


# --- the ledger


@pytest.mark.parametrize(
    ("name", "is_closed"), [(LEDGER, True), (LEDGER, False), (f"{LEDGER}-wal", False)], ids=["closed", "killed", "log"]
)
def test_a_damaged_ledger_is_known_and_what_is_lost_is_said(killed, tmp_path, faults: Faults, name, is_closed):
    whole = Path(shutil.copytree(killed, tmp_path / "whole"))
    if is_closed:
        events_of(whole)  # which closes it
    content = (whole / name).read_bytes()
    events = events_of(Path(shutil.copytree(whole, tmp_path / "copy")))
    assert len(events) == 2 + 2 * NUM_EPOCHS + 1
    run = tmp_path / "run"
    num_mended = 0
    for fault in faults.each(damages(len(content), flips=100), few=8):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(whole, run)
        (run / name).write_bytes(cut_or_flip(content, fault))
        Path(f"{run / LEDGER}-shm").unlink(missing_ok=True)
        with reopened(run) as ledger:
            found, notices = list(ledger.events()), ledger.notices
            ledger.append(finished("none-0000", "stopped"))  # it is of use
        assert found == events[: len(found)], fault
        assert len(found) >= 2 + NUM_EPOCHS, f"{fault}: less than the backup has"
        if notices:
            num_mended += 1
            lost = len(events) - len(found)
            assert (f"the last {lost} are lost" if lost else "none is lost") in notices[0], fault
            assert (run / f"{LEDGER}.damaged").exists()
        else:
            assert found == events, f"{fault}: lost in silence"
        assert events_of(run) == [*found, finished("none-0000", "stopped")]
    assert num_mended >= (3 if faults.every else 1)


def test_a_verb_that_only_reads_mends_nothing_and_names_the_one_that_does(run_dir):
    (run_dir / f"{LEDGER}-wal").write_bytes(b"")
    with pytest.raises(DamagedLedgerError, match=r"it has \d+ of the 63 events that were committed.*study\.resume"):
        Ledger(run_dir)


@pytest.mark.parametrize("has_count", [True, False])
def test_an_empty_ledger_without_a_backup_is_refused(run_dir, has_count):
    for name in (f"{LEDGER}-wal", f"{LEDGER}-shm", *(() if has_count else (COUNT,))):
        (run_dir / name).unlink()
    (run_dir / LEDGER).write_bytes(b"")
    (run_dir / BACKUP / LEDGER).unlink()
    for _ in range(2):
        with pytest.raises(StudyError, match=r"it is empty.*and it has no backup: .*run cannot go on"):
            reopened(run_dir)


def test_a_ledger_that_was_removed_comes_back_from_its_backup(run_dir):
    for name in (LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm"):
        (run_dir / name).unlink()
    assert settings_of(run_dir)["task"] == "imbalance"
    with reopened(run_dir) as ledger:
        assert ledger.book.trials["none-0000"].num_epochs == NUM_EPOCHS // 2
        [notice] = ledger.notices
    assert "the last 31 are lost" in notice  # 15 epochs of two events each, and focal-0000


def test_a_damaged_count_is_said_and_loses_nothing(killed, run_dir, faults):
    content = (run_dir / COUNT).read_bytes()
    for fault in faults.each(damages(len(content), flips=20), few=4):
        again(killed, run_dir)
        (run_dir / COUNT).write_bytes(cut_or_flip(content, fault))
        with reopened(run_dir) as ledger:
            assert len(list(ledger.events())) == 63
            assert "ledger.count was missing or damaged" in ledger.notices[0]
            ledger.append(asked("focal-0001"))
        assert reopened(run_dir).notices == []


def test_a_damaged_backup_is_replaced_by_the_next(run_dir):
    (run_dir / BACKUP / LEDGER).write_bytes(b"damaged")
    with reopened(run_dir) as ledger:
        ledger.append(finished("none-0000", "stopped"))
    (run_dir / LEDGER).write_bytes(b"")
    with reopened(run_dir) as ledger:
        assert "64 events: none is lost" in ledger.notices[0]


def test_an_event_that_is_changed_in_the_database_is_known(run_dir):
    with sqlite3.connect(run_dir / LEDGER) as connection:
        connection.execute("UPDATE events SET payload = json_set(payload, '$.val_accuracy', 0.6) WHERE seq = 9")
    with pytest.raises(DamagedLedgerError, match="event 9 is not the one that was written"):
        Ledger(run_dir)


def test_a_mend_that_is_cut_short_is_done_again(run_dir, monkeypatch):
    (run_dir / f"{LEDGER}-wal").write_bytes(b"")
    from study.core import ledger_files

    written = []

    def write(path, content):
        written.append(path)
        if len(written) == 2:
            raise KeyboardInterrupt
        path.write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr(ledger_files, "write_durably", write)
        with pytest.raises(KeyboardInterrupt):
            reopened(run_dir)
    with reopened(run_dir) as ledger:
        assert ledger.book.trials["none-0000"].num_epochs == NUM_EPOCHS // 2
        assert "the last 31 are lost" in ledger.notices[0]


def test_runs_of_before_go_on_and_get_chain_and_count(run_dir):
    events = events_of(run_dir)
    as_version_1(run_dir)
    assert events_of(run_dir) == events
    (run_dir / LEDGER).unlink()
    with pytest.raises(DamagedLedgerError, match="it is empty"):  # the count is there from the first look on
        Ledger(run_dir)


def test_a_run_of_before_whose_ledger_was_emptied_is_refused(run_dir):
    as_version_1(run_dir)
    shutil.rmtree(run_dir / BACKUP)
    (run_dir / LEDGER).write_bytes(b"")
    with pytest.raises(StudyError, match="it is empty"):
        reopened(run_dir)


def test_the_backup_follows_every_few_minutes(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(ledger_module.time, "monotonic", lambda: clock[0])
    with Ledger(tmp_path) as ledger:
        for epoch, at in enumerate((0.0, 11.0, 100.0, 180.0, 192.0), start=1):
            clock[0] = at
            ledger.append(asked(f"none-000{epoch}"))
            held = []
            if (tmp_path / BACKUP / LEDGER).exists():
                with sqlite3.connect(tmp_path / BACKUP / LEDGER) as copy:
                    held = copy.execute("SELECT count(*) FROM events").fetchall()
            assert held == {1: [], 2: [(2,)], 3: [(2,)], 4: [(2,)], 5: [(5,)]}[epoch]


# --- checkpoints that lie ahead of the ledger


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_checkpoints_that_the_ledger_does_not_lead_up_to_are_removed(tmp_path, where):
    folder = place_at(tmp_path / CHECKPOINTS if where == "here" else f"mock:///{tmp_path.name}")
    with Ledger(tmp_path) as ledger:
        for trial_id in ("none-0000", "none-0001", "none-0002"):
            ledger.append(asked(trial_id))
            for epoch in (1, 2, 3):
                ledger.append(*epoch_events(trial_id, epoch, 0.5))
        ledger.append(finished("none-0002", "completed"))
        for name in ("none-0000", "none-0001", "none-0002", "none-0003", "retest-none-0002-1000", "retest-none-0001-1"):
            for epoch in {"none-0000": (3, 4), "none-0001": (4, 5)}.get(name, (2, 3)):
                write_checkpoint(folder / name, {"epoch": epoch}, epoch=epoch)
        forget_unrecorded(folder, ledger.book)
    assert {name: newest_epoch(folder / name) for name in folder.folders()} == {
        "none-0000": 4,  # trained, and the driver died before it was recorded
        "none-0001": 4,  # 5 would leave epoch 4 unrecorded
        "none-0002": 3,
        "retest-none-0002-1000": 3,
    }


# --- settings and tables


def test_damaged_settings_are_put_right_from_their_copy(killed, run_dir, faults, capsys):
    settings = settings_of(run_dir)
    content = (run_dir / "spec.json").read_bytes()
    for fault in faults.each(damages(len(content), flips=40), few=6):
        again(killed, run_dir)
        (run_dir / "spec.json").write_bytes(cut_or_flip(content, fault))
        assert settings_of(run_dir) == settings, fault
        assert "spec.json is damaged: it is not what was written" in capsys.readouterr().err
        assert (run_dir / "spec.json").read_bytes() == content
        assert (run_dir / "spec.json.damaged").read_bytes() == cut_or_flip(content, fault)
        assert settings_of(run_dir) == settings
        assert capsys.readouterr().err == ""


def test_a_copy_of_the_settings_that_is_damaged_does_no_harm_and_both_are_refused(run_dir, capsys):
    settings = settings_of(run_dir)
    (run_dir / BACKUP / "spec.json").write_bytes(b"")
    assert settings_of(run_dir) == settings
    (run_dir / "spec.json").write_bytes(b"\xff")
    with pytest.raises(StudyError, match=r"spec\.json is damaged: it is not what was written"):
        settings_of(run_dir)


@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_is_named(killed, run_dir, faults, name):
    load_tables(run_dir)
    content = (run_dir / name).read_bytes()
    for fault in faults.each(damages(len(content), flips=30), few=3):
        again(killed, run_dir)
        (run_dir / name).write_bytes(cut_or_flip(content, fault))
        with pytest.raises(ValueError, match=rf"{name} is damaged: .*{resume_command(run_dir)} writes it again"):
            load_tables(run_dir)


def test_damaged_checksums_are_named_and_stop_no_run(killed, run_dir, faults, capsys):
    settings = settings_of(run_dir)
    content = (run_dir / "checksums.json").read_bytes()
    for fault in faults.each(damages(len(content), flips=30), few=4):
        again(killed, run_dir)
        (run_dir / "checksums.json").write_bytes(cut_or_flip(content, fault))
        if (changed := (run_dir / "checksums.json").read_text().split()) != content.decode().split():
            assert changed != content.decode().split()
            with pytest.raises(ValueError, match=r"checksums\.json is damaged"):
                load_tables(run_dir)
            assert settings_of(run_dir) == settings
            assert "checksums.json is damaged" in capsys.readouterr().err
        with Ledger(run_dir) as ledger:
            write_records(run_dir, ledger.book, stages=(make_stage(),), active=False)
        write_checked(run_dir, {"summary.json": (run_dir / "summary.json").read_bytes()})
        load_tables(run_dir)


@pytest.mark.parametrize("num_written", range(6))
def test_a_kill_between_a_table_and_the_next_leaves_no_damage(run_dir, monkeypatch, num_written):
    """checksums.json, trials, epochs, rungs, retests: killed before each of them, and after the last."""
    from study.core import checksums

    left = [num_written]

    def counted(path, content, write=checksums.write_durably):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write(path, content)

    with Ledger(run_dir) as ledger:
        for _ in range(2):  # the second time, what the first left half done is overwritten
            ledger.append(*epoch_events("focal-0000", ledger.book.trials["focal-0000"].num_epochs + 1, 0.5))
            with monkeypatch.context() as patch:
                patch.setattr(checksums, "write_durably", counted)
                left[0] = num_written
                try:
                    write_records(run_dir, ledger.book, stages=(make_stage(),), active=True)
                except KeyboardInterrupt:
                    assert num_written < 5
            load_tables(run_dir)
