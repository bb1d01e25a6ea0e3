"""ASHA in each arm: the rule worked by hand, and a scheduler whose only memory is the ledger."""

import math
from types import SimpleNamespace

import pytest
from learner_cases import SPACE
from ray.tune.experiment import Trial
from study_cases import METRIC, asked, epoch_events, make_scheduler, make_stage, ray_trial, result_of

from study.core.ledger import RUNG, Ledger, finished
from study.engine.scheduler import Decision, asha_decision
from trainables.tasks.imbalance import IMBALANCE
from trainables.worker import trainable_class

CONTINUE, STOP = "CONTINUE", "STOP"


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path) as ledger:
        yield ledger


def decide(value, peers, *, reduction_factor=3, mode="max"):
    return asha_decision(value, peers, reduction_factor=reduction_factor, mode=mode)


def test_the_first_arrival_goes_on_without_a_cutoff():
    assert decide(0.1, []) == Decision(value=0.1, cutoff=None, num_peers=0, decision="continue")


@pytest.mark.parametrize(
    ("peers", "reduction_factor", "cutoff"),
    [
        ([0.25], 3, 0.25),
        ([0.0, 1.0], 2, 0.5),  # the median
        ([0.75, 0.25, 0.5], 2, 0.5),  # in any order
        ([0.0, 0.3], 3, 0.2),  # 2/3 of the way from 0.0 to 0.3
        ([0.4, 0.1, 0.3, 0.2], 3, 0.3),  # position 2/3 · 3 = 2 of 0.1, 0.2, 0.3, 0.4
        ([0.1, 0.2, 0.3, 0.4, 0.5], 4, 0.4),  # position 3/4 · 4 = 3
    ],
)
def test_the_cutoff_is_the_quantile_that_one_in_the_factor_reaches(peers, reduction_factor, cutoff):
    below = decide(cutoff - 0.01, peers, reduction_factor=reduction_factor)
    above = decide(cutoff + 0.01, peers, reduction_factor=reduction_factor)
    assert below.cutoff == pytest.approx(cutoff)
    assert below.num_peers == len(peers)
    assert (below.decision, above.decision) == ("stop", "continue")


def test_a_value_at_the_cutoff_goes_on():
    assert decide(0.25, [0.25]).decision == "continue"


def test_where_less_is_better_the_rule_is_turned_round():
    """Of the losses 1, 2, 3, 4 with factor 3 the third best place is cut at 2: position 2/3 · 3 from the worst."""
    assert decide(2.1, [1.0, 2.0, 3.0, 4.0], mode="min") == Decision(
        value=2.1, cutoff=2.0, num_peers=4, decision="stop"
    )
    assert decide(1.9, [1.0, 2.0, 3.0, 4.0], mode="min").decision == "continue"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_value_that_is_not_finite_never_goes_on(value, mode):
    assert decide(value, [], mode=mode).decision == "stop"
    assert decide(value, [0.5], mode=mode).decision == "stop"


def test_a_peer_that_was_not_finite_does_not_stop_the_others():
    """The quantile of (nan, 0.5) would be nan, and nothing is at least nan."""
    assert decide(0.6, [math.nan, 0.5]).decision == "continue"
    assert decide(0.4, [math.nan, 0.5]).decision == "stop"
    assert decide(0.4, [math.nan]).decision == "continue"


def test_a_trial_below_the_cutoff_of_its_arm_is_stopped(ledger):
    """Factor 3, rung at epoch 1: after 0.75 and 0.25 the cutoff is 0.25 + 2/3 · 0.5 = 0.5833."""
    for number in range(4):
        ledger.append(asked(f"none-000{number}"))
    scheduler = make_scheduler(make_stage(), ledger)
    values = [0.75, 0.25, 0.5, 0.6]
    answers = [
        scheduler.on_trial_result(None, ray_trial(f"none-000{number}"), result_of(1, value))
        for number, value in enumerate(values)
    ]
    rungs = [trial.rungs[0] for trial in ledger.book.trials.values()]
    # 0.25 is below 0.75; 0.5 below 0.5833; 0.6 is at least the 2/3 quantile of 0.25, 0.5, 0.75, which is 0.5833.
    assert answers == [CONTINUE, STOP, STOP, CONTINUE]
    assert [rung["cutoff"] for rung in rungs] == [None, 0.75, pytest.approx(7 / 12), pytest.approx(7 / 12)]
    assert [rung["num_peers"] for rung in rungs] == [0, 1, 2, 3]
    assert [trial.status for trial in ledger.book.trials.values()] == ["running", "stopped", "stopped", "running"]


def test_an_arm_is_not_compared_with_another(ledger):
    for trial_id in ("none-0000", "focal-0000", "focal-0001"):
        ledger.append(asked(trial_id))
    scheduler = make_scheduler(make_stage(), ledger)
    assert scheduler.on_trial_result(None, ray_trial("none-0000"), result_of(1, 0.9)) == CONTINUE
    assert scheduler.on_trial_result(None, ray_trial("focal-0000"), result_of(1, 0.2)) == CONTINUE
    assert scheduler.on_trial_result(None, ray_trial("focal-0001"), result_of(1, 0.3)) == CONTINUE
    assert ledger.book.trials["focal-0000"].rungs[0]["cutoff"] is None
    assert ledger.book.trials["focal-0001"].rungs[0]["cutoff"] == 0.2


def test_rungs_are_at_grace_times_powers_of_the_factor_and_not_at_the_end(ledger):
    ledger.append(asked("none-0000"))
    scheduler = make_scheduler(make_stage(), ledger)  # 9 epochs, grace 1, factor 3
    answers = [scheduler.on_trial_result(None, ray_trial("none-0000"), result_of(epoch, 0.5)) for epoch in range(1, 10)]
    trial = ledger.book.trials["none-0000"]
    assert [rung["rung_epoch"] for rung in trial.rungs] == [1, 3]
    assert answers == [CONTINUE] * 8 + [STOP]
    assert trial.status == "completed"
    assert trial.num_epochs == 9


def test_a_repeated_epoch_is_not_recorded_twice(ledger):
    ledger.append(asked("none-0000"))
    scheduler = make_scheduler(make_stage(), ledger)
    for _ in range(2):
        assert scheduler.on_trial_result(None, ray_trial("none-0000"), result_of(1, 0.5)) == CONTINUE
    assert [event.kind for event in ledger.events()] == ["asked", "epoch", "checkpoint", "rung"]


def test_an_epoch_without_a_checkpoint_is_recorded_and_one_that_is_trained_again_is_not(ledger):
    """In a store, not every epoch has one: a trial that goes on from epoch 1 reports 1, 2 and 3 again."""
    ledger.append(asked("none-0000"))
    scheduler = make_scheduler(make_stage(), ledger)
    for epoch in (1, 2, 3, 1, 2, 3, 4):
        result = result_of(epoch, 0.5)
        if epoch != 1:
            del result["checkpoint"], result["checkpoint_sha256"]
        assert scheduler.on_trial_result(None, ray_trial("none-0000"), result) == CONTINUE
    assert [row["epoch"] for row in ledger.book.trials["none-0000"].epochs] == [1, 2, 3, 4]
    assert [event.payload["epoch"] for event in ledger.events("checkpoint")] == [1]


def test_a_finished_trial_that_reports_again_is_stopped_and_nothing_recorded(ledger):
    ledger.append(asked("none-0000"), *epoch_events("none-0000", 1, 0.5), finished("none-0000", "stopped"))
    scheduler = make_scheduler(make_stage(), ledger)
    assert scheduler.on_trial_result(None, ray_trial("none-0000"), result_of(2, 0.9)) == STOP
    assert ledger.book.trials["none-0000"].num_epochs == 1


def test_the_epoch_that_a_restarted_trial_repeats_is_recorded_if_the_driver_died_before(ledger, tmp_path, monkeypatch):
    """Worker: epoch 1 trained, checkpoint written. Driver: killed. The trial set up anew reports epoch 1 once more."""
    from learner_cases import few_digits, start_hparams

    monkeypatch.setattr("ray.get_gpu_ids", list)  # needs a cluster
    config = {
        "trial_id": "none-0000",
        "seed": 1,
        "num_epochs": 9,
        "checkpoint_dir": str(tmp_path / "checkpoints"),
        "numerics": {"num_threads": 1},
        "hparams": start_hparams("none"),
    }

    def step_of_new_worker():
        trainable = object.__new__(trainable_class(IMBALANCE))
        trainable.setup(config, few_digits())
        return trainable.step()

    lost, repeated = step_of_new_worker(), step_of_new_worker()
    assert repeated == lost
    ledger.append(asked("none-0000"))
    make_scheduler(make_stage(), ledger).on_trial_result(None, ray_trial("none-0000"), repeated)
    assert ledger.book.trials["none-0000"].epochs[0]["weights_sha256"] == lost["weights_sha256"]


def test_ldam_drw_is_neither_stopped_nor_compared_before_its_reweighting(ledger):
    """Factor 2, 9 epochs: rungs 1, 2, 4, 8. Re-weighting from 0.6 · 9 on, epochs 6 to 9: only the rung at 8 counts."""
    stage = make_stage(arms=("ldam_drw",), reduction_factor=2)
    assert stage.rungs("ldam_drw") == (1, 2, 4, 8)
    for number, value in enumerate([0.9, 0.1]):
        ledger.append(asked(f"ldam_drw-000{number}", hparams={"reweight_start": 0.6}))
        scheduler = make_scheduler(stage, ledger)
        trial = ray_trial(f"ldam_drw-000{number}")
        answers = [scheduler.on_trial_result(None, trial, result_of(epoch, value)) for epoch in range(1, 9)]
        assert answers[:7] == [CONTINUE] * 7
        assert [rung["rung_epoch"] for rung in ledger.book.trials[f"ldam_drw-000{number}"].rungs] == [8]
    assert answers[7] == STOP  # 0.1 against 0.9
    # With 0.9 · 9 = 8 epochs before it, the rung at 8 does not count either.
    ledger.append(asked("ldam_drw-0002", hparams={"reweight_start": 0.9}))
    scheduler.on_trial_result(None, ray_trial("ldam_drw-0002"), result_of(8, 0.0))
    assert ledger.book.trials["ldam_drw-0002"].rungs == []
    assert not ledger.book.trials["ldam_drw-0002"].is_finished


def test_a_failed_training_is_failed_with_its_message_and_no_epoch(ledger):
    ledger.append(asked("none-0000"))
    scheduler = make_scheduler(make_stage(), ledger)
    message = "the training loss was nan at epoch 1, batch 3 of 4"
    result = {"epoch": 1, METRIC: math.nan, "failure": message}
    assert scheduler.on_trial_result(None, ray_trial("none-0000"), result) == STOP
    trial = ledger.book.trials["none-0000"]
    assert (trial.status, trial.message, trial.num_epochs, trial.rungs) == ("failed", message, 0, [])


def test_a_trial_that_ray_gave_up_is_failed_with_the_last_line_of_the_error(ledger):
    ledger.append(asked("none-0000"), asked("none-0001"))
    scheduler = make_scheduler(make_stage(), ledger)
    trial = ray_trial("none-0000")
    trial.get_error = lambda: "Traceback ...\n  File ...\nValueError: batch_size must be even\n"
    scheduler.on_trial_error(None, trial)
    scheduler.on_trial_error(None, ray_trial("none-0001"))  # no error is known
    first, second = ledger.book.trials.values()
    assert (first.status, first.message) == ("failed", "ValueError: batch_size must be even")
    assert (second.status, second.message) == ("failed", "the worker failed")


def test_an_error_after_the_end_does_not_change_it(ledger):
    ledger.append(asked("none-0000"), finished("none-0000", "completed"))
    make_scheduler(make_stage(), ledger).on_trial_error(None, ray_trial("none-0000"))
    assert ledger.book.trials["none-0000"].status == "completed"


def test_decisions_are_on_disk_before_anybody_hears_of_them(ledger, tmp_path):
    seen = []

    def look(record):
        with Ledger(tmp_path) as other:  # what another process would see
            seen.append([event.kind for event in other.events() if event.trial_id == record.trial_id])

    ledger.append(asked("none-0000"), asked("none-0001"))
    scheduler = make_scheduler(make_stage(), ledger, on_event=look)
    scheduler.on_trial_result(None, ray_trial("none-0000"), result_of(1, 0.5))
    scheduler.on_trial_result(None, ray_trial("none-0001"), result_of(1, 0.4))
    assert seen == [
        ["asked", "epoch", "checkpoint", "rung"],
        ["asked", "epoch", "checkpoint", "rung", "finished"],
    ]


def test_a_scheduler_on_a_reopened_ledger_decides_as_the_first_would_have(tmp_path):
    values = [0.5, 0.75, 0.25, 0.7, 0.6, 0.65]

    def run(folder, *, reopen):
        folder.mkdir()
        ledger = Ledger(folder)
        ledger.append(*(asked(f"none-000{number}") for number in range(len(values))))
        scheduler = make_scheduler(make_stage(), ledger)
        for number, value in enumerate(values):
            if reopen:
                ledger = Ledger(folder)
                scheduler = make_scheduler(make_stage(), ledger)
            scheduler.on_trial_result(None, ray_trial(f"none-000{number}"), result_of(1, value))
        return [event.payload for event in ledger.events() if event.kind == RUNG]

    decisions = run(tmp_path / "once", reopen=False)
    assert run(tmp_path / "reopened", reopen=True) == decisions
    # 0.25 against 0.5, 0.75 (cutoff 2/3); 0.7 against 0.25, 0.5, 0.75 (7/12); 0.6 against four (0.7); 0.65 (2/3)
    assert [rung["decision"] for rung in decisions] == ["continue", "continue", "stop", "continue", "stop", "stop"]


def test_when_time_is_up_a_running_trial_is_ended_and_stays_unfinished(ledger):
    ledger.append(asked("none-0000"))
    scheduler = make_scheduler(make_stage(), ledger, should_end=lambda: True)
    assert scheduler.on_trial_result(None, ray_trial("none-0000"), result_of(1, 0.5)) == STOP
    assert ledger.book.trials["none-0000"].status == "running"
    assert ledger.book.trials["none-0000"].num_epochs == 1


@pytest.mark.parametrize("arm", SPACE.arms)
def test_an_arm_whose_remedy_begins_late_is_not_stopped_before_it_and_others_from_the_first_epoch_on(arm):
    """Of 10 epochs 8 come before a start at 0.8, and 7 before one at 0.7."""
    first = SPACE.arms[arm].first_stoppable_epoch({"reweight_start": 0.8, "head_start": 0.7}, 10)
    late = dict.fromkeys(("ldam_drw", "deferred_sampling", "mixup_drw", "remix_drw"), 9) | {"crt": 8}
    assert first == late.get(arm, 1)


def test_trials_run_in_ray_s_order_and_one_whose_worker_was_lost_after_all_others(ledger):
    scheduler = make_scheduler(make_stage(), ledger)
    first, second, third = trials = [
        SimpleNamespace(trial_id=name, status=Trial.PENDING, is_finished=lambda: False) for name in ("a", "b", "c")
    ]
    for trial in trials:
        scheduler.on_trial_add(None, trial)
    assert scheduler.choose_trial_to_run(None) is first
    first.status = Trial.RUNNING
    assert scheduler.choose_trial_to_run(None) is second
    first.status = Trial.PENDING  # its worker was lost: Ray adds it again
    scheduler.on_trial_add(None, first)
    assert scheduler.choose_trial_to_run(None) is second
    second.status, second.is_finished = Trial.TERMINATED, lambda: True
    assert scheduler.choose_trial_to_run(None) is third
    third.status = Trial.RUNNING
    assert scheduler.choose_trial_to_run(None) is first
    first.status = Trial.RUNNING
    assert scheduler.choose_trial_to_run(None) is None
