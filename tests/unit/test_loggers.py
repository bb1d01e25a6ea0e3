"""What MLflow and Weights & Biases are given of a study, as it runs and by study.export; what they cannot do to it.

The tools themselves are opened where they are installed; packages that fail or hang are made up.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from fake_run import write_run
from study_cases import METRIC, asked, epoch_events, make_stage
from study_process import PROJECT, assert_one_sentence, run_here, wait_until

from study.analysis.tables import Tables, load_tables
from study.core.entrants import Entrant
from study.core.ledger import Book, finished
from study.engine import loggers
from study.engine.loggers import Follower, Loggers
from study.exports import follower, installed
from study.exports.logged import Log, LoggedTraining, Logger, curves
from study.exports.mlflow import MlflowLogger
from study.exports.trainings import trainings
from study.exports.wandb import WandbLogger
from study.records.writer import write_records


def training(*values: float, first: int = 1, status: str = "running", **more: Any) -> LoggedTraining:
    """none-0000 with these scores, one an epoch."""
    epochs = [
        {"epoch": first + number, "images": 100, METRIC: value, "train_seconds": 2.0, "eval_seconds": 0.5,
         "time": 1000.0 + 3 * (first + number), "weights_sha256": "ab"}
        for number, value in enumerate(values)
    ]  # fmt: skip
    tags = {"kind": "trial", "stage": "tune", "arm": "none", "search": 1, "number": 0, "seed": 7}
    hparams = {"learning_rate": 0.1, "optimizer": "sgd"}
    return LoggedTraining(name="none-0000", tags=tags, hparams=hparams, epochs=epochs, status=status, **more)


class Kept(Logger):
    """A logger that keeps what it is given, in the order in which that came."""

    def __init__(self, destination: str = "here") -> None:
        self.destination = destination
        self.calls: list[tuple[Any, ...]] = []

    def begin(self, training: LoggedTraining, run_id: str | None) -> str:
        self.calls.append(("begin", run_id))
        return run_id or f"id of {training.name}"

    def log(self, run_id: str, epoch: Mapping[str, Any]) -> None:
        self.calls.append((epoch["epoch"], curves(epoch)[METRIC]))

    def end(self, run_id: str, training: LoggedTraining, last_epoch: int) -> None:
        self.calls.append((training.status, last_epoch))


def test_an_epoch_is_logged_once_in_whatever_pieces_it_comes() -> None:
    kept = Kept()
    log = Log(kept)
    log.update(training(0.1))
    log.update(training(0.1, 0.2))
    log.update(training(0.3, first=3))
    log.update(training(status="stopped"))
    log.update(training(0.1, 0.2, 0.3, status="stopped"))
    assert kept.calls == [("begin", None), (1, 0.1), (2, 0.2), (3, 0.3), ("stopped", 3)]


def test_the_next_session_goes_on_with_the_same_run_after_its_last_epoch(tmp_path: Path) -> None:
    record = tmp_path / "record"
    log = Log(Kept(), record)
    log.update(training(0.1, 0.2))
    log.close()
    with record.open("a") as file:
        file.write('{"destination": "here", "name": "no')  # killed while it wrote
    kept = Kept()
    log = Log(kept, record)
    log.update(training(0.1, 0.2, 0.3))
    log.update(training(0.1, 0.2, 0.3, status="completed"))
    again, elsewhere = Kept(), Kept("elsewhere")
    assert kept.calls == [("begin", "id of none-0000"), (3, 0.3), ("completed", 3)]
    for logger in (again, elsewhere):
        Log(logger, record).update(training(0.1, 0.2, 0.3, status="completed"))
    assert again.calls == []
    assert elsewhere.calls == [("begin", None), (1, 0.1), (2, 0.2), (3, 0.3), ("completed", 3)]


def test_what_is_open_when_a_session_ends_is_interrupted(tmp_path: Path) -> None:
    kept = Kept()
    log = Log(kept)
    log.update(training(0.1))
    log.update(replace(training(0.4, status="completed"), name="none-0001"))
    log.close()
    assert kept.calls == [("begin", None), (1, 0.1), ("begin", None), (1, 0.4), ("completed", 1), ("interrupted", 1)]


def test_numbers_that_are_not_finite_and_texts_are_no_curves() -> None:
    row = {"epoch": 3, "images": 10.0, "time": 5.0, "train_loss": math.nan, "val_loss": 0.5, "gpu_ids": "0"}
    assert curves(row) == {"val_loss": 0.5}


@pytest.fixture
def book() -> Book:
    """none-0000 completed with 0.6 after two epochs and was retested on seed 4, which failed on 5; none-0001 runs."""
    book = Book()
    for event in (
        asked("none-0000", hparams={"loss": "cross_entropy", "learning_rate": 0.1}), *epoch_events("none-0000", 1, 0.5),
        *epoch_events("none-0000", 2, 0.6), finished("none-0000", "completed"), asked("none-0001"),
        *epoch_events("none-0001", 1, 0.4),
    ):  # fmt: skip
        book.apply(event)
    common = {"arm": "none", "trial_id": "none-0000"}
    epoch = {"epoch": 1, "images": 100, "train_loss": 1.0, "learning_rate": 0.1, "train_seconds": 1.0}
    tested = {
        "test_accuracy": 0.75,
        "num_train": 9,
        "train_indices_sha256": "a",
        "weights_sha256": "b",
        "train_seconds": 1.0,
    }
    book.retests["none-0000", 4] = {**common, "seed": 4, **tested, "epochs": [epoch]}
    book.retest_failures["none-0000", 5] = {**common, "seed": 5, "message": "the loss was nan"}
    return book


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[LoggedTraining]:
    """What the session's followers are given."""
    handed: list[LoggedTraining] = []
    stub = SimpleNamespace(update=handed.append)
    monkeypatch.setattr(loggers, "Follower", lambda *_: stub)
    monkeypatch.setattr(loggers, "missing", lambda name: None)
    return handed


def test_a_session_hands_over_what_earlier_ones_recorded_and_each_change(
    book: Book, handed: list[LoggedTraining], tmp_path: Path
) -> None:
    stage = make_stage(arms=("none",))
    session = Loggers(["mlflow"], study="mine", run_dir=tmp_path, stages=[stage], say=print)
    session.catch_up(book)
    found = {one.name: one for one in handed}
    assert {name: one.status for name, one in found.items()} == {
        "none-0000": "completed", "none-0001": "running", "none-0000-seed-4": "completed", "none-0000-seed-5": "failed",
    }  # fmt: skip
    trial, retest = found["none-0000"], found["none-0000-seed-4"]
    assert [curves(epoch)[METRIC] for epoch in trial.epochs] == [0.5, 0.6]
    assert (trial.results, retest.results) == ({"objective": 0.6}, {"test_accuracy": 0.75})
    assert (
        trial.hparams
        == retest.hparams
        == {**stage.space.arms["none"].factors, "learning_rate": 0.1, "loss": "cross_entropy"}
    )
    assert trial.tags == {
        "kind": "trial",
        "stage": "tune",
        "arm": "none",
        "search": 1,
        "number": 0,
        "seed": 11,
        "trial_id": "none-0000",
    }
    assert retest.tags == {
        "kind": "retest",
        "stage": "retest",
        "arm": "none",
        "search": 1,
        "role": "winner",
        "seed": 4,
        "trial_id": "none-0000",
    }
    assert found["none-0000-seed-5"].message == "the loss was nan"
    handed.clear()
    book.apply(epoch_events("none-0001", 2, 0.45)[0])
    session.trial_changed(book.trials["none-0001"])
    entrant = Entrant(role="winner", arm="none", search=1, trial=book.trials["none-0000"])
    session.retested(book, stage, entrant, 5)
    assert [(one.name, one.status, len(one.epochs)) for one in handed] == [
        ("none-0001", "running", 2), ("none-0000-seed-5", "failed", 0)
    ]  # fmt: skip


def test_the_retests_of_an_overtaken_winner_are_handed_over_as_a_former_one_s(
    book: Book, handed: list[LoggedTraining], tmp_path: Path
) -> None:
    stage = make_stage(arms=("none",))
    session = Loggers(["mlflow"], study="mine", run_dir=tmp_path, stages=[stage], say=print)
    session.overtaken(book)
    assert handed == []
    for event in (*epoch_events("none-0001", 2, 0.9), finished("none-0001", "completed")):
        book.apply(event)
    session.overtaken(book)
    assert [(one.name, one.tags["role"], one.hparams["learning_rate"]) for one in handed] == [
        ("none-0000-seed-4", "former", 0.1)
    ]
    handed.clear()
    session.catch_up(book)
    write_records(tmp_path, book, stages=[stage], active=True)
    assert [one.tags["role"] for one in handed if one.name == "none-0000-seed-4"] == ["former"]
    assert pd.read_parquet(tmp_path / "retests.parquet")["role"].tolist() == ["former"]


def test_a_role_that_changed_is_logged_again_and_nothing_else_is(tmp_path: Path) -> None:
    record = tmp_path / "record"
    retest = replace(training(0.5, status="completed"), tags={"kind": "retest", "role": "winner"})
    former = replace(retest, tags={"kind": "retest", "role": "former"})
    Log(Kept(), record).update(retest)
    kept = Kept()
    log = Log(kept, record)
    for one in (retest, former, former):
        log.update(one)
    assert kept.calls == [("begin", "id of none-0000"), ("completed", 1)]
    record.write_text(record.read_text().replace(', "role": "former"', "").replace(', "role": "winner"', ""))
    of_before = Kept()
    Log(of_before, record).update(former)
    assert of_before.calls == []


def test_the_tables_have_it_as_the_session_had(book: Book, handed: list[LoggedTraining], tmp_path: Path) -> None:
    stage = make_stage(arms=("none",))
    Loggers(["mlflow"], study="mine", run_dir=tmp_path, stages=[stage], say=print).catch_up(book)
    write_records(tmp_path, book, stages=[stage], active=True)
    frames = {name: pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("trials", "epochs", "rungs", "retests")}
    exported = list(trainings(Tables(spec={}, summary={}, **frames)))
    assert [_facts(one) for one in exported] == [_facts(one) for one in handed if one.name != "none-0000-seed-5"]


def _facts(one: LoggedTraining) -> list[Any]:
    points = [(int(epoch["epoch"]), {**curves(epoch), "eval_seconds": None}) for epoch in one.epochs]
    return [one.name, one.tags, one.hparams, one.status, one.message, one.results, points]


# --- what a package cannot do to a study


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a package mlflow that takes the place of the installed one in processes that are started."""
    file = tmp_path / "packages" / "mlflow" / "__init__.py"
    file.parent.mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    return file


def test_a_logger_that_fails_is_one_line_which_names_the_reason(tmp_path: Path, package: Path) -> None:
    package.write_text(
        "class MlflowClient:\n def __init__(self, tracking_uri):\n  raise RuntimeError('no server there')\n"
    )
    said: list[str] = []
    one = Follower("mlflow", "mine", tmp_path / "loggers", said.append)
    one.update(training(0.1))
    wait_until(lambda: bool(said) or bool(one.update(training(0.1, 0.2))), "it never failed", seconds=60)
    one.finish()
    one.wait(time.monotonic() + 60)
    log = tmp_path / "loggers" / "mlflow.log"
    assert said == [
        "note: mlflow did not take everything (RuntimeError: no server there): the study itself is unaffected; "
        f"study.resume or study.export adds what is missing; details are in {log}"
    ]
    assert "Traceback" in log.read_text()


def test_a_logger_that_hangs_is_waited_for_no_longer_than_said(tmp_path: Path, package: Path) -> None:
    package.write_text("import time\ntime.sleep(600)\n")
    said: list[str] = []
    one = Follower("mlflow", "mine", tmp_path / "loggers", said.append)
    for number in range(5000):  # more than a pipe takes
        one.update(replace(training(0.1), name=f"none-{number:04d}"))
    one.finish()
    one.wait(time.monotonic() + 0.5)
    assert [line.partition("):")[0] for line in said] == [
        "note: mlflow did not take everything (it was still busy at the end"
    ]
    assert one._process is not None
    assert one._process.poll() is not None


def test_a_logger_ends_with_a_study_that_was_killed(tmp_path: Path, package: Path) -> None:
    package.write_text(
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n"
    )
    words = [sys.executable, "-P", "-m", follower.__name__, "mlflow", "mine", str(tmp_path / "record")]
    parent = (
        "import os, subprocess, sys, time\n"
        "subprocess.Popen([*sys.argv[1:], str(os.getpid())], stdin=subprocess.PIPE)\n"
        "time.sleep(600)"
    )
    path = os.pathsep.join([str(PROJECT), os.environ["PYTHONPATH"]])
    study = subprocess.Popen([sys.executable, "-c", parent, *words], env={**os.environ, "PYTHONPATH": path})
    try:
        wait_until(
            lambda: (tmp_path / "pid").is_file() and bool((tmp_path / "pid").read_text()), "no logger", seconds=60
        )
    finally:
        study.kill()
        study.wait()
    logger = int((tmp_path / "pid").read_text())
    wait_until(lambda: not _is_alive(logger), "it outlived the study", seconds=10)


def test_a_logger_whose_study_was_gone_before_it_looked_ends_too(tmp_path: Path, package: Path) -> None:
    package.write_text("import time\ntime.sleep(600)\n")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    words = [sys.executable, "-P", "-m", follower.__name__, "mlflow", "mine", str(tmp_path / "record"), str(gone.pid)]
    path = os.pathsep.join([str(PROJECT), os.environ["PYTHONPATH"]])
    with subprocess.Popen(words, stdin=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}) as logger:
        try:
            assert logger.wait(timeout=60) == 1
        finally:
            logger.kill()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("study.run imbalance --logger wandb", "error: --logger wandb needs a package that is not installed: "),
        ("study.run imbalance --logger mlflow,wand", "must be one of mlflow, wandb, got 'wand'; did you mean 'wandb'?"),
        ("study.export run --to it --format mlflow", "error: --format mlflow needs a package that is not installed: "),
    ],
)  # fmt: skip
def test_an_unknown_logger_and_a_package_that_is_missing_are_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", arms=["none"])
    (tmp_path / "wandb").mkdir()  # as W&B leaves it
    monkeypatch.setattr(installed, "find_spec", lambda name: SimpleNamespace(origin=None))
    status, said, complained = run_here(*words.split())
    assert (status, said) == (2, "")
    assert sentence in complained
    if "package" in sentence:
        assert f"pip install 'ray-tune-study[{'wandb' if 'wandb' in words else 'mlflow'}]'" in complained
    assert_one_sentence(complained)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "wandb"]


def test_a_run_that_goes_on_where_the_package_is_missing_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda name: None)
    said: list[str] = []
    session = Loggers(["mlflow"], study="mine", run_dir=tmp_path, stages=[make_stage()], say=said.append)
    session.close()
    assert said == [
        "note: mlflow needs a package that is not installed: pip install 'ray-tune-study[mlflow]'; the study goes on "
        "without it"
    ]


# --- the tools themselves


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return load_tables(
        write_run(tmp_path_factory.mktemp("logged") / "run", arms=["none", "focal"], failed=["focal-0001"])
    )


@pytest.fixture(scope="module")
def mlflow_file(tmp_path_factory: pytest.TempPathFactory, tables: Tables) -> Iterator[Path]:
    """The run exported for MLflow: a database takes seconds to make."""
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
        from study.exports.logs import write_mlflow

        said = write_mlflow(tables, folder / "runs.db")
        assert said.endswith(f"open it with mlflow ui --backend-store-uri sqlite:///{folder / 'runs.db'}")
        assert [path.name for path in folder.iterdir()] == ["runs.db"]
        yield folder / "runs.db"


MLFLOW_STATUSES = {"completed": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


def test_mlflow_has_a_run_for_each_trial_and_retest_equal_to_the_records(mlflow_file: Path, tables: Tables) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{mlflow_file}")
    experiment = client.get_experiment_by_name(tables.summary["name"])
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    records = {one.name: one for one in trainings(tables)}
    assert set(found) == set(records)
    for name, record in records.items():
        run = found[name]
        assert run.info.status == MLFLOW_STATUSES[record.status]
        assert run.data.params == {key: str(value) for key, value in record.hparams.items()}
        expected = {"study": tables.summary["name"], "status": record.status, **record.tags}
        assert run.data.tags.items() >= {key: str(value) for key, value in expected.items()}.items()
        assert run.data.metrics.items() >= record.results.items()
    assert found["focal-0001"].data.tags["message"] == records["focal-0001"].message
    winner = tables.summary["winners"]["focal"]["trial_id"]
    points = client.get_metric_history(found[winner].info.run_id, tables.objective)
    epochs = tables.epochs[tables.epochs["trial_id"] == winner]
    assert [(point.step, point.value) for point in points] == list(
        zip(epochs["epoch"], epochs[tables.objective], strict=True)
    )


def test_a_resumed_trial_is_one_run_of_mlflow_without_doubled_points(mlflow_file: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{mlflow_file}"
    log = Log(MlflowLogger("resumed", uri), tmp_path / "record")
    log.update(training(0.1, 0.2))
    log.close()
    client = MlflowClient(tracking_uri=uri)
    [experiment] = [one for one in client.search_experiments() if one.name == "resumed"]
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.tags["status"]) == ("SCHEDULED", "interrupted")
    log = Log(MlflowLogger("resumed", uri), tmp_path / "record")
    log.update(training(0.1, 0.2, 0.3))
    assert client.get_run(run.info.run_id).info.status == "RUNNING"
    log.update(training(status="stopped", results={"objective": 0.3}))
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.tags["status"]) == ("KILLED", "stopped")
    points = client.get_metric_history(run.info.run_id, METRIC)
    assert [(point.step, point.value, point.timestamp) for point in points] == [
        (1, 0.1, 1_003_000), (2, 0.2, 1_006_000), (3, 0.3, 1_009_000)
    ]  # fmt: skip
    assert run.info.start_time == 1_000_500
    assert [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "objective")] == [
        (3, 0.3)
    ]


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which W&B's runs are found."""
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_DIR", str(tmp_path)), ("WANDB_ERROR_REPORTING", "false")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    yield tmp_path
    wandb.teardown()


def wandb_records(file: Path) -> list[Any]:
    """The records in a file of W&B's: LevelDB's log format, after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, part, found = file.read_bytes(), 7, b"", []
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        if left < 7 or kind == 0:  # the rest of a block
            at += left
            continue
        part += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in {1, 4}:  # whole, or the last part
            found.append(Record.FromString(part))
            part = b""
    return found


def wandb_run(folder: Path) -> tuple[Any, dict[int, dict[str, Any]], dict[str, Any], int | None]:
    """(the run, what was logged by step, summary, exit code) of a folder offline-run-*."""
    [file] = folder.glob("*.wandb")
    records = wandb_records(file)
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    steps, summary, code = {}, {}, None
    for record in records:
        if record.WhichOneof("record_type") == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            steps[row["_step"]] = row
        elif record.WhichOneof("record_type") == "summary":
            summary |= {
                item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.summary.update
            }
        elif record.WhichOneof("record_type") == "exit":
            code = record.exit.exit_code
    return run, steps, summary, code


def test_weights_and_biases_has_a_run_for_each_trial_and_retest_equal_to_the_records(
    offline: Path, tables: Tables
) -> None:
    from study.exports.logs import write_wandb

    write_wandb(tables, offline / "exported")
    found = {
        run.display_name: (run, *rest)
        for run, *rest in map(wandb_run, (offline / "exported").glob("wandb/offline-run-*"))
    }
    records = {one.name: one for one in trainings(tables)}
    assert set(found) == set(records)
    for name, record in records.items():
        run, steps, summary, code = found[name]
        assert (run.project, run.run_group, run.job_type) == (
            "ray-tune-study",
            tables.summary["name"],
            record.tags["kind"],
        )
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        assert config.items() >= {**record.hparams, **record.tags}.items()
        assert {int(epoch["epoch"]): curves(epoch) for epoch in record.epochs} == {
            step: {key: value for key, value in row.items() if not key.startswith("_")} for step, row in steps.items()
        }
        assert summary.items() >= {"status": record.status, **record.results}.items()
        assert code == (1 if record.status == "failed" else 0)
        assert record.tags["arm"] in run.tags


def test_a_resumed_trial_is_one_run_of_weights_and_biases_without_doubled_points(offline: Path) -> None:
    for session in (training(0.1, 0.2), training(0.1, 0.2, 0.3, status="stopped")):
        log = Log(WandbLogger("resumed"), offline / "record")
        log.update(session)
        log.close()
        ended = int(time.time())
        while int(time.time()) == ended:  # an offline run's folder is named by the run and the second
            time.sleep(0.01)
    first, second = map(
        wandb_run, sorted(offline.glob("wandb/offline-run-*"), key=lambda path: path.stat().st_mtime_ns)
    )
    assert first[0].run_id == second[0].run_id
    assert [(step, row[METRIC], row["_timestamp"]) for step, row in {**first[1], **second[1]}.items()] == [
        (1, 0.1, 1003.0), (2, 0.2, 1006.0), (3, 0.3, 1009.0)
    ]  # fmt: skip
    assert set(first[1]) & set(second[1]) == set()
    assert (first[2]["status"], second[2]["status"]) == ("interrupted", "stopped")
