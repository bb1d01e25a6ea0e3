"""Images that a data set holds more than once, by their pixels: found, counted in a remark, taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Copies:
    """What is there more than once. first: int64[N], for each training image the first with the same pixels.

    in_test: bool[N], whether the same pixels are also in the test split. num_test_in_train: test images that are
    also training images. num_relabelled: training images whose first copy has another label.
    """

    first: np.ndarray
    in_test: np.ndarray
    num_test_in_train: int
    num_relabelled: int

    @property
    def are_in_training(self) -> bool:
        return bool((self.first != np.arange(len(self.first))).any())


def find_copies(train_images: np.ndarray, train_labels: np.ndarray, test_images: np.ndarray) -> Copies:
    """Compare all images, uint8[N, H, W, C] and uint8[T, H, W, C], by a 64-bit hash of their pixels."""
    train, test = _pixel_hashes(train_images), _pixel_hashes(test_images)
    _, first, inverse = np.unique(train, return_index=True, return_inverse=True)
    first = first[inverse].astype(np.int64)
    return Copies(
        first=first,
        in_test=np.isin(train, test),
        num_test_in_train=int(np.isin(test, train).sum()),
        num_relabelled=int((train_labels[first] != train_labels).sum()),
    )


def _pixel_hashes(images: np.ndarray) -> np.ndarray:
    return np.fromiter((hash(image.tobytes()) for image in images), dtype=np.int64, count=len(images))


def copy_remarks(copies: Copies, *, num_test: int, val_indices: np.ndarray | None) -> list[str]:
    """A sentence for each kind of copies that there are. val_indices: as in ImageDataset."""
    num_train, remarks = len(copies.first), []
    is_val = np.zeros(num_train, dtype=bool)
    if val_indices is not None:
        is_val[val_indices] = True
        num_held = int(np.isin(copies.first[is_val], copies.first[~is_val]).sum())
        if num_held:
            remarks.append(
                f"The training images include {num_held:,} of the {int(is_val.sum()):,} validation images, pixel by "
                "pixel; tuning does not train on them."
            )
    num_repeats = int((~is_val).sum()) - len(np.unique(copies.first[~is_val]))
    if num_repeats:
        relabelled = f" ({copies.num_relabelled:,} under another class)" if copies.num_relabelled else ""
        remarks.append(
            f"Of the data set's {int((~is_val).sum()):,} training images, {num_repeats:,} repeat another one pixel by "
            f"pixel{relabelled}; copies stay on one side of the validation cut, and --drop-duplicates keeps one of "
            "each."
        )
    if copies.num_test_in_train:
        remarks.append(
            f"The data set's training images include {copies.num_test_in_train:,} of its {num_test:,} test images, "
            "pixel by pixel; --drop-duplicates takes them out of training."
        )
    return remarks


def distinct_images(copies: Copies, val_indices: np.ndarray | None) -> np.ndarray:
    """The training images to keep, sorted int64: one of each, none that is in the test split.

    An image that is also among val_indices is kept there.
    """
    order = np.arange(len(copies.first))
    if val_indices is not None:  # validation images first, so that of copies they are the ones that stay
        order = np.concatenate([val_indices, np.setdiff1d(order, val_indices)])
    _, position = np.unique(copies.first[order], return_index=True)
    kept = order[position]
    return np.sort(kept[~copies.in_test[kept]]).astype(np.int64)
