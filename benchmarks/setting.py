"""Setting: the trials that a study and its peers run, and how each of them says what it took."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.data import dataset_options, tuning_set
from study.core.spec import RunSpec
from study.tasks.resolve import machine_settings
from trainables.common.numerics import Numerics
from trainables.data.types import TuningData
from trainables.tasks.baseline import BASELINE
from trainables.training.learner import Learner
from trainables.training.setup import TrialSetup

GRACE_EPOCHS, REDUCTION_FACTOR = 1, 3
MODEL, BATCH_SIZE = "small_cnn", 128
FIXED: dict[str, Any] = {
    "optimizer": "sgd",
    "schedule": "cosine",
    "warmup": 0.0,
    "batch_size": BATCH_SIZE,
    "augmentation": "crop_flip",
    "label_smoothing": 0.0,
    "dropout": 0.0,
}
"""What is the same in all trials, so that an epoch of one is as much work as another's."""
RANGES = {"learning_rate": (0.003, 0.3), "momentum": (0.7, 0.97), "weight_decay": (1e-5, 1e-2)}
LOGARITHMIC = ("learning_rate", "weight_decay")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Trials of up to num_epochs, early stopping as above. folder: where the data are provided (see benchmarks.data).

    num_slots: the trials that run at once, a core each; num_jobs: the same of Optuna in one process.
    """

    folder: str
    num_trials: int
    num_epochs: int
    num_images: int
    num_slots: int
    num_retests: int = 1
    num_jobs: int = 1
    seed: int = 0

    def data(self) -> TuningData:
        return tuning_set(Path(self.folder), self.num_images)

    def learner(self, data: TuningData, sampled: dict[str, float], *, seed: int = 0) -> Learner:
        """This project's learner. sampled: a value for each of RANGES."""
        return learner_of({"model": MODEL, **FIXED, **sampled}, data, num_epochs=self.num_epochs, seed=seed)

    def study_settings(self, name: str) -> dict[str, Any]:
        """The same as settings of study.run baseline."""
        ranges = {knob: f"{low}..{high}{':log' if knob in LOGARITHMIC else ''}" for knob, (low, high) in RANGES.items()}
        return {
            **dataset_options(Path(self.folder)),
            "train_images": self.num_images,
            "arms": [MODEL],
            "trials_per_arm": self.num_trials,
            "max_epochs": self.num_epochs,
            "grace_epochs": GRACE_EPOCHS,
            "reduction_factor": REDUCTION_FACTOR,
            "retest_seeds": self.num_retests,
            "max_concurrent": self.num_slots,
            "gpus_per_trial": 0.0,
            "space": {**{knob: str(value) for knob, value in FIXED.items()}, **ranges},
            "seed": self.seed,
            "dashboard": False,
            "output_dir": self.folder,
            "name": name,
        }


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a tuning took by the clock, the workers' starts included, and what it did in that time."""

    seconds: float
    trials: int
    epochs: int


def numerics() -> Numerics:
    """What a study takes on this machine without a GPU."""
    found: Numerics = machine_settings(RunSpec(task=BASELINE.name), 0)["numerics"]
    return found


def learner_of(hparams: dict[str, Any], data: TuningData, *, num_epochs: int, seed: int = 0) -> Learner:
    """The learner of a trial on one core of this machine."""
    setup = TrialSetup(num_epochs=num_epochs, seed=seed, numerics=numerics(), device=torch.device("cpu"))
    return BASELINE.learner(hparams, data, setup)


def given_setting() -> Setting:
    """The setting whose file this process was given."""
    return read_setting(Path(sys.argv[1]))


def read_setting(file: Path) -> Setting:
    return Setting(**json.loads(file.read_text()))


def say(tuned: Tuned) -> None:
    """Say it as the last line of this process, for the one that started it."""
    print(f"\n{json.dumps(asdict(tuned))}", flush=True)
