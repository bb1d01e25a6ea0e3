"""What a study will cost: the arithmetic, on numbers made by hand."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from study_cases import make_stage

from study.core.search import searches_of
from study.core.spec import StudySpec
from study.engine import forecast as forecasts
from study.engine.forecast import ArmCost, expected_of_search, expected_survivors, forecast, makespan
from study.engine.scheduler import asha_decision
from trainables.probes.rehearsal import Seconds

FREE = Seconds()
GALLERY = Path(__file__).resolve().parents[2] / "reports" / "gallery"


def same(seconds: float) -> Seconds:
    return Seconds(wall=seconds, cpu=seconds)


COST = ArmCost(
    build=same(1.0), epoch=same(2.0), retest_epoch=same(3.0), test=same(4.0), checkpoint_bytes=1000, model_bytes=100
)


@pytest.fixture(autouse=True)
def nothing_fixed(monkeypatch):
    """What a study takes besides its trainings is measured, and not reckoned."""
    for name in ("START_SECONDS", "WORKER_SECONDS", "PAGE_SECONDS"):
        monkeypatch.setattr(forecasts, name, FREE)
    monkeypatch.setattr(forecasts, "OTHER_BYTES", 0)


def spec_of(**values) -> StudySpec:
    return StudySpec(task="imbalance", **{"retest_seeds": 3, **values})


def forecast_of(num_slots: int = 1, costs=COST, stages=None, **values):
    stages = stages or [make_stage(trials_per_arm=2, max_epochs=9, grace_epochs=3)]
    by_arm = {arm: costs for stage in stages for arm in stage.arms}
    return forecast(stages, spec_of(**values), by_arm, num_slots)


def test_the_first_arrival_goes_on_the_second_half_the_time_and_later_ones_more_and_more_like_a_third():
    assert expected_survivors(0, 3) == 0
    assert expected_survivors(1, 3) == 1
    assert expected_survivors(2, 3) == 1.5
    assert expected_survivors(3, 3) == pytest.approx(1.5 + 4 / 9)  # two peers: above 2/3 of the way between them
    assert expected_survivors(1.5, 3) == 1.25  # between one and two
    assert expected_survivors(1000, 3) / 1000 == pytest.approx(1 / 3, abs=0.01)
    assert expected_survivors(1000, 2) / 1000 == pytest.approx(1 / 2, abs=0.01)


@pytest.mark.parametrize(("num_trials", "reduction_factor"), [(6, 3), (9, 2)])
def test_as_many_survive_as_the_scheduler_s_rule_lets_go_on(num_trials, reduction_factor):
    draw = random.Random(0)
    going_on = 0
    for _ in range(400):
        peers: list[float] = []
        for value in (draw.random() for _ in range(num_trials)):
            decision = asha_decision(value, peers, reduction_factor=reduction_factor, mode="max").decision
            going_on += decision == "continue"
            peers.append(value)
    assert going_on / 400 == pytest.approx(expected_survivors(num_trials, reduction_factor), rel=0.05)


def test_the_epochs_of_a_search_are_those_up_to_each_rung_of_the_trials_that_reach_it():
    none = expected_of_search(4, rungs=(), num_epochs=9, reduction_factor=3)
    assert (none.epochs, none.completed) == (36, 4)
    two = expected_of_search(2, rungs=(1, 3), num_epochs=9, reduction_factor=3)
    # two to epoch 1; 1.5 of them to 3; of these the first and half of half a second: 1.25 to 9
    assert (two.epochs, two.completed) == (2 + 1.5 * 2 + 1.25 * 6, 1.25)


@pytest.mark.parametrize("name", ["baseline", "eurosat-lt", "imbalance", "jigsaw"])
def test_the_gallery_s_studies_trained_about_as_many_epochs_as_expected(name):
    run_dir = GALLERY / name
    reduction_factor = json.loads((run_dir / "spec.json").read_text())["reduction_factor"]
    trials, rungs = (pd.read_parquet(run_dir / f"{table}.parquet") for table in ("trials", "rungs"))
    expected = sum(
        expected_of_search(
            len(of_arm),
            rungs=sorted(set(rungs.loc[rungs["arm"] == arm, "rung_epoch"])),
            num_epochs=int(of_arm["epochs"].max()),
            reduction_factor=reduction_factor,
        ).epochs
        for arm, of_arm in trials.groupby("arm")
    )
    assert expected == pytest.approx(trials["epochs"].sum(), rel=0.15)


@pytest.mark.parametrize(("num_slots", "seconds"), [(1, 9.0), (2, 6.0), (3, 4.0), (9, 4.0)])
def test_trainings_wait_for_a_slot_in_their_order(num_slots, seconds):
    assert makespan([2.0, 3.0, 4.0], num_slots) == seconds


def test_a_study_is_its_trials_then_a_winner_an_arm_on_each_seed():
    found = forecast_of()
    tuning, retests = (part for part in found.parts if part.trainings)
    # 2 arms: 2 trials to epoch 3, 1.5 of them to 9: 15 epochs of 2 s, and 2 learners of 1 s
    assert (tuning.name, tuning.trainings, tuning.epochs, tuning.seconds) == ("tuning", 4, 30, same(2 * 32))
    # 2 winners x 3 seeds, each 1 + 9 * 3 + 4 s
    assert (retests.name, retests.trainings, retests.epochs, retests.seconds) == ("retests", 6, 54, same(6 * 32))
    assert found.seconds == same(2 * 32 + 6 * 32)
    assert found.further is None


def test_slots_share_the_time_by_the_clock_and_not_the_processor_s():
    found = forecast_of(num_slots=2)
    assert found.seconds == Seconds(wall=32 + 3 * 32, cpu=2 * 32 + 6 * 32)


def test_searches_controls_and_defaults_are_trained_and_retested_too():
    stage = make_stage(trials_per_arm=2, max_epochs=9, grace_epochs=3)
    more = replace(stage, searches=searches_of(2, "random"), control_trials=1, retests_default=True)
    tuning, retests = (part for part in forecast_of(stages=[more]).parts if part.trainings)
    assert tuning.trainings == 2 * (2 + 2 + 1 + 1)
    assert tuning.epochs == 2 * (15 + 15 + 9 + 9)  # a control's only trial is the first of its own rungs
    assert retests.trainings == 2 * 2 * 3 * 3  # arms x searches x (winner, default, control's winner) x seeds


def test_a_search_for_time_too_stops_nothing_and_may_retest_a_knee():
    stage = make_stage(trials_per_arm=2, max_epochs=9, grace_epochs=3, objective="score,seconds")
    tuning, retests = (part for part in forecast_of(stages=[stage]).parts if part.trainings)
    assert tuning.epochs == 2 * 2 * 9
    assert retests.trainings == 2 * 2 * 3  # arms x (winner, knee) x seeds


def test_trials_that_may_not_be_judged_yet_are_not_stopped():
    late = make_stage(arms=("ldam_drw",), trials_per_arm=2, max_epochs=10, grace_epochs=1)
    tuning = next(part for part in forecast_of(stages=[late]).parts if part.trainings)
    assert late.rungs("ldam_drw") == (1, 3, 9)  # its weights change after epoch 8
    assert tuning.epochs == 2 * 9 + 1.5


def test_an_audit_trains_no_more_than_were_stopped_and_a_time_budget_cuts_tuning_alone():
    parts = {part.name: part for part in forecast_of(audit=10).parts}
    assert (parts["audit"].trainings, parts["audit"].epochs) == (1, 9)  # 2 arms, half a trial each
    parts = {part.name: part for part in forecast_of(time_budget=16).parts}
    assert (parts["tuning"].seconds, parts["tuning"].epochs) == (same(16), 7.5)
    assert parts["retests"].trainings == 6


def test_each_part_that_trains_begins_with_new_workers(monkeypatch):
    monkeypatch.setattr(forecasts, "WORKER_SECONDS", Seconds(wall=5, cpu=1))
    assert forecast_of(num_slots=2).seconds == Seconds(wall=32 + 3 * 32 + 2 * 5, cpu=2 * 32 + 6 * 32 + 2 * 2)


def test_seeds_that_may_be_added_are_told_apart_from_those_that_will_be():
    found = forecast_of(retest_until=0.5, max_retest_seeds=8)
    assert found.further is not None
    assert (found.further.trainings, found.further.seconds) == (2 * 5, same(10 * 32))
    assert found.seconds == forecast_of().seconds


def test_the_disk_holds_two_checkpoints_a_completed_trial_the_winners_and_what_is_being_trained():
    # 1.5 trials an arm run to their end
    assert forecast_of().disk_bytes == 2 * (1.5 * 2 * 1000 + 100) + 3 * 1000
    before = make_stage(arms=("none",), name="pretext", trials_per_arm=1, grace_epochs=9)
    main = make_stage(arms=("focal",), trials_per_arm=1, grace_epochs=9)
    # the retests of a stage that lends weights are kept, on 3 seeds
    assert forecast_of(stages=[before, main]).disk_bytes == 2 * (2 * 1000 + 100) + 3 * 2 * 1000 + 3 * 1000


def test_checkpoints_elsewhere_take_no_disk_here_and_the_winners_weights_lie_in_both_places():
    here, far = forecast_of(), forecast_of(checkpoints="s3://bucket/studies")
    assert (here.store_bytes, far.disk_bytes) == (0, 2 * 100)
    assert far.store_bytes == here.disk_bytes
