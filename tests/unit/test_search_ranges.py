"""A knob whose range hangs on a choice is searched in that range: no value of another choice's range bends it."""

import statistics

import pytest
from learner_cases import SPACE as IMBALANCE_SPACE
from planted_optima import Plan, propose
from study_cases import make_stage

from search_spaces import baseline
from search_spaces.declarations import Choice, Float
from search_spaces.space import Arm, SearchSpace, each_of
from study.engine.optuna_names import OptunaNames
from study.engine.searcher import ArmProposer
from trainables.tasks.baseline import BASELINE

SPACE = baseline.search_space(num_train=5000, image_size=32, padding="same", flip=True)


@pytest.mark.parametrize(
    "plan",
    [
        Plan(optimizer="adam", end=0.1),  # 4e-4, below all of SGD's range
        Plan(optimizer="adamw", end=0.9),  # a weight decay of 0.27, above all other ranges
        Plan(optimizer="rmsprop", end=0.1),  # a momentum of 0.09, below all other ranges
    ],
    ids=str,
)
def test_tpe_finds_an_optimum_near_the_end_of_a_range(plan):
    late = [
        row
        for seed in range(2)
        for row in propose(SPACE, SPACE.arms["lenet"], plan, sampler="tpe", num_trials=48, seed=seed)
        if row["number"] >= 24
    ]
    assert len(late) > 12  # a quarter of the trials have that optimiser by chance
    for knob in ("learning_rate", "momentum", "weight_decay"):
        assert abs(statistics.median(row[knob] for row in late) - plan.end) < 0.25, knob


@pytest.mark.parametrize("sampler", ["random", "qmc", "cmaes"])
def test_every_range_is_searched_from_end_to_end(sampler):
    rows = [
        row
        for seed in range(2)
        for row in propose(SPACE, SPACE.arms["lenet"], Plan(end=0.5), sampler=sampler, num_trials=48, seed=seed)
    ]
    for optimizer in ("sgd", "adam", "adamw", "rmsprop"):
        for knob in ("learning_rate", "weight_decay"):
            places = [row[knob] for row in rows if row["optimizer"] == optimizer]
            assert min(places) < 1 / 3, (optimizer, knob)
            assert max(places) > 2 / 3, (optimizer, knob)


@pytest.mark.parametrize("sampler", ["qmc", "cmaes", "gp"])
def test_samplers_that_model_what_all_trials_have_model_every_knob(sampler):
    stage = make_stage(arms=("lenet",), task=BASELINE, space=SPACE, searcher=sampler, trials_per_arm=4)
    arm = SPACE.arms["lenet"]
    proposer = ArmProposer(stage=stage, arm=arm)
    for number in range(4):
        proposer.ask(number, str(number))
    names = OptunaNames(SPACE.branches(arm)).distributions
    assert {"learning_rate[sgd]", "momentum[rmsprop]", "weight_decay[adamw]", "warmup"} < set(names)
    for trial in proposer.study.trials:
        assert trial.distributions == names


def test_a_knob_of_one_range_keeps_its_name():
    for arm in IMBALANCE_SPACE.arms.values():
        names = OptunaNames(IMBALANCE_SPACE.branches(arm)).distributions
        assert set(names) == {name for branch in IMBALANCE_SPACE.branches(arm) for name in branch.distributions}


def test_a_range_that_no_single_choice_tells_apart_is_part_of_the_name():
    first, second = Choice("first", (1, 2)), Choice("second", (1, 2))

    def suggest(trial):
        chosen = {**each_of(first, second)(trial)}
        wide = chosen == {"first": 2, "second": 2}
        return {**chosen, **each_of(Float("rate", 0.0, 9.0 if wide else 1.0))(trial)}

    space = SearchSpace(arms={"a": Arm(name="a", description="", factors={})}, suggest=suggest)
    arm = space.arms["a"]
    stage = make_stage(arms=("a",), space=space, searcher="random", trials_per_arm=20)
    proposer = ArmProposer(stage=stage, arm=arm)
    proposed = [proposer.ask(number, str(number))[0] for number in range(20)]
    assert any(params["rate"] > 1 for params in proposed)
    seen = {}
    for trial in proposer.study.trials:
        for name, distribution in trial.distributions.items():
            assert seen.setdefault(name, distribution) == distribution
    assert set(seen) == {"first", "second", "rate", "rate[0 to 9]"}
