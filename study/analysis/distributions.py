"""The ranges of knobs as Optuna's distributions, from what a run recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from study.analysis.knobs import is_numeric, recorded_axes, spanning_axis
from study.analysis.tables import Tables, python_value


def distributions(
    tables: Tables, trials: pd.DataFrame, columns: Mapping[str, pd.Series]
) -> dict[str, list[BaseDistribution]]:
    """Knob -> the range that it had in each trial, by its arm and by the choice that its range hangs on.

    columns: the values of each knob in the trials, missing where a trial lacks it.
    """
    by_choice = tables.summary.get("ranges_by_choice") or {}
    found: dict[str, list[BaseDistribution]] = {}
    of_arm = {arm: trials["arm"] == arm for arm in trials["arm"].unique()}
    for knob, column in columns.items():
        values = column.dropna().infer_objects()
        known: dict[tuple[str, str], BaseDistribution] = {}
        hangs = {arm: ranges[knob] for arm, ranges in by_choice.items() if knob in ranges}
        choices = {arm: trials.get(f"config/{entry['choice']}") for arm, entry in hangs.items()}
        found[knob] = []
        for row, arm in enumerate(trials["arm"]):
            chosen = choices.get(arm)
            key = arm, "" if chosen is None else str(chosen.iat[row])
            if key not in known:
                axis = recorded_axes(tables).get(arm, {}).get(knob)
                ends = hangs[arm]["ranges"].get(key[1]) if chosen is not None else None
                if axis is not None and ends is not None:
                    axis = {**axis, "low": ends[0], "high": ends[1]}
                of_range = of_arm[arm]
                if chosen is not None:
                    of_range = of_range & (chosen.astype(str) == key[1])
                known[key] = _distribution(axis, values, column[of_range].dropna())
            found[knob].append(known[key])
    return found


def _distribution(axis: Mapping[str, Any] | None, values: pd.Series, of_range: pd.Series) -> BaseDistribution:
    """A knob's range as Optuna's. axis: as recorded; values: all that the knob has; of_range: those of this range.

    A range that was not recorded is that of all values. A value outside of the recorded range, given by the user,
    widens it.
    """
    scale = spanning_axis([] if axis is None else [axis], values)
    if scale.scale == "category" or not is_numeric(values):
        return CategoricalDistribution(sorted({plain(value) for value in values}, key=str))
    if axis is not None and "choices" in axis:
        present = {plain(value) for value in of_range}
        return CategoricalDistribution(sorted({*map(float, axis["choices"]), *map(float, present)}))
    spanned = values if scale.low is None else of_range
    ends = [*spanned.astype(float), *(end for end in (scale.low, scale.high) if end is not None)]
    low, high = float(min(ends)), float(max(ends))
    if axis is not None and all(isinstance(axis.get(end), int) for end in ("low", "high")):
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=scale.scale == "log")


def plain(value: Any) -> Any:
    """A value of a table as Python's own, a whole number as a float: a column with gaps makes floats of both."""
    plain = python_value(value)
    return float(plain) if isinstance(plain, int) and not isinstance(plain, bool) else plain
