"""The Parquet tables of a run directory: their schemas, their rows, and how one is written and read."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from study.core.checksums import read_checked
from study.core.entrants import FORMER, Entrant
from study.core.ledger import TrialRecord
from study.core.names import require_plain
from study.core.stage import Stage
from trainables.common.files import write_durably


def _field(name: str, kind: pa.DataType, unit: str = "", *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit} if unit else None)


def _shares(*names: str) -> list[pa.Field]:
    """Nullable columns of shares from 0 to 1, which only some tasks measure."""
    return [_field(name, pa.float64(), "0-1", nullable=True) for name in names]


STATUSES = ("completed", "stopped", "failed", "running", "interrupted")
_NAMES = ("trial_id", "stage", "arm", "control", "role")

_PUZZLE_SHARES = (
    "exact_accuracy",  # puzzles with every tile in its place, by optimal assignment
    "tile_accuracy",
    "exact_accuracy_argmax",  # the same by each row's argmax
    "tile_accuracy_argmax",
    "confidence",  # mean of Y over the true places
    "invalid_argmax",  # puzzles in which the rows' argmax uses a place twice
)


# One row per trial. Columns factor/* and config/* follow, one for each factor and hyperparameter, null if inactive.
TRIALS = pa.schema(
    [
        _field("trial_id", pa.string()),
        _field("stage", pa.string()),  # tune, or the name of a stage before it
        _field("arm", pa.string()),
        _field("search", pa.int64(), "number of the arm's search, from 1", nullable=True),
        _field("control", pa.string(), nullable=True),  # random, of a trial of that control; null: the arm's own search
        _field("number", pa.int64(), "position in its search, from 0"),
        _field("extension", pa.int64(), "how often the study had been extended when it was asked for", nullable=True),
        _field("status", pa.string()),  # one of STATUSES
        _field("message", pa.string(), nullable=True),  # why it failed
        _field("epochs", pa.int64(), "epochs done"),
        _field("images", pa.int64(), "training images drawn"),
        _field("seed", pa.int64()),
        _field("objective", pa.float64(), "the stage's validation metric at its last epoch, 0-1", nullable=True),
        _field("train_seconds", pa.float64(), "s"),
    ]
)

# One row per trial and epoch, retests included (trial_id with the seed, no validation). A column is null if the task
# does not measure it.
EPOCHS = pa.schema(
    [
        _field("trial_id", pa.string()),
        _field("stage", pa.string()),  # tune, a stage before it, retest, or NAME_retest of a stage before it
        _field("arm", pa.string()),
        _field("epoch", pa.int64(), "from 1"),
        _field("images", pa.int64(), "training images drawn in this epoch"),
        _field("train_loss", pa.float64(), "mean over the epoch's batches"),
        _field("learning_rate", pa.float64(), "at the epoch's last step"),
        *_shares("val_balanced_accuracy", "val_accuracy", *(f"val_{name}" for name in _PUZZLE_SHARES)),
        _field("val_loss", pa.float64(), "nats", nullable=True),
        _field("val_balanced_accuracy_by_tau", pa.list_(pa.float64()), "0-1, over summary.json's taus", nullable=True),
        _field("train_eval_loss", pa.float64(), "nats, of training images as they are", nullable=True),
        _field("test_loss", pa.float64(), "nats", nullable=True),
        *_shares("train_eval_accuracy", "test_accuracy"),
        _field("train_seconds", pa.float64(), "s"),
        _field("eval_seconds", pa.float64(), "s"),
        _field("time", pa.float64(), "s since the epoch, Unix", nullable=True),
        _field("gpu_ids", pa.string(), "Ray's, comma-separated", nullable=True),
        _field("weights_sha256", pa.string(), "of the model's state after the epoch", nullable=True),
    ]
)

# One row per early-stopping decision. cutoff is null for the first arrival at a rung.
RUNGS = pa.schema(
    [
        _field("trial_id", pa.string()),
        _field("stage", pa.string()),
        _field("arm", pa.string()),
        _field("rung_epoch", pa.int64()),
        _field("value", pa.float64(), "the stage's validation metric, 0-1", nullable=True),
        _field("cutoff", pa.float64(), "0-1", nullable=True),
        _field("num_peers", pa.int64(), "trials of the arm that had reached this rung before"),
        _field("decision", pa.string()),  # continue | stop
    ]
)

# One row per retested configuration and seed. Lists are in the order of summary.json's class_names.
# Columns metric/* follow, one for each metric of a plugin.
RETESTS = pa.schema(
    [
        _field("stage", pa.string()),  # retest, or NAME_retest of a stage before the main one
        _field("arm", pa.string()),
        _field("role", pa.string(), nullable=True),  # winner | default | random | former: see study.core.entrants
        _field("search", pa.int64(), "number of the search whose seed this is", nullable=True),
        _field("trial_id", pa.string()),
        _field("seed", pa.int64()),
        _field("num_train", pa.int64(), "training images, of train and validation joined"),
        _field("class_counts", pa.list_(pa.int64()), "those of each class", nullable=True),
        *_shares("test_balanced_accuracy", "test_accuracy", "test_macro_f1", "test_worst_class_recall"),
        _field("test_nll", pa.float64(), "nats", nullable=True),
        _field("test_ece", pa.float64(), "0-1, 15 bins", nullable=True),
        *_shares("test_top5_accuracy", "test_superclass_accuracy", *(f"test_{name}" for name in _PUZZLE_SHARES)),
        _field("test_loss", pa.float64(), "nats, the puzzles' own", nullable=True),
        _field("test_balanced_accuracy_by_tau", pa.list_(pa.float64()), "0-1, over summary.json's taus", nullable=True),
        _field("per_class_recall", pa.list_(pa.float64()), "0-1", nullable=True),
        _field(
            "confusion_matrix",
            pa.list_(pa.list_(pa.int64())),
            "rows: true class, columns: predicted",
            nullable=True,
        ),
        _field("train_indices_sha256", pa.string()),
        _field("weights_sha256", pa.string()),
        _field("train_seconds", pa.float64(), "s"),
    ]
)

# One row per audited trial, a stopped one that was trained again to its end; only of runs with an audit.
AUDIT = pa.schema(
    [
        _field("trial_id", pa.string()),
        _field("stage", pa.string()),
        _field("arm", pa.string()),
        _field("seed", pa.int64()),
        _field("stopped_at_epoch", pa.int64()),
        _field("value_at_stop", pa.float64(), "the stage's validation metric, 0-1", nullable=True),
        _field("cutoff", pa.float64(), "0-1", nullable=True),
        _field("rank_at_stop", pa.int64(), "1: better than all that had reached the rung before", nullable=True),
        _field("num_peers", pa.int64(), "trials of the arm that had reached the rung before"),
        _field("final_epoch", pa.int64(), "epochs of a full trial"),
        _field("final_value", pa.float64(), "0-1", nullable=True),
        _field("winner", pa.string()),  # the trial_id of the arm's winner
        _field("winner_value", pa.float64(), "0-1"),
        _field("would_have_won", pa.bool_()),  # whether its final value is better than the winner's
        _field("values", pa.list_(pa.float64()), "0-1, the metric after each epoch"),
        _field("first_difference_epoch", pa.int64(), "where it differs from its record; null: nowhere", nullable=True),
        _field("first_difference", pa.string(), nullable=True),
        _field("message", pa.string(), nullable=True),  # why its training failed
        _field("images", pa.int64(), "training images drawn in the audit"),
        _field("train_seconds", pa.float64(), "s"),
    ]
)

_FOLLOWED = (
    _field("train_eval_loss", pa.float64(), "nats, of training images as they are", nullable=True),
    _field("test_loss", pa.float64(), "nats", nullable=True),
    *_shares("train_eval_accuracy", "test_accuracy", *(f"test_{name}" for name in _PUZZLE_SHARES)),
)

# One row per run and seed of a reproduction, at the last epoch. Lists are in the order of the data set's class_names.
RUNS = pa.schema(
    [
        _field("run", pa.string()),  # RECIPE, or RECIPE.VARIANT
        _field("recipe", pa.string()),
        _field("kind", pa.string()),  # recipe | corrected | control | ablation | cause
        _field("seed", pa.int64()),
        _field("num_epochs", pa.int64()),
        _field("num_train", pa.int64(), "training images"),
        *_FOLLOWED,
        *_shares("test_balanced_accuracy", "test_worst_class_recall"),
        _field("test_nll", pa.float64(), "nats", nullable=True),
        _field("per_class_recall", pa.list_(pa.float64()), "0-1", nullable=True),
        _field(
            "confusion_matrix", pa.list_(pa.list_(pa.int64())), "rows: true class, columns: predicted", nullable=True
        ),
        _field("drawn_per_class", pa.list_(pa.int64()), "images, repeats counted, at full loss scale", nullable=True),
        _field("distinct_per_class", pa.list_(pa.int64()), "different images", nullable=True),
        _field("train_indices_sha256", pa.string()),
        _field("weights_sha256", pa.string()),
        _field("train_seconds", pa.float64(), "s"),
    ]
)

# One row per run, seed and epoch of a reproduction.
RUN_EPOCHS = pa.schema(
    [
        _field("run", pa.string()),
        _field("seed", pa.int64()),
        _field("epoch", pa.int64(), "from 1"),
        _field("images", pa.int64(), "training images drawn in this epoch"),
        _field("train_loss", pa.float64(), "mean over the epoch's batches"),
        _field("learning_rate", pa.float64(), "at the epoch's last step"),
        *_FOLLOWED,
        _field("train_seconds", pa.float64(), "s"),
    ]
)

# One row per puzzle of the test split that is shown, as the puzzle net of the first retest seed solved it.
PUZZLES = pa.schema(
    [
        _field("number", pa.int64()),
        _field("image_png", pa.binary(), "the whole image"),
        _field("grid", pa.int64(), "tiles a side"),
        _field("permutation", pa.list_(pa.int64()), "tile i of the puzzle is the image's tile of this number"),
        _field("predicted", pa.list_(pa.int64()), "the place given to tile i of the puzzle"),
        _field("sinkhorn", pa.list_(pa.list_(pa.float64())), "0-1, rows: tiles of the puzzle, columns: places"),
    ]
)

_OF_THE_STUDY = {"trial_id", "stage", "arm", "time"}
MEASURED = tuple(name for name in EPOCHS.names if name not in _OF_THE_STUDY)
"""The columns of epochs.parquet that workers report."""


def with_columns(schema: pa.Schema, columns: Mapping[str, pa.DataType]) -> pa.Schema:
    """The schema with nullable columns added (factor/*, config/*, metric/*)."""
    for name, kind in columns.items():
        schema = schema.append(pa.field(name, kind, nullable=True))
    return schema


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write the rows durably, with page checksums."""
    write_durably(path, table_bytes(rows, schema))


def table_bytes(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    return parquet_bytes(as_table(rows, schema))


def as_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)


def parquet_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, write_page_checksum=True)
    return buffer.getvalue()


def read_table(path: Path) -> pa.Table:
    """Read a table and verify its checksums. Raises OSError or ValueError if a byte was changed."""
    return pq.read_table(pa.BufferReader(read_checked(path)), page_checksum_verification=True)


def with_missing_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table as this version has it: nullable columns that an older one did not write are null.

    Raises ValueError, naming them, if columns are missing that are never null, have another type or are null, and for
    names that no trial, arm or stage has.
    """
    missing = [field for field in schema if field.name not in table.column_names]
    if required := [field.name for field in missing if not field.nullable]:
        raise ValueError(f"it lacks {', '.join(required)}")
    for field in missing:
        table = table.append_column(field, pa.nulls(len(table), field.type))
    for field in schema:
        column = table[field.name]
        if not field.nullable and column.null_count:
            raise ValueError(f"{field.name} lacks values")
        if column.type != field.type:
            place = table.schema.get_field_index(field.name)
            try:
                table = table.set_column(place, field, column.cast(field.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise ValueError(f"{field.name} is of the type {column.type}, not {field.type}") from None
        if field.name in _NAMES:
            for name in table[field.name].drop_null().unique().to_pylist():
                require_plain(name)
    return table


def column_type(values: Iterable[Any]) -> pa.DataType:
    """The narrowest of bool, int64, float64 and string that holds all values but None; string if there are none."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool}:
        return pa.bool_() if kinds else pa.string()
    if kinds <= {int}:
        return pa.int64()
    if kinds <= {int, float}:
        return pa.float64()
    return pa.string()


def retest_id(row: Mapping[Any, Any]) -> str:
    """The name that a retest has beside the trials, as in the column trial_id of epochs.parquet."""
    return f"{row['trial_id']}-seed-{row['seed']}"


def retest_row(stage: Stage, entrant: Entrant, row: Mapping[str, Any]) -> dict[str, Any]:
    """row, an entrant's of book.retests or book.retest_failures, with what places it in the study."""
    return {"stage": stage.retest_name, "role": entrant.role, **row, "search": entrant.search}


def former_row(stage: Stage, row: Mapping[str, Any]) -> dict[str, Any]:
    """row, of study.core.entrants.former_retests, likewise."""
    return {"stage": stage.retest_name, "role": FORMER, **row, "search": row.get("search", 1)}


def trial_row(stage: Stage, trial: TrialRecord, *, active: bool) -> dict[str, Any]:
    """A row of trials.parquet. active: whether an unfinished trial is running, not interrupted."""
    factors = stage.space.arms[trial.arm].factors
    return {
        "trial_id": trial.trial_id,
        "stage": stage.name,
        "arm": trial.arm,
        "search": trial.search,
        "control": trial.control,
        "number": trial.number,
        "extension": trial.extension,
        "status": trial.status if trial.is_finished or active else "interrupted",
        "message": trial.message,
        "epochs": trial.num_epochs,
        "images": sum(epoch["images"] for epoch in trial.epochs),
        "seed": trial.seed,
        "objective": trial.value(stage.task.metric),
        "train_seconds": sum(epoch["train_seconds"] for epoch in trial.epochs),
        **{f"factor/{name}": value for name, value in factors.items()},
        **{f"config/{name}": value for name, value in trial.hparams.items() if name not in factors},
    }
