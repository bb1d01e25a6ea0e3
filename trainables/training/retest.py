"""The retest of a winner, in a worker: its last training and its test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from trainables.data.splits import index_sha256
from trainables.data.types import TestData, TuningData
from trainables.training.checkpoints import Folder
from trainables.training.setup import TrialSetup
from trainables.training.task import Task
from trainables.training.trial import epochs_to_end


def train_and_test(
    task: Task,
    data: TuningData,
    test: TestData,
    *,
    hparams: Mapping[str, Any],
    setup: TrialSetup,
    checkpoint_dir: Folder,
    start_from: str | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train on all of data.train_indices for setup.num_epochs, then read the test split once.

    Returns (the seed's columns of retests.parquet, its epochs). Continues from the newest checkpoint in
    checkpoint_dir, if any. start_from: a checkpoint folder whose weights the training begins with. A task that follows
    its retests also reads the test images after each epoch; nothing is chosen by them. Raises NonFiniteLossError.
    """
    torch.set_num_threads(setup.numerics.num_threads)
    learner = task.learner(hparams, data, setup, start_from=start_from)

    def next_epoch() -> dict[str, Any]:
        summary = learner.train_epoch()
        return {**vars(summary), **(task.follow(learner, data, test) if task.follow else {})}

    epochs = epochs_to_end(learner, checkpoint_dir, next_epoch)
    train_indices = learner.batches.train_indices.numpy()  # fewer than data.train_indices with a share of the labels
    result = {
        "seed": setup.seed,
        "num_train": len(train_indices),
        "class_counts": np.bincount(data.labels[train_indices], minlength=data.num_classes).tolist(),
        **task.test(learner, data, test),
        "train_indices_sha256": index_sha256(train_indices),
        "weights_sha256": learner.weights_sha256(),
        "train_seconds": sum(epoch["train_seconds"] for epoch in epochs),
    }
    return result, epochs
