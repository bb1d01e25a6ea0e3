"""The Parquet tables of a run directory: their schemas, and how they are written so that a crash cannot cut them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from study.ledger import Book, TrialRecord
from trainables.files import write_durably


def _field(name: str, kind: pa.DataType, unit: str = "", *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit} if unit else None)


# A row a trial. The columns factor/* and config/* follow, one for each factor and hyperparameter, null where inactive.
TRIALS = pa.schema(
    [
        _field("trial_id", pa.string()),
        _field("stage", pa.string()),  # "tune"
        _field("arm", pa.string()),
        _field("number", pa.int64(), "position in its arm, from 0"),
        _field("status", pa.string()),  # completed | stopped | failed | running | interrupted
        _field("message", pa.string(), nullable=True),  # why it failed
        _field("epochs", pa.int64(), "epochs done"),
        _field("images", pa.int64(), "training images drawn"),
        _field("seed", pa.int64()),
        _field("objective", pa.float64(), "validation balanced accuracy at its last epoch, 0-1", nullable=True),
        _field("train_seconds", pa.float64(), "s"),
    ]
)

# A row a trial x epoch; the retest's epochs stand here too (stage "retest", trial_id as in retests, no validation).
EPOCHS = pa.schema(
    [
        _field("trial_id", pa.string()),
        _field("stage", pa.string()),  # tune | retest
        _field("arm", pa.string()),
        _field("epoch", pa.int64(), "from 1"),
        _field("images", pa.int64(), "training images drawn in this epoch"),
        _field("train_loss", pa.float64(), "mean over the epoch's batches"),
        _field("learning_rate", pa.float64(), "at the epoch's last step"),
        _field("val_balanced_accuracy", pa.float64(), "0-1", nullable=True),
        _field("val_accuracy", pa.float64(), "0-1", nullable=True),
        _field("val_loss", pa.float64(), "nats", nullable=True),
        _field("train_seconds", pa.float64(), "s"),
        _field("eval_seconds", pa.float64(), "s"),
        _field("time", pa.float64(), "s since the epoch, Unix", nullable=True),
        _field("gpu_ids", pa.string(), "Ray's, comma-separated", nullable=True),
        _field("weights_sha256", pa.string(), "of the model's state after the epoch", nullable=True),
    ]
)

# A row an early-stopping decision. cutoff is null for the first arrival at a rung.
RUNGS = pa.schema(
    [
        _field("trial_id", pa.string()),
        _field("stage", pa.string()),
        _field("arm", pa.string()),
        _field("rung_epoch", pa.int64()),
        _field("value", pa.float64(), "validation balanced accuracy, 0-1", nullable=True),
        _field("cutoff", pa.float64(), "0-1", nullable=True),
        _field("num_peers", pa.int64(), "trials of the arm that had reached this rung before"),
        _field("decision", pa.string()),  # continue | stop
    ]
)

# A row an arm x retest seed; trial_id is the winner's. Lists are in the order of summary.json's class_names.
RETESTS = pa.schema(
    [
        _field("arm", pa.string()),
        _field("trial_id", pa.string()),
        _field("seed", pa.int64()),
        _field("num_train", pa.int64(), "images in the thinned train + validation set"),
        _field("test_balanced_accuracy", pa.float64(), "0-1"),
        _field("test_accuracy", pa.float64(), "0-1"),
        _field("test_macro_f1", pa.float64(), "0-1"),
        _field("test_worst_class_recall", pa.float64(), "0-1"),
        _field("test_nll", pa.float64(), "nats"),
        _field("test_ece", pa.float64(), "0-1, 15 bins"),
        _field("per_class_recall", pa.list_(pa.float64()), "0-1"),
        _field("confusion_matrix", pa.list_(pa.list_(pa.int64())), "rows: true class, columns: predicted"),
        _field("train_indices_sha256", pa.string()),
        _field("weights_sha256", pa.string()),
        _field("train_seconds", pa.float64(), "s"),
    ]
)


def with_columns(schema: pa.Schema, columns: Mapping[str, pa.DataType]) -> pa.Schema:
    """The schema with nullable columns added (factor/*, config/*)."""
    for name, kind in columns.items():
        schema = schema.append(pa.field(name, kind, nullable=True))
    return schema


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write rows durably, with page checksums."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, write_page_checksum=True)
    write_durably(path, buffer.getvalue())


def read_table(path: Path) -> pa.Table:
    """Read a table and verify its page checksums. Raises OSError if a byte was flipped."""
    return pq.read_table(path, page_checksum_verification=True)


def column_type(values: Iterable[Any]) -> pa.DataType:
    """The narrowest of bool, int64, float64, string that holds all values; None values are passed over."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool}:
        return pa.bool_() if kinds else pa.string()
    if kinds <= {int}:
        return pa.int64()
    if kinds <= {int, float}:
        return pa.float64()
    return pa.string()


def write_records(
    run_dir: Path,
    book: Book,
    *,
    arms: Sequence[str],
    factors: Mapping[str, Mapping[str, str]],
    metric: str,
    mode: str,
    active: bool,
) -> None:
    """Derive all four tables from the ledger's book. active: a process is at work, so unfinished trials are running."""
    rows = [_trial_row(trial, factors[trial.arm], metric, active) for trial in book.trials.values()]
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            if "/" in name:
                columns.setdefault(name, []).append(value)
    schema = with_columns(TRIALS, {name: column_type(columns[name]) for name in sorted(columns)})
    write_table(run_dir / "trials.parquet", rows, schema)
    tuning_epochs = (
        {"trial_id": trial.trial_id, "stage": "tune", "arm": trial.arm, **epoch}
        for trial in book.trials.values()
        for epoch in trial.epochs
    )
    retests = book.retested(book.winners(arms, metric, mode))
    retest_epochs = (
        {"trial_id": f"{row['trial_id']}-seed-{row['seed']}", "stage": "retest", "arm": row["arm"], **_UNTIMED, **epoch}
        for row in retests
        for epoch in row["epochs"]
    )
    write_table(run_dir / "epochs.parquet", [*tuning_epochs, *retest_epochs], EPOCHS)
    rungs = [
        {"trial_id": trial.trial_id, "stage": "tune", "arm": trial.arm, **rung}
        for trial in book.trials.values()
        for rung in trial.rungs
    ]
    write_table(run_dir / "rungs.parquet", rungs, RUNGS)
    write_table(run_dir / "retests.parquet", [_without_epochs(row) for row in retests], RETESTS)


_UNTIMED = {"eval_seconds": 0.0}  # the retest validates nothing


def _without_epochs(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "epochs"}


def _trial_row(trial: TrialRecord, factors: Mapping[str, str], metric: str, active: bool) -> dict[str, Any]:
    return {
        "trial_id": trial.trial_id,
        "stage": "tune",
        "arm": trial.arm,
        "number": trial.number,
        "status": trial.status if trial.is_finished or active else "interrupted",
        "message": trial.message,
        "epochs": trial.num_epochs,
        "images": sum(epoch["images"] for epoch in trial.epochs),
        "seed": trial.seed,
        "objective": trial.value(metric),
        "train_seconds": sum(epoch["train_seconds"] for epoch in trial.epochs),
        **{f"factor/{name}": value for name, value in factors.items()},
        **{f"config/{name}": value for name, value in trial.hparams.items() if name not in factors},
    }
