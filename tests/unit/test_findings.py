"""What single tasks ask of the tables, against numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fake_run import CLASS_NAMES, edit_summary, write_run

from study.analysis import classes, optimizers, puzzles, tau
from study.analysis.tables import Tables, load_tables
from study.analysis.transfer import Transfer, initialisation, label_fraction, transfers
from study.records import tables as records


def change(run_dir: Path, name: str, edit: Any) -> Tables:
    """Edit each row of a table in place and load the run."""
    edit_rows(run_dir, name, edit)
    return load_tables(run_dir)


def edit_rows(run_dir: Path, name: str, edit: Any) -> None:
    table = records.read_table(run_dir / name)
    rows = table.to_pylist()
    for row in rows:
        edit(row)
    records.write_table(run_dir / name, rows, table.schema)


# --- tau


@pytest.fixture
def swept(tmp_path: Path) -> Tables:
    """taus 0, .5, 1: on validation .6, .7, .7; on test .60 .66 .5 and .62 .64 .5 and .61 .68 .5, seeds 1, 2, 3."""
    run_dir = write_run(tmp_path / "run")
    edit_summary(run_dir, taus=[0.0, 0.5, 1.0])
    tests = {1: [0.60, 0.66, 0.5], 2: [0.62, 0.64, 0.5], 3: [0.61, 0.68, 0.5]}

    def set_validation(row: dict[str, Any]) -> None:
        if row["val_balanced_accuracy_by_tau"] is not None:
            row["val_balanced_accuracy_by_tau"] = [0.6, 0.7, 0.7]

    edit_rows(run_dir, "epochs.parquet", set_validation)
    return change(run_dir, "retests.parquet", lambda row: row.update(test_balanced_accuracy_by_tau=tests[row["seed"]]))


def test_tau_is_chosen_on_validation_and_ties_go_to_the_smallest(swept: Tables) -> None:
    sweeps = tau.tau_sweeps(swept)
    assert [sweep.arm for sweep in sweeps] == list(swept.arms)
    assert all(sweep.chosen == 0.5 for sweep in sweeps)
    assert sweeps[0].validation_gain == pytest.approx(0.1)


def test_the_gain_on_test_is_paired_by_seed(swept: Tables) -> None:
    sweep = tau.tau_sweeps(swept)[0]
    at_zero, at_chosen, difference = sweep.test_score(0.0), sweep.test_score(0.5), sweep.test_difference
    assert at_zero is not None
    assert at_chosen is not None
    assert difference is not None
    assert (at_zero.mean, at_chosen.mean) == pytest.approx((0.61, 0.66))
    # differences .06 .02 .07: mean .05, s = sqrt(.0014 / 2) = .0264575; 4.3027 * s / sqrt(3) = .065724
    assert (difference.mean, difference.half_width) == pytest.approx((0.05, 0.065724), abs=2e-6)


def test_an_arm_without_retest_has_a_sweep_without_test(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run")
    rows = [row for row in records.read_table(run_dir / "retests.parquet").to_pylist() if row["arm"] != "focal"]
    records.write_table(run_dir / "retests.parquet", rows, records.RETESTS)
    sweeps = {sweep.arm: sweep for sweep in tau.tau_sweeps(load_tables(run_dir))}
    assert (sweeps["focal"].test_score(0.0), sweeps["focal"].test_difference) == (None, None)
    assert sweeps["none"].test is not None


def test_a_run_without_taus_has_no_sweeps(tmp_path: Path) -> None:
    assert tau.tau_sweeps(load_tables(write_run(tmp_path / "run", task="baseline"))) == []


# --- baseline


def test_models_by_optimizer_judges_completed_trials_and_counts_all(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", task="baseline", early_stopping=False, failed=["lenet-0003"])
    scores = {"lenet-0000": 0.61, "lenet-0001": 0.9, "lenet-0003": None}

    def set_score(row: dict[str, Any]) -> None:
        row["objective"] = scores.get(row["trial_id"], 0.5)

    # The fake deals sgd, adam, adamw in turn: trials 0 and 3 are sgd, 3 failed.
    cells = optimizers.models_by_optimizer(change(run_dir, "trials.parquet", set_score)).set_index(["arm", "optimizer"])
    assert tuple(cells.loc[("lenet", "sgd")]) == (0.61, 1, 2)
    assert tuple(cells.loc[("lenet", "adam")]) == (0.9, 2, 2)
    assert len(cells) == 9


# --- cifar100


@pytest.fixture
def three_classes(tmp_path: Path) -> Tables:
    """Arms "good" and "bad" (the control) on classes a, b | c: a and b are of one superclass."""
    run_dir = write_run(tmp_path / "run", task="cifar100", arms=["bad", "good"], control="bad", retest_seeds=(1, 2))
    dataset = json.loads((run_dir / "summary.json").read_text())["dataset"]
    names = {"class_names": ["a", "b", "c"], "superclass_names": ["ab", "only c"], "superclass_of": [0, 0, 1]}
    numbers = {"num_classes": 3, "class_counts": dataset["class_counts"][:3]}
    edit_summary(run_dir, dataset={**dataset, **names, **numbers})
    confusions = {"good": [[9, 1, 0], [3, 6, 1], [0, 2, 8]], "bad": [[5, 5, 0], [1, 9, 0], [5, 0, 5]]}

    def set_confusion(row: dict[str, Any]) -> None:
        matrix = confusions[row["arm"]]
        row["confusion_matrix"] = matrix
        row["per_class_recall"] = [matrix[j][j] / 10 for j in range(3)]
        row["test_accuracy"] = sum(row["per_class_recall"]) / 3

    return change(run_dir, "retests.parquet", set_confusion)


def test_the_hardest_classes_are_the_best_arms_with_the_control_beside(three_classes: Tables) -> None:
    assert classes.compared_arms(three_classes) == ("good", "bad")
    hardest = classes.hardest_classes(three_classes, num_classes=2)
    assert list(hardest["class_name"]) == ["b", "c"]
    assert list(hardest["superclass"]) == ["ab", "only c"]
    assert list(hardest["best"]) == pytest.approx([0.6, 0.8])
    assert list(hardest["control"]) == pytest.approx([0.9, 0.5])


def test_confused_pairs_leave_the_diagonal_out_and_give_shares_of_the_true_class(three_classes: Tables) -> None:
    pairs = classes.confused_pairs(three_classes, num_pairs=10)
    assert list(pairs[["true", "predicted"]].itertuples(index=False, name=None)) == [
        ("b", "a"), ("c", "b"), ("a", "b"), ("b", "c"),
    ]  # fmt: skip
    assert list(pairs["best"]) == pytest.approx([0.3, 0.2, 0.1, 0.1])
    assert list(pairs["control"]) == pytest.approx([0.1, 0.0, 0.5, 0.0])
    assert list(pairs["is_same_superclass"]) == [True, False, True, False]


def test_superclasses_weigh_their_classes_alike(three_classes: Tables) -> None:
    # "ab" holds a and b: (.9 + .6) / 2.
    assert classes.superclass_recall(three_classes, "good") == pytest.approx([0.75, 0.8])
    # Of a's images all, of b's nine tenths are taken for a or b; of c's two tenths.
    assert classes.superclass_confusion(three_classes, "good").ravel() == pytest.approx([0.95, 0.05, 0.2, 0.8])
    assert classes.has_superclasses(three_classes)


def test_classes_without_superclasses_have_none(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", task="baseline"))
    assert set(classes.hardest_classes(tables, num_classes=10)["class_name"]) == set(CLASS_NAMES)
    assert not classes.has_superclasses(tables)
    assert classes.hardest_classes(tables)["superclass"].isna().all()
    assert classes.hardest_classes(tables)["num_images"].isna().all()
    assert classes.confused_pairs(tables)["is_same_superclass"].isna().all()


# --- transfer


def transfer(tmp_path: Path, **scores: list[float]) -> Transfer:
    """At 10 % of the labels, with the scores of scratch, scratch_equal_epochs and jigsaw at seeds 1, 2, 3."""
    run_dir = write_run(tmp_path / "run", task="jigsaw")
    by_arm = {f"{name}_10pct": values for name, values in scores.items()}
    template = records.read_table(run_dir / "retests.parquet").to_pylist()[-1]
    rows = [
        {**template, "arm": arm, "trial_id": f"{arm}-0000", "seed": seed, "test_accuracy": value}
        for arm, values in by_arm.items()
        for seed, value in enumerate(values, start=1)
    ]
    records.write_table(run_dir / "retests.parquet", rows, records.RETESTS)
    return transfers(load_tables(run_dir))[0]


LOW, MIDDLE, HIGH = [0.50, 0.51, 0.52], [0.60, 0.61, 0.62], [0.70, 0.71, 0.72]
NEAR_HIGH = [0.71, 0.69, 0.73]  # its differences to HIGH, .01 -.02 .01, include 0


@pytest.mark.parametrize(
    ("scratch", "equal_epochs", "words"),
    [
        (LOW, MIDDLE, "helps"),
        (LOW, NEAR_HIGH, "gives no measurable gain over training for as many epochs on the labels"),
        (LOW, [0.80, 0.81, 0.82], "beats scratch, but training for as many epochs on the labels is better"),
        (NEAR_HIGH, NEAR_HIGH, "gives no measurable gain"),
        (NEAR_HIGH, LOW, "gives no measurable gain over scratch"),
        ([0.80, 0.81, 0.82], [0.80, 0.81, 0.83], "hurts"),
        ([0.80, 0.81, 0.82], NEAR_HIGH, "hurts against scratch"),
    ],
)
def test_transfer_helps_only_where_both_intervals_exclude_0(
    tmp_path: Path, scratch: list[float], equal_epochs: list[float], words: str
) -> None:
    found = transfer(tmp_path, scratch=scratch, scratch_equal_epochs=equal_epochs, jigsaw=HIGH)
    assert found.words == words


def test_transfer_has_no_verdict_from_one_seed_or_without_a_control(tmp_path: Path) -> None:
    assert transfer(tmp_path / "a", scratch=[0.5], scratch_equal_epochs=[0.5], jigsaw=[0.9]).words is None
    found = transfer(tmp_path / "b", scratch=LOW, jigsaw=HIGH)
    assert (found.words, found.to_equal_epochs) == (None, None)
    assert found.to_scratch is not None
    assert found.to_scratch.mean == pytest.approx(0.2)


def test_initialisation_and_fraction_are_the_arms_recorded_factors(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", task="jigsaw"))
    assert initialisation(tables, "scratch_equal_epochs_10pct") == "scratch_equal_epochs"
    assert label_fraction(tables, "jigsaw_100pct") == 1.0
    assert initialisation(tables, "no such arm") is None


def test_factors_of_a_run_that_did_not_record_them_are_those_of_its_trials(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", task="jigsaw")
    trials = records.read_table(run_dir / "trials.parquet").to_pylist()
    for trial in trials:
        name, _, percent = trial["arm"].rpartition("_")
        is_transfer = trial["stage"] == "tune"
        trial["factor/initialisation"] = name if is_transfer else None
        trial["factor/label_fraction"] = str(float(percent.removesuffix("pct")) / 100) if is_transfer else None
    columns = {"factor/initialisation": pa.string(), "factor/label_fraction": pa.string()}
    records.write_table(
        run_dir / "trials.parquet",
        trials,
        records.with_columns(records.read_table(run_dir / "trials.parquet").schema, columns),
    )
    edit_summary(run_dir, arm_factors=None)
    tables = load_tables(run_dir)
    assert initialisation(tables, "scratch_equal_epochs_10pct") == "scratch_equal_epochs"
    assert label_fraction(tables, "jigsaw_10pct") == 0.1
    assert initialisation(tables, "jigsaw_2x2") is None


# --- puzzles


def test_chance_at_four_tiles() -> None:
    chance = {metric.name: metric.chance(4) for metric in puzzles.PUZZLE_METRICS}
    # 4! = 24 orders; 4^4 = 256 ways to guess each tile on its own, of which 24 repeat no place.
    assert chance == pytest.approx(
        {
            "exact_accuracy": 1 / 24,
            "tile_accuracy": 0.25,
            "exact_accuracy_argmax": 1 / 256,
            "tile_accuracy_argmax": 0.25,
            "confidence": 0.25,
            "invalid_argmax": 232 / 256,
        }
    )


def test_puzzle_metrics_are_the_winners_validation_and_the_retests_mean(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", task="jigsaw")
    exact = {1: 0.60, 2: 0.62, 3: 0.64}

    def set_exact(row: dict[str, Any]) -> None:
        if row["stage"] == "pretext_retest":
            row["test_exact_accuracy"] = exact[row["seed"]]

    tables = change(run_dir, "retests.parquet", set_exact)
    row = puzzles.puzzle_metrics(tables, "jigsaw_2x2").iloc[0]
    best = tables.trials[(tables.trials["stage"] == "pretext") & (tables.trials["status"] == "completed")]
    assert (row["validation"], row["chance"]) == pytest.approx((best["objective"].max(), 1 / 24))
    # s .02: half-width 4.3027 * .02 / 1.732051 = .049683
    assert (row["mean"], row["low"], row["n"]) == pytest.approx((0.62, 0.62 - 0.049683, 3), abs=2e-6)
