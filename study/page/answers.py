"""The answer of a study in sentences, and remarks that a careful reader must know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from study.analysis import results
from study.analysis.class_groups import group_recalls
from study.analysis.intervals import LEVEL, test_images_half_width
from study.analysis.results import Verdict
from study.analysis.selection import Selection
from study.analysis.tables import Tables, knob
from study.core.stage import Group
from study.core.text import listed, plural_of
from study.page.cautions import cautions
from study.page.history import history_remarks
from study.page.task import TaskPage
from study.page.text import adjusted_text, distance_text, level_text, paired_text, percent, score_text
from study.page.words import metric_name, optimizer_name, origin_text
from study.records.validation import coarse_remark

MOST_RIVALS = 3  # named in the answer; all are in its remarks


def not_covered(tables: Tables) -> str:
    """What the intervals leave out: the search, and the choice of the test images."""
    num_test, score = int(tables.summary["dataset"]["num_test"]), float(tables.main_retests[tables.score].mean())
    covered = (
        "The intervals are over the retest's seeds, not over the search: each arm was tuned once, and another "
        "search of its size might have found it another configuration. Nor are they over the test images: the choice "
        if tables.num_searches == 1
        else f"The intervals are over {tables.num_searches} searches of each arm, each retested on seeds of its own, "
        "so that they cover the luck of search and seeds. They are not over the test images: the choice "
    )
    return covered + (
        f"of these {num_test:,} alone leaves a score uncertain by about "
        f"±{percent(test_images_half_width(score, num_test))} points (95 %), and a difference of two arms by about as "
        "much."
    )


def headlines(page: TaskPage, tables: Tables) -> list[str]:
    """The answer, one sentence per group of arms, or why there is none yet."""
    if tables.main_retests.empty:
        return [_headline_without_retests(page, tables)]
    return [page.headline(page, tables, group) for group in tables.groups]


def group_headline(page: TaskPage, tables: Tables, group: Group) -> str:
    """The sentence that names the best arm, its difference to the control, and whether that is measurable."""
    verdict, place_words = results.verdict(tables, group), place(page, tables, group)
    if verdict.best is None or verdict.score is None:
        return f"{place_words}, there is no answer yet: no arm was retested."
    best, metric, score = _named(page, tables, verdict.best), metric_name(tables.score), score_text(verdict.score)
    if verdict.challenger is None:
        return f"{place_words}, {best} reaches a {metric} of {score}; no {page.challenger} was retested."
    if not verdict.is_control_retested:
        if verdict.num_arms == 1:
            return f"{place_words}, {best} reaches a {metric} of {score}."
        return f"{place_words}, {best} gives the best {metric} of {verdict.num_arms} arms: {score}."
    control, unit = page.control_phrase(str(group.control)), tables.unit
    if verdict.difference is None:
        return (
            f"{place_words}, {best} gives the best {metric}: {score}; no difference to {control} can be given, because "
            f"the two share no {'retest seed' if unit == 'seed' else unit}."
        )
    if verdict.best == group.control:
        return (
            f"{place_words}, no {page.challenger} beats the control: {best} itself gives the best {metric}, {score}; "
            f"the best {page.challenger}, {page.arm_phrase(verdict.challenger)}, is "
            f"{percent(abs(verdict.difference.mean))} points below {paired_text(verdict.difference, verdict.score)}."
        )
    distance = distance_text(verdict.difference, control)
    if verdict.difference.half_width is None and verdict.score.n > 1:
        return (
            f"{place_words}, {best} has the highest {metric}, {score}, {distance} on the one {unit} that both share; "
            "one pair gives no interval, so this is no evidence of a difference."
        )
    if verdict.difference.half_width is None:
        return (
            f"{place_words}, {best} scores highest on the one {unit} tested, a {metric} of "
            f"{percent(verdict.score.mean)} %, {distance}; one {unit} gives no interval, so this is no evidence of a "
            "difference."
        )
    above = _measurably_above(page, tables, verdict)
    if not verdict.difference.excludes_zero and above:
        return (
            f"{place_words}, {above}. {best} has the highest {metric}, {score}, but its distance to {control} is not "
            f"measurable: {distance} {paired_text(verdict.difference, verdict.score)}."
        )
    if not verdict.difference.excludes_zero:
        return (
            f"{place_words}, there is no measurable difference between the best arm and {control}: {best} has the "
            f"highest {metric}, {score}, {distance} {paired_text(verdict.difference, verdict.score)}; the interval "
            f"is {percent(2 * verdict.difference.half_width)} points wide and includes 0."
        )
    paired = paired_text(verdict.difference, verdict.score)
    rivals = [page.arm_phrase(arm) for arm in verdict.may_be_best if arm not in {verdict.best, group.control}]
    if not rivals:
        return f"{place_words}, {best} gives the best {metric}: {score}, {distance} {paired}."
    named = listed(rivals) if len(rivals) <= MOST_RIVALS else f"{len(rivals)} other arms"
    return f"{place_words}, {best} has the highest {metric}: {score}, {distance} {paired}; {named} may be as good."


def _measurably_above(page: TaskPage, tables: Tables, verdict: Verdict) -> str:
    """'focal, by 2.1 points (paired interval ...), is measurably above no remedy', of the arms that are; else ''."""
    differences = results.differences_to_control(tables, verdict.group)
    above = [arm for arm in verdict.above_control if arm != verdict.best]
    if not above or verdict.score is None:
        return ""
    each = [
        f"{page.arm_phrase(arm)}, by {percent(difference.mean)} points {paired_text(difference, verdict.score)}"
        for arm, difference in differences.items()
        if arm in above
    ]
    verb = "is" if len(above) == 1 else "are"
    return f"{listed(each)}, {verb} measurably above {page.control_phrase(str(verdict.group.control))}"


def place(page: TaskPage, tables: Tables, group: Group) -> str:
    """The beginning of an answer: 'On CIFAR-10 with 10 % of the labels'."""
    condition = page.condition(tables.summary)
    return f"{condition} with {group.title}" if group.title else condition


def _named(page: TaskPage, tables: Tables, arm: str) -> str:
    """The arm's name, with its winner's optimiser if that is part of the answer."""
    if not page.names_optimizer:
        return page.arm_phrase(arm)
    optimizer = knob(results.winners(tables.trials).set_index("arm"), "optimizer").get(arm)
    return arm if optimizer is None else f"{arm} (its winner uses {optimizer_name(str(optimizer))})"


def _headline_without_retests(page: TaskPage, tables: Tables) -> str:
    place = page.condition(tables.summary)
    best = results.winners(tables.trials).sort_values("objective", ascending=False, kind="stable")
    if best.empty:
        return f"{place}, there is no answer yet: no {page.trained} has been trained to its end and none was tested."
    first = best.iloc[0]
    return (
        f"{place}, there is no answer yet: no arm was retested. The highest {metric_name(tables.objective)} "
        f"so far is {percent(first['objective'])} % ({_named(page, tables, first['arm'])}), a number that its own "
        "trials were chosen by."
    )


# --- remarks --------------------------------------------------------------------------------------------------


def remarks(page: TaskPage, tables: Tables) -> list[str]:
    """The remarks that qualify the headline."""
    if tables.main_retests.empty:
        return []
    history = history_remarks(page, tables)
    return [*_objectives_remark(tables), *page.remarks(page, tables), *history, *cautions(page, tables)]


def _objectives_remark(tables: Tables) -> list[str]:
    if not tables.has_two_objectives:
        return []
    return [
        "Each arm was searched for score and training time at once, without early stopping. What is compared above is "
        "the trial with the best validation score of each arm's front; what its knee saves, and what that costs in "
        "score, stands under Budget."
    ]


def verdict_remarks(page: TaskPage, tables: Tables) -> list[str]:
    """Remarks on each group's verdict: how its best arm was picked, who else is above the control, who may be best."""
    remarks = [remark for group in tables.groups for remark in _group_remarks(page, tables, group)]
    return [*remarks, *_rare_class_remarks(page, tables)]


def _rare_class_remarks(page: TaskPage, tables: Tables) -> list[str]:
    """On a long tail: on which groups of classes the best arm beside the control gains, and on which it loses."""
    challenger = results.verdict(tables, tables.groups[0]).challenger
    found = [each for each in group_recalls(tables) if each.arm == challenger and each.difference is not None]
    if challenger is None or not found or any(each.difference.low is None for each in found if each.difference):
        return []
    name, control = page.arm_phrase(challenger), page.control_phrase(str(tables.groups[0].control))
    changes: dict[str, list[str]] = {}
    same = []
    for each in found:
        assert each.difference is not None
        if each.difference.excludes_zero:
            by = percent(abs(each.difference.mean))
            points = f"{'less than 0.1' if by == percent(0.0) else by} points" + " of recall" * (not changes)
            changes.setdefault("gains" if each.difference.mean > 0 else "loses", []).append(
                f"{points} on the {each.group.name} classes {paired_text(each.difference, each.recall)}"
            )
        else:
            same.append(each.group.name)
    if not changes:
        assert found[0].difference is not None
        return [
            f"Between {name} and {control}, no difference in recall is measurable on the {listed(same)} classes "
            f"(paired intervals{adjusted_text(found[0].difference)})."
        ]
    changed = " and ".join(f"{verb} {listed(texts)}" for verb, texts in changes.items())
    rest = f"; on the {listed(same)} classes no difference is measurable" if same else ""
    return [f"Against {control}, {name} {changed}{rest}."]


def _group_remarks(page: TaskPage, tables: Tables, group: Group) -> list[str]:
    verdict, name = results.verdict(tables, group), page.arm_phrase
    if verdict.best is None or verdict.score is None or verdict.num_arms == 1:
        return []
    best, control = name(verdict.best), name(str(group.control))
    sentences = [_selection_remark(verdict, name)]
    above = [name(arm) for arm in verdict.above_control if arm != verdict.best]
    if above and verdict.best in verdict.above_control and verdict.difference is not None:
        sentences.append(f"Also measurably above {control}{adjusted_text(verdict.difference)}: {listed(above)}.")
    sentences.append(not_covered(tables))
    if verdict.score.n < 2:
        sentences.append(f"With one {tables.unit} no arm can be told from {best}.")
    elif len(verdict.may_be_best) == verdict.num_arms:
        sentences.append(f"With {level_text(LEVEL)} confidence, no arm is ruled out as the best one.")
    elif len(verdict.may_be_best) == 1:
        sentences.append(
            f"With {level_text(LEVEL)} confidence, {best} is the best of the {verdict.num_arms} arms as tuned here."
        )
    else:
        sentences.append(
            f"With {level_text(LEVEL)} confidence, the best of the {verdict.num_arms} arms as tuned here is one of "
            f"{listed([name(arm) for arm in verdict.may_be_best])}."
        )
    return sentences


def _selection_remark(verdict: Verdict, name: Callable[[str], str]) -> str:
    text = (
        f"{name(str(verdict.best))} was picked as the best of {verdict.num_arms} arms by these same test scores, "
        f"{_overstatement(verdict.selection, plural_of(verdict.score.unit if verdict.score else 'seed'))}."
    )
    if verdict.chosen_on_validation is None or verdict.chosen_on_validation_score is None:
        return text
    if verdict.chosen_on_validation == verdict.best:
        return f"{text} It also has the highest validation score, which picks it without the test."
    return (
        f"{text} Picked without the test, by the highest validation score, the arm would be "
        f"{name(verdict.chosen_on_validation)}: {score_text(verdict.chosen_on_validation_score)}."
    )


def _overstatement(selection: Selection | None, units: str) -> str:
    if selection is None:
        return "which makes its number optimistic"
    points = percent(selection.overstated)
    by = "by less than 0.1 points" if points == "0.0" else f"by about {points} points"
    text = f"which overstates its number {by} (simulated from the spread of arms and {units})"
    if selection.held_out is None:
        return text
    return (
        f"{text}; where all {units} but one pick the arm, it reaches {percent(selection.held_out)} % on the one left "
        "out, on average"
    )


def data_sentences(page: TaskPage, summary: Mapping[str, Any]) -> list[str]:
    """What the data are, what the task made of them, and what was repaired, passed over or found odd in them."""
    dataset = summary["dataset"]
    counts = [int(count) for count in dataset["class_counts"]]
    each = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
    source = origin_text(str(dataset["name"]), str(dataset["origin"]))
    facts = (
        f"Data: {source}. {int(dataset['num_classes']):,} classes; {int(dataset['num_train']):,} "
        f"{page.counted} ({each} a class), {int(dataset['num_val']):,} "
        f"validation and {int(dataset['num_test']):,} test images of {dataset['image_size']} × "
        f"{dataset['image_size']} pixels."
    )
    coarse = coarse_remark(dataset)
    remarks = dataset.get("remarks") or []  # runs made before there were any have none
    return [facts, *page.data_notes(summary), *remarks, *([coarse] if coarse else [])]


def state_sentence(state: str, what: str = "study") -> str | None:
    """The sentence above the command that resumes a run; None if it is complete. what: study or reproduction."""
    if state == "complete":
        return None
    if state == "running":
        return f"This {what} was running when the page was written. Should it have been killed, continue it with"
    return f"This {what} is {state}: what follows is what it had reached. Continue it with"
