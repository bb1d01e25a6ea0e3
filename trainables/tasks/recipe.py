"""The source systems' trainings as their reports state them: natural epochs, and the faults that they have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.common.seeds import derive_seed
from trainables.data.types import TestData, TuningData
from trainables.hparams import Numerics, RecipeHparams, RecipePuzzleHparams
from trainables.parts.losses import LOSSES, Loss
from trainables.parts.natural_samplers import NATURAL_SAMPLERS
from trainables.tasks.imbalance import build_learner
from trainables.tasks.jigsaw import (
    CONVOLUTIONS,
    FixedPuzzles,
    Puzzles,
    carry_over,
    follow_puzzles,
    puzzle_learner,
    validate_puzzles,
)
from trainables.training.evaluation import follow_classifier, judge_classifier, validate_classifier
from trainables.training.learner import Learner
from trainables.training.task import Task


def summed_over_counts(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weights: Tensor,
    class_counts: Tensor,
    scalars: Mapping[str, Tensor],
) -> Tensor:
    """`s1_step_loss`: the batch's mean of w_y ℓ with w_j = ΣN / N_j, which is not normalised.

    Weights of 5.5 and 55 make the gradient, and so SGD's learning rate, about ten times as large. See losses.Loss for
    shapes; class_weights and scalars are not used.
    """
    weights = class_counts.sum() / class_counts
    return (weights[targets] * F.cross_entropy(logits, targets, reduction="none")).mean()


RECIPE_LOSSES: dict[str, Loss] = {**LOSSES, "summed_over_counts": summed_over_counts}


def build_recipe(
    hparams: RecipeHparams,
    data: TuningData,
    *,
    num_epochs: int,
    seed: int,
    numerics: Numerics,
    device: torch.device,
) -> Learner:
    """A classifier whose epochs are as long as its sampler makes them."""
    return build_learner(
        hparams,
        data,
        num_epochs=num_epochs,
        seed=seed,
        numerics=numerics,
        device=device,
        samplers=NATURAL_SAMPLERS,
        losses=RECIPE_LOSSES,
        decays_everything=hparams.decays_everything,
    )


def judge_recipe(learner: Learner, data: TuningData, test: TestData) -> dict[str, Any]:
    return {**judge_classifier(learner, data, test), **images_drawn(learner, data)}


def images_drawn(learner: Learner, data: TuningData) -> dict[str, Any]:
    """What the whole training drew, class by class, read off the plans of its epochs.

    drawn_per_class: images trained on at full loss scale, repeats counted; distinct_per_class: different images,
    whatever their loss scale.
    """
    labels = torch.from_numpy(data.labels[data.train_indices])
    drawn = torch.zeros(data.num_classes, dtype=torch.int64)
    is_seen = torch.zeros(len(labels), dtype=torch.bool)
    for epoch in range(1, learner.num_epochs + 1):
        plan = learner.batches.epoch_plan(epoch)
        counts_fully = (plan.loss_scales == 1).repeat_interleave(torch.tensor(plan.batch_sizes))
        drawn += torch.bincount(labels[plan.positions[counts_fully]], minlength=data.num_classes)
        is_seen[plan.positions] = True
    distinct = torch.bincount(labels[is_seen], minlength=data.num_classes)
    return {"drawn_per_class": drawn.tolist(), "distinct_per_class": distinct.tolist()}


def begin_with_puzzle_layers(learner: Learner, state: Mapping[str, Any], hparams: RecipeHparams) -> None:
    """`s1_jigsaw_init`: the three convolutions and the first FC layer are those that solved puzzles."""
    carry_over(learner, state, (*CONVOLUTIONS, "fc1"))


def build_recipe_puzzles(
    hparams: RecipePuzzleHparams,
    data: TuningData,
    *,
    num_epochs: int,
    seed: int,
    numerics: Numerics,
    device: torch.device,
) -> Learner:
    """A learner of puzzles, in which an image may have one permutation for the whole training."""
    options = {"num_epochs": num_epochs, "seed": seed, "numerics": numerics, "device": device}
    if not hparams.fixed_permutations:
        return puzzle_learner(Puzzles(hparams=hparams), data, **options)
    generator = np.random.default_rng(derive_seed(seed, "permutations"))
    numbers = generator.integers(math.factorial(hparams.grid**2), size=len(data.labels))
    return puzzle_learner(FixedPuzzles(hparams=hparams), replace(data, labels=numbers), **options)


RECIPE = Task(
    name="recipe",
    hparams=RecipeHparams,
    build_learner=build_recipe,
    validate=validate_classifier,
    test=judge_recipe,
    metric="val_accuracy",
    mode="max",
    score="test_accuracy",
    warm_start=begin_with_puzzle_layers,
    follow=follow_classifier,
)

RECIPE_PUZZLES = Task(
    name="recipe_puzzles",
    hparams=RecipePuzzleHparams,
    build_learner=build_recipe_puzzles,
    validate=validate_puzzles,
    test=follow_puzzles,
    metric="val_exact_accuracy_argmax",
    mode="max",
    score="test_exact_accuracy_argmax",
    follow=follow_puzzles,
)
