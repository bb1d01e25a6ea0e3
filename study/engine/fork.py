"""Forking: which trials of another study an arm begins with, as observations or as the first to be tried."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.declarations import StartTrial
from study.analysis.tables import load_summary
from study.core.errors import StudyError
from study.core.fork import Fork, Inherited, OldTrial
from study.core.ledger import Ledger, TrialRecord
from study.core.run_dir import settings_of
from study.core.stage import TUNE, Stage
from trainables.data.types import TuningData

LEARN_FROM_OTHERS = frozenset({"tpe", "gp"})
"""The searchers whose proposals follow from trials that they did not propose."""


@dataclass(frozen=True, kw_only=True)
class _Old:
    """The main stage of the study that is forked. summary: its summary.json, tuned: the stage's entry there."""

    summary: Mapping[str, Any]
    tuned: Mapping[str, Any]
    trials: Sequence[TrialRecord]
    num_retests: int

    def best_first(self, trials: Sequence[OldTrial]) -> list[OldTrial]:
        sign = -1 if self.tuned["mode"] == "max" else 1
        return sorted(trials, key=lambda trial: sign * trial.values[-1])


def forked(run_dir: Path, task: str, stage: Stage, data: TuningData) -> Fork:
    """What each arm of the task's main stage, with these data, begins with of the run's. Raises StudyError.

    A trial is an observation where this study would have made the same of it: the same arm with the same
    hyperparameters, epochs and metric on the same data. Else the best completed ones are tried first if all that they
    have in common with the arm's knobs lies in the ranges, as many as a sampler would draw at random before it models.
    An arm that the run has, too, begins with its own trials, another one with those of all.
    """
    old = _read(run_dir)
    is_same_data = old.summary["dataset"].get("fingerprint") == data.fingerprint
    arms = {}
    for arm in stage.arms:
        own = [trial for trial in old.trials if trial.arm == arm] or old.trials
        arms[arm] = _inherited(old, own, stage, arm, _why_not(old, task, stage, arm, is_same_data=is_same_data))
    return Fork(run=str(run_dir), num_retests=old.num_retests if is_same_data else 0, arms=arms)


def _read(run_dir: Path) -> _Old:
    settings_of(run_dir)  # raises StudyError if it is no run directory
    try:
        summary = load_summary(run_dir)
    except ValueError as error:
        raise StudyError(str(error)) from None
    with Ledger(run_dir) as ledger:
        trials = [trial for trial in ledger.book.trials.values() if trial.arm in summary["arms"]]
        num_retests = len(ledger.book.retests)
    tuned = next(stage for stage in summary["stages"] if stage["name"] == TUNE)
    return _Old(summary=summary, tuned=tuned, trials=trials, num_retests=num_retests)


def _why_not(old: _Old, task: str, stage: Stage, arm: str, *, is_same_data: bool) -> str | None:
    """Why no trial can be an observation of the arm; None if some can."""
    epochs = old.tuned["epochs_of"].get(arm)
    reasons = {
        f"the searcher {stage.searcher}, which learns from its own alone": stage.searcher not in LEARN_FROM_OTHERS,
        "a search for more than the score": stage.objective != "score",
        "another task": old.summary["task"] != task,
        "other data": not is_same_data,
        "another metric": old.tuned["objective"] != stage.task.metric,
        "an arm that the other study lacks": epochs is None,
        f"another number of epochs ({epochs}, here {stage.num_epochs(arm)})": epochs != stage.num_epochs(arm),
        "the weights of another stage that they began with": arm in stage.warm_arms,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _inherited(old: _Old, trials: Sequence[TrialRecord], stage: Stage, name: str, why_not: str | None) -> Inherited:
    arm = stage.space.arms[name]
    held = {override.knob for override in arm.overrides if override.is_fixed}
    observed: list[OldTrial] = []
    candidates: list[OldTrial] = []
    left_out: Counter[str] = Counter()
    for trial in trials:
        values = tuple(float(epoch[old.tuned["objective"]]) for epoch in trial.epochs)
        asked = StartTrial(trial.hparams)
        hparams = stage.space.sample(arm, asked)
        outside = [*asked.misfits, *(knob for knob in held if trial.hparams.get(knob) not in {None, hparams.get(knob)})]
        if trial.status not in {"completed", "stopped"} or not values or not math.isfinite(values[-1]):
            left_out["failed or not finished"] += 1
        elif outside:
            left_out[f"{outside[0]} outside its range"] += 1
        elif not asked.params.keys() & trial.hparams.keys():
            left_out["no knob in common"] += 1
        else:
            found = OldTrial(trial_id=trial.trial_id, params=asked.params, status=trial.status, values=values)
            if why_not is None and hparams == trial.hparams:
                observed.append(found)
            elif trial.status == "completed":
                candidates.append(found)
            else:
                left_out["stopped early"] += 1
    starts = stage.space.start_points(arm)
    room = 0 if stage.searcher == "grid" else min(stage.num_startup - 1, stage.trials_per_arm - len(starts))
    tried_first: list[OldTrial] = []
    for candidate in old.best_first(candidates):
        if candidate.params in [*starts, *(trial.params for trial in tried_first)]:
            left_out["the configuration of another one"] += 1
        elif len(tried_first) < room:
            tried_first.append(candidate)
        else:
            left_out["not among the best"] += 1
    return Inherited(observed=tuple(observed), why_not=why_not, tried_first=tuple(tried_first), left_out=dict(left_out))
