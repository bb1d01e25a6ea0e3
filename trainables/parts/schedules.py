"""Learning-rate schedules: multipliers that depend on the share of training done and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]
"""(progress in [0, 1)) -> multiplier in (0, 1]."""

# Where a warm-up starts: torch's OneCycleLR has 1/25 of the peak (div_factor), so that no step is lost at 0.
WARMUP_FLOOR = 1 / 25


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


def one_cycle(progress: float) -> float:
    """Smith & Topin 2018, "Super-Convergence", with the shape and defaults of torch's OneCycleLR.

    Up from 1/25 in the first 30 % of training, then down towards 1/250,000, both along half a cosine. The momentum
    stays as it is: it is a hyperparameter of its own.
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
    """The schedule in the share 1 - warmup of training that is left after a linear rise from 1/25 to its start.

    warmup: in [0, 1); 0 is the schedule itself. Raises ValueError outside.
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup must be in [0, 1), got {warmup}")

    def multiplier(progress: float) -> float:
        if progress < warmup:
            return schedule(0.0) * (WARMUP_FLOOR + (1 - WARMUP_FLOOR) * progress / warmup)
        return schedule((progress - warmup) / (1 - warmup))

    return multiplier


def restarted(schedule: Schedule, restart: float) -> Schedule:
    """The schedule twice: over the share `restart` of training, and again over the rest. restart: in [0, 1)."""

    def multiplier(progress: float) -> float:
        if progress < restart:
            return schedule(progress / restart)
        return schedule((progress - restart) / (1 - restart))

    return multiplier


def last_epoch_before(start: float, num_epochs: int) -> int:
    """The last epoch before a phase that starts at the share `start` of training; 0: it is there from the first.

    At least one epoch is left for the phase. Epochs count from 1.

    >>> last_epoch_before(0.8, 10), last_epoch_before(1.0, 10), last_epoch_before(0.0, 10)
    (8, 9, 0)
    """
    return min(round(start * num_epochs), num_epochs - 1)
