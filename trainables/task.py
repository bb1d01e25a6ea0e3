"""What a task is to a worker: its hyperparameters, how a learner is built from them, and what is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from trainables.data.types import TuningData
from trainables.hparams import Hparams, Numerics
from trainables.learner import Learner


class BuildLearner(Protocol):
    def __call__(
        self,
        hparams: Any,
        data: TuningData,
        *,
        num_epochs: int,
        seed: int,
        numerics: Numerics,
        device: torch.device,
    ) -> Learner: ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of the catalog. metric names the column of epochs.parquet that is tuned."""

    name: str
    hparams: type[Hparams]
    build_learner: BuildLearner
    metric: str
    mode: Literal["max", "min"]
