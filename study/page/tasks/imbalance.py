"""The page of the imbalance study: remedies against no remedy, and post-hoc logit adjustment of each winner."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.tables import Tables
from study.analysis.tau import tau_sweeps
from study.core.text import listed, plural, plural_of, word
from study.page.answers import group_headline, verdict_remarks
from study.page.class_sections import CLASS_SECTIONS
from study.page.figures.catalogue import RESULTS, TAU, TUNING, of_classes
from study.page.table import Table
from study.page.task import Section, Summary, TaskPage
from study.page.text import distance_text, interval_cell, paired_cell, paired_text, points, score_text
from study.page.words import images_phrase

_COUNTED = "training images after thinning"
MOST_NAMED = 50


def _on_thinned_dataset(summary: Summary) -> str:
    """The condition, such as 'On CIFAR-10 with the first five classes cut to 1/10'."""
    title, setting = images_phrase(summary), summary["setting"]
    ratio, which = float(setting["ratio"]), str(setting["classes"])
    if ratio == 1:
        return f"On {title}, all classes kept whole"
    if setting["kind"] == "step":
        num_thinned = int(summary["dataset"]["num_classes"]) // 2
        return f"On {title} with the {which} {word(num_thinned)} classes cut to 1/{ratio:g}"
    return f"On {title} with class counts falling exponentially to 1/{ratio:g} ({which} class rarest)"


def _thinned_classes(summary: Summary) -> list[str]:
    """Which classes were thinned, by name: 'The classes cut to 1/10 are cat and dog.'"""
    setting, names = summary["setting"], [str(name) for name in summary["dataset"]["class_names"]]
    ratio, num_thinned = float(setting["ratio"]), len(names) // 2
    if ratio == 1:
        return []
    rarest_last = names if setting["classes"] == "last" else names[::-1]
    if setting["kind"] != "step":
        return [_extremes(names, [int(count) for count in summary["dataset"]["class_counts"]])]
    thinned = [name for name in names if name in rarest_last[-num_thinned:]]
    if num_thinned > MOST_NAMED:
        return [f"The {num_thinned:,} classes cut to 1/{ratio:g} are, in their order, {thinned[0]} to {thinned[-1]}."]
    classes = "class" if num_thinned == 1 else "classes"
    return [f"The {classes} cut to 1/{ratio:g} {'is' if num_thinned == 1 else 'are'} {listed(thinned)}."]


def _extremes(names: Sequence[str], counts: Sequence[int]) -> str:
    """By the counts: the rarest class need not be the last one, where the data set's own classes differ in size."""

    def those(rank: str, count: int) -> str:
        found = [name for name, its in zip(names, counts, strict=True) if its == count]
        noun, verb = ("class", "is") if len(found) == 1 else ("classes", "are")
        return (
            f"he {rank} {noun} ({plural(count, 'training image')}{' each' * (len(found) > 1)}) {verb} {listed(found)}"
        )

    return f"T{those('rarest', min(counts))}, t{those('most frequent', max(counts))}."


def _remarks(page: TaskPage, tables: Tables) -> list[str]:
    """The shared remarks, and the control's score with its logits adjusted after training."""
    sentences = verdict_remarks(page, tables)
    controls = set(tables.controls.values())
    sweeps = tau_sweeps(tables)
    adjusted = {sweep.arm: score for sweep in sweeps if (score := sweep.test_score(sweep.chosen)) is not None}
    highest = max(adjusted, key=lambda arm: adjusted[arm].mean, default=None)
    for sweep in sweeps:
        score, difference = adjusted.get(sweep.arm), sweep.test_difference
        if sweep.arm in controls and score is not None and difference is not None and sweep.chosen != 0:
            sentences.append(
                f"Without further training, {sweep.arm} with its logits adjusted (τ* = {sweep.chosen:g}, chosen on the "
                f"validation images) reaches {score_text(score)}, {distance_text(difference, 'itself unadjusted')} "
                f"{paired_text(difference, score)}."
                + (
                    f" The highest score after such adjustment is that of {highest}: {score_text(adjusted[highest])}."
                    if highest is not None and highest != sweep.arm
                    else ""
                )
            )
    return sentences


def tau_table(tables: Tables) -> Table | None:
    """The table of post-hoc logit adjustment for each arm's winner."""
    sweeps = tau_sweeps(tables)
    if not sweeps:
        return None
    return Table(
        caption="Post-hoc logit adjustment of each arm's winner. τ*: the best on validation. Gain on validation in "
        "points, chosen on those very images and so optimistic. Test balanced accuracy in %, ± half the width of the "
        f"95 % t-interval over {plural_of(tables.unit)}; the difference is paired, of the same models with and without "
        "τ*, its interval not adjusted for the number of arms.",
        columns=("Arm", "τ*", "Gain on validation", "Test at τ = 0", "Test at τ*", "Difference"),
        rows=tuple(
            (
                sweep.arm,
                f"{sweep.chosen:g}",
                points(sweep.validation_gain),
                interval_cell(sweep.test_score(0.0)),
                interval_cell(sweep.test_score(sweep.chosen)),
                paired_cell(sweep.test_difference),
            )
            for sweep in sweeps
        ),
    )


TAU_SECTION = Section(
    name="tau",
    title="Logit adjustment after training",
    text="It costs no training: the logits of each arm's winner are shifted by −τ log π before the largest is taken, π "
    "the class shares of its training set (Menon et al. 2021, post hoc). An arm that adjusts its logits by itself, in "
    "the loss or after training, keeps that adjustment, and τ comes on top of it.",
    tables=lambda tables: [tau_table(tables)],
)

PAGE = TaskPage(
    title="Class imbalance: which remedy helps?",
    headline=group_headline,
    remarks=_remarks,
    figures=(*RESULTS, *of_classes(_COUNTED), TAU, *TUNING),
    sections=(*CLASS_SECTIONS, TAU_SECTION),
    challenger="remedy",
    counted=_COUNTED,
    condition=_on_thinned_dataset,
    data_notes=_thinned_classes,
    control_phrase=lambda control: "no remedy" if control == "none" else control,
    split="That was before thinning: only the training part was thinned, once, in the data set. Tuning saw training "
    "and validation images, never the test split.",
    epoch="An epoch draws as many images in every arm: the size of the thinned training set.",
    retest="training and validation images joined and thinned anew, the seed choosing subset, initialisation and order",
    shared="same thinned subset, same seed of initialisation and order",
    score_title="Balanced accuracy",
    metrics=("test_accuracy", "test_macro_f1", "test_worst_class_recall", "test_nll", "test_ece"),
)
