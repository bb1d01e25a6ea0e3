"""Learning-rate schedules: multipliers that depend on the share of training done and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable


def constant(progress: float) -> float:
    """1 throughout."""
    return 1.0


def linear(progress: float) -> float:
    """From 1 straight down towards 0."""
    return 1.0 - progress


def cosine(progress: float) -> float:
    """Loshchilov & Hutter 2017, "SGDR", eq. 5 without restarts: (1 + cos π progress) / 2."""
    # The same number as a square: (1 + cos) / 2 rounds to 0 just before the end, and a rate must stay
    # positive.
    return math.cos(math.pi * progress / 2) ** 2


def multi_step(progress: float) -> float:
    """× 0.1 at 60 % and again at 80 % of training."""
    return 0.1 ** ((progress >= 0.6) + (progress >= 0.8))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "multi_step": multi_step,
}
"""schedule -> (progress in [0, 1)) -> multiplier in (0, 1]."""
