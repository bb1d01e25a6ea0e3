"""From hyperparameters to a learner: the code that all tasks share, and that of all classifiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.common.seeds import derive_seed
from trainables.data.augmentation import augmenter
from trainables.data.resident import resident
from trainables.data.types import TuningData
from trainables.hparams import ClassifierHparams, Hparams
from trainables.models import build_model
from trainables.parts.mixing import MIXINGS, Prepare, as_they_are
from trainables.parts.optimizers import OPTIMIZERS, decay_groups
from trainables.parts.samplers import EpochPlan, shuffled_plan
from trainables.parts.schedules import SCHEDULES, Schedule, warmed_up
from trainables.training.learner import Batches, Learner
from trainables.training.setup import TrialSetup

Loss = Callable[[Tensor, Tensor, int], Tensor]
"""(outputs, targets, epoch) -> 0-dim tensor."""
Plan = Callable[[int, torch.Generator], EpochPlan]
"""(epoch, generator) -> the images that the epoch draws."""


@dataclass(frozen=True, kw_only=True)
class Phases:
    """The changes in the course of a training. schedule: the learning rate's multiplier over the whole training.

    begin_epoch(epoch): called at the beginning of each epoch; see Learner.
    """

    schedule: Schedule
    begin_epoch: Callable[[int], None]


MakePhases = Callable[[nn.Module, torch.optim.Optimizer, Schedule], Phases]
"""(model, optimizer, the schedule that the hyperparameters name) -> the training's phases."""


def one_phase(model: nn.Module, optimizer: torch.optim.Optimizer, schedule: Schedule) -> Phases:
    """The phases of a training whose epochs are all alike."""
    return Phases(schedule=schedule, begin_epoch=lambda epoch: None)


def build_learner_of(
    make_model: Callable[[int, int], nn.Module],
    hparams: Hparams,
    data: TuningData,
    setup: TrialSetup,
    *,
    loss: Loss,
    prepare: Prepare = as_they_are,
    train_indices: np.ndarray | None = None,
    plan: Plan | None = None,
    phases: MakePhases = one_phase,
    adjust_logits: Callable[[Tensor], Tensor] = lambda logits: logits,
    lr_scales: Mapping[str, float] | None = None,
) -> Learner:
    """Build a learner at epoch 0. Its training is a function of the arguments alone.

    make_model(in_channels, image_size): called with torch's generator seeded. train_indices: int64[M], the images to
    train on; None: all of data's. plan: None: shuffled epochs of these images. lr_scales: see decay_groups.
    """
    knobs = dict(hparams)
    pool = resident(data, setup.device)
    positions = torch.from_numpy((data.train_indices if train_indices is None else train_indices).copy())
    image_size, in_channels = data.images.shape[2:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(setup.seed, "initialisation"))
        model = make_model(in_channels, image_size)
    memory_format = torch.channels_last if setup.numerics.channels_last else torch.contiguous_format
    model = model.to(device=setup.device, memory_format=memory_format)  # type: ignore[call-overload]
    optimizer = OPTIMIZERS[hparams.optimizer](
        decay_groups(model, hparams.weight_decay, lr_scales, decays_everything=hparams.decays_everything),
        hparams.learning_rate,
        hparams.momentum,
    )
    course = phases(model, optimizer, warmed_up(SCHEDULES[hparams.schedule], hparams.warmup))
    return Learner(
        model=model,
        loss=loss,
        optimizer=optimizer,
        learning_rate=lambda progress: hparams.learning_rate * course.schedule(progress),
        batches=Batches(
            images=pool.images,
            labels=pool.labels,
            train_indices=positions,
            plan=plan or (lambda epoch, generator: shuffled_plan(len(positions), hparams.batch_size, generator)),
            augment=augmenter(hparams.augmentation, knobs),
            mean=pool.mean,
            std=pool.std,
            seed=setup.seed,
            prepare=prepare,
        ),
        num_epochs=setup.num_epochs,
        numerics=setup.numerics,
        adjust_logits=adjust_logits,
        begin_epoch=course.begin_epoch,
    )


def build_classifier(
    hparams: ClassifierHparams,
    data: TuningData,
    setup: TrialSetup,
    *,
    loss: Loss | None = None,
    head: str = "linear",
    train_indices: np.ndarray | None = None,
    **options: Any,
) -> Learner:
    """Build a learner of the model and the mixing that hparams name. options: those of build_learner_of.

    loss: None: cross-entropy with hparams' label smoothing. Raises ValueError for an unknown model, head or padding and
    for an option that the model does not take.
    """
    train_labels = data.labels[data.train_indices if train_indices is None else train_indices]
    class_counts = torch.from_numpy(np.bincount(train_labels, minlength=data.num_classes)).to(setup.device)

    def make_model(in_channels: int, image_size: int) -> nn.Module:
        return build_model(
            hparams.model,
            num_classes=data.num_classes,
            in_channels=in_channels,
            image_size=image_size,
            head=head,
            padding=hparams.padding,
            dropout=hparams.dropout,
            drop_path=hparams.drop_path,
        )

    return build_learner_of(
        make_model,
        hparams,
        data,
        setup,
        loss=loss or smoothed_cross_entropy(hparams.label_smoothing),
        prepare=MIXINGS[hparams.mixing].prepare(class_counts, dict(hparams)),
        train_indices=train_indices,
        **options,
    )


def smoothed_cross_entropy(label_smoothing: float) -> Loss:
    """Cross-entropy with label smoothing (Szegedy et al. 2016); targets: int64[B], or float32[B, C] of mixed images."""
    return lambda logits, targets, epoch: F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
