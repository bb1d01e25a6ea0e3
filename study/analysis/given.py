"""Trials that no sampler proposed: the configurations that a search is given to begin with."""

from __future__ import annotations

import pandas as pd

from study.analysis import results
from study.analysis.tables import Tables
from study.core.stage import TUNE


def is_given(tables: Tables, trials: pd.DataFrame) -> pd.Series:
    """Whether each of these tuning trials is one of the first that its search was given, bool.

    Runs made before their number was recorded tell the start of an arm alone, its first trial.
    """
    num_given = tables.stage(TUNE).get("num_given")
    if num_given is None:
        num_given = dict.fromkeys(tables.arms, int(tables.summary["budget"]["searcher"] != "grid"))
    return trials["number"] < trials["arm"].map(num_given)


def given_winners(tables: Tables) -> tuple[tuple[str, ...], int]:
    """(the arms whose winner was given, in declared order; how many arms tried anything else)."""
    tuning = tables.tuning
    searched = set(tuning.loc[~is_given(tables, tuning), "arm"])
    winners = results.winners(tables.trials)
    given = set(winners.loc[is_given(tables, winners), "arm"])
    return tuple(arm for arm in tables.arms if arm in given & searched), len(searched)
