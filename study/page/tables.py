"""The tables of the page that all tasks share, as formatted strings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from study.analysis import results, worth
from study.analysis.budgets import MAX_IMAGE_SPREAD, arm_budgets, image_spread, least_equal_budgets, num_repeats
from study.analysis.fidelity import at_equal_fidelity
from study.analysis.importance import ALL_ARMS, importances
from study.analysis.late import judged_late
from study.analysis.pareto import scores_and_costs, slowest_over_fastest
from study.analysis.tables import Tables, of_winners
from study.analysis.worth import control_images
from study.core.stage import TUNE
from study.core.text import NOTHING, duration, listed, plural, plural_of
from study.page.cautions import edge_ends
from study.page.table import Table
from study.page.task import TaskPage
from study.page.text import (
    adjusted_text,
    config_value,
    difference_cell,
    interval_cell,
    is_missing,
    mean_cell,
    paired_cell,
    percent,
    points,
)
from study.page.words import metric_name, optimizer_name


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table of arms: its heading, and the cell for a row of analysis.results.arm_table."""

    title: str
    cell: Callable[[Mapping[Any, Any]], str]


def _share(name: str) -> Callable[[Mapping[Any, Any]], str]:
    return lambda row: percent(row[name])


METRIC_COLUMNS = {
    "test_accuracy": Column(title="Accuracy", cell=_share("test_accuracy")),
    "test_top5_accuracy": Column(title="Top-5", cell=_share("test_top5_accuracy")),
    "test_superclass_accuracy": Column(title="Super\u00adclass", cell=_share("test_superclass_accuracy")),
    "test_macro_f1": Column(title="Macro-F1", cell=_share("test_macro_f1")),
    "test_worst_class_recall": Column(title="Worst class", cell=_share("test_worst_class_recall")),
    "test_ece": Column(title="ECE", cell=_share("test_ece")),
    "test_nll": Column(
        title="NLL", cell=lambda row: NOTHING if is_missing(row["test_nll"]) else f"{row['test_nll']:.3f}"
    ),
    "generalisation_gap": Column(title="Gap to training", cell=lambda row: points(row["generalisation_gap"])),
}


def arms_table(page: TaskPage, tables: Tables) -> Table:
    frame = results.arm_table(tables)
    best = {arm for group in tables.groups for arm in results.ranked(tables, group)[:1]}
    controls = {group.control for group in tables.groups}
    columns = _arm_columns(page, tables, is_n_common=frame["n"].nunique() <= 1)
    rows = frame.to_dict("records")
    numbers = sorted({int(n) for n in frame["n"].dropna()})
    units = plural_of(tables.unit)
    over = f"means over {plural(numbers[0], tables.unit)}" if len(numbers) == 1 else f"means over n {units}"
    worst = f" Worst class: the lowest recall of any class, found {tables.unit} by {tables.unit}." * (
        "test_worst_class_recall" in page.metrics
    )
    gap = " Gap: training minus test accuracy at the last epoch, in points." * ("generalisation_gap" in page.metrics)
    return Table(
        caption=f"Test results of each arm's winner, {over}, the best arm first{' in its group' * (len(controls) > 1)}"
        f". ± is half the width of the 95 % t-interval; differences are paired by {tables.unit}, and the intervals of "
        "a group's hold together at 95 %. Accuracies, F1, recall and ECE (15 bins) in %, differences in points, NLL in "
        "nats."
        f"{worst}{gap} Validation score: of the winning tuning trial. Trials: completed / stopped early / failed.",
        columns=tuple(column.title for column in columns),
        rows=tuple(tuple(column.cell(row) for column in columns) for row in rows),
        marks=tuple("best" if row["arm"] in best else "control" if row["arm"] in controls else "" for row in rows),
    )


def _arm_columns(page: TaskPage, tables: Tables, *, is_n_common: bool) -> list[Column]:
    controls = tables.controls
    named = sorted({control for control in controls.values() if control is not None})
    columns = [Column(title="Arm", cell=lambda row: str(row["arm"]))]
    columns.append(
        Column(
            title=page.score_title,
            cell=lambda row: mean_cell(row["mean"], row["low"], row["high"], None if is_n_common else row["n"]),
        )
    )
    if named:
        columns.append(
            Column(
                title=f"Difference to {named[0] if len(named) == 1 else 'the control'}",
                cell=lambda row: "control" if row["arm"] == controls[row["arm"]] else _difference(row),
            )
        )
    columns += [METRIC_COLUMNS[metric] for metric in page.metrics]
    columns += [_own_metric(name) for name in results.own_metrics(tables)]
    if page.names_optimizer:
        columns.append(Column(title="Optimiser", cell=_optimizer))
    return [
        *columns,
        Column(title="Validation score", cell=_share("val_objective")),
        Column(title="Trials", cell=_trials),
    ]


def _own_metric(name: str) -> Column:
    return Column(
        title=name.partition("/")[2], cell=lambda row: NOTHING if is_missing(row[name]) else f"{row[name]:.4g}"
    )


def _difference(row: Mapping[Any, Any]) -> str:
    return difference_cell(row["difference_mean"], row["difference_low"], row["difference_high"])


def _optimizer(row: Mapping[Any, Any]) -> str:
    return NOTHING if is_missing(row["optimizer"]) else optimizer_name(str(row["optimizer"]))


def _trials(row: Mapping[Any, Any]) -> str:
    unfinished = row["running"] + row["interrupted"]
    trials = f"{row['completed']} / {row['stopped']} / {row['failed']}"
    return f"{trials} (+ {unfinished} unfinished)" if unfinished else trials


def not_retested(tables: Tables) -> list[tuple[str, str]]:
    """The arms that were not retested on all seeds, with reasons."""
    reasons = dict(tables.summary.get("not_retested") or {})
    retested = set(of_winners(tables.retests)["arm"])
    default = "the study is not finished" if tables.summary["state"] != "complete" else "no reason was recorded"
    return [
        (arm, str(reasons.get(arm, default)))
        for arm in staged_arms(tables.summary)
        if arm not in retested or arm in reasons
    ]


def descriptions(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    texts = summary.get("arm_descriptions") or {}
    return [(arm, str(texts[arm])) for arm in staged_arms(summary) if arm in texts]


def staged_arms(summary: Mapping[str, Any]) -> list[str]:
    """The arms of all stages, in the order of the stages."""
    return [arm for stage in summary["stages"] for arm in stage["arms"]]


def winner_commands(tables: Tables) -> list[tuple[str, str]]:
    found = tables.summary.get("winners") or {}
    return [(arm, str(found[arm]["command"])) for arm in staged_arms(tables.summary) if arm in found]


def winners_table(tables: Tables) -> Table | None:
    found = tables.summary.get("winners") or {}
    arms = [arm for arm in staged_arms(tables.summary) if arm in found]
    if not arms:
        return None
    names = list(dict.fromkeys(name for arm in arms for name in found[arm]["config"]))
    # A hyperparameter that is null for all winners would be an empty column.
    names = [name for name in names if any(found[arm]["config"].get(name) is not None for arm in arms)]
    ends = edge_ends(tables)
    rows = tuple(
        (
            arm,
            str(found[arm]["trial_id"]),
            percent(found[arm]["objective"]),
            *(
                config_value(found[arm]["config"].get(name)) + (f" ({ends[arm, name]})" if (arm, name) in ends else "")
                for name in names
            ),
        )
        for arm in arms
    )
    return Table(
        caption="The winning configurations; – where a hyperparameter is inactive. Validation score in %.",
        columns=("Arm", "Trial", "Validation score", *names),
        rows=rows,
    )


def importance_table(tables: Tables) -> Table | None:
    """The importances over all arms, and among how many trials each was judged."""
    found = importances(tables)
    found = found[found["arm"] == (ALL_ARMS if len(tables.arms) > 1 else tables.arms[0])]
    if found.empty:
        return None
    by_target = {target: rows.set_index("knob") for target, rows in found.groupby("target")}
    rows = [
        (str(row["knob"]), _importance(row), _importance(by_target["seconds"].loc[row["knob"]]), _judged_among(row))
        for row in found[found["target"] == "score"].to_dict("records")
    ]
    return Table(
        caption="Importance of the hyperparameters in %, as in the figure; * more than by chance. A hyperparameter "
        "that only some trials have, as its arm or a choice decides, is judged among these, and the fewer they are, "
        "the less it can weigh.",
        columns=("Hyperparameter", "For the score", "For the training time", "Judged among"),
        rows=tuple(rows),
    )


def _importance(row: Mapping[Any, Any] | pd.Series) -> str:
    return percent(row["share"]) + " *" * bool(row["is_above_chance"])


def _judged_among(row: Mapping[Any, Any]) -> str:
    everyone = row["num_having"] == row["num_trials"]
    return f"all {row['num_trials']:,} trials" if everyone else f"{row['num_having']:,} of {row['num_trials']:,} trials"


def budget_warning(tables: Tables) -> str | None:
    """A warning if budgets that should have been equal differ by more than 10 % in images, else None."""
    budgets = least_equal_budgets(arm_budgets(tables))
    spread = image_spread(budgets)
    if spread <= MAX_IMAGE_SPREAD:
        return None
    by_images = budgets.sort_values("num_images", kind="stable")
    least, most = by_images.iloc[0], by_images.iloc[-1]
    reasons = []
    if late := judged_late(tables):
        reasons.append(f"early stopping judged {listed(list(late))} late or never")
    if budgets["num_stopped"].sum() > 0:
        reasons.append("early stopping ended more epochs in some arms than in others")
    if (tables.tuning["status"] == "failed").any():
        reasons.append("some trials failed")
    if tables.summary["budget"].get("time_budget") and budgets["num_trials"].nunique() > 1:
        reasons.append("the time budget was spent")
    if tables.summary["state"] != "complete":
        reasons.append("the study was interrupted")
    if (budgets["num_trials"] == 0).any():
        reasons.append("no trial of some arms could begin")
    return (
        f"Budgets were not equal in images: tuning drew {int(least['num_images']):,} training images in "
        f"{least['arm']} and {int(most['num_images']):,} in {most['arm']}, a spread of {percent(spread)} % "
        f"of the larger (limit {percent(MAX_IMAGE_SPREAD, 0)} %), although both are given the same "
        "number of trials and of epochs a trial, because "
        f"{listed(reasons) if reasons else 'some trials ran fewer epochs'}."
    )


def budget_sentences(tables: Tables) -> list[str]:
    before = _budgets_before(tables)
    budgets = arm_budgets(tables)
    if budgets["num_trials"].sum() == 0:
        return [*before, "No trial of the arms below was run." if before else "No trial was run."]
    spent, saved = budgets["seconds"].sum(), budgets["saved_seconds"].sum()
    spread = image_spread(least_equal_budgets(budgets))
    decisions = tables.tuning_rungs["decision"]
    sentences = [
        f"Tuning ran {plural(int(budgets['num_trials'].sum()), 'trial')} over "
        f"{plural(len(budgets), 'arm')} and drew {int(budgets['num_images'].sum()):,} training images in "
        f"{duration(spent)} of training and validation, summed over trials.",
        "Early stopping was off, because each arm was searched for training time too."
        if tables.has_two_objectives
        else f"Early stopping took {plural(len(decisions), 'decision')}, of which "
        f"{int((decisions == 'stop').sum()):,} stopped a trial. That left "
        f"{plural(int(budgets['saved_epochs'].sum()), 'epoch')} unrun, about {duration(saved)}, or "
        f"{percent(saved / (spent + saved) if spent + saved > 0 else 0, 0)} % of the time that the same trials "
        "would have taken in full.",
        *before,
    ]
    if len(tables.control_trials):
        sentences.append(
            f"Random search, the control, ran {plural(len(tables.control_trials), 'trial')} more and drew "
            f"{control_images(tables):,} images, which are not in the table below."
        )
    ratios = slowest_over_fastest(tables)
    if len(ratios):
        sentences.append(
            "Times are noisy, as trials run side by side: within a trial, the slowest epoch took "
            f"{ratios.median():.1f} times as long as the fastest (median of trials; {ratios.max():.1f} times at most)."
        )
    if repeats := num_repeats(tables):
        sentences.append(
            f"The searcher proposed again what an arm had tried before in {plural(repeats, 'trial')}: with another "
            "seed, so not in vain, but with nothing new to choose."
        )
    if spread <= MAX_IMAGE_SPREAD:
        sentences.append(
            f"The images of arms that were to spend alike differ by at most {percent(spread)} % of the largest (limit "
            f"{percent(MAX_IMAGE_SPREAD, 0)} %)."
        )
    return sentences


def _budgets_before(tables: Tables) -> list[str]:
    """The budgets of the stages before the main one, a sentence for each."""
    sentences = []
    for stage in tables.summary["stages"]:
        trials = tables.trials[tables.trials["stage"] == stage["name"]]
        if stage["name"] != TUNE and len(trials):
            sentences.append(
                f"The {stage['name']} ran {plural(len(trials), 'trial')} and drew "
                f"{int(trials['images'].sum()):,} images in {duration(trials['train_seconds'].sum())} of training, "
                "which are not in the table below."
            )
    return sentences


def budget_table(tables: Tables) -> Table:
    rows = tuple(
        (
            row["arm"],
            f"{row['num_trials']:,}",
            f"{row['num_epochs']:,}",
            f"{row['num_images']:,}",
            duration(row["seconds"]),
            f"{row['num_stopped']:,}",
            f"{row['saved_epochs']:,}",
            duration(row["saved_seconds"]),
        )
        for row in arm_budgets(tables).to_dict("records")
    )
    return Table(
        caption="What tuning spent on each arm. Time saved is an estimate: epochs not run, each at the "
        "trial's own mean.",
        columns=(
            "Arm", "Trials", "Epochs", "Training images", "Time", "Stopped early", "Epochs saved", "Time "
            "saved",
        ),
        rows=rows,
    )  # fmt: skip


MOST_OF_FRONT = 20


def pareto_table(tables: Tables) -> Table | None:
    """The trials on the front of score, training time and parameters, the best score first."""
    found = scores_and_costs(tables)
    if found is None or len(found) < 2:
        return None
    front = found[found["on_front"]].sort_values(["score", "seconds"], ascending=[False, True])
    cut = f" The best {MOST_OF_FRONT} of {len(front)} by score." if len(front) > MOST_OF_FRONT else ""
    epoch = plural(at_epoch.epoch, "epoch") if (at_epoch := at_equal_fidelity(tables)) else NOTHING
    has_sizes = found["parameters"].nunique() > 1
    of_what = "seconds of training an epoch" + (" and number of parameters" if has_sizes else "")
    return Table(
        caption=f"The Pareto front of all {len(found):,} trials that reached {epoch}, as they stood there: no other is "
        f"at least as good in validation score (%){',' if has_sizes else ' and'} {of_what}, and better in one. Winners "
        f"are chosen by score alone.{cut}",
        columns=("Trial", "Arm", "Validation score", "Seconds an epoch", *(["Parameters"] if has_sizes else [])),
        rows=tuple(
            (
                str(row["trial_id"]),
                str(row["arm"]),
                percent(row["score"]),
                f"{row['seconds']:.3g}",
                *([_whole(row["parameters"])] if has_sizes else []),
            )
            for row in front.head(MOST_OF_FRONT).to_dict("records")
        ),
    )


def knees_table(tables: Tables) -> Table | None:
    """Each arm's best-scoring trial beside the knee of its front; None where no knee was retested."""
    found = worth.knees(tables)
    if not found:
        return None
    seconds = tables.tuning_epochs.groupby("trial_id")["train_seconds"].mean()
    of_knee = tables.references[tables.references["role"] == "knee"]
    differences = [gain.difference for gain in found if gain.difference is not None]
    adjusted = adjusted_text(differences[0]) if differences else ""
    return Table(
        caption=f"The front of each arm: its trial with the best validation score, and its knee, retrained on the same "
        f"fresh seeds. {metric_name(tables.score).capitalize()} in %, ± half the width of the 95 % t-interval; "
        "differences are paired, in points, and their intervals hold together at 95 %"
        f"{adjusted}. Seconds of training an epoch are those of the trials, and noisy.",
        columns=("Arm", "Best score", "Seconds an epoch", "Knee", "Seconds an epoch", "Best score − knee"),
        rows=tuple(
            (
                gain.arm,
                interval_cell(gain.winner),
                _seconds(seconds, tables.main_retests[tables.main_retests["arm"] == gain.arm]["trial_id"]),
                interval_cell(gain.reference),
                _seconds(seconds, of_knee[of_knee["arm"] == gain.arm]["trial_id"]),
                "one and the same" if gain.is_winner else paired_cell(gain.difference),
            )
            for gain in found
        ),
    )


def _seconds(seconds: pd.Series, trial_ids: pd.Series) -> str:
    """The mean over the trials, of which several searches have several."""
    return f"{seconds.reindex(trial_ids.unique()).mean():.3g}"


def _whole(count: float) -> str:
    return NOTHING if is_missing(count) else f"{int(count):,}"


def failures_table(tables: Tables) -> Table | None:
    failed = tables.trials[tables.trials["status"] == "failed"]
    if failed.empty:
        return None
    rows = tuple(
        (
            str(row["trial_id"]),
            str(row["arm"]),
            str(row["epochs"]),
            "no message was recorded" if is_missing(row["message"]) else str(row["message"]),
        )
        for row in failed.to_dict("records")
    )
    return Table(caption="Failed trials.", columns=("Trial", "Arm", "Epochs done", "Message"), rows=rows)
