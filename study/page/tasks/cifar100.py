"""The page of the cifar100 study: which arm generalises, and which memorises."""

from __future__ import annotations

import math

from study.analysis import results
from study.analysis.classes import compared_arms
from study.analysis.tables import Tables
from study.core.stage import TUNE
from study.core.text import listed, plural
from study.page.answers import group_headline, verdict_remarks
from study.page.class_sections import CLASS_SECTIONS
from study.page.figures.catalogue import ACCURACIES, LOSSES, RESULTS, TUNING, of_classes
from study.page.task import Section, Summary, TaskPage, on_dataset
from study.page.text import percent
from study.page.words import images_phrase, num_drawn

RISE = 1.05
"""A test loss that ends above so much of its least one is said to have risen."""
# A run with these is comparable with the published CIFAR-100 results of ResNet-18.
PUBLISHED_DATASET, PUBLISHED_MODEL, PUBLISHED_EPOCHS = "cifar100", "resnet18", 200


def _quoted(arm: str) -> str:
    return f"“{arm}”"


def _on_dataset_with_model(summary: Summary) -> str:
    return f"{on_dataset(summary)} with {summary['setting']['model']}"


def _remarks(page: TaskPage, tables: Tables) -> list[str]:
    """The generalisation gaps, followed by the shared remarks."""
    gaps, name = results.generalisation_gaps(tables), page.arm_phrase
    arms = [arm for arm in compared_arms(tables) or () if arm is not None and arm in gaps.index]
    sentences = []
    if arms:
        shares = listed([f"{percent(gaps[arm])} points for {name(arm)}" for arm in arms])
        sentences.append(f"Generalisation gap, training minus test accuracy at the last epoch: {shares}.")
    return [*sentences, *_memorising(page, tables), *verdict_remarks(page, tables)]


def _memorising(page: TaskPage, tables: Tables) -> list[str]:
    """How far training losses fell, and in which arms the test loss rose again."""
    epochs = tables.retest_epochs
    if not {"train_eval_loss", "test_loss"} <= set(epochs.columns):
        return []
    losses = epochs.groupby(["arm", "epoch"])[["train_eval_loss", "test_loss"]].mean().dropna()
    if losses.empty:
        return []
    of_arms = losses.groupby("arm")
    training, test, least = of_arms["train_eval_loss"].last(), of_arms["test_loss"].last(), of_arms["test_loss"].min()
    rises = {arm: test[arm] - least[arm] for arm in tables.arms if arm in test and test[arm] > RISE * least[arm]}
    each = listed([f"by {rise:.2f} in {page.arm_phrase(arm)}" for arm, rise in rises.items()]) if rises else ""
    ends = " to ".join(dict.fromkeys(f"{loss:.2f}" for loss in (training.min(), training.max())))
    guessing = math.log(int(tables.summary["dataset"]["num_classes"]))
    return [
        f"Training losses end at {ends} nats, where guessing has {guessing:.2f}, and "
        + (
            f"test losses have risen from their least {each}."
            if rises
            else f"no test loss has risen more than {percent(RISE - 1, 0)} % above its least."
        )
    ]


def _published_note(tables: Tables) -> list[str]:
    """A note on whether this run is comparable with published results, and on what ran instead."""
    dataset, setting = tables.summary["dataset"], tables.summary["setting"]
    num_epochs = int(tables.stage(TUNE)["max_epochs"])
    published = "75.6 % with the plain recipe, 77.5 % tuned, after 200 epochs"
    is_comparable = (
        dataset["name"] == PUBLISHED_DATASET
        and setting["model"] == PUBLISHED_MODEL
        and num_epochs >= PUBLISHED_EPOCHS
        and num_drawn(tables.summary) is None
    )
    if is_comparable:
        return [f"Published results. For ResNet-18 on CIFAR-100: {published}; this study ran that setting."]
    models = setting["model"] if "deeper" not in tables.arms else f"{setting['model']} (deeper: {setting['deeper']})"
    return [
        f"Not run here. The published results for ResNet-18 on CIFAR-100 ({published}) were not reproduced: this "
        f"study trained {models} on {images_phrase(tables.summary)} for at most {plural(num_epochs, 'epoch')}, "
        "so its accuracies are not comparable with them."
    ]


GENERALISATION = Section(
    name="generalisation",
    title="Memorising or generalising",
    text="A recipe memorises where its training loss goes to zero while its test loss rises; it generalises where both "
    "fall together.",
    tables=lambda tables: [],
)

PAGE = TaskPage(
    title="From memorising to generalising: which recipe helps?",
    headline=group_headline,
    remarks=_remarks,
    figures=(*RESULTS, *of_classes("training images"), LOSSES, ACCURACIES, *TUNING),
    sections=(*CLASS_SECTIONS, GENERALISATION),
    challenger="other recipe",
    condition=_on_dataset_with_model,
    arm_phrase=_quoted,  # "both" is an arm
    control_phrase=_quoted,
    retest="training and validation images joined, the seed choosing initialisation and order",
    shared="same training images, same seed of initialisation and order",
    test="The test split was read after each epoch, for the curves alone: scores are the last epoch's.",
    score_title="Test accuracy (top-1)",
    metrics=(
        "test_top5_accuracy",
        "test_superclass_accuracy",
        "generalisation_gap",
        "test_worst_class_recall",
        "test_nll",
        "test_ece",
    ),
    notes=_published_note,
)
