"""An arm and a search space: what may vary in a study, and the point every arm starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna

Suggest = Callable[[optuna.Trial], dict[str, Any]]


def _no_knobs(trial: optuna.Trial) -> dict[str, Any]:
    return {}


def _always_stoppable(hparams: Mapping[str, Any], num_epochs: int) -> int:
    return 1


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A slice of the space that gets an equal share of the budget and competes with itself until the retest.

    factors: what tells the arm from others, for the tables (factor/* columns). fixed: hyperparameters of every one of
    its trials. suggest: its own knobs. start: their values in the arm's first trial.
    first_stoppable_epoch(hparams, num_epochs): no trial is stopped early before that epoch, nor compared at it.
    """

    name: str
    description: str
    factors: Mapping[str, str]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    suggest: Suggest = _no_knobs
    start: Mapping[str, Any] = field(default_factory=dict)
    first_stoppable_epoch: Callable[[Mapping[str, Any], int], int] = _always_stoppable


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """arms by name; suggest: the knobs that all arms share; start: the default configuration they start from."""

    arms: Mapping[str, Arm]
    suggest: Suggest
    start: Mapping[str, Any]

    def sample(self, arm: Arm, trial: optuna.Trial) -> dict[str, Any]:
        """The hyperparameters of a trial; an inactive knob is absent."""
        return {**arm.fixed, **self.suggest(trial), **arm.suggest(trial)}

    def start_point(self, arm: Arm) -> dict[str, Any]:
        """Optuna parameters of the arm's first trial."""
        return {**self.start, **arm.start}
