"""Score against cost: the trials that no other trial, of any arm or of their own, beats in all of them at once."""

from __future__ import annotations

import numpy as np
import pandas as pd

from study.analysis.fidelity import at_equal_fidelity
from study.analysis.once import once
from study.analysis.tables import Tables, knob
from study.core.front import non_dominated
from study.records.sizes import sizes

COSTS = ("seconds", "parameters")


@once
def scores_and_costs(tables: Tables) -> pd.DataFrame | None:
    """The trials after the same epoch: arm, trial_id, score (0-1), seconds, parameters, on_front, on_arm_front.

    seconds: of training, the mean of the epochs until then; parameters: of the model (see records.sizes), NaN if they
    are not known, and where all trials train the same model.
    on_front: no other trial is at least as good in all three and better in one. on_arm_front: no other trial of its arm
    is so in score and seconds. None if there are no trials.
    """
    fidelity = at_equal_fidelity(tables)
    if fidelity is None:
        return None
    trials = fidelity.trials
    found = trials[["arm", "trial_id", "score", "seconds"]].assign(parameters=_parameters(tables, trials))
    costs = np.column_stack([-found["score"], found["seconds"], found["parameters"].fillna(0.0)])
    on_arm_front = np.zeros(len(found), dtype=bool)
    for arm in found["arm"].unique():
        own = (found["arm"] == arm).to_numpy()
        on_arm_front[own] = non_dominated(costs[own, :2])
    return found.assign(on_front=non_dominated(costs), on_arm_front=on_arm_front).reset_index(drop=True)


def slowest_over_fastest(tables: Tables) -> pd.Series:
    """trial_id -> its slowest epoch's training time over its fastest one's, of tuning trials of two epochs or more."""
    seconds = tables.tuning_epochs.groupby("trial_id")["train_seconds"].agg(["max", "min", "size"])
    timed = seconds[(seconds["size"] > 1) & (seconds["min"] > 0)]
    return timed["max"] / timed["min"]


def _parameters(tables: Tables, trials: pd.DataFrame) -> pd.Series:
    """The number of parameters of each trial's model: as recorded or, of runs made before it was, counted."""
    kinds = list(zip(_texts(knob(trials, "model")), _texts(knob(trials, "padding")), strict=True))
    recorded = tables.summary.get("model_sizes")
    if recorded is None:
        known = sizes(kinds, tables.summary["dataset"])
    else:
        known = {(size["model"], size["padding"]): size["parameters"] for size in recorded}
    return pd.Series(np.array([known.get(kind) for kind in kinds], dtype=np.float64), index=trials.index)


def _texts(values: pd.Series) -> list[str | None]:
    return [None if pd.isna(value) else str(value) for value in values]
