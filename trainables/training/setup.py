"""What a training is told beside its hyperparameters and its data."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trainables.hparams import Numerics


@dataclass(frozen=True, kw_only=True)
class TrialSetup:
    """How long, from which random numbers, how exactly and where a learner trains.

    num_epochs: of the whole training, also where it is stopped earlier: schedules and late phases are shares of it.
    seed: the first weights, the order, augmentation and dropout are functions of it and of the epoch. numerics: the
    settings that change bits. device: of the model and of the images that stay on it.
    """

    num_epochs: int
    seed: int
    numerics: Numerics
    device: torch.device
