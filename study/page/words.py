"""Words that all pages share: the names of metrics, data sets and optimisers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.data.sources import SOURCES

METRIC_NAMES = {
    "test_accuracy": "test accuracy",
    "test_balanced_accuracy": "test balanced accuracy",
    "val_accuracy": "validation accuracy",
    "val_balanced_accuracy": "validation balanced accuracy",
    "val_exact_accuracy": "validation exact accuracy",
}
OPTIMIZER_NAMES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}


def metric_name(metric: str) -> str:
    """'test_accuracy' -> 'test accuracy'. Unknown metrics get their column's name: 'val_f1' -> 'validation f1'."""
    return METRIC_NAMES.get(metric, metric.replace("val_", "validation ", 1).replace("_", " "))


def axis_label(metric: str) -> str:
    """An axis label: 'test_accuracy' -> 'Test accuracy (%)'."""
    return f"{metric_name(metric).capitalize()} (%)"


def dataset_title(name: str) -> str:
    """A data set's title: 'eurosat' -> 'EuroSAT'. A user's own data set has its folder's name."""
    return SOURCES[name].title if name in SOURCES else name


def num_drawn(summary: Mapping[str, Any]) -> int | None:
    """The training images that --train-images drew; None where all there are were taken."""
    most, available = summary["budget"].get("train_images"), summary["dataset"].get("num_available")
    return most if most is not None and most < available else None


def images_phrase(summary: Mapping[str, Any]) -> str:
    """What was trained on: 'CIFAR-100', or '10,000 training images of CIFAR-100'."""
    title, drawn = dataset_title(str(summary["dataset"]["name"])), num_drawn(summary)
    return title if drawn is None else f"{drawn:,} training images of {title}"


def origin_text(name: str, origin: str) -> str:
    """A data set's origin, preceded by its title unless it begins with that or with the name."""
    title = dataset_title(name)
    return origin if origin.startswith((name, title)) else f"{title}, {origin}"


def optimizer_name(optimizer: str) -> str:
    return OPTIMIZER_NAMES.get(optimizer, optimizer)
