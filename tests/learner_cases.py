"""What tests of training share: the embedded digits, thinned, and a learner of any arm. Imports no Ray."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch

from search_spaces.imbalance import search_space
from search_spaces.space import SearchSpace
from trainables.common.numerics import Numerics
from trainables.data.sources import load_dataset
from trainables.data.splits import thin, thinned_counts, tuning_data
from trainables.data.types import ImageDataset, TuningData
from trainables.hparams import ImbalanceHparams
from trainables.tasks.imbalance import build_learner
from trainables.training.learner import Learner
from trainables.training.setup import TrialSetup

SPACE = search_space(num_train=601, model="small_cnn", augmentation="crop")
STEP_10 = partial(thinned_counts, imbalance="step", ratio=10.0, minority="first")


@cache
def digits() -> ImageDataset:
    return load_dataset("digits", data_root=Path("no-such-folder"), download=False)


@cache
def thinned_digits(image_size: int = 16) -> TuningData:
    """601 training images: classes 0-4 hold a tenth of what 5-9 do. Of 16 × 16 pixels, an epoch takes half a second."""
    dataset = load_dataset("digits", data_root=Path("no-such-folder"), download=False, image_size=image_size)
    return tuning_data(dataset, thinned=STEP_10, subset_seed=0)


@cache
def few_digits(image_size: int = 16) -> TuningData:
    """100 training images, 4 of each of classes 0-4 and 16 of each of 5-9: an epoch takes a moment."""
    data = thinned_digits(image_size)
    counts = np.array([4] * 5 + [16] * 5)
    values = dict(vars(data), train_indices=thin(data.labels, data.train_indices, counts, 0), class_counts=counts)
    return TuningData(**values | {"fingerprint": "few digits"})


def start_hparams(arm: str, space: SearchSpace = SPACE) -> dict[str, Any]:
    """The arm's first configuration, by the way that a study takes: an enqueued Optuna trial."""
    study = optuna.create_study()
    study.enqueue_trial(space.start_point(space.arms[arm]))
    return space.sample(space.arms[arm], study.ask())


def setup_of(*, num_epochs: int, seed: int = 1, precision: str = "float32") -> TrialSetup:
    """On the CPU, on one thread."""
    numerics = Numerics(precision=precision)
    return TrialSetup(num_epochs=num_epochs, seed=seed, numerics=numerics, device=torch.device("cpu"))


def learner_of(
    arm: str,
    data: TuningData,
    *,
    num_epochs: int,
    seed: int = 1,
    precision: str = "float32",
    **knobs: Any,
) -> Learner:
    return build_learner(
        ImbalanceHparams(**start_hparams(arm) | knobs),
        data,
        setup_of(num_epochs=num_epochs, seed=seed, precision=precision),
    )
