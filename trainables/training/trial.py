"""An epoch of a tuning trial: trained and validated, as its row of epochs.parquet."""

from __future__ import annotations

import time
from typing import Any

from trainables.data.types import TuningData
from trainables.training.learner import Learner
from trainables.training.task import Task


def trial_epoch(task: Task, learner: Learner, data: TuningData) -> dict[str, Any]:
    """Train the next epoch and validate. Returns columns of epochs.parquet. Raises NonFiniteLossError."""
    summary = learner.train_epoch()
    started = time.perf_counter()
    validation = task.validate(learner, data)
    is_last = summary.epoch == learner.num_epochs
    at_end = task.at_end(learner, data) if is_last and task.at_end else {}
    return {
        "epoch": summary.epoch,
        "images": summary.images,
        "train_loss": summary.train_loss,
        "learning_rate": summary.learning_rate,
        **{f"val_{name}": value for name, value in validation.items()},
        **at_end,
        "train_seconds": summary.train_seconds,
        "eval_seconds": time.perf_counter() - started,
        "weights_sha256": learner.weights_sha256(),
    }
