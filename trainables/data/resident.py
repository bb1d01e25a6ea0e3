"""The pool's images on a worker's device, put there once and kept across the trials of that worker."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.data.augmentation import channel_stats
from trainables.data.types import TuningData


@dataclass(frozen=True, kw_only=True)
class ResidentData:
    """images: uint8[N, H, W, C], labels: int64[N], of the whole pool; mean, std: float32[C] of the training images."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor


# Holding the array itself keeps its id from being given to another one.
_kept: dict[tuple[int, str, str], tuple[np.ndarray, ResidentData]] = {}


def resident(data: TuningData, device: torch.device) -> ResidentData:
    """The data on the device.

    On a CPU the images are Ray's shared memory itself, not a copy: nobody may write to them.
    """
    key = (id(data.images), data.fingerprint, str(device))
    if key not in _kept:
        images, labels = _tensor(data.images).to(device), _tensor(data.labels).to(device)
        mean, std = channel_stats(images, _tensor(data.train_indices))
        _kept.clear()  # one data set a worker: another one takes its place
        _kept[key] = data.images, ResidentData(images=images, labels=labels, mean=mean, std=std)
    return _kept[key][1]


def _tensor(array: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        # Ray's arrays are read-only, of which from_numpy warns.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
