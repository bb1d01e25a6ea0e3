"""From decoded arrays to an ImageDataset: the checks that every source must pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trainables.data.copies import copy_remarks, distinct_images, find_copies
from trainables.data.decoded import Decoded, make_decoded
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
    num_val_per_class, val_indices: as in ImageDataset. Raises DataError for fewer than two classes, a class with too
    few images to validate and train on, and a class without test images.
    """
    class_names = decoded.class_names
    if len(class_names) < 2:
        raise DataError(f"{where} has {len(class_names)} class, and a classifier needs at least 2")
    if val_indices is None and decoded.num_val:
        val_indices = np.arange(len(decoded.train_labels) - decoded.num_val, len(decoded.train_labels), dtype=np.int64)
    trained_labels = decoded.train_labels if val_indices is None else np.delete(decoded.train_labels, val_indices)
    train_counts = np.bincount(trained_labels, minlength=len(class_names))
    test_counts = np.bincount(decoded.test_labels, minlength=len(class_names))
    smallest = int(train_counts.argmin())
    num_val = (num_val_per_class or 1) if val_indices is None else 0
    if train_counts[smallest] <= num_val:
        needed = f"{num_val + 1} are needed: {num_val} to validate on, 1 to train" if num_val else "1 is needed"
        raise DataError(
            f"class {class_names[smallest]!r} of {where} has {train_counts[smallest]} training images, "
            f"and at least {needed}"
        )
    untested = int(test_counts.argmin())
    if test_counts[untested] == 0:
        raise DataError(f"class {class_names[untested]!r} of {where} has no test image, and every class needs one")
    copies = find_copies(decoded.train_images, decoded.train_labels, decoded.test_images)
    found = copy_remarks(copies, num_test=len(decoded.test_labels), val_indices=val_indices)
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
        copy_of=copies.first if copies.are_in_training else None,
        remarks=(*decoded.remarks, *found),
        notices=decoded.notices,
    )


def without_duplicates(dataset: ImageDataset) -> ImageDataset:
    """Keep one of the training images with the same pixels, and none that is also a test image.

    Of copies under several classes the first is kept. A data set without copies is returned as is. Raises DataError
    if a class has too few images left.
    """
    copies = find_copies(dataset.train_images, dataset.train_labels, dataset.test_images)
    kept = distinct_images(copies, dataset.val_indices)
    num_dropped = len(copies.first) - len(kept)
    if num_dropped == 0:
        return dataset
    counted = copy_remarks(copies, num_test=len(dataset.test_labels), val_indices=dataset.val_indices)
    num_in_test = int(copies.in_test.sum())
    reasons = [
        *([f"{num_dropped - num_in_test:,} repeated"] if num_dropped > num_in_test else []),
        *([f"{num_in_test:,} found in the test split"] if num_in_test else []),
    ]
    decoded = make_decoded(
        train_images=dataset.train_images[kept],
        train_labels=dataset.train_labels[kept],
        test_images=dataset.test_images,
        test_labels=dataset.test_labels,
        class_names=dataset.class_names,
        superclass_of=dataset.superclass_of,
        superclass_names=dataset.superclass_names,
    )
    dropped = assemble_dataset(
        decoded,
        name=dataset.name,
        origin=dataset.origin,
        where=f"{dataset.name} without duplicates",
        flip_keeps_label=dataset.flip_keeps_label,
        num_val_per_class=dataset.num_val_per_class,
        val_indices=None if dataset.val_indices is None else np.flatnonzero(np.isin(kept, dataset.val_indices)),
    )
    return replace(
        dropped,
        notices=dataset.notices,
        remarks=(
            *(remark for remark in dataset.remarks if remark not in counted),
            f"--drop-duplicates took {num_dropped:,} of {len(copies.first):,} training images out: "
            f"{' and '.join(reasons)}.",
        ),
    )
