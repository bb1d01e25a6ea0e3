"""Means over seeds with t-intervals, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and its two-sided t-interval. low and high are None if n < 2: one value has no spread."""

    mean: float
    low: float | None
    high: float | None
    n: int
    level: float = LEVEL

    @property
    def half_width(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is measurable at this level. Without an interval it is not."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def t_interval(values: Sequence[float] | pd.Series, level: float = LEVEL) -> Interval:
    """Mean and two-sided Student t-interval, n - 1 degrees of freedom. Raises ValueError for none or missing values.

    Example: for 1, 2 and 3, s = 1 and the quantile with 2 degrees of freedom is 4.3027, so ± 4.3027 / √3 = 2.4841.

    >>> interval = t_interval([1.0, 2.0, 3.0])
    >>> interval.mean, round(interval.half_width, 4), interval.n
    (2.0, 2.4841, 3)
    """
    sample = pd.Series(values, dtype="float64")
    if sample.empty or sample.isna().any():
        raise ValueError(f"values must be one or more numbers, got {list(sample)}")
    n, mean = len(sample), float(sample.mean())
    if n < 2:
        return Interval(mean=mean, low=None, high=None, n=n, level=level)
    half_width = float(stats.t.ppf((1 + level) / 2, n - 1)) * float(sample.std(ddof=1)) / math.sqrt(n)
    return Interval(mean=mean, low=mean - half_width, high=mean + half_width, n=n, level=level)


def paired_difference(treated: pd.Series, control: pd.Series, level: float = LEVEL) -> Interval | None:
    """The t-interval of treated - control over the seeds that both have; None if they share none.

    Both are scores indexed by seed. The same seed means the same training subset in every arm, hence pairs.
    """
    differences = (treated - control).dropna()
    return t_interval(differences, level) if len(differences) else None


def interval_columns(interval: Interval) -> dict[str, float | int]:
    """mean, low, high and n, for the row of a frame; low and high are NaN if there is no interval."""
    low = math.nan if interval.low is None else interval.low
    high = math.nan if interval.high is None else interval.high
    return {"mean": interval.mean, "low": low, "high": high, "n": interval.n}
