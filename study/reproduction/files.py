"""runs.parquet, epochs.parquet and summary.json of a reproduction, all of them from its spec and its ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from study.core.ledger import Book, Ledger
from study.records.summary import State
from study.records.tables import RUN_EPOCHS, RUNS, write_table
from study.reproduction.recipe import Ablation, Recipe
from study.reproduction.recipes import ABLATIONS
from study.reproduction.runs import Run
from study.reproduction.spec import OWN_DATASET, ReproductionSpec
from trainables.common.files import write_json
from trainables.data.types import TuningData


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
    write_table(spec.run_dir / "runs.parquet", [_run_row(row, runs[row["arm"]]) for row in rows], RUNS)
    epochs = [{"run": row["arm"], "seed": row["seed"], **epoch} for row in rows for epoch in row["epochs"]]
    write_table(spec.run_dir / "epochs.parquet", epochs, RUN_EPOCHS)
    write_json(spec.run_dir / "summary.json", _summary(spec, runs, pools, ledger, state))


def _run_row(row: Mapping[str, Any], run: Run) -> dict[str, Any]:
    names = {"run": run.name, "recipe": run.recipe.name, "kind": run.kind, "num_epochs": len(row["epochs"])}
    return {**row["epochs"][-1], **row, **names}


def _summary(
    spec: ReproductionSpec, runs: Mapping[str, Run], pools: Mapping[str, TuningData], ledger: Ledger, state: State
) -> dict[str, Any]:
    book = ledger.book
    first, last = book.sessions[0], book.sessions[-1]
    recipes = {run.recipe.name: run.recipe for run in runs.values()}
    return {
        "name": spec.name,
        "task": spec.task,
        "state": state,
        "command": first["command"],
        "resume_command": f"python -m study.resume {spec.run_dir}",
        "seed": spec.seed,
        "seeds": spec.seeds,
        "dataset_override": None if spec.dataset == OWN_DATASET else spec.dataset,
        "recipes": [_recipe(recipe, runs) for recipe in recipes.values()],
        "runs": {name: _run(run, pools, book) for name, run in runs.items()},
        "ablations": [_ablation(ablation) for ablation in ABLATIONS if set(ablation.runs) & set(runs)],
        "tuned": last["tuned"],
        "datasets": last["datasets"],
        "sessions": [
            {name: value for name, value in session.items() if name not in {"datasets", "tuned", "trainings"}}
            for session in book.sessions
        ],
        "hardware": last["hardware"],
        "versions": last["versions"],
        "commit": last["commit"],
        "numerics": spec.numerics.model_dump() if spec.numerics else {},
        "ledger_milliseconds_per_event": ledger.milliseconds_per_event(),
    }


def _recipe(recipe: Recipe, runs: Mapping[str, Run]) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "source": recipe.source,
        "says": recipe.says,
        "dataset": recipe.dataset,
        "fault": recipe.fault,
        "choices": recipe.choices,
        "reported": [{"what": r.what, "column": r.column, "value": r.value} for r in recipe.reported],
        "reported_per_class": list(recipe.reported_per_class),
        "corrected": recipe.corrected,
        "cause": {"text": recipe.cause[0], "run": recipe.cause[1]} if recipe.cause else None,
        "runs": [name for name in recipe.runs if name in runs],
    }


def _run(run: Run, pools: Mapping[str, TuningData], book: Book) -> dict[str, Any]:
    counts = None
    if run.not_run is None:
        pool = pools[run.dataset]
        counts = run.thinned(np.bincount(pool.labels, minlength=pool.num_classes))
    return {
        "recipe": run.recipe.name,
        "kind": run.kind,
        "says": run.says,
        "task": run.training.task.name,
        "score": run.training.score,
        "scale": run.scale,
        "num_epochs": run.num_epochs,
        "full_epochs": run.training.num_epochs,
        "num_train": int(counts.sum()) if counts is not None else None,
        "class_counts": counts.tolist() if counts is not None else None,
        "imbalance": run.training.imbalance,
        "begins_with": run.training.begins_with,
        "config": dict(run.training.hparams),
        "not_run": run.not_run,
        "failures": {
            str(seed): row["message"] for (name, seed), row in book.retest_failures.items() if name == run.name
        },
    }


def _ablation(ablation: Ablation) -> dict[str, Any]:
    return {
        "name": ablation.name,
        "title": ablation.title,
        "rows": list(ablation.rows),
        "columns": list(ablation.columns),
        "cells": [list(row) for row in ablation.cells],
        "counts_images": ablation.counts_images,
    }
