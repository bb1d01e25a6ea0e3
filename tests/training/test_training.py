"""Jobs on Ray: their order, what begins with another's weights, and what is done about failures and lost workers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch

from study.engine import jobs as training
from study.engine.jobs import Job, run_jobs
from study.reproduction.spec import ReproductionSpec
from trainables.common.places import LocalPlace
from trainables.tasks.recipe import RECIPE

SPEC = ReproductionSpec(cpus_per_trial=1, gpus_per_trial=0)


class FakeRay:
    """As much of Ray as run_jobs uses: a task is over as soon as it is waited for, in the order of starting."""

    exceptions = ray.exceptions

    def __init__(self, outcomes: dict[str, Any]) -> None:
        self.outcomes, self.started, self.most_at_once, self.cancelled = outcomes, [], 0, []
        self._running: list[str] = []
        self.at_once: list[int] = []

    def remote(self, function: Any) -> Any:
        return SimpleNamespace(options=lambda *, name, **resources: SimpleNamespace(remote=self._start(name)))

    def _start(self, name: str) -> Any:
        def start(*args: Any, **options: Any) -> str:
            self.started.append(name)
            self._running.append(name)
            self.at_once.append(len(self._running))
            self.most_at_once = max(self.most_at_once, len(self._running))
            return name

        return start

    def wait(self, futures: list[str], *, num_returns: int, timeout: float) -> tuple[list[str], list[str]]:
        return futures[:1], futures[1:]

    def get(self, future: str) -> Any:
        self._running.remove(future)
        outcome = self.outcomes.get(future.split()[0], ({"seed": 0}, []))
        if isinstance(outcome, list):  # of several tries
            outcome = outcome.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def cancel(self, future: str, *, force: bool) -> None:
        self.cancelled.append(future)


def job(name: str, folder: Path, *, seed: int = 0, after: str | None = None) -> Job:
    (folder / name).mkdir(exist_ok=True)
    return Job(
        name=name,
        seed=seed,
        task=RECIPE,
        hparams={},
        num_epochs=1,
        pool=None,
        training_data=lambda data: data,
        test=None,
        folder=LocalPlace(folder / name),
        keeps_folder=name == "first",
        after=(after, seed) if after else None,
    )


@pytest.fixture
def run(monkeypatch, tmp_path):
    def run(
        *jobs: Job, outcomes: dict[str, Any] | None = None, num_slots: int = 2, failed: Any = None, **options: Any
    ) -> tuple[FakeRay, dict[str, Any], list[str]]:
        fake, told = FakeRay(outcomes or {}), {}
        monkeypatch.setattr(training, "ray", fake)

        def on_outcome(job: Job, outcome: Any) -> None:
            assert job.folder.path.exists(), "recorded before its checkpoints are removed"
            told[job.name] = outcome

        lost = run_jobs(jobs, spec=SPEC, num_slots=num_slots, failed=failed or {}, on_outcome=on_outcome, **options)
        return fake, told, lost

    return run


def test_jobs_run_in_order_in_as_many_slots_as_there_are(run, tmp_path):
    fake, told, lost = run(*(job(name, tmp_path) for name in "abcde"), num_slots=3)
    assert [name.split()[0] for name in fake.started] == list("abcde")
    assert fake.most_at_once == 3
    assert set(told) == set("abcde")
    assert lost == []
    assert not any((tmp_path / name).exists() for name in "abcde")


def test_a_job_waits_for_the_one_whose_weights_it_begins_with(run, tmp_path):
    jobs = [job("first", tmp_path), job("then", tmp_path, after="first"), job("other", tmp_path)]
    fake, _, _ = run(*jobs)
    assert [name.split()[0] for name in fake.started] == ["first", "other", "then"]
    assert (tmp_path / "first").exists()


def test_what_would_begin_with_half_trained_weights_fails(run, tmp_path):
    jobs = [job("first", tmp_path), job("then", tmp_path, after="first")]
    fake, told, lost = run(*jobs, outcomes={"first": "the training loss was nan"})
    assert told == {
        "first": "the training loss was nan",
        "then": "first failed on this seed: the training loss was nan",
    }
    assert len(fake.started) == 1
    assert lost == []


def test_what_failed_in_an_earlier_session_is_remembered(run, tmp_path):
    fake, told, _ = run(job("then", tmp_path, after="first"), failed={("first", 0): "it diverged"})
    assert told == {"then": "first failed on this seed: it diverged"}
    assert fake.started == []


def test_what_was_done_in_an_earlier_session_is_begun_with(run, tmp_path):
    _, told, _ = run(job("then", tmp_path, after="first"))
    assert told == {"then": ({"seed": 0}, [])}


def test_a_lost_worker_is_told_and_neither_recorded_nor_begun_with(run, tmp_path):
    error = ray.exceptions.WorkerCrashedError()
    jobs = [job("first", tmp_path), job("then", tmp_path, after="first"), job("other", tmp_path)]
    _, told, lost = run(*jobs, outcomes={"first": error})
    assert set(told) == {"other"}
    assert [line.partition(":")[0] for line in lost] == ["first, seed 0", "then, seed 0"]


@pytest.mark.parametrize("cause", [OSError(28, "No space left on device")])
def test_a_full_disk_is_not_a_result(run, tmp_path, cause):
    error = ray.exceptions.RayTaskError("train", "Traceback\nit was full", cause)
    _, told, lost = run(job("a", tmp_path), outcomes={"a": error})
    assert told == {}
    assert lost == ["a, seed 0: it was full"]
    assert (tmp_path / "a").exists()


REFUSED = ray.exceptions.RayTaskError("train", "Traceback\nCUDA out of memory", torch.OutOfMemoryError("CUDA"))
KILLED = ray.exceptions.OutOfMemoryError("low on memory\nthe node was 15.2GB used / 16.0GB limit (0.95)")
DONE = ({"seed": 0}, [])


@pytest.mark.faults
@pytest.mark.parametrize("error", [REFUSED, KILLED], ids=["refused", "killed"])
def test_what_has_no_memory_beside_others_is_trained_alone_after_them(run, tmp_path, faults, error):
    for _ in faults.each([error]):
        jobs = [job("first", tmp_path), job("then", tmp_path, after="first"), *(job(name, tmp_path) for name in "abc")]
        fake, told, lost = run(*jobs, outcomes={"first": [error, DONE]})
    assert [name.split()[0] for name in fake.started] == ["first", "a", "b", "c", "first", "then"]
    assert told == dict.fromkeys(["first", "then", "a", "b", "c"], DONE)
    assert lost == []


@pytest.mark.faults
@pytest.mark.parametrize(("error", "num_tries"), [(REFUSED, 2), (KILLED, 3)], ids=["refused", "killed"])
def test_what_has_no_memory_alone_either_fails(run, tmp_path, faults, error, num_tries):
    for _ in faults.each([error]):
        fake, told, lost = run(job("a", tmp_path), job("b", tmp_path), outcomes={"a": error})
    assert [name.split()[0] for name in fake.started] == ["a", "b"] + ["a"] * (num_tries - 1)
    assert told["a"].startswith("out of memory, also when it trained alone (no GPU a trial): ")
    assert told["b"] == DONE
    assert lost == []
    assert not (tmp_path / "a").exists()


def test_after_a_kill_half_as_many_run_at_once_and_it_is_said(run, tmp_path):
    said: list[str] = []
    fake, told, _ = run(
        *(job(name, tmp_path) for name in "abcdefgh"), outcomes={"a": [KILLED, DONE]}, num_slots=4, say=said.append
    )
    assert len(told) == 8
    [line] = said
    assert "when the machine used 15.2 of 16.0 GB; 2 trainings at a time from now on (--max-concurrent 2" in line
    assert fake.at_once[:4] == [1, 2, 3, 4]
    assert max(fake.at_once[4:]) <= 3  # those that ran already end first


def test_an_error_in_the_training_is_a_result(run, tmp_path):
    error = ray.exceptions.RayTaskError("train", "Traceback\nValueError: bad", ValueError("bad"))
    _, told, lost = run(job("a", tmp_path), outcomes={"a": error})
    assert told == {"a": "ValueError: bad"}
    assert lost == []


def test_what_still_runs_is_cancelled_when_one_interrupts(run, tmp_path):
    jobs = [job("a", tmp_path), job("b", tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        run(*jobs, outcomes={"a": KeyboardInterrupt()})
    assert training.ray.cancelled == ["b seed 0"]
