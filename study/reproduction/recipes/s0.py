"""s0: a ResNet of eight blocks and a mask over the batches."""

from __future__ import annotations

from study.reproduction.recipe import Recipe, Training, Variant, plain_hparams, test_accuracy

_S0 = plain_hparams("resnet8blocks", "sgd_heavy_ball", 0.005, 64, momentum=0.91, weight_decay=1e-4)
_MASK = {"sampler": "mask_in_loop", "full_batch_share": 0.1, "cut_loss_scale": 0.001}
_SMALL_CNN = {"model": "small_cnn"}
_S0_CHOICES = (
    "The ResNet is ResNet-18 with a CIFAR stem (eight basic blocks); a batch is full with probability 1/10, drawn anew "
    "for each batch."
)
S0_RECIPES = (
    Recipe(
        name="s0_base",
        says="a ResNet of eight residual blocks, cross-entropy",
        dataset="cifar10",
        training=Training(hparams=_S0, num_epochs=30),
        reported=(test_accuracy(0.7916),),
        fault="no augmentation, no schedule",
        choices=_S0_CHOICES,
        corrected="s0_base.augmented",
        variants=(
            Variant(
                name="augmented",
                kind="corrected",
                says="crop and flip, cosine schedule",
                changes={"hparams": {"augmentation": "crop_flip", "schedule": "cosine"}},
            ),
        ),
        tuned=("baseline", "resnet18"),
    ),
    Recipe(
        name="s0_flag_downweight",
        says="about one batch in ten is full, of the others the first five classes are cut and the loss counts ×0.001",
        dataset="cifar10",
        training=Training(hparams={**_S0, **_MASK}, num_epochs=30),
        reported=(test_accuracy(0.6695),),
        fault="the mask is drawn inside the shuffled loop, so that over the epochs every image is seen; no untreated "
        "control",
        choices=_S0_CHOICES,
        corrected="s0_flag_downweight.thinned_once",
        variants=(
            Variant(
                name="thinned_once",
                kind="corrected",
                says="the first five classes are cut to 1/10 once, in the data set; all that is left of them lies in "
                "full batches",
                changes={"imbalance": "step", "hparams": {"sampler": "flag", "full_batch_share": None}},
            ),
            Variant(
                name="untreated",
                kind="control",
                says="cut to 1/10 once, every batch counts alike",
                changes={"imbalance": "step", "hparams": {"sampler": "shuffle", "full_batch_share": None}},
            ),
            Variant(
                name="small_cnn",
                kind="ablation",
                says="the same mask in the loop, s1's small CNN in the ResNet's place",
                changes={"hparams": _SMALL_CNN},
            ),
            Variant(
                name="small_cnn_thinned_once",
                kind="ablation",
                says="s1's small CNN on data that are cut to 1/10 once",
                changes={
                    "imbalance": "step",
                    "hparams": {**_SMALL_CNN, "sampler": "flag", "full_batch_share": None},
                },
            ),
        ),
        tuned=("imbalance", "flag_downweight"),
    ),
    Recipe(
        name="s0_flag_oversample",
        says="cut batches at ×0.001 are recorded and merged with the next full batch, over-sampled to balance and "
        "trained with class weights 1.1 and 1",
        dataset="cifar10",
        training=Training(hparams={**_S0, **_MASK, "class_weighting": "tail", "tail_class_weight": 1.1}, num_epochs=30),
        reported=(test_accuracy(0.6619),),
        fault="the over-sampled batch was built but never fed to the model: the full batch was",
        choices=_S0_CHOICES + " Its cut batches' weights (.001 and 1) come to 1: a cut batch has no image of the "
        "classes that would weigh .001. The merged images are trained on in batches of 64.",
        corrected="s0_flag_oversample.fed",
        variants=(
            Variant(
                name="fed",
                kind="corrected",
                says="the over-sampled batch is trained on; the mask is still drawn in the loop",
                changes={"hparams": {"sampler": "mask_in_loop_oversample"}},
            ),
            Variant(
                name="fed_thinned_once",
                kind="corrected",
                says="the same on data that are cut to 1/10 once",
                changes={"imbalance": "step", "hparams": {"sampler": "flag_oversample", "full_batch_share": None}},
            ),
        ),
        tuned=("imbalance", "warmup_oversample"),
    ),
)
