"""s0: a ResNet of eight blocks and a mask over the batches."""

from __future__ import annotations

from study.reproduction.recipe import Ablation, Recipe, Training, Variant, plain_hparams, test_accuracy

_RESNET = plain_hparams("resnet8blocks", "sgd_heavy_ball", 0.005, 64, momentum=0.91, weight_decay=1e-4)
_MASK = {"sampler": "mask_in_loop", "full_batch_share": 0.1, "cut_loss_scale": 0.001}
_SMALL_CNN = {"model": "small_cnn"}
_CHOICES = (
    "The ResNet is ResNet-18 with a CIFAR stem (eight basic blocks); a batch is full with probability 1/10, drawn anew "
    "for each batch."
)
RECIPES = (
    Recipe(
        name="s0_base",
        says="a ResNet of eight residual blocks, cross-entropy",
        dataset="cifar10",
        training=Training(hparams=_RESNET, num_epochs=30),
        reported=(test_accuracy(0.7916),),
        fault="no augmentation, no schedule",
        choices=_CHOICES,
        corrected="s0_base.augmented",
        variants={
            "augmented": Variant(
                kind="corrected",
                says="crop and flip, cosine schedule",
                hparams={"augmentation": "crop_flip", "schedule": "cosine"},
            ),
        },
        tuned=("baseline", "resnet18"),
    ),
    Recipe(
        name="s0_flag_downweight",
        says="about one batch in ten is full, of the others the first five classes are cut and the loss counts ×0.001",
        dataset="cifar10",
        training=Training(hparams={**_RESNET, **_MASK}, num_epochs=30),
        reported=(test_accuracy(0.6695),),
        fault="the mask is drawn inside the shuffled loop, so that over the epochs every image is seen; no untreated "
        "control",
        choices=_CHOICES,
        corrected="s0_flag_downweight.thinned_once",
        variants={
            "thinned_once": Variant(
                kind="corrected",
                says="the first five classes are cut to 1/10 once, in the data set; all that is left of them lies in "
                "full batches",
                hparams={"sampler": "flag", "full_batch_share": None},
                changes={"imbalance": "step"},
            ),
            "untreated": Variant(
                kind="control",
                says="cut to 1/10 once, every batch counts alike",
                hparams={"sampler": "shuffle", "full_batch_share": None},
                changes={"imbalance": "step"},
            ),
            "small_cnn": Variant(
                kind="ablation",
                says="the same mask in the loop, s1's small CNN in the ResNet's place",
                hparams=_SMALL_CNN,
            ),
            "small_cnn_thinned_once": Variant(
                kind="ablation",
                says="s1's small CNN on data that are cut to 1/10 once",
                hparams={**_SMALL_CNN, "sampler": "flag", "full_batch_share": None},
                changes={"imbalance": "step"},
            ),
        },
        tuned=("imbalance", "flag_downweight"),
    ),
    Recipe(
        name="s0_flag_oversample",
        says="cut batches at ×0.001 are recorded and merged with the next full batch, over-sampled to balance and "
        "trained with class weights 1.1 and 1",
        dataset="cifar10",
        training=Training(
            hparams={**_RESNET, **_MASK, "class_weighting": "tail", "tail_class_weight": 1.1}, num_epochs=30
        ),
        reported=(test_accuracy(0.6619),),
        fault="the over-sampled batch was built but never fed to the model: the full batch was",
        choices=_CHOICES + " Its cut batches' weights (.001 and 1) come to 1: a cut batch has no image of the "
        "classes that would weigh .001. The merged images are trained on in batches of 64.",
        corrected="s0_flag_oversample.fed",
        variants={
            "fed": Variant(
                kind="corrected",
                says="the over-sampled batch is trained on; the mask is still drawn in the loop",
                hparams={"sampler": "mask_in_loop_oversample"},
            ),
            "fed_thinned_once": Variant(
                kind="corrected",
                says="the same on data that are cut to 1/10 once",
                hparams={"sampler": "flag_oversample", "full_batch_share": None},
                changes={"imbalance": "step"},
            ),
        },
        tuned=("imbalance", "warmup_oversample"),
    ),
)

ABLATIONS = (
    Ablation(
        name="mask",
        title="The mask in the loop, or the data thinned once",
        rows=("in the loop", "thinned once"),
        columns=("ResNet", "small CNN"),
        cells=(
            ("s0_flag_downweight", "s0_flag_downweight.small_cnn"),
            ("s0_flag_downweight.thinned_once", "s0_flag_downweight.small_cnn_thinned_once"),
        ),
        counts_images=True,
    ),
)
