"""The page of the jigsaw study: whether solving puzzles first helps a classifier, and how well they are solved."""

from __future__ import annotations

import math

import pandas as pd

from study.analysis import puzzles, transfer
from study.analysis.intervals import Interval
from study.analysis.tables import Tables
from study.analysis.transfer import EQUAL_EPOCHS, JIGSAW, SCRATCH, Transfer
from study.core.stage import TUNE, Group
from study.core.text import listed, plural
from study.page.answers import group_headline, not_covered, place
from study.page.figures.catalogue import (
    CLASSIFIER_CURVES,
    PRETEXT_CURVES,
    PUZZLES,
    RESULTS,
    SINKHORN,
    TRANSFER,
    TUNING,
    recall,
)
from study.page.table import Table
from study.page.task import Section, TaskPage
from study.page.text import (
    chance_percent,
    distance_text,
    interval_cell,
    mean_cell,
    paired_cell,
    paired_text,
    percent,
    score_text,
)
from study.page.words import metric_name
from study.records.validation import images_a_class
from study.tasks.jigsaw import PRETEXT

_COUNTED = "training images, labelled or not"


def _headline(page: TaskPage, tables: Tables, group: Group) -> str:
    """The verdict on pre-training at one label fraction: it helps only if it beats both ways to start from scratch."""
    verdict = next((found for found in transfer.transfers(tables) if found.group == group), None)
    if verdict is None:
        return group_headline(page, tables, group)
    where, metric = place(page, tables, group), metric_name(tables.score)
    differences = listed(_differences(verdict)) if _differences(verdict) else ""
    numbers = f"{JIGSAW} reaches a {metric} of {score_text(verdict.score)}{', ' * bool(differences)}{differences}"
    if verdict.words is not None:
        return f"{where}, solving puzzles first {verdict.words}: {numbers}."
    reason = (
        "one seed gives no interval"
        if verdict.to_scratch is not None and verdict.to_equal_epochs is not None
        else "not both ways to start from scratch were retested on its seeds"
    )
    return f"{where}, there is no verdict on solving puzzles first, because {reason}: {numbers}."


def _differences(verdict: Transfer) -> list[str]:
    return [
        f"{distance_text(difference, other)} {paired_text(difference, verdict.score)}"
        for difference, other in (
            (verdict.to_scratch, "scratch"),
            (verdict.to_equal_epochs, "scratch trained for as many epochs"),
        )
        if difference is not None
    ]


def _remarks(page: TaskPage, tables: Tables) -> list[str]:
    sentences = []
    found = transfer.transfers(tables)
    num_comparisons = sum(
        isinstance(difference, Interval) for one in found for difference in (one.to_scratch, one.to_equal_epochs)
    )
    if num_comparisons > 2:  # the headlines are adjusted for the two of their own group
        judged = [
            f"with {one.group.title}, solving puzzles first {one.words}"
            for one in transfer.transfers(tables, num_comparisons)
            if one.words is not None
        ]
        if judged:
            sentences.append(
                f"Adjusted for all {num_comparisons} comparisons of all shares (Bonferroni): {'; '.join(judged)}."
            )
    dataset = tables.summary["dataset"]
    sentences.append(
        "A share of the labels is what the classifiers train on. Their configurations were chosen, in every arm alike, "
        f"by {int(dataset['num_val']):,} labelled validation images ({images_a_class(dataset)} a class): whoever has "
        "no more labels than that share could not tune so."
    )
    sentences.append(
        "“Helps” is said only where both paired intervals, to scratch and to scratch trained for as many epochs, "
        "exclude 0: the second is what the puzzles' epochs are worth when they are spent on labels instead."
    )
    for arm in puzzles.pretext_arms(tables):
        exact = puzzles.puzzle_metrics(tables, arm).iloc[0]
        if exact["n"] > 0:
            sentences.append(
                f"The puzzle net of {arm} puts every tile of {percent(exact['mean'])} % of the test puzzles in its "
                f"place (chance {chance_percent(exact['chance'])} %; {plural(int(exact['n']), 'seed')}). Solving "
                "puzzles well is not the aim: shortcuts raise that number and not the classifier's."
            )
    return [*sentences, not_covered(tables)]


def _notes(tables: Tables) -> list[str]:
    setting, epochs_of = tables.summary["setting"], tables.stage(TUNE)["epochs_of"]
    passes = [
        f"{100 * float(fraction):g} % of the labels, {'1 pass' if int(number) == 1 else f'{int(number):,} passes'}"
        for fraction, number in setting["passes_per_epoch"].items()
    ]
    lengths = "; ".join(
        f"{group.title}: " + ", ".join(f"{arm} {int(epochs_of[arm])}" for arm in group.arms) for group in tables.groups
    )
    return [
        *_pretext_note(tables),
        f"Controls. {SCRATCH} starts from random weights. {EQUAL_EPOCHS} does so too and trains on the labels for as "
        f"many epochs as puzzles and labels take together. Epochs of a full trial: {lengths}. An epoch on labels "
        f"passes over its subset several times where that is small ({'; '.join(passes)}), one of puzzles over all "
        "training images: epochs are equal, images are not.",
    ]


def _pretext_note(tables: Tables) -> list[str]:
    setting = tables.summary["setting"]
    inherited = (
        f"gives the convolutions, and the first fully connected layer where its shape fits, of every {JIGSAW} arm; "
        "BatchNorm statistics are estimated again."
    )
    if setting.get("pretext_checkpoint"):
        return [
            f"Pretext. No puzzle was solved here: the checkpoint {setting['pretext_checkpoint']} {inherited} "
            "All trials and seeds begin with it, so the intervals do not cover the randomness of its training; "
            "whether it has seen validation or test images is not known here."
        ]
    if not puzzles.pretext_arms(tables):
        return []
    pretext = tables.stage(PRETEXT)
    return [
        f"Pretext. {plural(int(pretext['trials_per_arm']), 'trial')} of at most "
        f"{plural(int(pretext['max_epochs']), 'epoch')} solved puzzles of the training images, of which no label was "
        "used, each view shuffled anew. They were tuned by the share of validation puzzles solved exactly. "
        f"The winner of {setting['pretext_arm']} {inherited} In the retest it is retrained with each seed, on training "
        "and validation images without their labels, and a classifier begins with that of its own seed."
    ]


def transfer_table(tables: Tables) -> Table | None:
    """The table of the two paired differences behind each verdict."""
    found = transfer.transfers(tables)
    if not found:
        return None
    return Table(
        caption="What pre-training on puzzles did at each share of the labels: test accuracy (%) of the pre-trained "
        "arm and its paired differences to both ways to start from scratch (points, both intervals at 95 % together).",
        columns=("Labels", "Jigsaw first", "Minus scratch", "Minus scratch, as many epochs", "Solving puzzles first"),
        rows=tuple(
            (
                verdict.group.title,
                interval_cell(verdict.score),
                paired_cell(verdict.to_scratch),
                paired_cell(verdict.to_equal_epochs),
                verdict.words or "no verdict",
            )
            for verdict in found
        ),
    )


def puzzle_tables(tables: Tables) -> list[Table]:
    """A table of the winner's scores on puzzles for each pretext arm that completed a trial or was retested."""
    found = {arm: puzzles.puzzle_metrics(tables, arm) for arm in puzzles.pretext_arms(tables)}
    return [
        _puzzle_table(arm, puzzles.num_tiles(tables, arm), metrics)
        for arm, metrics in found.items()
        if metrics[["validation", "mean"]].notna().any(axis=None)
    ]


def _puzzle_table(arm: str, num_tiles: int, metrics: pd.DataFrame) -> Table:
    side, num_seeds = math.isqrt(num_tiles), int(metrics["n"].max()) if metrics["n"].notna().any() else 0
    over = f"mean ± half the width of its 95 % interval over {plural(num_seeds, 'seed')}" if num_seeds else "not done"
    return Table(
        caption=f"{arm}: puzzles of {side} × {side} tiles, in %. Validation: the winning trial at its last epoch. "
        f"Test: {over}. Chance: what guessing gives, row-argmax guessing each tile on its own. Confidence: the mean "
        "of the Sinkhorn matrix at the true places.",
        columns=("Measure", "Validation", "Test", "Chance"),
        rows=tuple(
            (
                row["title"],
                percent(row["validation"]),
                mean_cell(row["mean"], row["low"], row["high"]),
                chance_percent(row["chance"]),
            )
            for row in metrics.to_dict("records")
        ),
    )


PRETEXT_SECTION = Section(
    name="pretext",
    title="The puzzles",
    text="Before the classifier is trained, a net learns to put shuffled tiles of the training images back in place. "
    "What it is worth as a start is judged above; what follows is how well it solves puzzles.",
    tables=puzzle_tables,
)

PAGE = TaskPage(
    title="Jigsaw: does solving puzzles first help, and when?",
    headline=_headline,
    remarks=_remarks,
    figures=(
        TRANSFER,
        *RESULTS,
        CLASSIFIER_CURVES,
        recall(_COUNTED),
        PUZZLES,
        SINKHORN,
        PRETEXT_CURVES,
        *TUNING,
    ),
    sections=(PRETEXT_SECTION,),
    first_table=transfer_table,
    challenger="other initialisation",
    counted=_COUNTED,
    trained="classifier",
    split="The labels of a fraction are those of a stratified subset of the training part, a smaller one within a "
    "larger; validation and test are the same for all. Tuning saw training and validation images, never the test "
    "split.",
    epoch="Arms of one label fraction draw equally many images an epoch.",
    retest="training and validation images joined, the seed choosing the labelled subset, initialisation and order",
    shared="same labelled subset, same seed of initialisation and order",
    notes=_notes,
)
