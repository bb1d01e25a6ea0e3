"""The statistics, against numbers worked out by hand with t-quantiles from a printed table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from fake_run import FOURTEEN_ARMS, IMAGES_PER_EPOCH, edit_summary, write_run

from study.analysis import classes, intervals, results
from study.analysis.budgets import arm_budgets, image_spread, least_equal_budgets, rung_survivors
from study.analysis.contenders import may_be_best
from study.analysis.drops import validation_drops
from study.analysis.selection import selection
from study.analysis.tables import Tables, knob, load_tables
from study.page.drops import drop_sentence
from study.records import tables as records


def scores(values: dict[int, float]) -> pd.Series:
    return pd.Series(values, dtype="float64")


def trials(*rows: tuple[str, int, str, float | None]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["arm", "number", "status", "objective"])
    return frame.assign(stage="tune", trial_id=frame["arm"] + "-" + frame["number"].astype(str))


def test_t_interval_of_three_values_matches_the_hand_worked_one() -> None:
    # mean .713333, s = sqrt(4.66667e-4 / 2) = .0152753, t(2, .975) = 4.3027; 4.3027 * s / sqrt(3) = .037946
    interval = intervals.t_interval([0.70, 0.71, 0.73])
    assert interval.mean == pytest.approx(0.7133333)
    assert interval.low == pytest.approx(0.675388, abs=2e-6)
    assert interval.high == pytest.approx(0.751279, abs=2e-6)
    assert interval.n == 3


def test_t_interval_of_five_values_matches_the_hand_worked_one() -> None:
    # 1..5: mean 3, s = sqrt(2.5), t(4, .975) = 2.7764; 2.7764 * 1.581139 / 2.236068 = 1.9632
    interval = intervals.t_interval([1, 2, 3, 4, 5])
    assert (interval.low, interval.high) == pytest.approx((1.0368, 4.9632), abs=1e-4)


def test_one_value_has_no_interval() -> None:
    interval = intervals.t_interval([0.7])
    assert (interval.mean, interval.low, interval.high, interval.half_width) == (0.7, None, None, None)
    assert not interval.excludes_zero


@pytest.mark.parametrize("values", [[], [0.5, float("nan")]])
def test_t_interval_refuses_nothing_and_nan(values: list[float]) -> None:
    with pytest.raises(ValueError, match="one or more numbers"):
        intervals.t_interval(values)


def test_paired_difference_matches_the_hand_worked_one() -> None:
    # differences .04 .03 .05: mean .04, s .01; 4.3027 * .01 / 1.732051 = .024841
    treated, control = scores({1: 0.70, 2: 0.72, 3: 0.75}), scores({3: 0.70, 2: 0.69, 1: 0.66})
    interval = intervals.paired_difference(treated, control)
    assert interval is not None
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.04, 0.015159, 0.064841), abs=2e-6)
    # One of five that hold together: at 99 %, t(2, .995) = 9.9248: half-width .057301, so that 0 is inside.
    stricter = intervals.paired_difference(treated, control, num_comparisons=5)
    assert stricter is not None
    assert stricter.half_width == pytest.approx(0.057301, abs=2e-6)
    assert interval.excludes_zero
    assert not stricter.excludes_zero


def test_equal_differences_of_a_few_test_images_are_no_interval_of_width_zero() -> None:
    # 100 test images, each seed one apart: s counts .005, so ± 4.3027 * .005 / 1.732051 = .012421, and 0 is inside.
    treated, control = scores({1: 0.71, 2: 0.72, 3: 0.75}), scores({1: 0.70, 2: 0.71, 3: 0.74})
    interval = intervals.paired_difference(treated, control, step=0.01)
    assert interval is not None
    assert interval.half_width == pytest.approx(0.012421, abs=2e-6)
    assert not interval.excludes_zero


def test_the_best_of_two_equal_arms_is_overstated_by_what_the_larger_of_two_draws_is() -> None:
    # Residuals ∓.005, ±.005, 0: s² = 1e-4 / 2, standard error sqrt(5e-5 / 3) = .0040825. Equal means: the larger of two
    # normal draws lies 1 / sqrt(pi) = .56419 above their mean.
    found = selection({"a": scores({1: 0.70, 2: 0.72, 3: 0.71}), "b": scores({1: 0.71, 2: 0.71, 3: 0.71})})
    assert found is not None
    assert found.overstated == pytest.approx(0.56419 * 0.0040825, rel=0.05)
    assert found.held_out is None
    # The same noise, and arms that none confuses
    apart = selection({"a": scores({1: 0.90, 2: 0.92, 3: 0.91}), "b": scores({1: 0.71, 2: 0.71, 3: 0.71})})
    assert apart is not None
    assert apart.overstated == pytest.approx(0, abs=2e-4)


def test_the_arm_that_the_other_seeds_pick_is_read_on_the_one_left_out() -> None:
    # Without seed 1, b is better (.7 to .6) and has .5 on it; without any other, a is (.667 to .633) and has .6 on it.
    found = selection({"a": scores({1: 0.8, 2: 0.6, 3: 0.6, 4: 0.6}), "b": scores({1: 0.5, 2: 0.7, 3: 0.7, 4: 0.7})})
    assert found is not None
    assert found.held_out == pytest.approx((0.5 + 3 * 0.6) / 4)


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_one_arm_or_one_common_seed_says_nothing_of_how_it_was_picked(seeds: tuple[int, ...]) -> None:
    one = scores(dict.fromkeys(seeds, 0.7))
    assert selection({"a": one}) is None
    assert selection({"a": one, "b": scores({1: 0.6})}) is None
    assert selection({}) is None


def test_another_set_of_test_images_moves_a_score_by_the_binomial_spread() -> None:
    # 1.95996 * sqrt(.8 * .2 / 400) = 1.95996 * .02
    assert intervals.test_images_half_width(0.8, 400) == pytest.approx(0.0391993)


def test_paired_difference_uses_shared_seeds_only() -> None:
    interval = intervals.paired_difference(scores({1: 0.5, 2: 0.9}), scores({1: 0.4, 7: 0.1}))
    assert interval is not None
    assert (interval.mean, interval.n, interval.low) == (pytest.approx(0.1), 1, None)
    assert intervals.paired_difference(scores({1: 0.5}), scores({2: 0.4})) is None


def test_winner_is_the_best_completed_trial_and_ties_go_to_the_lower_number() -> None:
    frame = trials(
        ("b", 0, "completed", 0.5),
        ("a", 3, "completed", 0.6),
        ("a", 1, "completed", 0.6),
        ("a", 2, "stopped", 0.9),
        ("a", 0, "failed", None),
        ("c", 0, "stopped", 0.8),
        ("d", 0, "completed", None),
    )
    won = results.winners(frame)
    assert list(won["trial_id"]) == ["b-0", "a-1"]


def test_winners_are_of_one_stage() -> None:
    frame = trials(("a", 0, "completed", 0.5), ("a", 1, "completed", 0.9))
    frame["stage"] = ["tune", "pretext"]
    assert list(results.winners(frame)["trial_id"]) == ["a-0"]
    assert list(results.winners(frame, "pretext")["trial_id"]) == ["a-1"]


def test_a_knob_is_found_as_hyperparameter_or_as_factor() -> None:
    frame = pd.DataFrame({"config/lr": [0.1, None], "factor/lr": ["x", "y"], "factor/loss": ["focal", None]})
    assert list(knob(frame, "lr").dropna()) == [0.1]
    assert list(knob(frame, "loss").dropna()) == ["focal"]
    assert knob(frame, "absent").isna().all()


def test_winners_of_no_trials_is_empty() -> None:
    assert results.winners(trials()).empty


@pytest.mark.parametrize(("least", "spread"), [(910, 0.09), (900, 0.10), (890, 0.11), (1000, 0.0)])
def test_image_spread_is_relative_to_the_largest(least: int, spread: float) -> None:
    assert image_spread(pd.DataFrame({"num_images": [1000, least, 1000]})) == pytest.approx(spread)


def test_budgets_are_compared_only_where_they_were_to_be_alike() -> None:
    budgets = pd.DataFrame(
        {
            "group": ["a", "a", "a", "b", "b"],
            "full_epochs": [9, 9, 15, 9, 9],
            "num_images": [100, 95, 200, 10, 8],
        }
    )
    # Group a at 9 epochs: 5 %; at 15: one arm alone, 0; group b: 20 %.
    least_equal = least_equal_budgets(budgets)
    assert list(least_equal["num_images"]) == [10, 8]
    assert image_spread(least_equal) == pytest.approx(0.2)


def test_budgets_count_what_early_stopping_saved(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", never_completed=["focal"]))
    budgets = arm_budgets(tables).set_index("arm")
    # All six trials of focal stop at the first rung: 1 epoch each of 9, 19 s an epoch.
    focal = budgets.loc["focal"]
    assert (focal["num_epochs"], focal["num_images"], focal["num_stopped"]) == (6, 6 * IMAGES_PER_EPOCH, 6)
    assert (focal["saved_epochs"], focal["saved_images"]) == (48, 48 * IMAGES_PER_EPOCH)
    assert (focal["seconds"], focal["saved_seconds"]) == (6 * 19.0, 48 * 19.0)


def test_a_failed_trial_saves_nothing(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", early_stopping=False, failed=["focal-0002"]))
    focal = arm_budgets(tables).set_index("arm").loc["focal"]
    assert (focal["num_epochs"], focal["saved_epochs"]) == (5 * 9 + 3, 0)


def test_survivors_of_a_rung_reach_the_next(tmp_path: Path) -> None:
    survivors = rung_survivors(load_tables(write_run(tmp_path / "run")))
    assert (survivors["num_continued"] + survivors["num_stopped"] == survivors["num_reached"]).all()
    first, second = (survivors[survivors["rung_epoch"] == epoch].set_index("arm") for epoch in (1, 3))
    assert (first["num_reached"] == 6).all()
    assert (first["num_continued"] == second["num_reached"]).all()


def test_verdict_names_a_clear_best_arm_and_adjusts_for_all_comparisons(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", lift={"weighted_sampler": 0.15}))
    verdict = results.verdict(tables, tables.groups[0])
    assert (verdict.best, verdict.challenger) == ("weighted_sampler", "weighted_sampler")
    assert verdict.difference is not None
    assert verdict.difference.num_comparisons == 5
    assert verdict.difference.excludes_zero
    assert verdict.may_be_best == ("weighted_sampler",)
    unadjusted = intervals.paired_difference(
        *(results.seed_scores(tables.main_retests, arm, tables.score) for arm in ("weighted_sampler", "none"))
    )
    assert unadjusted is not None
    # t(2, .995) / t(2, .975)
    assert verdict.difference.half_width == pytest.approx(9.92484 / 4.30265 * unadjusted.half_width, rel=1e-5)


def test_the_arms_that_may_be_the_best_are_those_that_none_is_measurably_above() -> None:
    # b - c = .02 .03 .02, s = .005774, t(2, .9875) = 6.2053: ± .020684, so c is ruled out, and not by a:
    # a - c = .04 .00 .04. a - b = .02 -.03 .02 includes 0.
    found = {"a": [0.74, 0.70, 0.74], "b": [0.72, 0.73, 0.72], "c": [0.70, 0.70, 0.70]}
    indexed = {arm: scores(dict(enumerate(values))) for arm, values in found.items()}
    assert may_be_best(indexed, step=0.0) == ("a", "b")
    # One test image in fifty is worth .02: a spread of .005774 counts .01, and ± .035827 rules nothing out.
    assert may_be_best(indexed, step=0.02) == ("a", "b", "c")


def test_verdict_may_name_the_control(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", lift={"none": 0.2}))
    verdict = results.verdict(tables, tables.groups[0])
    assert verdict.best == "none"
    assert verdict.challenger not in (None, "none")
    assert verdict.difference is not None
    assert verdict.difference.mean < 0


def test_arm_table_has_a_row_for_every_arm_also_without_a_completed_trial(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", arms=FOURTEEN_ARMS, never_completed=["focal"]))
    table = results.arm_table(tables)
    assert set(table["arm"]) == set(FOURTEEN_ARMS)
    assert table["mean"].head(13).is_monotonic_decreasing
    assert table["arm"].iloc[-1] == "focal"
    assert pd.isna(table["val_objective"].iloc[-1])


def test_differences_are_to_the_control_of_the_arms_own_group(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", task="jigsaw"))
    differences = results.arm_differences(tables).set_index("arm")
    assert set(differences.index) == {
        "jigsaw_10pct", "scratch_equal_epochs_10pct", "jigsaw_100pct", "scratch_equal_epochs_100pct",
    }  # fmt: skip
    scores = tables.retests[tables.retests["stage"] == "retest"].groupby("arm")["test_accuracy"].mean()
    for fraction in ("10pct", "100pct"):
        by_hand = scores[f"jigsaw_{fraction}"] - scores[f"scratch_{fraction}"]
        assert differences.loc[f"jigsaw_{fraction}", "mean"] == pytest.approx(by_hand)


def test_the_pretext_is_no_arm_of_the_results_and_spends_none_of_their_budget(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", task="jigsaw"))
    assert "jigsaw_2x2" in set(tables.trials["arm"])
    for frame in (results.arm_table(tables), arm_budgets(tables), rung_survivors(tables)):
        assert set(frame["arm"]) == set(tables.arms)
        assert "jigsaw_2x2" not in tables.arms


def test_saved_epochs_count_from_the_arms_own_full_length(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", task="jigsaw", never_completed=["scratch_equal_epochs_10pct"])
    budgets = arm_budgets(load_tables(run_dir)).set_index("arm")
    # Six trials stop at the first rung, 1 epoch each of 15.
    assert budgets.loc["scratch_equal_epochs_10pct", "saved_epochs"] == 6 * 14


def test_a_group_without_a_control_has_no_differences(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", arms=["focal", "class_balanced"], control=None))
    verdict = results.verdict(tables, tables.groups[0])
    assert results.arm_differences(tables).empty
    assert (verdict.is_control_retested, verdict.difference, verdict.above_control) == (False, None, ())
    assert verdict.best in ("focal", "class_balanced")


def test_generalisation_gap_is_training_minus_test_at_the_last_epoch(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", task="cifar100", retest_seeds=(1, 2))
    rows = records.read_table(run_dir / "epochs.parquet").to_pylist()
    training, seen = {"memorise": (1.0, 0.9), "plain": (0.7, 0.7)}, set()
    for row in rows:
        if row["stage"] == "retest" and row["arm"] in training:
            seed = int(row["trial_id"][-1])
            row["train_eval_accuracy"] = training[row["arm"]][seed - 1] if row["epoch"] == 9 else 0.0
            row["test_accuracy"] = 0.5
            seen.add(row["trial_id"])
    records.write_table(run_dir / "epochs.parquet", rows, records.EPOCHS)
    gaps = results.generalisation_gaps(load_tables(run_dir))
    assert len(seen) == 4
    # (.5 + .4) / 2 and .2
    assert (gaps["memorise"], gaps["plain"]) == pytest.approx((0.45, 0.2))


def test_mean_confusion_weighs_the_seeds_alike() -> None:
    matrices = [[[8, 2], [0, 0]], [[1, 1], [0, 4]]]
    retests = pd.DataFrame({"stage": "retest", "arm": "a", "confusion_matrix": matrices})
    summary = {"arms": ["a"]}
    empty = pd.DataFrame()
    tables = Tables(spec={}, summary=summary, trials=empty, epochs=empty, rungs=empty, retests=retests)
    # Row 1: (.8 + .5) / 2 and (.2 + .5) / 2; row 2 of the first seed has no image and counts as 0.
    assert classes.mean_confusion(tables, "a").ravel() == pytest.approx([0.65, 0.35, 0.0, 0.5])


@pytest.mark.parametrize("name", ["summary.json", "spec.json", "trials.parquet", "retests.parquet"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    run_dir = write_run(tmp_path / "run")
    (run_dir / name).unlink()
    with pytest.raises(ValueError, match=name):
        load_tables(run_dir)


def test_a_truncated_table_and_a_broken_summary_are_named(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run")
    content = (run_dir / "epochs.parquet").read_bytes()
    (run_dir / "epochs.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"epochs\.parquet cannot be read"):
        load_tables(run_dir)
    (run_dir / "summary.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        load_tables(run_dir)


def test_a_winners_fall_is_its_validation_less_its_mean_test_score(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", arms=["none", "focal"]))
    made = trials(
        ("none", 0, "completed", 0.70), ("none", 1, "completed", 0.74), ("none", 2, "stopped", 0.9),
        ("focal", 0, "completed", 0.60),
    )  # fmt: skip
    retests = pd.DataFrame(
        [("none", 1, 0.70), ("none", 2, 0.72), ("focal", 1, 0.62)], columns=["arm", "seed", tables.score]
    ).assign(stage="retest")
    found = validation_drops(replace(tables, trials=made, retests=retests)).set_index("arm")
    assert found.loc["none", ["num_trials", "num_completed"]].tolist() == [3, 2]
    assert found["drop"].to_dict() == pytest.approx({"none": 0.74 - 0.71, "focal": -0.02})
    sentence = drop_sentence(replace(tables, trials=made, retests=retests))
    assert sentence is not None
    assert "fall by 0.5 points on average (change by −3.0 to +2.0); the arms had 1 to 3 trials" in sentence


def test_no_fall_is_given_between_two_metrics(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", arms=["none", "focal"]))
    assert not validation_drops(tables).empty
    assert validation_drops(replace(tables, summary={**tables.summary, "objective": "val_accuracy"})).empty


def without(run_dir: Path, table: str, column: str) -> None:
    path = run_dir / f"{table}.parquet"
    pq.write_table(records.read_table(path).drop([column]), path)


def test_a_table_of_an_older_version_is_read_with_nulls_where_it_had_no_column(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", arms=["none", "focal"])
    without(run_dir, "retests", "test_top5_accuracy")
    without(run_dir, "trials", "objective")
    tables = load_tables(run_dir)
    assert tables.retests["test_top5_accuracy"].isna().all()
    assert results.winners(tables.trials).empty
    assert len(results.arm_table(tables)) == 2


@pytest.mark.parametrize(
    ("table", "column"), [("rungs", "stage"), ("retests", "seed"), ("epochs", "train_seconds"), ("trials", "arm")]
)
def test_a_table_without_what_is_never_null_is_refused_with_the_version_that_wrote_it(
    tmp_path: Path, table: str, column: str
) -> None:
    run_dir = write_run(tmp_path / "run", arms=["none"])
    edit_summary(run_dir, commit="0ld" * 3)
    without(run_dir, table, column)
    with pytest.raises(ValueError, match=f"{table}.parquet was written by commit 0ld0ld0ld.*it lacks {column}"):
        load_tables(run_dir)
