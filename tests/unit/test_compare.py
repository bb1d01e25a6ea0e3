"""Runs held against each other: which differences are paired, what differs, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_run import edit_summary, write_run
from scipy import stats
from study_process import assert_one_sentence, run_here

from study.analysis import compare, intervals
from study.analysis.compare import Comparison, Pair, load_comparison
from study.records import tables as records

BEFORE, AFTER = {1: 0.66, 2: 0.69, 3: 0.70}, {1: 0.70, 2: 0.72, 3: 0.75}


def run_of(run_dir: Path, scores: Mapping[str, Mapping[int, float]], **columns: Any) -> Path:
    """A run whose arms have these test scores by seed. columns: values of retests.parquet, one for all rows."""
    write_run(run_dir, arms=tuple(scores), control=next(iter(scores)), retest_seeds=(1,))
    table = records.read_table(run_dir / "retests.parquet")
    by_arm = {row["arm"]: row for row in table.to_pylist()}
    rows = [
        {**by_arm[arm], "seed": seed, "test_balanced_accuracy": score, **columns}
        for arm, of_arm in scores.items()
        for seed, score in of_arm.items()
    ]
    records.write_table(run_dir / "retests.parquet", rows, table.schema)
    return run_dir


def compared(tmp_path: Path, before: Mapping[int, float], after: Mapping[int, float], **columns: Any) -> Comparison:
    """Two runs of one arm."""
    first = run_of(tmp_path / "first", {"none": before})
    return load_comparison([first, run_of(tmp_path / "other", {"none": after}, **columns)])


def edit_dataset(run_dir: Path, **changes: Any) -> None:
    tables = load_comparison([run_dir, run_dir.with_name("first")]).first.tables
    edit_summary(run_dir, dataset={**tables.summary["dataset"], **changes})


# --- intervals


def test_unpaired_difference_matches_the_hand_worked_one() -> None:
    # Means .723333 and .683333, s² 6.33333e-4 and 4.33333e-4: the variance is 3.55556e-4, its root .0188562, and there
    # are 3.55556² / (2.11111² / 2 + 1.44444² / 2) = 3.8642 degrees of freedom, where t is 2.8150: half-width .05308.
    interval = intervals.unpaired_difference(pd.Series(AFTER), pd.Series(BEFORE))
    assert interval is not None
    assert (interval.mean, interval.half_width, interval.n) == (
        pytest.approx(0.04),
        pytest.approx(0.05308, abs=2e-5),
        3,
    )


def test_unpaired_difference_agrees_with_scipy_for_samples_of_unequal_size() -> None:
    few, many = [0.61, 0.64, 0.69], [0.58, 0.60, 0.59, 0.61, 0.57]
    expected = stats.ttest_ind(few, many, equal_var=False).confidence_interval(1 - 0.05 / 4)
    interval = intervals.unpaired_difference(pd.Series(few), pd.Series(many), num_comparisons=4)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert (interval.n, interval.num_comparisons) == (3, 4)


def test_unpaired_difference_of_one_value_has_no_interval_and_of_none_is_none() -> None:
    one = intervals.unpaired_difference(pd.Series([0.5]), pd.Series([0.4, 0.3]))
    assert one is not None
    assert (one.mean, one.low) == (pytest.approx(0.15), None)
    assert intervals.unpaired_difference(pd.Series([], dtype=float), pd.Series([0.4])) is None


def test_equal_scores_within_two_runs_are_no_unpaired_interval_of_width_zero() -> None:
    # Half a test image of 100 is s = .005 in both: .005 * sqrt(2 / 3) = .0040825, t with 4 degrees 2.7764: .011335
    interval = intervals.unpaired_difference(pd.Series([0.71] * 3), pd.Series([0.70] * 3), step=0.01)
    assert interval is not None
    assert interval.half_width == pytest.approx(0.011335, abs=2e-6)


# --- which differences are paired


def test_runs_of_the_same_data_seeds_and_subsets_are_paired(tmp_path: Path) -> None:
    # differences .04 .03 .05: mean .04, s .01; 4.3027 * .01 / 1.732051 = .024841
    (one,) = compare.differences(compared(tmp_path, BEFORE, AFTER))
    assert (one.run, one.pair.first, one.unpaired_because) == ("other", "none", None)
    assert (one.interval.mean, one.interval.half_width) == pytest.approx((0.04, 0.024841), abs=2e-6)
    assert one.interval.excludes_zero


def test_all_differences_of_a_page_hold_together(tmp_path: Path) -> None:
    # Two arms in two other runs: four comparisons, t(2, 1 - .05 / 8) = 8.8602: .01 * 8.8602 / 1.732051 = .051155
    runs = [run_of(tmp_path / name, {"none": BEFORE, "focal": BEFORE}) for name in ("first", "b", "c")]
    runs[2] = run_of(tmp_path / "d", {"none": AFTER, "focal": AFTER})
    found = compare.differences(load_comparison(runs))
    assert [(one.run, one.pair.first) for one in found] == [
        ("b", "none"),
        ("b", "focal"),
        ("d", "none"),
        ("d", "focal"),
    ]
    assert {one.interval.num_comparisons for one in found} == {4}
    assert found[-1].interval.half_width == pytest.approx(0.051155, abs=2e-6)
    assert not found[-1].interval.excludes_zero


def test_seeds_of_which_one_run_has_fewer_are_paired(tmp_path: Path) -> None:
    (one,) = compare.differences(compared(tmp_path, BEFORE, {**AFTER, 4: 0.9, 5: 0.9}))
    assert (one.unpaired_because, one.interval.n, one.num_other) == (None, 3, 5)
    assert one.interval.mean == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ({7: 0.70, 8: 0.72, 9: 0.75}, "they share no retest seed"),
        ({1: 0.70, 2: 0.72, 9: 0.75}, "they share 2 of 3 retest seeds"),
    ],
)
def test_other_seeds_are_not_paired(tmp_path: Path, after: dict[int, float], reason: str) -> None:
    (one,) = compare.differences(compared(tmp_path, BEFORE, after))
    assert one.unpaired_because == reason
    assert one.interval.half_width == pytest.approx(0.05308, abs=2e-5)  # as the hand-worked one


def test_other_training_images_at_a_seed_are_not_paired(tmp_path: Path) -> None:
    (one,) = compare.differences(compared(tmp_path, BEFORE, AFTER, train_indices_sha256="2" * 64))
    assert one.unpaired_because == "a seed chose other training images in one than in the other"


@pytest.mark.parametrize(
    ("fingerprint", "reason"),
    [("beef", "the runs' data are not the same"), (None, "a run did not record its data's fingerprint")],
)
def test_other_or_unknown_data_are_not_paired(tmp_path: Path, fingerprint: str | None, reason: str) -> None:
    compared(tmp_path, BEFORE, AFTER)
    edit_dataset(tmp_path / "other", fingerprint=fingerprint)
    (one,) = compare.differences(load_comparison([tmp_path / "first", tmp_path / "other"]))
    assert one.unpaired_because == reason


def test_the_same_weights_at_all_seeds_are_one_training(tmp_path: Path) -> None:
    (one,) = compare.differences(compared(tmp_path, BEFORE, BEFORE))
    assert one.is_same_training
    (one,) = compare.differences(compared(tmp_path, BEFORE, BEFORE, weights_sha256="3" * 64))
    assert not one.is_same_training


def test_arms_that_only_one_run_retested_are_not_compared(tmp_path: Path) -> None:
    first = run_of(tmp_path / "first", {"none": BEFORE, "focal": BEFORE})
    other = run_of(tmp_path / "other", {"copy": AFTER, "none": AFTER})
    comparison = load_comparison([first, other])
    assert comparison.arms == ("none", "focal", "copy")
    assert [one.pair.first for one in compare.differences(comparison)] == ["none"]
    scores = compare.scores(comparison)
    assert list(zip(scores["arm"], scores["run"], strict=True)) == [
        ("none", "first"), ("none", "other"), ("focal", "first"), ("copy", "other"),
    ]  # fmt: skip


def test_given_pairs_are_compared_and_no_others(tmp_path: Path) -> None:
    first = run_of(tmp_path / "first", {"none": BEFORE, "focal": BEFORE})
    other = run_of(tmp_path / "other", {"none": BEFORE, "copy": AFTER})
    (one,) = compare.differences(load_comparison([first, other], [Pair(first="focal", other="copy")]))
    assert (one.pair.label, one.interval.num_comparisons) == ("copy − focal", 1)
    assert one.interval.half_width == pytest.approx(0.024841, abs=2e-6)


# --- what differs


def test_only_what_differs_is_listed() -> None:
    rows = compare.differing([{"a": 1, "b": 2, "c": [3]}, {"a": 1, "b": 4, "d": None}])
    assert rows == [("b", (2, 4)), ("c", ([3], compare.ABSENT)), ("d", (compare.ABSENT, None))]


def test_knobs_that_differ_alike_in_several_arms_are_one_row(tmp_path: Path) -> None:
    comparison = compared(tmp_path, BEFORE, AFTER)
    assert compare.space_differences(comparison) == []
    rate = {"scale": "log", "low": 0.001, "high": 1.0}
    wider = {**rate, "high": 3.0, "choices": [1]}
    for name, shared in (("first", rate), ("other", wider)):
        run_of(tmp_path / name, {"none": BEFORE, "focal": BEFORE})
        own = {"gamma": {"scale": "linear", "low": 0, "high": 2}} if name == "other" else {}
        edit_summary(tmp_path / name, knobs={"none": {"rate": shared}, "focal": {"rate": shared, **own}})
    found = compare.space_differences(load_comparison([tmp_path / "first", tmp_path / "other"]))
    assert [(row.name, row.arms) for row in found] == [("rate", ("none", "focal")), ("gamma", ("focal",))]
    assert found[0].values == (rate, {**rate, "high": 3.0})
    assert found[1].values[0] == compare.ABSENT


def test_ranges_that_a_run_did_not_record_are_not_compared(tmp_path: Path) -> None:
    comparison = compared(tmp_path, BEFORE, AFTER)
    edit_summary(tmp_path / "other", knobs={"none": {"rate": {"scale": "log"}}})
    comparison = load_comparison([tmp_path / "first", tmp_path / "other"])
    assert [compare.has_ranges(run) for run in comparison.runs] == [True, False]
    assert compare.space_differences(comparison) == []


@pytest.mark.parametrize(("trials", "is_equal"), [(6, True), (7, False)])
def test_budgets_are_equal_where_an_arm_got_as_much(tmp_path: Path, trials: int, is_equal: bool) -> None:
    comparison = compared(tmp_path, BEFORE, AFTER)
    budget = comparison.first.tables.summary["budget"]
    edit_summary(tmp_path / "other", budget={**budget, "trials_per_arm": trials})
    assert compare.are_budgets_equal(load_comparison([tmp_path / "first", tmp_path / "other"])) is is_equal


def test_runs_of_one_name_are_told_apart_by_the_folder_above() -> None:
    assert compare.labels(["/a/x/run", "/a/y/run"]) == ["x/run", "y/run"]
    assert compare.labels(["/a/x", "/a/y"]) == ["x", "y"]


# --- the command


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("study.page.figures.base.DPI", 40)
    for name in ("first", "other"):
        run_of(tmp_path / name, {"none": BEFORE})
    return "first", "other"


def test_the_page_lies_in_a_folder_named_after_the_runs(runs: tuple[str, str]) -> None:
    for name in ("compare-first-other", "compare-first-other-2"):
        status, said, _ = run_here("study.compare", *runs)
        assert (status, said) == (0, f"reports/{name}/report.html\n")
        assert Path(said.strip()).is_file()


def test_a_long_name_is_cut(runs: tuple[str, str], tmp_path: Path) -> None:
    Path("other").rename("o" * 150)
    status, said, _ = run_here("study.compare", "first", "o" * 150, "--output-dir", "pages")
    name = Path(said.strip()).parent.name
    assert status == 0
    assert name.startswith("compare-first-ooo")
    assert len(name) <= 100


def test_a_given_name_is_taken_and_nothing_is_written_over(runs: tuple[str, str]) -> None:
    assert run_here("study.compare", *runs, "--output-dir", ".", "--name", "page")[1] == "page/report.html\n"
    before = Path("first/summary.json").read_bytes()
    for taken in ("page", "first"):
        status, said, complained = run_here("study.compare", *runs, "--output-dir", ".", "--name", taken)
        assert (status, said) == (2, "")
        assert f"{taken} exists already: choose another --name" in complained
    assert Path("first/summary.json").read_bytes() == before
    assert not Path("first/report.html").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("first", "two or more run directories are compared, got 1"),
        ("first other first", "first is given twice: a run is compared with others"),
        ("first link", "link is given twice"),
        (
            "first othr",
            "othr is not a directory; a run directory is wanted, such as reports/NAME; did you mean 'other'?",
        ),
        ("first empty", "empty is not a run directory: it has no summary.json"),
        ("first baseline", "runs of different tasks are not compared: first is of the task 'imbalance', baseline of"),
        (
            "first metric",
            "runs of different metrics are not compared: first is judged by test_balanced_accuracy, metric",
        ),
        ("first reproduction", "reproduction is a reproduction, whose page compares its own runs: give studies"),
        ("first other --pairs focal", "'focal' is no arm of first, whose arms are none"),
        (
            "first other --pairs none=nonee",
            "'nonee' is no arm of the other runs, whose arms are none; did you mean 'none'?",
        ),
        ("first other --pairs none=", "--pairs must be ARM or ARM=OTHER, separated by commas, got 'none='"),
        ("first other --pairs none,none", "--pairs must name each pair once"),
        ("first other --name a/b", "--name must be a plain folder name"),
        ("first other --pair none", "unknown option '--pair'; did you mean '--pairs'?"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    runs: tuple[str, str], tmp_path: Path, words: str, sentence: str
) -> None:
    Path("empty").mkdir()
    Path("link").symlink_to("first")
    write_run(tmp_path / "baseline", task="baseline", arms=("lenet",), control="lenet", retest_seeds=(1,))
    edit_summary(run_of(tmp_path / "metric", {"none": BEFORE}), score="test_accuracy")
    run_of(tmp_path / "reproduction", {"none": BEFORE})
    Path("reproduction/spec.json").write_text('{"task": "reproduce"}')
    there = sorted(path.name for path in tmp_path.iterdir())
    status, said, complained = run_here("study.compare", *words.split())
    assert (status, said) == (2, "")
    assert sentence in complained
    assert_one_sentence(complained)
    assert sorted(path.name for path in tmp_path.iterdir()) == there  # nothing was made
