"""s2: EuroSAT, balanced and with a long tail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.reproduction.recipe import (
    BEST_ON_TEST,
    LAST_EPOCH,
    Ablation,
    Claim,
    EpochCurves,
    Recipe,
    Reported,
    Training,
    Variant,
    plain_hparams,
    test_accuracy,
    training_accuracy,
)

_TASK_A_CHOICES = "The network is small_cnn, 20 epochs, batches of 64: the report states none of them."
_OPTIMIZERS = {
    "sgd": ("SGD", "sgd_heavy_ball", 0.01, 0.9),
    "adam": ("Adam", "adam", 1e-3, 0.9),
    "rmsprop": ("RMSprop", "rmsprop", 1e-3, 0.0),
}
_TASK_A = tuple(
    Recipe(
        name=f"s2_taskA_{name}",
        says=f"a CNN on EuroSAT RGB, {title} at {learning_rate:g}",
        dataset="eurosat",
        training=Training(
            hparams=plain_hparams("small_cnn", optimizer, learning_rate, 64, momentum=momentum), num_epochs=20
        ),
        reported=(test_accuracy(0.967), training_accuracy(0.954)),
        fault=f"{BEST_ON_TEST}, of the best of three optimisers",
        choices=_TASK_A_CHOICES,
        corrected=LAST_EPOCH,
        tuned=("baseline", "small_cnn"),
    )
    for name, (title, optimizer, learning_rate, momentum) in _OPTIMIZERS.items()
)
_ULTRANET = plain_hparams("ultranet18", "adam", 1e-3, 64, schedule="multi_step", augmentation="resized_crop_flip")
_ULTRANET_CHOICES = (
    "UltraNet18's block is a design of our own, since the source's figure of it is lost; 20 epochs, Adam at 1e-3, ×0.1 "
    "at 60 and 80 % of them, batches of 64."
)
_LONG_TAIL_CHOICES = _ULTRANET_CHOICES + " The long tail is exponential, 1/100, the last class the rarest; β = .9999."
_WRS = {"sampler": "weighted", "sampler_exponent": 0.0}
_CB = {"class_weighting": "class_balanced", "class_weight_beta": 0.9999}


def _long_tailed(name: str, says: str, remedy: Mapping[str, Any], reported: tuple[Reported, ...], arm: str) -> Recipe:
    return Recipe(
        name=f"s2_lt_{name}",
        says=says,
        dataset="eurosat",
        training=Training(hparams={**_ULTRANET, **remedy}, num_epochs=20, imbalance="exponential"),
        reported=reported,
        fault="the imbalance ratio is not stated",
        choices=_LONG_TAIL_CHOICES,
        variants={
            "small_cnn": Variant(
                kind="ablation",
                says=f"{says}; small_cnn in UltraNet18's place",
                hparams={"model": "small_cnn"},
            )
        },
        tuned=("imbalance", arm),
    )


RECIPES = (
    *_TASK_A,
    Recipe(
        name="s2_ultranet18",
        says="EuroSAT, ResNet-18's layout with two UltraBlocks a stage, random resized crop and flip",
        dataset="eurosat",
        training=Training(hparams=_ULTRANET, num_epochs=20),
        reported=(test_accuracy(0.8620), training_accuracy(0.9230)),
        fault="the block's figure is lost",
        choices=_ULTRANET_CHOICES,
        variants={
            "no_augmentation": Variant(kind="ablation", says="without augmentation", hparams={"augmentation": "none"}),
            "constant_lr": Variant(
                kind="ablation", says="without learning-rate decay", hparams={"schedule": "constant"}
            ),
            "neither": Variant(
                kind="ablation",
                says="without augmentation and without learning-rate decay",
                hparams={"augmentation": "none", "schedule": "constant"},
            ),
        },
        tuned=("baseline", "ultranet18"),
    ),
    _long_tailed("none", "EuroSAT long-tailed, untreated", {}, (test_accuracy(0.6709),), "none"),
    _long_tailed("cb", "EuroSAT long-tailed, class-balanced loss", _CB, (), "class_balanced"),
    _long_tailed("wrs", "EuroSAT long-tailed, WeightedRandomSampler (1/n)", _WRS, (), "weighted_sampler"),
    _long_tailed(
        "cb_wrs",
        "EuroSAT long-tailed, class-balanced loss and sampler",
        {**_CB, **_WRS},
        (test_accuracy(0.8487),),
        "class_balanced_weighted_sampler",
    ),
)

ABLATIONS = (
    Ablation(
        name="optimisers",
        title="Three optimisers",
        rows=("test accuracy",),
        columns=tuple(title for title, *_ in _OPTIMIZERS.values()),
        cells=(tuple(recipe.name for recipe in _TASK_A),),
    ),
    Ablation(
        name="augmentation",
        title="Augmentation and learning-rate decay",
        rows=("augmented", "as they are"),
        columns=("with decay", "without"),
        cells=(
            ("s2_ultranet18", "s2_ultranet18.constant_lr"),
            ("s2_ultranet18.no_augmentation", "s2_ultranet18.neither"),
        ),
    ),
    Ablation(
        name="remedies",
        title="Class-balanced loss and weighted sampler",
        rows=("cross-entropy", "class-balanced loss"),
        columns=("shuffled", "weighted sampler"),
        cells=(("s2_lt_none", "s2_lt_wrs"), ("s2_lt_cb", "s2_lt_cb_wrs")),
    ),
    Ablation(
        name="remedies_small_cnn",
        title="Class-balanced loss and weighted sampler, with the small CNN",
        rows=("cross-entropy", "class-balanced loss"),
        columns=("shuffled", "weighted sampler"),
        cells=(
            ("s2_lt_none.small_cnn", "s2_lt_wrs.small_cnn"),
            ("s2_lt_cb.small_cnn", "s2_lt_cb_wrs.small_cnn"),
        ),
    ),
)

CURVES = (
    EpochCurves(
        name="optimisers",
        title="Three optimisers on EuroSAT",
        caption="The source compares the three by their losses and accuracies over the epochs.",
        runs=tuple((title, f"s2_taskA_{name}") for name, (title, *_) in _OPTIMIZERS.items()),
    ),
)


def _on_both_nets(treated: str, control: str) -> tuple[tuple[str, str, str], ...]:
    """The pair on the source's net, and on one that is trained in full where that one cannot be."""
    treated, control = f"s2_lt_{treated}", f"s2_lt_{control}"
    return ("UltraNet18", treated, control), ("small CNN", f"{treated}.small_cnn", f"{control}.small_cnn")


CLAIMS = (
    Claim(
        name="both_remedies",
        says="class-balanced loss and weighted sampler together raise the test accuracy of a long tail",
        pairs=_on_both_nets("cb_wrs", "none"),
        expects="higher",
        reported=(0.6709, 0.8487),
    ),
    Claim(
        name="loss_alone_lowers_the_loss",
        says="class-balanced loss alone lowers the test loss (plain cross-entropy)",
        pairs=_on_both_nets("cb", "none"),
        expects="lower",
        column="test_loss",
    ),
    Claim(
        name="loss_alone_is_no_better",
        says="class-balanced loss alone does not raise the test accuracy",
        pairs=_on_both_nets("cb", "none"),
        expects="not higher",
    ),
    Claim(
        name="sampler_alone",
        says="the weighted sampler alone raises the test accuracy",
        pairs=_on_both_nets("wrs", "none"),
        expects="higher",
    ),
    Claim(
        name="both_beat_the_sampler",
        says="both together have a higher test accuracy than the weighted sampler alone",
        pairs=_on_both_nets("cb_wrs", "wrs"),
        expects="higher",
    ),
)
