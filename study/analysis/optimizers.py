"""Models and optimisers, for studies whose arms are models: the best score of each pair."""

from __future__ import annotations

import pandas as pd

from study.analysis.tables import Tables, knob


def models_by_optimizer(tables: Tables) -> pd.DataFrame:
    """One row per pair of model and optimiser that was tried: arm, optimizer, best, num_completed, num_trials.

    best: the best validation score, 0-1, of the completed trials; NaN if there are none.
    """
    tried = tables.tuning.assign(optimizer=knob(tables.tuning, "optimizer")).dropna(subset=["optimizer"])
    by_cell = tried.assign(score=tried["objective"].where(tried["status"] == "completed")).groupby(["arm", "optimizer"])
    return by_cell["score"].agg(best="max", num_completed="count", num_trials="size").reset_index()
