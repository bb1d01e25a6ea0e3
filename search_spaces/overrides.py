"""Ranges as a user sets them, in place of those that a space declares: narrower, wider, fixed, or chosen."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.declarations import Choice, Float, Int, Knob, KnobTrial, StartTrial, Trial, middle
from trainables.common.nearest import nearest

SYNTAX = "LOW..HIGH, LOW..HIGH:log, A|B|C or one value"
_RANGE = re.compile(r"(?P<low>[^|]+?)\.\.(?P<high>[^|:]+)(?::(?P<scale>.*))?")


@dataclass(frozen=True, kw_only=True)
class Range:
    """scale: None where the knob's own is kept."""

    low: float
    high: float
    scale: Literal["log", "linear"] | None


@dataclass(frozen=True, kw_only=True)
class Override:
    """What a user set of a knob: [ARM.]KNOB[@CHOICE]=TEXT.

    arm: the only one that it is about, or None. choice: it holds in trials in which this was chosen before the knob is
    drawn, or None: in all, whatever ranges hung on a choice. values: a range, or choices as text; one alone is fixed.
    """

    name: str
    text: str
    arm: str | None
    knob: str
    choice: str | None
    values: Range | tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}={self.text}"

    @property
    def precedence(self) -> tuple[bool, bool]:
        """Of several that hold in a trial, the one with the highest counts: an arm's own, then that of a choice."""
        return self.arm is not None, self.choice is not None

    @property
    def is_fixed(self) -> bool:
        return not isinstance(self.values, Range) and len(self.values) == 1

    def replacing(self, knob: Knob) -> Knob:
        """The knob with these values, and its own start. Raises ValueError where they are of another type."""
        if isinstance(self.values, Range):
            return self._range(knob, self.values)
        choices = tuple(self._value(knob, text) for text in self.values)
        if len(set(choices)) < len(choices):
            raise ValueError(f"{self} names a choice twice")
        return Choice(knob.name, choices, start=knob.start, scale=_scale(knob))

    def _range(self, knob: Knob, values: Range) -> Knob:
        kind = _number_type(knob)
        if kind is None:
            raise ValueError(f"{self}: {knob.name} has no range, it is one of {_listed(knob)}")
        scale = values.scale or ("log" if _scale(knob) == "log" else "linear")
        if scale == "log" and values.low <= 0:
            raise ValueError(f"{self}: a logarithmic range begins above 0; {values.low:g} needs :linear")
        if kind is float:
            return Float(knob.name, values.low, values.high, log=scale == "log", start=knob.start)
        if not values.low.is_integer() or not values.high.is_integer():
            raise ValueError(f"{self}: {knob.name} is a whole number")
        return Int(knob.name, int(values.low), int(values.high), log=scale == "log", start=knob.start)

    def _value(self, knob: Knob, text: str) -> Any:
        kind = _number_type(knob)
        if kind is not None:
            try:
                return kind(text)
            except ValueError:
                raise ValueError(f"{self}: {knob.name} is a {'whole ' * (kind is int)}number, got {text!r}") from None
        assert isinstance(knob, Choice)
        known = {text_of(choice): choice for choice in knob.choices}
        # A name that is not declared may need knobs that the space does not have.
        if text_of(text) not in known:
            raise ValueError(f"{self}: {knob.name} is one of {_listed(knob)}, got {text!r}{nearest(text, known)}")
        return known[text_of(text)]


def parsed(entries: Mapping[str, str]) -> tuple[Override, ...]:
    """The overrides in {name: text}. Raises ValueError for one that is malformed or upside down."""
    return tuple(_parsed(name, text) for name, text in entries.items())


def _parsed(name: str, text: str) -> Override:
    place, _, choice = name.partition("@")
    arm, _, knob = place.rpartition(".")
    if not knob.isidentifier() or name.endswith("@") or place.startswith("."):
        raise ValueError(f"{name}={text} must be [ARM.]KNOB[@CHOICE]={SYNTAX}")
    return Override(
        name=name, text=text, arm=arm or None, knob=knob, choice=choice or None, values=_values(f"{name}={text}", text)
    )


def _values(whole: str, text: str) -> Range | tuple[str, ...]:
    if ".." not in text:
        choices = tuple(choice.strip() for choice in text.split("|"))
        if not all(choices):
            raise ValueError(f"{whole} must be {SYNTAX}")
        return choices
    found = _RANGE.fullmatch(text)
    if found is None or found["scale"] not in {None, "log", "linear"}:
        raise ValueError(f"{whole} must be LOW..HIGH, LOW..HIGH:log or LOW..HIGH:linear")
    try:
        low, high = float(found["low"]), float(found["high"])
    except ValueError:
        raise ValueError(f"{whole} must run from one number to another") from None
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError(f"{whole} must be of finite numbers")
    if low > high:
        raise ValueError(f"{whole} is upside down: the lower end comes first")
    if low == high:
        raise ValueError(f"{whole} is no range; {whole.partition('=')[0]}={found['low']} fixes the value")
    return Range(low=low, high=high, scale=found["scale"])  # type: ignore[arg-type]


class OverriddenTrial(KnobTrial):
    """A trial in which overrides take the place of declared ranges. params: its knobs so far, those fixed included."""

    def __init__(self, trial: Trial, overrides: Sequence[Override]) -> None:
        self._trial, self._overrides = trial, overrides
        self.params: dict[str, Any] = {}
        self.used: set[Override] = set()

    @property
    def number(self) -> int:
        return self._trial.number

    def take(self, knob: Knob) -> Any:
        override = self._in_force(knob.name)
        if override is not None:
            self.used.add(override)
            knob = override.replacing(knob)
        is_fixed = override is not None and override.is_fixed
        value = middle(knob.distribution) if is_fixed else knob.suggest(self._trial)
        self.params[knob.name] = value
        return value

    def opened(self, hparams: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the hyperparameters that the space holds still, and the overrides do not."""
        held = {override.knob for override in self._overrides} & (hparams.keys() - self.params.keys())
        return {name: self.take(self._held(name, hparams[name])) for name in hparams if name in held}

    def _held(self, name: str, value: Any) -> Knob:
        """A hyperparameter that the space holds still, as a knob of that value, or one of the names that are given."""
        if isinstance(value, bool):
            return Choice(name, (False, True), start=value)
        if isinstance(value, int):
            return Int(name, value, value, start=value)
        if isinstance(value, float):
            return Float(name, value, value, start=value)
        given = [
            text for o in self._overrides if o.knob == name and not isinstance(o.values, Range) for text in o.values
        ]
        return Choice(name, tuple(dict.fromkeys([value, *given])), start=value)

    def _in_force(self, name: str) -> Override | None:
        of_knob = [override for override in self._overrides if override.knob == name]
        holding = [override for override in of_knob if override.choice is None or self._has_chosen(override.choice)]
        return max(holding, key=lambda override: override.precedence, default=None)

    def _has_chosen(self, choice: str) -> bool:
        return any(text_of(value) == text_of(choice) for value in self.params.values())


def require_starts(overrides: Iterable[Override], arm: str, start: StartTrial) -> None:
    """Raise ValueError if the arm's first trial would begin with a value that an override leaves out."""
    for override in overrides:
        if override.knob in start.misfits:
            value = text_of(start.misfits[override.knob])
            raise ValueError(
                f"{override} leaves out {value}, where {arm} starts; take it in, or start elsewhere by "
                f"--start {override.arm + '.' if override.arm else ''}{override.knob}=VALUE"
            )


def range_text(distribution: BaseDistribution) -> str:
    """A range in the syntax of an override."""
    if isinstance(distribution, CategoricalDistribution):
        return "|".join(map(text_of, distribution.choices))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return f"{distribution.low}..{distribution.high}{':log' if distribution.log else ''}"


def _number_type(knob: Knob) -> type[int] | type[float] | None:
    if isinstance(knob, Int):
        return int
    if isinstance(knob, Float):
        return float
    assert isinstance(knob, Choice)
    if any(isinstance(choice, bool) or not isinstance(choice, int | float) for choice in knob.choices):
        return None
    return int if all(isinstance(choice, int) for choice in knob.choices) else float


def _scale(knob: Knob) -> Any:
    return knob.scale if isinstance(knob, Choice) else "log" if getattr(knob, "log", False) else None


def text_of(value: Any) -> str:
    """The text of a value, as which users give it: true and false in small letters, as TOML has them, or Python's."""
    return str(value).lower() if str(value) in {"True", "False"} else str(value)


def _listed(knob: Knob) -> str:
    assert isinstance(knob, Choice)
    return ", ".join(map(text_of, knob.choices))
