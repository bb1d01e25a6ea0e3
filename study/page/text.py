"""Numbers, intervals and hyperparameters as text of the page."""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd

from study.analysis.intervals import LEVEL, Interval
from study.core.text import NOTHING, plural, plural_of


def typeset(text: str) -> str:
    """Keep a number and its unit on one line."""
    text = re.sub(r"(?<=\d) (?=%|points\b|s\b|min\b|h\b|seeds?\b)", "\u00a0", text)
    return text.replace("n = ", "n\u00a0=\u00a0").replace("t-interval", "t\u2011interval")


def percent(share: float | None, digits: int = 1) -> str:
    """A share in %: 0.712 -> '71.2'; a dash if it is missing; zero has no sign."""
    return NOTHING if is_missing(share) else f"{100 * float(share):z.{digits}f}".replace("-", "−")  # type: ignore[arg-type]


def chance_percent(share: float) -> str:
    """A share in % as by percent, but never rounded to 0.0: 1 / 9! -> '0.00028'."""
    return percent(share) if share >= 5e-4 else f"{100 * share:.2g}"


def points(difference: float | None) -> str:
    """A signed difference of shares in points: 0.063 -> '+6.3'; 0.0 has no sign."""
    if is_missing(difference):
        return NOTHING
    text = f"{100 * float(difference):+.1f}"  # type: ignore[arg-type]
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def span(low: float, high: float) -> str:
    """An interval in %: 0.049, 0.077 -> '4.9–7.7'; with a negative end '−0.4 to 2.1'."""
    separator = " to " if low < 0 or high < 0 else "–"
    return f"{percent(low)}{separator}{percent(high)}"


def level_text(level: float) -> str:
    """A confidence level as text: 0.99 -> '99 %', 0.995833 -> '99.58 %'."""
    return f"{100 * level:.4g} %"


def score_text(score: Interval) -> str:
    """A score in a sentence: '71.3 % (95 % interval 67.5–75.1, n = 3 seeds)'."""
    if score.low is None or score.high is None:
        return f"{percent(score.mean)} % (one {score.unit}, so no interval)"
    low, high = max(score.low, 0.0), min(score.high, 1.0)  # a t-interval over few seeds may exceed 0-1
    return (
        f"{percent(score.mean)} % ({level_text(LEVEL)} interval {span(low, high)}, n = {plural(score.n, score.unit)})"
    )


def paired_text(difference: Interval, score: Interval) -> str:
    """'(paired interval 1.5–6.5, adjusted for 5 comparisons)', of a difference without its sign ('points below')."""
    if difference.low is None or difference.high is None:
        return f"(one pair of {plural_of(difference.unit)}, so no interval)"
    low, high = difference.low, difference.high
    if difference.mean < 0:
        low, high = -high, -low
    shared = "" if difference.n == score.n else f" over the {plural(difference.n, difference.unit)} that both share"
    return f"(paired interval {span(low, high)}{shared}{adjusted_text(difference)})"


def adjusted_text(difference: Interval) -> str:
    """', adjusted for 5 comparisons at 6 looks', without what there is only one of."""
    comparisons = f" for {difference.num_comparisons} comparisons" if difference.num_comparisons > 1 else ""
    looks = f" {'at' if comparisons else 'for'} {difference.num_looks} looks" if difference.num_looks > 1 else ""
    return f", adjusted{comparisons}{looks}" if comparisons or looks else ""


def distance_text(difference: Interval, other: str) -> str:
    """A difference in words: '4.0 points above scratch', or 'level with scratch' if it rounds to 0.0.

    One that rounds to 0.0 and is measurable is 'less than 0.1 points above scratch'.
    """
    side = "above" if difference.mean >= 0 else "below"
    if points(difference.mean) != "0.0":
        return f"{percent(abs(difference.mean))} points {side} {other}"
    return f"less than 0.1 points {side} {other}" if difference.excludes_zero else f"level with {other}"


def mean_cell(mean: float | None, low: float | None, high: float | None, n: float | None = None) -> str:
    """A mean as a table cell: '71.3 ± 3.8' in %, '71.3' without an interval, '71.3 ± 3.8 (n = 3)' with n."""
    if is_missing(mean):
        return NOTHING
    text = percent(mean) if is_missing(low) else f"{percent(mean)} ± {percent((high - low) / 2)}"  # type: ignore[operator]
    return text if n is None else f"{text} (n = {n:.0f})"


def difference_cell(mean: float | None, low: float | None, high: float | None) -> str:
    """A difference as a table cell: '+4.0 (1.5–6.5)' in points."""
    if is_missing(mean):
        return NOTHING
    interval = "no interval" if is_missing(low) else span(low, high)  # type: ignore[arg-type]
    return f"{points(mean)} ({interval})"


def config_value(value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return NOTHING if value is None else str(value)
    if isinstance(value, float):
        # A beta of 0.99999 must not become 1.
        return NOTHING if math.isnan(value) else f"{value:.6g}"
    return str(value)


def is_missing(value: Any) -> bool:
    return value is None or bool(pd.isna(value))


def interval_cell(interval: Interval | None) -> str:
    return NOTHING if interval is None else mean_cell(interval.mean, interval.low, interval.high)


def paired_cell(difference: Interval | None) -> str:
    return NOTHING if difference is None else difference_cell(difference.mean, difference.low, difference.high)
