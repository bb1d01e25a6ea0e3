"""Which knobs mattered: Optuna's PED-ANOVA on trials at equal fidelity, for each arm and over all arms."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from study.analysis.distributions import distributions, plain
from study.analysis.fidelity import at_equal_fidelity
from study.analysis.given import is_given
from study.analysis.knobs import varied_knobs
from study.analysis.once import once
from study.analysis.tables import Tables

ALL_ARMS = ""
"""The name, among those of arms, under which all arms are judged together; the arm is a knob there."""
ARM = "arm"
LEAST_TOP = 5
"""Optuna advises to have at least so many trials in the top share."""
TOP_SHARE = 0.1
MOST_TOP_SHARE = 0.25
LEAST_TRIALS = int(LEAST_TOP / MOST_TOP_SHARE)
NUM_SHUFFLES = 19
"""A knob without any influence exceeds all of so many shuffles by chance in 1 of 20 cases."""
DIGITS = 9
COLUMNS = ("arm", "target", "knob", "share", "is_above_chance", "num_having", "num_trials")


@once
def importances(tables: Tables) -> pd.DataFrame:
    """One row per arm (ALL_ARMS first, if there are several), target and knob, the most important first.

    Of trials that were drawn: given ones share values, and where these are good, so seems each value that they share.

    target: "score" (to be among the best) or "seconds" (to be among the fastest an epoch), at equal fidelity. share: of
    the sum over knobs, 0-1. is_above_chance: whether it exceeds what each of NUM_SHUFFLES random orders of
    the same trials gives the knob. num_having: the trials, of num_trials, that have the knob; it is judged among
    these alone. Arms with fewer than LEAST_TRIALS trials have no row.

    Conditional PED-ANOVA (Optuna's; Watanabe et al. 2023): a knob that some trials lack, or whose range hangs on a
    choice, is judged within the trials that share the range.
    """
    fidelity = at_equal_fidelity(tables)
    if fidelity is None:
        return pd.DataFrame(columns=list(COLUMNS))
    drawn = fidelity.trials[~is_given(tables, fidelity.trials)]
    rows: list[dict[str, Any]] = []
    for arm in (*([ALL_ARMS] if len(tables.arms) > 1 else []), *tables.arms):
        trials = drawn if arm == ALL_ARMS else drawn[drawn["arm"] == arm]
        if len(trials) >= LEAST_TRIALS:
            knobs = (ARM, *varied_knobs(trials)) if arm == ALL_ARMS else varied_knobs(trials)
            rows += [{"arm": arm, **row} for row in _judged(tables, trials.reset_index(drop=True), knobs)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _judged(tables: Tables, trials: pd.DataFrame, knobs: Sequence[str]) -> list[dict[str, Any]]:
    columns = {knob: trials[ARM if knob == ARM else f"config/{knob}"] for knob in knobs}
    study = _optuna_study(trials, columns, distributions(tables, trials, columns))
    top_share = max(TOP_SHARE, LEAST_TOP / len(trials))
    # PED-ANOVA asks what makes the target low.
    costs = {"score": -trials["score"].to_numpy(), "seconds": trials["seconds"].to_numpy()}
    found = {target: _ped_anova(study, values, top_share) for target, values in costs.items()}
    # Knobs are judged one by one, so a knob that a shuffle has matched need not be asked of again.
    above = {(target, knob) for target, values in found.items() for knob in values}
    rng = np.random.default_rng(0)
    for _ in range(NUM_SHUFFLES):
        if not above:
            break
        by_chance = _ped_anova(study, rng.permutation(len(trials)), top_share, sorted({knob for _, knob in above}))
        above = {(target, knob) for target, knob in above if found[target][knob] > by_chance[knob]}
    rows = []
    for target, values in found.items():
        total = sum(values.values())
        for knob, value in values.items():
            rows.append(
                {
                    "target": target,
                    "knob": knob,
                    "share": value / total if total > 0 else 0.0,
                    "is_above_chance": (target, knob) in above,
                    "num_having": int(columns[knob].notna().sum()),
                    "num_trials": len(trials),
                }
            )
    return rows


def _ped_anova(
    study: optuna.Study, costs: np.ndarray, top_share: float, knobs: Sequence[str] | None = None
) -> dict[str, float]:
    """Knob -> its importance, not normalised, for being in the top_share of the lowest costs, float64[trials].

    knobs: those that are asked of; None: all.
    """

    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # slow to import: scikit-learn

    def target(trial: FrozenTrial) -> float:
        return float(costs[trial.number])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a target is taken to be better if lower; that a range has few trials
        evaluator = PedAnovaImportanceEvaluator(target_quantile=top_share)
        found = get_param_importances(
            study, evaluator=evaluator, params=None if knobs is None else list(knobs), target=target, normalize=False
        )
    # Optuna walks over sets, in another order in each process: it shows in equal values and in the last bits of sums.
    rounded = {knob: round(value, DIGITS) for knob, value in found.items()}
    return dict(sorted(rounded.items(), key=lambda item: (-item[1], item[0])))


def _optuna_study(
    trials: pd.DataFrame, columns: Mapping[str, pd.Series], ranges: Mapping[str, Sequence[BaseDistribution]]
) -> optuna.Study:
    """The trials as Optuna's, with the range that each knob had in each trial; a knob that a trial lacks is absent."""
    study = optuna.create_study()
    has = {knob: values.notna().to_numpy() for knob, values in columns.items()}
    for row in range(len(trials)):
        having = [knob for knob in columns if has[knob][row]]
        study.add_trial(
            optuna.create_trial(
                value=0.0,  # the importance is asked of targets of our own
                params={knob: plain(columns[knob].iat[row]) for knob in having},
                distributions={knob: ranges[knob][row] for knob in having},
            )
        )
    return study
