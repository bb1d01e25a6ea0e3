"""The figures' data, not their pixels; and that every draw function draws what its data function gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_run import CLASS_NAMES, FOURTEEN_ARMS, SIX_ARMS, write_run

from study import analysis, figures
from study.analysis import Tables

BY_NAME = {figure.name: figure for figure in figures.FIGURES}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return analysis.load_tables(write_run(tmp_path_factory.mktemp("runs") / "run", failed=["focal-0002"]))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    path = tmp_path_factory.mktemp("runs") / "run"
    return analysis.load_tables(write_run(path, with_trials=False, interrupted=True))


def test_names_are_unique_and_captions_are_sentences() -> None:
    assert len(BY_NAME) == len(figures.FIGURES)
    assert all(figure.caption.endswith(".") and not figure.title.endswith(".") for figure in figures.FIGURES)


@pytest.mark.parametrize("name", BY_NAME)
def test_every_figure_draws_a_png(tables: Tables, name: str) -> None:
    data = BY_NAME[name].data(tables)
    png = figures.render(BY_NAME[name], data)
    assert png.startswith(b"\x89PNG")
    assert BY_NAME[name].alt(data)


@pytest.mark.parametrize("name", BY_NAME)
def test_every_figure_says_none_for_empty_tables(empty: Tables, name: str) -> None:
    assert BY_NAME[name].data(empty) is None


def test_the_same_data_give_the_same_png(tables: Tables) -> None:
    figure = BY_NAME["scores"]
    assert figures.render(figure, figure.data(tables)) == figures.render(figure, figure.data(tables))


def test_scores_are_percent_and_hold_every_seed(tables: Tables) -> None:
    data = figures.scores_data(tables)
    assert data is not None
    assert len(data.seeds) == 18
    for arm in data.arms.itertuples():
        by_hand = 100 * np.mean(
            tables.retests.loc[tables.retests["arm"] == arm.arm, "test_balanced_accuracy"]
        )
        assert arm.mean == pytest.approx(by_hand)
        assert arm.low < arm.mean < arm.high
    assert data.reference == pytest.approx(data.arms.set_index("arm").loc["none", "mean"])
    assert list(data.arms["role"]).count("best") == 1


def test_differences_leave_the_control_out_and_are_the_seeds_mean(tables: Tables) -> None:
    data = figures.differences_data(tables)
    assert data is not None
    assert set(data.arms["arm"]) == set(SIX_ARMS) - {"none"}
    means = data.seeds.groupby("arm")["value"].mean()
    assert all(arm.mean == pytest.approx(means[arm.arm]) for arm in data.arms.itertuples())


def test_curves_end_where_the_trial_ended(tables: Tables) -> None:
    data = figures.curves_data(tables)
    assert data is not None
    ends = data.ends.set_index("trial_id")
    trials = tables.trials.set_index("trial_id")
    assert (ends["epoch"] == trials["epochs"].reindex(ends.index)).all()
    assert (ends.loc[ends["status"] == "completed", "epoch"] == 9).all()
    assert set(ends.loc[ends["status"] == "stopped", "epoch"]) <= {1, 3}
    assert ends["is_winner"].sum() == 6
    assert data.rung_epochs == (1, 3)


def test_survivors_sum_to_the_trials_of_each_arm(tables: Tables) -> None:
    data = figures.survivors_data(tables)
    assert data is not None
    end = data[data["column"] == "In the end"].groupby("arm")["num_trials"].sum()
    assert (end == 6).all()
    is_failed = (data["arm"] == "focal") & (data["outcome"] == "failed")
    assert data.loc[is_failed, "num_trials"].sum() == 1


def test_slices_leave_out_trials_without_a_score_and_know_their_axes(tables: Tables) -> None:
    data = figures.slices_data(tables)
    assert data is not None
    assert data.scales == {"learning_rate": "log", "momentum": "linear", "weight_decay": "log"}
    assert len(data.trials) == 3 * 35
    assert "focal-0002" not in set(data.trials["trial_id"])


def test_own_slices_show_an_arms_own_knob_and_no_constant(tables: Tables) -> None:
    data = figures.own_slices_data(tables)
    assert data is not None
    pairs = set(data.trials[["arm", "knob"]].itertuples(index=False, name=None))
    assert pairs == {
        ("inverse_weights", "class_weight_exponent"),
        ("class_balanced", "class_weight_beta"),
        ("focal", "focal_gamma"),
        ("logit_adjustment", "logit_adjustment_tau"),
        ("weighted_sampler", "sampler_exponent"),
    }
    assert data.scales["class_weight_beta"] == "logit"


@pytest.mark.parametrize(
    ("name", "values", "scale"),
    [
        ("x", [0.1, 1.9], "linear"),
        ("x", [0.1, 2.1], "log"),
        ("x", [0.0, 100.0], "linear"),
        ("learning_rate", [0.1, 0.2], "log"),
        ("schedule", ["cosine", "linear"], "category"),
        ("nesterov", [True, False], "category"),
    ],
)
def test_knob_scale(name: str, values: list[object], scale: str) -> None:
    assert figures.knob_scale(name, pd.Series(values)) == scale


def test_recalls_are_the_means_over_seeds_in_class_order(tables: Tables) -> None:
    data = figures.recalls_data(tables)
    assert data is not None
    assert tuple(data.recall.columns) == CLASS_NAMES
    rows = tables.retests.loc[tables.retests["arm"] == "none", "per_class_recall"]
    assert data.recall.loc["none", "bird"] == pytest.approx(100 * sum(row[2] for row in rows) / 3)


def test_confusions_are_of_control_and_best_remedy_and_rows_sum_to_100(tables: Tables) -> None:
    data = figures.confusions_data(tables)
    assert data is not None
    assert list(data.matrices) == ["none", analysis.ranked_arms(tables)[0]]
    assert all(np.allclose(matrix.sum(axis=1), 100) for matrix in data.matrices.values())


def test_retest_curves_average_the_seeds(tables: Tables) -> None:
    data = figures.retest_curves_data(tables)
    assert data is not None
    assert list(data["arm"].drop_duplicates()) == list(SIX_ARMS)
    assert (data["n"] == 3).all()
    assert ((data["low"] <= data["mean"]) & (data["mean"] <= data["high"])).all()
    assert list(data.loc[data["arm"] == "focal", "epoch"]) == list(range(1, 10))


@pytest.mark.parametrize("options", [{"arms": FOURTEEN_ARMS}, {"retest_seeds": (1,)}, {"interrupted": True}])
def test_odd_runs_draw_without_a_warning(
    tmp_path: Path, options: dict[str, object], recwarn: pytest.WarningsRecorder
) -> None:
    odd = analysis.load_tables(write_run(tmp_path / "run", **options))  # type: ignore[arg-type]
    for name in ("scores", "differences", "curves", "survivors", "budget", "own_slices"):
        data = BY_NAME[name].data(odd)
        if data is not None:
            figures.render(BY_NAME[name], data)
    assert [str(warning.message) for warning in recwarn if warning.category is UserWarning] == []


def test_a_dollar_sign_in_a_class_name_is_no_formula(tmp_path: Path) -> None:
    names = ["a$b$", "c$_{", *CLASS_NAMES[2:]]
    odd = analysis.load_tables(write_run(tmp_path / "run", class_names=names))
    for name in ("recall", "confusion"):
        assert figures.render(BY_NAME[name], BY_NAME[name].data(odd))
