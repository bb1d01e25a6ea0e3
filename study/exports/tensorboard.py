"""A run's trials and retests as TensorBoard's event files, a run each, with its plugin for hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from study.analysis.tables import Tables
from study.core.entrants import FORMER
from study.core.text import plural
from study.exports.places import made_whole

_NO_CURVES = {"epoch", "time", "images"}


def write_tensorboard(tables: Tables, path: Path) -> str:
    """Write a folder of event files, and say how to open it: ARM/TRIAL for trials, retests/ARM/seed-SEED for those of
    winners, retests/ARM/default/seed-SEED for those of what they are held against, retests/ARM/former/TRIAL/seed-SEED
    for those of earlier winners.

    Every number that an epoch recorded is a curve over epochs. The hyperparameters of a trial stand beside its last
    objective. Raises StudyError if there is something at the path.
    """
    with made_whole(path) as part:
        epochs = {str(trial): rows.sort_values("epoch") for trial, rows in tables.epochs.groupby("trial_id")}
        for trial in tables.trials.to_dict("records"):
            folder = part / _name(tables, trial["stage"]) / str(trial["arm"]) / str(trial["trial_id"])
            _write_run(folder, epochs.get(str(trial["trial_id"])), hparams=_hparams(trial), metrics=_objective(trial))
        for retest in tables.retests.to_dict("records"):
            folder = part / str(retest["stage"]).replace("retest", "retests") / str(retest["arm"])
            if not pd.isna(retest["role"]) and retest["role"] != "winner":
                folder /= str(retest["role"])
            if retest["role"] == FORMER:  # there may be several
                folder /= str(retest["trial_id"])
            rows = epochs.get(f"{retest['trial_id']}-seed-{retest['seed']}")
            _write_run(folder / f"seed-{retest['seed']}", rows, hparams={}, metrics=_numbers(retest, prefix="test_"))
    counted = f"{plural(len(tables.trials), 'trial')}, {plural(len(tables.retests), 'retest')}"
    return f"{path}: {counted}; open it with tensorboard --logdir {path}"


def _name(tables: Tables, stage: str) -> str:
    return "trials" if len(tables.summary["stages"]) == 1 else f"trials-{stage}"


def _hparams(trial: Mapping[Hashable, Any]) -> dict[str, Any]:
    """The hyperparameters and factors of a trial, its arm and its fate."""
    named = {str(name): value for name, value in trial.items() if not pd.isna(value)}
    present = {name.split("/", 1)[1]: value for name, value in named.items() if name.startswith(("config/", "factor/"))}
    return {"arm": trial["arm"], "status": trial["status"], **present}


def _objective(trial: Mapping[Hashable, Any]) -> dict[str, float]:
    return {} if pd.isna(trial["objective"]) else {"objective": float(trial["objective"])}


def _numbers(row: Mapping[Hashable, Any], *, prefix: str) -> dict[str, float]:
    return {
        str(name): float(value)
        for name, value in row.items()
        if str(name).startswith(prefix) and isinstance(value, float) and math.isfinite(value)
    }


def _write_run(
    folder: Path, epochs: pd.DataFrame | None, *, hparams: dict[str, Any], metrics: dict[str, float]
) -> None:
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams as hparams_summaries

    with SummaryWriter(logdir=str(folder)) as writer:
        if hparams:
            for summary in hparams_summaries(hparams, metrics):
                writer.file_writer.add_summary(summary)
        last = 0
        for row in [] if epochs is None else epochs.to_dict("records"):
            last, time = int(row["epoch"]), None if pd.isna(row.get("time")) else float(row["time"])
            for name, value in row.items():
                if name not in _NO_CURVES and isinstance(value, float) and math.isfinite(value):
                    writer.add_scalar(str(name), value, last, walltime=time)
        for name, value in metrics.items():
            writer.add_scalar(name, value, last)
