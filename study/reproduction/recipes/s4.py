"""s4: the tutorial's CNN and a small ResNet."""

from __future__ import annotations

from typing import Any

from study.reproduction.recipe import (
    Recipe,
    Reported,
    Training,
    Variant,
    plain_hparams,
    test_accuracy,
    training_accuracy,
)

_LENET = plain_hparams("lenet", "sgd_heavy_ball", 1e-3, 4)
_LENET_CHOICES = (
    "SGD at .001 with momentum .9, as in the tutorial that the report follows. Of its table of classes three numbers "
    "are known to us, not of which of its two trainings: they stand beside the longer one."
)
_RESNET9 = plain_hparams("resnet9", "sgd_heavy_ball", 5e-3, 64, weight_decay=5e-4 * 64, schedule="cosine")


def _lenet(name: str, num_epochs: int, *reported: Reported, **others: Any) -> Recipe:
    return Recipe(
        name=name,
        says=f"the PyTorch tutorial's CNN, {num_epochs} epochs, batches of 4",
        dataset="cifar10",
        training=Training(hparams=_LENET, num_epochs=num_epochs),
        reported=reported,
        fault="under-trained",
        choices=_LENET_CHOICES,
        corrected="s4_lenet_4ep.longer",
        tuned=("baseline", "lenet"),
        **others,
    )


def _resnet9(name: str, says: str, augmentation: str, test: float, train: float) -> Recipe:
    return Recipe(
        name=name,
        says=says,
        dataset="cifar10",
        training=Training(hparams={**_RESNET9, "augmentation": augmentation}, num_epochs=24),
        reported=(test_accuracy(test), training_accuracy(train)),
        fault="the weight decay was multiplied by the batch size under a mean loss",
        choices="Momentum .9 is Polyak's, and the decay is on every parameter, as torch's SGD does. Its range test "
        "logged a shifted learning rate; the one that it chose is kept.",
        corrected=f"{name}.plain_decay",
        variants={
            "plain_decay": Variant(
                kind="corrected", says="weight decay 5e-4, not times the batch size", hparams={"weight_decay": 5e-4}
            )
        },
        tuned=("baseline", "resnet9"),
    )


RECIPES = (
    _lenet("s4_lenet_2ep", 2, test_accuracy(0.53)),
    _lenet(
        "s4_lenet_4ep",
        4,
        test_accuracy(0.57),
        training_accuracy(0.61),
        variants={"longer": Variant(kind="corrected", says="12 epochs", changes={"num_epochs": 12})},
        reported_per_class=(0.33, 0.79, 0.32),
    ),
    _resnet9("s4_resnet9_noaug", "a ResNet with one block a stage, no augmentation", "none", 0.82, 0.99),
    _resnet9("s4_resnet9_aug", "a ResNet with one block a stage, pad 4, random crop and flip", "crop_flip", 0.88, 0.91),
)
