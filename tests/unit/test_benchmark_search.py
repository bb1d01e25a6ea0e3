"""The replay of searches on learning curves, with tables of which the answers are known by hand."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState
from study_cases import METRIC, asked, epoch_events

from benchmarks import search
from benchmarks.search import (
    Configuration,
    CurveTable,
    Nearness,
    OurAsha,
    OurSearch,
    RaysOptuna,
    compared,
    distil,
    epochs_of_top_k,
    epochs_to_target,
    ratio_of_medians,
    read_curves,
    replays,
    stage_of,
)
from search_spaces.baseline import search_space
from search_spaces.declarations import StartTrial
from study.core.ledger import Ledger, finished
from study.records.tables import EPOCHS, write_table

SPACE = search_space(num_train=5000, image_size=32, padding="same", flip=True)
ARM = SPACE.arms["lenet"]
START = SPACE.start_point(ARM)


def a_table(curves, params=None) -> CurveTable:
    params = params or [START] * len(curves)
    return CurveTable(
        images=5000, space=SPACE, arm=ARM,
        configurations=tuple(
            Configuration(number=number, params=own, values=tuple(values))
            for number, (own, values) in enumerate(zip(params, curves, strict=True))
        ),
    )  # fmt: skip


def by_rate(count: int) -> CurveTable:
    """SGD at learning rates over its whole range, of which the middle is best; each epoch adds 0.1."""
    rates = [0.003 * 100 ** (place / (count - 1)) for place in range(count)]
    curves = [[0.1 * epoch - 0.1 * abs(math.log10(rate / 0.03)) for epoch in range(1, 10)] for rate in rates]
    return a_table(curves, [{**START, "learning_rate": rate} for rate in rates])


class InOrder:
    """Proposes the configurations as they stand in the table; learned: (number, values, whether complete)."""

    def __init__(self, table):
        self.table, self.learned = table, []

    def propose(self, number, unused):
        return self.table.configurations[unused[0]]

    def learn(self, number, values, *, is_complete):
        self.learned.append((number, list(values), is_complete))


class Never:
    def goes_on(self, number, values):
        return True


def test_the_target_is_met_by_no_more_than_two_in_a_hundred():
    assert a_table([[0.5, place / 100] for place in range(100)]).target == 0.98
    assert a_table([[0.5, min(place, 98) / 100] for place in range(100)]).target == 0.98  # two share it
    assert a_table([[0.5, min(place, 97) / 100] for place in range(99)] + [[0.5, 0.99]]).target == 0.99
    assert a_table([[0.1], [0.3], [0.2]]).target == 0.3  # of a few, the best


def test_two_slots_spend_the_epochs_of_both():
    table = a_table([[0.1, 0.2, 0.3]] * 2 + [[0.1, 0.2, 0.9]] + [[0.1, 0.2, 0.3]])
    order = InOrder(table)
    assert epochs_to_target(table, order, Never()) == 12
    assert order.learned == [(0, [0.1, 0.2, 0.3], True), (1, [0.1, 0.2, 0.3], True)]
    assert epochs_to_target(table, InOrder(table), Never(), slots=1) == 9


def test_a_target_that_was_stopped_early_is_not_found():
    """The second of one slot is stopped at epoch 1, for the first did better there."""
    table = a_table([[0.5, 0.5], [0.1, 0.9], [0.6, 0.6]])
    order, stage = InOrder(table), stage_of(table, 0, grace_epochs=1)
    assert stage.rungs("lenet") == (1,)
    assert epochs_to_target(table, order, OurAsha(stage), slots=1) == math.inf
    assert order.learned[:3] == [(0, [0.5, 0.5], True), (1, [0.1], False), (2, [0.6, 0.6], True)]
    assert [number for number, *_ in order.learned] == list(range(3 * search.MOST_PASSES))


def test_one_rung_then_the_best_is_counted_in_batches(monkeypatch):
    """Batches of two, one epoch each, then the better one's other two: 4 epochs a batch."""
    in_order = SimpleNamespace(permutation=range)
    monkeypatch.setattr(search.np.random, "default_rng", lambda seed: in_order)
    table = a_table([[0.1, 0.2, 0.3], [0.2, 0.2, 0.3], [0.5, 0.5, 0.9], [0.2, 0.3, 0.3]])
    assert epochs_of_top_k(table, 0, num_trials=2, rung=1, k=1) == 8
    hidden = a_table([[0.1, 0.2, 0.9], [0.2, 0.2, 0.3], [0.5, 0.5, 0.5]])  # the target is worst at the rung
    assert epochs_of_top_k(hidden, 0, num_trials=3, rung=1, k=1) == math.inf
    assert epochs_of_top_k(hidden, 0, num_trials=3, rung=1, k=3) == 9


def test_the_nearest_is_by_each_knob_s_own_range_and_scale():
    table = by_rate(5)  # 0.003, 0.0095, 0.03, 0.095, 0.3
    nearness = Nearness(table)
    near = {**START, "learning_rate": 0.02}
    assert nearness.nearest(near, range(5)).number == 2  # in the logarithm; 0.0095 is as near in the rate
    assert nearness.nearest(near, [0, 1, 3, 4]).number == 1
    adam = {**SPACE.start_points(ARM)[1]}
    assert adam["optimizer"] == "adam"
    mixed = a_table([[0.1]] * 2, [{**START, "learning_rate": 0.3}, adam])
    assert Nearness(mixed).nearest({**START, "learning_rate": 0.003}, [0, 1]).number == 0  # a choice weighs as much
    assert Nearness(mixed).nearest(adam, [0, 1]).number == 1


@pytest.mark.parametrize("make", [
    lambda table, nearness: OurSearch(table, 0, nearness=nearness, stage=stage_of(table, 0)),
    lambda table, nearness: RaysOptuna(table, 0, nearness=nearness),
])  # fmt: skip
def test_a_search_learns_what_was_trained_and_not_what_it_proposed(make):
    table = by_rate(12)
    unused = list(range(12))
    made = make(table, Nearness(table))
    found = []
    for number in range(6):
        configuration = made.propose(number, unused)
        unused.remove(configuration.number)
        made.learn(number, configuration.values[: 9 if number else 3], is_complete=bool(number))
        found.append(configuration)
    assert len({configuration.number for configuration in found}) == 6
    study = made._proposer.study if isinstance(made, OurSearch) else made._study
    trials = [trial for trial in study.trials if trial.state != TrialState.FAIL]
    rates = [trial.params["learning_rate[sgd]"] for trial in trials]
    assert rates == [configuration.params["learning_rate"] for configuration in found]
    assert [trial.value for trial in trials[1:]] == [configuration.values[-1] for configuration in found[1:]]
    assert trials[0].state == (TrialState.PRUNED if isinstance(made, OurSearch) else TrialState.COMPLETE)
    assert trials[0].intermediate_values == dict(enumerate(found[0].values[:3], start=1))


def test_a_search_that_learns_finds_the_best_of_a_hill_with_fewer_epochs_than_random_search():
    table = by_rate(20)
    measured = {one.name.partition(" against ")[2]: one for one in compared(table, range(2))}
    assert set(measured) == set(replays(table)) - {"this study"}
    random = measured["Ray's ASHA, random"]
    assert random.at_most == 0.67
    assert random.is_met, random
    assert "2 seeds" in random.note
    assert random.detail["median images"]["default"] > 0


def test_the_ratio_is_of_medians_and_its_interval_holds_it():
    assert ratio_of_medians([2.0] * 5, [4.0] * 5) == (0.5, 0.5, 0.5)
    assert ratio_of_medians([math.inf] * 5, [4.0] * 5) == (math.inf, math.inf, math.inf)
    assert ratio_of_medians([math.inf] * 5, [math.inf] * 5) == (1.0, 1.0, 1.0)
    ratio, low, high = ratio_of_medians([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert (ratio, low < ratio < high) == (0.5, True)


def test_a_run_becomes_a_table_of_its_completed_trials(tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    others = {name: value for name, value in START.items() if name != "learning_rate"}
    params = [{**others, "learning_rate": rate} for rate in (0.0123456789, 0.1)]
    rows = []
    with Ledger(run_dir) as ledger:
        for number, own in enumerate(params):
            trial_id = f"lenet-{number:04d}"
            event = asked(trial_id)
            ledger.append(type(event)(kind=event.kind, trial_id=trial_id, payload={**event.payload, "params": own}))
            for epoch in (1, 2):
                events = epoch_events(trial_id, epoch, (epoch + number) / 7)
                rows.append({"trial_id": trial_id, "stage": "tune", "arm": "lenet", **events[0].payload})
                ledger.append(*events)
        ledger.append(finished("lenet-0000", "completed"), finished("lenet-0001", "failed", "the loss was nan"))
    write_table(run_dir / "epochs.parquet", rows, EPOCHS)
    spec = {"task": "baseline", "arms": ["lenet"], "dataset": "cifar10", "seed": 0, "numerics": {}, "padding": "same"}
    spec |= {"trials_per_arm": 2, "max_epochs": 2, "grace_epochs": 2, "searcher": "random"}
    (run_dir / "spec.json").write_text(json.dumps(spec))
    summary = {"objective": METRIC, "commit": "ab", "dataset": {"num_val": 50, "image_size": 16}}
    (run_dir / "summary.json").write_text(json.dumps(summary))
    assert distil(run_dir, tmp_path / "table.json") == 1
    content = json.loads((tmp_path / "table.json").read_text())
    assert " --image-size 16 --train-images 100 --trials-per-arm 2 " in content["source"]
    assert content["space"]["image_size"] == 16  # on which the range of cutout_length hangs
    table = read_curves(tmp_path / "table.json")
    assert (table.images, table.arm.name, table.num_epochs) == (100, "lenet", 2)
    (only,) = table.configurations
    assert only.params == {**params[0], "learning_rate": 0.012346}
    assert only.values == (0.14286, 0.28571)
    assert StartTrial(only.params)
