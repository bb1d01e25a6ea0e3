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
        """The space with these start values, as text: {knob: value} for all that have it, {arm.knob: value} for one.

        Raises ValueError for an arm that is not of arm_names, a knob that it lacks and a value outside its range.
        """
        knobs = {arm: self.knobs(self.arms[arm]) for arm in arm_names}
        changes: dict[str, dict[str, Any]] = {arm: {} for arm in arm_names}
        # What is said of one arm comes last: it goes before what is said of all.
        for name, text in sorted(values.items(), key=lambda item: "." in item[0]):
            arm_name, _, knob = name.rpartition(".")
            if arm_name and arm_name not in knobs:
                raise ValueError(f"{name}: the arms are {', '.join(arm_names)}")
            having = [arm for arm in ([arm_name] if arm_name else arm_names) if knob in knobs[arm]]
            if not having:
                known = sorted({known for of_arm in knobs.values() for known in of_arm})
                raise ValueError(f"{knob} is no knob of {arm_name or 'these arms'}; there are {', '.join(known)}")
            for arm in having:
                changes[arm][knob] = _parse(name, text, knobs[arm][knob])
        changed = {arm: replace(self.arms[arm], start={**self.arms[arm].start, **changes[arm]}) for arm in arm_names}
        return replace(self, arms={**self.arms, **changed})


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
