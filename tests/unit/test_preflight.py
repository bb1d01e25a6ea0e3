"""A preflight: what is tried of each arm, what its costs add up to, and what is proposed."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from learner_cases import SPACE
from study_cases import make_stage

from search_spaces import baseline, cifar100, jigsaw
from search_spaces.declarations import extreme_values
from study.engine.forecast import Forecast, Part
from study.probes import preflight as preflights
from study.probes.costs import arm_cost, mean_seconds, seconds_by_choice
from study.probes.extremes import Case, costliest_cases, extreme_cases, is_choice
from study.probes.preflight import Failure, Preflight, fitting, gpu_share
from trainables.common.numerics import Numerics
from trainables.probes.rehearsal import Rehearsal, Seconds

SPACES = {
    "imbalance": SPACE,
    "baseline": baseline.search_space(num_train=1000, image_size=32, padding="same", flip=False),
    "pretext": jigsaw.pretext_space(num_train=1000, grid=2, flip=False),
    "cifar100": cifar100.search_space(num_train=1000, image_size=16, model="resnet20", deeper="resnet32", flip=False),
}


@pytest.mark.parametrize("name", SPACES)
def test_each_choice_and_both_ends_of_each_range_are_tried_in_every_arm(name):
    space = SPACES[name]
    for arm in space.arms.values():
        tried = list(extreme_cases(space, arm))
        values = {(knob, value) for case in tried for knob, value in case.params.items()}
        for branch in space.branches(arm):
            for knob, found in branch.distributions.items():
                assert {(knob, value) for value in extreme_values(found)} <= values
        assert tried[0].params == space.start_point(arm)
        assert len(tried) <= 25


def test_choices_are_tried_one_at_a_time_and_others_stay_as_the_arm_starts():
    space = SPACES["imbalance"]
    arm = space.arms["none"]
    start = space.start_point(arm)
    choices = [knob for knob, found in space.knobs(arm).items() if is_choice(found)]
    for case in extreme_cases(space, arm):
        changed = [knob for knob in choices if case.params[knob] != start[knob]]
        assert changed == ([] if case.choice is None else [case.choice[0]])


def test_the_costliest_choices_are_tried_together_with_the_largest_batch_too():
    space = SPACES["imbalance"]
    seconds = {
        ("batch_size", 16): 3.0,
        ("batch_size", 64): 1.0,
        ("schedule", "cosine"): 1.0,
        ("schedule", "linear"): 2.0,
    }
    slowest, largest = costliest_cases(space, space.arms["none"], seconds)
    assert (slowest.params["batch_size"], slowest.params["schedule"]) == (16, "linear")
    assert (largest.params["batch_size"], largest.params["schedule"]) == (64, "linear")


def case(choice=None, **params) -> Case:
    return Case(params={"size": 1, "kind": "a", **params}, hparams={}, choice=choice)


def rehearsal(image: float, **values) -> Rehearsal:
    usual = {"num_images": 10, "checkpoint_bytes": 100, "model_bytes": 10}
    costs = {"build": Seconds(wall=1, cpu=1), "val_image": Seconds(wall=0.5, cpu=0.25), "save": Seconds(wall=2, cpu=1)}
    return Rehearsal(image=Seconds(wall=image, cpu=image / 2), **{**usual, **costs, **values})


TRAINED = [
    (case(), rehearsal(1.0)),
    (case(rate=0.1), rehearsal(3.0)),  # the start at another number: 20 s an epoch on average
    (case(("size", 2), size=2), rehearsal(5.0)),
    (case(("kind", "b"), kind="b"), rehearsal(1.0)),
    (case(("kind", "b"), kind="b", more=1), rehearsal(2.0)),
    (case(("kind", "c"), kind="c"), rehearsal(3.0, checkpoint_bytes=300)),
]


def test_the_mean_over_a_space_adds_what_each_knob_adds_to_the_start():
    found = {choice: seconds.wall for choice, seconds in seconds_by_choice(TRAINED).items()}
    assert found == {("size", 1): 20, ("size", 2): 50, ("kind", "a"): 20, ("kind", "b"): 15, ("kind", "c"): 30}
    start = Seconds(wall=20, cpu=10)
    mean = mean_seconds(start, seconds_by_choice(TRAINED))
    # sizes: 35 on average, 15 more than the start; kinds: 65 / 3
    assert mean.wall == pytest.approx(20 + 15 + (65 / 3 - 20))
    assert mean.cpu == pytest.approx(mean.wall / 2)
    assert mean_seconds(start, {}) == start


def test_an_epoch_is_trained_validated_and_saved_and_a_retest_has_more_images_and_a_test():
    cost = arm_cost(make_stage(), TRAINED, num_train=(10, 20), num_val=4, num_test=6)
    train = 20 + 15 + (65 / 3 - 20)
    assert cost.epoch.wall == pytest.approx(train + 4 * 0.5 + 2)
    assert cost.retest_epoch.wall == pytest.approx(2 * train + 2)
    assert cost.test.wall == 3
    assert (cost.checkpoint_bytes, cost.model_bytes) == (300, 10)


@pytest.fixture
def tried(monkeypatch, tmp_path):
    """How the arm none of the imbalance study would be tried, if an epoch took a second, and in batches of 16 three."""

    def rehearse(task, hparams, *rest, **options) -> Rehearsal:
        if hparams["schedule"] == "linear" and hparams["batch_size"] == 32:
            raise ZeroDivisionError("division by zero")
        return rehearsal(0.3 if hparams["batch_size"] == 16 else 0.1)

    monkeypatch.setattr(preflights, "rehearse", rehearse)
    spec = SimpleNamespace(numerics=Numerics(), gpus_per_trial=0)
    return preflights._tried(make_stage(arms=("none",)), "none", None, spec, tmp_path)


def test_the_costliest_choices_together_are_tried_and_count_in_no_mean(tried):
    assert [case.params["batch_size"] for case, _ in tried.costliest] == [16, 64]
    sizes = {size: mean.wall for (knob, size), mean in seconds_by_choice(tried.trained).items() if knob == "batch_size"}
    assert sizes == {16: pytest.approx(3), 32: pytest.approx(1), 64: pytest.approx(1)}


def test_whatever_a_configuration_raises_is_its_failure_and_the_others_are_tried(tried):
    assert {failure.params["schedule"] for failure in tried.failures} == {"linear"}
    assert {failure.message for failure in tried.failures} == {"ZeroDivisionError: division by zero"}
    assert len(tried.trained) > 5


@pytest.mark.parametrize(
    ("asked", "each", "total", "share"),
    [
        (0.25, 1, 24, 0.25),  # more would fit: what was asked
        (0.25, 6, 24, 0.3333),  # three, with a twentieth spared
        (0.25, 12, 24, 1.0),
        (0.25, 30, 24, 1.0),  # none fits: alone at least
        (2.0, 6, 24, 2.0),  # two whole GPUs stay two
    ],
)
def test_a_trial_gets_the_share_of_a_gpu_that_its_memory_needs(asked, each, total, share):
    assert gpu_share(asked, each, total) == share


def test_as_many_trainings_are_proposed_as_the_free_memory_holds_beside_ray():
    gigabyte = 1_000_000_000
    # a twentieth of 10 GB is spared, Ray takes 1.5, the images 1: 7 are left
    assert fitting(10 * gigabyte, gigabyte, 2 * gigabyte) == 3
    assert fitting(2 * gigabyte, gigabyte, 2 * gigabyte) == 1
    assert fitting(None, gigabyte, 2 * gigabyte) > 1000  # the system does not say


def shown(**values) -> str:
    row = {
        "stage": "tune", "arm": "none", "configurations": 8, "memory_bytes": 512e6, "gpu_memory_bytes": 0,
        "epoch_seconds": 2.0, "longest_epoch_seconds": 4.0, "checkpoint_bytes": 1e6,
    }  # fmt: skip
    parts = (
        Part(name="start", trainings=0, epochs=0, seconds=Seconds(wall=20, cpu=20)),
        Part(name="tuning", trainings=36, epochs=221.4, seconds=Seconds(wall=100, cpu=180)),
    )
    idle = Forecast(parts=parts, further=None, disk_bytes=50_000_000)
    found = {
        "arms": pd.DataFrame([row]), "failures": (), "slots": 2, "max_concurrent": 2, "gpus_per_trial": 0.0,
        "forecast": idle, "idle": idle,
    }  # fmt: skip
    return str(Preflight(**{**found, **values}))


def test_a_preflight_is_a_table_a_proposal_and_what_the_study_takes():
    assert shown().splitlines() == [
        "arm   tried  memory  an epoch  longest  a checkpoint",
        "none      8  512 MB     2.0 s    4.0 s        1.0 MB",
        "all of them train, and are restored as they were saved",
        "proposed: --max-concurrent 2 (2 slots)",
        "  start: 20 s",
        "  tuning: 36 trainings, 221 epochs: 1 min 40 s",
        "time: about 2 min 00 s; trainings take 3 min 00 s of processors",
        "disk: about 50 MB",
    ]


def test_a_configuration_that_does_not_train_is_named_with_its_arm_and_settings():
    failure = Failure(
        arm="none", params={"batch_size": 64, "learning_rate": 0.30000000001}, message="out of memory: 3 GB"
    )
    text = shown(failures=(failure,), forecast=None, idle=None, max_concurrent=1)
    assert "does not train: none with batch_size=64, learning_rate=0.3: out of memory: 3 GB" in text
    assert "all of them train" not in text
    assert "--max-concurrent 1 (memory for no more than 1 of 2 slots)" in text
    assert "time:" not in text


def taking(seconds: float) -> Forecast:
    part = Part(name="tuning", trainings=1, epochs=1, seconds=Seconds(wall=seconds, cpu=100))
    return Forecast(parts=(part,), further=None, disk_bytes=1)


def test_other_work_on_the_machine_is_told_apart():
    slowed = shown(forecast=taking(300), idle=taking(100))
    assert "other work slows this machine now; without it about 1 min 40 s" in slowed
    assert "other work" not in shown(forecast=taking(100), idle=taking(100))


def test_what_lies_where_checkpoints_says_is_told_apart_from_the_disk():
    far = replace(taking(100), store_bytes=30_000_000)
    assert "disk: about 0.0 MB, and 30 MB where --checkpoints says" in shown(forecast=far)
