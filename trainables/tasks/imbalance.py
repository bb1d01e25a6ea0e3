"""The imbalance task: a classifier with a remedy, which is a loss, a class weighting, a sampler and a mixing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainables.common.seeds import derive_seed
from trainables.data.types import TuningData
from trainables.hparams import ImbalanceHparams
from trainables.parts.class_weights import CLASS_WEIGHTINGS
from trainables.parts.losses import Loss, post_hoc_adjustment
from trainables.parts.samplers import Epoch, EpochPlan, Sampler
from trainables.parts.schedules import Schedule, last_epoch_before, restarted
from trainables.training.build import MakePhases, Phases, build_classifier, one_phase
from trainables.training.evaluation import judge_classifier, sweep_on_test, sweep_on_validation, validate_classifier
from trainables.training.learner import Learner
from trainables.training.setup import TrialSetup
from trainables.training.task import Task


def build_learner(hparams: ImbalanceHparams, data: TuningData, setup: TrialSetup) -> Learner:
    """Build a learner at epoch 0. Its training is a function of the arguments alone."""
    knobs = dict(hparams)
    loss, sampler = hparams.loss_entry, hparams.sampler_entry
    train_labels = torch.from_numpy(data.labels[data.train_indices])
    class_counts = torch.from_numpy(data.class_counts.copy())

    def plan(epoch: int, generator: torch.Generator) -> EpochPlan:
        return sampler.function(
            Epoch(
                labels=train_labels,
                class_counts=class_counts,
                batch_size=hparams.batch_size,
                knobs=knobs,
                number=epoch,
                num_epochs=setup.num_epochs,
                generator=generator,
            )
        )

    on_device = class_counts.to(setup.device)
    return build_classifier(
        hparams,
        data,
        setup,
        loss=_weighted(loss, hparams, on_device, setup.num_epochs),
        head=loss.head,
        plan=plan,
        phases=_phases(sampler, knobs, setup),
        adjust_logits=_adjustment(loss, hparams, on_device),
    )


def _phases(sampler: Sampler, knobs: Mapping[str, Any], setup: TrialSetup) -> MakePhases:
    if sampler.retrains_head_from is None:
        return one_phase
    return head_retraining(last_epoch_before(knobs[sampler.retrains_head_from], setup.num_epochs), setup)


def head_retraining(num_trunk_epochs: int, setup: TrialSetup) -> MakePhases:
    """Classifier re-training (cRT), Kang et al. 2020: after num_trunk_epochs freeze the trunk, re-initialise the head.

    The schedule restarts with the head. The frozen trunk gets no gradient, so no optimiser changes or decays it, and
    stays in evaluation mode, so its BatchNorm statistics do not change either. The head is re-initialised once, with
    weights that are a function of the seed; later epochs and a resume continue from the trained head.
    """

    def phases(model: nn.Module, optimizer: torch.optim.Optimizer, schedule: Schedule) -> Phases:
        head = getattr(model, "head", None)
        if not isinstance(head, nn.Linear):
            raise ValueError("the sampler retrains the head, and the model has no linear layer of that name")

        def begin_epoch(epoch: int) -> None:
            if epoch <= num_trunk_epochs:
                return
            model.requires_grad_(False).eval()
            head.requires_grad_(True).train()
            if epoch == num_trunk_epochs + 1:
                _restart(head, optimizer, derive_seed(setup.seed, "head"))

        return Phases(schedule=restarted(schedule, num_trunk_epochs / setup.num_epochs), begin_epoch=begin_epoch)

    return phases


def _restart(head: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    """Re-initialise a linear head, on the CPU like every model. The optimiser's state for it is dropped."""
    assert isinstance(head, nn.Linear)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = nn.Linear(head.in_features, head.out_features)
    head.load_state_dict(fresh.state_dict())
    for parameter in head.parameters():
        optimizer.state.pop(parameter, None)


def _weighted(
    loss: Loss, hparams: ImbalanceHparams, class_counts: Tensor, num_epochs: int
) -> Callable[[Tensor, Tensor, int], Tensor]:
    """The loss with the class weights that hparams name; before reweight_start they are uniform."""
    weights = CLASS_WEIGHTINGS[hparams.class_weighting].weights(class_counts, dict(hparams))
    uniform = torch.ones_like(weights)
    deferred_until = last_epoch_before(hparams.reweight_start or 0.0, num_epochs)
    scalars = {
        name: torch.tensor(float(value), device=class_counts.device)
        for name, value in hparams
        if isinstance(value, float)
    }

    def weighted_loss(logits: Tensor, targets: Tensor, epoch: int) -> Tensor:
        class_weights = weights if epoch > deferred_until else uniform
        return loss.function(logits, targets, class_weights=class_weights, class_counts=class_counts, scalars=scalars)

    return weighted_loss


def _adjustment(loss: Loss, hparams: ImbalanceHparams, class_counts: Tensor) -> Callable[[Tensor], Tensor]:
    """The function that turns the model's outputs into logits when it is judged."""
    knobs = dict(hparams)
    tau = hparams.post_hoc_tau
    if tau is None:
        return lambda outputs: loss.to_logits(outputs, knobs)
    return lambda outputs: post_hoc_adjustment(loss.to_logits(outputs, knobs), class_counts, tau)


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
