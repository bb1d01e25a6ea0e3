"""The effect of pre-training at each share of the labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from study.analysis import intervals, results
from study.analysis.intervals import Interval
from study.analysis.tables import Tables
from study.core.stage import Group

SCRATCH, EQUAL_EPOCHS, JIGSAW = "scratch", "scratch_equal_epochs", "jigsaw"


def initialisation(tables: Tables, arm: str) -> str | None:
    """The arm's initialisation: 'scratch', 'scratch_equal_epochs' or 'jigsaw'; None if it is not known."""
    return tables.factors(arm).get("initialisation")


def label_fraction(tables: Tables, arm: str) -> float:
    """The share of the labels that the arm trains on, 0-1; NaN if it is not known."""
    return float(tables.factors(arm).get("label_fraction", "nan"))


# The verdict by the signs of the paired differences (to scratch, to scratch with equal epochs); 0: includes 0.
TRANSFER_WORDS = {
    (1, 1): "helps",
    (1, 0): "gives no measurable gain over training for as many epochs on the labels",
    (1, -1): "beats scratch, but training for as many epochs on the labels is better",
    (0, 1): "gives no measurable gain over scratch",
    (0, 0): "gives no measurable gain",
    (0, -1): "gives no measurable gain over scratch, and training for as many epochs on the labels is better",
    (-1, 1): "hurts against scratch",
    (-1, 0): "hurts against scratch",
    (-1, -1): "hurts",
}


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Pre-training's effect at one label fraction. arm: the pre-trained arm. None differences: no seed is shared."""

    group: Group
    arm: str
    score: Interval
    to_scratch: Interval | None
    to_equal_epochs: Interval | None

    @property
    def words(self) -> str | None:
        """The verdict, or None if one of the two intervals is missing."""
        if self.to_scratch is None or self.to_equal_epochs is None:
            return None
        if self.to_scratch.low is None or self.to_equal_epochs.low is None:
            return None
        return TRANSFER_WORDS[_sign(self.to_scratch), _sign(self.to_equal_epochs)]


def _sign(difference: Interval) -> int:
    return int(math.copysign(1, difference.mean)) if difference.excludes_zero else 0


def transfers(tables: Tables, num_comparisons: int = 2) -> list[Transfer]:
    """One Transfer for each group whose pre-trained arm was retested.

    num_comparisons: how many differences are to hold together; 2: those of each group.
    """
    found = []
    for group in tables.groups:
        scores = {
            initialisation(tables, arm): results.seed_scores(tables.main_retests, arm, tables.score)
            for arm in group.arms
        }
        arms = {initialisation(tables, arm): arm for arm in group.arms}
        jigsaw = scores.get(JIGSAW, pd.Series(dtype="float64"))
        if len(jigsaw):
            to_scratch, to_equal_epochs = (
                intervals.paired_difference(
                    jigsaw,
                    scores[other],
                    num_comparisons=num_comparisons,
                    num_looks=tables.num_looks,
                    step=tables.score_step,
                )
                if other in scores
                else None
                for other in (SCRATCH, EQUAL_EPOCHS)
            )
            found.append(
                Transfer(
                    group=group,
                    arm=arms[JIGSAW],
                    score=intervals.t_interval(jigsaw),
                    to_scratch=to_scratch,
                    to_equal_epochs=to_equal_epochs,
                )
            )
    return found
