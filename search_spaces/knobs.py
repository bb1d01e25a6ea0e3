"""Knobs that several spaces share, under one name and with one range."""

from __future__ import annotations

from typing import Any

import optuna


def batch_sizes(num_train: int) -> tuple[tuple[int, ...], int]:
    """(the choices, where to start): smaller ones for fewer images, so that an epoch has a few dozen steps at least."""
    if num_train < 5000:
        return (16, 32, 64), 32
    return ((64, 128, 256) if num_train < 20_000 else (128, 256, 512)), 128


def crop(flip: bool, *, extra: str = "") -> str:
    """The augmentation's name; flip: whether a mirror image is of the same class."""
    return f"crop{'_flip' if flip else ''}{extra}"


def augmentation(trial: optuna.Trial, choices: list[str]) -> dict[str, Any]:
    """One of the choices, and its own knobs."""
    chosen = trial.suggest_categorical("augmentation", choices)
    knobs: dict[str, Any] = {"augmentation": chosen}
    if chosen.endswith("cutout"):
        # Pixels, of images of 32 × 32.
        knobs["cutout_length"] = trial.suggest_categorical("cutout_length", [8, 12, 16])
    elif chosen.endswith("randaugment"):
        knobs["randaugment_num_ops"] = trial.suggest_int("randaugment_num_ops", 1, 2)
        knobs["randaugment_magnitude"] = trial.suggest_int("randaugment_magnitude", 3, 15)
    return knobs


AUGMENTATION_START = {"cutout_length": 8, "randaugment_num_ops": 1, "randaugment_magnitude": 9}
"""Where the augmentations' own knobs start, in an arm where they are active."""
