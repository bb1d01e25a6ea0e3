"""What the audit of early stopping found: false stops, ranks at the rungs and at the end, first arrivals, coarse ranks.

A false stop is a stopped trial that, trained to its end, has a better validation score than its arm's winner.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from study.analysis.budgets import arm_budgets
from study.analysis.intervals import LEVEL
from study.analysis.once import once
from study.analysis.results import winners
from study.analysis.tables import Tables, row_tuples
from study.core.stage import TUNE


@dataclass(frozen=True, kw_only=True)
class Share:
    """num of n, with its Clopper-Pearson interval at LEVEL."""

    num: int
    n: int
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class RungCorrelation:
    """How the order of trials at a rung agrees with their order at the end. tau: None if there is no pair to compare.

    num_trials: those with a value at both, completed or audited; num_pairs: pairs of the same arm.
    """

    rung_epoch: int
    tau: float | None
    num_trials: int
    num_pairs: int


@dataclass(frozen=True, kw_only=True)
class FirstArrivals:
    """Decisions about the first trial to reach a rung of its arm, which goes on whatever its value.

    num_below: those whose value lies below the cutoff that the arm's later values at that rung make.
    """

    num_decisions: int
    num_first: int
    num_below: int


@dataclass(frozen=True, kw_only=True)
class Coarseness:
    """Decisions with a cutoff; num_close: those closer to it than a standard error of a share of num_images images.

    standard_error: of the mean value that was judged.
    """

    num_images: int
    standard_error: float
    num_decisions: int
    num_close: int


def share_of(num: int, n: int) -> Share:
    """num of n with the Clopper-Pearson interval (1934), which covers in at least 95 % of samples at any n.

    Example: of none in n, the upper end is 1 - 0.025^(1/n); for n = 10, 0.3085.

    >>> share = share_of(0, 10)
    >>> share.low, round(share.high, 4)
    (0.0, 0.3085)
    """
    tail = (1 - LEVEL) / 2
    low = float(special.betaincinv(num, n - num + 1, tail)) if num else 0.0
    high = float(special.betaincinv(num + 1, n - num, 1 - tail)) if num < n else 1.0
    return Share(num=num, n=n, low=low, high=high)


def main_audit(tables: Tables) -> pd.DataFrame | None:
    """The audited trials of the main stage; None if there are none."""
    if tables.audit is None:
        return None
    found = tables.audit[tables.audit["stage"] == TUNE]
    return found if len(found) else None


def num_stopped(tables: Tables) -> int:
    """How many trials of the main stage were stopped in arms that have a winner: those that an audit draws from."""
    tuning = tables.tuning
    return int((tuning["arm"].isin(winners(tables.trials)["arm"]) & (tuning["status"] == "stopped")).sum())


def false_stops(audit: pd.DataFrame) -> Share:
    """How many of the audited trials would have beaten their arm's winner; one that diverged would not."""
    return share_of(int(audit["would_have_won"].sum()), len(audit))


@once
def rung_correlations(tables: Tables) -> list[RungCorrelation]:
    """For each rung, Kendall's tau-b of the values there and at the end over completed and audited trials of an arm."""
    ends = _values_by_epoch(tables)
    rung_epochs = sorted(int(epoch) for epoch in tables.tuning_rungs["rung_epoch"].unique())
    found = []
    for rung_epoch in rung_epochs:
        by_arm: dict[str, list[tuple[float, float]]] = {}
        for arm, values in ends:
            if len(values) > rung_epoch:  # the last epoch is not compared with itself
                by_arm.setdefault(arm, []).append((values[rung_epoch - 1], values[-1]))
        tau, num_pairs = kendall_within(by_arm.values())
        num_trials = sum(map(len, by_arm.values()))
        found.append(RungCorrelation(rung_epoch=rung_epoch, tau=tau, num_trials=num_trials, num_pairs=num_pairs))
    return found


def kendall_within(groups: Iterable[Sequence[tuple[float, float]]]) -> tuple[float | None, int]:
    """(Kendall's tau-b over the pairs within each group together, their number); None if one side is all ties.

    Pairs of different groups are not compared, so that a difference between groups is not taken for agreement.

    >>> kendall_within([[(1, 1), (2, 3), (3, 2)], [(9, 9)]])  # of three pairs, two agree and one does not
    (0.3333333333333333, 3)
    """
    agree = num_pairs = ties_x = ties_y = 0
    for group in groups:
        values = np.asarray(group, dtype=np.float64).reshape(-1, 2)
        upper = np.triu_indices(len(values), k=1)
        x, y = (np.sign(column[:, None] - column[None, :])[upper] for column in values.T)
        agree += int((x * y).sum())
        num_pairs += len(x)
        ties_x += int((x == 0).sum())
        ties_y += int((y == 0).sum())
    untied = (num_pairs - ties_x) * (num_pairs - ties_y)
    return (agree / math.sqrt(untied) if untied else None), num_pairs


def _values_by_epoch(tables: Tables) -> list[tuple[str, list[float]]]:
    """(arm, the objective after each epoch) of every completed and every audited trial that did not diverge."""
    tuning = tables.tuning
    completed = set(tuning[tuning["status"] == "completed"]["trial_id"])
    epochs = tables.tuning_epochs
    epochs = epochs[epochs["trial_id"].isin(completed)].sort_values("epoch", kind="stable")
    found = [
        (str(rows["arm"].iloc[0]), [float(value) for value in rows[tables.objective]])
        for _, rows in epochs.groupby("trial_id", sort=False)
    ]
    audit = main_audit(tables)
    if audit is not None:
        found += [(row.arm, [float(value) for value in row.values]) for row in row_tuples(_finished(audit))]
    return found


def _finished(audit: pd.DataFrame) -> pd.DataFrame:
    return audit.loc[audit["final_value"].notna(), ["arm", "values"]]


def saved_images(tables: Tables) -> tuple[float, float]:
    """(images that stopping left undrawn, their share of what all trials would have drawn in full), estimated."""
    budgets = arm_budgets(tables)
    saved, spent = float(budgets["saved_images"].sum()), float(budgets["num_images"].sum())
    return saved, saved / (saved + spent) if saved + spent else 0.0


def first_arrivals(tables: Tables) -> FirstArrivals:
    """How often a first arrival went on by its place, and not by its value."""
    sign = 1 if tables.stage(TUNE).get("mode", "max") == "max" else -1
    keep = 1 - 1 / int(tables.summary["budget"]["reduction_factor"])
    rungs = tables.tuning_rungs
    num_first = num_below = 0
    for _, rows in rungs.groupby(["arm", "rung_epoch"]):
        is_first = rows["num_peers"] == 0
        later = sign * rows[~is_first]["value"].dropna()
        num_first += int(is_first.sum())
        if len(later):
            num_below += int((sign * rows[is_first]["value"] < np.quantile(later, keep)).sum())
    return FirstArrivals(num_decisions=len(rungs), num_first=num_first, num_below=num_below)


def coarseness(tables: Tables) -> Coarseness | None:
    """How many decisions were closer than the validation set can tell apart; None if none had a cutoff."""
    judged = tables.tuning_rungs.dropna(subset=["value", "cutoff"])
    if judged.empty:
        return None
    num_images = int(tables.summary["dataset"]["num_val"])
    errors = _standard_error(judged["value"], num_images)
    return Coarseness(
        num_images=num_images,
        standard_error=float(_standard_error(judged["value"].mean(), num_images)),
        num_decisions=len(judged),
        num_close=int(((judged["value"] - judged["cutoff"]).abs() < errors).sum()),
    )


def _standard_error(share: pd.Series | float, num_images: int) -> np.ndarray:
    """Of a share of right answers over the choice of the images (binomial)."""
    return np.sqrt(np.clip(share * (1 - np.asarray(share)), 0, None) / num_images)
