"""The front of score and costs, on hand-made trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_run import write_run

from study.analysis.pareto import non_dominated, scores_and_costs
from study.analysis.tables import Tables, load_tables
from study.core.plugins import use_given
from study.page.figures.pareto import ARM_FRONTS, pareto_data
from study.page.tables import pareto_table
from study.records.sizes import sizes
from trainables.common.plugins import use
from trainables.models import build_model, num_parameters


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return load_tables(write_run(tmp_path_factory.mktemp("run"), task="baseline", arms=["lenet", "small_cnn"]))


def test_only_what_no_other_beats_everywhere_is_on_the_front() -> None:
    costs = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [2.0, 3.0], [2.0, 2.0]])
    assert non_dominated(costs).tolist() == [True, True, True, False, True]  # equal ones do not beat each other


def test_the_front_is_of_score_seconds_and_parameters_at_one_epoch(tables: Tables) -> None:
    """lenet is smaller and slower than small_cnn here: of each, the best is on the front, and what is quicker."""
    first = tables.rungs["rung_epoch"].min()
    trials = tables.tuning.groupby("arm").head(2).assign(**{"factor/model": lambda frame: frame["arm"]})
    epochs = tables.epochs[
        (tables.epochs["epoch"] == first) & tables.epochs["trial_id"].isin(trials["trial_id"])
    ].copy()
    epochs[tables.objective] = [0.5, 0.4, 0.7, 0.6]
    epochs["train_seconds"] = [3.0, 2.0, 1.0, 1.5]
    changed = replace(tables, trials=trials, epochs=epochs)
    found = scores_and_costs(changed)
    assert found is not None
    assert found["on_front"].tolist() == [True, True, True, False]
    assert found["on_arm_front"].tolist() == [True, True, True, False]
    assert found["parameters"].nunique() == 2
    rows = pareto_table(changed).rows  # type: ignore[union-attr]
    assert [row[0] for row in rows] == ["small_cnn-0000", "lenet-0000", "lenet-0001"]
    assert rows[0][2:4] == ("70.0", "1")
    data = pareto_data(changed)
    assert data is not None
    assert data.costs == ("seconds", "parameters")
    assert data.trials["score"].tolist() == [50.0, 40.0, 70.0, 60.0]


def test_the_front_of_an_arm_is_of_its_own_trials_score_and_seconds_alone(tables: Tables) -> None:
    """All of small_cnn beat all of lenet; of each, the first is the best, the second quicker, the third neither."""
    first = tables.rungs["rung_epoch"].min()
    trials = tables.tuning.groupby("arm").head(3)
    epochs = tables.epochs[(tables.epochs["epoch"] == first) & tables.epochs["trial_id"].isin(trials["trial_id"])]
    epochs = epochs.assign(train_seconds=[8.0, 7.0, 8.0, 3.0, 2.0, 3.0])
    epochs[tables.objective] = [0.4, 0.3, 0.3, 0.8, 0.7, 0.7]
    changed = replace(tables, trials=trials, epochs=epochs)
    found = scores_and_costs(changed)
    assert found is not None
    assert found["arm"].tolist() == ["lenet"] * 3 + ["small_cnn"] * 3
    assert found["on_front"].tolist() == [False] * 3 + [True, True, False]
    assert found["on_arm_front"].tolist() == [True, True, False] * 2
    data = pareto_data(changed)
    assert data is not None
    assert ARM_FRONTS.alt(data).endswith("Trials on their arm's front: lenet 2 of 3, small_cnn 2 of 3.")


def test_models_of_one_size_have_no_panel_of_sizes(tables: Tables) -> None:
    trials = tables.trials.assign(**{"factor/model": "lenet"})
    data = pareto_data(replace(tables, trials=trials))
    assert data is not None
    assert data.costs == ("seconds",)


def test_a_user_s_own_model_has_no_size_whether_its_plugin_is_in_use_or_not(tables: Tables) -> None:
    models = tables.trials["arm"].replace({"small_cnn": "two_layers"})
    changed = [replace(tables, trials=tables.trials.assign(**{"factor/model": models})) for _ in range(2)]
    try:
        use_given([str(Path(__file__).resolve().parents[2] / "examples" / "my_parts.py")])
        found = scores_and_costs(changed[0])
    finally:
        use(())
    without = scores_and_costs(changed[1])
    assert found is not None
    assert without is not None
    assert found["parameters"].equals(without["parameters"])
    assert found["parameters"].isna().tolist() == (found["arm"] == "small_cnn").tolist()


def test_sizes_that_a_run_recorded_are_not_counted_again(tables: Tables) -> None:
    recorded = [
        {"model": "lenet", "padding": None, "parameters": 7},
        {"model": "small_cnn", "padding": None, "parameters": 12},
    ]
    trials = tables.trials.assign(**{"factor/model": tables.trials["arm"]})
    found = scores_and_costs(replace(tables, trials=trials, summary={**tables.summary, "model_sizes": recorded}))
    assert found is not None
    assert dict(zip(found["arm"], found["parameters"], strict=True)) == {"lenet": 7.0, "small_cnn": 12.0}


def test_a_summary_records_the_sizes_of_several_models_and_of_one_none() -> None:
    dataset = {"num_classes": 7, "channels": 3, "image_size": 32}
    lenet = sum(map(torch.numel, build_model("lenet", num_classes=7, in_channels=3, image_size=32).parameters()))
    assert sizes([("lenet", None), ("absent", None), ("lenet", None)], dataset) == {
        ("lenet", None): lenet,
        ("absent", None): None,
    }
    assert sizes([("lenet", None), ("lenet", None)], dataset) == {}


def test_parameters_are_those_of_the_model_that_is_trained() -> None:
    options = {"num_classes": 7, "in_channels": 3, "image_size": 32}
    model = build_model("lenet", **options)
    assert num_parameters("lenet", **options) == sum(torch.numel(weights) for weights in model.parameters())
