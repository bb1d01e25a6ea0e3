"""s3: CIFAR-100 memorised."""

from __future__ import annotations

from study.reproduction.recipe import (
    EpochCurves,
    Recipe,
    Reported,
    ReportedEpochs,
    Training,
    Variant,
    plain_hparams,
    test_accuracy,
)

_FIRST_EPOCHS = (
    ReportedEpochs(
        what="test accuracy",
        column="test_accuracy",
        values=((1, 0.0978), (2, 0.207), (3, 0.3125), (4, 0.3132), (5, 0.3534)),
        later=(54, 0.483, 0.493),
    ),
    ReportedEpochs(
        what="training loss",
        column="train_eval_loss",
        values=((1, 3.52), (2, 2.94), (3, 2.44), (4, 2.02), (5, 1.82)),
    ),
)
# A tenth of the images in batches of a tenth: as many steps an epoch as the source has.
_TENTH, _TENTH_OF_A_BATCH = 0.1, 205

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
            "resnet20": Variant(
                kind="ablation",
                says="the first 10 epochs alone, ResNet-20 in ResNet-18's place",
                hparams={"model": "resnet20"},
                changes={"num_epochs": 10},
            ),
            "small_cnn": Variant(
                kind="ablation",
                says="the first 60 epochs alone, s1's small CNN in ResNet-18's place",
                hparams={"model": "small_cnn"},
                changes={"num_epochs": 60},
            ),
            "tenth": Variant(
                kind="ablation",
                says="a tenth of the training images in batches of a tenth, 60 epochs, s1's small CNN in ResNet-18's "
                "place",
                hparams={"model": "small_cnn", "batch_size": _TENTH_OF_A_BATCH},
                changes={"num_epochs": 60, "share": _TENTH},
            ),
        },
        tuned=("cifar100", "both"),
    ),
)

CURVES = (
    EpochCurves(
        name="first_epochs",
        title="The first epochs on CIFAR-100",
        caption="The source printed its first five epochs, and those from epoch 54 on, all of them between 48.3 and "
        "49.3 % with a training loss near 0. Its loss is that of the last printed step of an epoch; ours is that of a "
        "fixed sample of training images after the epoch.",
        runs=(
            ("ResNet-18", "s3_c100"),
            ("ResNet-20", "s3_c100.resnet20"),
            ("small CNN", "s3_c100.small_cnn"),
        ),
        reported=_FIRST_EPOCHS,
    ),
    EpochCurves(
        name="memorising",
        title="Memorising a tenth of CIFAR-100",
        caption="As many steps an epoch as in the source, on a tenth of its images.",
        runs=(("small CNN", "s3_c100.tenth"),),
        has_vanishing_loss=True,
    ),
)
