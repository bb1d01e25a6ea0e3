"""Winners at the edge of what was searched: the best value may lie beyond it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from study.analysis.once import once
from study.analysis.tables import Tables, of_arms
from trainables.hparams import Hparams

EDGE_SHARE = 0.05  # of a range on its own scale
HALF_DECADE = math.sqrt(10)
LEAST_CHOICES = 3  # of two, each is an end

End = Literal["lower", "upper"]


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A winner's value at an end of what its arm searched.

    low, high: the searched range, which of a knob whose range hangs on a choice spans all ranges. choices: those there
    were, in order; None: all numbers of the range. beyond: how far to search next in that direction.
    """

    arm: str
    knob: str
    value: float
    end: End
    low: float
    high: float
    choices: tuple[float, ...] | None
    beyond: float


@dataclass(frozen=True, kw_only=True)
class Edges:
    """The winners' values at an edge, of num_values with an edge, and how many of these would lie there by chance."""

    found: tuple[Edge, ...]
    num_values: int
    expected: float


@once
def winners_at_edges(tables: Tables) -> Edges | None:
    """The winners' values at the edge of what was searched; None if the run did not record its ranges.

    An end that is the hyperparameter's own, such as 0 of a label smoothing, is no edge: nothing lies beyond it. An arm
    of a single trial searched nothing.
    """
    axes = tables.summary.get("knobs") or {}
    if not any("low" in axis for of_arm in axes.values() for axis in of_arm.values()):
        return None
    num_trials = of_arms(tables.trials)["arm"].value_counts()
    found, shares = [], []
    for arm, winner in (tables.summary.get("winners") or {}).items():
        if num_trials.get(arm, 0) < 2:
            continue
        for knob, axis in axes.get(arm, {}).items():
            value = winner["config"].get(knob)
            if "low" not in axis or not isinstance(value, int | float) or isinstance(value, bool):
                continue
            ends = dict(_open_ends(knob, axis))
            if ends:
                shares.append(len(ends) * _share_at_an_end(axis))
            end = edge_of(axis, value) if ends else None
            if end in ends:
                found.append(
                    Edge(
                        arm=arm,
                        knob=knob,
                        value=value,
                        end=end,
                        low=axis["low"],
                        high=axis["high"],
                        choices=_choices(axis),
                        beyond=ends[end],
                    )
                )
    return Edges(found=tuple(found), num_values=len(shares), expected=sum(shares))


def edge_of(axis: Mapping[str, Any], value: float) -> End | None:
    """The end within EDGE_SHARE of which the value lies on the axis's scale; of choices, the end that it is."""
    choices = _choices(axis)
    if choices is not None:
        low, high = value <= choices[0], value >= choices[-1]
    else:
        place = _place(axis, value)
        low, high = place <= EDGE_SHARE + 1e-9, place >= 1 - EDGE_SHARE - 1e-9
    return "lower" if low else "upper" if high else None


def _open_ends(knob: str, axis: Mapping[str, Any]) -> Iterator[tuple[End, float]]:
    """(end, how far to search beyond it) of the ends beyond which there is something to search."""
    choices = _choices(axis)
    if axis["low"] >= axis["high"] or (choices is not None and len(choices) < LEAST_CHOICES):
        return
    least, most = limits(knob, axis)
    ends: tuple[tuple[End, float], ...] = (("lower", least), ("upper", most))
    for end, limit in ends:
        at = axis["low"] if end == "lower" else axis["high"]
        beyond = _stepped(choices, axis["scale"], end) if choices and "choices" in axis else _extended(axis, end)
        if (beyond <= limit) if end == "lower" else (beyond >= limit):  # the limit itself may not be allowed
            beyond = (at + limit) / 2
        if _is_whole(axis):
            beyond = math.floor(beyond) if end == "upper" else math.ceil(beyond)
        if not math.isclose(beyond, at, rel_tol=1e-9, abs_tol=1e-12):
            yield end, beyond


def limits(knob: str, axis: Mapping[str, Any]) -> tuple[float, float]:
    """What a hyperparameter of that name may be, at least and at most; of one that is not known, not below 0 if its
    range is not."""
    pending: list[type[Hparams]] = [Hparams]
    for kind in pending:  # which grows in this loop
        pending += kind.__subclasses__()
        if knob in kind.model_fields:
            rules = kind.model_fields[knob].metadata
            least = [getattr(rule, name) for rule in rules for name in ("ge", "gt") if hasattr(rule, name)]
            most = [getattr(rule, name) for rule in rules for name in ("le", "lt") if hasattr(rule, name)]
            return max(least, default=-math.inf), min(most, default=math.inf)
    return (0.0 if axis["low"] >= 0 else -math.inf), math.inf


def _extended(axis: Mapping[str, Any], end: End) -> float:
    """The end moved outwards: by half a decade (of the odds, where the scale is logit), or by half the range."""
    low, high, is_lower = float(axis["low"]), float(axis["high"]), end == "lower"
    if axis["scale"] == "log":
        return _rounded(low / HALF_DECADE if is_lower else high * HALF_DECADE, 2)
    if axis["scale"] == "logit":
        return _from_odds(_odds(low) / HALF_DECADE if is_lower else _odds(high) * HALF_DECADE)
    return _rounded(low - (high - low) / 2 if is_lower else high + (high - low) / 2, 3)


def _stepped(choices: Sequence[float], scale: str, end: End) -> float:
    """The choice that would come next: by the last step if the last two are equal, else by the last ratio."""
    first, second, third = choices[:3] if end == "lower" else choices[:-4:-1]  # from the end inwards
    if scale == "logit":
        return 1 - _rounded((1 - first) ** 2 / (1 - second), 3) if first > 0.5 else _rounded(first**2 / second, 3)
    if scale != "log" and math.isclose(first - second, second - third):
        return _rounded(2 * first - second, 6)
    return _rounded(first**2 / second, 3) if first > 0 and second > 0 else _rounded(2 * first - second, 6)


def _choices(axis: Mapping[str, Any]) -> tuple[float, ...] | None:
    """The choices in order; the whole numbers of a range of few count as such."""
    if "choices" in axis:
        return tuple(sorted(axis["choices"]))
    if _is_whole(axis) and (axis["high"] - axis["low"]) * EDGE_SHARE < 1:
        return tuple(range(axis["low"], axis["high"] + 1))
    return None


def _is_whole(axis: Mapping[str, Any]) -> bool:
    return isinstance(axis["low"], int) and isinstance(axis["high"], int)


def _share_at_an_end(axis: Mapping[str, Any]) -> float:
    """The share of values at one end, if values are drawn evenly on the axis's scale."""
    choices = _choices(axis)
    return EDGE_SHARE if choices is None else 1 / len(choices)


def _place(axis: Mapping[str, Any], value: float) -> float:
    """Where the value lies on the axis's scale, 0 at its low end and 1 at its high end."""
    scale = {"log": math.log, "logit": lambda p: math.log(_odds(p))}.get(axis["scale"], float)
    low, high = scale(axis["low"]), scale(axis["high"])
    return (scale(min(max(value, axis["low"]), axis["high"])) - low) / (high - low)


def _odds(share: float) -> float:
    return share / (1 - share)


def _from_odds(odds: float) -> float:
    return 1 - _rounded(1 / (1 + odds), 2)


def _rounded(number: float, digits: int) -> float:
    """To so many significant digits."""
    return float(f"{number:.{digits}g}")
