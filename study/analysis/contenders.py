"""Which arms may be the best, how far each is from the control, and which need further seeds to tell.

All that is here takes scores by arm, each a series indexed by seed, so that the retest asks while it runs what the page
says afterwards.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd

from study.analysis.intervals import LEAST_SD_STEPS, Interval, half_widths, paired_difference

Scores = Mapping[str, pd.Series]


def paired_to_control(scores: Scores, control: str | None, *, step: float, num_looks: int = 1) -> dict[str, Interval]:
    """Arm -> its paired difference to the control; the intervals hold together at 95 %, over all looks.

    An arm that shares no seed with the control is absent. step: what one test image is worth in a score.
    """
    if control is None or control not in scores:
        return {}
    reference = scores[control]
    comparable = [arm for arm in scores if arm != control and len(scores[arm].index.intersection(reference.index))]
    options = {"num_comparisons": len(comparable), "num_looks": num_looks, "step": step}
    found = {arm: paired_difference(scores[arm], reference, **options) for arm in comparable}  # type: ignore[arg-type]
    return {arm: difference for arm, difference in found.items() if difference is not None}


def may_be_best(scores: Scores, *, step: float, num_looks: int = 1) -> tuple[str, ...]:
    """The arms that no other arm is measurably above: a 95 % confidence set for the best arm, as in Gupta (1965).

    Each arm is compared with all others, paired, at the Bonferroni level for these. So the best arm is in the set in
    at least 95 % of studies; and of arms that are all equal one remains alone in at most 5 %.
    """
    means, half, n = _pairs(scores, step=step, num_looks=num_looks)
    is_above = (n >= 2) & (means - half > 0)
    return tuple(arm for arm, is_below in zip(scores, is_above.any(axis=0), strict=True) if not is_below)


def needing_seeds(
    scores: Scores, control: str | None, *, step: float, num_looks: int, narrow: float
) -> tuple[str, ...]:
    """The arms to retrain on further seeds, in the order of scores; none if what is open is settled.

    Open are the difference of the best challenger to the control, and those of the best arm to every other one that may
    be the best. A difference is settled when its interval excludes 0 or is narrower than `narrow` (0-1). Where one is
    open, its two arms go on; the best arm and the control always among them.
    """
    if len(scores) < 2:
        return ()
    best = max(scores, key=lambda arm: scores[arm].mean())
    _, half, n = _pairs(scores, step=step, num_looks=num_looks)
    row = list(scores).index(best)
    is_wide = dict(zip(scores, (n[row] < 2) | (2 * half[row] > narrow), strict=True))
    needed = {arm for arm in may_be_best(scores, step=step, num_looks=num_looks) if arm != best and is_wide[arm]}
    challenger = max((arm for arm in scores if arm != control), key=lambda arm: scores[arm].mean())
    difference = paired_to_control(scores, control, step=step, num_looks=num_looks).get(challenger)
    if difference is not None and not difference.excludes_zero:
        half_width = difference.half_width
        if half_width is None or 2 * half_width > narrow:
            needed |= {challenger}
    if needed:
        needed |= {best, str(control)}
    return tuple(arm for arm in scores if arm in needed)


def _pairs(scores: Scores, *, step: float, num_looks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, half-width of the interval and number of seeds of each arm's (row) difference to each other (column)."""
    by_seed = pd.DataFrame(dict(scores)).to_numpy()  # NaN where an arm lacks a seed
    differences = by_seed[:, :, None] - by_seed[:, None, :]
    n = np.isfinite(differences).sum(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of pairs that share no seed, or one
        means, sds = np.nanmean(differences, axis=0), np.nanstd(differences, axis=0, ddof=1)
    num_intervals = max(len(scores) - 1, 1) * num_looks
    half = half_widths(sds, np.maximum(n, 2), num_intervals=num_intervals, least_sd=LEAST_SD_STEPS * step)
    return means, half, n
