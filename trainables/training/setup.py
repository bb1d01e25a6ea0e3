"""The settings of a training besides its hyperparameters and its data."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trainables.common.numerics import Numerics


@dataclass(frozen=True, kw_only=True)
class TrialSetup:
    """The length, seed, numerics and device of a training.

    num_epochs: the length of the full training, even if it is stopped early: schedules and late phases are shares of
    it. seed: initial weights, order, augmentation and dropout are functions of it and of the epoch. numerics: the
    settings that change bits. device: where the model and the resident images are.
    """

    num_epochs: int
    seed: int
    numerics: Numerics
    device: torch.device
