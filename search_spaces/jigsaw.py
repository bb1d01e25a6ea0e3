"""The jigsaw study's spaces: the puzzles, and the transfer for each initialisation and share of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from search_spaces import knobs
from search_spaces.declarations import Choice, Float, Int, Trial
from search_spaces.space import Arm, SearchSpace, each_of

INITIALISATIONS = ("scratch", "scratch_equal_epochs", "jigsaw")
_DESCRIPTIONS = {
    "scratch": "a fresh network",
    "scratch_equal_epochs": "a fresh network, trained longer by as many epochs as the puzzles took",
    "jigsaw": "begins with the layers of the network that learned to solve puzzles",
}


def pretext_arm(grid: int) -> str:
    return f"jigsaw_{grid}x{grid}"


def arm_name(initialisation: str, fraction: float) -> str:
    """The arm's name: 'jigsaw', 0.1 -> 'jigsaw_10pct'."""
    return f"{initialisation}_{100 * fraction:g}pct"


def pretext_space(*, num_train: int, grid: int, flip: bool) -> SearchSpace:
    """The space of the puzzles: one arm, for one grid."""
    batch_size = knobs.batch_size(num_train)
    color_jitter = Choice("color_jitter", (0.0, 0.2, 0.4), start=0.0)
    augmentation = Choice("augmentation", ("none", knobs.crop(flip)), start="none")
    others = each_of(
        Float("learning_rate", 3e-4, 0.1, log=True, start=0.03),
        knobs.MOMENTUM,
        Float("weight_decay", 1e-6, 1e-3, log=True, start=1e-5),
        Choice("schedule", ("cosine", "one_cycle"), start="one_cycle"),
        replace(batch_size, start=batch_size.choices[0]),
        Int("gap", 0, 2, start=0),
        Choice("tile_normalisation", (False, True), start=False),
        Float("temperature", 0.1, 2.0, log=True, start=1.0),
        Choice("sinkhorn_iterations", (5, 10, 20), start=10),
        Choice("puzzle_loss", ("bce", "row_nll"), start="row_nll"),
    )

    def suggest(trial: Trial) -> dict[str, Any]:
        jitter = color_jitter.suggest(trial)
        return {
            **({"color_jitter": jitter} if jitter else {}),
            "augmentation": augmentation.suggest(trial),
            "optimizer": "sgd",
            **others(trial),
        }

    name = pretext_arm(grid)
    arm = Arm(
        name=name,
        description=f"puzzles of {grid} × {grid} tiles, put in order by a Sinkhorn network",
        factors={"grid": str(grid)},
        fixed={"grid": grid},
    )
    return SearchSpace(arms={name: arm}, suggest=suggest)


def transfer_space(
    *, num_train: int, grid: int, initialisations: Sequence[str], fractions: Sequence[float], flip: bool
) -> SearchSpace:
    """The space of the transfer: one arm per initialisation and share of the labels, with the same knobs in all arms.

    The jigsaw arms also vary the trunk's learning rate. grid: that of the puzzles; with 3×3 tiles their fc1 does not
    fit the classifier, which keeps a fresh one.
    """
    shared = each_of(
        Float("learning_rate", 0.003, 0.3, log=True, start=0.05),
        knobs.MOMENTUM,
        knobs.WEIGHT_DECAY,
        knobs.SCHEDULE,
        knobs.batch_size(num_train),
    )
    trunk_rate = each_of(Float("trunk_learning_rate_ratio", 0.01, 1.0, log=True, start=1.0))

    def suggest(trial: Trial) -> dict[str, Any]:
        return {"model": "small_cnn", "augmentation": knobs.crop(flip), **shared(trial)}

    arms = {}
    for fraction in fractions:
        for initialisation in initialisations:
            name = arm_name(initialisation, fraction)
            is_warm = initialisation == "jigsaw"
            arms[name] = Arm(
                name=name,
                description=f"{_DESCRIPTIONS[initialisation]}; {100 * fraction:g} % of the labels",
                factors={"initialisation": initialisation, "label_fraction": str(fraction)},
                fixed={"label_fraction": fraction, **({"carries_fc1": grid == 2} if is_warm else {})},
                suggest=trunk_rate if is_warm else each_of(),
            )
    return SearchSpace(arms=arms, suggest=suggest)
