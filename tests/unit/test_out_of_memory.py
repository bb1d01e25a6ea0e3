"""Trials for which there is no memory: the study goes on with fewer at a time, and only what fits nowhere fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from fake_tune import SPEC, Machine
from faults import Faults
from study_cases import METRIC

from study.engine.memory import killed_for_memory, memory_failure, memory_line
from trainables.tasks.imbalance import IMBALANCE
from trainables.worker import trainable_class

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(("fit", "experiments"), [(3, [4, 2]), (2, [4, 2]), (1, [4, 2, 1])])
def test_after_a_kill_the_study_goes_on_with_half_as_many(tmp_path, monkeypatch, faults: Faults, fit, experiments):
    for _ in faults.each([fit]):
        machine = Machine(tmp_path, killed=lambda trial_id, beside: beside > fit)
        assert machine.run(monkeypatch) is False
        assert machine.statuses == ["completed"] * 4
        assert machine.most_at_once == experiments
        assert [trial.num_epochs for trial in machine.ledger.book.trials.values()] == [2] * 4
        assert len(set(machine.names)) == len(machine.names)  # Ray continues nothing under an old name
    assert machine.said[0] == (
        "memory: Ray ended a training for want of memory when the machine used 15.2 of 16.0 GB; 2 trainings at a time "
        "from now on (--max-concurrent 2 does so from the start; smaller batches or --image-size need less)"
    )
    assert len(machine.said) == len(experiments) - 1


def test_a_trial_that_is_killed_alone_twice_fails_and_the_others_complete(tmp_path, monkeypatch, faults):
    for _ in faults.each([1]):
        machine = Machine(tmp_path, killed=lambda trial_id, beside: trial_id == "none-0001")
        assert machine.run(monkeypatch) is False
    assert machine.statuses == ["completed", "failed", "completed", "completed"]
    message = machine.ledger.book.trials["none-0001"].message
    assert message.startswith("out of memory, also when it trained alone (batch size ")
    assert "0.25 of a GPU a trial): Memory on the node" in message
    assert machine.tries["none-0001"] == 4  # beside three, beside one, and twice alone


def test_what_a_device_refuses_is_tried_once_more_alone_at_the_end(tmp_path, monkeypatch, faults):
    for _ in faults.each([1]):
        machine = Machine(tmp_path, refused=lambda trial_id, beside: trial_id == "none-0001" and beside > 1)
        assert machine.run(monkeypatch, slots=2) is False
    assert machine.statuses == ["completed"] * 4
    assert machine.most_at_once == [2, 1]
    assert machine.tries["none-0001"] == 2


def test_what_it_refuses_alone_too_fails_with_batch_size_and_share(tmp_path, monkeypatch, faults):
    for _ in faults.each([1]):
        machine = Machine(tmp_path, refused=lambda trial_id, beside: trial_id == "none-0001")
        assert machine.run(monkeypatch, slots=2) is False
    assert machine.statuses == ["completed", "failed", "completed", "completed"]
    trial = machine.ledger.book.trials["none-0001"]
    assert trial.message == (
        f"out of memory, also when it trained alone (batch size {trial.hparams['batch_size']}, 0.25 of a GPU a trial): "
        "CUDA out of memory. Tried to allocate 2 GiB"
    )
    assert machine.tries["none-0001"] == 2


def test_other_errors_end_the_study_as_before(tmp_path, monkeypatch):
    class Broken:
        def fit(self) -> None:
            raise RuntimeError("something else")

    machine = Machine(tmp_path)
    machine.tuner = lambda *arguments: Broken()  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="something else"):
        machine.run(monkeypatch)


def test_rays_word_is_found_among_the_causes():
    killed = ray.exceptions.OutOfMemoryError("low on memory")
    tunes, later = RuntimeError("Caught unexpected exception"), ValueError("later")
    tunes.__cause__, later.__context__ = killed, tunes
    assert killed_for_memory(later) is killed
    assert killed_for_memory(RuntimeError("other")) is None


def test_without_figures_or_a_batch_size_the_sentences_stand():
    assert "for want of memory; 1 training at a time" in memory_line(RuntimeError("no figures"), 1)
    spec = SPEC.model_copy(update={"gpus_per_trial": 0.0})
    assert (
        memory_failure("it broke", {}, spec) == "out of memory, also when it trained alone (no GPU a trial): it broke"
    )


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("12 GiB")])
@pytest.mark.parametrize("place", ["learner", "epoch"])
def test_a_worker_reports_it_and_is_of_use_for_the_next_trial(monkeypatch, error, place):
    trainable = object.__new__(trainable_class(IMBALANCE))
    trainable._data = None
    broken = [True]

    def learner(*arguments: Any, **options: Any) -> Any:
        if place == "learner" and broken:
            raise error
        return SimpleNamespace(epoch=0)

    def epoch(self: Any) -> dict[str, Any]:
        if broken:
            raise error
        return {"epoch": 1}

    trainable.task = SimpleNamespace(learner=learner, metric=METRIC)
    monkeypatch.setattr("trainables.worker.worker_setup", lambda **options: None)
    monkeypatch.setattr(
        "trainables.training.checkpoints.write_checkpoint", lambda *arguments, **options: ("epoch-0001.pt", "ab")
    )
    monkeypatch.setattr(type(trainable), "_train_and_validate", epoch)
    monkeypatch.setattr(type(trainable), "_state", lambda self, result: {})
    config = {
        "trial_id": "none-0000", "seed": 1, "num_epochs": 2, "checkpoint_dir": "/nowhere", "hparams": {},
        "numerics": {"precision": "float32", "num_threads": 1},
    }  # fmt: skip
    trainable.reset_config(config)
    for _ in range(2):
        assert trainable.step()["out_of_memory"] == str(error)
    broken.clear()
    trainable.reset_config(config)
    assert trainable.step() == {"epoch": 1, "checkpoint": "epoch-0001.pt", "checkpoint_sha256": "ab"}
