"""Trials at equal fidelity: all judged after the same number of epochs."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from study.analysis.once import once
from study.analysis.tables import Tables
from study.core.stage import TUNE


@dataclass(frozen=True, kw_only=True)
class EqualFidelity:
    """The tuning trials that reached an epoch, as they stood there.

    epoch: that of the first rung of early stopping, at which no trial had been stopped yet; without one the last epoch
    that all arms have. trials: rows of tables.tuning, with score (0-1, the stage's objective after that epoch) and
    seconds (of training, the mean of the epochs until then). num_missing: the trials that did not get there.
    """

    epoch: int
    trials: pd.DataFrame
    num_missing: int


@once
def at_equal_fidelity(tables: Tables) -> EqualFidelity | None:
    """The trials at the first rung of early stopping, or without one at their last epoch; None if none got there."""
    rungs = tables.tuning_rungs["rung_epoch"]
    epoch = int(rungs.min()) if len(rungs) else min(map(int, tables.stage(TUNE)["epochs_of"].values()))
    until = tables.tuning_epochs[tables.tuning_epochs["epoch"] <= epoch]
    at = until[until["epoch"] == epoch].set_index("trial_id")[tables.objective].dropna()
    trials = tables.tuning[tables.tuning["trial_id"].isin(at.index)]
    if trials.empty:
        return None
    seconds = until.groupby("trial_id")["train_seconds"].mean()
    return EqualFidelity(
        epoch=epoch,
        trials=trials.assign(score=trials["trial_id"].map(at), seconds=trials["trial_id"].map(seconds)),
        num_missing=len(tables.tuning) - len(trials),
    )
