"""Judging a classifier: after an epoch, in the test, during a retest, and with its logits adjusted post hoc."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainables.data.types import TestData, TuningData
from trainables.parts.losses import post_hoc_adjustment
from trainables.training import metrics
from trainables.training.learner import Learner

Judge = Callable[[Tensor, Tensor, TuningData], Mapping[str, Any]]
"""(logits float32[T, C] and targets int64[T] of the test images, on the CPU; data) -> columns of retests.parquet."""

TAUS = tuple(round(0.1 * step, 1) for step in range(21))
"""The values of τ that are tried in post-hoc logit adjustment, from 0 (none) to 2."""

FOLLOWED_TRAIN_IMAGES = 5000  # at most, evenly spaced, so that following a retest stays cheap


def validate_classifier(learner: Learner, data: TuningData) -> dict[str, float]:
    """Balanced accuracy, accuracy (0-1) and loss (nats) on the validation images.

    All classes weigh the same, however many validation images each has, so that accuracy is balanced accuracy.
    """
    logits, targets = _validation(learner, data)
    confusion = metrics.confusion_matrix(logits, targets, data.num_classes)
    weights = metrics.equal_class_weights(confusion)
    return {
        "balanced_accuracy": float(metrics.balanced_accuracy(confusion)),
        "accuracy": float(metrics.accuracy(confusion * weights[:, None])),
        "loss": float(metrics.nll(logits, targets, weights)),
    }


def judge_classifier(
    learner: Learner, data: TuningData, test: TestData, further: Sequence[Judge] = ()
) -> dict[str, Any]:
    """The test_* columns of a classifier's row in retests.parquet, its recalls and its confusion matrix.

    further: additional judgements of the same logits, for a task's own columns.
    """
    logits, targets = _test(learner, test)
    confusion = metrics.confusion_matrix(logits, targets, data.num_classes)
    return {
        "test_balanced_accuracy": float(metrics.balanced_accuracy(confusion)),
        "test_accuracy": float(metrics.accuracy(confusion)),
        "test_macro_f1": float(metrics.macro_f1(confusion)),
        "test_worst_class_recall": float(metrics.worst_class_recall(confusion)),
        "test_nll": float(metrics.nll(logits, targets)),
        "test_ece": float(metrics.expected_calibration_error(logits, targets)),
        "per_class_recall": metrics.per_class_recall(confusion).tolist(),
        "confusion_matrix": confusion.tolist(),
        **metrics.own_metrics(logits, targets),
        **{name: value for judge in further for name, value in judge(logits, targets, data).items()},
    }


def top_five_and_superclass(logits: Tensor, targets: Tensor, data: TuningData) -> dict[str, float | None]:
    """Top-5 accuracy (None below six classes) and superclass accuracy (None without superclasses), 0-1.

    Superclass accuracy is the share of images whose predicted class belongs to the true superclass.
    """
    top_five = superclass = None
    if data.num_classes > 5:
        top_five = float((logits.topk(5, dim=1).indices == targets[:, None]).any(dim=1).double().mean())
    if data.superclass_of is not None:
        superclass_of = torch.tensor(data.superclass_of)
        superclass = float((superclass_of[logits.argmax(dim=1)] == superclass_of[targets]).double().mean())
    return {"test_top5_accuracy": top_five, "test_superclass_accuracy": superclass}


def follow_classifier(learner: Learner, data: TuningData, test: TestData) -> dict[str, float]:
    """Loss (plain cross-entropy, nats) and accuracy (0-1) on un-augmented training images and on the test images."""
    stride = math.ceil(data.num_train / FOLLOWED_TRAIN_IMAGES)
    train_indices = torch.from_numpy(data.train_indices.copy())[::stride]
    logits = learner.predict(learner.batches.images, train_indices)
    targets = learner.batches.labels[train_indices.to(learner.device)]
    test_logits, test_targets = _test(learner, test)
    return {
        "train_eval_loss": float(metrics.nll(logits, targets)),
        "train_eval_accuracy": _accuracy(logits, targets),
        "test_loss": float(metrics.nll(test_logits, test_targets)),
        "test_accuracy": _accuracy(test_logits, test_targets),
    }


def sweep_on_validation(learner: Learner, data: TuningData) -> dict[str, list[float]]:
    """Validation balanced accuracy for each of TAUS, in addition to the learner's own adjustment."""
    return {"val_balanced_accuracy_by_tau": _sweep(*_validation(learner, data), data)}


def sweep_on_test(logits: Tensor, targets: Tensor, data: TuningData) -> dict[str, list[float]]:
    """Test balanced accuracy for each of TAUS; the τ to report is chosen on validation."""
    return {"test_balanced_accuracy_by_tau": _sweep(logits, targets, data)}


def _sweep(logits: Tensor, targets: Tensor, data: TuningData) -> list[float]:
    class_counts = torch.from_numpy(data.class_counts.copy()).to(logits.device)
    confusions = (
        metrics.confusion_matrix(post_hoc_adjustment(logits, class_counts, tau), targets, data.num_classes)
        for tau in TAUS
    )
    return [float(metrics.balanced_accuracy(confusion)) for confusion in confusions]


def _validation(learner: Learner, data: TuningData) -> tuple[Tensor, Tensor]:
    """(logits, targets) of the validation images, on the learner's device."""
    indices = torch.from_numpy(data.val_indices.copy())
    return learner.predict(learner.batches.images, indices), learner.batches.labels[indices.to(learner.device)]


def _test(learner: Learner, test: TestData) -> tuple[Tensor, Tensor]:
    """(logits, targets) of the test images, on the CPU."""
    targets = torch.from_numpy(test.labels.copy())
    logits = learner.predict(torch.from_numpy(test.images.copy()), torch.arange(len(targets)))
    return logits.cpu(), targets


def _accuracy(logits: Tensor, targets: Tensor) -> float:
    return float((logits.argmax(dim=1) == targets).double().mean())
