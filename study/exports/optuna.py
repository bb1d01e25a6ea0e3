"""A run's trials as an Optuna storage, which optuna-dashboard and Optuna's own functions open."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from study.analysis import results
from study.analysis.distributions import distributions, plain
from study.analysis.knobs import recorded_axes, varied_knobs
from study.analysis.tables import Tables, by_search, python_value
from study.core.search import Search
from study.core.stage import TUNE, retests_of
from study.core.text import plural
from study.exports.places import made_whole

_STATES = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
_ATTRIBUTES = ("trial_id", "status", "epochs", "images", "seed", "message", "train_seconds")


def write_optuna(tables: Tables, path: Path) -> str:
    """Write an SQLite storage with a study for each search of each arm, and say how to open it.

    A stopped trial is PRUNED, a failed one FAIL, one that was running or waits to be resumed RUNNING. Parameters are
    the knobs that the arm searched; what else a trial has is in its user attributes. Raises StudyError if there is
    something at the path.
    """
    with made_whole(path) as part, _quiet():
        storage = optuna.storages.RDBStorage(f"sqlite:///{part}")
        searches = by_search(tables.trials)
        for search, trials in searches:
            _write_search(tables, storage, search, trials)
        storage.engine.dispose()
    studies = "study" if len(searches) == 1 else "studies"
    counted = f"{plural(len(tables.trials), 'trial')} in {len(searches):,} Optuna {studies}"
    return f"{path}: {counted}; open it with optuna-dashboard sqlite:///{path}"


def _write_search(tables: Tables, storage: optuna.storages.RDBStorage, search: Search, trials: pd.DataFrame) -> None:
    stage, arm = str(trials["stage"].iloc[0]), str(trials["arm"].iloc[0])
    recorded = tables.stage(stage)
    name = "/".join([tables.summary["name"], *([] if stage == TUNE else [stage]), arm, *search.words])
    is_max = recorded.get("mode", "max") == "max"
    direction = StudyDirection.MAXIMIZE if is_max else StudyDirection.MINIMIZE
    study = optuna.create_study(study_name=name, storage=storage, direction=direction)
    objective = str(recorded.get("objective", tables.objective))
    study.set_metric_names([objective])
    for key, value in _facts(tables, search, trials).items():
        study.set_user_attr(key, value)
    study.add_trials(_trials(tables, trials.sort_values("number").reset_index(drop=True), objective))


def _facts(tables: Tables, search: Search, trials: pd.DataFrame) -> dict[str, Any]:
    """What the search found: its winner, and what that scored on each seed of the retest."""
    stage, arm = str(trials["stage"].iloc[0]), str(trials["arm"].iloc[0])
    best = list(results.best_completed(trials)["trial_id"])
    retests = tables.retests[(tables.retests["stage"] == retests_of(stage)) & tables.retests["trial_id"].isin(best)]
    facts: dict[str, Any] = {
        "task": tables.task,
        "stage": stage,
        "arm": arm,
        "dataset": tables.summary["dataset"]["name"],
        **search.recorded,
    }
    if best:
        facts["winner"] = str(best[0])
    if stage == TUNE and len(retests):
        scores = results.seed_scores(retests, arm, tables.score)
        facts[f"retest_{tables.score}"] = {str(seed): float(score) for seed, score in scores.items()}
    return facts


def _trials(tables: Tables, trials: pd.DataFrame, objective: str) -> Iterator[FrozenTrial]:
    arm = str(trials["arm"].iloc[0])
    searched = {*varied_knobs(trials), *recorded_axes(tables).get(arm, {})}
    names = [name.removeprefix("config/") for name in map(str, trials) if name.startswith("config/")]
    present = [name for name in names if trials[f"config/{name}"].notna().any()]
    columns = {name: trials[f"config/{name}"] for name in present if name in searched}
    fixed = [name for name in present if name not in searched]
    is_present = {name: values.notna().to_numpy() for name, values in columns.items()}
    ranges = distributions(tables, trials, columns)
    epochs = dict(list(tables.epochs[tables.epochs["stage"] == trials["stage"].iloc[0]].groupby("trial_id")))
    for row, trial in enumerate(trials.to_dict("records")):
        having = [name for name, has in is_present.items() if has[row]]
        own = epochs.get(trial["trial_id"], tables.epochs.iloc[:0]).sort_values("epoch")
        state = _STATES.get(str(trial["status"]), TrialState.RUNNING)
        has_value = state in (TrialState.COMPLETE, TrialState.PRUNED) and pd.notna(trial["objective"])
        created = optuna.create_trial(
            state=state if has_value or state is not TrialState.COMPLETE else TrialState.FAIL,
            value=float(trial["objective"]) if has_value else None,
            params={name: _param(columns[name].iat[row], ranges[name][row]) for name in having},
            distributions={name: ranges[name][row] for name in having},
            intermediate_values={
                int(epoch): float(value) for epoch, value in zip(own["epoch"], own[objective], strict=True)
            },
            user_attrs={
                **{name: _json(trial[name]) for name in _ATTRIBUTES if pd.notna(trial[name])},
                **{name: _json(trial[f"config/{name}"]) for name in fixed if pd.notna(trial[f"config/{name}"])},
            },
        )
        yield _timed(created, own)


def _param(value: Any, distribution: optuna.distributions.BaseDistribution) -> Any:
    return int(value) if isinstance(distribution, IntDistribution) else plain(value)


def _json(value: Any) -> Any:
    """The value as JSON has it."""
    item = python_value(value)
    return item if isinstance(item, bool | int | float | str) else str(item)


def _timed(trial: FrozenTrial, epochs: pd.DataFrame) -> FrozenTrial:
    """The trial with the times at which it trained, where the run recorded them."""
    times = epochs["time"].dropna()
    if len(times):
        first = float(times.iloc[0] - epochs["train_seconds"].iloc[0] - epochs["eval_seconds"].iloc[0])
        trial.datetime_start = datetime.fromtimestamp(first)
        if trial.state.is_finished():
            trial.datetime_complete = datetime.fromtimestamp(float(times.iloc[-1]))
    return trial


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without a line on stderr for each study, and without the warning that names of metrics are experimental."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
