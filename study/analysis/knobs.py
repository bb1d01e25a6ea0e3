"""The axes of knobs: the scale and range in which the arms searched each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from study.analysis.tables import Tables

SCALE_RATIO = 20.0
"""For a knob without a recorded scale: the ratio of its ends above which the scale is not linear."""
NEAR_ONE = 0.9
"""For such a knob: the least value from which its distance to 1 is what matters."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The axis of a knob. scale: log, logit, linear or category.

    low, high: the searched range; None if it was not recorded, and then the axis spans the values.
    """

    scale: str
    low: float | None = None
    high: float | None = None


def knob_axis(tables: Tables, knob: str, values: pd.Series) -> Axis:
    """The scale and range in which the arms searched the knob, or those inferred from its values if not recorded."""
    return spanning_axis([axes[knob] for axes in recorded_axes(tables).values() if knob in axes], values)


def spanning_axis(recorded: Iterable[Mapping[str, Any]], values: pd.Series) -> Axis:
    """The axis that spans the recorded ones; that inferred from the values if there is none."""
    axes = list(recorded)
    if not axes:
        return inferred_axis(values)
    lows, highs = ([axis[end] for axis in axes if end in axis] for end in ("low", "high"))
    return Axis(scale=str(axes[0]["scale"]), low=min(lows, default=None), high=max(highs, default=None))


def recorded_axes(tables: Tables) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Arm -> knob -> its axis as summary.json has it; empty for runs that recorded none."""
    return tables.summary.get("knobs") or {}


def inferred_axis(values: pd.Series) -> Axis:
    """Log if the values span a factor of SCALE_RATIO; logit if all are near 1 and their distances to 1 span it."""
    if not is_numeric(values):
        return Axis(scale="category")
    low, high = float(values.min()), float(values.max())
    if NEAR_ONE <= low <= high < 1 and (1 - low) / (1 - high) > SCALE_RATIO:
        return Axis(scale="logit")
    return Axis(scale="log" if low > 0 and high / low > SCALE_RATIO else "linear")


def is_numeric(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def varied_knobs(trials: pd.DataFrame) -> list[str]:
    """The hyperparameters that took more than one value in the trials, or that only some of them have."""
    found = []
    for column in (name for name in map(str, trials) if name.startswith("config/")):
        values = trials[column]
        if values.nunique() > 1 or (values.nunique() == 1 and values.isna().any()):
            found.append(column.removeprefix("config/"))
    return found
