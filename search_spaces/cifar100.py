"""The cifar100 study's arms, from memorising to generalising, and the knobs that vary in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from search_spaces import knobs
from search_spaces.declarations import Choice, Float, Trial
from search_spaces.space import Arm, SearchSpace, Suggest, by_name, each_of

STEPS_TO_MEMORISE = 24  # per epoch, as in s3_c100: 50,000 images in batches of about 2,000


def search_space(*, num_train: int, image_size: int, model: str, deeper: str, flip: bool) -> SearchSpace:
    """The space for num_train images. deeper: the arm deeper's model; flip: whether mirror images keep their class."""
    augmentations, regularisations = _augmentations(flip, image_size), _regularisations(num_train)
    models = {"model": model, "deeper": deeper}

    def filled(arm: Arm) -> Arm:
        if arm.fixed or "model" not in arm.factors:  # a user's own
            return replace(arm, fixed={"model": model, **arm.fixed})
        network = {"model": models[arm.factors["model"]]}
        parts = (
            augmentations[arm.factors["augmentation_strength"]],
            regularisations[arm.factors["regularisation_strength"]],
        )
        return replace(
            arm,
            factors={**arm.factors, **network},
            fixed=network,
            suggest=lambda trial: {name: value for part in parts for name, value in part(trial).items()},
        )

    return SearchSpace(arms={name: filled(arm) for name, arm in ARMS.items()}, suggest=_suggest)


_LEARNING_RATE = Float("learning_rate", 0.03, 0.3, log=True, start=0.1)
_WEIGHT_DECAY = Float("weight_decay", 1e-4, 5e-3, log=True, start=5e-4)
_LABEL_SMOOTHING = replace(knobs.LABEL_SMOOTHING, start=0.1)
_MIXING = Choice("mixing", ("none", "mixup", "cutmix"), start="mixup")
_MIXING_ALPHA = Choice("mixing_alpha", (0.2, 1.0), start=0.2)
_DROP_PATH = Float("drop_path", 0.0, 0.2, start=0.05)


def _suggest(trial: Trial) -> dict[str, Any]:
    shared = each_of(_LEARNING_RATE, knobs.MOMENTUM)
    return {"optimizer": "sgd", "schedule": "cosine", "warmup": 0.05, **shared(trial)}


def _augmentations(flip: bool, image_size: int) -> Mapping[str, Suggest]:
    strong = [knobs.crop(flip, extra="_randaugment"), knobs.crop(flip, extra="_cutout")]
    return {
        "none": lambda trial: {"augmentation": "none"},
        "standard": lambda trial: {"augmentation": knobs.crop(flip)},
        "strong": lambda trial: knobs.augmentation(
            trial, strong, start=strong[0], image_size=image_size, num_ops_start=1
        ),
    }


def _regularisations(num_train: int) -> Mapping[str, Suggest]:
    # The power of two that comes nearest to the source's number of steps per epoch.
    memorising = {"batch_size": 2 ** max(4, round(math.log2(num_train / STEPS_TO_MEMORISE))), "weight_decay": 0.0}
    standard = each_of(knobs.batch_size_to_512(num_train), _WEIGHT_DECAY)
    return {
        # Not searched: any weight decay is a regularisation, and so are small batches.
        "none": lambda trial: memorising,
        "standard": standard,
        "strong": lambda trial: {**standard(trial), **_softened(trial)},
    }


def _softened(trial: Trial) -> dict[str, Any]:
    mixing = _MIXING.suggest(trial)
    alpha = {} if mixing == "none" else {"mixing_alpha": _MIXING_ALPHA.suggest(trial)}
    return {
        "label_smoothing": _LABEL_SMOOTHING.suggest(trial),
        "mixing": mixing,
        **alpha,
        "drop_path": _DROP_PATH.suggest(trial),
    }


def _arm(name: str, description: str, *, augmentation: str, regularisation: str, model: str = "model") -> Arm:
    factors = {"model": model, "augmentation_strength": augmentation, "regularisation_strength": regularisation}
    return Arm(name=name, description=description, factors=factors)


ARMS = by_name(
    _arm(
        "memorise",
        "no augmentation, no regularisation, large batches: the setup of the report that this study re-creates",
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
"""The arms, those of the project without their model and knobs, which search_space fills in."""

ARM_NAMES = tuple(ARMS)
"""The project's own, before plugins add others to the table."""
