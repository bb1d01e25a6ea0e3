"""The pool's images on a worker's device: moved there once and kept for all trials of that worker."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from trainables.data.augmentation import channel_stats
from trainables.data.splits import index_sha256
from trainables.data.types import TuningData


@dataclass(frozen=True, kw_only=True)
class ResidentData:
    """A pool on a device: images uint8[N, H, W, C], labels int64[N]; mean, std: float32[C] over the training images."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """A pool that is kept. arrays: the sources of the tensors; holding them keeps their ids from being reused.

    stats: the mean and deviation over each set of training images requested so far, by the set's SHA-256.
    """

    arrays: tuple[np.ndarray, np.ndarray]
    images: Tensor
    labels: Tensor
    stats: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


_kept: dict[tuple[int, int, str], _Pool] = {}


def resident(data: TuningData, device: torch.device) -> ResidentData:
    """The pool of `data` on the device, with statistics over its training images.

    On a CPU the images are a view of Ray's shared memory, not a copy: nobody may write to them.
    """
    pool = _resident_pool(data, device)
    key = index_sha256(data.train_indices)
    if key not in pool.stats:
        pool.stats[key] = channel_stats(pool.images, _tensor(data.train_indices))
    mean, std = pool.stats[key]
    return ResidentData(images=pool.images, labels=pool.labels, mean=mean, std=std)


def _resident_pool(data: TuningData, device: torch.device) -> _Pool:
    key = (id(data.images), id(data.labels), str(device))
    if key not in _kept:
        images, labels = _tensor(data.images).to(device), _tensor(data.labels).to(device)
        _kept.clear()  # a worker keeps one data set: the new one replaces the old
        _kept[key] = _Pool(arrays=(data.images, data.labels), images=images, labels=labels)
    return _kept[key]


def _tensor(array: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        # Ray's arrays are read-only, and from_numpy warns about that.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
