"""What study.export writes, opened by the tools that it is for."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from fake_run import write_run
from optuna.trial import FrozenTrial, TrialState
from study_process import PROJECT, assert_one_sentence, run_here
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from study.analysis.tables import Tables, load_tables
from study.core.errors import StudyError
from study.exports.optuna import write_optuna
from study.exports.places import made_whole
from study.exports.tensorboard import write_tensorboard

STATES = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a trial of each fate, and its exports in every format."""
    folder = tmp_path_factory.mktemp("exports")
    write_run(folder / "run", arms=["none", "focal"], failed=["focal-0001"])
    for name, options in (
        ("optuna.db", ()),
        ("board", ("--format", "tensorboard")),
        ("csv", ("--format", "csv")),
    ):
        status, said, complained = run_here("study.export", str(folder / "run"), "--to", str(folder / name), *options)
        assert (status, complained) == (0, "")
        assert str(folder / name) in said
    return folder


@pytest.fixture(scope="module")
def tables(folder: Path) -> Tables:
    return load_tables(folder / "run")


def test_each_search_is_a_study_and_no_retest_is_taken_for_another(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", arms=["none"], searches=2, num_trials=2, control_trials=1))
    write_optuna(tables, tmp_path / "optuna.db")
    studies = optuna.study.get_all_study_summaries(f"sqlite:///{tmp_path / 'optuna.db'}")
    found = {study.study_name: (study.n_trials, study.user_attrs) for study in studies}
    assert {name: number for name, (number, _) in found.items()} == {
        "demo/none": 2, "demo/none/random": 1, "demo/none/s2": 2, "demo/none/s2/random": 1,
    }  # fmt: skip
    own, control = found["demo/none/s2"][1], found["demo/none/s2/random"][1]
    assert own["winner"].startswith("none-s2-000")
    assert (own["search"], control["control"]) == (2, "random")
    assert set(own[f"retest_{tables.score}"]) == {"4", "5", "6"}
    of_control = tables.retests[tables.retests["trial_id"] == control["winner"]].set_index("seed")[tables.score]
    assert control[f"retest_{tables.score}"] == {str(seed): score for seed, score in of_control.items()}
    write_tensorboard(tables, tmp_path / "board")
    roles = {path.name for path in (tmp_path / "board" / "retests" / "none").iterdir()}
    assert roles == {"default", "random", *(f"seed-{seed}" for seed in range(1, 7))}


def exported(folder: Path) -> dict[str, optuna.Study]:
    storage = f"sqlite:///{folder / 'optuna.db'}"
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage) for name in names}


def trial_of(study: optuna.Study, trial_id: str) -> FrozenTrial:
    return next(trial for trial in study.trials if trial.user_attrs["trial_id"] == trial_id)


def test_an_optuna_storage_equals_the_records(folder: Path, tables: Tables) -> None:
    studies = exported(folder)
    assert set(studies) == {f"{tables.summary['name']}/{arm}" for arm in tables.arms}
    seen: set[TrialState] = set()
    for arm in tables.arms:
        study = studies[f"{tables.summary['name']}/{arm}"]
        rows = tables.tuning[tables.tuning["arm"] == arm].sort_values("number")
        assert [trial.user_attrs["trial_id"] for trial in study.trials] == list(rows["trial_id"])
        for trial, row in zip(study.trials, rows.to_dict("records"), strict=True):
            epochs = tables.epochs[tables.epochs["trial_id"] == row["trial_id"]]
            assert trial.state is STATES[row["status"]]
            assert trial.intermediate_values == dict(zip(epochs["epoch"], epochs[tables.objective], strict=True))
            assert trial.value == (None if trial.state is TrialState.FAIL else row["objective"])
            own = {key.removeprefix("config/"): value for key, value in row.items() if str(key).startswith("config/")}
            had = {key: value for key, value in own.items() if pd.notna(value)}
            assert {**trial.user_attrs, **trial.params}.items() >= had.items()
            assert {"learning_rate", "weight_decay"} <= set(trial.params)
            seen.add(trial.state)
    assert seen == set(STATES.values())


def test_a_study_names_its_winner_and_what_that_scored(folder: Path, tables: Tables) -> None:
    study = exported(folder)[f"{tables.summary['name']}/focal"]
    scores = tables.main_retests[tables.main_retests["arm"] == "focal"].set_index("seed")[tables.score]
    assert study.user_attrs[f"retest_{tables.score}"] == {str(seed): score for seed, score in scores.items()}
    best = max((trial for trial in study.trials if trial.state is TrialState.COMPLETE), key=lambda trial: trial.value)  # type: ignore[arg-type,return-value]
    assert study.user_attrs["winner"] == best.user_attrs["trial_id"] == study.best_trial.user_attrs["trial_id"]


def test_a_failed_trial_keeps_its_reason(folder: Path, tables: Tables) -> None:
    trial = trial_of(exported(folder)[f"{tables.summary['name']}/focal"], "focal-0001")
    message = tables.trials.set_index("trial_id").loc["focal-0001", "message"]
    assert trial.user_attrs["message"] == message


def test_optunas_dashboard_opens_it(folder: Path, tables: Tables) -> None:
    from optuna_dashboard import wsgi

    app = wsgi(optuna.storages.RDBStorage(f"sqlite:///{folder / 'optuna.db'}"))
    answers: list[str] = []
    environment = {
        "REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies", "QUERY_STRING": "", "SERVER_NAME": "localhost",
        "SERVER_PORT": "80", "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(),
    }  # fmt: skip
    body = b"".join(app(environment, lambda status, *_: answers.append(status)))
    assert answers == ["200 OK"]
    names = {study["study_name"] for study in json.loads(body)["study_summaries"]}
    assert names == {f"{tables.summary['name']}/{arm}" for arm in tables.arms}


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_tensorboard_reads_the_curves_and_hyperparameters_of_a_trial(folder: Path, tables: Tables) -> None:
    trial = tables.tuning[tables.tuning["status"] == "completed"].iloc[0]
    read = events(folder / "board" / "trials" / trial["arm"] / trial["trial_id"])
    epochs = tables.epochs[tables.epochs["trial_id"] == trial["trial_id"]]
    points = read.Scalars(tables.objective)
    assert [point.step for point in points] == list(epochs["epoch"])
    assert [point.value for point in points] == pytest.approx(list(epochs[tables.objective]))
    assert read.Scalars("objective")[-1].value == pytest.approx(trial["objective"])
    assert set(read.PluginTagToContent("hparams")) >= {
        "_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"
    }  # fmt: skip
    started = read.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    assert b"learning_rate" in started
    assert {path.name for path in (folder / "board" / "trials" / "none").iterdir()} == set(
        tables.tuning[tables.tuning["arm"] == "none"]["trial_id"]
    )


def test_tensorboard_has_a_run_for_each_retest(folder: Path, tables: Tables) -> None:
    retest = tables.main_retests.iloc[-1]
    read = events(folder / "board" / "retests" / retest["arm"] / f"seed-{retest['seed']}")
    assert read.Scalars(tables.score)[0].value == pytest.approx(retest[tables.score])


def test_csv_holds_the_tables_with_lists_as_json(folder: Path, tables: Tables) -> None:
    for name in ("trials", "epochs", "rungs", "retests"):
        read, frame = pd.read_csv(folder / "csv" / f"{name}.csv"), getattr(tables, name)
        assert list(read) == list(frame)
        assert len(read) == len(frame)
    read = pd.read_csv(folder / "csv" / "retests.csv")
    recalls: list[Any] = [json.loads(text) for text in read["per_class_recall"]]
    assert recalls == [list(values) for values in tables.retests["per_class_recall"]]
    assert all(math.isfinite(value) for value in read[tables.score])


def test_the_queries_in_the_readme_run_as_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(PROJECT)
    section = Path("README.md").read_text(encoding="utf-8").split("## Where you already look")[1]
    exec(section.split("```python")[1].split("```")[0], {})
    said = capsys.readouterr().out
    assert all(name in said for name in ("weighted_sampler", "config/learning_rate", "cutoff"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("run", "--to is missing: the file or folder to write, such as optuna.db"),
        ("run --to out", "--format is missing: one of optuna, tensorboard, csv, mlflow, wandb"),
        ("run --to out --format tensorbord", "mlflow, wandb, got 'tensorbord'; did you mean 'tensorboard'?"),
        ("run --to taken.db", "taken.db exists already: choose another --to"),
        ("run --to taken.db/optuna.db", "taken.db/optuna.db cannot be written: "),
        ("nothing --to optuna.db", "nothing is not a directory"),
        ("reproduction --to optuna.db", "reproduction is a reproduction, which has no trials to export"),
        ("damaged --to optuna.db", "damaged/trials.parquet"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("run", "reproduction", "damaged"):
        write_run(tmp_path / name, arms=["none", "focal"])
    Path("reproduction/spec.json").write_text('{"task": "reproduce"}')
    Path("damaged/trials.parquet").write_bytes(b"PAR1")
    Path("taken.db").write_text("mine")
    there = sorted(path.name for path in tmp_path.iterdir())
    status, said, complained = run_here("study.export", *words.split())
    assert (status, said) == (2, "")
    assert sentence in complained
    assert_one_sentence(complained)
    assert sorted(path.name for path in tmp_path.iterdir()) == there


def test_a_run_without_an_epoch_has_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"board would be empty: no trial of the run has an epoch yet"):  # noqa: SIM117
        with made_whole(tmp_path / "board"):
            pass  # no event file was written
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_two_stages_has_a_study_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", task="jigsaw", arms=("scratch_10pct", "jigsaw_10pct"), control="scratch_10pct")
    tables = load_tables(tmp_path / "run")
    assert run_here("study.export", "run", "--to", "optuna.db")[0] == 0
    assert run_here("study.export", "run", "--to", "board", "--format", "tensorboard")[0] == 0
    pairs = tables.trials[["stage", "arm"]].drop_duplicates()
    assert len(exported(tmp_path)) == len(pairs) > len(tables.arms)
    assert {path.name for path in (tmp_path / "board").iterdir()} >= {"trials-tune", "trials-pretext"}


def test_a_trial_that_has_no_end_yet_is_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", arms=["none", "focal"], interrupted=True)
    tables = load_tables(tmp_path / "run")
    assert run_here("study.export", "run", "--to", "optuna.db")[0] == 0
    unfinished = tables.trials[tables.trials["status"].isin(["running", "interrupted"])]
    assert len(unfinished)
    for trial in unfinished.to_dict("records"):
        study = exported(tmp_path)[f"{tables.summary['name']}/{trial['arm']}"]
        assert trial_of(study, trial["trial_id"]).state is TrialState.RUNNING
