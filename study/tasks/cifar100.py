"""The cifar100 study: what makes a network generalise? Its arms vary augmentation, regularisation and depth."""

from __future__ import annotations

from typing import Literal

from search_spaces import cifar100 as space
from study.core.errors import StudyError
from study.core.spec import StudySpec, option
from study.core.stage import Stage
from study.tasks.study import Study, budget, one_stage
from trainables.data.types import TuningData

_DEEPER = {"resnet8": "resnet14", "resnet20": "resnet32", "resnet18": "resnet34"}
_QUICK_IMAGES = 10_000  # so that two CPU cores are done within the hour


class Cifar100Spec(StudySpec):
    """The settings of the cifar100 study."""

    task: Literal["cifar100"] = "cifar100"
    model: str | None = option(
        None,
        "search",
        "the network; the arm deeper takes the next deeper one",
        scope="training",
        is_repeated=True,
    )


def _stages(spec: Cifar100Spec, data: TuningData) -> tuple[Stage, ...]:
    from trainables.tasks.cifar100 import CIFAR100 as TASK  # slow to import: torch

    assert spec.model
    if "deeper" in (spec.arms or ()) and spec.model not in _DEEPER:
        raise StudyError(f"--arms deeper: no deeper network than {spec.model} is known; leave that arm out")
    found = space.search_space(
        num_train=data.num_train,
        image_size=data.image_size,
        model=spec.model,
        deeper=_DEEPER.get(spec.model, spec.model),
        flip=data.flip_keeps_label,
    )
    return one_stage(spec, TASK, found, "memorise")


_ARMS = space.ARM_NAMES

CIFAR100 = Study(
    name="cifar100",
    question="from memorising to generalising: what makes a network generalise?",
    spec=Cifar100Spec,
    arm_names=_ARMS,
    arm_table=space.ARMS,
    default_dataset="cifar100",
    embedded_dataset="digit-pairs",
    models=tuple(_DEEPER),
    presets={
        "quick": budget(_ARMS[:5], 3, 8, 2, 3, model="resnet8", train_images=_QUICK_IMAGES),
        "standard": budget(_ARMS, 12, 54, 6, 3, model="resnet18"),
        "full": budget(_ARMS, 24, 200, 8, 5, model="resnet18"),
    },
    stages=_stages,
    setting=lambda spec: {"model": spec.model, "deeper": _DEEPER.get(spec.model or "")},
)
