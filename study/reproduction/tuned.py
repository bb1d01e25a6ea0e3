"""What tuning made of a recipe: the retests of a study's arm that asks the recipe's question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from search_spaces.jigsaw import arm_name
from study.analysis.intervals import interval_columns, t_interval
from study.analysis.tables import Tables, knob, load_tables, of_arms, of_winners
from study.core.errors import StudyError
from study.reproduction.recipe import Recipe
from study.reproduction.records import NotTunedRecord, TunedRecord
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


def tuned_beside(recipe: Recipe, studies: Sequence[tuple[Path, Tables]]) -> TunedRecord | NotTunedRecord | None:
    """The recipe's tuned arm, or why there is none; None where no study of the recipe's task was given."""
    if recipe.tuned is None:
        return None
    task, arm = recipe.tuned
    found = [_record(recipe, arm, run_dir, tables) for run_dir, tables in studies if tables.task == task]
    return next((record for record in found if isinstance(record, TunedRecord)), found[0] if found else None)


def _record(recipe: Recipe, arm: str, run_dir: Path, tables: Tables) -> TunedRecord | NotTunedRecord:
    dataset, setting = tables.summary["dataset"]["name"], tables.summary["setting"]
    if dataset != recipe.dataset:
        return NotTunedRecord(absent=f"the tuned study is of {dataset}")
    training = recipe.training
    imbalance = training.imbalance or ("step" if training.hparams.get("full_batch_share") else None)
    if imbalance and setting != (_STEP if imbalance == "step" else _LONG_TAIL):
        return NotTunedRecord(absent="the tuned study is of another imbalance")
    is_puzzle = training.task is RECIPE_PUZZLES
    if is_puzzle:
        arm = setting["pretext_arm"]
    elif tables.task == "jigsaw":
        arm = arm_name(arm, 1.0)
    column = "test_exact_accuracy" if is_puzzle else "test_accuracy"
    retests = of_winners(tables.retests)
    scores = retests[retests["arm"] == arm][column]
    if not len(scores):
        return NotTunedRecord(absent=f"the tuned study has no retest of {arm}")
    trials = of_arms(tables.trials)
    trials = trials[trials["arm"] == arm]
    models = {MODELS.get(str(name)) for name in knob(trials, "model")}
    if not is_puzzle and models != {MODELS[training.hparams["model"]]}:
        return NotTunedRecord(absent="the tuned study is of another network")
    return TunedRecord.model_validate(
        {
            "study": str(run_dir),
            "arm": arm,
            "column": column,
            "epochs": int(trials["epochs"].max()),
            "trials": len(trials),
            **interval_columns(t_interval(scores)),
        }
    )
