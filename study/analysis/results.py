"""The results of the retests: winners, ranking, scores, differences, the verdict on each group of arms."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from study.analysis.intervals import LEVEL, Interval, interval_columns, paired_difference, t_interval
from study.analysis.tables import Tables, knob
from study.core.stage import TUNE, Group

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
STATUSES = ("completed", "stopped", "failed", "running", "interrupted")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on a group of arms by their retests, judged on unrounded numbers."""

    group: Group
    best: str | None  # the arm with the highest mean test score; None: nothing was retested
    score: Interval | None  # of the best arm
    num_arms: int  # retested
    is_control_retested: bool
    challenger: str | None  # the best arm that is not the control
    difference: Interval | None  # challenger - control, paired
    adjusted: Interval | None  # the same at the Bonferroni level; None for fewer than two comparisons
    num_comparisons: int  # arms that share at least one seed with the control
    measurably_above_control: tuple[str, ...]  # at 95 %, unadjusted
    indistinguishable_from_best: tuple[str, ...]  # paired interval of best - arm includes 0 or does not exist
    chosen_on_validation: str | None  # the retested arm with the best validation score: no test value chose it
    chosen_on_validation_score: Interval | None


def seed_scores(retests: pd.DataFrame, arm: str, metric: str) -> pd.Series:
    """An arm's test scores, indexed by seed."""
    return retests[retests["arm"] == arm].set_index("seed")[metric].sort_index()


def winners(trials: pd.DataFrame, stage: str = TUNE) -> pd.DataFrame:
    """The best completed trial of each arm of the stage, one row per arm in the order of first appearance.

    The best has the highest objective, the validation score of the *last* epoch; ties go to the lower number. An arm
    without a completed trial has no row: a stopped trial's score is of fewer epochs and never wins.
    """
    candidates = trials[(trials["stage"] == stage) & (trials["status"] == "completed") & trials["objective"].notna()]
    order = {arm: position for position, arm in enumerate(trials["arm"].drop_duplicates())}
    best = candidates.sort_values(["objective", "number"], ascending=[False, True]).drop_duplicates("arm")
    return best.sort_values("arm", key=lambda arms: arms.map(order)).reset_index(drop=True)


def status_counts(tables: Tables) -> pd.DataFrame:
    """The number of tuning trials by arm (index, declared order) and status (columns)."""
    tuning = tables.tuning
    counts = {
        arm: {status: int(((tuning["arm"] == arm) & (tuning["status"] == status)).sum()) for status in STATUSES}
        for arm in tables.arms
    }
    return pd.DataFrame.from_dict(counts, orient="index", columns=list(STATUSES))


def ranked(tables: Tables, group: Group) -> list[str]:
    """The group's retested arms, the best mean test score first; ties in declared order."""
    retests = tables.main_retests
    means = retests.groupby("arm")[tables.score].mean() if len(retests) else pd.Series(dtype="float64")
    return sorted((arm for arm in group.arms if arm in means.index), key=lambda arm: -means[arm])


def ranked_arms(tables: Tables) -> list[str]:
    """The retested arms of all groups, the best of each group first."""
    return [arm for group in tables.groups for arm in ranked(tables, group)]


def arm_scores(tables: Tables) -> pd.DataFrame:
    """One row per retested arm, the best of each group first: group, arm, mean, low, high, n of the score (0-1)."""
    found = []
    for group in tables.groups:
        for arm in ranked(tables, group):
            interval = t_interval(seed_scores(tables.main_retests, arm, tables.score))
            found.append({"group": group.title, "arm": arm, **interval_columns(interval)})
    return pd.DataFrame(found, columns=["group", "arm", "mean", "low", "high", "n"])


def arm_differences(tables: Tables) -> pd.DataFrame:
    """One row per retested arm but the controls: group, arm, mean, low, high, n of its paired difference (0-1).

    The difference is to the control of the arm's own group; an arm that shares no seed with it has no row.
    """
    found = []
    for group in tables.groups:
        for arm in ranked(tables, group):
            difference = _difference(tables, arm, group.control)
            if arm != group.control and difference is not None:
                found.append({"group": group.title, "arm": arm, **interval_columns(difference)})
    return pd.DataFrame(found, columns=["group", "arm", "mean", "low", "high", "n"])


def _difference(tables: Tables, arm: str, control: str | None, level: float = LEVEL) -> Interval | None:
    if control is None:
        return None
    return paired_difference(
        seed_scores(tables.main_retests, arm, tables.score),
        seed_scores(tables.main_retests, control, tables.score),
        level,
    )


def arm_table(tables: Tables) -> pd.DataFrame:
    """One row per arm, by group, retested arms first and the best of them first: scores, differences, trials.

    Columns: arm, group, mean, low, high, n; difference_mean, _low, _high, _n; the means of TEST_METRICS;
    generalisation_gap; optimizer and val_objective of the winning trial; one column per status. Missing values are
    NaN.
    """
    scores = arm_scores(tables).set_index("arm").drop(columns="group")
    differences = arm_differences(tables).set_index("arm").drop(columns="group").add_prefix("difference_")
    metrics = tables.main_retests.groupby("arm")[list(TEST_METRICS)].mean()
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


def verdict(tables: Tables, group: Group) -> Verdict:
    """Judge a group's retests: the best arm, its difference to the control, and the arms indistinguishable from it."""
    order, control = ranked(tables, group), group.control
    scores = {arm: seed_scores(tables.main_retests, arm, tables.score) for arm in order}
    challengers = [arm for arm in order if arm != control]
    differences = {arm: _difference(tables, arm, control) for arm in challengers}
    num_comparisons = sum(difference is not None for difference in differences.values())
    challenger = challengers[0] if challengers else None
    adjusted = None
    if challenger is not None and num_comparisons > 1:
        adjusted = _difference(tables, challenger, control, 1 - (1 - LEVEL) / num_comparisons)
    to_best = {arm: paired_difference(scores[order[0]], scores[arm]) for arm in order[1:]}
    validation = winners(tables.trials).set_index("arm")["objective"]
    validated = [arm for arm in order if arm in validation.index]
    chosen = max(validated, key=lambda arm: validation[arm], default=None)
    return Verdict(
        group=group,
        best=order[0] if order else None,
        score=t_interval(scores[order[0]]) if order else None,
        num_arms=len(order),
        is_control_retested=control in scores,
        challenger=challenger,
        difference=differences[challenger] if challenger else None,
        adjusted=adjusted,
        num_comparisons=num_comparisons,
        measurably_above_control=tuple(
            arm for arm, value in differences.items() if value and value.excludes_zero and value.mean > 0
        ),
        indistinguishable_from_best=tuple(
            arm for arm, value in to_best.items() if value is None or not value.excludes_zero
        ),
        chosen_on_validation=chosen,
        chosen_on_validation_score=t_interval(scores[chosen]) if chosen else None,
    )
