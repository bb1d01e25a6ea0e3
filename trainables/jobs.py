"""Whole trainings as Ray tasks. Apart from the Trainable, because importing Ray Tune takes a worker a second more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
import torch

from trainables.common.numerics import Numerics
from trainables.data.types import TestData, TuningData
from trainables.training.learner import NonFiniteLossError
from trainables.training.retest import train_and_test
from trainables.training.setup import TrialSetup
from trainables.training.task import Task
from trainables.training.trial import train_to_end


def worker_device() -> torch.device:
    """The GPU that Ray gave to this worker, else the CPU."""
    return torch.device("cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu")


def worker_setup(*, num_epochs: int, seed: int, numerics: Numerics) -> TrialSetup:
    """The setup of a training in this worker, on its device."""
    return TrialSetup(num_epochs=num_epochs, seed=seed, numerics=numerics, device=worker_device())


def train_and_test_in_worker(
    task: Task,
    pool: TuningData,
    training_data: Callable[[TuningData], TuningData],
    test: TestData,
    *,
    num_epochs: int,
    seed: int,
    numerics: Numerics,
    **options: Any,
) -> Any:
    """The retest's Ray task. Returns train_and_test's result, or the error message of a training that diverged.

    training_data(pool): what is trained on, made here, so that Ray's object store holds the images once, not per seed.
    """
    setup = worker_setup(num_epochs=num_epochs, seed=seed, numerics=numerics)
    try:
        return train_and_test(task, training_data(pool), test, setup=setup, **options)
    except NonFiniteLossError as error:
        return str(error)


def train_and_validate_in_worker(
    task: Task, data: TuningData, *, num_epochs: int, seed: int, numerics: Numerics, **options: Any
) -> Any:
    """The audit's Ray task: a trial to its end, without the test split. Returns ({}, its epochs), or as above."""
    setup = worker_setup(num_epochs=num_epochs, seed=seed, numerics=numerics)
    try:
        return {}, train_to_end(task, data, setup=setup, **options)
    except NonFiniteLossError as error:
        return str(error)
