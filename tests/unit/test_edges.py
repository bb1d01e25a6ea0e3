"""Winners at the edge of what was searched, with ranges to try next worked out by hand, and arms otherwise crowned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_run import edit_summary, write_run

from study.analysis import results
from study.analysis.edges import Edge, Edges, edge_of, limits, winners_at_edges
from study.analysis.tables import Tables, load_tables
from study.page import cautions
from study.page import tables as page_tables
from study.page.tasks.registry import find_page
from study.records import tables as records

RATE = {"scale": "log", "low": 0.01, "high": 0.3}
MOMENTUM = {"scale": "linear", "low": 0.7, "high": 0.97}
BATCH = {"scale": "linear", "low": 64, "high": 256, "choices": [64, 128, 256]}
CUTOUT = {"scale": "linear", "low": 8, "high": 16, "choices": [8, 12, 16]}
BETA = {"scale": "logit", "low": 0.99, "high": 0.99999, "choices": [0.99, 0.999, 0.9999, 0.99999]}
SHARE = {"scale": "logit", "low": 0.1, "high": 0.9}
SMOOTHING = {"scale": "linear", "low": 0.0, "high": 0.2}
MAGNITUDE = {"scale": "linear", "low": 3, "high": 15}
SCALE = {"scale": "linear", "low": -2.0, "high": 2.0}


def run_with(run_dir: Path, knob: str, axis: dict[str, Any], value: Any) -> Tables:
    """A run of one arm whose winner has this value."""
    write_run(run_dir, arms=("none",))
    winner = json.loads((run_dir / "summary.json").read_text())["winners"]["none"]
    edit_summary(run_dir, knobs={"none": {knob: axis}}, winners={"none": {**winner, "config": {knob: value}}})
    return load_tables(run_dir)


def found_in(tables: Tables) -> Edges:
    edges = winners_at_edges(tables)
    assert edges is not None
    return edges


@pytest.mark.parametrize(
    ("axis", "value", "end"),
    [
        (RATE, 0.26, "upper"),  # log10 26 / log10 30 = .9579
        (RATE, 0.25, None),  # log10 25 / log10 30 = .9464
        (RATE, 0.0118, "lower"),  # log10 1.18 / log10 30 = .0487
        (RATE, 0.012, None),  # .0536
        (MOMENTUM, 0.957, "upper"),  # .257 / .27 = .9519
        (MOMENTUM, 0.956, None),  # .9481
        (SHARE, 0.88, "upper"),  # ln 7.3333 / ln 81 + 1/2 = .9534
        (SHARE, 0.87, None),  # ln 6.6923 / ln 81 + 1/2 = .9326
        (BATCH, 256, "upper"),
        (BATCH, 128, None),
        (BETA, 0.99, "lower"),
        (BETA, 0.999, None),
        (MAGNITUDE, 3, "lower"),
        (MAGNITUDE, 4, None),
    ],
)
def test_an_edge_is_five_per_cent_of_the_range_on_its_scale_or_an_end_of_choices(
    axis: dict[str, Any], value: float, end: str | None
) -> None:
    assert edge_of(axis, value) == end


@pytest.mark.parametrize(
    ("knob", "axis", "value", "beyond"),
    [
        ("learning_rate", RATE, 0.3, 0.95),  # .3 * sqrt(10) = .9487
        ("learning_rate", RATE, 0.01, 0.0032),
        ("weight_decay", {"scale": "log", "low": 1e-5, "high": 1e-2}, 1e-2, 0.032),
        ("momentum", MOMENTUM, 0.97, 0.985),  # .97 + .135 is no momentum: half of the way to 1
        ("momentum", MOMENTUM, 0.7, 0.565),
        ("batch_size", BATCH, 256, 512),  # steps of 64 and 128: the ratio goes on
        ("batch_size", BATCH, 64, 32),
        ("cutout_length", CUTOUT, 16, 20),  # equal steps go on
        ("class_weight_beta", BETA, 0.99999, 0.999999),
        ("class_weight_beta", BETA, 0.99, 0.9),
        ("label_smoothing", SMOOTHING, 0.2, 0.3),
        ("randaugment_magnitude", MAGNITUDE, 15, 21),
        ("drop_path", SHARE, 0.9, 0.966),  # odds 9 * 3.1623 = 28.46, so 1 - 1 / 29.46 = 1 - .034
        ("unheard_of", SCALE, 2.0, 4.0),
        ("unheard_of", SCALE, -2.0, -4.0),
    ],
)
def test_the_range_to_try_next(tmp_path: Path, knob: str, axis: dict[str, Any], value: float, beyond: float) -> None:
    (edge,) = found_in(run_with(tmp_path / "run", knob, axis, value)).found
    assert (edge.arm, edge.knob, edge.value) == ("none", knob, value)
    assert edge.beyond == pytest.approx(beyond)


@pytest.mark.parametrize(
    ("knob", "axis", "value"),
    [
        ("label_smoothing", SMOOTHING, 0.0),  # it ends there itself
        ("sampler_exponent", {"scale": "linear", "low": 0.0, "high": 1.0}, 1.0),
        ("unheard_of", {"scale": "linear", "low": 0.0, "high": 2.0}, 0.0),
        ("randaugment_num_ops", {"scale": "linear", "low": 1, "high": 2}, 2),  # of two values each is an end
        ("batch_size", {**BATCH, "choices": [64, 256]}, 256),
        ("schedule", {"scale": "category"}, "cosine"),
        ("learning_rate", RATE, None),
        ("learning_rate", {"scale": "log", "low": 0.1, "high": 0.1}, 0.1),
    ],
)
def test_an_end_beyond_which_there_is_nothing_is_no_edge(
    tmp_path: Path, knob: str, axis: dict[str, Any], value: Any
) -> None:
    tables = run_with(tmp_path / "run", knob, axis, value)
    edges = winners_at_edges(tables)
    assert edges is None or not edges.found
    assert cautions.edges_table(tables) is None


def test_how_many_values_would_lie_at_an_edge_by_chance(tmp_path: Path) -> None:
    """Two ends of a twentieth, one such end (0 is smoothing's own), and two of three choices: .1 + .05 + .6667."""
    run_dir = tmp_path / "run"
    run_with(run_dir, "learning_rate", RATE, 0.05)
    winner = json.loads((run_dir / "summary.json").read_text())["winners"]["none"]
    config = {"learning_rate": 0.05, "label_smoothing": 0.1, "batch_size": 256}
    knobs = {"learning_rate": RATE, "label_smoothing": SMOOTHING, "batch_size": BATCH}
    edit_summary(run_dir, knobs={"none": knobs}, winners={"none": {**winner, "config": config}})
    edges = found_in(load_tables(run_dir))
    assert (edges.num_values, edges.expected) == (3, pytest.approx(0.816667, abs=1e-6))
    assert edges.found == (
        Edge(
            arm="none", knob="batch_size", value=256, end="upper", low=64, high=256, choices=(64, 128, 256), beyond=512
        ),
    )


def test_limits_are_those_of_the_hyperparameter() -> None:
    assert limits("momentum", MOMENTUM) == (0, 1)
    assert limits("class_weight_gamma", SMOOTHING) == (0, 2)
    assert limits("learning_rate", RATE) == (0, float("inf"))
    assert limits("unheard_of", SCALE) == (-float("inf"), float("inf"))


def test_a_run_without_ranges_or_with_one_trial_an_arm_is_not_judged(tmp_path: Path) -> None:
    tables = run_with(tmp_path / "old", "learning_rate", {"scale": "log"}, 0.3)
    assert winners_at_edges(tables) is None
    assert "made before ranges were recorded" in str(cautions.edges_unknown(tables))
    single = run_with(tmp_path / "single", "learning_rate", RATE, 0.3)
    assert found_in(single).found
    single = replace(single, trials=single.trials[:1])
    assert found_in(single).found == ()
    assert cautions.edges_unknown(single) is None


def test_the_page_marks_the_winner_and_says_what_to_try(tmp_path: Path) -> None:
    tables = run_with(tmp_path / "run", "learning_rate", RATE, 0.29)
    winners = page_tables.winners_table(tables)
    assert winners is not None
    assert winners.rows[0][-1] == "0.29 (upper edge)"
    edges = cautions.edges_table(tables)
    assert edges is not None
    assert edges.rows == (("none", "learning_rate", "0.29", "0.01 to 0.3", "up to 0.95"),)
    (remark,) = cautions.cautions(find_page(tables.task), tables)
    assert remark.startswith(
        "Of the winners' 1 value that could lie at an edge of what was searched, 1 does (of values drawn at random, "
        "about 0.1 would), and the best may lie beyond: learning_rate 0.29 of none (searched 0.01 to 0.3; try up to "
        "0.95)."
    )


# --- another metric's crown


def crowned(run_dir: Path, scores: dict[str, tuple[float, ...]], accuracies: dict[str, tuple[float, ...]]) -> Tables:
    write_run(run_dir, arms=tuple(scores))
    table = records.read_table(run_dir / "retests.parquet")
    rows = table.to_pylist()
    for row in rows:
        position = row["seed"] - 1
        row.update(test_balanced_accuracy=scores[row["arm"]][position], test_accuracy=accuracies[row["arm"]][position])
    records.write_table(run_dir / "retests.parquet", rows, table.schema)
    return load_tables(run_dir)


def test_plain_accuracy_that_crowns_another_arm_is_told_with_a_paired_interval(tmp_path: Path) -> None:
    # accuracy of none minus that of focal: .04 .03 .05, so .04 ± .024841 (two arms: one comparison)
    tables = crowned(
        tmp_path / "run",
        {"none": (0.5, 0.5, 0.5), "focal": (0.6, 0.6, 0.61)},
        {"none": (0.70, 0.72, 0.75), "focal": (0.66, 0.69, 0.70)},
    )
    crown = results.crowned_by(tables, tables.groups[0], "test_accuracy")
    assert crown is not None
    assert (crown.crowned, crown.best) == ("none", "focal")
    assert crown.difference is not None
    assert (crown.difference.mean, crown.difference.half_width) == pytest.approx((0.04, 0.024841), abs=2e-6)
    remark = cautions.cautions(find_page(tables.task), tables)[-1]
    assert "would have crowned none and not focal: 72.3 % (95 % interval" in remark
    assert "4.0 points above focal (paired interval 1.5–6.5)" in remark
    assert remark.endswith("The study is judged by test balanced accuracy.")


def test_the_same_crown_and_equal_accuracies_are_no_remark(tmp_path: Path) -> None:
    scores = {"none": (0.5, 0.5, 0.5), "focal": (0.6, 0.6, 0.61)}
    for name, accuracies in {"same": scores, "equal": dict.fromkeys(scores, (0.7, 0.71, 0.72))}.items():
        tables = crowned(tmp_path / name, scores, accuracies)
        assert results.crowned_by(tables, tables.groups[0], "test_accuracy") is None
        assert results.crowned_by(tables, tables.groups[0], tables.score) is None
