"""The CIFAR-100 study's arms, from memorising to generalising, and the knobs that may vary in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import optuna

from search_spaces import knobs
from search_spaces.space import Arm, SearchSpace, Suggest

STEPS_TO_MEMORISE = 24  # an epoch's, in s3_c100: 50,000 images in batches of about 2,000


@dataclass(frozen=True, kw_only=True)
class Part:
    """What an arm's augmentation or regularisation adds to its knobs, and where they start."""

    suggest: Suggest
    start: Mapping[str, Any]


def search_space(*, num_train: int, image_size: int, model: str, deeper: str, flip: bool) -> SearchSpace:
    """The space for num_train images. deeper: the model of the arm `deeper`; flip: is a mirror image of its class?"""
    augmentations, regularisations = _augmentations(flip, image_size), _regularisations(num_train)
    models = {"model": model, "deeper": deeper}

    def filled(arm: Arm) -> Arm:
        network = {"model": models[arm.factors["model"]]}
        parts = (
            augmentations[arm.factors["augmentation_strength"]],
            regularisations[arm.factors["regularisation_strength"]],
        )
        return replace(
            arm,
            factors={**arm.factors, **network},
            fixed=network,
            suggest=lambda trial: {name: value for part in parts for name, value in part.suggest(trial).items()},
            start={name: value for part in parts for name, value in part.start.items()},
        )

    start = {"learning_rate": 0.1, "momentum": 0.9}
    return SearchSpace(arms={arm.name: filled(arm) for arm in ARMS}, suggest=_suggest, start=start)


def _suggest(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "optimizer": "sgd",
        "schedule": "cosine",
        "warmup": 0.05,
        "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
        "momentum": trial.suggest_float("momentum", 0.7, 0.97),
    }


def _augmentations(flip: bool, image_size: int) -> Mapping[str, Part]:
    strong = [knobs.crop(flip, extra="_randaugment"), knobs.crop(flip, extra="_cutout")]
    return {
        "none": Part(suggest=lambda trial: {"augmentation": "none"}, start={}),
        "standard": Part(suggest=lambda trial: {"augmentation": knobs.crop(flip)}, start={}),
        "strong": Part(
            suggest=lambda trial: knobs.augmentation(trial, strong, image_size=image_size),
            start={"augmentation": strong[0], **knobs.AUGMENTATION_START},
        ),
    }


def _regularisations(num_train: int) -> Mapping[str, Part]:
    batch_sizes, batch_size = knobs.batch_sizes_to_512(num_train)
    # The power of two that comes nearest to the source's number of steps.
    memorising = {"batch_size": 2 ** max(4, round(math.log2(num_train / STEPS_TO_MEMORISE))), "weight_decay": 0.0}

    def standard(trial: optuna.Trial) -> dict[str, Any]:
        return {
            "batch_size": trial.suggest_categorical("batch_size", batch_sizes),
            "weight_decay": trial.suggest_float("weight_decay", 1e-4, 5e-3, log=True),
        }

    standard_start = {"batch_size": batch_size, "weight_decay": 5e-4}
    return {
        # Not searched: any weight decay is a regularisation, and small batches are one too.
        "none": Part(suggest=lambda trial: memorising, start={}),
        "standard": Part(suggest=standard, start=standard_start),
        "strong": Part(
            suggest=lambda trial: {**standard(trial), **_softened(trial)},
            start={
                **standard_start,
                "label_smoothing": 0.1,
                "mixing": "mixup",
                "mixing_alpha": 0.2,
                "drop_path": 0.05,
            },
        ),
    }


def _softened(trial: optuna.Trial) -> dict[str, Any]:
    mixing = trial.suggest_categorical("mixing", ["none", "mixup", "cutmix"])
    alpha = {} if mixing == "none" else {"mixing_alpha": trial.suggest_categorical("mixing_alpha", [0.2, 1.0])}
    return {
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2),
        "mixing": mixing,
        **alpha,
        "drop_path": trial.suggest_float("drop_path", 0.0, 0.2),
    }


def _arm(name: str, description: str, *, augmentation: str, regularisation: str, model: str = "model") -> Arm:
    factors = {"model": model, "augmentation_strength": augmentation, "regularisation_strength": regularisation}
    return Arm(name=name, description=description, factors=factors)


ARMS = (
    _arm(
        "memorise",
        "no augmentation, no regularisation, large batches: the source's setup",
        augmentation="none",
        regularisation="none",
    ),
    _arm(
        "plain",
        "the usual recipe: random crops (and flips), weight decay, batches of usual size",
        augmentation="standard",
        regularisation="standard",
    ),
    _arm(
        "augmented",
        "plain, with RandAugment or cutout on top",
        augmentation="strong",
        regularisation="standard",
    ),
    _arm(
        "regularised",
        "plain, with label smoothing, mixup or CutMix, and drop-path",
        augmentation="standard",
        regularisation="strong",
    ),
    _arm("both", "augmented and regularised at once", augmentation="strong", regularisation="strong"),
    _arm(
        "deeper",
        "both, on a deeper network",
        augmentation="strong",
        regularisation="strong",
        model="deeper",
    ),
)
"""Complete but for their model and knobs, which search_space fills in."""
