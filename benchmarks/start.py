"""From the command to the first finished epoch, beside the least that comes before it: imports, Ray and a worker."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.interleave import interleaved, ratios
from benchmarks.measured import Measured
from benchmarks.process import output_of
from study.core.ledger_files import LEDGER

SETTINGS = {
    "dataset": "digits",
    "arms": ["lenet"],
    "trials_per_arm": 1,
    "max_epochs": 1,
    "retest_seeds": 1,
    "max_concurrent": 1,
    "dashboard": False,
}
RAY_ALONE = """
import time, optuna, torch, ray
from ray import tune
ray.init(address="local", include_dashboard=False, log_to_driver=False)
@ray.remote
class Worker:
    def ready(self):
        import torch
        return True
ray.get(Worker.remote().ready.remote())
print(time.time(), flush=True)
"""
"""The least that a study does before its first epoch: its driver's imports, and a worker that has PyTorch."""


def run(*, quick: bool, repeats: int | None, folder: Path) -> list[Measured]:
    seconds: dict[str, list[float]] = {"the command": [], "Ray alone": []}
    sides: dict[str, Callable[[], object]] = {
        "the command": lambda: seconds["the command"].append(
            _first_epoch(folder.resolve(), f"study-{len(seconds['the command'])}")
        ),
        "Ray alone": lambda: seconds["Ray alone"].append(_ray_alone()),
    }
    interleaved(sides, repeats or (1 if quick else 5))
    return [
        Measured(
            name="from the command to the first epoch: Ray alone",
            values=ratios(seconds["the command"], seconds["Ray alone"]),
            at_most=1.3,
            detail={"seconds": seconds},
        )
    ]


def _first_epoch(folder: Path, name: str) -> float:
    """Seconds from the start of a study's process until its first epoch was in the ledger."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps({**SETTINGS, "output_dir": str(folder), "name": name}))
    started = time.time()
    output_of("-m", "study.run", "baseline", "--spec", str(file), "--quiet")
    with contextlib.closing(sqlite3.connect(folder / name / LEDGER)) as ledger:
        (recorded,) = ledger.execute("SELECT min(time) FROM events WHERE kind = 'epoch'").fetchone()
    return float(recorded) - started


def _ray_alone() -> float:
    started = time.time()
    return float(output_of("-c", RAY_ALONE).split()[-1]) - started
