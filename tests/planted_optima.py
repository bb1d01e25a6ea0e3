"""Searches whose best configuration is known: an optimum planted near an end of every range."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from optuna.distributions import CategoricalDistribution
from study_cases import make_stage

from search_spaces.declarations import StartTrial
from search_spaces.space import Arm, SearchSpace
from study.engine.searcher import ArmProposer

ENDS = (0.1, 0.9)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """end: the place of every numeric knob's optimum in its range, 0-1. optimizer: the best one; None: any."""

    end: float
    optimizer: str | None = None


def plans(space: SearchSpace, arm: Arm) -> Iterator[Plan]:
    """Either end, once for each optimiser that an arm chooses among."""
    optimizers = {branch.params.get("optimizer") for branch in space.branches(arm)}
    for end in ENDS:
        for optimizer in sorted(optimizers, key=str):
            yield Plan(end=end, optimizer=optimizer)


def propose(
    space: SearchSpace, arm: Arm, plan: Plan, *, sampler: str, num_trials: int, seed: int = 0
) -> list[dict[str, Any]]:
    """Run an arm's trials, scored by their distance to the optimum.

    Returns a row for each trial of the plan's optimiser: its number and optimizer, and each numeric knob's place in
    its range.
    """
    task = SimpleNamespace(mode="max", metric="score")
    stage = make_stage(arms=(arm.name,), task=task, space=space, trials_per_arm=num_trials, searcher=sampler, seed=seed)
    proposer = ArmProposer(stage=stage, arm=arm)
    rows = []
    for number in range(num_trials):
        params, _ = proposer.ask(number, str(number))
        found = places(space, arm, params)
        score = -sum((place - plan.end) ** 2 for place in found.values())
        if plan.optimizer is None or params["optimizer"] == plan.optimizer:
            rows.append({"number": number, "optimizer": params.get("optimizer"), **found})
        else:
            score -= 1
        record: Any = SimpleNamespace(trial_id=str(number), epochs=[], status="completed", value=lambda _, v=score: v)
        proposer.tell(record)
    return rows


def places(space: SearchSpace, arm: Arm, params: dict[str, Any]) -> dict[str, float]:
    """Where in its declared range each numeric knob of a trial lies, 0-1. Raises ValueError for one outside."""
    trial = StartTrial(params)
    space.sample(arm, trial)
    if trial.params != params:  # StartTrial replaces what lies outside
        raise ValueError(f"outside of its range: {params}, in it {trial.params}")
    found = {}
    for name, declared in trial.distributions.items():
        if not isinstance(declared, CategoricalDistribution):
            value, low, high = params[name], declared.low, declared.high
            is_log = declared.log
            found[name] = math.log(value / low) / math.log(high / low) if is_log else (value - low) / (high - low)
    return found
