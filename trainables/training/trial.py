"""A tuning trial without a study: an epoch as its row of epochs.parquet, and all epochs to the last one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from trainables.data.types import TuningData
from trainables.training.checkpoints import CheckpointWriter, Folder, read_newest_checkpoint
from trainables.training.learner import Learner
from trainables.training.setup import TrialSetup
from trainables.training.task import Task


def trial_epoch(task: Task, learner: Learner, data: TuningData) -> dict[str, Any]:
    """Train the next epoch and validate. Returns columns of epochs.parquet. Raises NonFiniteLossError."""
    summary = learner.train_epoch()
    started = time.perf_counter()
    validation = task.validate(learner, data)
    is_last = summary.epoch == learner.num_epochs
    at_end = task.at_end(learner, data) if is_last and task.at_end else {}
    return {
        **vars(summary),
        **{f"val_{name}": value for name, value in validation.items()},
        **at_end,
        "eval_seconds": time.perf_counter() - started,
        "weights_sha256": learner.weights_sha256(),
    }


def train_to_end(
    task: Task,
    data: TuningData,
    *,
    hparams: Mapping[str, Any],
    setup: TrialSetup,
    checkpoint_dir: Folder,
    start_from: str | None = None,
) -> list[dict[str, Any]]:
    """Train a trial for setup.num_epochs, validating after each. Returns the rows of all epochs.

    Continues from the newest checkpoint in checkpoint_dir, if any. start_from: a checkpoint folder whose weights the
    training begins with. Raises NonFiniteLossError.
    """
    torch.set_num_threads(setup.numerics.num_threads)
    learner = task.learner(hparams, data, setup, start_from=start_from)
    return epochs_to_end(learner, checkpoint_dir, lambda: trial_epoch(task, learner, data))


def epochs_to_end(
    learner: Learner, checkpoint_dir: Folder, next_epoch: Callable[[], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Train all remaining epochs, with checkpoints (see CheckpointWriter). Returns what next_epoch() returned of all.

    Continues from the newest checkpoint in checkpoint_dir, if any. next_epoch(): trains the learner's next epoch.
    """
    epochs: list[dict[str, Any]] = []
    checkpoints = CheckpointWriter(checkpoint_dir, num_epochs=learner.num_epochs)
    if (state := read_newest_checkpoint(checkpoint_dir)) is not None:
        learner.load_state_dict(state["learner"])
        epochs = json.loads(state["result"])
    while learner.epoch < learner.num_epochs:
        epochs.append(next_epoch())
        checkpoints.write(lambda: {"learner": learner.state_dict(), "result": json.dumps(epochs)}, epoch=learner.epoch)
    return epochs
