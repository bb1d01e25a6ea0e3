"""runs.parquet, epochs.parquet and summary.json of a reproduction, all of them from its spec and its ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from study.core.checksums import write_checked
from study.core.ledger import Book, Ledger
from study.core.run_dir import resume_command
from study.records.summary import State
from study.records.tables import RUN_EPOCHS, RUNS, table_bytes
from study.reproduction.recipe import Recipe
from study.reproduction.recipes import ABLATIONS, CLAIMS, CURVES
from study.reproduction.records import RecipeRecord, ReproductionSummary, ReusedRecord, RunRecord
from study.reproduction.runs import Run
from study.reproduction.spec import OWN_DATASET, ReproductionSpec
from trainables.common.files import json_bytes
from trainables.data.types import TuningData

TAKEN_FROM = "taken_from"
"""In the event of a run that was taken over: where it was trained, as a ReusedRecord without its runs."""


def write_reproduction(
    *,
    spec: ReproductionSpec,
    runs: Mapping[str, Run],
    pools: Mapping[str, TuningData],
    ledger: Ledger,
    state: State,
) -> None:
    """runs: by name, those that cannot run too; pools: the data sets that were found."""
    order = list(runs)
    rows = sorted(ledger.book.retests.values(), key=lambda row: (order.index(row["arm"]), row["seed"]))
    epochs = [{"run": row["arm"], "seed": row["seed"], **epoch} for row in rows for epoch in row["epochs"]]
    contents = {
        "runs.parquet": table_bytes([_run_row(row, runs[row["arm"]]) for row in rows], RUNS),
        "epochs.parquet": table_bytes(epochs, RUN_EPOCHS),
        # exclude_unset: what an earlier session did not record is left out.
        "summary.json": json_bytes(_summary(spec, runs, pools, ledger, state).model_dump(exclude_unset=True)),
    }
    write_checked(spec.run_dir, contents)


def _run_row(row: Mapping[str, Any], run: Run) -> dict[str, Any]:
    names = {"run": run.name, "recipe": run.recipe.name, "kind": run.kind, "num_epochs": len(row["epochs"])}
    return {**row["epochs"][-1], **row, **names}


def _summary(
    spec: ReproductionSpec, runs: Mapping[str, Run], pools: Mapping[str, TuningData], ledger: Ledger, state: State
) -> ReproductionSummary:
    book = ledger.book
    first, last = book.sessions[0], book.sessions[-1]
    recipes = {run.recipe.name: run.recipe for run in runs.values()}
    return ReproductionSummary(
        name=spec.run_dir.name,
        task=spec.task,
        state=state,
        command=first["command"],
        resume_command=resume_command(spec.run_dir),
        seed=spec.seed,
        seeds=spec.seeds,
        dataset_override=None if spec.dataset == OWN_DATASET else spec.dataset,
        recipes=tuple(_recipe_record(recipe, runs) for recipe in recipes.values()),
        runs={name: _with_failures(run_record(run, pools), name, book) for name, run in runs.items()},
        ablations=tuple(ablation for ablation in ABLATIONS if set(ablation.runs) & set(runs)),
        curves=tuple(curves for curves in CURVES if {run for _, run in curves.runs} & set(runs)),
        claims=tuple(claim for claim in CLAIMS if {run for _, *pair in claim.pairs for run in pair} & set(runs)),
        tuned=last["tuned"],
        **({"reused": reused} if (reused := _reused(book)) else {}),
        datasets=last["datasets"],
        sessions=tuple(
            {name: value for name, value in session.items() if name not in {"datasets", "tuned", "trainings"}}
            for session in book.sessions
        ),
        hardware=last["hardware"],
        versions=last["versions"],
        commit=last["commit"],
        numerics=spec.numerics.model_dump() if spec.numerics else {},
        ledger_milliseconds_per_event=ledger.milliseconds_per_event(),
    )


def _recipe_record(recipe: Recipe, runs: Mapping[str, Run]) -> RecipeRecord:
    return RecipeRecord(
        name=recipe.name,
        source=recipe.source,
        says=recipe.says,
        dataset=recipe.dataset,
        fault=recipe.fault,
        choices=recipe.choices,
        reported=recipe.reported,
        reported_per_class=recipe.reported_per_class,
        corrected=recipe.corrected,
        cause=recipe.cause,
        runs=tuple(name for name in recipe.runs if name in runs),
    )


def run_record(run: Run, pools: Mapping[str, TuningData]) -> RunRecord:
    """What is planned of a run; that it failed is not known yet."""
    counts = None
    if run.not_run is None:
        pool = pools[run.dataset]
        counts = run.thinned(np.bincount(pool.labels, minlength=pool.num_classes))
    return RunRecord(
        recipe=run.recipe.name,
        kind=run.kind,
        says=run.says,
        task=run.training.task.name,
        score=run.training.score,
        scale=run.scale,
        num_epochs=run.num_epochs,
        full_epochs=run.training.num_epochs,
        num_train=None if counts is None else int(counts.sum()),
        class_counts=None if counts is None else tuple(counts.tolist()),
        imbalance=run.training.imbalance,
        begins_with=run.training.begins_with,
        config=dict(run.training.hparams),
        not_run=run.not_run,
        failures={},
    )


def _with_failures(record: RunRecord, run: str, book: Book) -> RunRecord:
    failures = {str(seed): row["message"] for (name, seed), row in book.retest_failures.items() if name == run}
    return record.model_copy(update={"failures": failures})


def _reused(book: Book) -> tuple[ReusedRecord, ...]:
    """What was taken over, a record a place where it was trained."""
    runs: dict[str, list[str]] = {}
    for row in book.retests.values():
        if TAKEN_FROM in row:
            of_origin = runs.setdefault(json.dumps(row[TAKEN_FROM], sort_keys=True), [])
            of_origin += [row["arm"]] * (row["arm"] not in of_origin)
    return tuple(ReusedRecord(**json.loads(origin), runs=tuple(names)) for origin, names in runs.items())
