"""The answer of a study in plain sentences, and what a careful reader must know beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from study import analysis, findings, wording
from study.analysis import LEVEL, Interval, Tables, Verdict
from study.findings import JIGSAW, Transfer
from study.group import Group
from study.number_text import (
    chance_percent,
    distance_text,
    level_text,
    listed,
    paired_text,
    percent,
    plural,
    score_text,
    span,
)

NOT_THE_SEARCH = (
    "The intervals are over the retest's seeds, not over the search: each arm was tuned once, and another "
    "search of its size might have found it another configuration."
)


def headlines(tables: Tables) -> list[str]:
    """The answer, a sentence a group of arms, or why there is none yet."""
    if tables.main_retests.empty:
        return [_headline_without_retests(tables)]
    return [_GROUP_HEADLINES.get(tables.task, _group_headline)(tables, group) for group in tables.groups]


def _group_headline(tables: Tables, group: Group) -> str:
    verdict, place, words = analysis.verdict(tables, group), _place(tables, group), wording.of(tables.summary)
    if verdict.best is None or verdict.score is None:
        return f"{place}, there is no answer yet: no arm was retested."
    best, metric, score = _named(tables, verdict.best), wording.METRIC_NAMES[tables.score], score_text(verdict.score)
    if verdict.challenger is None:
        return f"{place}, {best} reaches a {metric} of {score}; no {words.challenger} was retested."
    if not verdict.is_control_retested:
        if verdict.num_arms == 1:
            return f"{place}, {best} reaches a {metric} of {score}."
        return f"{place}, {best} gives the best {metric} of {verdict.num_arms} arms: {score}."
    control = words.control_phrase(str(group.control))
    if verdict.difference is None:
        return (
            f"{place}, {best} gives the best {metric}: {score}; no difference to {control} can be given, because "
            "the two share no retest seed."
        )
    if verdict.best == group.control:
        return (
            f"{place}, no {words.challenger} beats the control: {best} itself gives the best {metric}, {score}; "
            f"the best {words.challenger}, {words.arm_phrase(verdict.challenger)}, is "
            f"{percent(abs(verdict.difference.mean))} points below {paired_text(verdict.difference, verdict.score)}."
        )
    distance = distance_text(verdict.difference, control)
    if verdict.difference.half_width is None and verdict.score.n > 1:
        return (
            f"{place}, {best} has the highest {metric}, {score}, {distance} on the one seed that both share; one "
            "pair gives no interval, so this is no evidence of a difference."
        )
    if verdict.difference.half_width is None:
        return (
            f"{place}, {best} scores highest on the one seed tested, a {metric} of "
            f"{percent(verdict.score.mean)} %, {distance}; one seed gives no interval, so this is no evidence of a "
            "difference."
        )
    if not verdict.difference.excludes_zero:
        return (
            f"{place}, there is no measurable difference between the best arm and {control}: {best} has the "
            f"highest {metric}, {score}, {distance} {paired_text(verdict.difference, verdict.score)}; the interval "
            f"is {percent(2 * verdict.difference.half_width)} points wide and includes 0."
        )
    paired = paired_text(verdict.difference, verdict.score)
    return f"{place}, {best} gives the best {metric}: {score}, {distance} {paired}."


def _transfer_headline(tables: Tables, group: Group) -> str:
    """What pre-training did at one label fraction: it helps only if it beats both ways to start from scratch."""
    transfer = next((found for found in findings.transfers(tables) if found.group == group), None)
    if transfer is None:
        return _group_headline(tables, group)
    place, metric = _place(tables, group), wording.METRIC_NAMES[tables.score]
    differences = listed(_transfer_differences(transfer)) if _transfer_differences(transfer) else ""
    numbers = f"{JIGSAW} reaches a {metric} of {score_text(transfer.score)}{', ' * bool(differences)}{differences}"
    if transfer.words is not None:
        return f"{place}, solving puzzles first {transfer.words}: {numbers}."
    reason = (
        "one seed gives no interval"
        if transfer.to_scratch is not None and transfer.to_equal_epochs is not None
        else "not both ways to start from scratch were retested on its seeds"
    )
    return f"{place}, there is no verdict on solving puzzles first, because {reason}: {numbers}."


def _transfer_differences(transfer: Transfer) -> list[str]:
    return [
        f"{distance_text(difference, other)} {paired_text(difference, transfer.score)}"
        for difference, other in (
            (transfer.to_scratch, "scratch"),
            (transfer.to_equal_epochs, "scratch trained for as many epochs"),
        )
        if difference is not None
    ]


_GROUP_HEADLINES: Mapping[str, Callable[[Tables, Group], str]] = {"jigsaw": _transfer_headline}


def _place(tables: Tables, group: Group) -> str:
    """'On CIFAR-10 with 10 % of the labels'."""
    condition = wording.of(tables.summary).condition(tables.summary)
    return f"{condition} with {group.title}" if group.title else condition


def _named(tables: Tables, arm: str) -> str:
    """The arm, with its winner's optimiser where that is part of the question."""
    words = wording.of(tables.summary)
    if not words.names_optimizer:
        return words.arm_phrase(arm)
    optimizer = analysis.knob(analysis.winners(tables.trials).set_index("arm"), "optimizer").get(arm)
    return arm if optimizer is None else f"{arm} with {wording.optimizer_name(str(optimizer))}"


def _headline_without_retests(tables: Tables) -> str:
    place = wording.of(tables.summary).condition(tables.summary)
    best = analysis.winners(tables.trials).sort_values("objective", ascending=False, kind="stable")
    if best.empty:
        what = "classifier has" if findings.pretext_arms(tables) else "trial has"
        return f"{place}, there is no answer yet: no {what} been trained to its end and none was tested."
    first = best.iloc[0]
    return (
        f"{place}, there is no answer yet: no arm was retested. The highest {wording.METRIC_NAMES[tables.objective]} "
        f"so far is {percent(first['objective'])} % ({_named(tables, first['arm'])}), a number that its own trials "
        "were chosen by."
    )


# --- remarks --------------------------------------------------------------------------------------------------


def remarks(tables: Tables) -> list[str]:
    """What a careful reader must know beside the headline."""
    if tables.main_retests.empty:
        return []
    if tables.task in _REMARKS:
        return _REMARKS[tables.task](tables)
    return [remark for group in tables.groups for remark in _group_remarks(tables, group)]


def _group_remarks(tables: Tables, group: Group) -> list[str]:
    verdict, name = analysis.verdict(tables, group), wording.of(tables.summary).arm_phrase
    if verdict.best is None or verdict.score is None or verdict.num_arms == 1:
        return []
    best, control = name(verdict.best), name(str(group.control))
    sentences = [_selection_remark(verdict, name)]
    if verdict.adjusted is not None and verdict.adjusted.low is not None and verdict.adjusted.high is not None:
        span_text = span(verdict.adjusted.low, verdict.adjusted.high)
        outcome = "excludes" if verdict.adjusted.excludes_zero else "includes"
        sentences.append(
            f"Adjusted for the {verdict.num_comparisons} comparisons with {control} (Bonferroni: "
            f"each interval at {level_text(verdict.adjusted.level)}), the difference {name(str(verdict.challenger))} "
            f"− {control} lies within {span_text} points, which {outcome} 0."
        )
    above = [name(arm) for arm in verdict.measurably_above_control if arm != verdict.best]
    if above:
        sentences.append(
            f"Also above {control} with a paired {level_text(LEVEL)} interval that excludes 0, "
            f"unadjusted: {listed(above)}."
        )
    sentences.append(NOT_THE_SEARCH)
    if verdict.score.n < 2:
        sentences.append(f"With one seed no arm can be told from {best}.")
    elif verdict.indistinguishable_from_best:
        sentences.append(
            f"Not distinguishable from {best} (paired {level_text(LEVEL)} interval of the difference to it includes 0, "
            f"unadjusted): {listed([name(arm) for arm in verdict.indistinguishable_from_best])}."
        )
    else:
        sentences.append(
            f"Every other arm is below {best} with a paired {level_text(LEVEL)} interval that excludes 0, unadjusted."
        )
    return sentences


def _selection_remark(verdict: Verdict, name: Callable[[str], str]) -> str:
    text = (
        f"{name(str(verdict.best))} was picked as the best of {verdict.num_arms} arms by these same test scores, "
        "which makes its number optimistic."
    )
    if verdict.chosen_on_validation is None or verdict.chosen_on_validation_score is None:
        return text
    if verdict.chosen_on_validation == verdict.best:
        return f"{text} It also has the highest validation score, which picks it without the test."
    return (
        f"{text} Picked without the test, by the highest validation score, the arm would be "
        f"{name(verdict.chosen_on_validation)}: {score_text(verdict.chosen_on_validation_score)}."
    )


def _generalisation_remarks(tables: Tables) -> list[str]:
    """The shared remarks, after what the gap between training and test says."""
    gaps, name = analysis.generalisation_gaps(tables), wording.of(tables.summary).arm_phrase
    arms = [arm for arm in findings.compared_arms(tables) or () if arm is not None and arm in gaps.index]
    sentences = []
    if arms:
        shares = listed([f"{percent(gaps[arm])} points for {name(arm)}" for arm in arms])
        sentences.append(f"Generalisation gap, training minus test accuracy at the last epoch: {shares}.")
    return [*sentences, *(remark for group in tables.groups for remark in _group_remarks(tables, group))]


def _transfer_remarks(tables: Tables) -> list[str]:
    sentences = []
    found = findings.transfers(tables)
    num_comparisons = sum(
        isinstance(difference, Interval) for one in found for difference in (one.to_scratch, one.to_equal_epochs)
    )
    if num_comparisons > 1:
        level = 1 - (1 - LEVEL) / num_comparisons
        judged = [
            f"with {one.group.title}, solving puzzles first {one.words}"
            for one in findings.transfers(tables, level)
            if one.words is not None
        ]
        if judged:
            sentences.append(
                f"Adjusted for all {num_comparisons} comparisons (Bonferroni: each interval at {level_text(level)}): "
                f"{'; '.join(judged)}."
            )
    num_val, num_classes = int(tables.summary["dataset"]["num_val"]), int(tables.summary["dataset"]["num_classes"])
    sentences.append(
        "A share of the labels is what the classifiers train on. Their configurations were chosen, in every arm alike, "
        f"by {num_val:,} labelled validation images ({num_val // num_classes:,} a class): whoever has no more labels "
        "than that share could not tune so."
    )
    sentences.append(
        "“Helps” is said only where both paired intervals, to scratch and to scratch trained for as many epochs, "
        "exclude 0: the second is what the puzzles' epochs are worth when they are spent on labels instead."
    )
    for arm in findings.pretext_arms(tables):
        exact = findings.puzzle_metrics(tables, arm).iloc[0]
        if exact["n"] > 0:
            sentences.append(
                f"The puzzle net of {arm} puts every tile of {percent(exact['mean'])} % of the test puzzles in its "
                f"place (chance {chance_percent(exact['chance'])} %; {plural(int(exact['n']), 'seed')}). Solving "
                "puzzles well is not the aim: shortcuts raise that number and not the classifier's."
            )
    return [*sentences, NOT_THE_SEARCH]


def _imbalance_remarks(tables: Tables) -> list[str]:
    """The shared remarks, and what the control reaches without any training against imbalance."""
    sentences = [remark for group in tables.groups for remark in _group_remarks(tables, group)]
    controls = set(tables.controls.values())
    for sweep in findings.tau_sweeps(tables):
        score, difference = sweep.test_score(sweep.chosen), sweep.test_difference
        if sweep.arm in controls and score is not None and difference is not None and sweep.chosen != 0:
            sentences.append(
                f"For free: {sweep.arm} with its logits adjusted after training (τ* = {sweep.chosen:g}, chosen on "
                f"validation) reaches {score_text(score)}, {distance_text(difference, 'itself unadjusted')} "
                f"{paired_text(difference, score)}."
            )
    return sentences


_REMARKS: Mapping[str, Callable[[Tables], list[str]]] = {
    "imbalance": _imbalance_remarks,
    "cifar100": _generalisation_remarks,
    "jigsaw": _transfer_remarks,
}


# --- what it was done on --------------------------------------------------------------------------------------


def data_sentence(summary: Mapping[str, Any]) -> str:
    dataset = summary["dataset"]
    name, origin, title = str(dataset["name"]), str(dataset["origin"]), wording.dataset_title(summary)
    counts = [int(count) for count in dataset["class_counts"]]
    source = origin if origin.startswith((name, title)) else f"{title}, {origin}"
    each = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
    return (
        f"Data: {source}. {int(dataset['num_classes']):,} classes; {int(dataset['num_train']):,} "
        f"{wording.of(summary).counted} ({each} a class), {int(dataset['num_val']):,} "
        f"validation and {int(dataset['num_test']):,} test images of {dataset['image_size']} × "
        f"{dataset['image_size']} pixels."
    )


def state_sentence(summary: Mapping[str, Any]) -> str | None:
    if summary["state"] == "complete":
        return None
    if summary["state"] == "running":
        return "This study was running when the page was written. Should it have been killed, continue it with"
    return f"This study is {summary['state']}: what follows is what it had reached. Continue it with"
