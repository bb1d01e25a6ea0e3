"""From hyperparameters to a learner: what all tasks share, and what all classifiers do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.common.seeds import derive_seed
from trainables.data.augmentation import Augment, augmenter
from trainables.data.resident import resident
from trainables.data.types import TuningData
from trainables.hparams import ClassifierHparams, Hparams, Numerics
from trainables.models import build_model
from trainables.parts.mixing import Prepare, as_they_are, prepare_of
from trainables.parts.optimizers import OPTIMIZERS, decay_groups
from trainables.parts.samplers import EpochPlan, shuffled_plan
from trainables.parts.schedules import Schedule, schedule_of
from trainables.training.learner import Batches, Learner

Loss = Callable[[Tensor, Tensor, int], Tensor]
"""(outputs, targets, epoch) -> 0-dim tensor."""
BeginEpoch = Callable[[int], None]
MakeBeginEpoch = Callable[[nn.Module, torch.optim.Optimizer], BeginEpoch]


def no_phases(model: nn.Module, optimizer: torch.optim.Optimizer) -> BeginEpoch:
    """The begin_epoch of a training whose epochs are all alike."""
    return lambda epoch: None


def build_learner_of(
    make_model: Callable[[int, int], nn.Module],
    hparams: Hparams,
    data: TuningData,
    *,
    num_epochs: int,
    seed: int,
    numerics: Numerics,
    device: torch.device,
    loss: Loss,
    prepare: Prepare = as_they_are,
    augment: Augment | None = None,
    train_indices: np.ndarray | None = None,
    plan: Callable[[int, torch.Generator], EpochPlan] | None = None,
    schedule: Schedule | None = None,
    photometric_strength: float | None = None,
    adjust_logits: Callable[[Tensor], Tensor] = lambda logits: logits,
    begin_epoch: MakeBeginEpoch = no_phases,
    lr_scales: Mapping[str, float] | None = None,
    decays_everything: bool = False,
) -> Learner:
    """A learner at epoch 0. What it will do is a function of the arguments alone.

    make_model(in_channels, image_size): under torch's generator, seeded here. augment: hparams' augmentation where
    None; train_indices: int64[M], the images to train on, all of data's; plan: shuffled epochs of them; schedule: the
    one that hparams name, a multiplier of their learning rate. begin_epoch(model, optimizer) makes what the learner
    calls in each epoch; lr_scales, decays_everything: see decay_groups.
    """
    pool = resident(data, device)
    positions = torch.from_numpy((data.train_indices if train_indices is None else train_indices).copy())
    image_size, in_channels = data.images.shape[2:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "initialisation"))
        model = make_model(in_channels, image_size)
    memory_format = torch.channels_last if numerics.channels_last else torch.contiguous_format
    model = model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
    optimizer = OPTIMIZERS[hparams.optimizer](
        decay_groups(model, hparams.weight_decay, lr_scales, decays_everything=decays_everything),
        hparams.learning_rate,
        hparams.momentum,
    )
    multiplier = schedule or schedule_of(hparams)
    return Learner(
        model=model,
        loss=loss,
        optimizer=optimizer,
        learning_rate=lambda progress: hparams.learning_rate * multiplier(progress),
        batches=Batches(
            images=pool.images,
            labels=pool.labels,
            train_indices=positions,
            plan=plan or (lambda epoch, generator: shuffled_plan(len(positions), hparams.batch_size, generator)),
            augment=augment or augmenter(hparams.augmentation),
            photometric_strength=photometric_strength,
            mean=pool.mean,
            std=pool.std,
            seed=seed,
            prepare=prepare,
        ),
        num_epochs=num_epochs,
        numerics=numerics,
        adjust_logits=adjust_logits,
        begin_epoch=begin_epoch(model, optimizer),
    )


def build_classifier(
    hparams: ClassifierHparams,
    data: TuningData,
    *,
    num_epochs: int,
    seed: int,
    numerics: Numerics,
    device: torch.device,
    loss: Loss | None = None,
    head: str = "linear",
    train_indices: np.ndarray | None = None,
    **options: Any,
) -> Learner:
    """A learner of the model that hparams name, with their augmentation and mixing; options: of build_learner_of.

    loss: cross-entropy with hparams' label smoothing where None. Raises ValueError for a name that is in no table, a
    knob that is missing and one that the model does not understand.
    """
    train_labels = data.labels[data.train_indices if train_indices is None else train_indices]
    class_counts = torch.from_numpy(np.bincount(train_labels, minlength=data.num_classes)).to(device)

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
        num_epochs=num_epochs,
        seed=seed,
        numerics=numerics,
        device=device,
        loss=loss or smoothed_cross_entropy(hparams.label_smoothing),
        prepare=prepare_of(hparams.mixing, hparams.mixing_alpha, class_counts),
        augment=augmenter(
            hparams.augmentation,
            cutout_length=hparams.cutout_length,
            randaugment_num_ops=hparams.randaugment_num_ops,
            randaugment_magnitude=hparams.randaugment_magnitude,
        ),
        train_indices=train_indices,
        **options,
    )


def smoothed_cross_entropy(label_smoothing: float) -> Loss:
    """Cross-entropy with label smoothing (Szegedy et al. 2016); targets: int64[B], or float32[B, C] of mixed images."""
    return lambda logits, targets, epoch: F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
