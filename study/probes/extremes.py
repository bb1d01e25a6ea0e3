"""The extremes of an arm's space: each choice and both ends of each range, in as few configurations as may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from search_spaces.declarations import StartTrial, extreme_values
from search_spaces.space import Arm, SearchSpace

Choice = tuple[str, Any]
"""(knob, value)"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A configuration to try. params: the knobs' values. choice: the first that differs from the arm's start."""

    params: Mapping[str, Any]
    hparams: Mapping[str, Any]
    choice: Choice | None


def extreme_cases(space: SearchSpace, arm: Arm) -> Iterator[Case]:
    """The arm's start; then each choice once, and with it the ends of ranges that no case before has had.

    The lower ends of all ranges are in one case, and the upper ends in another: the corners that the space allows.
    """
    branches = space.branches(arm)
    seen: set[Choice] = set()
    yield case_of(space, arm, branches[0].params)
    for number, branch in enumerate(branches):
        ranges = {name: extreme_values(found) for name, found in branch.distributions.items() if not is_choice(found)}
        corners = [{name: ends[side] for name, ends in ranges.items()} for side in (0, -1)]
        new = [corner for corner in corners if not corner.items() <= seen]
        seen.update(end for corner in new for end in corner.items())
        for corner in new or [{}] * bool(number):
            yield case_of(space, arm, {**branch.params, **corner})


def costliest_cases(space: SearchSpace, arm: Arm, seconds: Mapping[Choice, float]) -> Iterator[Case]:
    """All choices at once that took the longest: with the batch size among them, and with the largest.

    seconds: of an epoch, by choice; those of the start under its own choices.
    """
    slowest: dict[str, Any] = {}
    for knob in dict.fromkeys(knob for knob, _ in seconds):
        slowest[knob] = max((choice for choice in seconds if choice[0] == knob), key=lambda choice: seconds[choice])[1]
    yield case_of(space, arm, slowest)
    sizes = [value for knob, value in seconds if knob == "batch_size"]
    if sizes:
        yield case_of(space, arm, {**slowest, "batch_size": max(sizes)})


def case_of(space: SearchSpace, arm: Arm, params: Mapping[str, Any]) -> Case:
    """The configuration that the arm's start becomes with these values."""
    trial = StartTrial({**arm.start, **params})
    hparams = space.sample(arm, trial)
    start = space.start_point(arm)
    differing = (
        (name, trial.params[name])
        for name, found in trial.distributions.items()
        if is_choice(found) and trial.params[name] != start.get(name)
    )
    return Case(params=trial.params, hparams=hparams, choice=next(differing, None))


def is_choice(distribution: BaseDistribution) -> bool:
    return isinstance(distribution, CategoricalDistribution)
