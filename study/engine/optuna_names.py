"""The names that knobs have inside Optuna, where a name has one range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.branches import decisive_choice
from search_spaces.declarations import StartTrial


class OptunaNames:
    """A knob's name inside Optuna: its own, or `learning_rate[adam]` if its range hangs on a choice.

    Optuna's samplers keep the first range that they saw of a name, and model the values of all ranges as one. So a
    knob with several ranges gets a name for each value of the first choice that tells them apart, and a range that no
    single choice tells apart is part of the name. branches: trials in which every choice is made at least once.
    """

    def __init__(self, branches: Sequence[StartTrial]) -> None:
        self.distributions: dict[str, BaseDistribution] = {}  # by inner name, of all branches
        self._choices = {name: choice for name in _knobs(branches) if (choice := decisive_choice(name, branches))}
        for branch in branches:
            for name, distribution in branch.distributions.items():
                self.distributions[self.inner(name, distribution, branch.params)] = distribution

    def inner(self, name: str, distribution: BaseDistribution, params: Mapping[str, Any]) -> str:
        """The name inside Optuna. params: the trial's knobs so far, or all of them, by their own names."""
        choice = self._choices.get(name)
        inner = name if choice is None else f"{name}[{params[choice]}]"
        if self.distributions.get(inner, distribution) == distribution:
            return inner
        return f"{inner}[{_range_text(distribution)}]"

    def inner_params(self, trial: StartTrial) -> dict[str, Any]:
        return {
            self.inner(name, distribution, trial.params): trial.params[name]
            for name, distribution in trial.distributions.items()
        }


class NamedTrial:
    """An optuna.Trial, suggesting under inner names. params: the knobs suggested so far, by their own names."""

    def __init__(self, trial: optuna.Trial, names: OptunaNames) -> None:
        self._trial, self._names = trial, names
        self.number = trial.number
        self.params: dict[str, Any] = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self._suggest(name, FloatDistribution(low, high, log=log)))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return int(self._suggest(name, IntDistribution(low, high, log=log)))

    def suggest_categorical(self, name: str, choices: Sequence[CategoricalChoiceType]) -> Any:
        return self._suggest(name, CategoricalDistribution(choices))

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        inner = self._names.inner(name, distribution, self.params)
        self.params[name] = suggest(self._trial, inner, distribution)
        return self.params[name]


def suggest(trial: optuna.Trial, inner: str, distribution: BaseDistribution) -> Any:
    """Suggest a value from a distribution, under a name inside Optuna."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(inner, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(inner, distribution.low, distribution.high, log=distribution.log)
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(inner, distribution.low, distribution.high, log=distribution.log)


def _knobs(branches: Sequence[StartTrial]) -> list[str]:
    return list(dict.fromkeys(name for branch in branches for name in branch.params))


def _range_text(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(map(str, distribution.choices))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return f"{distribution.low:g} to {distribution.high:g}"
