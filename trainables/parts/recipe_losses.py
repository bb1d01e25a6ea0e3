"""Losses of the recipes: those of all, and what a source system had in their place."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from trainables.parts.losses import LOSSES, Loss


def summed_over_counts(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weights: Tensor,
    class_counts: Tensor,
    scalars: Mapping[str, Tensor],
) -> Tensor:
    """`s1_step_loss`: the batch's mean of w_y ℓ with w_j = ΣN / N_j, which is not normalised.

    Weights of 5.5 and 55 make the gradient, and so SGD's learning rate, about ten times as large. See
    LossFunction for shapes; class_weights and scalars are not used.
    """
    weights = class_counts.sum() / class_counts
    return (weights[targets] * F.cross_entropy(logits, targets, reduction="none")).mean()


RECIPE_LOSSES: dict[str, Loss] = {**LOSSES, "summed_over_counts": Loss(function=summed_over_counts)}
