"""Losses for imbalanced classes: pure functions of logits, targets, class weights, class counts and scalars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from torch.nn import functional as F

from trainables.parts.part import Part


class LossFunction(Protocol):
    """The loss of a batch: a mean over its images, weighted by class (see weighted_mean).

    logits: float32[B, C]; targets: int64[B], for cross_entropy also float32[B, C], each image's shares of the classes,
    which add up to 1; class_weights: float32[C]; class_counts: int64[C], each at least 1, of the thinned training set;
    scalars: 0-dim tensors by hyperparameter, of which a loss reads its own. All are on one device. Returns a 0-dim
    tensor.
    """

    def __call__(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        class_weights: Tensor,
        class_counts: Tensor,
        scalars: Mapping[str, Tensor],
    ) -> Tensor: ...


def weighted_mean(losses: Tensor, targets: Tensor, class_weights: Tensor) -> Tensor:
    """Σ w_y ℓ / Σ w_y, as in F.cross_entropy(weight=...): the scale of the weights does not change the learning rate.

    losses: float32[B]; targets: int64[B]; class_weights: float32[C]; returns a 0-dim tensor.
    """
    weights = class_weights[targets]
    return (weights * losses).sum() / weights.sum()


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weights: Tensor,
    class_counts: Tensor,
    scalars: Mapping[str, Tensor],
) -> Tensor:
    """-Σ_c t_c log p_c, p the softmax of the logits, t the targets: -log p_y if these are class indices.

    The mean is Σ w_c t_c (-log p_c) / Σ w_c t_c over images and classes: each share of a mixed image has its class's
    weight. Label smoothing ε replaces t by (1 - ε) t + ε / C in the numerator, as in torch's F.cross_entropy. See
    LossFunction for shapes; class_counts are not used.
    """
    smoothing = scalars["label_smoothing"]
    shares = targets if targets.is_floating_point() else F.one_hot(targets, logits.shape[-1]).to(logits.dtype)
    weights = class_weights * shares
    losses = -logits.log_softmax(dim=-1)
    # Summed per image, then over the batch: one-hot targets add exact zeros, so the bits are those of weighted_mean.
    smoothed = (1 - smoothing) * (weights * losses).sum(dim=-1) + smoothing * (class_weights * losses).mean(dim=-1)
    return smoothed.sum() / weights.sum(dim=-1).sum()


def focal(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weights: Tensor,
    class_counts: Tensor,
    scalars: Mapping[str, Tensor],
) -> Tensor:
    """Lin et al. 2017, "Focal Loss", eq. 4, with a softmax: -(1 - p_y)^focal_gamma log p_y; gamma 0 is CE.

    The α of its eq. 5 are the class_weights. See LossFunction for shapes.
    """
    losses = F.cross_entropy(logits, targets, reduction="none")
    # 1 - p as -expm1(log p) keeps its digits near p = 1. The floor keeps the gradient finite there: for gamma < 1
    # the derivative of x^gamma at 0 is infinite, and infinity × 0 is NaN.
    miss = (-(-losses).expm1()).clamp(min=1e-12)
    return weighted_mean(miss.pow(scalars["focal_gamma"]) * losses, targets, class_weights)


def ldam_margins(class_counts: Tensor, max_margin: Tensor) -> Tensor:
    """Cao et al. 2019, eq. 13: margin_j ∝ n_j^-1/4, the rarest class's equal to max_margin.

    class_counts: int64[C]; max_margin: 0-dim; returns float32[C].

    Example: with 1 and 16 images, 16^-1/4 is half of 1^-1/4.

    >>> import torch
    >>> ldam_margins(torch.tensor([1, 16]), torch.tensor(0.5))
    tensor([0.5000, 0.2500])
    """
    relative = class_counts.to(max_margin.dtype).pow(-0.25)
    return max_margin * relative / relative.max()


def ldam(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weights: Tensor,
    class_counts: Tensor,
    scalars: Mapping[str, Tensor],
) -> Tensor:
    """Cao et al. 2019, "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", eq. 13-14.

    CE(ldam_scale (z - margin_y onehot_y)), with margins up to ldam_max_margin. The logits are cosines in [-1, 1]. Like
    every loss here it is weighted by class_weights; LDAM-DRW applies them only late in training. See LossFunction for
    shapes.
    """
    margins = ldam_margins(class_counts, scalars["ldam_max_margin"])
    is_target = F.one_hot(targets, logits.shape[-1]).to(logits.dtype)
    shifted = scalars["ldam_scale"] * (logits - is_target * margins)
    return weighted_mean(F.cross_entropy(shifted, targets, reduction="none"), targets, class_weights)


def balanced_softmax(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weights: Tensor,
    class_counts: Tensor,
    scalars: Mapping[str, Tensor],
) -> Tensor:
    """CE(z + τ log π), where π is the class prior n_j / Σn and τ is balanced_softmax_tau.

    With τ = 1: Ren et al. 2020, "Balanced Meta-Softmax", eq. 4; with any τ: the logit-adjusted loss of Menon et al.
    2021, eq. 10. See LossFunction for shapes.
    """
    adjusted = logits + scalars["balanced_softmax_tau"] * _log_prior(class_counts, like=logits)
    return weighted_mean(F.cross_entropy(adjusted, targets, reduction="none"), targets, class_weights)


def post_hoc_adjustment(logits: Tensor, class_counts: Tensor, tau: Tensor | float) -> Tensor:
    """z - τ log π, applied after training: Menon et al. 2021, "Long-Tail Learning via Logit Adjustment", eq. 9.

    logits: float32[..., C]; class_counts: int64[C], each at least 1, of the training set; returns float32[..., C].

    Example: of two equal logits, that of a class with a quarter of the images gains log 3 on that of the other class.

    >>> import torch
    >>> adjusted = post_hoc_adjustment(torch.zeros(2), torch.tensor([1, 3]), 1.0)
    >>> round(float((adjusted[0] - adjusted[1]).exp()), 4)
    3.0
    """
    return logits - tau * _log_prior(class_counts, like=logits)


def _log_prior(class_counts: Tensor, *, like: Tensor) -> Tensor:
    counts = class_counts.to(like.dtype)
    return (counts / counts.sum()).log()


def _as_they_are(outputs: Tensor, knobs: Mapping[str, Any]) -> Tensor:
    return outputs


def _scaled_cosines(outputs: Tensor, knobs: Mapping[str, Any]) -> Tensor:
    """The logits of ldam without its margins. From the cosines alone, NLL and ECE would mean nothing."""
    scale: float = knobs["ldam_scale"]
    return scale * outputs


@dataclass(frozen=True, kw_only=True)
class Loss(Part):
    """A loss and what the choice of it determines. needs: the scalars that its function reads.

    head: the last layer whose outputs it takes, a key of models.heads.HEADS. to_logits(outputs, knobs): these outputs
    as logits, for judging the model. takes_soft_targets: whether its targets may be shares of the classes.
    """

    function: LossFunction
    head: str = "linear"
    to_logits: Callable[[Tensor, Mapping[str, Any]], Tensor] = _as_they_are
    takes_soft_targets: bool = False


LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(function=cross_entropy, needs=("label_smoothing",), takes_soft_targets=True),
    "focal": Loss(function=focal, needs=("focal_gamma",)),
    "ldam": Loss(function=ldam, needs=("ldam_max_margin", "ldam_scale"), head="cosine", to_logits=_scaled_cosines),
    "balanced_softmax": Loss(function=balanced_softmax, needs=("balanced_softmax_tau",)),
}
