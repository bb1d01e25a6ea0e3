"""The last training of a winner, and its test: what a worker of the retest does. Called by study/retest.py alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from trainables import metrics
from trainables.checkpoints import read_newest_checkpoint, write_checkpoint
from trainables.data.splits import index_sha256
from trainables.data.types import TestData, TuningData
from trainables.hparams import Numerics
from trainables.learner import Learner
from trainables.task import Task


def train_and_test(
    task: Task,
    data: TuningData,
    test: TestData,
    *,
    hparams: dict[str, Any],
    num_epochs: int,
    seed: int,
    numerics: Numerics,
    device: torch.device,
    checkpoint_dir: Path,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train on all of data.train_indices for num_epochs, read the test split once.

    Returns (the seed's columns of retests.parquet, its epochs). Goes on from the newest checkpoint in checkpoint_dir,
    if there is one, and removes the folder at the end. Raises NonFiniteLossError.
    """
    torch.set_num_threads(numerics.num_threads)
    learner = task.build_learner(
        task.hparams.model_validate(hparams),
        data,
        num_epochs=num_epochs,
        seed=seed,
        numerics=numerics,
        device=device,
    )
    epochs: list[dict[str, Any]] = []
    if (state := read_newest_checkpoint(checkpoint_dir)) is not None:
        learner.load_state_dict(state["learner"])
        epochs = json.loads(state["result"])
    while learner.epoch < num_epochs:
        summary = learner.train_epoch()
        epochs.append(
            {
                "epoch": summary.epoch,
                "images": summary.images,
                "train_loss": summary.train_loss,
                "learning_rate": summary.learning_rate,
                "train_seconds": summary.train_seconds,
            }
        )
        state = {"learner": learner.state_dict(), "result": json.dumps(epochs)}
        write_checkpoint(checkpoint_dir, state, epoch=summary.epoch)
    result = {
        "seed": seed,
        "num_train": data.num_train,
        **_test_metrics(learner, test, data.num_classes),
        "train_indices_sha256": index_sha256(data.train_indices),
        "weights_sha256": learner.weights_sha256(),
        "train_seconds": sum(epoch["train_seconds"] for epoch in epochs),
    }
    shutil.rmtree(checkpoint_dir, ignore_errors=True)
    return result, epochs


def _test_metrics(learner: Learner, test: TestData, num_classes: int) -> dict[str, Any]:
    targets = torch.from_numpy(test.labels.copy())
    logits = learner.predict(torch.from_numpy(test.images.copy()), torch.arange(len(targets))).cpu()
    confusion = metrics.confusion_matrix(logits, targets, num_classes)
    return {
        "test_balanced_accuracy": float(metrics.balanced_accuracy(confusion)),
        "test_accuracy": float(metrics.accuracy(confusion)),
        "test_macro_f1": float(metrics.macro_f1(confusion)),
        "test_worst_class_recall": float(metrics.worst_class_recall(confusion)),
        "test_nll": float(metrics.nll(logits, targets)),
        "test_ece": float(metrics.expected_calibration_error(logits, targets)),
        "per_class_recall": metrics.per_class_recall(confusion).tolist(),
        "confusion_matrix": confusion.tolist(),
    }
