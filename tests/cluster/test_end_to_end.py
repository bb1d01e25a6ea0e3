"""A study as its user sees it: the command line, what it prints, the run directory, the page."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from study_process import (
    ARMS,
    MAX_EPOCHS,
    RETEST_SEEDS,
    RUN_FILES,
    SETTINGS,
    SOONER,
    TABLES,
    TRIALS_PER_ARM,
    assert_one_sentence,
    read_rows,
    read_summary,
    run_here,
    shared_folder,
    uninterrupted_study,
)

from study.page.figures.base import DPI, MOST_SVG_CHARACTERS
from study.records import tables as records

pytestmark = pytest.mark.timeout(600)

RUNGS = (1, 2)  # grace 1, factor 2, below 4 epochs
NOISE = re.compile(r"\bINFO\b|WARNING|Warning|Traceback|ray::|Trial status|\(pid=|\bE0\d{3}\b|\x1b|Error")


@pytest.fixture(scope="module")
def whole():
    return uninterrupted_study(shared_folder())


@pytest.fixture(scope="module")
def run_dir(whole) -> Path:
    return whole[0]


def test_the_run_directory_holds_what_the_design_promises(run_dir):
    for name in (*RUN_FILES, *(f"{table}.parquet" for table in TABLES)):
        assert (run_dir / name).stat().st_size > 0, name
    figures = sorted((run_dir / "figures").glob("*.png"))
    assert figures
    assert all(figure.read_bytes().startswith(b"\x89PNG") for figure in figures)
    assert not list(run_dir.glob(".*.tmp"))


@pytest.mark.parametrize("table", TABLES)
def test_tables_have_the_published_schema(run_dir, table):
    expected = getattr(records, table.upper())
    schema = pq.read_schema(run_dir / f"{table}.parquet")
    assert schema.names[: len(expected)] == expected.names
    for field in expected:
        found = schema.field(field.name)
        assert (found.type, found.nullable, found.metadata) == (field.type, field.nullable, field.metadata), field.name
    extra = schema.names[len(expected) :]
    assert all(name.startswith(("factor/", "config/")) for name in extra)
    assert bool(extra) == (table == "trials")


def test_every_arm_gets_its_trials_and_every_winner_its_seeds(run_dir):
    trials, retests = read_rows(run_dir, "trials"), read_rows(run_dir, "retests")
    assert {trial["trial_id"] for trial in trials} == {f"{arm}-{n:04d}" for arm in ARMS for n in range(TRIALS_PER_ARM)}
    assert len(trials) == len(ARMS) * TRIALS_PER_ARM
    assert {trial["status"] for trial in trials} <= {"completed", "stopped", "failed"}
    with_winner = {trial["arm"] for trial in trials if trial["status"] == "completed"}
    assert with_winner == set(ARMS)  # the first trial at a rung always goes on
    assert Counter(row["arm"] for row in retests) == dict.fromkeys(with_winner, RETEST_SEEDS)
    assert {row["seed"] for row in retests} == {1000, 1001}


def test_objective_is_the_last_epochs_validation_value(run_dir):
    epochs = read_rows(run_dir, "epochs")
    for trial in read_rows(run_dir, "trials"):
        rows = [row for row in epochs if row["trial_id"] == trial["trial_id"]]
        assert [row["epoch"] for row in rows] == list(range(1, trial["epochs"] + 1))
        if trial["status"] == "completed":
            assert trial["epochs"] == MAX_EPOCHS
        assert math.isfinite(trial["objective"])
        assert trial["objective"] == rows[-1]["val_balanced_accuracy"]
        assert trial["images"] == sum(row["images"] for row in rows)
        assert trial["train_seconds"] == pytest.approx(sum(row["train_seconds"] for row in rows))


def test_every_arm_draws_the_same_number_of_images_an_epoch(run_dir):
    num_train = read_summary(run_dir)["dataset"]["num_train"]
    epochs = read_rows(run_dir, "epochs")
    assert {row["images"] for row in epochs if row["stage"] == "tune"} == {num_train}
    retest = {row["images"] for row in epochs if row["stage"] == "retest"}
    assert retest == {row["num_train"] for row in read_rows(run_dir, "retests")}
    assert len(retest) == 1


def test_winners_are_the_best_completed_trials_and_are_what_is_retested(run_dir):
    winners = {arm: winner["trial_id"] for arm, winner in read_summary(run_dir)["winners"].items()}
    trials = read_rows(run_dir, "trials")
    for arm in ARMS:
        completed = [trial for trial in trials if trial["arm"] == arm and trial["status"] == "completed"]
        best = max(trial["objective"] for trial in completed)
        assert winners[arm] == min(trial["trial_id"] for trial in completed if trial["objective"] == best)
    assert all(row["trial_id"] == winners[row["arm"]] for row in read_rows(run_dir, "retests"))


def test_retests_of_one_seed_share_their_training_images_in_all_arms(run_dir):
    for seed in (1000, 1001):
        rows = [row for row in read_rows(run_dir, "retests") if row["seed"] == seed]
        assert len({row["train_indices_sha256"] for row in rows}) == 1
        assert len({row["weights_sha256"] for row in rows}) == len(ARMS)
    assert len({row["train_indices_sha256"] for row in read_rows(run_dir, "retests")}) == RETEST_SEEDS


def test_test_scores_follow_from_the_confusion_matrices(run_dir):
    num_test = read_summary(run_dir)["dataset"]["num_test"]
    for row in read_rows(run_dir, "retests"):
        confusion = np.array(row["confusion_matrix"])
        assert confusion.shape == (10, 10)
        assert confusion.sum() == num_test
        recall = confusion.diagonal() / confusion.sum(axis=1)
        np.testing.assert_allclose(row["per_class_recall"], recall, rtol=1e-6)
        assert row["test_balanced_accuracy"] == pytest.approx(recall.mean())
        assert row["test_accuracy"] == pytest.approx(confusion.trace() / num_test)
        assert row["test_worst_class_recall"] == pytest.approx(recall.min())


def test_every_rung_decision_follows_from_its_value_and_cutoff(run_dir):
    """ASHA, worked again from the table: in the order of arrival, in each arm by itself."""
    rungs = read_rows(run_dir, "rungs")
    assert rungs
    trials = {trial["trial_id"]: trial for trial in read_rows(run_dir, "trials")}
    values = {(row["trial_id"], row["epoch"]): row["val_balanced_accuracy"] for row in read_rows(run_dir, "epochs")}
    arrived: dict[tuple[str, int], list[float]] = {}
    for row in rungs:  # one slot: the trials of an arm arrive in the order of their numbers
        assert row["rung_epoch"] in RUNGS
        assert row["value"] == values[row["trial_id"], row["rung_epoch"]]
        peers = arrived.setdefault((row["arm"], row["rung_epoch"]), [])
        assert row["num_peers"] == len(peers)
        assert row["cutoff"] == (pytest.approx(float(np.median(peers))) if peers else None)
        stops = row["cutoff"] is not None and row["value"] < row["cutoff"]
        assert row["decision"] == ("stop" if stops else "continue")
        trial = trials[row["trial_id"]]
        assert (trial["status"] == "stopped" and trial["epochs"] == row["rung_epoch"]) == stops
        peers.append(row["value"])
    # The re-weighting of ldam_drw starts by default at round(.8 * 4) = 3: before the 4th epoch there is no rung.
    assert "ldam_drw-0000" not in {row["trial_id"] for row in rungs}
    stopped = {trial["trial_id"] for trial in trials.values() if trial["status"] == "stopped"}
    assert stopped == {row["trial_id"] for row in rungs if row["decision"] == "stop"}


def test_summary_says_complete_and_what_was_run(run_dir):
    summary = read_summary(run_dir)
    assert summary["state"] == "complete"
    assert summary["arms"] == list(ARMS)
    assert summary["budget"]["trials_per_arm"] == TRIALS_PER_ARM
    assert summary["not_retested"] == {}
    assert "--dataset digits" in summary["command"]
    [session] = summary["sessions"]
    assert session["state"] == "complete"
    assert session["ended"] >= session["started"]
    assert session["wall_seconds"] >= session["tune_seconds"] + session["retest_seconds"] > 0
    assert 0 < summary["ledger_milliseconds_per_event"] < 100
    assert json.loads((run_dir / "spec.json").read_text())["numerics"]["precision"] == "float32"


def test_the_page_gives_an_answer_for_every_arm_and_no_nan(run_dir):
    assert_page_answers(run_dir, "scikit-learn's digits with the first five classes cut to 1/10")


def test_the_console_is_plain_in_a_pipe_and_free_of_rays_noise(whole):
    run_dir, stdout, stderr = whole
    assert stderr == ""
    assert not [line for line in stdout.splitlines() if NOISE.search(line)]
    assert len(re.findall(r"^\[\d+/9 trials", stdout, re.MULTILINE)) == len(ARMS) * TRIALS_PER_ARM
    assert "[9/9 trials" in stdout
    for line in ("data: digits", "retest 6/6", f"run:  {run_dir}", f"report: {run_dir / 'report.html'}"):
        assert line in stdout


def test_the_console_says_where_the_dashboard_is_and_how_to_get_in(whole):
    assert re.search(r"^Ray dashboard: http://127\.0\.0\.1:\d+\b.*ray get-auth-token", whole[1], re.MULTILINE)


def test_a_name_is_taken_only_once(run_dir):
    before = contents(run_dir)
    status, stdout, stderr = run_here(
        "study.run", "imbalance", *SETTINGS, "--output-dir", str(run_dir.parent), "--name", run_dir.name
    )
    assert status == 2
    assert stdout == ""
    assert_one_sentence(stderr)
    assert "exists already" in stderr
    assert contents(run_dir) == before


def test_a_gpu_that_is_not_there_is_refused_and_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    output_dir = tmp_path / "reports"
    status, stdout, stderr = run_here(
        "study.run", "imbalance", *SETTINGS, SOONER, "--gpus-per-trial", "1", "--output-dir", str(output_dir)
    )
    assert status == 2
    assert stdout == ""
    assert_one_sentence(stderr)
    assert "--gpus-per-trial must be at most the cluster's 0 GPUs, got 1" in stderr
    assert list(tmp_path.iterdir()) == []


def test_the_page_is_rebuilt_from_the_tables_alone(run_dir, tmp_path, monkeypatch):
    # As in the study's process; here they are coarse.
    monkeypatch.setattr("study.page.figures.base.DPI", DPI)
    monkeypatch.setattr("study.page.figures.base.MOST_SVG_CHARACTERS", MOST_SVG_CHARACTERS)
    copy = tmp_path / run_dir.name
    copy.mkdir()
    for name in ("spec.json", "summary.json", *(f"{table}.parquet" for table in TABLES)):
        shutil.copy(run_dir / name, copy)
    status, stdout, stderr = run_here("study.report", str(copy))
    assert (status, stderr) == (0, "")
    assert stdout.strip() == str(copy / "report.html")
    assert page_text(copy) == page_text(run_dir)
    assert (copy / "report.html").read_text() == (run_dir / "report.html").read_text()


def test_a_study_of_ones_own_images_by_path(one_ray, tmp_path):
    """A folder of Parquet files in the Hugging Face layout, 10 classes told apart by colour."""
    folder = tmp_path / "my-images"
    write_coloured_classes(folder)
    status, stdout, stderr = run_here(
        "study.run", "imbalance", "--dataset", str(folder), "--arms", "none,class_balanced",
        "--trials-per-arm", "1", "--max-epochs", "3", "--retest-seeds", "2", "--image-size", "16",
        "--imbalance-ratio", "5", "--imbalance-classes", "last", "--output-dir",
        str(tmp_path / "reports"), "--name", "own",
    )  # fmt: skip
    assert status == 0, stdout + stderr
    assert stderr == ""
    run_dir = tmp_path / "reports" / "own"
    dataset = read_summary(run_dir)["dataset"]
    assert dataset["class_names"] == COLOURS
    assert dataset["num_test"] == 10 * TEST_PER_CLASS
    rare, common = set(dataset["class_counts"][5:]), set(dataset["class_counts"][:5])
    assert len(rare) == len(common) == 1
    assert rare.pop() == round(common.pop() / 5)
    assert len(read_rows(run_dir, "retests")) == 2 * 2
    assert all(row["test_balanced_accuracy"] > 0.3 for row in read_rows(run_dir, "retests"))  # chance: 0.1
    assert_page_answers(run_dir, "my-images", arms=("none", "class_balanced"))


COLOURS = [f"colour {number}" for number in range(10)]
TRAIN_PER_CLASS, TEST_PER_CLASS = 60, 10


def write_coloured_classes(folder: Path) -> None:
    """cifar10's layout: img {bytes, path}, label, class names in the schema; class k is a colour under noise."""
    rng = np.random.default_rng(0)
    palette = rng.permutation(np.stack(np.meshgrid([40, 128, 215], [40, 215], [40, 215]), -1).reshape(-1, 3))[:10]
    folder.mkdir()
    for split, per_class in (("train", TRAIN_PER_CLASS), ("test", TEST_PER_CLASS)):
        labels = rng.permutation(np.repeat(np.arange(10), per_class))
        blobs = []
        for label in labels:
            pixels = palette[label] + rng.normal(0, 20, (32, 32, 3))
            buffer = io.BytesIO()
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, format="PNG")
            blobs.append({"bytes": buffer.getvalue(), "path": None})
        images = pa.array(blobs, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
        features = {"label": {"names": COLOURS, "_type": "ClassLabel"}}
        table = pa.table({"img": images, "label": pa.array(labels, pa.int64())})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")


def assert_page_answers(run_dir: Path, dataset: str, arms: tuple[str, ...] = ARMS) -> None:
    text = page_text(run_dir)
    [answer] = re.findall(r'<p class="answer">(.*?)</p>', text, re.DOTALL)
    assert dataset in answer
    assert "test balanced accuracy" in answer
    assert any(arm in answer for arm in arms)
    for arm in arms:
        assert arm in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    assert not re.search(r"\bNone\b|\binf\b", text)
    assert not re.search(r"(?:src|href)=\"https?:", text)  # self-contained


def page_text(run_dir: Path) -> str:
    """The page without its script and pictures (base64 may spell anything) and with plain quotes and spaces."""
    text = re.sub(r"data:[^\"')]*", "", (run_dir / "report.html").read_text().split("<script>")[0])
    return text.replace("&#39;", "'").replace("\xa0", " ")


def contents(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}
