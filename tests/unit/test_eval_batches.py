"""Images are judged in batches whose memory is bounded whatever their size, and what comes out is the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainables.common.numerics import Numerics
from trainables.training.learner import Batches, Learner, eval_batch_size


class Counting(nn.Module):
    """The logits are each image's mean and greatest value. sizes: how many images came at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        return torch.stack([images.mean(dim=(1, 2, 3)), images.amax(dim=(1, 2, 3))], dim=1)


def judged(images: Tensor) -> tuple[Tensor, list[int]]:
    channels = images.shape[3]
    model = Counting()
    batches = Batches(
        images=images,
        labels=torch.zeros(len(images), dtype=torch.int64),
        train_indices=torch.arange(len(images)),
        plan=None,  # type: ignore[arg-type]
        augment=None,  # type: ignore[arg-type]
        mean=torch.zeros(channels),
        std=torch.ones(channels),
        seed=0,
    )
    learner = Learner(
        model=model,
        loss=None,  # type: ignore[arg-type]
        optimizer=None,  # type: ignore[arg-type]
        learning_rate=lambda progress: 0.1,
        batches=batches,
        num_epochs=1,
        numerics=Numerics(),
    )
    return learner.predict(images, torch.arange(len(images))), model.sizes


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((32, 32, 3), 1000),  # as it always was, so that numbers are the same bit for bit
        ((28, 28, 1), 1000),
        ((16, 16, 3), 1000),
        ((64, 64, 3), 250),
        ((128, 128, 3), 62),
        ((128, 128, 1), 62),
        ((64, 64, 12), 62),
        ((2000, 2000, 3), 1),
    ],
)
def test_a_batch_has_as_many_values_as_a_thousand_small_images(shape, size):
    assert eval_batch_size(torch.zeros((1, *shape), dtype=torch.uint8)) == size


def test_large_images_are_judged_as_they_would_be_at_once():
    images = torch.randint(0, 256, (70, 128, 128, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    logits, sizes = judged(images)
    assert sizes == [62, 8]
    values = images.double() / 255
    expected = torch.stack([values.mean(dim=(1, 2, 3)), values.amax(dim=(1, 2, 3))], dim=1)
    torch.testing.assert_close(logits.double(), expected, atol=1e-5, rtol=0)


def test_small_images_are_judged_a_thousand_at_once():
    assert judged(torch.zeros(1500, 32, 32, 3, dtype=torch.uint8))[1] == [1000, 500]
