"""Mixing the images of a batch and their labels: mixup, CutMix and Remix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.parts.part import Part

Prepare = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""(images float32[B, C, H, W], labels int64[B], CPU generator) -> (the model's inputs, the loss's targets)."""


def as_they_are(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The Prepare of plain classification: nothing is changed."""
    return images, labels


REMIX_KAPPA, REMIX_TAU = 3.0, 0.5  # as in Chou et al. 2020


def mixup(class_counts: Tensor, alpha: float) -> Prepare:
    """Zhang et al. 2018, "mixup": λ of an image and label plus 1 - λ of another; one λ ~ Beta(α, α) per batch."""
    from torchvision.transforms.v2 import MixUp  # slow to import, and most trials do not need it

    return _torchvision(MixUp(alpha=alpha, num_classes=len(class_counts)))


def cutmix(class_counts: Tensor, alpha: float) -> Prepare:
    """Yun et al. 2019, "CutMix": a box of another image, about 1 - λ of the area, and the same share of its label."""
    from torchvision.transforms.v2 import CutMix

    return _torchvision(CutMix(alpha=alpha, num_classes=len(class_counts)))


def remix(class_counts: Tensor, alpha: float) -> Prepare:
    """Chou et al. 2020, "Remix: Rebalanced Mixup", eq. 5-7: mixup with labels that favour the rarer class.

    As in torchvision's MixUp, an image's partner is the one before it in the batch, and the batch shares one λ.
    """
    beta = torch.distributions.Beta(torch.tensor(alpha), torch.tensor(alpha))

    def prepare(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        with _drawing_from(generator):
            share = float(beta.sample())
        counts = class_counts[labels]
        label_share = remix_label_share(share, counts, counts.roll(1))[:, None]
        one_hot = F.one_hot(labels, len(class_counts)).float()
        mixed = images.roll(1, 0).mul_(1 - share).add_(images * share)
        return mixed, label_share * one_hot + (1 - label_share) * one_hot.roll(1, 0)

    return prepare


def remix_label_share(share: float, counts: Tensor, partner_counts: Tensor) -> Tensor:
    """Chou et al. 2020, eq. 7: λ_y, the weight of an image in its mixed label if it has `share` of the pixels.

    A class with at least κ = 3 times the other's images loses the whole label if it has less than τ = ½ of the pixels.
    counts, partner_counts: int64[B], the number of training images of each one's class; returns float32[B].
    """
    gives = (counts >= REMIX_KAPPA * partner_counts) & (share < REMIX_TAU)
    takes = (partner_counts >= REMIX_KAPPA * counts) & (1 - share < REMIX_TAU)
    return torch.full_like(counts, share, dtype=torch.float32).masked_fill(gives, 0.0).masked_fill(takes, 1.0)


@dataclass(frozen=True, kw_only=True)
class Mixing(Part):
    """A way to mix. function(class_counts int64[C] on the images' device, a number for each of needs) -> Prepare.

    Mixed targets are float32[B, C], shares that add up to 1.
    """

    def prepare(self, class_counts: Tensor, knobs: Mapping[str, Any]) -> Prepare:
        """The Prepare with these settings. knobs: hyperparameters by name; only those in needs are read."""
        prepare: Prepare = self.function(class_counts, *(knobs[knob] for knob in self.needs))
        return prepare


MIXINGS: dict[str, Mixing] = {
    "none": Mixing(function=lambda class_counts: as_they_are),
    "mixup": Mixing(function=mixup, needs=("mixing_alpha",)),
    "cutmix": Mixing(function=cutmix, needs=("mixing_alpha",)),
    "remix": Mixing(function=remix, needs=("mixing_alpha",)),
}


def _torchvision(transform: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Prepare:
    def prepare(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        with _drawing_from(generator):
            return transform(images, labels)

    return prepare


@contextmanager
def _drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Make torch's distributions and torchvision, which use the global generator, draw from this one in the block."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator.get_state())
        yield
        generator.set_state(torch.get_rng_state())
