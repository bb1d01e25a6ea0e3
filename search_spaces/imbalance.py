"""The imbalance study's arms, one remedy each, and the knobs that vary in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from search_spaces import knobs
from search_spaces.declarations import Choice, Float, Trial
from search_spaces.space import Arm, SearchSpace, by_name, each_of
from trainables.parts.schedules import last_epoch_before


def search_space(*, num_train: int, model: str, augmentation: str) -> SearchSpace:
    """The space for a thinned training set of num_train images."""
    shared = each_of(
        Float("learning_rate", 0.01, 0.3, log=True, start=0.05),
        knobs.MOMENTUM,
        knobs.WEIGHT_DECAY,
        knobs.SCHEDULE,
        knobs.batch_size(num_train),
    )

    def suggest(trial: Trial) -> dict[str, Any]:
        return {"model": model, "augmentation": augmentation, **shared(trial)}

    return SearchSpace(arms=dict(ARMS), suggest=suggest)


_GAMMA = Float("class_weight_gamma", 0.0, 1.0, start=1.0)
# At 0.99 and below, the weights of classes of 500 and of 5,000 images differ by less than a percent.
_BETA = Choice("class_weight_beta", (0.99, 0.999, 0.9999, 0.99999), start=0.9999, scale="logit")
_EXPONENT = Float("sampler_exponent", 0.0, 1.0, start=0.0)
_PHOTOMETRIC = Float("photometric_strength", 0.1, 0.5, start=0.3)
_CUT_SCALE = Float("cut_loss_scale", 1e-3, 1.0, log=True, start=1e-3)
_REWEIGHT_START = Float("reweight_start", 0.6, 0.9, start=0.8)
_LATE_WEIGHTS = (_REWEIGHT_START, _BETA)
_MIXING_ALPHA = Float("mixing_alpha", 0.2, 1.0, start=0.5)


def _after_reweighting(hparams: Mapping[str, Any], num_epochs: int) -> int:
    return last_epoch_before(hparams["reweight_start"], num_epochs) + 1


def _after_head_start(hparams: Mapping[str, Any], num_epochs: int) -> int:
    return last_epoch_before(hparams["head_start"], num_epochs) + 1


def remedy(
    name: str,
    description: str,
    *,
    loss: str = "cross_entropy",
    class_weighting: str = "uniform",
    sampler: str = "shuffle",
    mixing: str = "none",
    **rest: Any,
) -> Arm:
    """An arm of the imbalance study: the parts that it is made of, and what else an Arm has, such as suggest."""
    factors = {"loss": loss, "class_weighting": class_weighting, "sampler": sampler, "mixing": mixing}
    return Arm(name=name, description=description, factors=factors, fixed=factors, **rest)


ARMS = by_name(
    remedy("none", "no remedy: cross-entropy on the thinned set"),
    remedy("copy", "each image of a rare class copied until the classes are equal", sampler="copy"),
    remedy(
        "augment_copies",
        "five versions of every image (as is, two flips, brightness, contrast), those of rare classes twice",
        sampler="augment_copies",
        suggest=each_of(_PHOTOMETRIC),
    ),
    remedy(
        "weighted_loss",
        "class weights n^-gamma in the loss, n the class's images",
        class_weighting="inverse",
        suggest=each_of(_GAMMA),
    ),
    remedy(
        "augment_copies_weighted_loss",
        "the five versions, and class weights n^-gamma in the loss",
        sampler="augment_copies",
        class_weighting="inverse",
        suggest=each_of(_PHOTOMETRIC, _GAMMA),
    ),
    remedy(
        "flag_downweight",
        "batches without rare classes count less in the loss",
        sampler="flag",
        suggest=each_of(_CUT_SCALE),
    ),
    remedy(
        "warmup_oversample",
        "batches without rare classes warm up at a small loss, then train again merged with over-sampled rare ones",
        sampler="warmup_oversample",
        class_weighting="tail",
        suggest=each_of(_CUT_SCALE, Float("tail_class_weight", 0.9, 2.0, start=1.1)),
    ),
    remedy(
        "class_balanced",
        "class weights by the effective number of images (Cui et al. 2019)",
        class_weighting="class_balanced",
        suggest=each_of(_BETA),
    ),
    remedy(
        "weighted_sampler",
        "images drawn with replacement, a class of n images in proportion to n^q (q = 0: balanced)",
        sampler="weighted",
        suggest=each_of(_EXPONENT),
    ),
    remedy(
        "class_balanced_weighted_sampler",
        "the weighted sampler and class-balanced weights together",
        sampler="weighted",
        class_weighting="class_balanced",
        suggest=each_of(replace(_EXPONENT, start=0.5), replace(_BETA, start=0.999)),
    ),
    remedy(
        "focal",
        "focal loss: easy images count less (Lin et al. 2017)",
        loss="focal",
        suggest=each_of(Float("focal_gamma", 0.5, 3.0, start=2.0)),
    ),
    remedy(
        "ldam_drw",
        "larger margins for rare classes, re-weighted late (Cao et al. 2019)",
        loss="ldam",
        class_weighting="class_balanced",
        suggest=each_of(
            Float("ldam_max_margin", 0.2, 0.8, start=0.5),
            Float("ldam_scale", 10.0, 30.0, start=30.0),
            *_LATE_WEIGHTS,
        ),
        first_stoppable_epoch=_after_reweighting,
    ),
    remedy(
        "balanced_softmax",
        "logits shifted by the log prior while training (Ren et al. 2020)",
        loss="balanced_softmax",
        suggest=each_of(Float("balanced_softmax_tau", 0.5, 2.0, start=1.0)),
    ),
    remedy(
        "logit_adjustment",
        "trained as none; the log prior is taken off the logits afterwards (Menon et al. 2021)",
        suggest=each_of(Float("post_hoc_tau", 0.5, 2.0, start=1.0)),
    ),
    remedy(
        "progressive_sampler",
        "images drawn as they are at first, class by class at the end, gliding in between (Kang et al. 2020)",
        sampler="progressive",
    ),
    remedy(
        "deferred_sampling",
        "every image once an epoch; towards the end, classes drawn equally often (DRS, Cao et al. 2019)",
        sampler="deferred",
        suggest=each_of(_REWEIGHT_START),
        first_stoppable_epoch=_after_reweighting,
    ),
    remedy(
        "crt",
        "trained as none; then the last layer anew on classes drawn equally often, the rest frozen (Kang et al. 2020)",
        sampler="decoupled",
        # The head needs few epochs: 5-30 of the 90-200 in the paper.
        suggest=each_of(Float("head_start", 0.6, 0.95, start=0.8)),
        first_stoppable_epoch=_after_head_start,
    ),
    remedy(
        "mixup_drw",
        "pairs of images mixed with their labels (Zhang et al. 2018), re-weighted late",
        class_weighting="class_balanced",
        mixing="mixup",
        suggest=each_of(_MIXING_ALPHA, *_LATE_WEIGHTS),
        first_stoppable_epoch=_after_reweighting,
    ),
    remedy(
        "remix_drw",
        "pairs mixed, their labels in the rarer class's favour (Chou et al. 2020), re-weighted late",
        class_weighting="class_balanced",
        mixing="remix",
        suggest=each_of(_MIXING_ALPHA, *_LATE_WEIGHTS),
        first_stoppable_epoch=_after_reweighting,
    ),
)

ARM_NAMES = tuple(ARMS)
"""The project's own, before plugins add others to the table."""
