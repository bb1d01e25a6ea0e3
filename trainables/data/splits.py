"""Index sets: the validation split, thinning, label fractions, and what tuning and retest train on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from trainables.data.types import DataError, ImageDataset, TestData, TuningData

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
    labels: np.ndarray, val_counts: np.ndarray, *, copy_of: np.ndarray | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Split off val_counts[j] images of each class j. Returns (pool_indices, val_indices), sorted int64, of all.

    labels: int64[N]; val_counts: int64[C]; copy_of: as in ImageDataset. Copies stay together: where some would be
    drawn and others not, all are drawn if the counts allow it and none otherwise, so that a class of which little
    but copies is left gets fewer than its count. Raises ValueError unless each count is at least 1 and below the
    class's own.
    """
    class_counts = np.bincount(labels, minlength=len(val_counts))
    wrong = np.flatnonzero((val_counts < 1) | (val_counts >= class_counts))
    if len(wrong):
        label = wrong[0]
        raise ValueError(
            f"val_counts[{label}] must be at least 1 and below the class's count {class_counts[label]}, "
            f"got {val_counts[label]}"
        )
    indices = np.arange(len(labels), dtype=np.int64)
    if copy_of is None:
        val_indices = _draw_per_class(labels, indices, val_counts, VALIDATION_STREAM, seed)
    else:
        val_indices = _draw_with_copies(labels, val_counts, copy_of, seed)
    return np.setdiff1d(indices, val_indices), val_indices


def _draw_with_copies(labels: np.ndarray, val_counts: np.ndarray, copy_of: np.ndarray, seed: int) -> np.ndarray:
    """As _draw_per_class from all images, which it equals where no copies would be torn apart."""
    by_first = np.argsort(copy_of, kind="stable")
    firsts, starts = np.unique(copy_of[by_first], return_index=True)
    copies = dict(zip(firsts.tolist(), np.split(by_first, starts[1:]), strict=True))
    wanted, drawn = np.array(val_counts, dtype=np.int64), []
    for label in range(len(val_counts)):
        for index in _shuffled(np.flatnonzero(labels == label), VALIDATION_STREAM, seed, label):
            if wanted[label] == 0:
                break
            group = copies.pop(int(copy_of[index]), None)  # None: settled when another of its copies was met
            if group is None:
                continue
            of_each_class = np.bincount(labels[group], minlength=len(wanted))
            if (of_each_class <= wanted).all():
                wanted -= of_each_class
                drawn.append(group)
    return np.sort(np.concatenate(drawn)).astype(np.int64)


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


def proportional_counts(class_counts: np.ndarray, most: int) -> np.ndarray:
    """At most `most` images in the proportions of the classes, int64[C]: every class keeps one at least.

    Rounded by largest remainders, so that the sum is `most`, or that of class_counts if it is less. Raises ValueError
    if there are more classes than images.

    >>> proportional_counts(np.array([50, 30, 20]), 11).tolist()
    [6, 3, 2]
    >>> proportional_counts(np.array([900, 1]), 10).tolist()
    [9, 1]
    """
    class_counts = np.asarray(class_counts, dtype=np.int64)
    if most < len(class_counts):
        raise ValueError(f"{most} training images are too few for {len(class_counts)} classes")
    total = int(class_counts.sum())
    if most >= total:
        return class_counts
    counts = np.maximum(class_counts * most // total, 1)
    # What rounding down has left goes to the largest remainders; what the classes of one image took, comes from the
    # largest counts.
    remainders = np.where(counts < class_counts, class_counts * most / total - counts, -np.inf)
    while counts.sum() < most:
        label = int(remainders.argmax())
        counts[label] += 1
        remainders[label] = -np.inf
    while counts.sum() > most:
        counts[counts.argmax()] -= 1
    return counts


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
        drawn.append(_shuffled(members, stream, seed, label)[:count])
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def _shuffled(members: np.ndarray, stream: int, seed: int, label: int) -> np.ndarray:
    # One generator per class: which images it keeps does not depend on how many the others keep.
    return np.random.default_rng([stream, seed, label]).permutation(members)


def cut_by_share(dataset: ImageDataset) -> tuple[np.ndarray, np.ndarray]:
    """(pool_indices, val_indices): a tenth of each class, copies together; or the data set's own, copies left out.

    Raises DataError if a class has nothing but copies, so that it cannot be validated or trained.
    """
    labels, num_classes = dataset.train_labels, len(dataset.class_names)
    if dataset.val_indices is None:
        counts = _val_counts(dataset, np.bincount(labels, minlength=num_classes))
        pool_indices, val_indices = split_validation(labels, counts, copy_of=dataset.copy_of)
    else:
        pool_indices, val_indices = _without_own(dataset), dataset.val_indices
        if dataset.copy_of is not None:
            is_copied = np.isin(dataset.copy_of[pool_indices], dataset.copy_of[val_indices])
            pool_indices = pool_indices[~is_copied]
    for indices in (pool_indices, val_indices):
        missing = np.flatnonzero(np.bincount(labels[indices], minlength=num_classes) == 0)
        # Where a data set brings its own validation images, a class may have none; it is then left out of the score.
        if len(missing) and (indices is pool_indices or dataset.val_indices is None):
            raise DataError(
                f"class {dataset.class_names[missing[0]]!r} has nothing but copies of the same images, which may not "
                "be trained and validated on at once: give it other images, or try --drop-duplicates"
            )
    return pool_indices, val_indices


def cut_equally(dataset: ImageDataset) -> tuple[np.ndarray, np.ndarray]:
    """(pool_indices, val_indices): of each class a tenth of the smallest one's, or the data set's own.

    Copies may lie on both sides; this is how runs were cut before `cut_by_share`.
    """
    labels, num_classes = dataset.train_labels, len(dataset.class_names)
    if dataset.val_indices is not None:
        return _without_own(dataset), dataset.val_indices
    smallest = np.bincount(labels, minlength=num_classes).min()
    return split_validation(labels, _val_counts(dataset, np.full(num_classes, smallest)))


def _val_counts(dataset: ImageDataset, class_counts: np.ndarray) -> np.ndarray:
    if dataset.num_val_per_class is None:
        return np.maximum(1, class_counts // 10)
    return np.full(len(class_counts), dataset.num_val_per_class, dtype=np.int64)


def _without_own(dataset: ImageDataset) -> np.ndarray:
    assert dataset.val_indices is not None
    return np.setdiff1d(np.arange(len(dataset.train_labels), dtype=np.int64), dataset.val_indices)


ValidationCut = Literal["by_share", "equally"]
# How validation is cut from training; a run keeps the way it began with.
VALIDATION_CUTS: dict[ValidationCut, Callable[[ImageDataset], tuple[np.ndarray, np.ndarray]]] = {
    "by_share": cut_by_share,
    "equally": cut_equally,
}


def tuning_data(
    dataset: ImageDataset, *, thinned: Thinned, subset_seed: int, validation_cut: ValidationCut = "by_share"
) -> TuningData:
    """Split off validation (the data set's own, else drawn with seed 0 in every study), then thin the rest.

    thinned(class_counts): `whole`, or `thinned_counts` with its options. validation_cut: a key of VALIDATION_CUTS.
    Raises ValueError as these and `thin` do.
    """
    num_classes = len(dataset.class_names)
    labels = dataset.train_labels
    pool_indices, val_indices = VALIDATION_CUTS[validation_cut](dataset)
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
