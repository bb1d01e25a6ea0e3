"""Where the arms are models: the best of each model with each optimiser."""

from __future__ import annotations

import pandas as pd

from study.analysis.tables import Tables, knob


def models_by_optimizer(tables: Tables) -> pd.DataFrame:
    """A row a model x optimiser that was tried: arm, optimizer, best, num_completed, num_trials.

    best: the validation score, 0-1, of the best of the completed trials; NaN where none was.
    """
    tried = tables.tuning.assign(optimizer=knob(tables.tuning, "optimizer")).dropna(subset=["optimizer"])
    by_cell = tried.assign(score=tried["objective"].where(tried["status"] == "completed")).groupby(["arm", "optimizer"])
    return by_cell["score"].agg(best="max", num_completed="count", num_trials="size").reset_index()
