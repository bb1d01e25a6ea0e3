"""WORDINGS: the words in which each task's page speaks of its arms, its data and its score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from study.analysis import Tables
from study.findings import EQUAL_EPOCHS, JIGSAW, SCRATCH, pretext_arms
from study.group import PRETEXT, TUNE
from study.number_text import plural, word

DATASET_TITLES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "eurosat": "EuroSAT",
    "digits": "scikit-learn's digits",
    "digit-pairs": "pairs of scikit-learn's digits",
}
METRIC_NAMES = {
    "test_accuracy": "test accuracy",
    "test_balanced_accuracy": "test balanced accuracy",
    "val_accuracy": "validation accuracy",
    "val_balanced_accuracy": "validation balanced accuracy",
    "val_exact_accuracy": "validation exact accuracy",
}
OPTIMIZER_NAMES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}
# What makes a run comparable with the published CIFAR-100 results of ResNet-18.
PUBLISHED_DATASET, PUBLISHED_MODEL, PUBLISHED_EPOCHS = "cifar100", "resnet18", 200

Summary = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Wording:
    """title: the question that the page answers, its heading.

    challenger: what an arm that is compared with the control is. counted: what class_counts count. condition:
    "On CIFAR-10 with ...", how every answer begins. arm_phrase, control_phrase: an arm's or a control's name in a
    sentence. split, epoch, retest, test: sentences of Methods, on the training data, on what an epoch draws, on the
    data that a winner is retrained on, on when the test split was read. shared: what two arms share at one retest
    seed. metrics: the columns of analysis.arm_table that the table of arms shows beside the score. names_optimizer:
    whether the winner's optimiser is part of the answer. notes: further paragraphs of Methods.
    """

    title: str
    challenger: str
    counted: str
    condition: Callable[[Summary], str]
    arm_phrase: Callable[[str], str] = str
    control_phrase: Callable[[str], str] = str
    split: str
    epoch: str
    retest: str
    shared: str
    test: str = "The test split was read once a seed."
    metrics: tuple[str, ...]
    names_optimizer: bool = False
    notes: Callable[[Tables], list[str]] = lambda tables: []


def of(summary: Summary) -> Wording:
    """The words of a run's task. Raises ValueError for a task that has none."""
    if summary["task"] not in WORDINGS:
        raise ValueError(f"task must be one of {', '.join(WORDINGS)}, got {summary['task']!r}")
    return WORDINGS[summary["task"]]


def words(tables: Tables) -> dict[str, str]:
    """What the titles and captions of figures may name: {score}, {objective}, {challenger}, ..."""
    wording = of(tables.summary)
    return {
        "score": METRIC_NAMES[tables.score],
        "objective": METRIC_NAMES[tables.objective],
        "challenger": wording.challenger,
        "shared": wording.shared,
    }


def axis_label(metric: str) -> str:
    """'test_accuracy' -> 'Test accuracy (%)'."""
    return f"{METRIC_NAMES[metric].capitalize()} (%)"


def dataset_title(summary: Summary) -> str:
    name = str(summary["dataset"]["name"])
    return DATASET_TITLES.get(name, name)


def optimizer_name(optimizer: str) -> str:
    return OPTIMIZER_NAMES.get(optimizer, optimizer)


def _on_dataset(summary: Summary) -> str:
    return f"On {dataset_title(summary)}"


def _on_thinned_dataset(summary: Summary) -> str:
    """'On CIFAR-10 with the first five classes cut to 1/10'."""
    title, setting = dataset_title(summary), summary["setting"]
    ratio, which = float(setting["ratio"]), str(setting["classes"])
    if ratio == 1:
        return f"On {title}, all classes kept whole"
    if setting["kind"] == "step":
        num_cut = int(summary["dataset"]["num_classes"]) // 2
        return f"On {title} with the {which} {word(num_cut)} classes cut to 1/{ratio:g}"
    return f"On {title} with class counts falling exponentially to 1/{ratio:g} ({which} class rarest)"


def _on_dataset_with_model(summary: Summary) -> str:
    return f"On {dataset_title(summary)} with {summary['setting']['model']}"


def _quoted(arm: str) -> str:
    return f"“{arm}”"


def _published_note(tables: Tables) -> list[str]:
    """Whether this run can be held against the published results, and what ran instead."""
    dataset, setting = tables.summary["dataset"], tables.summary["setting"]
    num_epochs = int(tables.stage(TUNE)["max_epochs"])
    published = "75.6 % with the plain recipe, 77.5 % tuned, after 200 epochs"
    is_comparable = (
        dataset["name"] == PUBLISHED_DATASET and setting["model"] == PUBLISHED_MODEL and num_epochs >= PUBLISHED_EPOCHS
    )
    if is_comparable:
        return [f"Published results. For ResNet-18 on CIFAR-100: {published}; this study ran that setting."]
    models = setting["model"] if "deeper" not in tables.arms else f"{setting['model']} (deeper: {setting['deeper']})"
    return [
        f"Not run here. The published results for ResNet-18 on CIFAR-100 ({published}) were not reproduced: this "
        f"study trained {models} on {dataset_title(tables.summary)} for at most {plural(num_epochs, 'epoch')}, "
        "so its accuracies are not comparable with them."
    ]


def _transfer_notes(tables: Tables) -> list[str]:
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
    if not pretext_arms(tables):
        return []
    pretext = tables.stage(PRETEXT)
    return [
        f"Pretext. {plural(int(pretext['trials_per_arm']), 'trial')} of at most "
        f"{plural(int(pretext['max_epochs']), 'epoch')} solved puzzles of the training images, of which no label was "
        "used, each view shuffled anew. They were tuned by the share of validation puzzles solved exactly. "
        f"The winner of {setting['pretext_arm']} {inherited} In the retest it is retrained with each seed, on training "
        "and validation images without their labels, and a classifier begins with that of its own seed."
    ]


_WHOLE_SPLIT = "Tuning saw training and validation images, never the test split."
_WHOLE_EPOCH = "An epoch draws as many images in every arm: the size of the training set."
_WHOLE_RETEST = "training and validation images joined, the seed choosing initialisation and order"
_CLASSIFIER_METRICS = ("test_macro_f1", "test_worst_class_recall", "test_nll", "test_ece")

WORDINGS: dict[str, Wording] = {
    "baseline": Wording(
        title="Baseline: which model and optimiser, and how good?",
        challenger="other model",
        counted="training images",
        condition=_on_dataset,
        split=_WHOLE_SPLIT,
        epoch=_WHOLE_EPOCH,
        retest=_WHOLE_RETEST,
        shared="same training images, same seed of initialisation and order",
        metrics=_CLASSIFIER_METRICS,
        names_optimizer=True,
    ),
    "imbalance": Wording(
        title="Class imbalance: which remedy helps?",
        challenger="remedy",
        counted="training images after thinning",
        condition=_on_thinned_dataset,
        control_phrase=lambda control: "no remedy" if control == "none" else control,
        split="That was before thinning: only the training part was thinned, once, in the data set. " + _WHOLE_SPLIT,
        epoch="An epoch draws as many images in every arm: the size of the thinned training set.",
        retest="training and validation images joined and thinned anew, the seed choosing subset, initialisation and "
        "order",
        shared="same thinned subset, same seed of initialisation and order",
        metrics=("test_accuracy", *_CLASSIFIER_METRICS),
    ),
    "cifar100": Wording(
        title="From memorising to generalising: which recipe helps?",
        challenger="other recipe",
        counted="training images",
        condition=_on_dataset_with_model,
        arm_phrase=_quoted,  # "both" is an arm
        control_phrase=_quoted,
        split=_WHOLE_SPLIT,
        epoch=_WHOLE_EPOCH,
        retest=_WHOLE_RETEST,
        shared="same training images, same seed of initialisation and order",
        test="The test split was read after each epoch, for the curves alone: scores are the last epoch's.",
        metrics=(
            "test_top5_accuracy",
            "test_superclass_accuracy",
            "generalisation_gap",
            "test_worst_class_recall",
            "test_nll",
            "test_ece",
        ),
        notes=_published_note,
    ),
    "jigsaw": Wording(
        title="Jigsaw: does solving puzzles first help, and when?",
        challenger="other initialisation",
        counted="training images, labelled or not",
        condition=_on_dataset,
        split="The labels of a fraction are those of a stratified subset of the training part, a smaller one within a "
        "larger; validation and test are the same for all. " + _WHOLE_SPLIT,
        epoch="Arms of one label fraction draw equally many images an epoch.",
        retest="training and validation images joined, the seed choosing the labelled subset, initialisation and order",
        shared="same labelled subset, same seed of initialisation and order",
        metrics=_CLASSIFIER_METRICS,
        notes=_transfer_notes,
    ),
}
