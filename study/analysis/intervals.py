"""Means over seeds with t-intervals, and differences, paired and unpaired."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

LEVEL = 0.95
LEAST_SD_STEPS = 0.5  # of a score that moves in steps of one test image: what lies between two steps is not seen


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and its two-sided t-interval. low and high are None if n < 2: one value has no spread.

    num_comparisons: the number of intervals, this one included, that hold together at LEVEL; num_looks: at how many
    numbers of seeds they do. unit: what there are n of: a seed, or a search, whose value is the mean over its seeds.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    num_comparisons: int = 1
    num_looks: int = 1
    unit: str = "seed"

    @property
    def half_width(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is measurable at this level. Without an interval it is not."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def t_interval(
    values: Sequence[float] | pd.Series, *, num_comparisons: int = 1, num_looks: int = 1, least_sd: float = 0.0
) -> Interval:
    """Mean and two-sided Student t-interval, n - 1 degrees of freedom. Raises ValueError for none or missing values.

    num_comparisons: how many such intervals are to hold together at LEVEL (Bonferroni); num_looks: at how many numbers
    of values they are to hold, each with an equal share of the error. least_sd: what the standard deviation counts at
    least.

    Example: for 1, 2 and 3, s = 1 and the quantile with 2 degrees of freedom is 4.3027, so ± 4.3027 / √3 = 2.4841.

    >>> interval = t_interval([1.0, 2.0, 3.0])
    >>> interval.mean, round(interval.half_width, 4), interval.n
    (2.0, 2.4841, 3)
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or np.isnan(sample).any():
        raise ValueError(f"values must be one or more numbers, got {list(sample)}")
    n, mean = len(sample), float(sample.mean())
    low = high = None
    if n >= 2:
        num_intervals = num_comparisons * num_looks
        half_width = float(half_widths(sample.std(ddof=1), n, num_intervals=num_intervals, least_sd=least_sd))
        low, high = mean - half_width, mean + half_width
    adjusted = {"num_comparisons": num_comparisons, "num_looks": num_looks}
    return Interval(mean=mean, low=low, high=high, n=n, unit=_unit(values), **adjusted)


def _unit(values: Sequence[float] | pd.Series) -> str:
    """What values are of, by the name of their index."""
    return "search" if isinstance(values, pd.Series) and values.index.name == "search" else "seed"


def unpaired_difference(
    treated: pd.Series, control: pd.Series, *, num_comparisons: int = 1, num_looks: int = 1, step: float = 0.0
) -> Interval | None:
    """Welch's t-interval of mean(treated) - mean(control), for scores that share no pairs; None if either is empty.

    The degrees of freedom are Welch's and Satterthwaite's. n of the interval: of the smaller sample. step: as in
    `paired_difference`; it bounds the spread of each sample.

    Example: 1, 2, 3 and 3, 5, 7 have s² 1 and 4, so the variance is 5 / 3 and 2.9412 degrees of freedom.

    >>> interval = unpaired_difference(pd.Series([3.0, 5.0, 7.0]), pd.Series([1.0, 2.0, 3.0]))
    >>> interval.mean, round(interval.half_width, 3)
    (3.0, 4.155)
    """
    samples = [np.asarray(values.dropna(), dtype=np.float64) for values in (treated, control)]
    sizes = np.array([len(sample) for sample in samples])
    if not sizes.all():
        return None
    mean, n = float(samples[0].mean() - samples[1].mean()), int(sizes.min())
    adjusted = {"num_comparisons": num_comparisons, "num_looks": num_looks}
    if n < 2:
        return Interval(mean=mean, low=None, high=None, n=n, unit=_unit(treated), **adjusted)
    sds = np.maximum([sample.std(ddof=1) for sample in samples], LEAST_SD_STEPS * step)
    variances = sds**2 / sizes
    variance = variances.sum()
    degrees = variance**2 / (variances**2 / (sizes - 1)).sum() if variance > 0 else sizes.sum() - 2
    quantile = special.stdtrit(degrees, 1 - (1 - LEVEL) / (num_comparisons * num_looks) / 2)
    half_width = float(quantile * math.sqrt(variance))
    low, high = mean - half_width, mean + half_width
    return Interval(mean=mean, low=low, high=high, n=n, unit=_unit(treated), **adjusted)


def half_widths(sd: Any, n: Any, *, num_intervals: int, least_sd: float) -> Any:
    """Half the width of t-intervals, from standard deviations and numbers of values, at least 2: numbers or arrays.

    num_intervals: how many of them hold together at LEVEL.
    """
    quantile = special.stdtrit(n - 1, 1 - (1 - LEVEL) / num_intervals / 2)  # scipy.stats takes seconds to import
    return quantile * np.maximum(sd, least_sd) / np.sqrt(n)


def paired_difference(
    treated: pd.Series, control: pd.Series, *, num_comparisons: int = 1, num_looks: int = 1, step: float = 0.0
) -> Interval | None:
    """The t-interval of treated - control over the seeds that both have; None if they share none.

    Both are scores indexed by seed. The same seed means the same training subset in every arm, hence pairs. step: what
    one test image is worth in the score. On few test images, seeds often differ by the same number of images, by
    chance: their spread counts half a step at least.
    """
    differences = (treated - control).dropna()
    if not len(differences):
        return None
    return t_interval(differences, num_comparisons=num_comparisons, num_looks=num_looks, least_sd=LEAST_SD_STEPS * step)


def test_images_half_width(score: float, num_images: int) -> float:
    """Half the width of the 95 % interval of a share of right answers over the choice of test images (normal)."""
    return float(special.ndtri((1 + LEVEL) / 2)) * math.sqrt(score * (1 - score) / num_images)


def interval_columns(interval: Interval) -> dict[str, float | int]:
    """mean, low, high and n, for the row of a frame; low and high are NaN if there is no interval."""
    low = math.nan if interval.low is None else interval.low
    high = math.nan if interval.high is None else interval.high
    return {"mean": interval.mean, "low": low, "high": high, "n": interval.n}
