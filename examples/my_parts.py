"""Parts of one's own, one of each kind, tried beside the project's without editing a package.

    python -m study.run imbalance --plugin examples/my_parts.py --arms none,gce,square_root --dataset digits
    python -m study.run baseline --plugin examples/my_parts.py --arms lenet,two_layers --dataset ones_and_sevens

A study checks each part before it starts, sends this file to its workers, and keeps a copy in its run directory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.baseline import model_arm
from search_spaces.declarations import Float
from search_spaces.imbalance import remedy
from search_spaces.own import arm
from search_spaces.space import Arm, each_of
from trainables.data.assemble import assemble_dataset
from trainables.data.decoded import make_decoded
from trainables.data.digits import load_digits
from trainables.data.types import ImageDataset
from trainables.own import (
    augmentation,
    class_weighting,
    dataset,
    hyperparameter,
    loss,
    metric,
    mixing,
    model,
    optimizer,
    sampler,
    schedule,
)
from trainables.parts.losses import weighted_mean
from trainables.parts.samplers import Epoch, EpochPlan, plain_plan

hyperparameter("gce_q", example=0.7, gt=0, le=1)
hyperparameter("weight_floor", example=0.5, ge=0, le=1)


@loss("gce", needs=("gce_q",))
def generalised_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weights: Tensor,
    class_counts: Tensor,
    scalars: Mapping[str, Tensor],
) -> Tensor:
    """Zhang & Sabuncu 2018, eq. 6: (1 - p_y^q) / q, cross-entropy as q falls to 0, the mean error at q = 1."""
    q = scalars["gce_q"]
    log_p = -F.cross_entropy(logits, targets, reduction="none")
    return weighted_mean((1 - (q * log_p).exp()) / q, targets, class_weights)


@class_weighting("square_root", needs=("weight_floor",))
def square_root_weights(class_counts: Tensor, weight_floor: float) -> Tensor:
    """1 / √n, but no less than a share of the largest weight; mean 1."""
    weights = class_counts.double().rsqrt()
    weights = weights.clamp(min=weight_floor * float(weights.max()))
    return (weights / weights.mean()).float()


@sampler("halves")
def halves(epoch: Epoch) -> EpochPlan:
    """Half of the images as they are, half drawn with classes equally likely."""
    num_images = len(epoch.labels)
    plain = torch.randperm(num_images, generator=epoch.generator)[: num_images // 2]
    weights = 1 / epoch.class_counts[epoch.labels].double()
    drawn = torch.multinomial(weights, num_images - len(plain), replacement=True, generator=epoch.generator)
    positions = torch.cat([plain, drawn])
    return plain_plan(positions[torch.randperm(num_images, generator=epoch.generator)], epoch.batch_size)


@mixing("halfway")
def halfway(class_counts: Tensor) -> Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]:
    """Each image and label, half and half with the one before it in the batch."""

    def prepare(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        one_hot = F.one_hot(labels, len(class_counts)).float()
        return (images + images.roll(1, 0)) / 2, (one_hot + one_hot.roll(1, 0)) / 2

    return prepare


@augmentation("quarter_turns")
def quarter_turns(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Each image turned by 0, 90, 180 or 270 degrees."""
    turns = torch.randint(0, 4, (len(batch),), generator=generator).to(batch.device)
    turned = torch.stack([batch.rot90(number, (1, 2)) for number in range(4)])
    return turned[turns, torch.arange(len(batch), device=batch.device)]


@model("two_layers")
class TwoLayers(nn.Module):
    """A fully connected net with one hidden layer. Of features and head, a study can show and retrain the parts."""

    def __init__(self, *, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_channels * image_size**2, 64)
        self.head = nn.Linear(64, num_classes)

    def features(self, images: Tensor) -> Tensor:
        return self.hidden(images.flatten(1)).relu()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


@optimizer("nadam")
def nadam(groups: list[dict[str, Any]], learning_rate: float, momentum: float) -> torch.optim.Optimizer:
    return torch.optim.NAdam(groups, lr=learning_rate, betas=(momentum, 0.999))


@schedule("exponential")
def exponential(progress: float) -> float:
    return math.exp(-5 * progress)


@dataset("ones_and_sevens")
def ones_and_sevens(data_root: Path, download: bool, cache_dir: Path | None) -> ImageDataset:
    """Two of the ten digits. Another one would read files below data_root."""
    digits = load_digits()
    train, test = (np.isin(labels, (1, 7)) for labels in (digits.train_labels, digits.test_labels))
    decoded = make_decoded(
        train_images=digits.train_images[train],
        train_labels=digits.train_labels[train] == 7,
        test_images=digits.test_images[test],
        test_labels=digits.test_labels[test] == 7,
        class_names=["1", "7"],
    )
    return assemble_dataset(
        decoded, name="ones_and_sevens", origin="ones and sevens of scikit-learn's digits", where="digits"
    )


@metric("mean_confidence")
def mean_confidence(logits: Tensor, targets: Tensor) -> float:
    return float(logits.softmax(dim=1).max(dim=1).values.mean())


@arm("imbalance")
def gce() -> Arm:
    return remedy(
        "gce",
        "generalised cross-entropy (Zhang and Sabuncu 2018)",
        loss="gce",
        suggest=each_of(Float("gce_q", 0.1, 1.0, start=0.7)),
    )


@arm("imbalance")
def square_root() -> Arm:
    return remedy(
        "square_root",
        "half balanced batches, and class weights 1/√n with a floor",
        sampler="halves",
        class_weighting="square_root",
        suggest=each_of(Float("weight_floor", 0.0, 1.0, start=0.3)),
    )


@arm("baseline")
def two_layers() -> Arm:
    return model_arm("two_layers", "a fully connected net with one hidden layer", Float("learning_rate", 0.003, 0.3))
