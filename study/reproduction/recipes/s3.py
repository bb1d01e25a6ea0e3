"""s3: CIFAR-100 memorised."""

from __future__ import annotations

from study.reproduction.recipe import Recipe, Reported, Training, Variant, plain_hparams, test_accuracy

RECIPES = (
    Recipe(
        name="s3_c100",
        says="a ResNet on CIFAR-100, batches of about 2,000, 500 epochs",
        dataset="cifar100",
        training=Training(hparams=plain_hparams("resnet18", "sgd_heavy_ball", 0.1, 2048), num_epochs=500),
        reported=(
            test_accuracy(0.493),
            Reported(what="test accuracy, last epoch", column="test_accuracy", value=0.4896),
        ),
        fault="memorised (it prints a training loss of 4e-6): no augmentation and no regularisation",
        choices="ResNet-18 with a CIFAR stem; SGD at .1 with momentum .9, constant: the report states neither.",
        corrected="s3_c100.regularised",
        variants={
            "regularised": Variant(
                kind="corrected",
                says="crop and flip, weight decay 5e-4",
                hparams={"augmentation": "crop_flip", "weight_decay": 5e-4},
            ),
        },
        tuned=("cifar100", "both"),
    ),
)
