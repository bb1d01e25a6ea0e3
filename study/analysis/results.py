"""The results of the retests: winners, ranking, scores, differences, the verdict on each group of arms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.analysis.contenders import may_be_best, paired_to_control
from study.analysis.intervals import Interval, interval_columns, paired_difference, t_interval
from study.analysis.once import once
from study.analysis.selection import Selection, selection
from study.analysis.tables import Tables, by_search, knob, of_arms
from study.core.stage import TUNE, Group
from study.records.tables import STATUSES
from trainables.common.plugins import OWN_METRIC

TEST_METRICS = (
    "test_accuracy",
    "test_balanced_accuracy",
    "test_top5_accuracy",
    "test_superclass_accuracy",
    "test_macro_f1",
    "test_worst_class_recall",
    "test_nll",
    "test_ece",
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on a group of arms by their retests, judged on unrounded numbers."""

    group: Group
    best: str | None  # the arm with the highest mean test score; None: nothing was retested
    score: Interval | None  # of the best arm
    selection: Selection | None  # what picking it by these scores did to its number
    num_arms: int  # retested
    is_control_retested: bool
    challenger: str | None  # the best arm that is not the control
    difference: Interval | None  # challenger - control, paired, one of those of `differences_to_control`
    above_control: tuple[str, ...]  # by the same intervals, which hold together
    may_be_best: tuple[str, ...]  # a 95 % confidence set for the best arm, see `may_be_best`
    chosen_on_validation: str | None  # the retested arm with the best validation score: no test value chose it
    chosen_on_validation_score: Interval | None


def seed_scores(retests: pd.DataFrame, arm: str, metric: str) -> pd.Series:
    """An arm's test scores, indexed by seed; where arms were tuned repeatedly by search, each with its seeds' mean.

    retests: of Tables. The index is named by what it holds, which the intervals take over.
    """
    own = retests[retests["arm"] == arm]
    if "unit" not in own:
        return own.set_index("seed")[metric].sort_index()
    means = {unit: np.mean(np.stack(list(scores)), axis=0) for unit, scores in own.groupby("unit")[metric]}
    return pd.Series(means, name=metric).rename_axis("search").sort_index()


@once
def unit_scores(tables: Tables) -> pd.DataFrame:
    """The score of each arm's winners at each unit of the intervals: arm, unit, score (0-1)."""
    retests = tables.main_retests
    if tables.unit == "seed":
        return pd.DataFrame({"arm": retests["arm"], "unit": retests["seed"], "score": retests[tables.score]})
    return retests.groupby(["arm", "unit"])[tables.score].mean().rename("score").reset_index()


def winners(trials: pd.DataFrame, stage: str = TUNE) -> pd.DataFrame:
    """The best completed trial of each arm of the stage, one row per arm in the order of first appearance.

    The best has the highest objective, the validation score of the *last* epoch; ties go to the lower number. An arm
    without a completed trial has no row: a stopped trial's score is of fewer epochs and never wins.
    """
    own = of_arms(trials)
    return best_completed(own[own["stage"] == stage])


def best_completed(trials: pd.DataFrame) -> pd.DataFrame:
    """As `winners`, of these trials, whatever search they are of."""
    candidates = trials[(trials["status"] == "completed") & trials["objective"].notna()]
    order = {arm: position for position, arm in enumerate(trials["arm"].drop_duplicates())}
    best = candidates.sort_values(["objective", "number"], ascending=[False, True]).drop_duplicates("arm")
    return best.sort_values("arm", key=lambda arms: arms.map(order)).reset_index(drop=True)


def winning_objectives(tables: Tables) -> pd.Series:
    """Arm -> the validation score of its winner (0-1); where it was tuned repeatedly, the mean over the searches'."""
    won = [best_completed(trials).set_index("arm")["objective"] for _, trials in by_search(tables.tuning)]
    return pd.concat(won).groupby(level=0).mean() if won else pd.Series(dtype="float64")


def status_counts(tables: Tables) -> pd.DataFrame:
    """The number of tuning trials by arm (index, declared order) and status (columns)."""
    counts = tables.tuning.groupby(["arm", "status"]).size().unstack(fill_value=0)
    return counts.reindex(index=list(tables.arms), columns=list(STATUSES), fill_value=0)


def own_metrics(tables: Tables) -> list[str]:
    """The columns of metrics that the user's plugins added."""
    return [name for name in map(str, tables.retests) if name.startswith(OWN_METRIC)]


@once
def ranked(tables: Tables, group: Group) -> list[str]:
    """The group's retested arms, the best mean test score first; ties in declared order."""
    scores = unit_scores(tables)
    means = scores.groupby("arm")["score"].mean() if len(scores) else pd.Series(dtype="float64")
    return sorted((arm for arm in group.arms if arm in means.index), key=lambda arm: -means[arm])


def ranked_arms(tables: Tables) -> list[str]:
    """The retested arms of all groups, the best of each group first."""
    return [arm for group in tables.groups for arm in ranked(tables, group)]


@once
def arm_scores(tables: Tables) -> pd.DataFrame:
    """One row per retested arm, the best of each group first: group, arm, mean, low, high, n of the score (0-1)."""
    found = []
    for group in tables.groups:
        for arm, scores in scores_by_arm(tables, group).items():
            found.append({"group": group.title, "arm": arm, **interval_columns(t_interval(scores))})
    return pd.DataFrame(found, columns=["group", "arm", "mean", "low", "high", "n"])


@once
def arm_differences(tables: Tables) -> pd.DataFrame:
    """One row per retested arm but the controls: group, arm, mean, low, high, n of its paired difference (0-1).

    The difference is to the control of the arm's own group; an arm that shares no seed with it has no row.
    """
    found = []
    for group in tables.groups:
        for arm, difference in differences_to_control(tables, group).items():
            found.append({"group": group.title, "arm": arm, **interval_columns(difference)})
    return pd.DataFrame(found, columns=["group", "arm", "mean", "low", "high", "n"])


@once
def scores_by_arm(tables: Tables, group: Group) -> dict[str, pd.Series]:
    """The scores of the group's retested arms, the best first, each indexed by seed or search (see `seed_scores`)."""
    return {arm: seed_scores(tables.main_retests, arm, tables.score) for arm in ranked(tables, group)}


@once
def differences_to_control(tables: Tables, group: Group) -> dict[str, Interval]:
    """Arm -> its paired difference to the group's control (0-1), the best arm first.

    The intervals hold together at 95 % (Bonferroni), so that of arms that are all equal one is called better in at most
    5 % of studies, however many they are. An arm that shares no seed with the control is absent.
    """
    return paired_to_control(
        scores_by_arm(tables, group), group.control, step=tables.score_step, num_looks=tables.num_looks
    )


@once
def arm_table(tables: Tables) -> pd.DataFrame:
    """One row per arm, by group, retested arms first and the best of them first: scores, differences, trials.

    Columns: arm, group, mean, low, high, n; difference_mean, _low, _high, _n; the means of TEST_METRICS and own ones;
    generalisation_gap; optimizer and val_objective of the winning trial; one column per status. Missing values are
    NaN.
    """
    scores = arm_scores(tables).set_index("arm").drop(columns="group")
    differences = arm_differences(tables).set_index("arm").drop(columns="group").add_prefix("difference_")
    metrics = tables.main_retests.groupby("arm")[[*TEST_METRICS, *own_metrics(tables)]].mean()
    best = winners(tables.trials).set_index("arm")
    validation = best["objective"].rename("val_objective")
    optimizer = knob(best, "optimizer").rename("optimizer")
    columns = [scores, differences, metrics, generalisation_gaps(tables), optimizer, validation, status_counts(tables)]
    order, titles = [], []
    for group in tables.groups:
        retested = ranked(tables, group)
        order += [*retested, *(arm for arm in group.arms if arm not in retested)]
        titles += [group.title] * len(group.arms)
    table = pd.concat(columns, axis=1).reindex(order).rename_axis("arm").reset_index()
    return table.assign(group=titles)


def generalisation_gaps(tables: Tables) -> pd.Series:
    """Arm -> training minus test accuracy (0-1) at the retest's last epoch, the mean over seeds.

    Both accuracies are of the same weights, that on training images without augmentation. Only followed retests count.
    """
    epochs = tables.retest_epochs.dropna(subset=["train_eval_accuracy", "test_accuracy"])
    last = epochs.sort_values("epoch").drop_duplicates("trial_id", keep="last")
    gaps = (last["train_eval_accuracy"] - last["test_accuracy"]).groupby(last["arm"]).mean()
    return gaps.rename("generalisation_gap")


@dataclass(frozen=True, kw_only=True)
class OtherCrown:
    """The arm that another metric would have crowned, and the best arm; scores are of that metric, 0-1.

    difference: crowned - best, paired, adjusted for the comparisons of one arm with all others.
    """

    crowned: str
    best: str
    crowned_score: Interval
    best_score: Interval
    difference: Interval | None


@once
def crowned_by(tables: Tables, group: Group, metric: str) -> OtherCrown | None:
    """The arm with the highest mean of another metric of the retests, if it is not the best arm by the score."""
    order, retests = ranked(tables, group), tables.main_retests
    if metric == tables.score or not order or retests[metric].isna().any():
        return None
    scores = {arm: seed_scores(retests, arm, metric) for arm in order}
    best, crowned = order[0], max(order, key=lambda arm: scores[arm].mean())  # of equal means, the best arm's
    if scores[crowned].mean() <= scores[best].mean():
        return None
    return OtherCrown(
        crowned=crowned,
        best=best,
        crowned_score=t_interval(scores[crowned]),
        best_score=t_interval(scores[best]),
        difference=paired_difference(
            scores[crowned],
            scores[best],
            num_comparisons=len(order) - 1,
            num_looks=tables.num_looks,
            step=tables.score_step,
        ),
    )


@once
def verdict(tables: Tables, group: Group) -> Verdict:
    """Judge a group's retests: the best arm, its difference to the control, and the arms that may be the best."""
    order, control = ranked(tables, group), group.control
    scores = scores_by_arm(tables, group)
    differences = differences_to_control(tables, group)
    challenger = next((arm for arm in order if arm != control), None)
    validation = winners(tables.trials).set_index("arm")["objective"]
    validated = [arm for arm in order if arm in validation.index]
    chosen = max(validated, key=lambda arm: validation[arm], default=None)
    return Verdict(
        group=group,
        best=order[0] if order else None,
        score=t_interval(scores[order[0]]) if order else None,
        selection=selection(scores),
        num_arms=len(order),
        is_control_retested=control in scores,
        challenger=challenger,
        difference=differences.get(challenger) if challenger else None,
        above_control=tuple(arm for arm, value in differences.items() if value.excludes_zero and value.mean > 0),
        may_be_best=may_be_best(scores, step=tables.score_step, num_looks=tables.num_looks),
        chosen_on_validation=chosen,
        chosen_on_validation_score=t_interval(scores[chosen]) if chosen else None,
    )
