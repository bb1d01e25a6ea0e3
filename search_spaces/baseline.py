"""The baseline study's arms, a model each, and the optimiser, schedule and augmentation that may vary in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import optuna

from search_spaces import knobs
from search_spaces.space import Arm, SearchSpace, Suggest

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class OptimizerRanges:
    """learning_rate and weight_decay are searched on a logarithmic scale."""

    learning_rate: Range
    momentum: Range = (0.7, 0.97)
    weight_decay: Range


# A decay that is added to the gradient is divided by Adam's and RMSprop's running scale like the gradient itself.
_ADAPTIVE = {
    "adam": OptimizerRanges(learning_rate=(3e-4, 1e-2), weight_decay=(1e-6, 1e-3)),
    # Decoupled: an epoch shrinks the weights by learning_rate × weight_decay, as much as SGD's at its larger rate.
    "adamw": OptimizerRanges(learning_rate=(3e-4, 1e-2), weight_decay=(1e-3, 0.5)),
    # Its momentum sums steps up, as SGD's does, where Adam's averages them: smaller rates, and down to no momentum.
    "rmsprop": OptimizerRanges(learning_rate=(3e-5, 3e-3), momentum=(0.0, 0.9), weight_decay=(1e-6, 1e-3)),
}
RESNET = {"sgd": OptimizerRanges(learning_rate=(0.01, 1.0), weight_decay=(1e-5, 1e-2)), **_ADAPTIVE}
SMALL_NET = {"sgd": OptimizerRanges(learning_rate=(0.003, 0.3), weight_decay=(1e-5, 1e-2)), **_ADAPTIVE}


def search_space(*, num_train: int, image_size: int, padding: str, flip: bool) -> SearchSpace:
    """The space for num_train images. padding: small_cnn's; flip: whether a mirror image is of the same class."""
    batch_sizes, batch_size = knobs.batch_sizes_to_512(num_train)
    augmentations = [
        "none",
        knobs.crop(flip),
        f"resized_{knobs.crop(flip)}",
        knobs.crop(flip, extra="_cutout"),
        knobs.crop(flip, extra="_randaugment"),
    ]

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        return {
            **_schedule(trial),
            "batch_size": trial.suggest_categorical("batch_size", batch_sizes),
            "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2),
            **knobs.augmentation(trial, augmentations, image_size=image_size),
        }

    arms = {arm.name: arm for arm in ARMS}
    small_cnn = arms["small_cnn"]
    arms["small_cnn"] = replace(small_cnn, fixed={**small_cnn.fixed, "padding": padding})
    start = {
        "optimizer": "sgd",
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "cosine",
        "warmup": 0.05,
        "batch_size": batch_size,
        "label_smoothing": 0.0,
        "augmentation": knobs.crop(flip),
    }
    # TPE would stay with the optimiser that it saw do well first: each gets a trial before it begins.
    others = [{"optimizer": name} for name in SMALL_NET]
    return SearchSpace(arms=arms, suggest=suggest, start=start, alternatives=others)


def _schedule(trial: optuna.Trial) -> dict[str, Any]:
    schedule = trial.suggest_categorical("schedule", ["constant", "multi_step", "cosine", "one_cycle"])
    if schedule == "one_cycle":  # it has a warm-up of its own
        return {"schedule": schedule}
    return {"schedule": schedule, "warmup": trial.suggest_float("warmup", 0.0, 0.2)}


def _optimizer(ranges: Mapping[str, OptimizerRanges]) -> Suggest:
    """An optimiser, and its rate, momentum and decay in its own ranges under the names that all have in common."""

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        optimizer = trial.suggest_categorical("optimizer", list(ranges))
        own = ranges[optimizer]
        return {
            "optimizer": optimizer,
            "learning_rate": trial.suggest_float("learning_rate", *own.learning_rate, log=True),
            "momentum": trial.suggest_float("momentum", *own.momentum),
            "weight_decay": trial.suggest_float("weight_decay", *own.weight_decay, log=True),
        }

    return suggest


def _with_dropout(suggest: Suggest) -> Suggest:
    return lambda trial: {**suggest(trial), "dropout": trial.suggest_float("dropout", 0.0, 0.5)}


def _arm(model: str, description: str, suggest: Suggest, **start: float) -> Arm:
    fixed = {"model": model}
    return Arm(name=model, description=description, factors=fixed, fixed=fixed, suggest=suggest, start=start)


ARMS = (
    _arm("lenet", "the network of PyTorch's tutorial, without BatchNorm", _optimizer(SMALL_NET), learning_rate=0.02),
    _arm(
        "small_cnn",
        "three convolutions and two fully connected layers",
        _with_dropout(_optimizer(SMALL_NET)),
        learning_rate=0.05,
        dropout=0.1,
    ),
    _arm("resnet9", "a ResNet of one block a stage, 64 to 512 channels", _optimizer(RESNET), learning_rate=0.1),
    _arm("resnet18", "a ResNet of two blocks a stage, 64 to 512 channels", _optimizer(RESNET), learning_rate=0.1),
    _arm("resnet20", "a ResNet of three blocks a stage, 16 to 64 channels", _optimizer(RESNET), learning_rate=0.1),
    _arm(
        "ultranet18",
        "ResNet-18's layout with pre-activation and squeeze-and-excitation",
        _optimizer(RESNET),
        learning_rate=0.1,
    ),
)
