"""From decoded arrays to an ImageDataset: the checks that every source must pass."""

from __future__ import annotations

import numpy as np

from trainables.data.decoded import Decoded
from trainables.data.types import DataError, ImageDataset


def assemble_dataset(
    decoded: Decoded,
    *,
    name: str,
    origin: str,
    where: str,
    flip_keeps_label: bool = True,
    num_val_per_class: int | None = None,
    val_indices: np.ndarray | None = None,
) -> ImageDataset:
    """Check the classes of a decoded data set and make an ImageDataset of it.

    where: the folder, for error messages. The origin also names the size of images that were decoded smaller.
    num_val_per_class: by default a tenth of the smallest class's training count, at least 1 (500 for CIFAR-10).
    val_indices: as in ImageDataset. Raises DataError for fewer than
    two classes, a class with too few images to validate and train on, and a class without test images.
    """
    class_names = decoded.class_names
    if len(class_names) < 2:
        raise DataError(f"{where} has {len(class_names)} class, and a classifier needs at least 2")
    train_counts = np.bincount(decoded.train_labels, minlength=len(class_names))
    test_counts = np.bincount(decoded.test_labels, minlength=len(class_names))
    smallest = int(train_counts.argmin())
    if num_val_per_class is None:
        num_val_per_class = max(1, int(train_counts[smallest]) // 10)
    if train_counts[smallest] <= num_val_per_class:
        raise DataError(
            f"class {class_names[smallest]!r} of {where} has {train_counts[smallest]} training images, "
            f"and at least {num_val_per_class + 1} are needed: {num_val_per_class} to validate on, 1 to train"
        )
    untested = int(test_counts.argmin())
    if test_counts[untested] == 0:
        raise DataError(f"class {class_names[untested]!r} of {where} has no test image, and every class needs one")
    size = decoded.train_images.shape[1]
    return ImageDataset(
        name=name,
        origin=origin if decoded.own_size is None else f"{origin}, resized to {size}x{size}",
        train_images=decoded.train_images,
        train_labels=decoded.train_labels,
        test_images=decoded.test_images,
        test_labels=decoded.test_labels,
        class_names=class_names,
        flip_keeps_label=flip_keeps_label,
        num_val_per_class=num_val_per_class,
        fingerprint=decoded.fingerprint,
        superclass_of=decoded.superclass_of,
        superclass_names=decoded.superclass_names,
        val_indices=val_indices,
        remarks=decoded.remarks,
    )
