"""Class imbalance and its remedies: a remedy is a loss, class weights and a sampler, each by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainables.class_weights import CLASS_WEIGHTINGS
from trainables.data.resident import resident
from trainables.data.types import TuningData
from trainables.hparams import ImbalanceHparams, Numerics
from trainables.learner import Batches, Learner, decay_groups
from trainables.losses import LOSS_HEADS, LOSSES, post_hoc_adjustment
from trainables.models import build_model
from trainables.samplers import SAMPLERS, EpochPlan
from trainables.schedules import SCHEDULES
from trainables.seeds import derive_seed
from trainables.task import Task


def build_learner(
    hparams: ImbalanceHparams,
    data: TuningData,
    *,
    num_epochs: int,
    seed: int,
    numerics: Numerics,
    device: torch.device,
) -> Learner:
    """A learner at epoch 0. What it will do is a function of the arguments alone."""
    pool = resident(data, device)
    train_indices = torch.from_numpy(data.train_indices.copy())
    train_labels = torch.from_numpy(data.labels.copy())[train_indices]
    class_counts = torch.from_numpy(data.class_counts.copy())

    def plan(generator: torch.Generator) -> EpochPlan:
        return SAMPLERS[hparams.sampler](train_labels, class_counts, hparams, generator)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "initialisation"))
        model = build_model(
            hparams.model,
            num_classes=data.num_classes,
            in_channels=pool.images.shape[3],
            image_size=pool.images.shape[1],
            head=LOSS_HEADS.get(hparams.loss, "linear"),
        )
    memory_format = torch.channels_last if numerics.channels_last else torch.contiguous_format
    model = model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
    return Learner(
        model=model,
        loss=_loss(hparams, class_counts.to(device), num_epochs),
        optimizer=torch.optim.SGD(
            decay_groups(model, hparams.weight_decay),
            lr=hparams.learning_rate,
            momentum=hparams.momentum,
            nesterov=hparams.momentum > 0,
        ),
        learning_rate=lambda progress: hparams.learning_rate * SCHEDULES[hparams.schedule](progress),
        batches=Batches(
            images=pool.images,
            labels=pool.labels,
            train_indices=train_indices,
            plan=plan,
            augmentation=hparams.augmentation,
            photometric_strength=hparams.photometric_strength,
            mean=pool.mean,
            std=pool.std,
            seed=seed,
        ),
        num_epochs=num_epochs,
        numerics=numerics,
        adjust_logits=_adjustment(hparams, class_counts.to(device)),
    )


def reweighting_epoch(reweight_start: float, num_epochs: int) -> int:
    """The last epoch before deferred re-weighting (DRW, Cao et al. 2019) begins; 0: from the start."""
    return min(round(reweight_start * num_epochs), num_epochs - 1)


def _loss(hparams: ImbalanceHparams, class_counts: Tensor, num_epochs: int) -> Callable[[Tensor, Tensor, int], Tensor]:
    weights = CLASS_WEIGHTINGS[hparams.class_weighting](class_counts, hparams)
    uniform = torch.ones_like(weights)
    deferred_until = reweighting_epoch(hparams.reweight_start or 0.0, num_epochs)
    scalars = {
        name: torch.tensor(float(value), device=class_counts.device)
        for name, value in hparams
        if isinstance(value, float)
    }
    loss = LOSSES[hparams.loss]

    def weighted_loss(logits: Tensor, targets: Tensor, epoch: int) -> Tensor:
        class_weights = weights if epoch > deferred_until else uniform
        return loss(logits, targets, class_weights=class_weights, class_counts=class_counts, scalars=scalars)

    return weighted_loss


def _adjustment(hparams: ImbalanceHparams, class_counts: Tensor) -> Callable[[Tensor], Tensor]:
    """What turns the model's output into logits when it is judged."""
    if hparams.post_hoc_tau is not None:
        tau = hparams.post_hoc_tau
        return lambda logits: post_hoc_adjustment(logits, class_counts, tau)
    if hparams.ldam_scale is not None:  # LDAM's logits are cosines x scale: without it, NLL and ECE mean nothing
        scale = hparams.ldam_scale
        return lambda cosines: scale * cosines
    return lambda logits: logits


IMBALANCE = Task(
    name="imbalance",
    hparams=ImbalanceHparams,
    build_learner=build_learner,
    metric="val_balanced_accuracy",
    mode="max",
)
