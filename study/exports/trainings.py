"""The trials and retests of a run directory's tables, or rows like theirs, for loggers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from study.analysis.tables import Tables, python_value
from study.exports.logged import LoggedTraining, finite
from study.records.tables import retest_id
from trainables.common.plugins import OWN_METRIC

_TAGS = ("stage", "arm", "role", "search", "control", "number", "trial_id", "seed")
_HPARAMS = ("config/", "factor/")


def trainings(tables: Tables) -> Iterator[LoggedTraining]:
    """All of a run directory, trials first."""
    epochs = {
        str(name): rows.sort_values("epoch").to_dict("records") for name, rows in tables.epochs.groupby("trial_id")
    }
    hparams = {}
    for row in tables.trials.to_dict("records"):
        trial = of_trial(row, epochs.get(str(row["trial_id"]), []))
        hparams[trial.name] = trial.hparams
        yield trial
    for row in tables.retests.to_dict("records"):
        name = retest_id(row)
        yield of_retest(row, epochs.get(name, []), hparams.get(str(row["trial_id"]), {}))


def of_trial(row: Mapping[Any, Any], epochs: Sequence[Mapping[Any, Any]]) -> LoggedTraining:
    """row: of trials.parquet; epochs: its rows of epochs.parquet."""
    present = _present(row)
    return LoggedTraining(
        name=present["trial_id"],
        tags={"kind": "trial", **_tags(present)},
        hparams={name.split("/", 1)[1]: value for name, value in present.items() if name.startswith(_HPARAMS)},
        epochs=epochs,
        status=present["status"],
        message=present.get("message"),
        results=finite({"objective": present.get("objective")}),
    )


def of_retest(
    row: Mapping[Any, Any], epochs: Sequence[Mapping[Any, Any]], hparams: Mapping[str, Any]
) -> LoggedTraining:
    """row: of retests.parquet, or of a retest that failed, which has a message; hparams: those of its trial."""
    present = _present(row)
    return LoggedTraining(
        name=retest_id(row),
        tags={"kind": "retest", **_tags(present)},
        hparams=hparams,
        epochs=epochs,
        status="failed" if "message" in present else "completed",
        message=present.get("message"),
        results=finite({name: value for name, value in present.items() if name.startswith(("test_", OWN_METRIC))}),
    )


def _tags(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _TAGS if name in row}


def _present(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The numbers and texts of a row, as Python has them."""
    scalars = {str(name): value for name, value in row.items() if pd.api.types.is_scalar(value)}
    return {name: python_value(value) for name, value in scalars.items() if not pd.isna(value)}
