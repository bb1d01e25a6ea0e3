"""Score against cost: the trials that no other trial beats in score, training time and size at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from study.analysis.fidelity import at_equal_fidelity
from study.analysis.once import once
from study.analysis.tables import Tables, knob
from study.core.front import non_dominated
from trainables.common.plugins import own_parts

COSTS = ("seconds", "parameters")


@once
def scores_and_costs(tables: Tables) -> pd.DataFrame | None:
    """The trials after the same epoch: arm, trial_id, score (0-1), seconds, parameters, on_front; None if none are.

    seconds: of training, the mean of the epochs until then; parameters: of the model, counted by building it anew
    with a linear head, so that a remedy whose head lacks ten biases is no smaller; NaN if it is not known, and where
    all trials train the same model, which saves building it.
    on_front: no other trial is at least as good in all three and better in one.
    """
    fidelity = at_equal_fidelity(tables)
    if fidelity is None:
        return None
    trials = fidelity.trials
    found = trials[["arm", "trial_id", "score", "seconds"]].assign(parameters=_parameters(tables, trials))
    costs = np.column_stack([-found["score"], found["seconds"], found["parameters"].fillna(0.0)])
    return found.assign(on_front=non_dominated(costs)).reset_index(drop=True)


def _parameters(tables: Tables, trials: pd.DataFrame) -> pd.Series:
    """The number of parameters of each trial's model, built once for each kind of it."""
    columns = pd.DataFrame({name: knob(trials, name) for name in ("model", "padding")})
    if len(columns.drop_duplicates()) == 1:
        return pd.Series(np.nan, index=trials.index)
    known: dict[tuple[Any, ...], float] = {}
    counts = []
    for row in columns.itertuples(index=False, name=None):
        if row not in known:
            known[row] = _count(tables, *(None if pd.isna(value) else str(value) for value in row))
        counts.append(known[row])
    return pd.Series(counts, index=trials.index, dtype="float64")


def _count(tables: Tables, model: str | None, padding: str | None) -> float:
    from trainables.models import MODELS, num_parameters  # slow to import: torchvision

    # A user's own model is there while its plugin is in use alone, and the page must come out the same without.
    if model not in MODELS or any((part.kind, part.name) == ("model", model) for part in own_parts()):
        return float("nan")
    dataset = tables.summary["dataset"]
    return num_parameters(
        model,
        num_classes=int(dataset["num_classes"]),
        in_channels=int(dataset["channels"]),
        image_size=int(dataset["image_size"]),
        padding=padding,
    )
