"""A disk that is full, read-only or gone: what is recorded stays, a sentence says what lacks, and a resume goes on."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_session import conducted
from fake_tune import Machine
from faults import Faults
from study_cases import METRIC, asked, epoch_events

from study.cli import run_main
from study.core.ledger import SESSION, Event, Ledger, reopened
from trainables.common.files import StorageError, write_durably
from trainables.tasks.imbalance import IMBALANCE
from trainables.training.checkpoints import CheckpointWriter
from trainables.worker import trainable_class

pytestmark = pytest.mark.faults
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 1 MB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def record_until_refused(ledger: Ledger) -> None:
    for epoch in range(ledger.book.trials["none-0000"].num_epochs + 1, 1000):
        ledger.append(*epoch_events("none-0000", epoch, 0.5))


def fill(folder: Path, *, but: int = 0) -> Path:
    """Leave so many bytes free."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    os.truncate(filler, max(0, filler.stat().st_size - but))
    return filler


def test_the_bytes_that_are_missing_are_said_and_the_old_file_stays(small_disk, faults: Faults):
    path = small_disk / "table"
    write_durably(path, b"old")
    fill(small_disk, but=8192)
    for size in faults.each([20_000, 100_000]):
        with pytest.raises(StorageError) as raised:
            write_durably(path, bytes(size))
        missing = size - 8192
        assert raised.value.strerror == (
            f"No space left on device ({size:,} bytes to write, 8,192 free: {missing:,} missing)"
        )
        assert raised.value.filename == str(path)
        assert path.read_bytes() == b"old"
        assert sorted(os.listdir(small_disk)) == ["filler", "table"]
    write_durably(path, b"new")
    again = pickle.loads(pickle.dumps(raised.value))  # a worker's errors travel
    assert (type(again), str(again)) == (StorageError, str(raised.value))


def test_a_ledger_on_a_full_disk_keeps_what_it_acknowledged_and_goes_on(small_disk, faults):
    for _ in faults.each([small_disk]):
        with Ledger(small_disk) as ledger:
            ledger.append(asked("none-0000"))
            filler = fill(small_disk, but=40_000)
            with pytest.raises(StorageError, match=r"database or disk is full \(.* bytes to write, .* missing\)"):
                record_until_refused(ledger)
            with pytest.raises(StorageError):
                record_until_refused(ledger)
            acknowledged = ledger.book.trials["none-0000"].num_epochs
        filler.unlink()
        with reopened(small_disk) as ledger:
            assert ledger.notices == []
            assert ledger.book.trials["none-0000"].num_epochs == acknowledged
            ledger.append(asked("none-0001"))


def test_a_ledger_that_may_grow_no_more_says_so(tmp_path, faults):
    """The same without a mount: SQLite's own limit."""
    for _ in faults.each([tmp_path]):
        with Ledger(tmp_path) as ledger:
            ledger.append(asked("none-0000"))
            ledger._connection.execute("PRAGMA max_page_count=2")
            with pytest.raises(StorageError, match="database or disk is full"):
                record_until_refused(ledger)
            epochs = ledger.book.trials["none-0000"].num_epochs
            ledger._connection.execute("PRAGMA max_page_count=1000")
            ledger.append(*epoch_events("none-0000", epochs + 1, 0.5))
    assert reopened(tmp_path).book.trials["none-0000"].num_epochs == epochs + 1


@pytest.mark.parametrize("gone", ["file", "folder", "replaced"])
def test_events_are_not_written_into_a_file_that_is_gone(tmp_path, faults, gone):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    for _ in faults.each([gone]):
        with Ledger(run_dir) as ledger:
            ledger.append(asked("none-0000"))
            shutil.rmtree(run_dir)
            if gone != "folder":
                run_dir.mkdir()
            if gone == "replaced":
                (run_dir / "ledger.db").write_bytes(b"another")
            with pytest.raises(StorageError, match=r"No such file or directory|another file has taken its place"):
                ledger.append(asked("none-0001"))
            assert list(ledger.book.trials) == ["none-0000"]


# --- trials


def test_when_a_checkpoint_cannot_be_written_all_trials_end_as_they_are_and_go_on_later(tmp_path, monkeypatch, faults):
    refusal = [errno.ENOSPC, "No space left on device (90 bytes missing)", "/disk/epoch-0002.pt"]
    for _ in faults.each([refusal]):
        machine = Machine(
            tmp_path, unwritten=lambda trial_id, epoch: trial_id == "none-0001" and epoch == 2 and refusal
        )
        with pytest.raises(StorageError, match="90 bytes missing"):
            machine.run(monkeypatch, slots=2)
        assert machine.statuses == ["completed", "running"]
        assert machine.ledger.book.trials["none-0001"].num_epochs == 1
        machine.unwritten = lambda *_: None
        assert machine.run(monkeypatch, slots=2) is False
        assert machine.statuses == ["completed"] * 4


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENOENT])
def test_a_worker_that_finds_no_place_for_a_checkpoint_reports_it(monkeypatch, number):
    def write(*arguments: Any, **options: Any) -> Any:
        raise OSError(number, os.strerror(number), "/disk/epoch-0001.pt")

    trainable = object.__new__(trainable_class(IMBALANCE))
    trainable._repeated = trainable._out_of_memory = trainable._unreached = None
    trainable._checkpoints = CheckpointWriter("/disk", num_epochs=1)
    monkeypatch.setattr("trainables.training.checkpoints.write_checkpoint", write)
    monkeypatch.setattr(type(trainable), "_train_and_validate", lambda self: {"epoch": 1})
    monkeypatch.setattr(type(trainable), "_state", lambda self, result: {})
    result = trainable.step()
    assert result["no_storage"] == [number, os.strerror(number), "/disk/epoch-0001.pt"]
    assert METRIC in result


@pytest.mark.parametrize("at", ["its start", "its own checkpoints"])
def test_a_worker_that_cannot_reach_checkpoints_reports_it_and_is_of_use_for_the_next_trial(monkeypatch, faults, at):
    """It must not begin anew beside checkpoints that are there."""
    refusal = StorageError(errno.EIO, "AWS Error NETWORK_CONNECTION", "s3://bucket/run-1f/none-0000")

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise refusal

    trainable = object.__new__(trainable_class(IMBALANCE))
    trainable._data = None
    learner = SimpleNamespace(epoch=0, state_dict=dict)
    trainable.task = SimpleNamespace(learner=lambda *arguments, **options: learner, metric=METRIC)
    monkeypatch.setattr("trainables.worker.worker_setup", lambda **options: None)
    monkeypatch.setattr(type(trainable), "_train_and_validate", lambda self: {"epoch": 1})
    config = {
        "trial_id": "none-0000", "seed": 1, "num_epochs": 2, "checkpoint_dir": f"mock:///{id(refusal)}", "hparams": {},
        "numerics": {"precision": "float32", "num_threads": 1},
    }  # fmt: skip
    for _ in faults.each([at]):
        with monkeypatch.context() as broken:
            if at == "its start":
                broken.setattr(trainable.task, "learner", refuse)
            else:
                broken.setattr("trainables.worker.read_newest_checkpoint", refuse)
            trainable.reset_config(config)
        assert trainable.step()["no_storage"] == [refusal.errno, refusal.strerror, refusal.filename]
        trainable.reset_config(config)
        assert trainable.step()["epoch"] == 1


# --- the session


@pytest.mark.parametrize(
    "error",
    [
        StorageError(errno.ENOSPC, "No space left on device (90 bytes missing)", "/disk/x"),
        StorageError(errno.ENOENT, "No such file or directory", "/disk/x"),
        OSError(errno.EROFS, "Read-only file system", "/disk/x"),
    ],
    ids=["full", "gone", "read-only"],
)
@pytest.mark.parametrize("still", [True, False])
def test_a_session_ends_in_one_sentence_and_its_work_is_kept(tmp_path, faults, error, still):
    for _ in faults.each([error]):
        raised = RuntimeError("Ray's own words")
        raised.__cause__ = error
        status, said, run_dir = conducted(tmp_path, raised, still=still)
        assert status == 1
        assert f"/disk/x cannot be written: {error.strerror}; all that was finished is kept" in said
        assert f"continue, when it can be written: python -m study.resume {run_dir}" in said
        assert "Traceback" not in said
    with reopened(run_dir) as ledger:
        assert list(ledger.book.trials) == ["none-0000"]
        assert ledger.book.sessions[0].get("state") == ("interrupted" if still else None)
        assert ledger.notices == []


def test_another_error_is_raised_as_before(tmp_path):
    with pytest.raises(RuntimeError, match="a fault of ours"):
        conducted(tmp_path, RuntimeError("a fault of ours"))


def test_a_verb_that_cannot_write_ends_in_one_sentence(capsys):
    def main(argv: Any) -> int:
        raise StorageError(errno.ENOSPC, "No space left on device", "/disk/report.html")

    with pytest.raises(SystemExit) as ended:
        run_main(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: /disk/report.html cannot be written: No space left on device\n"


def test_a_full_disk_does_not_end_a_study_for_want_of_a_backup(tmp_path, monkeypatch):
    from study.core import ledger_files

    def full(path: Path, content: bytes) -> None:
        raise StorageError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(ledger_files, "write_durably", full)
    with Ledger(tmp_path) as ledger:
        ledger.append(Event(kind=SESSION, payload={"command": "first"}))
        ledger.append(asked("none-0000"))
        ledger.back_up()
        assert list(ledger.book.trials) == ["none-0000"]
    monkeypatch.undo()
    assert list(reopened(tmp_path).book.trials) == ["none-0000"]
