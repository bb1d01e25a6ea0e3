"""The other studies on embedded data, baseline's from Python; a notebook; a study of two stages, cut; satellites."""

from __future__ import annotations

import contextlib
import html
import io
import json
import re
import runpy
import shlex
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from PIL import Image
from study_process import (
    PROJECT,
    SOONER,
    TABLES,
    assert_one_sentence,
    epochs_so_far,
    ledger_events,
    of_kind,
    read_rows,
    read_summary,
    run_here,
    shared_folder,
    started,
    trials_in_their_middle,
    wait_until,
    without,
)

from study import Run
from study.cli import parse_study
from study.core.errors import StudyError
from study.core.ledger import Book, Ledger
from study.engine import access, metrics
from study.engine.metrics import StageMetrics
from study.engine.requirements import require_trainable
from study.exports.installed import missing
from study.records.tables import retest_id
from study.tasks.registry import STUDIES
from study.tasks.resolve import checked, read_spec, resolved
from study.tasks.study import load_data

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("one_ray")]

HAS_WANDB = missing("wandb") is None
COMMON = (SOONER, "--max-epochs", "2", "--grace-epochs", "1", "--reduction-factor", "2", "--precision", "float32")
OPTIONS = {
    # What examples/from_python.py sets; its study is run by the example itself.
    "baseline": ("--arms", "lenet,small_cnn", "--trials-per-arm", "2", "--retest-seeds", "2", "--image-size", "16"),
    "cifar100": (
        "--arms", "memorise,both", "--trials-per-arm", "1", "--retest-seeds", "2", "--image-size", "16",
        *(("--logger", "wandb") if HAS_WANDB else ()),
    ),
    "jigsaw": (
        "--trials-per-arm", "1", "--retest-seeds", "2", "--pretext-trials", "2", "--pretext-epochs", "2",
        "--label-fractions", "0.1,0.5", "--max-concurrent", "1", "--image-size", "16", "--train-images", "600",
    ),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def fewer_pairs() -> Iterator[None]:
    """Few of the embedded pairs of digits: all 100 classes of them, and nothing here hangs on their number."""
    with pytest.MonkeyPatch.context() as patch:
        for name, number in (("TRAIN", 3), ("VAL", 2), ("TEST", 2)):
            patch.setattr(f"trainables.data.digits.NUM_{name}_PER_PAIR", number)
        yield


@cache
def study_of(task: str) -> tuple[Path, str]:
    """(run directory, what it said) of the task's study on its embedded data."""
    if task == "baseline":
        said = io.StringIO()
        with contextlib.chdir(shared_folder()), contextlib.redirect_stdout(said):
            runpy.run_path(str(PROJECT / "examples" / "from_python.py"), run_name="__main__")
        return shared_folder() / "reports" / "from-python", said.getvalue()
    arguments = (task, *OPTIONS[task], *COMMON, "--output-dir", str(shared_folder()), "--name", task)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_DIR", str(shared_folder()))
        status, stdout, stderr = run_here("study.run", *arguments)
    assert status == 0, stdout + stderr
    assert stderr == ""
    return shared_folder() / task, stdout


def page_of(run_dir: Path) -> str:
    text = re.sub(r"data:[^\"')]*", "", (run_dir / "report.html").read_text())
    return text.replace("&#39;", "'").replace("\xa0", " ")


@pytest.mark.parametrize("task", OPTIONS)
def test_a_study_ends_with_every_winner_retested_and_a_page(task):
    run_dir, stdout = study_of(task)
    summary = read_summary(run_dir)
    assert (summary["state"], summary["not_retested"]) == ("complete", {})
    arms = [arm for stage in summary["stages"] for arm in stage["arms"]]
    assert Counter(row["arm"] for row in read_rows(run_dir, "retests")) == dict.fromkeys(arms, 2)
    assert all(arm in summary["winners"] for arm in arms)
    text = page_of(run_dir)
    assert all(arm in text for arm in arms)
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", text)
    assert not re.search(r"(?:src|href)=\"https?:", text)
    assert not re.search(r"\bINFO\b|WARNING|Warning|Traceback|ray::", stdout)


def test_prometheus_reads_from_ray_what_the_ledger_says(monkeypatch):
    """Ray hands a process's metrics on every few seconds, and forgets those that were not set meanwhile."""
    run_dir, _ = study_of("baseline")
    study, spec = read_spec(run_dir)
    _, data, _ = load_data(study, spec)
    stage = study.stages(spec, data)[-1]
    port = ray.nodes()[0]["MetricsExportPort"]

    def scraped() -> dict[tuple[str, str], float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = [line for line in answer.read().decode().splitlines() if 'study="scraped"' in line]
        names = [re.match(r"ray_study_(\w+)\{", line)[1] for line in lines]
        tags = [re.search(r'(?:arm|status)="(\w+)"', line) for line in lines]
        numbers = [float(line.rsplit(" ", 1)[1]) for line in lines]
        return {(name, tag[1] if tag else ""): number for name, tag, number in zip(names, tags, numbers, strict=True)}

    monkeypatch.setattr(metrics, "REFRESH_SECONDS", 0.5)
    with Ledger(run_dir) as ledger:
        first, *others = stage.trials(ledger.book)
        best = {arm: trial.value(stage.task.metric) for arm, trial in stage.winners(ledger.book).items()}
        statuses = Counter(trial.status for trial in others) + Counter(["running"])
        running = replace(first, status="running")
        seconds = first.epochs[-1]["train_seconds"] + first.epochs[-1]["eval_seconds"]
        with StageMetrics(
            "scraped", stage, Book(trials={trial.trial_id: trial for trial in (running, *others)})
        ) as told:
            wait_until(lambda: ("trials", "running") in scraped(), "never scraped", seconds=60)
            found = scraped()
            assert found["images_per_second", ""] == pytest.approx(first.epochs[-1]["images"] / seconds)
            assert {status: found["trials", status] for status in statuses} == dict(statuses)
            told.trial_changed(first)
            wait_until(lambda: scraped()["images_per_second", ""] == 0, "never told of the end", seconds=60)
            found = scraped()
        assert found["trials", "running"] == 0
        assert {arm: found["best_score", arm] for arm in best} == pytest.approx(best)


@pytest.mark.skipif(not HAS_WANDB, reason="wandb is not installed")
def test_a_logger_has_every_trial_and_retest_when_a_study_is_over():
    run_dir, stdout = study_of("cifar100")
    lines = [json.loads(line) for line in (run_dir / "loggers" / "wandb.jsonl").read_text().splitlines()]
    last = {line["name"]: (line["status"], line["epoch"]) for line in lines}
    trials = {row["trial_id"]: (row["status"], row["epochs"]) for row in read_rows(run_dir, "trials")}
    retests = {retest_id(row): ("completed", 2) for row in read_rows(run_dir, "retests")}
    assert last == {**trials, **retests}
    assert (
        len({line["run_id"] for line in lines}) == len(list(shared_folder().glob("wandb/offline-run-*"))) == len(last)
    )
    assert "note:" not in stdout


def test_ray_turns_away_one_who_shows_no_token():
    access.require_token(ray.get_runtime_context().gcs_address, seconds=10)


def test_the_notebook_shows_progress_verdict_frames_page_and_a_model_that_reads_digits(tmp_path, monkeypatch):
    """It joins the Ray that is here, by a cell before its own."""
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    notebook = nbformat.read(PROJECT / "examples" / "notebook.ipynb", as_version=4)
    address = ray.get_runtime_context().gcs_address
    join = f"import ray; ray.init({address!r}, logging_level='ERROR', log_to_driver=False); None"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(join))
    nbclient.NotebookClient(notebook, timeout=400, resources={"metadata": {"path": str(tmp_path)}}).execute()
    _joined, ran, told, trials, epochs, retests, page, read = [
        "".join(
            output.get("text") or output["data"].get("text/html") or output["data"]["text/plain"]
            for output in cell.outputs
        )
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    assert "[2/2 trials" in ran
    assert "retest 1/1  lenet, seed 1000: test accuracy " in ran
    run = Run(tmp_path / "reports" / "notebook")
    assert html.escape(run.verdicts[0]) in told
    assert f"<a href='{run.page.resolve().as_uri()}'>report.html</a>" in told
    assert all(f"<td>{trial}</td>" in trials and f"<td>{trial}</td>" in epochs for trial in run.trials["trial_id"])
    assert f"{run.retests['test_accuracy'].iloc[0]:.6f}".rstrip("0") in retests
    assert 'src="reports/notebook/report.html"' in page
    assert re.fullmatch(r"\w+ read as \['\d'(, '\d'){4}\]\n", read)


def test_the_example_from_python_tells_the_verdict_and_reads_digits():
    """Five real digits by the winner that two epochs made; small_cnn is right nine times in ten then."""
    run_dir, stdout = study_of("baseline")
    *_, read = stdout.splitlines()
    (verdict,) = Run(run_dir).verdicts
    assert verdict in stdout
    assert sum(digit in read for digit in ("'0'", "'1'", "'2'", "'3'", "'4'")) >= 4, read


def test_the_space_that_was_set_is_searched_recorded_and_said():
    run_dir, stdout = study_of("baseline")
    ranges = {"momentum": "0.9", "learning_rate@adam": "1e-4..1e-2"}
    assert Run(run_dir).settings["space"] == ranges
    assert {row["config/momentum"] for row in read_rows(run_dir, "trials")} == {0.9}
    summary = read_summary(run_dir)
    assert "momentum" not in summary["knobs"]["lenet"]  # a fixed knob has no range, in which an edge might be
    assert summary["knobs"]["lenet"]["learning_rate"]["low"] == 3e-5  # rmsprop's own; adam's is 1e-4 now
    for said in ("momentum=0.9 (all arms)", "learning_rate@adam=1e-4..1e-2 (all arms)"):
        assert f"space: {said}" in stdout
        assert said in page_of(run_dir)
    command = shlex.split(summary["command"])
    assert command[command.index("--space") + 1] == "momentum=0.9,learning_rate@adam=1e-4..1e-2"


@pytest.mark.parametrize("task", OPTIONS)
def test_a_winner_s_model_scores_on_the_test_images_what_its_first_retest_did(task):
    run_dir, _ = study_of(task)
    _, spec = read_spec(run_dir)
    dataset, _, _ = load_data(STUDIES[task], spec)
    winner = Run(run_dir).winner
    model = winner.load_model()
    assert not any(module.training for module in model.modules())
    with torch.inference_mode():
        classes = model(torch.from_numpy(dataset.test_images)).argmax(dim=1).numpy()
    assert (classes == dataset.test_labels).mean() == pytest.approx(winner.scores[1000])
    damaged = next((run_dir / "weights").glob(f"retest-{winner.trial_id}-1000/*.pt"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1])
    with pytest.raises(StudyError, match="holds no intact weights"):
        winner.load_model()
    damaged.write_bytes(content)


def test_the_net_of_the_puzzles_is_no_classifier():
    with pytest.raises(StudyError, match="has no arm 'jigsaw_2x2' of classifiers"):
        Run(study_of("jigsaw")[0]).winners["jigsaw_2x2"].load_model()


@pytest.mark.parametrize("task", OPTIONS)
def test_learning_rate_momentum_and_weight_decay_are_columns_of_every_study(task):
    columns = read_rows(study_of(task)[0], "trials")[0]
    for name in ("learning_rate", "momentum", "weight_decay"):
        assert f"config/{name}" in columns


@pytest.mark.parametrize("task", OPTIONS)
def test_the_objective_is_the_stage_s_metric_at_the_last_epoch(task):
    run_dir, _ = study_of(task)
    objective = {stage["name"]: stage["objective"] for stage in read_summary(run_dir)["stages"]}
    last = {row["trial_id"]: row for row in read_rows(run_dir, "epochs")}  # epochs are in order
    for trial in read_rows(run_dir, "trials"):
        assert trial["objective"] == last[trial["trial_id"]][objective[trial["stage"]]]


def test_a_winner_s_command_is_understood_and_starts_at_its_configuration():
    """Of every stage: the transfer's winner with puzzles first names both configurations."""
    for task in OPTIONS:
        run_dir, _ = study_of(task)
        winners = read_summary(run_dir)["winners"]
        for arm, winner in winners.items():
            study, values = parse_study(shlex.split(winner["command"])[3:])
            spec, stages = stages_of(study, values)
            assert (spec.trials_per_arm, spec.retest_seeds) == (1, 2)
            spaces = {name: stage.space for stage in stages for name in stage.arms}
            starts = {name: space.start_hparams(space.arms[name]) for name, space in spaces.items()}
            assert starts[arm] == winner["config"]
            if arm.startswith("jigsaw_") and arm.endswith("pct"):
                assert starts["jigsaw_2x2"] == winners["jigsaw_2x2"]["config"]


def stages_of(study, values):
    """(spec, stages) of a study with these settings, as study.run makes them."""
    _, data, found = load_data(study, checked(study, values))
    spec = resolved(study, values, dataset=found, num_gpus=0)
    stages = study.stages(spec, data)
    require_trainable(stages, data, spec)
    return spec, stages


def test_puzzles_and_transfer_are_stages_of_one_run():
    run_dir, stdout = study_of("jigsaw")
    transfer = [f"{name}_{share}pct" for share in (10, 50) for name in ("scratch", "scratch_equal_epochs", "jigsaw")]
    trials = read_rows(run_dir, "trials")
    assert Counter((trial["stage"], trial["arm"]) for trial in trials) == {
        ("pretext", "jigsaw_2x2"): 2,
        **{("tune", arm): 1 for arm in transfer},
    }
    full = {trial["arm"]: trial["epochs"] for trial in trials if trial["status"] == "completed"}
    for arm in transfer:  # 2 epochs, and as many again as the puzzles had
        assert full[arm] == (4 if "equal_epochs" in arm else 2)
    stages = Counter(row["stage"] for row in read_rows(run_dir, "retests"))
    assert stages == {"pretext_retest": 2, "retest": 12}
    assert "plan: 1 arm x 2 trials" in stdout
    assert "plan: 6 arms x 1 trial " in stdout


def test_a_small_share_of_the_labels_is_what_the_retest_trained_on():
    rows = read_rows(study_of("jigsaw")[0], "retests")
    num_train = {row["arm"]: row["num_train"] for row in rows}
    assert num_train["jigsaw_2x2"] == 600  # as many as in tuning, drawn from train and validation, and no label
    assert num_train["scratch_10pct"] == num_train["jigsaw_10pct"] <= 60
    assert num_train["scratch_50pct"] == num_train["jigsaw_50pct"] <= 300
    for share in (10, 50):  # paired: a seed has the same labels in all arms
        hashes = {(row["seed"], row["train_indices_sha256"]) for row in rows if row["arm"].endswith(f"_{share}pct")}
        assert len(hashes) == 2


def test_puzzles_of_the_test_split_are_kept_to_be_looked_at():
    for row in read_rows(study_of("jigsaw")[0], "puzzles"):
        assert row["image_png"].startswith(b"\x89PNG")
        assert sorted(row["permutation"]) == sorted(row["predicted"]) == [0, 1, 2, 3]
        # 20 rounds of Sinkhorn at most: rows add up to 1, columns nearly
        sinkhorn = np.array(row["sinkhorn"])
        np.testing.assert_allclose(sinkhorn.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(sinkhorn.sum(axis=0), 1, atol=0.1)


def test_a_study_that_lost_its_terminal_in_its_second_stage_is_recorded_and_ends_as_one_that_did_not(tmp_path):
    """One slot: configurations, weights after each epoch, winners and retests are the same."""
    whole, _ = study_of("jigsaw")
    arguments = ("jigsaw", *OPTIONS["jigsaw"], *COMMON, "--output-dir", str(tmp_path), "--name", "cut")
    cut = tmp_path / "cut"
    with started("study.run", *arguments) as process:
        process.wait_until(
            lambda: any(trial.startswith("jigsaw_10pct") for trial in trials_in_their_middle(ledger_events(cut))),
            "lost while a classifier that began with the puzzles' weights was in its middle",
        )
        process.hang_up()
        status = process.wait()
        assert (status, process.stderr) == (130, "")
        assert f"continue: python -m study.resume {cut}" in process.stdout
    events = ledger_events(cut)
    assert [event["state"] for event in of_kind(events, "session_end")] == ["interrupted"]
    assert read_summary(cut)["state"] == "interrupted"
    of_trials = [row for row in read_rows(cut, "epochs") if row["stage"] in {"pretext", "tune"}]
    assert len(of_trials) == len(epochs_so_far(events))
    assert "interrupted" in (cut / "report.html").read_text()
    assert not [event for event in of_kind(events, "retest") if event["arm"] == "scratch_10pct"]
    status, stdout, stderr = run_here("study.resume", str(cut))
    assert (status, stderr) == (0, ""), stdout + stderr
    for table in (*TABLES, "puzzles"):
        ours, theirs = (without(read_rows(run_dir, table), "seconds", "time") for run_dir in (cut, whole))
        assert ours == theirs, table


def test_a_checkpoint_of_one_s_own_takes_the_place_of_the_puzzles(tmp_path):
    run_dir, _ = study_of("jigsaw")
    checkpoints = run_dir / "checkpoints" / read_summary(run_dir)["winners"]["jigsaw_2x2"]["trial_id"]
    arguments = (
        "jigsaw", "--arms", "jigsaw", "--label-fractions", "0.5", "--trials-per-arm", "1", "--retest-seeds", "1",
        "--image-size", "16", *COMMON, "--output-dir", str(tmp_path),
    )  # fmt: skip
    status, stdout, stderr = run_here(
        "study.run", *arguments, "--pretext-checkpoint", str(checkpoints), "--name", "given"
    )
    assert (status, stderr) == (0, ""), stdout + stderr
    assert {trial["stage"] for trial in read_rows(tmp_path / "given", "trials")} == {"tune"}
    # lenet's convolutions have the same names, and 5 × 5 pixels.
    baseline, _ = study_of("baseline")
    lenet = baseline / "checkpoints" / read_summary(baseline)["winners"]["lenet"]["trial_id"]
    study, values = parse_study([*arguments, "--pretext-checkpoint", str(lenet), "--name", "other"])
    with pytest.raises(StudyError, match=r"conv1.weight is \[6, 3, 5, 5\] and must be \[32, 3, 3, 3\]"):
        stages_of(study, values)


def test_the_retest_of_cifar100_is_followed_on_training_and_test_images():
    run_dir, _ = study_of("cifar100")
    for row in read_rows(run_dir, "epochs"):
        followed = [row[name] for name in ("train_eval_loss", "train_eval_accuracy", "test_loss", "test_accuracy")]
        assert all((value is not None) == (row["stage"] == "retest") for value in followed)
    last = {row["trial_id"]: row for row in read_rows(run_dir, "epochs")}
    for row in read_rows(run_dir, "retests"):
        assert row["test_accuracy"] <= row["test_superclass_accuracy"] <= 1
        assert row["test_accuracy"] <= row["test_top5_accuracy"] <= 1
        assert last[f"{row['trial_id']}-seed-{row['seed']}"]["test_accuracy"] == row["test_accuracy"]


def test_satellite_images_with_a_long_tail(tmp_path):
    """EuroSAT's images by class; 30 a class: 24 to train and validate on, 22 of the frequent, 1 of the rare."""
    generator = np.random.default_rng(0)
    for label in range(10):
        for split in ("train", "test"):
            (tmp_path / "satellite" / split / f"Class{label}").mkdir(parents=True)
        for number in range(30):
            folder = tmp_path / "satellite" / ("train" if number < 24 else "test") / f"Class{label}"
            pixels = generator.normal(20 + 24 * label, 12, (64, 64, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"Class{label}_{number + 1}.jpg")
    status, stdout, stderr = run_here(
        "study.run", "imbalance", "--dataset", str(tmp_path / "satellite"), "--imbalance",
        "exponential", "--imbalance-ratio", "100", "--imbalance-classes", "last", "--model", "ultranet18", "--arms",
        "crt", "--trials-per-arm", "1", "--max-epochs", "2", "--retest-seeds", "1", "--image-size", "16",
        "--output-dir", str(tmp_path),
        "--name", "eurosat",
    )  # fmt: skip
    assert (status, stderr) == (0, ""), stdout + stderr
    dataset = read_summary(tmp_path / "eurosat")["dataset"]
    # 22 = 24 less a tenth; 22 · 100^(-j/9), rounded down, at least 1
    assert dataset["class_counts"] == [22, 13, 7, 4, 2, 1, 1, 1, 1, 1]
    assert dataset["num_test"] == 60
    for row in read_rows(tmp_path / "eurosat", "retests"):
        assert len(row["test_balanced_accuracy_by_tau"]) == 21
        assert row["test_balanced_accuracy_by_tau"][0] == row["test_balanced_accuracy"]
    assert "On satellite" in page_of(tmp_path / "eurosat")


def test_what_would_fail_in_every_trial_is_refused_before_the_first(tmp_path):
    words = ("jigsaw", "--label-fractions", "0.001,1", "--dataset", "digits", "--output-dir", str(tmp_path / "r"))
    status, stdout, stderr = run_here("study.run", *words)
    assert (status, stdout) == (2, "")
    assert_one_sentence(stderr)
    assert "label fraction 0.001 leaves class" in stderr
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("jigsaw", "--pretext-checkpoint", "nowhere"), "there is no intact checkpoint in nowhere"),
        (("baseline", "--image-size", "16", "--padding", "valid"), "padding 'valid' needs an image_size of at least"),
    ],
    ids=["no checkpoint", "padding"],
)
def test_so_is_a_checkpoint_that_is_not_there_and_a_padding_that_leaves_nothing(words, message):
    with pytest.raises(StudyError, match=message):
        stages_of(*parse_study([*words, "--dataset", "digits"]))
