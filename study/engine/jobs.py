"""Whole trainings, run side by side on Ray: on fresh seeds with their tests, or to a trial's end with validation.

This is the only code that hands the test split to a worker.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
import torch

from study.core.errors import last_line
from study.core.spec import RunSpec
from study.engine.memory import KILLED_TRIES, REFUSED_TRIES, fewer, memory_failure, memory_line
from trainables.common.places import Place
from trainables.data.types import TuningData
from trainables.jobs import train_and_test_in_worker, train_and_validate_in_worker
from trainables.training.task import Task

Key = tuple[str, int]
Outcome = tuple[dict[str, Any], list[dict[str, Any]]] | str
"""(the columns of the test, if any, and the epochs), or the reason why the training failed."""
HEARTBEAT_SECONDS = 60.0
AnyTraining = TypeVar("AnyTraining", bound="Training")


@dataclass(frozen=True, kw_only=True)
class Training(ABC):
    """A whole training with one seed, in a worker.

    folder: its checkpoints, from which it continues; removed after the outcome unless keeps_folder. start_from: a
    checkpoint folder whose weights it begins with. after: the training that writes these weights and must finish first.
    """

    name: str
    seed: int
    task: Task
    hparams: Mapping[str, Any]
    num_epochs: int
    folder: Place
    keeps_folder: bool = False
    start_from: str | None = None
    after: Key | None = None

    @property
    def key(self) -> Key:
        return self.name, self.seed

    @property
    @abstractmethod
    def worker(self) -> Callable[..., Outcome]:
        """The function that a worker runs."""

    @property
    @abstractmethod
    def given(self) -> tuple[Any, ...]:
        """What the worker is given after the task: data, as Ray references."""


@dataclass(frozen=True, kw_only=True)
class Job(Training):
    """A training and its test.

    pool, test: Ray references to the data; training_data(pool): what it trains on, made in the worker.
    """

    pool: Any
    training_data: Callable[[TuningData], TuningData]
    test: Any

    @property
    def worker(self) -> Callable[..., Outcome]:
        return train_and_test_in_worker

    @property
    def given(self) -> tuple[Any, ...]:
        return self.pool, self.training_data, self.test


@dataclass(frozen=True, kw_only=True)
class ValidatedTraining(Training):
    """A training that is validated after each epoch, and not tested. data: a Ray reference to the tuning data."""

    data: Any

    @property
    def worker(self) -> Callable[..., Outcome]:
        return train_and_validate_in_worker

    @property
    def given(self) -> tuple[Any, ...]:
        return (self.data,)


def run_jobs(
    jobs: Sequence[AnyTraining],
    *,
    spec: RunSpec,
    num_slots: int,
    failed: Mapping[Key, str],
    on_outcome: Callable[[AnyTraining, Outcome], None],
    on_wait: Callable[[Sequence[AnyTraining]], None] = lambda running: None,
    say: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Run the jobs in their order, num_slots at a time.

    failed: jobs that failed in an earlier session, with reasons; jobs that would begin with their half-trained weights
    fail too. on_outcome(job, outcome) must record the outcome: the job's folder is removed after it. on_wait(running
    jobs) is called whenever a minute passes without an outcome. A job for which there was no memory is tried again when
    no other one runs, and fails if that does not help. Returns a line for each job that was lost with its worker or for
    lack of disk: a resume repeats these.
    """
    waiting = list(jobs)
    failed = dict(failed)
    lost: dict[Key, str] = {}
    workers = {job.worker: ray.remote(job.worker) for job in jobs}
    running: dict[Any, AnyTraining] = {}
    set_aside: list[AnyTraining] = []  # until no other one runs
    tries_alone: Counter[Key] = Counter()
    alone: Key | None = None

    def run_out(job: AnyTraining, error: BaseException, num_tries: int) -> None:
        tries_alone[job.key] += job.key == alone
        if tries_alone[job.key] < num_tries:
            set_aside.append(job)
        else:
            conclude(job, memory_failure(error, job.hparams, spec))

    def conclude(job: AnyTraining, outcome: Outcome) -> None:
        if isinstance(outcome, str):
            failed[job.key] = outcome
        on_outcome(job, outcome)
        if not job.keeps_folder:
            job.folder.remove_all()

    try:
        while waiting or running or set_aside:
            unfinished = {job.key for job in (*waiting, *running.values(), *set_aside)}
            ready = [job for job in waiting if job.after not in unfinished]
            if not running:
                alone = None
                if not ready and set_aside:
                    ready = [set_aside.pop(0)]
                    waiting += ready
                    alone = ready[0].key
            room = (1 - len(running)) if alone is not None else max(0, num_slots - len(running))
            for job in ready[:room]:
                waiting.remove(job)
                if job.after in failed:
                    conclude(job, f"{job.after[0]} failed on this seed: {failed[job.after]}")
                elif job.after in lost:
                    lost[job.key] = f"{job.after[0]} was lost"
                else:
                    running[_started(workers[job.worker], job, spec)] = job
            if not running:
                continue
            done, _ = ray.wait(list(running), num_returns=1, timeout=HEARTBEAT_SECONDS)
            if not done:
                on_wait(list(running.values()))
                continue
            job = running.pop(done[0])
            try:
                outcome = ray.get(done[0])
            except ray.exceptions.RayTaskError as error:  # in our code: it would happen again, but for these
                if isinstance(error.cause, MemoryError | torch.OutOfMemoryError):
                    run_out(job, error, REFUSED_TRIES)
                    continue
                if isinstance(error.cause, OSError):
                    lost[job.key] = last_line(error)
                    continue
                outcome = last_line(error)
            except ray.exceptions.OutOfMemoryError as error:
                num_slots = fewer(num_slots)
                say(memory_line(error, num_slots))
                run_out(job, error, KILLED_TRIES)
                continue
            except ray.exceptions.RayError as error:  # the worker or its node was lost
                lost[job.key] = last_line(error)
                continue
            conclude(job, outcome)
    finally:
        for future in running:
            ray.cancel(future, force=True)
    return [f"{name}, seed {seed}: {message}" for (name, seed), message in lost.items()]


def _started(worker: Any, job: Training, spec: RunSpec) -> Any:
    return worker.options(
        name=f"{job.name} seed {job.seed}",
        num_cpus=spec.cpus_per_trial,
        num_gpus=spec.gpus_per_trial,
        max_retries=2,
    ).remote(
        job.task,
        *job.given,
        hparams=job.hparams,
        num_epochs=job.num_epochs,
        seed=job.seed,
        numerics=spec.numerics,
        checkpoint_dir=job.folder,
        start_from=job.start_from,
    )
