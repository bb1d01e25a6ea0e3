"""The source systems' trainings as their reports state them, natural epochs and faults included."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from trainables.common.seeds import derive_seed
from trainables.data.types import TestData, TuningData
from trainables.hparams import RecipeHparams, RecipePuzzleHparams
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
from trainables.training.setup import TrialSetup
from trainables.training.task import Task


def judge_recipe(learner: Learner, data: TuningData, test: TestData) -> dict[str, Any]:
    return {**judge_classifier(learner, data, test), **images_drawn(learner, data)}


def images_drawn(learner: Learner, data: TuningData) -> dict[str, Any]:
    """The images that the whole training drew, by class, read off the plans of its epochs.

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
    """Load the three convolutions and the first FC layer from a puzzle net's checkpoint, as in `s1_jigsaw_init`."""
    carry_over(learner, state, (*CONVOLUTIONS, "fc1"))


def build_recipe_puzzles(hparams: RecipePuzzleHparams, data: TuningData, setup: TrialSetup) -> Learner:
    """Build a learner of puzzles; with fixed_permutations an image has one permutation for the whole training."""
    if not hparams.fixed_permutations:
        return puzzle_learner(Puzzles(hparams=hparams), data, setup)
    generator = np.random.default_rng(derive_seed(setup.seed, "permutations"))
    numbers = generator.integers(math.factorial(hparams.grid**2), size=len(data.labels))
    return puzzle_learner(FixedPuzzles(hparams=hparams), replace(data, labels=numbers), setup)


RECIPE = Task(
    name="recipe",
    hparams=RecipeHparams,
    build_learner=build_learner,
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
