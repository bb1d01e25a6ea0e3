"""Was tuning worth it? Winners against the default and random search's winner, and scores over what was spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from study.analysis.intervals import LEVEL, Interval, paired_difference, t_interval
from study.analysis.once import once
from study.analysis.results import seed_scores
from study.analysis.tables import Tables
from study.core.stage import TUNE

Role = Literal["default", "random", "knee"]
ROLES: tuple[Role, ...] = ("default", "random")
NUM_DRAWS = 400
LEAST_DRAWS = 0.5  # of the draws, those that have a score, for a band to be given
OWN, RANDOM, ONE_RUNG = "own", "random", "one_rung"


# --- the verdict


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The scores of an arm's winner and of a reference on the seeds that the reference has, indexed by seed.

    is_winner: the winner is that configuration, so that there is nothing to compare.
    """

    arm: str
    role: Role
    winner: pd.Series
    reference: pd.Series
    is_winner: bool


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What an arm's winner scores in the retest beyond a reference, 0-1.

    is_winner: see Pair. difference: winner - reference, paired; all of a page hold together. None: no seed is shared,
    or it is the winner itself.
    """

    arm: str
    role: Role
    winner: Interval
    reference: Interval
    is_winner: bool
    difference: Interval | None


@once
def gains(tables: Tables) -> list[Gain]:
    """Every arm's winner against its default, then against random search's winner, as far as they were retested.

    The intervals hold together at 95 % over arms and references (Bonferroni). What is compared was chosen on validation
    images before the first test, so that of winners that are no better than what they are held against, a gain is
    claimed in at most 5 % of studies. References have the first seeds alone, which no test score chose.
    """
    return judged(_pairs(tables, ROLES), step=tables.score_step)


@once
def knees(tables: Tables) -> list[Gain]:
    """Every arm's best-scoring trial against the knee of its front, which cost less, as far as both were retested."""
    return judged(_pairs(tables, ("knee",)), step=tables.score_step)


def _pairs(tables: Tables, roles: Sequence[Role]) -> list[Pair]:
    retests, references = tables.main_retests, tables.references
    pairs = []
    for role in roles:
        of_role = references[references["role"] == role]
        for arm in tables.arms:
            own = of_role[of_role["arm"] == arm]
            if own.empty:
                continue
            shared = retests[(retests["arm"] == arm) & retests["seed"].isin(own["seed"])]
            winner, reference = (seed_scores(frame, arm, tables.score) for frame in (shared, own))
            is_winner = bool(own["is_winner"].all())
            if len(winner):
                pairs.append(Pair(arm=arm, role=role, winner=winner, reference=reference, is_winner=is_winner))
    return pairs


def judged(pairs: Sequence[Pair], *, step: float) -> list[Gain]:
    """The gains of these pairs. step: what one test image is worth in a score."""
    num_comparisons = max(1, sum(not pair.is_winner for pair in pairs))
    return [
        Gain(
            arm=pair.arm,
            role=pair.role,
            winner=t_interval(pair.winner),
            reference=t_interval(pair.reference),
            is_winner=pair.is_winner,
            difference=None
            if pair.is_winner
            else paired_difference(pair.winner, pair.reference, num_comparisons=num_comparisons, step=step),
        )
        for pair in pairs
    ]


# --- scores over what was spent


@dataclass(frozen=True, kw_only=True)
class Anytime:
    """The best validation score so far over the training images spent. All float64[P]; NaN where there is none yet.

    method: own, random or one_rung. low, high: of the band; both NaN where it has none.
    """

    arm: str
    method: str
    images: np.ndarray
    best: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The expected best validation score of n trials: images, of n trials on average, and score (0-1), float64[N]."""

    arm: str
    method: str
    images: np.ndarray
    score: np.ndarray


@dataclass(frozen=True, kw_only=True)
class TopK:
    """One rung, then the best k to their end: what it takes, and what it cannot be replayed for, if anything."""

    num_trials: int
    k: int
    num_unknown: int  # of the k, those that early stopping ended, so that nobody knows how they would have ended


@once
def anytime(tables: Tables) -> list[Anytime]:
    """Curves of the arm's own search, of random search, and of random search with one rung, where that is known."""
    found = []
    for arm in tables.arms:
        for method, frame in ((OWN, tables.tuning), (RANDOM, tables.control_trials)):
            searches = _searches(frame, arm)
            if searches:
                found.append(_anytime(arm, method, searches))
        replayed = _one_rung_replays(tables, arm)
        if replayed and all(known.num_unknown == 0 for known, _ in replayed):
            curve = _anytime(arm, ONE_RUNG, [trials for _, trials in replayed])
            none = np.full_like(curve.best, np.nan)
            found.append(replace(curve, low=none, high=none))
    return found


def _searches(frame: pd.DataFrame, arm: str) -> list[pd.DataFrame]:
    """The trials of each of the arm's searches in the order in which they were proposed: images, objective, status."""
    own = frame[frame["arm"] == arm]
    groups = own.groupby("search") if "search" in own and own["search"].notna().all() else [(1, own)]
    return [trials.sort_values("number") for _, trials in groups if trials["images"].sum() > 0]


def _anytime(arm: str, method: str, searches: Sequence[pd.DataFrame]) -> Anytime:
    """The mean over the searches at the end of each of their trials, one after another as they were proposed.

    The band: searches, and the trials of each, drawn again with replacement, each keeping its fate and their order.
    """
    ends = np.unique(np.concatenate([trials["images"].to_numpy().cumsum() for trials in searches]))
    rng = np.random.default_rng(0)
    identity = [np.arange(len(trials))[None] for trials in searches]
    best = _mean([_best_so_far(trials, order, ends) for trials, order in zip(searches, identity, strict=True)])[0]
    drawn = [
        _best_so_far(trials, np.sort(rng.integers(len(trials), size=(NUM_DRAWS, len(trials))), axis=1), ends)
        for trials in searches
    ]
    chosen = rng.integers(len(searches), size=(NUM_DRAWS, len(searches)))
    draws = _mean([np.stack(drawn)[chosen[:, place], np.arange(NUM_DRAWS)] for place in range(len(searches))])
    tail = (1 - LEVEL) / 2
    low, high = (_quantile(draws, share) for share in (tail, 1 - tail))
    return Anytime(arm=arm, method=method, images=ends.astype(float), best=best, low=low, high=high)


def _best_so_far(trials: pd.DataFrame, orders: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The best score of a completed trial when so many images were spent: float64[D, P]; -inf where there is none.

    orders: int64[D, N], the trials by position.
    """
    completed = (trials["status"] == "completed").to_numpy()
    scores = np.where(completed, trials["objective"].fillna(-np.inf).to_numpy(), -np.inf)
    spent = trials["images"].to_numpy()[orders].cumsum(axis=1)
    best = np.maximum.accumulate(scores[orders], axis=1)
    num_ended = (spent[:, :, None] <= at).sum(axis=1)  # [D, P]
    padded = np.concatenate([np.full((len(orders), 1), -np.inf), best], axis=1)
    return np.take_along_axis(padded, num_ended, axis=1)


def _mean(curves: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of curves, NaN where one of them has no score yet."""
    mean = np.mean(curves, axis=0)
    return np.where(np.isfinite(mean), mean, np.nan)


def _quantile(draws: np.ndarray, share: float) -> np.ndarray:
    """Of the draws that have a score; NaN where too few have."""
    found = np.full(draws.shape[1], np.nan)
    for position, column in enumerate(draws.T):
        known = column[~np.isnan(column)]
        if len(known) >= LEAST_DRAWS * len(column):
            found[position] = np.quantile(known, share)
    return found


def one_rung(tables: Tables, trials: pd.DataFrame) -> tuple[TopK, pd.DataFrame]:
    """The control's trials as if all had been trained to the first rung, and then the best k to their end.

    k: the share that ASHA keeps. The trials of the replay are the k best, in the order of their rank, after one that
    stands for all that was spent before. What a control proposes hangs on no outcome, so that it would have proposed
    the same; how a trial ends is known if it was completed.
    """
    budget = tables.summary["budget"]
    rung, factor = int(budget["grace_epochs"]), int(budget["reduction_factor"])
    epochs = tables.epochs[tables.epochs["trial_id"].isin(trials["trial_id"])]
    first = epochs[epochs["epoch"] <= rung].sort_values("epoch")
    at_rung = first[first["epoch"] == rung].set_index("trial_id")[tables.objective].dropna()
    k = max(1, len(trials) // factor)
    order = {trial_id: place for place, trial_id in enumerate(trials["trial_id"])}
    ranked = sorted(at_rung.index, key=lambda trial_id: (-at_rung[trial_id], order[trial_id]))[:k]
    by_id = trials.set_index("trial_id")
    best = by_id.loc[ranked]
    spent = first.groupby("trial_id")["images"].sum()
    before = pd.DataFrame({"images": [int(spent.sum())], "status": ["stopped"], "objective": [np.nan]})
    after = best.assign(images=best["images"] - spent.reindex(best.index))[["images", "status", "objective"]]
    known = TopK(num_trials=len(trials), k=len(ranked), num_unknown=int((best["status"] != "completed").sum()))
    return known, pd.concat([before, after], ignore_index=True)


def _one_rung_replays(tables: Tables, arm: str) -> list[tuple[TopK, pd.DataFrame]]:
    """One for each control of the arm; none where there was no rung to stop at."""
    if int(tables.summary["budget"]["grace_epochs"]) >= int(tables.stage(TUNE)["epochs_of"][arm]):
        return []
    return [one_rung(tables, trials) for trials in _searches(tables.control_trials, arm)]


@once
def replays(tables: Tables) -> list[tuple[str, TopK]]:
    """(arm, whether one rung can be replayed) of every control of every arm."""
    return [(arm, known) for arm in tables.arms for known, _ in _one_rung_replays(tables, arm)]


@once
def expected(tables: Tables) -> list[Expected]:
    """The expected best of n trials drawn from those of a search, up to as many as it had (Dodge et al. 2019).

    A trial that was stopped counts with the score at which it was, one that failed as the worst of all.
    """
    found = []
    for arm in tables.arms:
        for method, frame in ((OWN, tables.tuning), (RANDOM, tables.control_trials)):
            searches = _searches(frame, arm)
            trials = pd.concat(searches) if searches else frame.iloc[:0]
            scores = trials["objective"].where(trials["status"] != "failed").to_numpy(dtype=float)
            if np.isfinite(scores).any():
                scores = np.where(np.isfinite(scores), scores, np.nanmin(scores))
                n = np.arange(1, max(map(len, searches)) + 1)
                best = np.array([expected_best(scores, int(number)) for number in n])
                found.append(Expected(arm=arm, method=method, images=n * float(trials["images"].mean()), score=best))
    return found


def expected_best(scores: np.ndarray, num_trials: int) -> float:
    """The expected highest of num_trials scores drawn with replacement (Dodge et al. 2019, "Show Your Work", eq. 4-6).

    Example: of 1 and 2, two draws are both 1 in a quarter of cases, so 1.75.

    >>> expected_best(np.array([2.0, 1.0]), 2)
    1.75
    """
    ranked = np.sort(scores)
    at_most = (np.arange(len(ranked) + 1) / len(ranked)) ** num_trials
    return float((ranked * np.diff(at_most)).sum())


def control_share(tables: Tables) -> tuple[int, int]:
    """(the trials of a control, those of the search that it is held against), as planned."""
    budget = tables.summary["budget"]
    return int(budget.get("control_trials") or 0), int(budget["trials_per_arm"])


def control_images(tables: Tables) -> int:
    """The training images that the controls drew."""
    return int(tables.control_trials["images"].sum())
