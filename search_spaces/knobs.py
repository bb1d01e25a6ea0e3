"""Knobs that several spaces share, under one name and with one range."""

from __future__ import annotations

from typing import Any

import optuna


def batch_sizes(num_train: int) -> tuple[tuple[int, ...], int]:
    """(the choices, where to start): smaller ones for fewer images, so that an epoch has a few dozen steps at least."""
    return ((16, 32, 64), 32) if num_train < 5000 else ((64, 128, 256), 128)


def batch_sizes_to_512(num_train: int) -> tuple[tuple[int, ...], int]:
    """The same, and larger ones for whole data sets: such as for CIFAR's residual networks."""
    return batch_sizes(num_train) if num_train < 20_000 else ((128, 256, 512), 128)


def crop(flip: bool, *, extra: str = "") -> str:
    """The augmentation's name; flip: whether a mirror image is of the same class."""
    return f"crop{'_flip' if flip else ''}{extra}"


def augmentation(trial: optuna.Trial, choices: list[str], *, image_size: int) -> dict[str, Any]:
    """One of the choices, and its own knobs. image_size: pixels a side."""
    chosen = trial.suggest_categorical("augmentation", choices)
    knobs: dict[str, Any] = {"augmentation": chosen}
    if chosen.endswith("cutout"):
        knobs["cutout_length"] = trial.suggest_categorical("cutout_length", cutout_lengths(image_size))
    elif chosen.endswith("randaugment"):
        knobs["randaugment_num_ops"] = trial.suggest_int("randaugment_num_ops", 1, 2)
        knobs["randaugment_magnitude"] = trial.suggest_int("randaugment_magnitude", 3, 15)
    return knobs


def cutout_lengths(image_size: int) -> list[int]:
    """8, 12 and 16 pixels of 32, and as large a part of any other image."""
    return [image_size // 4, 3 * image_size // 8, image_size // 2]


AUGMENTATION_START = {"randaugment_num_ops": 1, "randaugment_magnitude": 9}
"""Where the augmentations' own knobs start, in an arm where they are active; cutout with its smallest square."""
