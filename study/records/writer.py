"""The tables of a run directory from the ledger's book, again and again as the study goes on."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from study.core.checksums import write_checked
from study.core.entrants import former_retests, outcomes, retested_anew
from study.core.ledger import Book, TrialRecord
from study.core.stage import Stage
from study.records.audits import audit_rows
from study.records.tables import (
    AUDIT,
    EPOCHS,
    PUZZLES,
    RETESTS,
    RUNGS,
    TRIALS,
    as_table,
    column_type,
    former_row,
    parquet_bytes,
    retest_id,
    retest_row,
    table_bytes,
    trial_row,
    with_columns,
    with_missing_columns,
)
from trainables.common.plugins import OWN_METRIC

_UNTIMED = {"eval_seconds": 0.0}  # the retest validates nothing


def write_records(run_dir: Path, book: Book, *, stages: Sequence[Stage], active: bool) -> None:
    """Write the tables from the ledger's book. active: whether unfinished trials are running, not interrupted."""
    RecordWriter(run_dir, stages).write(book, active=active)


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """The rows of the first trials, which do not change any more. trials: these; tables: their rows, by file."""

    trials: Sequence[TrialRecord] = ()
    tables: Mapping[str, pa.Table] = field(default_factory=dict)


class RecordWriter:
    """Writes the tables from a book that grows. Trials become rows once: those before the first that is not finished.

    The files are the same, byte for byte, as if all rows were made anew.
    """

    def __init__(self, run_dir: Path, stages: Sequence[Stage]) -> None:
        self._run_dir, self._stages = run_dir, stages
        self._kept = _Kept()
        self._examples: dict[str, dict[type, Any]] = {}  # factor/*, config/* -> a value of each type that it has

    def write(self, book: Book, *, active: bool) -> None:
        """active: whether unfinished trials are running, not interrupted."""
        trials = [(stage, trial) for stage in self._stages for trial in stage.trials(book)]
        if any(kept is not trial for kept, (_, trial) in zip(self._kept.trials, trials, strict=False)):
            self._kept = _Kept()  # a stage before another one has got further trials
        further = trials[len(self._kept.trials) :]
        retests = _retest_rows(self._stages, book)
        ended = [trial for _, trial in itertools.takewhile(lambda one: one[1].is_finished, further)]
        tables = {
            "trials.parquet": self._trials(further, active=active),
            "epochs.parquet": self._grown("epochs.parquet", _epoch_rows(further) + _epochs_of_retests(retests), EPOCHS),
            "rungs.parquet": self._grown("rungs.parquet", _rung_rows(further), RUNGS),
        }
        contents = {name: parquet_bytes(table) for name, table in tables.items()}
        kept = [*self._kept.trials, *ended]
        num_rows = {
            "trials.parquet": len(kept),
            "epochs.parquet": sum(trial.num_epochs for trial in kept),
            "rungs.parquet": sum(len(trial.rungs) for trial in kept),
        }
        # In one step, for Ctrl-C may come between two.
        self._kept = _Kept(trials=kept, tables={name: tables[name].slice(0, num) for name, num in num_rows.items()})
        if audits := [row for stage in self._stages for row in audit_rows(stage, book)]:
            contents["audit.parquet"] = table_bytes(audits, AUDIT)
        own = {name: pa.float64() for row in retests for name in row if name.startswith(OWN_METRIC)}
        tested = [_without(row, "epochs", "puzzles") for row in retests]
        contents["retests.parquet"] = table_bytes(tested, with_columns(RETESTS, own))
        puzzles = next((row["puzzles"] for row in retests if "puzzles" in row), None)
        if puzzles is not None:
            decoded = [{**puzzle, "image_png": base64.b64decode(puzzle["image_png"])} for puzzle in puzzles]
            contents["puzzles.parquet"] = table_bytes(decoded, PUZZLES)
        write_checked(self._run_dir, contents)

    def _trials(self, further: Sequence[tuple[Stage, TrialRecord]], *, active: bool) -> pa.Table:
        rows = [trial_row(stage, trial, active=active) for stage, trial in further]
        for row in rows:
            for name, value in row.items():
                if "/" in name:
                    self._examples.setdefault(name, {})[type(value)] = value
        columns = {name: column_type(self._examples[name].values()) for name in sorted(self._examples)}
        return self._grown("trials.parquet", rows, with_columns(TRIALS, columns))

    def _grown(self, name: str, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
        """The table of the rows that are kept, with columns and types that further rows may have brought, and these."""
        further = as_table(rows, schema)
        if name not in self._kept.tables:
            return further
        kept = with_missing_columns(self._kept.tables[name], schema).select(schema.names).cast(schema)
        return pa.concat_tables([kept, further]).combine_chunks()


def _epoch_rows(trials: Sequence[tuple[Stage, TrialRecord]]) -> list[dict[str, Any]]:
    return [
        {"trial_id": trial.trial_id, "stage": stage.name, "arm": trial.arm, **epoch}
        for stage, trial in trials
        for epoch in trial.epochs
    ]


def _rung_rows(trials: Sequence[tuple[Stage, TrialRecord]]) -> list[dict[str, Any]]:
    return [
        {"trial_id": trial.trial_id, "stage": stage.name, "arm": trial.arm, **rung}
        for stage, trial in trials
        for rung in trial.rungs
    ]


def _retest_rows(stages: Sequence[Stage], book: Book) -> list[dict[str, Any]]:
    entrants = [
        retest_row(stage, entrant, row)
        for stage in stages
        for entrant, row in outcomes(book.retests, retested_anew(stage, book))
    ]
    former = [former_row(stage, row) for stage in stages for row in former_retests(stage, book)]
    return entrants + former


def _epochs_of_retests(retests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"trial_id": retest_id(row), "stage": row["stage"], "arm": row["arm"], **_UNTIMED, **epoch}
        for row in retests
        for epoch in row["epochs"]
    ]


def _without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}
