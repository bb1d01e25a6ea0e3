"""Images as PyTorch's tutorials load them: a PIL image at a time through torchvision's transforms."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
NORMALISED = [transforms.ToTensor(), transforms.Normalize(CIFAR10_MEAN, CIFAR10_STD)]
AUGMENTED = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), *NORMALISED]


class Images(Dataset):
    """images: uint8[N, H, W, C] and labels: int64[N], each image as torchvision's CIFAR10 returns it."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, steps: list) -> None:
        self._images, self._labels, self._transform = images, labels.tolist(), transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


def batches(
    images: np.ndarray, labels: np.ndarray, *, batch_size: int, num_workers: int, is_training: bool
) -> DataLoader:
    """A loader of these images, shuffled and augmented for training."""
    return DataLoader(
        Images(images, labels, AUGMENTED if is_training else NORMALISED),
        batch_size=batch_size,
        shuffle=is_training,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )


def as_channels_last(loader: DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
    for inputs, targets in loader:
        yield inputs.to(memory_format=torch.channels_last), targets
