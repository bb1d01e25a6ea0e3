"""An arm and a search space: what may vary in a study, and the point every arm starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna

from search_spaces.declarations import Knob, StartTrial, Trial, fits

optuna.logging.set_verbosity(optuna.logging.WARNING)  # else every ask is a line on the console

Suggest = Callable[[Trial], dict[str, Any]]
"""Define by run: asks the trial for knobs, each by its declaration, and returns hyperparameters."""


def _no_knobs(trial: Trial) -> dict[str, Any]:
    return {}


def each_of(*knobs: Knob) -> Suggest:
    """Asks for these knobs, in their order."""
    return lambda trial: {knob.name: knob.suggest(trial) for knob in knobs}


def _always_stoppable(hparams: Mapping[str, Any], num_epochs: int) -> int:
    return 1


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A slice of the space that gets an equal share of the budget and competes with itself until the retest.

    factors: what tells the arm from others, for the tables (factor/* columns). fixed: hyperparameters of every one of
    its trials. shared: knobs that every arm has, in ranges of this arm's; suggest: its own knobs. start: values of any
    knob in the arm's first trial that were asked for; they go before the start that the knob is declared with.
    first_stoppable_epoch(hparams, num_epochs): no trial is stopped early before that epoch, nor compared at it.
    """

    name: str
    description: str
    factors: Mapping[str, str]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    shared: Suggest = _no_knobs
    suggest: Suggest = _no_knobs
    start: Mapping[str, Any] = field(default_factory=dict)
    first_stoppable_epoch: Callable[[Mapping[str, Any], int], int] = _always_stoppable


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """arms by name; suggest: the knobs that all arms share.

    alternatives: of the arms' next trials, what is otherwise than at the start, so that each is tried once.
    """

    arms: Mapping[str, Arm]
    suggest: Suggest
    alternatives: Sequence[Mapping[str, Any]] = ()

    def sample(self, arm: Arm, trial: Trial) -> dict[str, Any]:
        """The hyperparameters of a trial; an inactive knob is absent."""
        return {**arm.fixed, **self.suggest(trial), **arm.shared(trial), **arm.suggest(trial)}

    def start_point(self, arm: Arm) -> dict[str, Any]:
        """Optuna parameters of the arm's first trial, one for each knob that is active there.

        A knob without a start value, or with one that a choice before it puts out of range, starts in the middle.
        """
        return self._start(arm)[0].params

    def start_points(self, arm: Arm) -> list[dict[str, Any]]:
        """Optuna parameters of the arm's first trials: the start point, then its alternatives."""
        points = [self.start_point(arm)]
        for alternative in self.alternatives:
            point = self.start_point(replace(arm, start={**arm.start, **alternative}))
            if point not in points:  # a start that was asked for may be one of them
                points.append(point)
        return points

    def start_hparams(self, arm: Arm) -> dict[str, Any]:
        """The hyperparameters of the arm's first trial."""
        return self._start(arm)[1]

    def knobs(self, arm: Arm) -> dict[str, optuna.distributions.BaseDistribution]:
        """What may vary in the arm at its start point."""
        return self._start(arm)[0].distributions

    def own_knobs(self, arm: Arm) -> set[str]:
        """Those of them that the arm does not share with the others."""
        trial = StartTrial(arm.start)
        arm.suggest(trial)
        return set(trial.params)

    def axes(self, arm: Arm) -> dict[str, dict[str, Any]]:
        """How each knob that may vary in the arm is drawn: its scale, low and high. As JSON has it; see Knob.axis.

        That is at the start point, and where one choice after another is made otherwise: of a knob whose range follows
        a choice, low and high are those of all its ranges.
        """
        axes: dict[str, dict[str, Any]] = {}
        seen = set()
        branches: list[dict[str, Any]] = [{}]
        for chosen in branches:  # which grow here
            trial, _ = self._start(replace(arm, start={**arm.start, **chosen}))
            for name, axis in trial.axes.items():
                axes[name] = _spanning(axes.get(name, axis), axis)
                for choice in getattr(trial.distributions[name], "choices", ()):
                    if (name, choice) not in seen:
                        seen.add((name, choice))
                        branches.append({**chosen, name: choice})
        return axes

    def starting_at(self, values: Mapping[str, str], arm_names: Sequence[str]) -> SearchSpace:
        """The space with these start values, as text: {knob: value} for all that have it, {arm.knob: value} for one.

        A choice may bring other knobs and ranges, to which the other values are then held. Raises ValueError for an arm
        that is not of arm_names, a knob that none of the arms has there and a value outside its range.
        """
        texts: dict[str, dict[str, tuple[str, str]]] = {arm: {} for arm in arm_names}
        # What is said of one arm comes last: it goes before what is said of all.
        for name, text in sorted(values.items(), key=lambda item: "." in item[0]):
            arm_name, _, knob = name.rpartition(".")
            if arm_name and arm_name not in texts:
                raise ValueError(f"{name}: the arms are {', '.join(arm_names)}")
            for arm in [arm_name] if arm_name else arm_names:
                texts[arm][knob] = (name, text)
        arms = {name: self._starting_at(self.arms[name], texts[name]) for name in arm_names}
        knobs = {name: self.knobs(arm) for name, arm in arms.items()}
        for name in values:
            arm_name, _, knob = name.rpartition(".")
            if not any(knob in knobs[arm] for arm in ([arm_name] if arm_name else arm_names)):
                known = sorted({known for of_arm in knobs.values() for known in of_arm})
                raise ValueError(f"{knob} is no knob of {arm_name or 'these arms'}; there are {', '.join(known)}")
        return replace(self, arms={**self.arms, **arms})

    def _starting_at(self, arm: Arm, texts: Mapping[str, tuple[str, str]]) -> Arm:
        """The arm with those of the values, {knob: (name, text)}, whose knob is active: the choices first."""
        pending = dict(texts)
        while chosen := {name for name, knob in self.knobs(arm).items() if name in pending and _is_choice(knob)}:
            arm = self._with_start(arm, {name: pending.pop(name) for name in chosen})
        return self._with_start(arm, {name: given for name, given in pending.items() if name in self.knobs(arm)})

    def _with_start(self, arm: Arm, texts: Mapping[str, tuple[str, str]]) -> Arm:
        knobs = self.knobs(arm)
        return replace(arm, start={**arm.start, **{knob: _parse(*given, knobs[knob]) for knob, given in texts.items()}})

    def _start(self, arm: Arm) -> tuple[StartTrial, dict[str, Any]]:
        """(the arm's first trial, its hyperparameters)."""
        trial = StartTrial(arm.start)
        return trial, self.sample(arm, trial)


def _spanning(axis: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    if "low" not in axis:
        return axis
    return {**axis, "low": min(axis["low"], other["low"]), "high": max(axis["high"], other["high"])}


def _is_choice(knob: optuna.distributions.BaseDistribution) -> bool:
    return isinstance(knob, optuna.distributions.CategoricalDistribution)


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
    if not fits(value, knob):
        raise ValueError(f"{name} must be in [{knob.low}, {knob.high}], got {text}")
    return value
