"""The imbalance study: which remedy for class imbalance works? Its arms are remedies, judged against none."""

from __future__ import annotations

from functools import partial
from typing import Literal

from search_spaces import imbalance as space
from search_spaces.knobs import crop
from study.core.spec import StudySpec, option
from study.core.stage import Stage
from study.tasks.study import Amendment, Study, budget, one_stage
from trainables.data.splits import Thinned, thinned_counts
from trainables.data.types import TuningData


class ImbalanceSpec(StudySpec):
    """The settings of the imbalance study: how the training set is thinned, and the network."""

    task: Literal["imbalance"] = "imbalance"
    imbalance: Literal["step", "exponential"] = option(
        "step",
        "imbalance",
        "half of the classes cut to 1/ratio, or a long tail",
        scope="training",
        is_repeated=True,
    )
    imbalance_ratio: float = option(
        10.0,
        "imbalance",
        "largest class over smallest; 1 leaves the set as it is",
        scope="training",
        is_repeated=True,
        ge=1,
        allow_inf_nan=False,
    )
    imbalance_classes: Literal["first", "last"] = option(
        "first", "imbalance", "which classes become rare", scope="training", is_repeated=True
    )
    model: str = option("small_cnn", "search", "the network", scope="training", is_repeated=True)


def _stages(spec: ImbalanceSpec, data: TuningData) -> tuple[Stage, ...]:
    from trainables.tasks.imbalance import IMBALANCE as TASK  # slow to import: torch

    found = space.search_space(num_train=data.num_train, model=spec.model, augmentation=crop(data.flip_keeps_label))
    return one_stage(spec, TASK, found, "none")


def _thinned(spec: ImbalanceSpec) -> Thinned:
    return partial(
        thinned_counts, imbalance=spec.imbalance, ratio=spec.imbalance_ratio, minority=spec.imbalance_classes
    )


_REMEDIES = space.ARM_NAMES
_QUICK_REMEDIES = ("none", "copy", "weighted_loss", "class_balanced", "weighted_sampler", "balanced_softmax")
# On a long tail, what its literature compares. balanced_softmax is the loss of logit adjustment, with its tau.
_QUICK_LONG_TAIL = (
    "none",
    "weighted_sampler",
    "class_balanced_weighted_sampler",
    "ldam_drw",
    "balanced_softmax",
    "logit_adjustment",
)

IMBALANCE = Study(
    name="imbalance",
    question="which remedy for class imbalance works?",
    spec=ImbalanceSpec,
    arm_names=_REMEDIES,
    arm_table=space.ARMS,
    default_dataset="cifar10",
    models=("small_cnn", "resnet18", "resnet32", "ultranet18"),
    presets={
        "quick": budget(_QUICK_REMEDIES, 6, 9, 3, 3),
        "standard": budget(_REMEDIES, 16, 27, 3, 5),
        "full": budget(_REMEDIES, 48, 81, 3, 10),
    },
    amendments=(Amendment(option="imbalance", value="exponential", presets={"quick": {"arms": _QUICK_LONG_TAIL}}),),
    stages=_stages,
    thinned=_thinned,
    setting=lambda spec: {
        "kind": spec.imbalance,
        "ratio": spec.imbalance_ratio,
        "classes": spec.imbalance_classes,
    },
)
