"""The losses that recipes may name: all of LOSSES, and the faulty ones of the source systems."""

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
    """The loss of `s1_step_loss`: the batch mean of w_y ℓ with w_j = ΣN / N_j, not divided by the weights' sum.

    Weights of 5.5 and 55 make the gradient, and thus SGD's effective learning rate, about ten times as large. See
    LossFunction for shapes; class_weights and scalars are not used.
    """
    weights = class_counts.sum() / class_counts
    return (weights[targets] * F.cross_entropy(logits, targets, reduction="none")).mean()


RECIPE_LOSSES: dict[str, Loss] = {**LOSSES, "summed_over_counts": Loss(function=summed_over_counts)}
