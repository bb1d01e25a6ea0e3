"""Metrics of a classifier: the confusion matrix, metrics computed from it, and two of the predicted probabilities.

All metrics are float64, on the device of the inputs. Classes without a target are left out of means over classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.common.plugins import OWN_METRIC

OWN_METRICS: dict[str, Callable[[Tensor, Tensor], Any]] = {}
"""What plugins add: metric -> (logits float32[T, C], targets int64[T]) -> a number of any scale."""


def own_metrics(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """The plugins' metrics of these outputs, by column."""
    return {f"{OWN_METRIC}{name}": float(metric(logits, targets)) for name, metric in OWN_METRICS.items()}


def confusion_matrix(logits_or_predictions: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """Counts of (true class, predicted class).

    logits_or_predictions: floating [B, C], whose argmax is the prediction, or int64[B]; targets: int64[B];
    returns int64[C, C], one row per true class. Raises ValueError if shapes disagree or a class is outside [0, C).
    """
    predictions = logits_or_predictions
    if predictions.ndim == 2:
        predictions = predictions.argmax(dim=1)
    if predictions.shape != targets.shape or targets.ndim != 1:
        raise ValueError(
            f"predictions and targets must be of one length, got {list(logits_or_predictions.shape)} "
            f"and {list(targets.shape)}"
        )
    for name, classes in (("predictions", predictions), ("targets", targets)):
        if classes.numel() and not 0 <= int(classes.min()) <= int(classes.max()) < num_classes:
            raise ValueError(f"{name} must be in [0, {num_classes}), got {int(classes.min())} to {int(classes.max())}")
    cells = torch.bincount(targets * num_classes + predictions, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def accuracy(confusion: Tensor) -> Tensor:
    """Share of images predicted right. confusion: int64[C, C]; returns 0-dim float64, NaN without images."""
    confusion = confusion.double()
    return confusion.diagonal().sum() / confusion.sum()


def per_class_recall(confusion: Tensor) -> Tensor:
    """Share of each class predicted right. confusion: int64[C, C]; returns float64[C], NaN for a class without any."""
    confusion = confusion.double()
    return confusion.diagonal() / confusion.sum(dim=1)


def balanced_accuracy(confusion: Tensor) -> Tensor:
    """Mean recall over the classes that have images. confusion: int64[C, C]; returns 0-dim float64.

    Example: three of four right in one class and one of two in the other give the mean of 3/4 and 1/2.

    >>> float(balanced_accuracy(torch.tensor([[3, 1], [1, 1]])))
    0.625
    """
    return per_class_recall(confusion).nanmean()


def equal_class_weights(confusion: Tensor) -> Tensor:
    """The weight of an image of each class with which all classes weigh the same; 1 where all have as many images.

    confusion: int64[C, C]; returns float64[C], 0 for a class without images.

    >>> equal_class_weights(torch.tensor([[3, 1], [1, 1]])).tolist()
    [1.0, 2.0]
    """
    counts = confusion.sum(dim=1).double()
    return torch.where(counts > 0, counts.max() / counts, 0.0)


def worst_class_recall(confusion: Tensor) -> Tensor:
    """Lowest recall among classes with images. confusion: int64[C, C]; returns 0-dim float64, NaN if there is none."""
    recall = per_class_recall(confusion)
    return torch.where(recall.isnan().all(), torch.nan, recall.nan_to_num(nan=torch.inf).min())


def macro_f1(confusion: Tensor) -> Tensor:
    """Mean F1 = 2 TP / (2 TP + FP + FN) over the classes that occur as true or predicted, as in scikit-learn.

    confusion: int64[C, C]; returns 0-dim float64.
    """
    confusion = confusion.double()
    true_or_predicted = confusion.sum(dim=0) + confusion.sum(dim=1)  # 2 TP + FP + FN
    return (2 * confusion.diagonal() / true_or_predicted).nanmean()


def nll(logits: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Mean negative log likelihood in nats.

    logits: floating [B, C]; targets: int64[B]; class_weights: float64[C] or None; returns 0-dim float64.
    """
    return F.cross_entropy(logits.double(), targets, weight=class_weights)


def expected_calibration_error(logits: Tensor, targets: Tensor, *, num_bins: int = 15) -> Tensor:
    """Σ_b |B_b|/B · |acc(B_b) - conf(B_b)|: Guo et al. 2017, "On Calibration of Modern Neural Networks".

    A confidence is the softmax's largest entry; bin b is ((b-1)/num_bins, b/num_bins].
    logits: floating [B, C]; targets: int64[B]; returns 0-dim float64 in [0, 1]. Raises ValueError if num_bins
    is below 1.

    Example: two predictions with confidence 3/4 (logits differ by log 3), one of them right: accuracy 1/2.

    >>> logits = torch.tensor([[3.0, 1.0], [3.0, 1.0]]).log()
    >>> round(float(expected_calibration_error(logits, torch.tensor([0, 1]))), 4)
    0.25
    """
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    confidence, predictions = logits.double().softmax(dim=1).max(dim=1)
    bins = (confidence * num_bins).ceil().long().clamp(1, num_bins) - 1
    surplus = (predictions == targets).double() - confidence
    gaps = torch.zeros(num_bins, dtype=torch.float64, device=logits.device).index_add(0, bins, surplus)
    return gaps.abs().sum() / len(targets)
