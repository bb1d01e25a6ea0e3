"""The budget that tuning spent on each arm, and the savings by early stopping."""

from __future__ import annotations

import pandas as pd

from study.analysis.once import once
from study.analysis.tables import Tables
from study.core.stage import TUNE

MAX_IMAGE_SPREAD = 0.10  # above this, the arms' tuning budgets are not called equal


@once
def arm_budgets(tables: Tables) -> pd.DataFrame:
    """The spent budget and the savings by early stopping, one row per arm in declared order.

    Columns: arm, group, full_epochs (of a trial that is not stopped), num_trials, num_epochs, num_images,
    seconds (training and validation), num_stopped, saved_epochs, saved_images, saved_seconds. Saved are the epochs that
    stopped trials did not run, each at the trial's own mean images and seconds per epoch: an estimate, not a
    measurement.
    """
    tuning, per_epoch = tables.tuning.set_index("trial_id"), tables.tuning_epochs
    epoch_seconds = (per_epoch["train_seconds"] + per_epoch["eval_seconds"]).groupby(per_epoch["trial_id"])
    tuning = tuning.assign(
        seconds=epoch_seconds.sum().reindex(tuning.index).fillna(0.0),
        mean_epoch_seconds=epoch_seconds.mean().reindex(tuning.index),
    )
    full_epochs = tables.stage(TUNE)["epochs_of"]
    groups = {arm: group.title for group in tables.groups for arm in group.arms}
    found = []
    for arm in tables.arms:
        trials = tuning[tuning["arm"] == arm]
        stopped = trials[(trials["status"] == "stopped") & (trials["epochs"] > 0)]
        saved_epochs = (int(full_epochs[arm]) - stopped["epochs"]).clip(lower=0)
        found.append(
            {
                "arm": arm,
                "group": groups[arm],
                "full_epochs": int(full_epochs[arm]),
                "num_trials": len(trials),
                "num_epochs": int(trials["epochs"].sum()),
                "num_images": int(trials["images"].sum()),
                "seconds": float(trials["seconds"].sum()),
                "num_stopped": int((trials["status"] == "stopped").sum()),
                "saved_epochs": int(saved_epochs.sum()),
                "saved_images": float((saved_epochs * stopped["images"] / stopped["epochs"]).sum()),
                "saved_seconds": float((saved_epochs * stopped["mean_epoch_seconds"]).sum()),
            }
        )
    return pd.DataFrame(found)


def num_repeats(tables: Tables) -> int:
    """The number of tuning trials with the configuration of an earlier trial of their arm."""
    tuning = tables.tuning
    configuration = ["arm", *(column for column in map(str, tuning) if column.startswith("config/"))]
    return int(tuning[configuration].astype("string").duplicated().sum())


def least_equal_budgets(budgets: pd.DataFrame) -> pd.DataFrame:
    """The arms that should have spent alike (one group, trials of equal length) and differ most in images."""
    alike = [frame for _, frame in budgets.groupby(["group", "full_epochs"], sort=False)]
    return max(alike, key=image_spread)


def image_spread(budgets: pd.DataFrame) -> float:
    """(max - min) / max of the images that the arms spent in tuning; 0 if nothing was spent."""
    most = float(budgets["num_images"].max()) if len(budgets) else 0.0
    return (most - float(budgets["num_images"].min())) / most if most > 0 else 0.0


def rung_survivors(tables: Tables) -> pd.DataFrame:
    """One row per arm and rung: arm, rung_epoch, num_reached, num_continued, num_stopped."""
    rungs = tables.tuning_rungs
    found = []
    for arm in tables.arms:
        for rung_epoch in sorted(rungs["rung_epoch"].unique()):
            decisions = rungs[(rungs["arm"] == arm) & (rungs["rung_epoch"] == rung_epoch)]["decision"]
            num_stopped = int((decisions == "stop").sum())
            found.append(
                {
                    "arm": arm,
                    "rung_epoch": int(rung_epoch),
                    "num_reached": len(decisions),
                    "num_continued": len(decisions) - num_stopped,
                    "num_stopped": num_stopped,
                }
            )
    return pd.DataFrame(found, columns=["arm", "rung_epoch", "num_reached", "num_continued", "num_stopped"])
