"""Class weights: how much the images of a class count in the loss, computed from the class counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables.parts.part import Part


def tail_classes(class_counts: Tensor) -> Tensor:
    """The C // 2 classes with the fewest images; ties go to the lower index.

    The sources of this project thin the first five of ten classes, the LDAM paper the last five, so the counts decide
    which are the tail. class_counts: int64[C]; returns bool[C]. Raises ValueError if a count is below 1.
    """
    _check_counts(class_counts)
    num_tail = len(class_counts) // 2
    is_tail = torch.zeros(len(class_counts), dtype=torch.bool, device=class_counts.device)
    is_tail[torch.argsort(class_counts, stable=True)[:num_tail]] = True
    return is_tail


def uniform_weights(class_counts: Tensor) -> Tensor:
    """Weight 1 for every class. class_counts: int64[C]; returns float32[C]. Raises ValueError if a count is below 1."""
    _check_counts(class_counts)
    return _mean_one(torch.ones_like(class_counts, dtype=torch.float64))


def inverse_weights(class_counts: Tensor, gamma: float) -> Tensor:
    """w_j ∝ n_j^-gamma: gamma 0 is uniform, gamma 1 gives every class the same total weight.

    class_counts: int64[C]; returns float32[C] with mean 1. Raises ValueError if a count is below 1 or gamma
    below 0.

    Example: 1 and 4 images at gamma 0.5 give 1 and 1/2, divided by their mean 3/4.

    >>> inverse_weights(torch.tensor([1, 4]), 0.5)
    tensor([1.3333, 0.6667])
    """
    _check_counts(class_counts)
    if not (math.isfinite(gamma) and gamma >= 0):
        raise ValueError(f"class_weight_gamma must be finite and at least 0, got {gamma}")
    return _mean_one(class_counts.double().pow(-gamma))


def class_balanced_weights(class_counts: Tensor, beta: float) -> Tensor:
    """Class-balanced weights, w_j ∝ (1-β) / (1-β^n_j).

    Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", eq. 4.
    β = 0 is uniform; β → 1 tends to 1/n_j. class_counts: int64[C]; returns float32[C] with mean 1.
    Raises ValueError if a count is below 1 or beta is outside [0, 1).

    Example: 1 and 2 images at β = 0.5 give 1 and (1 - 0.5) / (1 - 0.25) = 2/3, divided by their mean 5/6.

    >>> class_balanced_weights(torch.tensor([1, 2]), 0.5)
    tensor([1.2000, 0.8000])
    """
    _check_counts(class_counts)
    if not 0 <= beta < 1:
        raise ValueError(f"class_weight_beta must be in [0, 1), got {beta}")
    # 1 - β^n as -expm1(n log β), in float64: at β = 0.99999 and n = 1, float32 would leave two or three digits.
    log_beta = torch.tensor(beta, dtype=torch.float64, device=class_counts.device).log()
    effective_share = -torch.expm1(class_counts.double() * log_beta)
    return _mean_one(1 / effective_share)  # the factor 1 - β is common to all classes and cancels


def tail_weights(class_counts: Tensor, tail_class_weight: float) -> Tensor:
    """Weights that give a tail class tail_class_weight times a head class's (1.1 in the source `s0_flag_oversample`).

    class_counts: int64[C]; returns float32[C] with mean 1. Raises ValueError if a count is below 1 or the
    weight is not positive and finite.
    """
    is_tail = tail_classes(class_counts)
    if not (math.isfinite(tail_class_weight) and tail_class_weight > 0):
        raise ValueError(f"tail_class_weight must be positive and finite, got {tail_class_weight}")
    weights = torch.ones_like(class_counts, dtype=torch.float64)
    weights[is_tail] = tail_class_weight
    return _mean_one(weights)


def _check_counts(class_counts: Tensor) -> None:
    if class_counts.ndim != 1 or len(class_counts) == 0 or class_counts.is_floating_point():
        raise ValueError(f"class_counts must be int64[C], got {class_counts.dtype} of shape {list(class_counts.shape)}")
    if int(class_counts.min()) < 1:
        raise ValueError(f"every class must have at least 1 image, got class_counts {class_counts.tolist()}")


def _mean_one(weights: Tensor) -> Tensor:
    # Mean 1, so that a printed weight reads as "times the average class" under every weighting.
    return (weights / weights.mean()).float()


@dataclass(frozen=True, kw_only=True)
class ClassWeighting(Part):
    """A class weighting. function(class_counts int64[C], a number for each of needs) -> float32[C] with mean 1."""

    def weights(self, class_counts: Tensor, knobs: Mapping[str, Any]) -> Tensor:
        """The class weights, float32[C] with mean 1. knobs: hyperparameters by name; only those in needs are read."""
        weights: Tensor = self.function(class_counts, *(knobs[knob] for knob in self.needs))
        return weights


CLASS_WEIGHTINGS: dict[str, ClassWeighting] = {
    "uniform": ClassWeighting(function=uniform_weights),
    "inverse": ClassWeighting(function=inverse_weights, needs=("class_weight_gamma",)),
    "class_balanced": ClassWeighting(function=class_balanced_weights, needs=("class_weight_beta",)),
    "tail": ClassWeighting(function=tail_weights, needs=("tail_class_weight",)),
}
