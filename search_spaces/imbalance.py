"""The imbalance study's arms, a remedy each, and the knobs that may vary in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna

from search_spaces import knobs
from search_spaces.space import Arm, SearchSpace
from trainables.parts.schedules import last_epoch_before


def search_space(*, num_train: int, model: str, augmentation: str) -> SearchSpace:
    """The space for a thinned training set of num_train images."""
    batch_sizes, batch_size = knobs.batch_sizes(num_train)

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        return {
            "model": model,
            "augmentation": augmentation,
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "momentum": trial.suggest_float("momentum", 0.7, 0.97),
            "weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True),
            "schedule": trial.suggest_categorical("schedule", ["cosine", "linear", "multi_step"]),
            "batch_size": trial.suggest_categorical("batch_size", list(batch_sizes)),
        }

    start = {
        "learning_rate": 0.05,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "cosine",
        "batch_size": batch_size,
    }
    return SearchSpace(arms={arm.name: arm for arm in ARMS}, suggest=suggest, start=start)


def _gamma(trial: optuna.Trial) -> dict[str, Any]:
    return {"class_weight_gamma": trial.suggest_float("class_weight_gamma", 0.0, 1.0)}


def _beta(trial: optuna.Trial) -> dict[str, Any]:
    # Below .99 the weights are uniform to within a percent at 500 against 5000 images.
    betas = [0.99, 0.999, 0.9999, 0.99999]
    return {"class_weight_beta": trial.suggest_categorical("class_weight_beta", betas)}


def _exponent(trial: optuna.Trial) -> dict[str, Any]:
    return {"sampler_exponent": trial.suggest_float("sampler_exponent", 0.0, 1.0)}


def _photometric(trial: optuna.Trial) -> dict[str, Any]:
    return {"photometric_strength": trial.suggest_float("photometric_strength", 0.1, 0.5)}


def _cut_scale(trial: optuna.Trial) -> dict[str, Any]:
    return {"cut_loss_scale": trial.suggest_float("cut_loss_scale", 1e-3, 1.0, log=True)}


def _tail_weight(trial: optuna.Trial) -> dict[str, Any]:
    return {"tail_class_weight": trial.suggest_float("tail_class_weight", 0.9, 2.0)}


def _focal(trial: optuna.Trial) -> dict[str, Any]:
    return {"focal_gamma": trial.suggest_float("focal_gamma", 0.5, 3.0)}


def _ldam(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "ldam_max_margin": trial.suggest_float("ldam_max_margin", 0.2, 0.8),
        "ldam_scale": trial.suggest_float("ldam_scale", 10.0, 30.0),
        **_late_weights(trial),
    }


def _reweight_start(trial: optuna.Trial) -> dict[str, Any]:
    return {"reweight_start": trial.suggest_float("reweight_start", 0.6, 0.9)}


def _late_weights(trial: optuna.Trial) -> dict[str, Any]:
    return {**_reweight_start(trial), **_beta(trial)}


def _head_start(trial: optuna.Trial) -> dict[str, Any]:
    # The head takes few epochs: 5-30 of the source's 90-200.
    return {"head_start": trial.suggest_float("head_start", 0.6, 0.95)}


def _mixing(trial: optuna.Trial) -> dict[str, Any]:
    return {"mixing_alpha": trial.suggest_float("mixing_alpha", 0.2, 1.0)}


def _softmax_tau(trial: optuna.Trial) -> dict[str, Any]:
    return {"balanced_softmax_tau": trial.suggest_float("balanced_softmax_tau", 0.5, 2.0)}


def _post_hoc_tau(trial: optuna.Trial) -> dict[str, Any]:
    return {"post_hoc_tau": trial.suggest_float("post_hoc_tau", 0.5, 2.0)}


def _after_reweighting(hparams: Mapping[str, Any], num_epochs: int) -> int:
    return last_epoch_before(hparams["reweight_start"], num_epochs) + 1


def _after_head_start(hparams: Mapping[str, Any], num_epochs: int) -> int:
    return last_epoch_before(hparams["head_start"], num_epochs) + 1


def _arm(
    name: str,
    description: str,
    *,
    loss: str = "cross_entropy",
    class_weighting: str = "uniform",
    sampler: str = "shuffle",
    mixing: str = "none",
    **rest: Any,
) -> Arm:
    factors = {"loss": loss, "class_weighting": class_weighting, "sampler": sampler, "mixing": mixing}
    return Arm(name=name, description=description, factors=factors, fixed=factors, **rest)


def _both(*suggests: Any) -> Any:
    return lambda trial: {key: value for suggest in suggests for key, value in suggest(trial).items()}


_LATE_WEIGHTS = {"reweight_start": 0.8, "class_weight_beta": 0.9999}

ARMS = (
    _arm("none", "no remedy: cross-entropy on the thinned set"),
    _arm("copy", "each image of a rare class copied until the classes are equal", sampler="copy"),
    _arm(
        "augment_copies",
        "five versions of every image (as is, two flips, brightness, contrast), those of rare classes twice",
        sampler="augment_copies",
        suggest=_photometric,
        start={"photometric_strength": 0.3},
    ),
    _arm(
        "weighted_loss",
        "class weights n^-gamma in the loss, n the class's images",
        class_weighting="inverse",
        suggest=_gamma,
        start={"class_weight_gamma": 1.0},
    ),
    _arm(
        "augment_copies_weighted_loss",
        "the five versions, and class weights n^-gamma in the loss",
        sampler="augment_copies",
        class_weighting="inverse",
        suggest=_both(_photometric, _gamma),
        start={"photometric_strength": 0.3, "class_weight_gamma": 1.0},
    ),
    _arm(
        "flag_downweight",
        "batches without rare classes count less in the loss",
        sampler="flag",
        suggest=_cut_scale,
        start={"cut_loss_scale": 1e-3},
    ),
    _arm(
        "warmup_oversample",
        "batches without rare classes warm up at a small loss, then train again merged with over-sampled rare ones",
        sampler="warmup_oversample",
        class_weighting="tail",
        suggest=_both(_cut_scale, _tail_weight),
        start={"cut_loss_scale": 1e-3, "tail_class_weight": 1.1},
    ),
    _arm(
        "class_balanced",
        "class weights by the effective number of images (Cui et al. 2019)",
        class_weighting="class_balanced",
        suggest=_beta,
        start={"class_weight_beta": 0.9999},
    ),
    _arm(
        "weighted_sampler",
        "images drawn with replacement, a class of n images in proportion to n^q (q = 0: balanced)",
        sampler="weighted",
        suggest=_exponent,
        start={"sampler_exponent": 0.0},
    ),
    _arm(
        "class_balanced_weighted_sampler",
        "the weighted sampler and class-balanced weights together",
        sampler="weighted",
        class_weighting="class_balanced",
        suggest=_both(_exponent, _beta),
        start={"sampler_exponent": 0.5, "class_weight_beta": 0.999},
    ),
    _arm(
        "focal",
        "focal loss: easy images count less (Lin et al. 2017)",
        loss="focal",
        suggest=_focal,
        start={"focal_gamma": 2.0},
    ),
    _arm(
        "ldam_drw",
        "larger margins for rare classes, re-weighted late (Cao et al. 2019)",
        loss="ldam",
        class_weighting="class_balanced",
        suggest=_ldam,
        start={"ldam_max_margin": 0.5, "ldam_scale": 30.0, **_LATE_WEIGHTS},
        first_stoppable_epoch=_after_reweighting,
    ),
    _arm(
        "balanced_softmax",
        "logits shifted by the log prior while training (Ren et al. 2020)",
        loss="balanced_softmax",
        suggest=_softmax_tau,
        start={"balanced_softmax_tau": 1.0},
    ),
    _arm(
        "logit_adjustment",
        "trained as none; the log prior is taken off the logits afterwards (Menon et al. 2021)",
        suggest=_post_hoc_tau,
        start={"post_hoc_tau": 1.0},
    ),
    _arm(
        "progressive_sampler",
        "images drawn as they are at first, class by class at the end, gliding in between (Kang et al. 2020)",
        sampler="progressive",
    ),
    _arm(
        "deferred_sampling",
        "every image once an epoch; towards the end, classes drawn equally often (DRS, Cao et al. 2019)",
        sampler="deferred",
        suggest=_reweight_start,
        start={"reweight_start": 0.8},
        first_stoppable_epoch=_after_reweighting,
    ),
    _arm(
        "crt",
        "trained as none; then the last layer anew on classes drawn equally often, the rest frozen (Kang et al. 2020)",
        sampler="decoupled",
        suggest=_head_start,
        start={"head_start": 0.8},
        first_stoppable_epoch=_after_head_start,
    ),
    _arm(
        "mixup_drw",
        "pairs of images mixed with their labels (Zhang et al. 2018), re-weighted late",
        class_weighting="class_balanced",
        mixing="mixup",
        suggest=_both(_mixing, _late_weights),
        start={"mixing_alpha": 0.5, **_LATE_WEIGHTS},
        first_stoppable_epoch=_after_reweighting,
    ),
    _arm(
        "remix_drw",
        "pairs mixed, their labels in the rarer class's favour (Chou et al. 2020), re-weighted late",
        class_weighting="class_balanced",
        mixing="remix",
        suggest=_both(_mixing, _late_weights),
        start={"mixing_alpha": 0.5, **_LATE_WEIGHTS},
        first_stoppable_epoch=_after_reweighting,
    ),
)
