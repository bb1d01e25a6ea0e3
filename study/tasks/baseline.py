"""The baseline study: which model and optimiser, and how good? Its arms are models."""

from __future__ import annotations

from typing import Literal

from search_spaces import baseline as space
from study.core.spec import StudySpec, option
from study.core.stage import Stage
from study.tasks.study import Study, budget, one_stage
from trainables.data.types import TuningData


class BaselineSpec(StudySpec):
    """The settings of the baseline study."""

    task: Literal["baseline"] = "baseline"
    padding: Literal["same", "valid"] = option(
        "same", "search", "of small_cnn's convolutions", scope="training", is_repeated=True
    )


def _stages(spec: BaselineSpec, data: TuningData) -> tuple[Stage, ...]:
    from trainables.tasks.baseline import BASELINE as TASK  # slow to import: torch

    found = space.search_space(
        num_train=data.num_train, image_size=data.image_size, padding=spec.padding, flip=data.flip_keeps_label
    )
    return one_stage(spec, TASK, found, "lenet")


_MODELS = space.ARM_NAMES

BASELINE = Study(
    name="baseline",
    question="which model and optimiser, and how good?",
    spec=BaselineSpec,
    arm_names=_MODELS,
    arm_table=space.ARMS,
    aliases={"resnet8blocks": "resnet18"},
    default_dataset="cifar10",
    presets={
        "quick": budget(("lenet", "small_cnn", "resnet9"), 6, 6, 2, 3),
        "standard": budget(_MODELS, 16, 27, 3, 5),
        "full": budget(_MODELS, 48, 81, 3, 10),
    },
    stages=_stages,
    setting=lambda spec: {"padding": spec.padding},
)
