"""Sides that are held against each other, run in turn."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Took:
    """What a run of a side took. cpu_seconds: of this process and of the processes of its own that ended meanwhile."""

    seconds: float
    cpu_seconds: float


def interleaved(sides: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[Took]]:
    """Run every side once a repeat, each second time in the reverse order."""
    took: dict[str, list[Took]] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name in list(sides)[:: -1 if repeat % 2 else 1]:
            cpu, started = _cpu_seconds(), time.perf_counter()
            sides[name]()
            took[name].append(Took(seconds=time.perf_counter() - started, cpu_seconds=_cpu_seconds() - cpu))
    return took


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, ...]:
    """The ratio of each repeat."""
    return tuple(above / below for above, below in zip(numerators, denominators, strict=True))


def _cpu_seconds() -> float:
    times = os.times()  # of its own time it knows hundredths alone
    return time.process_time() + times.children_user + times.children_system
