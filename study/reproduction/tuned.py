"""What tuning made of a recipe: the retests of a study's arm that asks the recipe's question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search_spaces.jigsaw import arm_name
from study.analysis import intervals
from study.analysis.tables import Tables, knob, load_tables
from study.core.errors import StudyError
from study.reproduction.recipe import Recipe
from trainables.models import MODELS
from trainables.tasks.recipe import RECIPE_PUZZLES

# Of a study of class imbalance, what must be as in the recipes with a step: ratio 10, the first classes rare.
_STEP = {"kind": "step", "ratio": 10.0, "classes": "first"}
_LONG_TAIL = {"kind": "exponential", "ratio": 100.0, "classes": "last"}


def load_studies(run_dirs: Sequence[Path]) -> list[tuple[Path, Tables]]:
    """Raises StudyError where one is not a study's run directory."""
    found = []
    for run_dir in run_dirs:
        try:
            found.append((run_dir, load_tables(run_dir)))
        except ValueError as error:
            raise StudyError(f"--tuned: {error}") from None
    return found


def tuned_beside(recipe: Recipe, studies: Sequence[tuple[Path, Tables]]) -> dict[str, Any] | None:
    """study, arm, column, mean, low, high and n of the recipe's tuned arm, or absent: why there is none.

    None where no study of the recipe's task was given.
    """
    if recipe.tuned is None:
        return None
    task, arm = recipe.tuned
    reasons = []
    for run_dir, tables in studies:
        if tables.task != task:
            continue
        found = _scores(recipe, arm, tables)
        if not isinstance(found, str):
            return {"study": str(run_dir), **found}
        reasons.append(found)
    return {"absent": reasons[0]} if reasons else None


def _scores(recipe: Recipe, arm: str, tables: Tables) -> dict[str, Any] | str:
    dataset = str(tables.summary["dataset"]["name"])
    if dataset != recipe.dataset:
        return f"the tuned study is of {dataset}"
    imbalance = recipe.training.imbalance or ("step" if recipe.training.hparams.get("full_batch_share") else None)
    if imbalance and tables.summary["setting"] != (_STEP if imbalance == "step" else _LONG_TAIL):
        return "the tuned study is of another imbalance"
    model = MODELS[str(recipe.training.hparams.get("model", "small_cnn"))]
    column = "test_accuracy"
    if recipe.training.task is RECIPE_PUZZLES:
        arm, column = str(tables.summary["setting"]["pretext_arm"]), "test_exact_accuracy"
    elif tables.task == "jigsaw":
        arm = arm_name(arm, 1.0)
    scores = tables.retests[tables.retests["arm"] == arm][column]
    if not len(scores):
        return f"the tuned study has no retest of {arm}"
    trials = tables.trials[tables.trials["arm"] == arm]
    models = {MODELS.get(str(name)) for name in knob(trials, "model")}
    if recipe.training.task is not RECIPE_PUZZLES and models != {model}:
        return "the tuned study is of another network"
    return {
        "arm": arm,
        "column": column,
        "epochs": int(trials["epochs"].max()),
        "trials": len(trials),
        **intervals.interval_columns(intervals.t_interval(scores)),
    }
