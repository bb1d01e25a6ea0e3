"""An arm and a search space: what may vary in a study, and the point every arm starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)  # else every ask is a line on the console

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

    def knobs(self, arm: Arm) -> dict[str, optuna.distributions.BaseDistribution]:
        """What may vary in the arm at its start point."""
        probe = optuna.create_study()
        probe.enqueue_trial(self.start_point(arm))
        trial = probe.ask()
        self.sample(arm, trial)
        return dict(trial.distributions)

    def starting_at(self, values: Mapping[str, str], arm_names: Sequence[str]) -> SearchSpace:
        """The space with these start values, as text, in the arms that have the knob.

        Raises ValueError for a knob that none of arm_names has and for a value outside its range.
        """
        knobs = {name: knob for arm in arm_names for name, knob in self.knobs(self.arms[arm]).items()}
        start: dict[str, Any] = {}
        for name, text in values.items():
            if name not in knobs:
                raise ValueError(f"{name} is no knob of these arms; they have {', '.join(sorted(knobs))}")
            start[name] = _parse(name, text, knobs[name])
        return replace(
            self,
            start={name: start.get(name, value) for name, value in self.start.items()},
            arms={
                arm.name: replace(arm, start={name: start.get(name, value) for name, value in arm.start.items()})
                for arm in self.arms.values()
            },
        )


def _parse(name: str, text: str, knob: optuna.distributions.BaseDistribution) -> Any:
    if isinstance(knob, optuna.distributions.CategoricalDistribution):
        by_text = {str(choice): choice for choice in knob.choices}
        if text not in by_text:
            raise ValueError(f"{name} must be one of {', '.join(by_text)}, got {text!r}")
        return by_text[text]
    assert isinstance(knob, optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution)
    kind = int if isinstance(knob, optuna.distributions.IntDistribution) else float
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {text!r}") from None
    if not knob.low <= value <= knob.high:
        raise ValueError(f"{name} must be in [{knob.low}, {knob.high}], got {text}")
    return value
