"""The jigsaw study's spaces: the puzzles, and the transfer from each initialisation at each share of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna

from search_spaces import knobs
from search_spaces.space import Arm, SearchSpace

INITIALISATIONS = ("scratch", "scratch_equal_epochs", "jigsaw")
_DESCRIPTIONS = {
    "scratch": "a fresh network",
    "scratch_equal_epochs": "a fresh network, trained longer by as many epochs as the puzzles took",
    "jigsaw": "begins with the layers of the network that learned to solve puzzles",
}


def pretext_arm(grid: int) -> str:
    return f"jigsaw_{grid}x{grid}"


def arm_name(initialisation: str, fraction: float) -> str:
    """'jigsaw', 0.1 -> 'jigsaw_10pct'."""
    return f"{initialisation}_{100 * fraction:g}pct"


def pretext_space(*, num_train: int, grid: int, flip: bool) -> SearchSpace:
    """The puzzles of one grid, tuned by their exact accuracy: one arm."""
    batch_sizes, _ = knobs.batch_sizes(num_train)

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        color_jitter = trial.suggest_categorical("color_jitter", [0.0, 0.2, 0.4])
        return {
            **({"color_jitter": color_jitter} if color_jitter else {}),
            "augmentation": trial.suggest_categorical("augmentation", ["none", knobs.crop(flip)]),
            "optimizer": "sgd",
            "learning_rate": trial.suggest_float("learning_rate", 3e-4, 0.1, log=True),
            "momentum": trial.suggest_float("momentum", 0.7, 0.97),
            "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-3, log=True),
            "schedule": trial.suggest_categorical("schedule", ["cosine", "one_cycle"]),
            "batch_size": trial.suggest_categorical("batch_size", batch_sizes),
            "gap": trial.suggest_int("gap", 0, 2),
            "tile_normalisation": trial.suggest_categorical("tile_normalisation", [False, True]),
            "temperature": trial.suggest_float("temperature", 0.1, 2.0, log=True),
            "sinkhorn_iterations": trial.suggest_categorical("sinkhorn_iterations", [5, 10, 20]),
            "puzzle_loss": trial.suggest_categorical("puzzle_loss", ["bce", "row_nll"]),
        }

    start = {
        "augmentation": "none",
        "learning_rate": 0.03,
        "momentum": 0.9,
        "weight_decay": 1e-5,
        "schedule": "one_cycle",
        "batch_size": batch_sizes[0],
        "gap": 0,
        "color_jitter": 0.0,
        "tile_normalisation": False,
        "temperature": 1.0,
        "sinkhorn_iterations": 10,
        "puzzle_loss": "row_nll",
    }
    name = pretext_arm(grid)
    arm = Arm(
        name=name,
        description=f"puzzles of {grid} × {grid} tiles, put in order by a Sinkhorn network",
        factors={"grid": str(grid)},
        fixed={"grid": grid},
    )
    return SearchSpace(arms={name: arm}, suggest=suggest, start=start)


def transfer_space(
    *, num_train: int, grid: int, initialisations: Sequence[str], fractions: Sequence[float], flip: bool
) -> SearchSpace:
    """An arm an initialisation x share of the labels, all with the same knobs; jigsaw's has the trunk's rate too.

    grid: the puzzles'; on 3×3 tiles fc1 has another shape than the classifier's, which keeps a fresh one.
    """
    batch_sizes, batch_size = knobs.batch_sizes(num_train)

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        return {
            "model": "small_cnn",
            "augmentation": knobs.crop(flip),
            "learning_rate": trial.suggest_float("learning_rate", 0.003, 0.3, log=True),
            "momentum": trial.suggest_float("momentum", 0.7, 0.97),
            "weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True),
            "schedule": trial.suggest_categorical("schedule", ["cosine", "linear", "multi_step"]),
            "batch_size": trial.suggest_categorical("batch_size", batch_sizes),
        }

    start = {
        "learning_rate": 0.05,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "cosine",
        "batch_size": batch_size,
    }
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
                suggest=_trunk_rate if is_warm else lambda trial: {},
                start={"trunk_learning_rate_ratio": 1.0} if is_warm else {},
            )
    return SearchSpace(arms=arms, suggest=suggest, start=start)


def _trunk_rate(trial: optuna.Trial) -> dict[str, Any]:
    return {"trunk_learning_rate_ratio": trial.suggest_float("trunk_learning_rate_ratio", 0.01, 1.0, log=True)}
