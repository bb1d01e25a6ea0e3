"""Learning-rate schedules: multipliers that depend on the share of training done and nothing else."""

from __future__ import annotations

import difflib
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


def learning_rate_at(step: int, *, total_steps: int, base: float, schedule: str, warmup_steps: int = 0) -> float:
    """The learning rate of optimiser step `step` (0, 1, ..., total_steps - 1).

    base × SCHEDULES[schedule](step / total_steps), times (step + 1) / warmup_steps during the first
    warmup_steps: the warm-up is a factor, so that the schedule's milestones stay where they are without it.
    Raises ValueError for an unknown schedule, a step outside the training or a warm-up longer than it.
    """
    if schedule not in SCHEDULES:
        nearest = difflib.get_close_matches(schedule, SCHEDULES, n=1, cutoff=0)[0]
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}; nearest: {nearest}")
    if not 0 <= step < total_steps:
        raise ValueError(f"step must be in [0, total_steps = {total_steps}), got {step}")
    if not 0 <= warmup_steps <= total_steps:
        raise ValueError(f"warmup_steps must be in [0, total_steps = {total_steps}], got {warmup_steps}")
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return base * warmup * SCHEDULES[schedule](step / total_steps)
