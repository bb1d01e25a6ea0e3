"""The arrays that travel from a data source to a worker, and the one error that users see about data."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


class DataError(ValueError):
    """Something is wrong with the data or its place; the message is one sentence for the user."""


@dataclass(frozen=True, kw_only=True)
class ImageDataset:
    """A whole decoded data set, as a source returns it.

    train_images: uint8[N, H, W, C] (C = 1 or 3); train_labels: int64[N]; test_images and test_labels likewise.
    origin: a phrase for the page's first line, e.g. "CIFAR-10, read from data/cifar10 (Parquet)".
    flip_keeps_label: whether a mirror image is of the same class (False for digits).
    num_val_per_class: validation images to split off from each class, before thinning; None: a tenth of the class's
    own, at least 1. val_indices: int64[V], these images, if the source chooses them; None if they are to be drawn.
    copy_of: int64[N], for each training image the first one with the same pixels; None if no two are alike.
    fingerprint: hex SHA-256 over the arrays, the class names and the superclasses, if any.
    superclass_of: class -> superclass, a position in superclass_names; both are None if there are no superclasses.
    remarks: what was repaired, passed over or found odd while loading, a sentence each, for console and page.
    notices: what became of the decoded copy, a sentence each, for the console alone.
    """

    name: str
    origin: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    flip_keeps_label: bool
    num_val_per_class: int | None
    fingerprint: str
    superclass_of: tuple[int, ...] | None = None
    superclass_names: tuple[str, ...] | None = None
    val_indices: np.ndarray | None = None
    copy_of: np.ndarray | None = None
    remarks: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TuningData:
    """All the data that a tuning worker gets; holds no test image.

    images: uint8[N, H, W, C], the whole training pool; labels: int64[N].
    train_indices: int64[M], thinned; val_indices: int64[V], disjoint from train_indices (empty in the retest,
    which trains on both). class_counts: int64[C], the counts of labels[train_indices].
    fingerprint: hex SHA-256 of the data set's fingerprint and both index sets. superclass_of, superclass_names:
    as in ImageDataset. subset_seed: the seed of the thinning and of `label_subset`.
    """

    images: np.ndarray
    labels: np.ndarray
    train_indices: np.ndarray
    val_indices: np.ndarray
    class_names: tuple[str, ...]
    class_counts: np.ndarray
    flip_keeps_label: bool
    fingerprint: str
    superclass_of: tuple[int, ...] | None = None
    superclass_names: tuple[str, ...] | None = None
    subset_seed: int = 0

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_size(self) -> int:
        """The side of the square images, in pixels."""
        return int(self.images.shape[1])

    @property
    def num_train(self) -> int:
        """N, the number of images that one epoch draws in every arm."""
        return len(self.train_indices)


@dataclass(frozen=True, kw_only=True)
class TestData:
    """The test split; only study/engine/jobs.py hands it to workers. images: uint8[T, H, W, C]; labels: int64[T]."""

    __test__ = False  # not a pytest class

    images: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
