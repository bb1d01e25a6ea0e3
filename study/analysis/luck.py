"""The search's own luck: what of a score's spread is the search's and what the seeds', and what would settle a pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from study.analysis.contenders import paired_to_control
from study.analysis.intervals import LEVEL, Interval, t_interval
from study.analysis.once import once
from study.analysis.results import ranked, scores_by_arm, seed_scores
from study.analysis.tables import Tables

MOST_SEARCHES = 1_000
MOST_SEEDS = 10_000


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Where the spread of scores, or of differences, over searches and seeds comes from; standard deviations, 0-1.

    seeds: of one seed about the mean of its search; None with one seed a search. search: of a search's true mean about
    the mean of all such searches: what is left of the means' spread when that of their seeds is taken out, 0 at least.
    """

    search_means: tuple[float, ...]
    seeds: float | None
    search: float
    num_seeds: float  # a search's, on average (harmonic)


@dataclass(frozen=True, kw_only=True)
class ArmLuck:
    arm: str
    score: Interval
    spread: Spread


@dataclass(frozen=True, kw_only=True)
class PairLuck:
    """An arm's difference to its control. searches, seeds: what would settle it, see `settled_by`; None if it is."""

    arm: str
    control: str
    difference: Interval
    spread: Spread
    searches: int | None
    seeds: int | None


def spread_of(by_search: list[np.ndarray]) -> Spread:
    """The parts of the spread of values, an array a search with one for each of its seeds (one-way random effects).

    Example: searches with the values 1, 3 and 5, 7: seeds deviate by √2, so their means by 1, of a variance of 8 / 1
    between the means 2 and 6; the search's own is √(8 - 1).

    >>> spread = spread_of([np.array([1.0, 3.0]), np.array([5.0, 7.0])])
    >>> round(spread.seeds**2, 6), round(spread.search**2, 6)
    (2.0, 7.0)
    """
    means = np.array([values.mean() for values in by_search])
    freedom = sum(len(values) - 1 for values in by_search)
    within = sum(((values - values.mean()) ** 2).sum() for values in by_search) / freedom if freedom else None
    num_seeds = len(by_search) / sum(1 / len(values) for values in by_search)
    between = float(means.var(ddof=1)) - (within or 0.0) / num_seeds
    return Spread(
        search_means=tuple(float(mean) for mean in means),
        seeds=None if within is None else float(np.sqrt(within)),
        search=float(np.sqrt(max(0.0, between))),
        num_seeds=num_seeds,
    )


def settled_by(difference: Interval, spread: Spread) -> tuple[int | None, int | None]:
    """(searches of as many seeds, seeds in each of as many searches) by which the interval would exclude 0.

    As if the measured difference and spread were the true ones. None: not by MOST_SEARCHES; not by any number of seeds,
    because what the search adds is too much by itself, or because there is one seed.
    """
    seeds = spread.seeds or 0.0

    def is_settled(num_searches: np.ndarray, num_seeds: np.ndarray) -> np.ndarray:
        tail = (1 - LEVEL) / (difference.num_comparisons * difference.num_looks) / 2
        variance = (spread.search**2 + seeds**2 / num_seeds) / num_searches
        return special.stdtrit(num_searches - 1, 1 - tail) * np.sqrt(variance) < abs(difference.mean)

    num_searches, num_seeds = np.arange(2, MOST_SEARCHES + 1), np.arange(1, MOST_SEEDS + 1)
    by_searches = num_searches[is_settled(num_searches, np.array(spread.num_seeds))]
    by_seeds = num_seeds[is_settled(np.array(difference.n), num_seeds)] if spread.seeds is not None else []
    return (
        int(by_searches[0]) if len(by_searches) else None,
        int(by_seeds[0]) if len(by_seeds) else None,
    )


@once
def arm_lucks(tables: Tables) -> list[ArmLuck]:
    """One for each arm with winners of two searches or more, best first; none where every arm was tuned once."""
    found = []
    for group in tables.groups:
        for arm in ranked(tables, group):
            values = _by_search(tables.main_retests[tables.main_retests["arm"] == arm], tables.score)
            if len(values) > 1:
                score = t_interval(seed_scores(tables.main_retests, arm, tables.score))
                found.append(ArmLuck(arm=arm, score=score, spread=spread_of(list(values.values()))))
    return found


@once
def pair_lucks(tables: Tables) -> list[PairLuck]:
    """One for each arm that shares two searches or more with its control, best first."""
    found = []
    for group in tables.groups:
        scores = scores_by_arm(tables, group)
        differences = paired_to_control(scores, group.control, step=tables.score_step, num_looks=tables.num_looks)
        for arm, difference in differences.items():
            pairs = _by_search(_paired(tables, arm, str(group.control)), "difference")
            if len(pairs) > 1:
                spread = spread_of(list(pairs.values()))
                searches, seeds = (None, None) if difference.excludes_zero else settled_by(difference, spread)
                found.append(
                    PairLuck(
                        arm=arm,
                        control=str(group.control),
                        difference=difference,
                        spread=spread,
                        searches=searches,
                        seeds=seeds,
                    )
                )
    return found


def _by_search(rows: pd.DataFrame, column: str) -> dict[Any, np.ndarray]:
    if "unit" not in rows:
        return {}
    return {search: values.to_numpy() for search, values in rows.groupby("unit")[column]}


def _paired(tables: Tables, arm: str, control: str) -> pd.DataFrame:
    """The arm's score minus the control's at each seed that both have: unit, difference."""
    retests = tables.main_retests.set_index("seed")
    own, other = (retests[retests["arm"] == name] for name in (arm, control))
    if "unit" not in own:
        return pd.DataFrame()
    return pd.DataFrame({"unit": own["unit"], "difference": own[tables.score] - other[tables.score]}).dropna()


def seeds_draw_subsets(tables: Tables) -> bool:
    """Whether an arm's retest seeds chose other training images, so that subsets are part of the seeds' spread."""
    images = tables.main_retests.groupby("arm")["train_indices_sha256"].nunique()
    return bool((images > 1).any())
