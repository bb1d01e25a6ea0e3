"""The resident data: one copy of the images, and the statistics of whichever images are trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from trainables.data.resident import resident
from trainables.data.types import TuningData

CPU = torch.device("cpu")


def tuning_data() -> TuningData:
    """Four flat images of grey 0, 51, 102 and 255; the first two are trained on."""
    values = np.array([0, 51, 102, 255], dtype=np.uint8)
    return TuningData(
        images=np.tile(values[:, None, None, None], (1, 16, 16, 1)),
        labels=np.array([0, 1, 0, 1]),
        train_indices=np.array([0, 1]),
        val_indices=np.array([2]),
        class_names=("a", "b"),
        class_counts=np.array([1, 1]),
        flip_keeps_label=True,
        fingerprint="made",
    )


def test_mean_and_deviation_are_of_the_training_images() -> None:
    data = tuning_data()
    kept = resident(data, CPU)
    assert kept.mean.tolist() == pytest.approx([0.1])
    assert kept.std.tolist() == pytest.approx([0.1])
    assert kept.labels.tolist() == [0, 1, 0, 1]
    assert (kept.images.numpy() == data.images).all()


def test_other_training_images_have_other_statistics_and_the_same_copy() -> None:
    """The fingerprint is left as it is on purpose: a subset made by hand must not be given the whole's statistics."""
    data = tuning_data()
    whole, subset = resident(data, CPU), resident(replace(data, train_indices=np.array([2, 3])), CPU)
    assert subset.mean.tolist() == pytest.approx([0.7])
    assert subset.std.tolist() == pytest.approx([0.3])
    assert subset.images is whole.images
    assert resident(data, CPU).mean is whole.mean


def test_other_images_take_the_place_of_the_first() -> None:
    first, second = tuning_data(), tuning_data()
    second = replace(second, images=255 - second.images)
    resident(first, CPU)
    assert resident(second, CPU).mean.tolist() == pytest.approx([0.9])
    assert resident(first, CPU).mean.tolist() == pytest.approx([0.1])


def test_ray_s_read_only_arrays_are_taken_as_they_are() -> None:
    data = tuning_data()
    data.images.flags.writeable = False
    assert resident(data, CPU).images.data_ptr() == data.images.ctypes.data
