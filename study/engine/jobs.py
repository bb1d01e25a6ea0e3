"""Trainings on fresh seeds and their tests, side by side on Ray: what the retest and a reproduction have in common.

The only code that hands the test split to a worker.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch

from study.core.errors import last_line
from study.core.spec import RunSpec
from trainables.data.types import TuningData
from trainables.training.task import Task
from trainables.worker import train_and_test_in_worker

Key = tuple[str, int]
Outcome = tuple[dict[str, Any], list[dict[str, Any]]] | str
"""(the columns of the test, the epochs), or why the training failed."""
HEARTBEAT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training with a seed, then its test.

    pool, test: Ray's references to the data; cut makes the training data of the pool, in the worker. folder: of its
    checkpoints, from which it goes on; it stays where keeps_folder, else it is removed after the test. start_from: a
    checkpoint folder with whose weights it begins. after: the job that must be over before, its weights being those.
    """

    name: str
    seed: int
    task: Task
    hparams: Mapping[str, Any]
    num_epochs: int
    pool: Any
    cut: Callable[[TuningData], TuningData]
    test: Any
    folder: Path
    keeps_folder: bool = False
    start_from: str | None = None
    after: Key | None = None

    @property
    def key(self) -> Key:
        return self.name, self.seed


def run_jobs(
    jobs: Sequence[Job],
    *,
    spec: RunSpec,
    num_slots: int,
    failed: Mapping[Key, str],
    on_outcome: Callable[[Job, Outcome], None],
    on_wait: Callable[[Sequence[Job]], None] = lambda running: None,
) -> list[str]:
    """Run the jobs in their order, num_slots at a time.

    failed: jobs that failed in an earlier session, and why; what would begin with half-trained weights fails too.
    on_outcome records it: the job's folder is removed after that. on_wait(running jobs) is called once a minute.
    Returns what was lost with its worker, or to a full disk or memory, a line each: a resume repeats it.
    """
    waiting = list(jobs)
    failed = dict(failed)
    lost: dict[Key, str] = {}
    worker = ray.remote(train_and_test_in_worker)
    running: dict[Any, Job] = {}

    def conclude(job: Job, outcome: Outcome) -> None:
        if isinstance(outcome, str):
            failed[job.key] = outcome
        on_outcome(job, outcome)

    try:
        while waiting or running:
            unfinished = {job.key for job in (*waiting, *running.values())}
            ready = [job for job in waiting if job.after not in unfinished]
            for job in ready[: num_slots - len(running)]:
                waiting.remove(job)
                if job.after in failed:
                    conclude(job, f"{job.after[0]} failed on this seed: {failed[job.after]}")
                elif job.after in lost:
                    lost[job.key] = f"{job.after[0]} was lost"
                else:
                    running[_started(worker, job, spec)] = job
            if not running:
                continue
            done, _ = ray.wait(list(running), num_returns=1, timeout=HEARTBEAT_SECONDS)
            if not done:
                on_wait(list(running.values()))
                continue
            job = running.pop(done[0])
            try:
                outcome = ray.get(done[0])
            except ray.exceptions.RayTaskError as error:  # raised in our code: again would end alike, but for these
                if isinstance(error.cause, OSError | MemoryError | torch.OutOfMemoryError):
                    lost[job.key] = last_line(error)
                    continue
                outcome = last_line(error)
            except ray.exceptions.RayError as error:  # its worker or node was lost
                lost[job.key] = last_line(error)
                continue
            conclude(job, outcome)
            if not job.keeps_folder:
                shutil.rmtree(job.folder, ignore_errors=True)
    finally:
        for future in running:
            ray.cancel(future, force=True)
    return [f"{name}, seed {seed}: {message}" for (name, seed), message in lost.items()]


def _started(worker: Any, job: Job, spec: RunSpec) -> Any:
    return worker.options(
        name=f"{job.name} seed {job.seed}",
        num_cpus=spec.cpus_per_trial,
        num_gpus=spec.gpus_per_trial,
        max_retries=2,
    ).remote(
        job.task,
        job.pool,
        job.cut,
        job.test,
        hparams=job.hparams,
        num_epochs=job.num_epochs,
        seed=job.seed,
        numerics=spec.numerics,
        checkpoint_dir=job.folder,
        start_from=job.start_from,
    )
