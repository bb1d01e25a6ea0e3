"""BENCHMARKS, what python -m benchmarks can measure."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measured import Measured
from study.core.errors import StudyError, nearest

BENCHMARKS = {
    "images": "images a second of one trial, beside a bare loop and a DataLoader",
    "trials": "slot-seconds an epoch of tuning, beside Ray Tune's tutorial, Optuna, Syne Tune; how full its slots are",
    "search": "images spent until a good configuration is found, beside other searches",
    "growth": "what a trial costs besides its training, from 100 trials to 10,000",
    "start": "from the command to the first finished epoch, beside the start of Ray",
}
"""The name of a module of this package -> what it measures."""


def run(name: str, *, quick: bool, repeats: int | None, folder: Path) -> list[Measured]:
    """Measure what BENCHMARKS has under that name, with the run function of its module.

    The module is imported now, for it may import peers. repeats: of what is timed side by side; None: as many as the
    module thinks enough. folder: one in which it may write; folder / "data" leads to
    the data (see benchmarks.data).
    """
    measured: list[Measured] = importlib.import_module(f"benchmarks.{name}").run(
        quick=quick, repeats=repeats, folder=folder
    )
    return measured


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """These names of benchmarks, or all of them without one. Raises StudyError for an unknown one."""
    for name in names:
        if name not in BENCHMARKS:
            known = ", ".join(BENCHMARKS)
            raise StudyError(f"a benchmark must be one of {known}, got {name!r}{nearest(name, BENCHMARKS)}")
    return tuple(names or BENCHMARKS)
