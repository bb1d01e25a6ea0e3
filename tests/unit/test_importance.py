"""Importance, landscape and parallel coordinates on planted trials: what is known to matter is found, at one epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_run import write_run
from matplotlib.figure import Figure as Canvas

from study.analysis import importance as importance_of
from study.analysis.fidelity import at_equal_fidelity
from study.analysis.importance import ALL_ARMS, importances
from study.analysis.tables import Tables, load_tables
from study.page.figures import base, importance, landscape
from study.page.tables import importance_table

METRIC = "val_balanced_accuracy"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return load_tables(write_run(tmp_path_factory.mktemp("run"), arms=["none", "focal"]))


Planted = Callable[[np.random.Generator, str], tuple[dict[str, Any], float, float]]
"""(generator, arm) -> (config, score after each epoch, seconds an epoch)."""


def planted(
    run: Tables, trial: Planted, *, num_trials: int = 40, epochs: int = 1, num_given: int = 0, **summary: Any
) -> Tables:
    """Tables of num_trials trials an arm that all ran the epochs, the first num_given not drawn; no early stopping."""
    rng = np.random.default_rng(1)
    trials, rows = [], []
    for arm in run.arms:
        for number in range(num_trials):
            config, score, seconds = trial(rng, arm)
            name = {"trial_id": f"{arm}-{number:04d}", "stage": "tune", "arm": arm}
            trials.append(
                {**name, "number": number, "status": "completed", "epochs": epochs, "objective": score}
                | {f"config/{knob}": value for knob, value in config.items()}
            )
            rows += [
                {**name, "epoch": epoch, METRIC: score, "train_seconds": seconds, "eval_seconds": 0.1}
                for epoch in range(1, epochs + 1)
            ]
    of_arms = {"epochs_of": dict.fromkeys(run.arms, epochs), "num_given": dict.fromkeys(run.arms, num_given)}
    stages = [{**run.stage("tune"), **of_arms}]
    return replace(
        run,
        trials=pd.DataFrame(trials),
        epochs=pd.DataFrame(rows),
        rungs=run.rungs.iloc[:0],
        summary={**run.summary, "stages": stages, **summary},
    )


def two_knobs(rng: np.random.Generator, arm: str) -> tuple[dict[str, Any], float, float]:
    """The score hangs on learning_rate alone, best at 0.1; the time on batch_size alone."""
    config = {
        "learning_rate": float(10 ** rng.uniform(-3, 0)),
        "weight_decay": float(10 ** rng.uniform(-6, -2)),
        "batch_size": int(rng.choice([64, 128, 256])),
    }
    return config, 0.6 - 0.1 * (np.log10(config["learning_rate"]) + 1) ** 2, 1000 / config["batch_size"]


@pytest.fixture(scope="module")
def of_two_knobs(run: Tables) -> Tables:
    """Its importances are computed once."""
    return planted(run, two_knobs)


def first(found: pd.DataFrame, arm: str, target: str) -> Any:
    return found[(found["arm"] == arm) & (found["target"] == target)].iloc[0]


def test_a_knob_that_a_shuffle_has_matched_is_not_asked_of_again(run: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking all knobs of every shuffle took most of the importance's time in a large study."""
    asked: list[list[str]] = []
    judge = importance_of._ped_anova

    def counted(study: Any, costs: Any, top_share: float, knobs: Any = None) -> dict[str, float]:
        asked.append(list(knobs or []))
        return judge(study, costs, top_share, knobs)

    monkeypatch.setattr(importance_of, "_ped_anova", counted)
    importances(planted(replace(run, summary={**run.summary, "arms": ["none"]}), two_knobs))
    shuffles = [knobs for knobs in asked if knobs]
    assert len(shuffles) == importance_of.NUM_SHUFFLES
    assert shuffles[0] == ["batch_size", "learning_rate", "weight_decay"]
    assert shuffles[-1] == ["batch_size", "learning_rate"]


@pytest.mark.parametrize(("target", "knob"), [("score", "learning_rate"), ("seconds", "batch_size")])
@pytest.mark.parametrize("arm", [ALL_ARMS, "none", "focal"])
def test_the_knob_that_was_planted_comes_first_and_shares_add_up(
    of_two_knobs: Tables, arm: str, target: str, knob: str
) -> None:
    found = importances(of_two_knobs)
    best = first(found, arm, target)
    assert best["knob"] == knob
    assert best["share"] > 0.7
    assert best["is_above_chance"]
    own = found[(found["arm"] == arm) & (found["target"] == target)]
    assert own["share"].sum() == pytest.approx(1)


def test_knobs_of_equal_importance_are_in_the_order_of_their_names(run: Tables) -> None:
    """Optuna hands them over in the order of a set, which is another one in each process."""
    names = [f"copy_{letter}" for letter in "hgfedcba"]

    def copies(rng: np.random.Generator, arm: str) -> tuple[dict[str, Any], float, float]:
        value = float(rng.uniform())
        return dict.fromkeys(names, value), value, 1.0

    found = importances(planted(run, copies))
    own = found[(found["arm"] == "none") & (found["target"] == "score")]
    assert own["share"].nunique() == 1
    assert list(own["knob"]) == sorted(names)


def test_what_given_configurations_share_is_not_taken_for_what_made_them_good(run: Tables) -> None:
    """The four that every search is given are good for their rate, and all without label smoothing."""
    count = 0

    def given_first(rng: np.random.Generator, arm: str) -> tuple[dict[str, Any], float, float]:
        nonlocal count
        count += 1
        config, _, seconds = two_knobs(rng, arm)
        is_given = (count - 1) % 40 < 4
        config["learning_rate"] = 0.1 if is_given else config["learning_rate"]
        config["label_smoothing"] = 0.0 if is_given else float(rng.uniform(0, 0.2))
        return config, 0.6 - 0.1 * (np.log10(config["learning_rate"]) + 1) ** 2, seconds

    tables = planted(run, given_first, num_given=4)
    found = importances(tables)
    of_score = found[(found["arm"] == ALL_ARMS) & (found["target"] == "score")].set_index("knob")
    assert of_score.loc["label_smoothing", "share"] < 0.1
    assert not of_score.loc["label_smoothing", "is_above_chance"]
    assert set(found["num_trials"]) == {72, 36}
    count = 0
    as_drawn = importances(planted(run, given_first))
    misled = as_drawn[(as_drawn["arm"] == ALL_ARMS) & (as_drawn["target"] == "score")].set_index("knob")
    assert misled.loc["label_smoothing", "share"] > 0.3


def test_a_score_of_noise_is_rarely_above_chance(run: Tables) -> None:
    def noise(rng: np.random.Generator, arm: str) -> tuple[dict[str, Any], float, float]:
        config, _, seconds = two_knobs(rng, arm)
        return config, float(rng.uniform()), seconds

    found = importances(planted(run, noise))
    of_score = found[found["target"] == "score"]
    assert of_score["is_above_chance"].sum() <= 1  # of 10, each in 1 of 20 cases


def test_a_knob_of_one_arm_is_judged_among_that_arms_trials(run: Tables) -> None:
    def conditional(rng: np.random.Generator, arm: str) -> tuple[dict[str, Any], float, float]:
        config, _, seconds = two_knobs(rng, arm)
        gamma = float(rng.uniform(0, 3)) if arm == "focal" else None
        return {**config, "focal_gamma": gamma}, 0.5 if gamma is None else 0.5 + 0.1 * gamma, seconds

    tables = planted(run, conditional)
    found = importances(tables)
    over_all = first(found, ALL_ARMS, "score")
    assert (over_all["knob"], over_all["num_having"], over_all["num_trials"]) == ("focal_gamma", 40, 80)
    assert "focal_gamma" not in set(found[found["arm"] == "none"]["knob"])
    rows = {row[0]: row for row in importance_table(tables).rows}  # type: ignore[union-attr]
    assert rows["focal_gamma"][3] == "40 of 80 trials"
    assert rows["learning_rate"][3] == "all 80 trials"
    assert rows["focal_gamma"][1].endswith(" *")


def test_a_range_that_hangs_on_a_choice_weighs_less_once_the_choice_is_known(run: Tables) -> None:
    """adam is the better one, and has the smaller rates; within an optimiser the rate does nothing."""

    def by_optimizer(rng: np.random.Generator, arm: str) -> tuple[dict[str, Any], float, float]:
        is_adam = bool(rng.integers(2))
        rate = float(10 ** (rng.uniform(-4, -2) if is_adam else rng.uniform(-2, 0)))
        config = {"optimizer": "adam" if is_adam else "sgd", "learning_rate": rate}
        return config, 0.5 + 0.2 * is_adam + float(rng.uniform(0, 0.01)), 1.0

    axes = {arm: {"learning_rate": {"scale": "log", "low": 1e-4, "high": 1.0}} for arm in run.arms}
    by_choice = {"learning_rate": {"choice": "optimizer", "ranges": {"adam": [1e-4, 1e-2], "sgd": [1e-2, 1.0]}}}
    shares = {}
    for name, ranges in (("known", dict.fromkeys(run.arms, by_choice)), ("not recorded", {})):
        found = importances(planted(run, by_optimizer, knobs=axes, ranges_by_choice=ranges))
        own = found[(found["arm"] == ALL_ARMS) & (found["target"] == "score")].set_index("knob")
        shares[name] = float(own.loc["learning_rate", "share"])
    assert shares["known"] < shares["not recorded"] - 0.2


def test_few_trials_are_not_judged(run: Tables) -> None:
    found = importances(planted(run, two_knobs, num_trials=12))
    assert set(found["arm"]) == {ALL_ARMS}  # 24 trials over both arms, 12 in each
    assert importances(planted(run, two_knobs, num_trials=9)).empty


def test_all_trials_are_compared_at_the_first_rung_and_those_that_did_not_reach_it_are_left_out(run: Tables) -> None:
    tables = planted(run, two_knobs, num_trials=3, epochs=4)
    rungs = pd.DataFrame({"stage": ["tune"] * 2, "arm": ["none"] * 2, "rung_epoch": [2, 4]})
    rows = tables.epochs.copy()
    rows[METRIC] = rows["epoch"] / 10
    rows["train_seconds"] = rows["epoch"].astype(float)
    failed = (rows["trial_id"] == "focal-0002") & (rows["epoch"] > 1)
    fidelity = at_equal_fidelity(replace(tables, epochs=rows[~failed], rungs=rungs))
    assert fidelity is not None
    assert (fidelity.epoch, fidelity.num_missing, len(fidelity.trials)) == (2, 1, 5)
    assert set(fidelity.trials["score"]) == {0.2}
    assert set(fidelity.trials["seconds"]) == {1.5}  # the mean of the first two epochs
    without_rungs = at_equal_fidelity(replace(tables, epochs=rows[~failed]))
    assert without_rungs is not None
    assert without_rungs.epoch == 4


def test_the_landscape_is_of_equal_epochs_and_has_a_surface_only_between_enough_trials(run: Tables) -> None:
    tables = planted(run, two_knobs, num_trials=landscape.LEAST_FOR_SURFACE)
    data = landscape.landscape_data(tables)
    assert data is not None
    assert data.arms == ("none", "focal")
    assert data.trials["score"].max() <= 60
    assert data.trials.groupby("arm")["is_winner"].sum().to_dict() == {"none": 1, "focal": 1}
    own = data.trials[data.trials["arm"] == "none"]
    assert landscape.surface(own) is not None
    assert landscape.surface(own.iloc[1:]) is None  # one too few
    assert landscape.surface(own.assign(y=1e-3)) is None  # on a line


def test_parallel_coordinates_place_values_on_their_own_scale_and_mark_what_is_missing(run: Tables) -> None:
    """learning_rate from 0.01 to 1 on a logarithm: 0.1 is in the middle."""
    values = iter([(0.01, "adam", None), (0.1, "sgd", 0.5), (1.0, "sgd", 1.0)] * 2)

    def listed(rng: np.random.Generator, arm: str) -> tuple[dict[str, Any], float, float]:
        rate, optimizer, momentum = next(values)
        return {"learning_rate": rate, "optimizer": optimizer, "momentum": momentum}, rate, 1.0

    rate, momentum = {"scale": "log", "low": 0.01, "high": 1.0}, {"scale": "linear", "low": 0.0, "high": 1.0}
    axes = {arm: {"learning_rate": rate, "momentum": momentum} for arm in run.arms}
    data = landscape.parallel_data(planted(run, listed, num_trials=3, knobs=axes))
    assert data is not None
    arm = data.arms[0]
    assert [coordinate.name for coordinate in arm.coordinates] == ["learning_rate", "optimizer", "momentum", "score"]
    np.testing.assert_allclose(arm.places[:, 0], [0, 0.5, 1])
    np.testing.assert_allclose(arm.places[:, 1], [0, 1, 1])
    np.testing.assert_allclose(arm.places[:, 2], [np.nan, 0.5, 1])
    np.testing.assert_allclose(arm.places[:, 3], [0, 9 / 99, 1])
    assert arm.coordinates[1].ticks == ((0.0, "adam"), (1.0, "sgd"))
    assert list(arm.is_winner) == [False, False, True]


def test_a_coordinate_that_ends_just_below_one_does_not_say_one(run: Tables) -> None:
    values = iter([0.9, 0.99, 0.99999] * 2)

    def listed(rng: np.random.Generator, arm: str) -> tuple[dict[str, Any], float, float]:
        beta = next(values)
        return {"class_weight_beta": beta}, beta, 1.0

    axes = {arm: {"class_weight_beta": {"scale": "logit", "low": 0.9, "high": 0.99999}} for arm in run.arms}
    data = landscape.parallel_data(planted(run, listed, num_trials=3, knobs=axes))
    assert data is not None
    assert data.arms[0].coordinates[0].ticks == ((0.0, "0.9"), (1.0, "0.99999"))


@pytest.mark.parametrize(("low", "high"), [(0.011, 0.017), (0.04, 0.27), (0.012, 0.09), (1e-4, 5e-3), (1e-5, 1e-2)])
def test_a_logarithmic_axis_has_two_ticks_at_least(low: float, high: float) -> None:
    ax = Canvas().subplots()
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    base.set_log_ticks(ax.xaxis, low, high)
    assert sum(low <= tick <= high for tick in ax.get_xticks()) >= 2
    assert len(ax.xaxis.get_minorticklocs()) == 0


@pytest.mark.parametrize("figure", [importance.IMPORTANCE, importance.ARM_IMPORTANCE, landscape.LANDSCAPE])
def test_the_figures_of_many_trials_are_drawn(
    of_two_knobs: Tables, figure: base.Figure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "DPI", 40)
    assert figure.applies(of_two_knobs)
    data = figure.data(of_two_knobs)
    assert base.render(figure, data).png.startswith(b"\x89PNG")
    assert "2 arms" in figure.alt(data) or "4 hyperparameters" in figure.alt(data)
