"""STUDIES: the one registry. A study is a task, a search space, a spec and its default budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from search_spaces import imbalance as imbalance_space
from search_spaces.arms import SearchSpace
from study.errors import StudyError, nearest
from study.spec import ImbalanceSpec, StudySpec
from trainables.data.splits import retest_data, tuning_data
from trainables.data.types import ImageDataset, TuningData
from trainables.imbalance import IMBALANCE
from trainables.task import Task


@dataclass(frozen=True, kw_only=True)
class Study:
    """question: what it answers, for --help. control: the arm that the others are compared with.

    presets: what --budget sets. search_space(spec, data) and tuning_data(spec, dataset) are the task's own;
    retest_cut(spec, seed) is the function that makes a retest's training data of the tuning data, in a worker.
    """

    question: str
    task: Task
    spec: type[StudySpec]
    arm_names: tuple[str, ...]
    control: str
    default_dataset: str
    models: tuple[str, ...]
    presets: Mapping[str, Mapping[str, Any]]
    search_space: Callable[[Any, TuningData], SearchSpace]
    tuning_data: Callable[[Any, ImageDataset], TuningData]
    retest_cut: Callable[[Any, int], Callable[[TuningData], TuningData]]


def _imbalance_space(spec: ImbalanceSpec, data: TuningData) -> SearchSpace:
    return imbalance_space.search_space(
        num_train=data.num_train,
        model=spec.model,
        augmentation="crop_flip" if data.flip_keeps_label else "crop",
    )


def _thinning(spec: ImbalanceSpec) -> dict[str, Any]:
    return {"imbalance": spec.imbalance, "ratio": spec.imbalance_ratio, "minority": spec.imbalance_classes}


_IMBALANCE_ARMS = tuple(arm.name for arm in imbalance_space.ARMS)

STUDIES: Mapping[str, Study] = {
    "imbalance": Study(
        question="which remedy for class imbalance works?",
        task=IMBALANCE,
        spec=ImbalanceSpec,
        arm_names=_IMBALANCE_ARMS,
        control="none",
        default_dataset="cifar10",
        models=("small_cnn", "resnet18", "resnet32"),
        presets={
            "quick": {
                "arms": ("none", "copy", "weighted_loss", "class_balanced", "weighted_sampler", "balanced_softmax"),
                "trials_per_arm": 6,
                "max_epochs": 9,
                "grace_epochs": 3,
                "reduction_factor": 3,
                "retest_seeds": 3,
            },
            "standard": {
                "arms": _IMBALANCE_ARMS,
                "trials_per_arm": 16,
                "max_epochs": 27,
                "grace_epochs": 3,
                "reduction_factor": 3,
                "retest_seeds": 5,
            },
            "full": {
                "arms": _IMBALANCE_ARMS,
                "trials_per_arm": 48,
                "max_epochs": 81,
                "grace_epochs": 3,
                "reduction_factor": 3,
                "retest_seeds": 10,
            },
        },
        search_space=_imbalance_space,
        tuning_data=lambda spec, dataset: tuning_data(dataset, subset_seed=spec.seed, **_thinning(spec)),
        retest_cut=lambda spec, seed: partial(retest_data, subset_seed=seed, **_thinning(spec)),
    ),
}


def find_study(name: str) -> Study:
    """Raises StudyError with the nearest name."""
    if name not in STUDIES:
        raise StudyError(f"task must be one of {', '.join(STUDIES)}, got {name!r}{nearest(name, STUDIES)}")
    return STUDIES[name]


def chosen_arms(study: Study, names: tuple[str, ...]) -> tuple[str, ...]:
    """The arms of --arms, 'all' included. Raises StudyError for an unknown, repeated or missing one."""
    if names == ("all",):
        return study.arm_names
    for name in names:
        if name not in study.arm_names:
            raise StudyError(
                f"--arms must be all or some of {', '.join(study.arm_names)}, got {name!r}"
                f"{nearest(name, study.arm_names)}"
            )
    if len(set(names)) < len(names):
        raise StudyError(f"--arms must name each arm once, got {', '.join(names)}")
    return names
