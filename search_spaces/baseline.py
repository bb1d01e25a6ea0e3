"""The baseline study's arms, one model each, and the optimiser, schedule and augmentation that vary in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from search_spaces import knobs
from search_spaces.declarations import Choice, Float, Trial
from search_spaces.space import Arm, SearchSpace, Suggest, by_name, each_of

OptimizerKnobs = tuple[Float, Float, Float]
"""learning_rate, momentum and weight_decay, in an optimiser's own ranges."""

# Adam and RMSprop divide a decay that is added to the gradient by their running scale, like the gradient itself.
_ADAPTIVE: dict[str, OptimizerKnobs] = {
    "adam": (
        Float("learning_rate", 3e-4, 1e-2, log=True),
        knobs.MOMENTUM,
        Float("weight_decay", 1e-6, 1e-3, log=True, start=5e-4),
    ),
    # Decoupled: a step shrinks the weights by learning_rate × weight_decay, about as much as SGD at its larger rate.
    "adamw": (
        Float("learning_rate", 3e-4, 1e-2, log=True),
        knobs.MOMENTUM,
        Float("weight_decay", 1e-3, 0.5, log=True),
    ),
    # Its momentum sums the steps, as SGD's does, whereas Adam's averages them: smaller rates, and possibly no momentum.
    "rmsprop": (
        Float("learning_rate", 3e-5, 3e-3, log=True),
        Float("momentum", 0.0, 0.9, start=0.9),
        Float("weight_decay", 1e-6, 1e-3, log=True, start=5e-4),
    ),
}
_OPTIMIZER = Choice("optimizer", ("sgd", *_ADAPTIVE), start="sgd")
_SCHEDULE = Choice("schedule", ("constant", "multi_step", "cosine", "one_cycle"), start="cosine")
_WARMUP = Float("warmup", 0.0, 0.2, start=0.05)
_DROPOUT = Float("dropout", 0.0, 0.5, start=0.1)


def search_space(*, num_train: int, image_size: int, padding: str, flip: bool) -> SearchSpace:
    """The space for num_train images. padding: of small_cnn; flip: whether a mirror image is of the same class."""
    batch_size = knobs.batch_size_to_512(num_train)
    augmentations = [
        "none",
        knobs.crop(flip),
        f"resized_{knobs.crop(flip)}",
        knobs.crop(flip, extra="_cutout"),
        knobs.crop(flip, extra="_randaugment"),
    ]

    def suggest(trial: Trial) -> dict[str, Any]:
        return {
            **_schedule(trial),
            "batch_size": batch_size.suggest(trial),
            "label_smoothing": knobs.LABEL_SMOOTHING.suggest(trial),
            **knobs.augmentation(trial, augmentations, start=knobs.crop(flip), image_size=image_size),
        }

    arms = dict(ARMS)
    small_cnn = arms["small_cnn"]
    arms["small_cnn"] = replace(small_cnn, fixed={**small_cnn.fixed, "padding": padding})
    # TPE would stay with the first optimiser that did well, so each gets a trial before TPE begins.
    others = [{"optimizer": name} for name in _OPTIMIZER.choices]
    return SearchSpace(arms=arms, suggest=suggest, alternatives=others)


def _schedule(trial: Trial) -> dict[str, Any]:
    schedule = _SCHEDULE.suggest(trial)
    if schedule == "one_cycle":  # one_cycle has a warm-up of its own
        return {"schedule": schedule}
    return {"schedule": schedule, "warmup": _WARMUP.suggest(trial)}


def _optimizer(sgd: Float) -> Suggest:
    """Suggest an optimiser, and its learning rate, momentum and decay: common names, but ranges of its own.

    sgd: SGD's learning rate, whose range depends on the model.
    """
    own = {"sgd": (sgd, knobs.MOMENTUM, knobs.WEIGHT_DECAY), **_ADAPTIVE}

    def suggest(trial: Trial) -> dict[str, Any]:
        optimizer = _OPTIMIZER.suggest(trial)
        return {"optimizer": optimizer, **each_of(*own[optimizer])(trial)}

    return suggest


def model_arm(model: str, description: str, sgd: Float, *own: Float) -> Arm:
    """An arm of the baseline study: a model. sgd: its learning rate with SGD; own: knobs of its own."""
    fixed = {"model": model}
    return Arm(
        name=model, description=description, factors=fixed, fixed=fixed, shared=_optimizer(sgd), suggest=each_of(*own)
    )


_SMALL_NET_RATE = Float("learning_rate", 0.003, 0.3, log=True, start=0.05)
_RESNET_RATE = Float("learning_rate", 0.01, 1.0, log=True, start=0.1)

ARMS = by_name(
    model_arm("lenet", "the network of PyTorch's tutorial, without BatchNorm", replace(_SMALL_NET_RATE, start=0.02)),
    model_arm("small_cnn", "three convolutions and two fully connected layers", _SMALL_NET_RATE, _DROPOUT),
    model_arm("resnet9", "a ResNet of one block a stage, 64 to 512 channels", _RESNET_RATE),
    model_arm("resnet18", "a ResNet of two blocks a stage, 64 to 512 channels", _RESNET_RATE),
    model_arm("resnet20", "a ResNet of three blocks a stage, 16 to 64 channels", _RESNET_RATE),
    model_arm("ultranet18", "ResNet-18's layout with pre-activation and squeeze-and-excitation", _RESNET_RATE),
)

ARM_NAMES = tuple(ARMS)
"""The project's own, before plugins add others to the table."""
