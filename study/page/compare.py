"""The page of a comparison: runs held against each other, in sentences, tables and figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from study.analysis import compare, results
from study.analysis.compare import ABSENT, Comparison, Difference, Run
from study.core.text import NOTHING, duration, listed, plural
from study.page import render
from study.page.figures.compare import FIGURES
from study.page.render import PageFigure
from study.page.table import Table
from study.page.tables import not_retested
from study.page.task import TaskPage
from study.page.text import (
    adjusted_text,
    config_value,
    difference_cell,
    distance_text,
    mean_cell,
    score_text,
    span,
)
from study.page.words import axis_label, dataset_title, metric_name

TITLE = "How do these runs compare?"
MOST_NAMED = 3


def write_comparison(folder: Path, comparison: Comparison, page: TaskPage) -> Path:
    """Draw the figures and write figures/*.png and report.html into the folder. page: that of the runs' task."""
    words = {"score": metric_name(comparison.score), "first": comparison.first.label}
    drawn = render.draw_figures(FIGURES, comparison, words)
    return render.write_files(folder, drawn, render_page(comparison, page, drawn))


def render_page(comparison: Comparison, page: TaskPage, drawn: Sequence[PageFigure]) -> str:
    runs = comparison.runs
    return render.render_template(
        "compare.html.j2",
        drawn,
        title=TITLE,
        name=listed([run.label for run in runs]),
        headlines=headlines(comparison, page),
        warnings=warnings(comparison),
        remarks=remarks(comparison, page),
        scores_table=scores_table(comparison),
        differences_table=differences_table(comparison),
        budget_table=budget_table(comparison),
        data_sentence=data_sentence(comparison),
        data_table=_facts_table(runs, compare.data_facts, "What differs in the data."),
        space_sentence=space_sentence(comparison),
        space_table=space_table(comparison),
        settings_table=_facts_table(runs, compare.settings, "The settings that differ, as in spec.json."),
        provenance_table=_facts_table(runs, compare.provenance, "What differs in machine, numerics, versions, commit."),
        methods=methods(comparison),
        facts=[(run.label, _run_fact(run)) for run in runs],
    )


# --- the answer


def headlines(comparison: Comparison, page: TaskPage) -> list[str]:
    """For each other run, in how many arms it differs measurably from the first, and the largest of the differences."""
    return [_headline(comparison, page, run) for run in comparison.others]


def _headline(comparison: Comparison, page: TaskPage, run: Run) -> str:
    first, metric = comparison.first, metric_name(comparison.score)
    found = [one for one in compare.differences(comparison) if one.run == run.label]
    if not found:
        return f"Between {first.label} and {run.label} nothing can be compared: no arm was retested in both."
    condition = page.condition(first.tables.summary)
    where = f", {condition[:1].lower()}{condition[1:]}" if compare.is_same_data(first, run) else ""
    begins = f"{run.label} against {first.label}{where}:"
    found = sorted(found, key=lambda one: -abs(one.interval.mean))
    measurable = [one for one in found if one.interval.excludes_zero]
    if measurable:
        rest = len(measurable) - MOST_NAMED
        more = f"; {plural(rest, 'further arm')} differ{'s' * (rest == 1)} by less" if rest > 0 else ""
        told = "; ".join(_told(first, one) for one in measurable[:MOST_NAMED])
        return (
            f"{begins} {len(measurable)} of {plural(len(found), 'compared arm')} "
            f"differ{'s' * (len(measurable) == 1)} measurably in {metric}: {told}{more}."
        )
    if all(one.interval.half_width is None for one in found):
        return (
            f"{begins} no interval can be given for any of {plural(len(found), 'compared arm')}, because one seed has "
            f"no spread; the largest difference in {metric}, {_told(first, found[0])}, is no evidence."
        )
    largest = next(one for one in found if one.interval.half_width is not None)
    return (
        f"{begins} no measurable difference in {metric} in any of {plural(len(found), 'compared arm')}. The largest: "
        f"{_told(first, largest)}."
    )


def _told(first: Run, one: Difference) -> str:
    """'2.1 points above FIRST in “focal” (paired interval ...)'."""
    pair = one.pair
    against = "" if pair.first == pair.other else f" held against “{pair.first}”"
    return f"{distance_text(one.interval, first.label)} in “{pair.other}”{against} {_interval_text(one)}"


def _interval_text(one: Difference) -> str:
    """'(paired interval 1.5–6.5 over 3 seeds, adjusted for 5 comparisons)', of a difference without its sign."""
    interval = one.interval
    if interval.low is None or interval.high is None:
        return "(one seed in a run, so no interval)"
    low, high = (interval.low, interval.high) if interval.mean >= 0 else (-interval.high, -interval.low)
    if one.unpaired_because is None:
        kind, over = "paired", f"over {plural(interval.n, 'seed')}"
    else:
        kind, over = "unpaired", f"of {one.num_other} and {plural(one.num_first, 'seed')}"
    return f"({kind} interval {span(low, high)} {over}{adjusted_text(interval)})"


# --- what a reader must know


def warnings(comparison: Comparison) -> list[tuple[str, str]]:
    """Title and text of what keeps the scores of the runs from being compared as they stand."""
    found = []
    first = comparison.first
    unlike = [run.label for run in comparison.others if compare.is_same_data(first, run) is False]
    if unlike:
        found.append(
            (
                "Other data.",
                f"{listed(unlike)} did not have the data of {first.label}: a difference of their scores is one of the "
                "data too, and nothing is paired.",
            )
        )
    if not compare.are_budgets_equal(comparison):
        each = "; ".join(_budget_words(row) for row in compare.budgets(comparison).to_dict("records"))
        found.append(
            (
                "Unequal budgets.",
                f"{each}. A winner is retrained for as many epochs as its trial had. A difference of scores is one of "
                "these budgets too.",
            )
        )
    unfinished = [run for run in comparison.runs if run.tables.summary["state"] != "complete"]
    for run in unfinished:
        missing = [arm for arm, _ in not_retested(run.tables)]
        lacks = f" Not retested on all seeds: {listed(missing)}." if missing else ""
        found.append(("Unfinished.", f"{run.label} is {run.tables.summary['state']}.{lacks}"))
    return found


def _budget_words(row: Mapping[Any, Any]) -> str:
    """'imbalance gave an arm 6 trials of at most 9 epochs, which drew 990,000 training images on average'."""
    return (
        f"{row['run']} gave an arm {plural(row['trials_per_arm'], 'trial')} of at most {_epochs(row)}, which drew "
        f"{row['images_per_arm']:,.0f} training images on average"
    )


def _epochs(row: Mapping[Any, Any]) -> str:
    least, most = row["least_epochs"], row["most_epochs"]
    return plural(most, "epoch") if least == most else f"{least} to {plural(most, 'epoch')}"


def remarks(comparison: Comparison, page: TaskPage) -> list[str]:
    return [
        *_best_arms(comparison, page),
        *_pairing(comparison),
        *_same_trainings(comparison),
        *_missing_arms(comparison),
        "The intervals are over the retest's seeds, not over the search: each arm was tuned once in each run, and "
        "another search of the same space might have found it another configuration.",
    ]


def _best_arms(comparison: Comparison, page: TaskPage) -> list[str]:
    """The arm that each run crowned; of tasks with several groups of arms, one sentence a group."""
    sentences = []
    titles = dict.fromkeys(group.title for run in comparison.runs for group in run.tables.groups)
    for title in titles:
        crowned = []
        for run in comparison.runs:
            for group in (group for group in run.tables.groups if group.title == title):
                verdict = results.verdict(run.tables, group)
                if verdict.best is not None and verdict.score is not None and verdict.num_arms > 1:
                    named = page.arm_phrase(verdict.best)
                    crowned.append(f"{named} in {run.label}, {score_text(verdict.score)}")
        if crowned:
            sentences.append(
                f"The highest score{f' with {title}' * bool(title)}: {'; '.join(crowned)}. Picked by these same "
                f"scores, {'it is' if len(crowned) == 1 else 'they are'} optimistic."
            )
    return sentences


def _pairing(comparison: Comparison) -> list[str]:
    """For each other run, which of its differences are paired, and why the others are not."""
    sentences = []
    for run in comparison.others:
        found = [one for one in compare.differences(comparison) if one.run == run.label]
        reasons: dict[str, list[str]] = {}
        for one in found:
            if one.unpaired_because:
                reasons.setdefault(one.unpaired_because, []).append(one.pair.label)
        num_paired = sum(one.unpaired_because is None for one in found)
        if num_paired:
            sentences.append(
                f"{run.label} and {comparison.first.label} are paired by seed in {num_paired} of "
                f"{plural(len(found), 'compared arm')}: same data, same seeds, same training images at each of them."
            )
        for reason, names in reasons.items():
            whose = "" if len(names) == len(found) else f" in {listed(names)}"
            sentences.append(
                f"{run.label} and {comparison.first.label} are not paired{whose}, because {reason}: Welch's intervals."
            )
    return sentences


def _same_trainings(comparison: Comparison) -> list[str]:
    same = [one for one in compare.differences(comparison) if one.is_same_training]
    return [
        f"{one.pair.label} was trained alike, bit for bit, in {one.run} and {comparison.first.label}: one result, not "
        "two."
        for one in same
    ]


def _missing_arms(comparison: Comparison) -> list[str]:
    """Arms that some runs do not have, and those of complete runs that were not retested, with the reason."""
    sentences = []
    for run in comparison.runs:
        absent = [arm for arm in comparison.arms if arm not in run.tables.arms]
        if absent:
            sentences.append(f"Not among the arms of {run.label}: {listed(absent)}.")
        if run.tables.summary["state"] == "complete":
            sentences += [f"{arm} of {run.label} was not retested: {why}." for arm, why in not_retested(run.tables)]
    return sentences


def data_sentence(comparison: Comparison) -> str:
    first = comparison.first
    same = [compare.is_same_data(first, run) for run in comparison.others]
    title = dataset_title(str(first.tables.summary["dataset"]["name"]))
    if None in same:
        return "Whether the data are the same is not known: a run did not record its data's fingerprint."
    if all(same):
        fingerprint = str(first.tables.summary["dataset"]["fingerprint"])[: compare.SHORT_HASH]
        return (
            f"The data of all runs are the same: {title}, with the same training and validation sets of tuning "
            f"(fingerprint {fingerprint}…)."
        )
    names = [name for name, _ in compare.differing([compare.data_facts(run) for run in comparison.runs])]
    told = [f"{name[:1].lower()}{name[1:]}" for name in names if name != "Fingerprint"]
    differs = f"What differs: {listed(told)}." if told else "What was recorded does not say in what."
    return f"The data of the runs are not the same. {differs}"


def space_sentence(comparison: Comparison) -> str:
    unknown = [run.label for run in comparison.runs if not compare.has_ranges(run)]
    if unknown:
        return (
            "Whether the same ranges were searched is not known: "
            f"{listed(unknown)} {'was' if len(unknown) == 1 else 'were'} made before ranges were recorded."
        )
    if compare.space_differences(comparison):
        return "Arms of the same name were not searched alike; knobs that are not listed had the same range and scale."
    return "Arms of the same name had the same knobs, ranges and scales in all runs."


def methods(comparison: Comparison) -> list[str]:
    num_comparisons = len(compare.differences(comparison))
    chosen = (
        ""
        if comparison.pairs is None
        else " The arms that are compared were named on the command line: the intervals hold if these scores did not "
        "choose them."
    )
    step = (
        " A spread of less than half a test image counts as half a test image."
        " The intervals of a run's own page are adjusted for its own comparisons, and so are not the same."
    )
    return [
        "Scores. Mean over the retest's seeds of each arm's winner, with its two-sided 95 % Student t-interval, each "
        "by itself.",
        f"Differences. Of each other run to {comparison.first.label}. Where both runs have the same data and every "
        "seed of the run with fewer seeds is one of the other's, with the same training images, differences are taken "
        "seed by seed (Student, n − 1 degrees of freedom); elsewhere the two means are compared (Welch, with "
        "Satterthwaite's degrees of freedom). The intervals of all "
        f"{plural(num_comparisons, 'difference')} hold together at 95 % (Bonferroni).{chosen}{step}",
    ]


# --- tables


def _run_fact(run: Run) -> str:
    summary = run.tables.summary
    return f"{run.run_dir}; {summary['state']}; {summary.get('command', 'no command was recorded')}"


def scores_table(comparison: Comparison) -> Table | None:
    scores = compare.scores(comparison)
    if scores.empty:
        return None
    found = {(row["arm"], row["run"]): row for row in scores.to_dict("records")}
    is_n_common = scores["n"].nunique() == 1
    rows = []
    for arm in comparison.arms:
        cells = []
        for run in comparison.runs:
            row = found.get((arm, run.label))
            if row is None:
                cells.append("not retested" if arm in run.tables.arms else NOTHING)
            else:
                text = mean_cell(row["mean"], row["low"], row["high"], None if is_n_common else row["n"])
                cells.append(f"{text} *" if row["best"] else text)
        rows.append((arm, *cells))
    over = plural(int(scores["n"].iloc[0]), "seed") if is_n_common else "n seeds"
    return Table(
        caption=f"{axis_label(comparison.score)} of each arm's winner, mean over {over}; ± is half the width of the "
        "95 % t-interval, each by itself. * the highest in its run (and group of arms). – is no arm of the run.",
        columns=("Arm", *(run.label for run in comparison.runs)),
        rows=tuple(rows),
    )


def differences_table(comparison: Comparison) -> Table | None:
    found = compare.differences(comparison)
    if not found:
        return None
    return Table(
        caption=f"{metric_name(comparison.score).capitalize()} minus that of {comparison.first.label}, in points, with "
        f"an interval; the {plural(len(found), 'interval')} hold together at 95 % (Bonferroni).",
        columns=("Arm", "Run", "Difference", "Seeds", "Verdict"),
        rows=tuple(
            (
                one.pair.label,
                one.run,
                difference_cell(one.interval.mean, one.interval.low, one.interval.high),
                _seeds(one),
                _verdict(one),
            )
            for one in found
        ),
    )


def _seeds(one: Difference) -> str:
    if one.unpaired_because is None:
        return plural(one.interval.n, "pair")
    return f"{one.num_other} and {one.num_first}, not paired"


def _verdict(one: Difference) -> str:
    if one.interval.half_width is None:
        return "no interval"
    if not one.interval.excludes_zero:
        return "no measurable difference"
    return "measurably higher" if one.interval.mean > 0 else "measurably lower"


def budget_table(comparison: Comparison) -> Table:
    rows = compare.budgets(comparison).to_dict("records")
    shown: list[tuple[str, Callable[[Mapping[Any, Any]], str]]] = [
        ("Arms", lambda row: f"{row['num_arms']:,}"),
        ("Trials an arm, planned", lambda row: f"{row['trials_per_arm']:,}"),
        ("Epochs of a full trial", lambda row: _epochs(row).removesuffix("s").removesuffix(" epoch")),
        ("Tuning: trials", lambda row: f"{row['num_trials']:,}"),
        ("Tuning: epochs", lambda row: f"{row['num_epochs']:,}"),
        ("Tuning: training images", lambda row: f"{row['num_images']:,}"),
        ("Tuning: images an arm, mean", lambda row: f"{row['images_per_arm']:,.0f}"),
        ("Tuning: time, summed over trials", lambda row: duration(row["seconds"])),
        ("Retest: seeds, planned", lambda row: f"{row['num_seeds']:,}"),
    ]
    return Table(
        caption="The budget of each run.",
        columns=("", *(str(row["run"]) for row in rows)),
        rows=tuple((title, *(cell(row) for row in rows)) for title, cell in shown),
    )


def space_table(comparison: Comparison) -> Table | None:
    found = compare.space_differences(comparison)
    if not found:
        return None
    shared = [arm for arm in comparison.arms if all(arm in run.tables.arms for run in comparison.runs)]
    return Table(
        caption="Knobs and factors that differ in arms which all runs have: scale and range, – where not searched.",
        columns=("Knob", *(run.label for run in comparison.runs), "Arms"),
        rows=tuple(
            (
                row.name,
                *map(_axis_text, row.values),
                "all" if len(row.arms) == len(shared) else ", ".join(row.arms),
            )
            for row in found
        ),
    )


def _axis_text(axis: Any) -> str:
    if not isinstance(axis, Mapping):
        return _value_text(axis)
    if "low" not in axis:
        return "choice" if axis["scale"] == "category" else str(axis["scale"])
    return f"{config_value(axis['low'])} to {config_value(axis['high'])}, {axis['scale']}"


def _facts_table(runs: Sequence[Run], facts: Callable[[Run], Mapping[str, Any]], caption: str) -> Table | None:
    """A row for each fact that is not the same in all runs; None if all are."""
    rows = compare.differing([facts(run) for run in runs])
    if not rows:
        return None
    return Table(
        caption=caption,
        columns=("", *(run.label for run in runs)),
        rows=tuple((name, *map(_value_text, values)) for name, values in rows),
    )


def _value_text(value: Any) -> str:
    """A recorded value as a cell: lists by commas, a dash for what is absent, empty or null."""
    if value in (ABSENT, None, "") or value == () or value == []:
        return NOTHING
    if isinstance(value, tuple) and len(value) == 2 and value[0] == value[1]:
        return _value_text(value[0])
    if isinstance(value, list | tuple):
        return ", ".join(map(_value_text, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_value_text(one)}" for name, one in value.items())
    if isinstance(value, bool):
        return json.dumps(value)
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else config_value(value)
