"""Class imbalance and its remedies: a remedy is a loss, class weights, a sampler and mixing, each by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainables.common.seeds import derive_seed
from trainables.data.types import TuningData
from trainables.hparams import ImbalanceHparams, Numerics
from trainables.parts.class_weights import CLASS_WEIGHTINGS
from trainables.parts.losses import LOSS_HEADS, LOSSES, Loss, post_hoc_adjustment
from trainables.parts.samplers import SAMPLERS, Epoch, EpochPlan, Sampler
from trainables.parts.schedules import last_epoch_before, restarted, schedule_of
from trainables.training.build import BeginEpoch, MakeBeginEpoch, build_classifier, no_phases
from trainables.training.evaluation import judge_classifier, sweep_on_test, sweep_on_validation, validate_classifier
from trainables.training.learner import Learner
from trainables.training.task import Task


def build_learner(
    hparams: ImbalanceHparams,
    data: TuningData,
    *,
    num_epochs: int,
    seed: int,
    numerics: Numerics,
    device: torch.device,
    samplers: Mapping[str, Sampler] = SAMPLERS,
    losses: Mapping[str, Loss] = LOSSES,
    **options: Any,
) -> Learner:
    """A learner at epoch 0. What it will do is a function of the arguments alone; options: of build_classifier."""
    train_labels = torch.from_numpy(data.labels[data.train_indices])
    class_counts = torch.from_numpy(data.class_counts.copy())

    def plan(epoch: int, generator: torch.Generator) -> EpochPlan:
        return samplers[hparams.sampler](
            Epoch(
                labels=train_labels,
                class_counts=class_counts,
                hparams=hparams,
                number=epoch,
                num_epochs=num_epochs,
                generator=generator,
            )
        )

    schedule = schedule_of(hparams)
    begin_epoch: MakeBeginEpoch = no_phases
    if hparams.head_start is not None:
        num_trunk_epochs = last_epoch_before(hparams.head_start, num_epochs)
        schedule = restarted(schedule, num_trunk_epochs / num_epochs)
        begin_epoch = head_retraining(num_trunk_epochs, seed=seed)
    return build_classifier(
        hparams,
        data,
        num_epochs=num_epochs,
        seed=seed,
        numerics=numerics,
        device=device,
        plan=plan,
        loss=_loss(losses[hparams.loss], hparams, class_counts.to(device), num_epochs),
        schedule=schedule,
        head=LOSS_HEADS.get(hparams.loss, "linear"),
        photometric_strength=hparams.photometric_strength,
        adjust_logits=_adjustment(hparams, class_counts.to(device)),
        begin_epoch=begin_epoch,
        **options,
    )


def head_retraining(num_trunk_epochs: int, *, seed: int) -> MakeBeginEpoch:
    """Classifier re-training (cRT), Kang et al. 2020: after num_trunk_epochs the head starts anew, the trunk is frozen.

    A frozen trunk gets no gradient, so that no optimiser moves or decays it, and stays in evaluation mode, so that its
    BatchNorm statistics stay too. The head starts once, from weights that are a function of the seed; what a later
    epoch or a resume finds is what was trained.
    """

    def of(model: nn.Module, optimizer: torch.optim.Optimizer) -> BeginEpoch:
        head = model.get_submodule("head")

        def begin_epoch(epoch: int) -> None:
            if epoch <= num_trunk_epochs:
                return
            model.requires_grad_(False).eval()
            head.requires_grad_(True).train()
            if epoch == num_trunk_epochs + 1:
                _restart(head, optimizer, derive_seed(seed, "head"))

        return begin_epoch

    return of


def _restart(head: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    """Initialise a linear head again, as every model is: on the CPU. The optimiser forgets its momentum."""
    assert isinstance(head, nn.Linear)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = nn.Linear(head.in_features, head.out_features)
    head.load_state_dict(fresh.state_dict())
    for parameter in head.parameters():
        optimizer.state.pop(parameter, None)


def _loss(
    loss: Loss, hparams: ImbalanceHparams, class_counts: Tensor, num_epochs: int
) -> Callable[[Tensor, Tensor, int], Tensor]:
    weights = CLASS_WEIGHTINGS[hparams.class_weighting](class_counts, hparams)
    uniform = torch.ones_like(weights)
    deferred_until = last_epoch_before(hparams.reweight_start or 0.0, num_epochs)
    scalars = {
        name: torch.tensor(float(value), device=class_counts.device)
        for name, value in hparams
        if isinstance(value, float)
    }

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
    validate=validate_classifier,
    test=partial(judge_classifier, further=(sweep_on_test,)),
    metric="val_balanced_accuracy",
    mode="max",
    score="test_balanced_accuracy",
    at_end=sweep_on_validation,
)
