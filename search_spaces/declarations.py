"""Declarations of knobs: name, range, the scale on which a knob is searched and drawn, and start value."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Scale = Literal["linear", "log", "logit", "category"]


class Trial(Protocol):
    """The part of optuna.Trial that spaces use."""

    @property
    def number(self) -> int: ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[CategoricalChoiceType]) -> Any: ...


class Knob(ABC):
    """A value that a space varies. start: the value in an arm's first trial; None: the middle of the range."""

    name: str
    start: Any

    def suggest(self, trial: Trial) -> Any:
        """The knob's value in the trial: Optuna's suggestion under the knob's name, or what a KnobTrial takes."""
        return trial.take(self) if isinstance(trial, KnobTrial) else self._ask(trial)

    @property
    @abstractmethod
    def distribution(self) -> BaseDistribution:
        """The range as an Optuna distribution."""

    @property
    def axis(self) -> dict[str, Any]:
        """The knob's axis in figures, as JSON: its scale and, for numbers, low and high, and its choices if any."""
        return axis_of(self.distribution)

    @abstractmethod
    def _ask(self, trial: Trial) -> Any: ...


@dataclass(frozen=True)
class Float(Knob):
    """A number from low to high. log: whether it is searched evenly over its logarithm."""

    name: str
    low: float
    high: float
    log: bool = False
    start: float | None = None

    @property
    def distribution(self) -> FloatDistribution:
        return FloatDistribution(self.low, self.high, log=self.log)

    def _ask(self, trial: Trial) -> float:
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Int(Knob):
    """A whole number from low to high. log: as of Float."""

    name: str
    low: int
    high: int
    log: bool = False
    start: int | None = None

    @property
    def distribution(self) -> IntDistribution:
        return IntDistribution(self.low, self.high, log=self.log)

    def _ask(self, trial: Trial) -> int:
        return trial.suggest_int(self.name, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choice(Knob):
    """One of several choices. scale: how choices that are numbers are drawn; linear if None, or if one has no place."""

    name: str
    choices: Sequence[Any]
    start: Any = None
    scale: Scale | None = None

    @property
    def distribution(self) -> CategoricalDistribution:
        return CategoricalDistribution(self.choices)

    @property
    def axis(self) -> dict[str, Any]:
        axis = axis_of(self.distribution)
        if "low" not in axis:
            return axis
        least, most = ends_of(self.scale)
        scale = self.scale if all(least < choice < most for choice in self.choices) else None
        return {**axis, "scale": scale or axis["scale"], "choices": sorted(self.choices)}

    def _ask(self, trial: Trial) -> Any:
        return trial.suggest_categorical(self.name, self.choices)


class KnobTrial(ABC):
    """A trial that takes knobs whole, as they are declared. Optuna's own calls ask for knobs without a start."""

    @property
    @abstractmethod
    def number(self) -> int: ...

    @abstractmethod
    def take(self, knob: Knob) -> Any:
        """The knob's value in this trial."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self.take(Float(name, low, high, log=log)))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return int(self.take(Int(name, low, high, log=log)))

    def suggest_categorical(self, name: str, choices: Sequence[CategoricalChoiceType]) -> Any:
        return self.take(Choice(name, choices))


class StartTrial(KnobTrial):
    """A trial in which each knob takes its given value, else its declared start, else the middle of its range.

    A value outside the range, which may depend on an earlier choice, is replaced by the middle.
    params, distributions and axes: those of the knobs suggested so far, in order; misfits: the replaced values.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        self.axes: dict[str, dict[str, Any]] = {}
        self.misfits: dict[str, Any] = {}

    @property
    def number(self) -> int:
        return 0

    def take(self, knob: Knob) -> Any:
        name, distribution = knob.name, knob.distribution
        value = self._values.get(name, knob.start)
        if value is not None and not fits(value, distribution):
            self.misfits[name] = value
            value = None
        if value is None:
            value = middle(distribution)
        self.params[name], self.distributions[name], self.axes[name] = value, distribution, knob.axis
        return value


def ends_of(scale: str | None) -> tuple[float, float]:
    """Between what a scale is defined, the ends left out."""
    return {"log": (0.0, math.inf), "logit": (0.0, 1.0)}.get(scale or "", (-math.inf, math.inf))


def axis_of(distribution: BaseDistribution) -> dict[str, Any]:
    """{"scale": "log" or "linear", "low": number, "high": number}, or {"scale": "category"} if not all are numbers."""
    if isinstance(distribution, CategoricalDistribution):
        numbers = [choice for choice in distribution.choices if isinstance(choice, float | int)]
        if len(numbers) < len(distribution.choices) or any(isinstance(number, bool) for number in numbers):
            return {"scale": "category"}
        return {"scale": "linear", "low": min(numbers), "high": max(numbers)}
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return {"scale": "log" if distribution.log else "linear", "low": distribution.low, "high": distribution.high}


def fits(value: Any, distribution: BaseDistribution) -> bool:
    """Whether a value lies in the range or is one of the choices."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return bool(distribution.low <= value <= distribution.high)


def extreme_values(distribution: BaseDistribution) -> tuple[Any, ...]:
    """Both ends of a range, or all choices."""
    if isinstance(distribution, CategoricalDistribution):
        return tuple(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.low, distribution.high


def middle(distribution: BaseDistribution) -> Any:
    """The middle of a range (the geometric mean of a logarithmic one), or the first of several choices."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    middle = math.sqrt(low * high) if distribution.log else (low + high) / 2
    return round(middle) if isinstance(distribution, IntDistribution) else middle
