"""Learning-rate schedules: multipliers that depend only on the share of training that is done."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]
"""(progress in [0, 1)) -> multiplier in (0, 1]."""

# Where a warm-up starts: 1/25 of the peak, as in torch's OneCycleLR (div_factor). From 0 the first step would be lost.
WARMUP_FLOOR = 1 / 25


def constant(progress: float) -> float:
    """A multiplier of 1 throughout."""
    return 1.0


def linear(progress: float) -> float:
    """A straight line from 1 down towards 0."""
    return 1.0 - progress


def cosine(progress: float) -> float:
    """Loshchilov & Hutter 2017, "SGDR", eq. 5 without restarts: (1 + cos π progress) / 2."""
    # Written as a square, because (1 + cos) / 2 rounds to 0 just before the end, and a rate must stay positive.
    return math.cos(math.pi * progress / 2) ** 2


def multi_step(progress: float) -> float:
    """Steps: × 0.1 at 60 % of training and again at 80 %."""
    return 0.1 ** ((progress >= 0.6) + (progress >= 0.8))


def one_cycle(progress: float) -> float:
    """Smith & Topin 2018, "Super-Convergence", with the shape and defaults of torch's OneCycleLR.

    The multiplier rises from 1/25 in the first 30 % of training, then falls towards 1/250,000, each along half a
    cosine. Momentum is not scheduled: it is a hyperparameter of its own.
    """
    rise, final = 0.3, WARMUP_FLOOR / 1e4
    if progress < rise:
        return 1 - (1 - WARMUP_FLOOR) * cosine(progress / rise)
    return final + (1 - final) * cosine((progress - rise) / (1 - rise))


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "multi_step": multi_step,
    "one_cycle": one_cycle,
}
"""schedule -> (progress in [0, 1)) -> multiplier in (0, 1]."""


def warmed_up(schedule: Schedule, warmup: float) -> Schedule:
    """The schedule, compressed into the last share 1 - warmup of training, after a linear rise from 1/25 to its start.

    warmup: in [0, 1), else ValueError is raised; 0 is the schedule itself.
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup must be in [0, 1), got {warmup}")

    def multiplier(progress: float) -> float:
        if progress < warmup:
            return schedule(0.0) * (WARMUP_FLOOR + (1 - WARMUP_FLOOR) * progress / warmup)
        return schedule((progress - warmup) / (1 - warmup))

    return multiplier


def restarted(schedule: Schedule, restart: float) -> Schedule:
    """The schedule run twice: over the first share `restart` of training, then over the rest. restart: in [0, 1)."""

    def multiplier(progress: float) -> float:
        if progress < restart:
            return schedule(progress / restart)
        return schedule((progress - restart) / (1 - restart))

    return multiplier


def last_epoch_before(start: float, num_epochs: int) -> int:
    """The last epoch before a phase that begins at the share `start` of training; 0 if it begins at once.

    At least one epoch remains for the phase. Epochs count from 1.

    >>> last_epoch_before(0.8, 10), last_epoch_before(1.0, 10), last_epoch_before(0.0, 10)
    (8, 9, 0)
    """
    return min(round(start * num_epochs), num_epochs - 1)
