"""Arm and SearchSpace: what varies in a study, and the point from which every arm starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna

from search_spaces.branches import decisive_choice
from search_spaces.declarations import Knob, StartTrial, Trial, extreme_values, fits
from search_spaces.overrides import OverriddenTrial, Override, parsed, require_starts, text_of
from trainables.common.nearest import nearest

optuna.logging.set_verbosity(optuna.logging.WARNING)  # else every ask prints a line on the console

Suggest = Callable[[Trial], dict[str, Any]]
"""A define-by-run function: suggests declared knobs in the trial and returns hyperparameters."""


def _no_knobs(trial: Trial) -> dict[str, Any]:
    return {}


def each_of(*knobs: Knob) -> Suggest:
    """A Suggest of the given knobs, in order."""
    return lambda trial: {knob.name: knob.suggest(trial) for knob in knobs}


def _always_stoppable(hparams: Mapping[str, Any], num_epochs: int) -> int:
    return 1


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A slice of the space that gets an equal share of the budget and competes with itself until the retest.

    factors: what tells the arm from others (the tables' factor/* columns). fixed: hyperparameters of all its trials.
    shared: knobs that every arm has, with this arm's ranges; suggest: its own knobs. start: values for knobs in the
    arm's first trial, which take precedence over the declared starts. first_stoppable_epoch(hparams, num_epochs): a
    trial is neither stopped nor compared with others before that epoch. overrides: what a user set in place of the
    ranges that the space declares.
    """

    name: str
    description: str
    factors: Mapping[str, str]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    shared: Suggest = _no_knobs
    suggest: Suggest = _no_knobs
    start: Mapping[str, Any] = field(default_factory=dict)
    first_stoppable_epoch: Callable[[Mapping[str, Any], int], int] = _always_stoppable
    overrides: tuple[Override, ...] = ()


def by_name(*arms: Arm) -> dict[str, Arm]:
    """A table of arms, in this order."""
    return {arm.name: arm for arm in arms}


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The space of a stage. arms: by name; suggest: the knobs that all arms share, with the same ranges.

    alternatives: values that replace the start's in each arm's next trials, one trial for each alternative.
    """

    arms: Mapping[str, Arm]
    suggest: Suggest
    alternatives: Sequence[Mapping[str, Any]] = ()

    def sample(self, arm: Arm, trial: Trial) -> dict[str, Any]:
        """Suggest the hyperparameters of a trial; inactive knobs are absent."""
        return self._sampled(arm, OverriddenTrial(trial, arm.overrides))

    def start_point(self, arm: Arm) -> dict[str, Any]:
        """The params of the arm's first trial, one for each knob that is active there.

        A knob without a start value, or whose start value an earlier choice puts out of range, starts in the middle.
        """
        return self._start(arm)[0].params

    def start_points(self, arm: Arm) -> list[dict[str, Any]]:
        """The params of the arm's first trials: the start point, then its alternatives."""
        points = [self.start_point(arm)]
        for alternative in self.alternatives:
            point = self.start_point(replace(arm, start={**arm.start, **alternative}))
            if point not in points:  # a start given by the user may be one of the alternatives
                points.append(point)
        return points

    def start_hparams(self, arm: Arm) -> dict[str, Any]:
        """The hyperparameters of the arm's first trial."""
        return self._start(arm)[1]

    def knobs(self, arm: Arm) -> dict[str, optuna.distributions.BaseDistribution]:
        """The knobs that are active at the arm's start point, with their distributions."""
        return self._start(arm)[0].distributions

    def own_knobs(self, arm: Arm) -> set[str]:
        """The knobs active at the arm's start point that other arms do not share."""
        trial = StartTrial(arm.start)
        arm.suggest(OverriddenTrial(trial, arm.overrides))
        return set(trial.params)

    def axes(self, arm: Arm) -> dict[str, dict[str, Any]]:
        """The axis of each knob that may vary in the arm, as JSON; see Knob.axis.

        If a knob's range depends on a choice, low and high span all its ranges, and choices are those of all.
        """
        axes: dict[str, dict[str, Any]] = {}
        for trial in self.branches(arm):
            for name, axis in trial.axes.items():
                axes[name] = _spanning(axes.get(name, axis), axis)
        return axes

    def ranges_by_choice(self, arm: Arm) -> dict[str, dict[str, Any]]:
        """The knobs whose range hangs on a choice: {knob: {"choice": "optimizer", "ranges": {"adam": [low, high]}}}."""
        branches = self.branches(arm)
        found: dict[str, dict[str, Any]] = {}
        for name in dict.fromkeys(name for branch in branches for name in branch.params):
            if choice := decisive_choice(name, branches):
                ranges = {
                    str(branch.params[choice]): [branch.axes[name]["low"], branch.axes[name]["high"]]
                    for branch in branches
                    if "low" in branch.axes.get(name, {})
                }
                found[name] = {"choice": choice, "ranges": ranges}
        return found

    def branches(self, arm: Arm) -> list[StartTrial]:
        """The arm's start point, and others with another choice made, until each choice of each knob was made once."""
        trials: list[StartTrial] = []
        seen = set()
        pending: list[dict[str, Any]] = [{}]
        for chosen in pending:  # which grows in this loop
            trial, _ = self._start(replace(arm, start={**arm.start, **chosen}))
            trials.append(trial)
            for name, distribution in trial.distributions.items():
                for choice in getattr(distribution, "choices", ()):
                    if (name, choice) not in seen:
                        seen.add((name, choice))
                        pending.append({**chosen, name: choice})
        return trials

    def overridden(self, entries: Mapping[str, str], arm_names: Sequence[str]) -> SearchSpace:
        """The space with these ranges: {knob: range} for all arms that vary the knob, {arm.knob: range} for one.

        {knob@choice: range} holds in trials in which that was chosen before the knob is drawn; without a choice, a
        range takes the place of all that hang on one. A hyperparameter that the suggest functions hold still can be
        varied too: in one arm, or in all if none varies it by itself. Raises ValueError for an entry that is malformed,
        upside down or of another type, and for an arm, knob or choice that is not there.
        """
        applying: dict[str, list[Override]] = {name: [] for name in arm_names}
        varied = {
            name: {knob for trial in self.branches(self.arms[name]) for knob in trial.params} for name in arm_names
        }
        for override in parsed(entries):
            for name in self._arms_of(override, varied):
                applying[name].append(override)
        arms = {name: replace(self.arms[name], overrides=tuple(given)) for name, given in applying.items()}
        space = replace(self, arms={**self.arms, **arms})
        space._require_use(arms.values())
        return space

    def _arms_of(self, override: Override, varied: Mapping[str, set[str]]) -> list[str]:
        """The arms that the override is about. varied: arm -> its knobs. Raises ValueError if there is none."""
        if override.arm is not None and override.arm not in varied:
            raise ValueError(f"{override}: the arms are {', '.join(varied)}{nearest(override.arm, varied)}")
        meant = [override.arm] if override.arm is not None else list(varied)
        if varying := [name for name in meant if override.knob in varied[name]]:
            return varying
        held = {name: self.start_hparams(self.arms[name]).keys() - self.arms[name].fixed.keys() for name in meant}
        if holding := [name for name in meant if override.knob in held[name]]:
            return holding
        if any(override.knob in self.arms[name].fixed for name in meant):
            raise ValueError(f"{override}: {override.knob} belongs to what an arm is, and is not searched")
        known = sorted(set().union(*(varied[name] | held[name] for name in meant)))
        raise ValueError(
            f"{override}: {override.knob} is no knob of {override.arm or 'these arms'}; there are {', '.join(known)}"
            f"{nearest(override.knob, known)}"
        )

    def _require_use(self, arms: Iterable[Arm]) -> None:
        """Take every branch. Raises ValueError for an override that does not fit, or whose choice none makes."""
        arms = tuple(arms)
        used: set[Override] = set()
        for arm in arms:
            for branch in self.branches(arm):
                trial = OverriddenTrial(StartTrial(branch.params), arm.overrides)
                self._sampled(arm, trial)
                used |= trial.used
        for override in (override for arm in arms for override in arm.overrides):
            if override.choice is not None and override not in used:
                raise ValueError(
                    f"{override} would never hold: {override.choice!r} is not chosen before {override.knob} is drawn"
                )

    def require_starts(self, arm: Arm) -> None:
        """Raise ValueError if an override leaves out a value at which the arm starts."""
        require_starts(arm.overrides, arm.name, self._start(arm)[0])

    def extremes(self, arm: Arm) -> Iterator[tuple[Override, Any, dict[str, Any]]]:
        """(override, value, hyperparameters) for every choice and every end of a range that the overrides allow."""
        for branch in self.branches(arm):
            for override in arm.overrides:
                distribution = branch.distributions.get(override.knob)
                values = [None] if distribution is None else extreme_values(distribution)
                for value in values:
                    given = branch.params if value is None else {**branch.params, override.knob: value}
                    yield override, value, self.sample(arm, StartTrial(given))

    def starting_at(self, values: Mapping[str, str], arm_names: Sequence[str]) -> SearchSpace:
        """The space with these start values, given as text: {knob: value} for all arms, {arm.knob: value} for one.

        A choice among them may activate other knobs and ranges; the other values are checked against these. Raises
        ValueError for an arm not in arm_names, a knob that no arm has at its start, and a value out of range.
        """
        texts: dict[str, dict[str, tuple[str, str]]] = {arm: {} for arm in arm_names}
        # Values for a single arm come last, so that they override those for all arms.
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
                said = f"{knob} is no knob of {arm_name or 'these arms'}; there are {', '.join(known)}"
                raise ValueError(self._said_if_fixed(knob) or said)
        return replace(self, arms={**self.arms, **arms})

    def _said_if_fixed(self, knob: str) -> str | None:
        overrides = (override for arm in self.arms.values() for override in arm.overrides)
        fixing = next((override for override in overrides if override.knob == knob and override.is_fixed), None)
        return None if fixing is None else f"{knob} has no start, for {fixing} fixes it"

    def _starting_at(self, arm: Arm, texts: Mapping[str, tuple[str, str]]) -> Arm:
        """The arm started at those of the values, {knob: (name, text)}, whose knob is active; choices are set first."""
        pending = dict(texts)
        while chosen := {
            name for name, distribution in self.knobs(arm).items() if name in pending and _is_choice(distribution)
        }:
            arm = self._with_start(arm, {name: pending.pop(name) for name in chosen})
        return self._with_start(arm, {name: given for name, given in pending.items() if name in self.knobs(arm)})

    def _with_start(self, arm: Arm, texts: Mapping[str, tuple[str, str]]) -> Arm:
        knobs = self.knobs(arm)
        return replace(arm, start={**arm.start, **{knob: _parse(*given, knobs[knob]) for knob, given in texts.items()}})

    def _sampled(self, arm: Arm, trial: OverriddenTrial) -> dict[str, Any]:
        suggested = {**self.suggest(trial), **arm.shared(trial), **arm.suggest(trial)}
        return {**arm.fixed, **suggested, **trial.opened(suggested)}

    def _start(self, arm: Arm) -> tuple[StartTrial, dict[str, Any]]:
        """(the arm's first trial, its hyperparameters)."""
        trial = StartTrial(arm.start)
        return trial, self.sample(arm, trial)


def _spanning(axis: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    if "low" not in axis:
        return axis
    ends = {"low": min(axis["low"], other["low"]), "high": max(axis["high"], other["high"])}
    if "choices" not in axis or "choices" not in other:
        return {"scale": axis["scale"], **ends}
    return {**axis, **ends, "choices": sorted({*axis["choices"], *other["choices"]})}


def _is_choice(distribution: optuna.distributions.BaseDistribution) -> bool:
    return isinstance(distribution, optuna.distributions.CategoricalDistribution)


def _parse(name: str, text: str, distribution: optuna.distributions.BaseDistribution) -> Any:
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        by_text = {text_of(choice): choice for choice in distribution.choices}
        if text_of(text) not in by_text:
            raise ValueError(f"{name} must be one of {', '.join(by_text)}, got {text!r}")
        return by_text[text_of(text)]
    assert isinstance(distribution, optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution)
    kind = int if isinstance(distribution, optuna.distributions.IntDistribution) else float
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {text!r}") from None
    if not fits(value, distribution):
        raise ValueError(f"{name} must be in [{distribution.low}, {distribution.high}], got {text}")
    return value
