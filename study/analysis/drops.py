"""By how much winners fall from validation to test, and among how many trials each was picked."""

from __future__ import annotations

import pandas as pd

from study.analysis import results
from study.analysis.once import once
from study.analysis.tables import Tables


@once
def validation_drops(tables: Tables) -> pd.DataFrame:
    """One row per retested arm, in declared order: arm, num_trials, num_completed, validation, test, drop (0-1).

    num_trials: of the arm; num_completed: those among which its winner has the best validation score, all searches
    together. test: the mean over the retest's seeds; drop: validation less test. Empty where the two are not of the
    same metric.
    """
    columns = ["arm", "num_trials", "num_completed", "validation", "test", "drop"]
    if tables.objective.removeprefix("val_") != tables.score.removeprefix("test_"):
        return pd.DataFrame(columns=columns)
    winners = results.winning_objectives(tables)
    test = tables.main_retests.groupby("arm")[tables.score].mean()
    tuning = tables.tuning
    rows = []
    for arm in (arm for arm in tables.arms if arm in winners.index and arm in test.index):
        statuses = tuning.loc[tuning["arm"] == arm, "status"]
        num_completed = int((statuses == "completed").sum())
        rows.append((arm, len(statuses), num_completed, winners[arm], test[arm], winners[arm] - test[arm]))
    return pd.DataFrame(rows, columns=columns)
