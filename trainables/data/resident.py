"""The pool's images on a worker's device, put there once and kept across the trials of that worker."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from trainables.data.types import TuningData

_kept: dict[tuple[int, str], tuple[np.ndarray, Tensor, Tensor]] = {}


def resident(data: TuningData, device: torch.device) -> tuple[Tensor, Tensor]:
    """(images uint8[N, H, W, C], labels int64[N]) on the device.

    On a CPU the images are Ray's shared memory itself, not a copy: nobody may write to them.
    """
    key = (id(data.images), str(device))
    if key not in _kept:
        _kept.clear()  # one data set a worker: another one takes its place
        # Holding the array keeps its id from being given to another one.
        _kept[key] = (data.images, _tensor(data.images).to(device), _tensor(data.labels).to(device))
    _, images, labels = _kept[key]
    return images, labels


def _tensor(array: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        # Ray's arrays are read-only, of which from_numpy warns.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
