"""Index sets: the validation split, thinning, label fractions, and what tuning and retest train on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from trainables.data.types import ImageDataset, TestData, TuningData

# Separate random streams: with a single one, thinning a class with seed 0 in the retest could pick the very images
# that the validation split with seed 0 picked in tuning.
VALIDATION_STREAM = 1
THINNING_STREAM = 2
LABEL_STREAM = 3

# Added before rounding down: a float product that should be whole, such as 5000 / 100, may fall just below it.
ROUNDING = 1e-9

# int64[C], the images of each class -> int64[C], how many of them remain.
Thinned = Callable[[np.ndarray], np.ndarray]

MINORITIES = ("first", "last")


def split_validation(
    labels: np.ndarray, num_val_per_class: int, num_classes: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Split off a balanced validation set. Returns (pool_indices, val_indices), sorted int64, a partition of all.

    labels: int64[N]. Raises ValueError if num_val_per_class is below 1 or a class has no more images than that.
    """
    class_counts = np.bincount(labels, minlength=num_classes)
    if num_val_per_class < 1 or class_counts.min() <= num_val_per_class:
        raise ValueError(
            f"num_val_per_class must be at least 1 and below the smallest class count {class_counts.min()}, "
            f"got {num_val_per_class}"
        )
    indices = np.arange(len(labels), dtype=np.int64)
    counts = np.full(num_classes, num_val_per_class, dtype=np.int64)
    val_indices = _draw_per_class(labels, indices, counts, VALIDATION_STREAM, seed)
    return np.setdiff1d(indices, val_indices), val_indices


def _step_counts(class_counts: np.ndarray, ratio: float) -> np.ndarray:
    num_minority = len(class_counts) // 2
    thinned = np.array(class_counts, dtype=np.int64)
    thinned[-num_minority:] = np.rint(class_counts[-num_minority:] / ratio)
    return thinned


def _exponential_counts(class_counts: np.ndarray, ratio: float) -> np.ndarray:
    steps = np.arange(len(class_counts)) / (len(class_counts) - 1)
    # Rounded down, as in the papers' own code.
    return np.floor(class_counts * ratio**-steps + ROUNDING).astype(np.int64)


IMBALANCES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "step": _step_counts,
    "exponential": _exponential_counts,
}


def thinned_counts(class_counts: np.ndarray, *, imbalance: str, ratio: float, minority: str) -> np.ndarray:
    """The number of images of each class that remain after thinning: int64[C], at least 1 each.

    class_counts: int64[C]. "step" (Buda et al. 2018): the C // 2 classes at the `minority` end keep n / ratio
    images, rounded. "exponential" (Cui et al. 2019, their code): n_j = floor(n · ratio^(-j/(C-1))) with class C-1 the
    rarest for minority "last" and class 0 for "first". Ratio 1 leaves the counts as they are. Raises
    ValueError for fewer than 2 classes, a count below 1, ratio below 1 or not finite, and unknown names.
    """
    if imbalance not in IMBALANCES:
        raise ValueError(f"imbalance must be one of {list(IMBALANCES)}, got {imbalance!r}")
    if minority not in MINORITIES:
        raise ValueError(f"minority must be one of {list(MINORITIES)}, got {minority!r}")
    if not (math.isfinite(ratio) and ratio >= 1):
        raise ValueError(f"ratio must be at least 1 and finite, got {ratio}")
    class_counts = np.asarray(class_counts, dtype=np.int64)
    if len(class_counts) < 2 or class_counts.min() < 1:
        raise ValueError(f"class_counts must be 2 or more numbers of at least 1, got {class_counts.tolist()}")
    # Both rules thin the last classes; to thin the first ones, reverse, thin and reverse back.
    order = slice(None, None, 1 if minority == "last" else -1)
    thinned = IMBALANCES[imbalance](class_counts[order], ratio)[order]
    return np.ascontiguousarray(np.maximum(thinned, 1))


def whole(class_counts: np.ndarray) -> np.ndarray:
    """The class counts unchanged, int64[C]: nothing is thinned."""
    return class_counts


def thin(labels: np.ndarray, indices: np.ndarray, counts: np.ndarray, seed: int) -> np.ndarray:
    """A random subset of `indices` with counts[j] images of class j: sorted int64, a function of the seed.

    labels: int64[N]; indices: int64[M] into labels; counts: int64[C]. Raises ValueError if a class has fewer images.
    """
    return _draw_per_class(labels, indices, counts, THINNING_STREAM, seed)


def _draw_per_class(labels: np.ndarray, indices: np.ndarray, counts: np.ndarray, stream: int, seed: int) -> np.ndarray:
    drawn = []
    for label, count in enumerate(counts):
        members = indices[labels[indices] == label]
        if not 0 <= count <= len(members):
            raise ValueError(f"counts[{label}] must be from 0 to {len(members)}, got {count}")
        # One generator per class: which images it keeps does not depend on how many the others keep.
        generator = np.random.default_rng([stream, seed, label])
        drawn.append(generator.permutation(members)[:count])
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def tuning_data(dataset: ImageDataset, *, thinned: Thinned, subset_seed: int) -> TuningData:
    """Split off validation (the data set's own, else drawn with seed 0 in every study), then thin the rest.

    thinned(class_counts): `whole`, or `thinned_counts` with its options. Raises ValueError as these and `thin` do.
    """
    num_classes = len(dataset.class_names)
    labels = dataset.train_labels
    if dataset.val_indices is None:
        pool_indices, val_indices = split_validation(labels, dataset.num_val_per_class, num_classes)
    else:
        pool_indices = np.setdiff1d(np.arange(len(labels), dtype=np.int64), dataset.val_indices)
        val_indices = dataset.val_indices
    counts = thinned(np.bincount(labels[pool_indices], minlength=num_classes))
    train_indices = thin(labels, pool_indices, counts, subset_seed)
    return TuningData(
        images=dataset.train_images,
        labels=labels,
        train_indices=train_indices,
        val_indices=val_indices,
        class_names=dataset.class_names,
        class_counts=counts,
        flip_keeps_label=dataset.flip_keeps_label,
        fingerprint=_fingerprint(dataset.fingerprint, train_indices, val_indices),
        superclass_of=dataset.superclass_of,
        superclass_names=dataset.superclass_names,
        subset_seed=subset_seed,
    )


def retest_data(pool: TuningData, *, thinned: Thinned, subset_seed: int) -> TuningData:
    """Join train and validation images and thin them anew with subset_seed; val_indices is empty.

    The fingerprint is taken over the tuning data's fingerprint, which stands for the data set, and the new index sets.
    """
    counts = thinned(np.bincount(pool.labels, minlength=pool.num_classes))
    train_indices = thin(pool.labels, np.arange(len(pool.labels), dtype=np.int64), counts, subset_seed)
    val_indices = np.empty(0, dtype=np.int64)
    return replace(
        pool,
        train_indices=train_indices,
        val_indices=val_indices,
        class_counts=counts,
        fingerprint=_fingerprint(pool.fingerprint, train_indices, val_indices),
        subset_seed=subset_seed,
    )


def label_subset(data: TuningData, fraction: float) -> np.ndarray:
    """The training images whose labels may be used: sorted int64 indices, a subset of data.train_indices.

    There are floor(fraction · n_j) images of each class j, drawn with data.subset_seed: the images of a smaller
    fraction are among those of a larger one. Raises ValueError if fraction is outside (0, 1] or leaves a class empty.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"label fraction must be above 0 and at most 1, got {fraction}")
    counts = np.floor(fraction * data.class_counts + ROUNDING).astype(np.int64)
    rarest = int(data.class_counts.argmin())
    if counts[rarest] == 0:
        num_images = int(data.class_counts[rarest])
        least = math.ceil(10_000 / num_images) / 10_000
        raise ValueError(
            f"label fraction {fraction} leaves class {data.class_names[rarest]!r} without an image (it has "
            f"{num_images}); {least} is enough for it"
        )
    return _draw_per_class(data.labels, data.train_indices, counts, LABEL_STREAM, data.subset_seed)


def test_data(dataset: ImageDataset) -> TestData:
    """The test split, for the retest alone."""
    return TestData(images=dataset.test_images, labels=dataset.test_labels)


# Without this, pytest would collect it as a test in modules that import it.
test_data.__test__ = False  # type: ignore[attr-defined]


def index_sha256(indices: np.ndarray) -> str:
    """Hex SHA-256 of the indices as little-endian int64."""
    return hashlib.sha256(np.ascontiguousarray(indices, dtype="<i8").tobytes()).hexdigest()


def _fingerprint(data_fingerprint: str, train_indices: np.ndarray, val_indices: np.ndarray) -> str:
    parts = [data_fingerprint, index_sha256(train_indices), index_sha256(val_indices)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
