"""The pretext's scores on puzzles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from study.analysis import intervals, results
from study.analysis.tables import Tables, knob, of_winners
from study.core.stage import retests_of
from study.tasks.jigsaw import PRETEXT


@dataclass(frozen=True, kw_only=True)
class PuzzleMetric:
    """A metric of puzzles. name: its column, without val_ or test_. chance(n): its value, 0-1, by guessing n tiles."""

    name: str
    title: str
    chance: Callable[[int], float]


PUZZLE_METRICS = (
    PuzzleMetric(
        name="exact_accuracy",
        title="Puzzles solved exactly, by assignment",
        chance=lambda n: 1 / math.factorial(n),
    ),
    PuzzleMetric(name="tile_accuracy", title="Tiles in place, by assignment", chance=lambda n: 1 / n),
    PuzzleMetric(
        name="exact_accuracy_argmax", title="Puzzles solved exactly, by row-argmax", chance=lambda n: float(n) ** -n
    ),
    PuzzleMetric(name="tile_accuracy_argmax", title="Tiles in place, by row-argmax", chance=lambda n: 1 / n),
    PuzzleMetric(name="confidence", title="Confidence in the true places", chance=lambda n: 1 / n),
    PuzzleMetric(
        name="invalid_argmax",
        title="Puzzles whose row-argmax repeats a place",
        chance=lambda n: 1 - math.factorial(n) / float(n) ** n,
    ),
)


def pretext_arms(tables: Tables) -> tuple[str, ...]:
    """The arms that were trained on puzzles; none if the study has no pretext stage."""
    return tuple(arm for stage in tables.summary["stages"] if stage["name"] == PRETEXT for arm in stage["arms"])


def num_tiles(tables: Tables, arm: str) -> int:
    """The number of tiles in a puzzle of this pretext arm: its grid squared, or the study's if its trials name none."""
    grids = knob(tables.trials[tables.trials["arm"] == arm], "grid").dropna()
    return int(grids.iloc[0] if len(grids) else tables.summary["setting"]["grid"]) ** 2


def puzzle_metrics(tables: Tables, arm: str) -> pd.DataFrame:
    """One row per metric: title, chance, validation (winner's last epoch), test mean, low, high, n; 0-1 or NaN."""
    winners = results.winners(tables.trials, PRETEXT)
    epochs = tables.epochs[tables.epochs["trial_id"].isin(winners.loc[winners["arm"] == arm, "trial_id"])]
    last = epochs.sort_values("epoch").tail(1)
    retests = of_winners(tables.retests)
    retests = retests[(retests["stage"] == retests_of(PRETEXT)) & (retests["arm"] == arm)]
    found = []
    for metric in PUZZLE_METRICS:
        test = retests[f"test_{metric.name}"].dropna()
        validation = last[f"val_{metric.name}"]
        row = {
            "title": metric.title,
            "chance": metric.chance(num_tiles(tables, arm)),
            "validation": float(validation.iloc[0]) if len(validation) else math.nan,
        }
        found.append({**row, **(intervals.interval_columns(intervals.t_interval(test)) if len(test) else {})})
    return pd.DataFrame(found, columns=["title", "chance", "validation", "mean", "low", "high", "n"])
