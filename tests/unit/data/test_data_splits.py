"""Validation, thinning, and what tuning and retest see, with hand-worked counts."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from trainables.data.splits import (
    ValidationCut,
    index_sha256,
    label_subset,
    proportional_counts,
    retest_data,
    split_validation,
    test_data,
    thin,
    thinned_counts,
    tuning_data,
    whole,
)
from trainables.data.types import ImageDataset

# 3 classes, interleaved: 20, 20 and 24 images.
LABELS = np.array([0, 1, 2] * 20 + [2] * 4)


THINNED = partial(thinned_counts, imbalance="step", ratio=4, minority="first")


def dataset() -> ImageDataset:
    return ImageDataset(
        name="made",
        origin="made in the test",
        train_images=np.arange(64, dtype=np.uint8).reshape(64, 1, 1, 1),
        train_labels=LABELS,
        test_images=np.full((3, 1, 1, 1), 255, dtype=np.uint8),
        test_labels=np.array([2, 1, 0]),
        class_names=("a", "b", "c"),
        flip_keeps_label=False,
        num_val_per_class=4,
        fingerprint="abc",
    )


def test_validation_is_balanced_sorted_and_disjoint_from_the_pool() -> None:
    pool, val = split_validation(LABELS, np.full(3, 4))
    assert np.bincount(LABELS[val]).tolist() == [4, 4, 4]
    assert np.bincount(LABELS[pool]).tolist() == [16, 16, 20]
    assert sorted([*pool, *val]) == list(range(64))
    assert pool.tolist() == sorted(pool)
    assert val.tolist() == sorted(val)
    assert pool.dtype == val.dtype == np.int64


@pytest.mark.parametrize(("cut", "expected"), [("by_share", [90, 30, 20, 1]), ("equally", [1, 1, 1, 1])])
def test_a_small_class_takes_no_validation_images_from_the_others(cut: ValidationCut, expected: list[int]) -> None:
    """A tenth of each class, at least 1; runs from before took a tenth of the smallest class from each."""
    labels = np.repeat([0, 1, 2, 3], [900, 300, 200, 15])
    images = np.zeros((len(labels), 1, 1, 1), dtype=np.uint8)
    uneven = replace(
        dataset(), train_images=images, train_labels=labels, class_names=("a", "b", "c", "d"), num_val_per_class=None
    )
    data = tuning_data(uneven, thinned=whole, subset_seed=0, validation_cut=cut)
    assert np.bincount(labels[data.val_indices]).tolist() == expected


def test_validation_depends_on_the_seed_alone() -> None:
    assert (
        split_validation(LABELS, np.full(3, 4), seed=5)[1] == split_validation(LABELS, np.full(3, 4), seed=5)[1]
    ).all()
    assert (
        split_validation(LABELS, np.full(3, 4), seed=5)[1] != split_validation(LABELS, np.full(3, 4), seed=6)[1]
    ).any()


@pytest.mark.parametrize("count", [0, 20, 21])
def test_validation_must_leave_images_to_train_on(count: int) -> None:
    with pytest.raises(ValueError, match=rf"val_counts\[1\] must be at least 1 and below .* 20, got {count}"):
        split_validation(LABELS, np.array([4, count, 4]))


@pytest.mark.parametrize(
    ("minority", "expected"),
    [("first", [50] * 5 + [5000] * 5), ("last", [5000] * 5 + [50] * 5)],
)
def test_step_cuts_half_of_the_classes(minority: str, expected: list[int]) -> None:
    counts = thinned_counts(np.full(10, 5000), imbalance="step", ratio=100, minority=minority)
    assert counts.tolist() == expected
    assert counts.dtype == np.int64


def test_step_cuts_the_smaller_half_of_an_odd_number_of_classes_and_rounds() -> None:
    counts = thinned_counts(np.array([10, 20, 38]), imbalance="step", ratio=4, minority="last")
    assert counts.tolist() == [10, 20, 10]  # 9.5 rounds to even
    counts = thinned_counts(np.array([11, 20, 38]), imbalance="step", ratio=4, minority="first")
    assert counts.tolist() == [3, 20, 38]


def test_exponential_has_the_published_counts_of_long_tailed_cifar10() -> None:
    counts = thinned_counts(np.full(10, 5000), imbalance="exponential", ratio=100, minority="last")
    assert counts.tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    turned = thinned_counts(np.full(10, 5000), imbalance="exponential", ratio=100, minority="first")
    assert turned.tolist() == [50, 83, 139, 232, 387, 645, 1077, 1796, 2997, 5000]


def test_exponential_goes_by_each_classs_own_count() -> None:
    # ratio^(-j/2) = 1, 1/2, 1/4
    counts = thinned_counts(np.array([80, 60, 40]), imbalance="exponential", ratio=4, minority="last")
    assert counts.tolist() == [80, 30, 10]
    counts = thinned_counts(np.array([80, 60, 40]), imbalance="exponential", ratio=4, minority="first")
    assert counts.tolist() == [20, 30, 40]


@pytest.mark.parametrize("imbalance", ["step", "exponential"])
def test_ratio_one_leaves_the_counts_and_a_huge_one_leaves_an_image(imbalance: str) -> None:
    class_counts = np.array([7, 4990, 3, 12])
    one = thinned_counts(class_counts, imbalance=imbalance, ratio=1, minority="last")
    assert one.tolist() == [7, 4990, 3, 12]
    assert thinned_counts(class_counts, imbalance=imbalance, ratio=1e9, minority="last")[3] == 1


@pytest.mark.parametrize("ratio", [0.99, 0.0, -1.0, float("nan"), float("inf")])
def test_a_ratio_below_one_or_not_finite_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="ratio must be at least 1"):
        thinned_counts(np.array([5, 5]), imbalance="step", ratio=ratio, minority="last")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"imbalance": "stepp"}, "imbalance must be one of"),
        ({"minority": "middle"}, "minority must be one of"),
    ],
)
def test_unknown_names_are_refused(changed: dict[str, str], message: str) -> None:
    names = {"imbalance": "step", "minority": "last", **changed}
    with pytest.raises(ValueError, match=message):
        thinned_counts(np.array([5, 5]), ratio=2, **names)


@pytest.mark.parametrize("class_counts", [[5], [5, 0]])
def test_one_class_and_empty_classes_cannot_be_thinned(class_counts: list[int]) -> None:
    with pytest.raises(ValueError, match="class_counts must be"):
        thinned_counts(np.array(class_counts), imbalance="exponential", ratio=2, minority="last")


def test_thin_draws_the_counts_from_the_given_indices() -> None:
    indices = np.arange(10, 64)
    drawn = thin(LABELS, indices, np.array([3, 0, 7]), seed=1)
    assert np.bincount(LABELS[drawn], minlength=3).tolist() == [3, 0, 7]
    assert drawn.min() >= 10
    assert drawn.tolist() == sorted(set(drawn))
    assert drawn.dtype == np.int64
    assert (drawn == thin(LABELS, indices, np.array([3, 0, 7]), seed=1)).all()
    assert drawn.tolist() != thin(LABELS, indices, np.array([3, 0, 7]), seed=2).tolist()


def test_thin_refuses_more_than_there_are() -> None:
    with pytest.raises(ValueError, match=r"counts\[1\] must be from 0 to 20, got 21"):
        thin(LABELS, np.arange(64), np.array([1, 21, 1]), seed=0)


def test_tuning_data_thins_the_pool_and_not_validation() -> None:
    data = tuning_data(dataset(), thinned=THINNED, subset_seed=3)
    assert data.class_counts.tolist() == [4, 16, 20]
    assert np.bincount(data.labels[data.train_indices]).tolist() == [4, 16, 20]
    assert np.bincount(data.labels[data.val_indices]).tolist() == [4, 4, 4]
    assert not set(data.train_indices) & set(data.val_indices)
    assert data.num_train == 40
    assert not data.flip_keeps_label
    assert 255 not in data.images


def test_validation_is_the_same_for_every_subset_seed_and_imbalance() -> None:
    exponential = partial(thinned_counts, imbalance="exponential", ratio=2, minority="last")
    first = tuning_data(dataset(), thinned=THINNED, subset_seed=3)
    other = tuning_data(dataset(), thinned=exponential, subset_seed=4)
    assert (first.val_indices == other.val_indices).all()
    assert first.fingerprint != other.fingerprint


def test_retest_joins_train_and_validation() -> None:
    tuned = tuning_data(dataset(), thinned=THINNED, subset_seed=3)
    data = retest_data(tuned, thinned=THINNED, subset_seed=0)
    assert data.class_counts.tolist() == [5, 20, 24]
    assert np.bincount(data.labels[data.train_indices]).tolist() == [5, 20, 24]
    assert len(data.val_indices) == 0
    assert set(tuned.val_indices[data.labels[tuned.val_indices] > 0]) <= set(data.train_indices)
    assert data.fingerprint != retest_data(tuned, thinned=THINNED, subset_seed=1).fingerprint
    assert data.fingerprint == retest_data(tuned, thinned=THINNED, subset_seed=0).fingerprint
    assert (tuned.subset_seed, data.subset_seed) == (3, 0)


def test_a_thinned_class_of_the_retest_is_not_the_validation_set_of_the_same_seed() -> None:
    labels = np.repeat([0, 1], 100)
    val = split_validation(labels, np.full(2, 10))[1]
    assert thin(labels, np.arange(200), np.array([10, 10]), seed=0).tolist() != val.tolist()


def test_test_data_is_the_test_split() -> None:
    data = test_data(dataset())
    assert data.labels.tolist() == [2, 1, 0]
    assert (data.images == 255).all()


def test_fingerprints_are_sha256_as_documented() -> None:
    one_two = (1).to_bytes(8, "little") + (2).to_bytes(8, "little")
    assert index_sha256(np.array([1, 2])) == hashlib.sha256(one_two).hexdigest()
    assert index_sha256(np.array([1, 2], dtype=np.int32)) == index_sha256(np.array([1, 2]))
    data = tuning_data(dataset(), thinned=whole, subset_seed=0)
    parts = ["abc", index_sha256(data.train_indices), index_sha256(data.val_indices)]
    assert data.fingerprint == hashlib.sha256("\n".join(parts).encode()).hexdigest()


@pytest.mark.parametrize(
    ("class_counts", "most", "expected"),
    [
        ([50, 30, 20], 10, [5, 3, 2]),
        ([50, 30, 20], 11, [6, 3, 2]),  # 5.5, 3.3, 2.2
        ([450] * 4, 90, [23, 23, 22, 22]),
        ([900, 50, 1], 10, [8, 1, 1]),  # 9.5, 0.5, 0.01
        ([997, 1, 1, 1], 4, [1, 1, 1, 1]),
        ([5, 4], 9, [5, 4]),
        ([5, 4], 1000, [5, 4]),
    ],
)
def test_fewer_images_are_drawn_in_the_proportions_of_the_classes(class_counts, most, expected) -> None:
    assert proportional_counts(np.array(class_counts), most).tolist() == expected


def test_fewer_images_than_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="2 training images are too few for 3 classes"):
        proportional_counts(np.array([5, 5, 5]), 2)


def test_whole_leaves_all_that_is_not_validation() -> None:
    data = tuning_data(dataset(), thinned=whole, subset_seed=3)
    assert data.class_counts.tolist() == [16, 16, 20]
    assert sorted([*data.train_indices, *data.val_indices]) == list(range(64))
    retest = retest_data(data, thinned=whole, subset_seed=5)
    assert retest.train_indices.tolist() == list(range(64))
    assert retest.class_counts.tolist() == [20, 20, 24]


def test_superclasses_go_with_the_data() -> None:
    nested = replace(dataset(), superclass_of=(0, 1, 1), superclass_names=("x", "y"))
    data = tuning_data(nested, thinned=whole, subset_seed=0)
    retest = retest_data(data, thinned=whole, subset_seed=1)
    for made in (data, retest):
        assert made.superclass_of == (0, 1, 1)
        assert made.superclass_names == ("x", "y")
    assert tuning_data(dataset(), thinned=whole, subset_seed=0).superclass_of is None


def test_the_validation_set_that_a_source_gives_is_taken() -> None:
    own = np.array([60, 61, 0, 1])
    data = tuning_data(replace(dataset(), val_indices=own), thinned=whole, subset_seed=0)
    assert data.val_indices.tolist() == [60, 61, 0, 1]
    assert data.train_indices.tolist() == [index for index in range(64) if index not in (0, 1, 60, 61)]
    assert data.class_counts.tolist() == [19, 19, 22]


def test_a_label_fraction_is_rounded_down_in_each_class() -> None:
    """Of 4, 16 and 20 images, 0.3 is 1.2, 4.8 and 6."""
    data = tuning_data(dataset(), thinned=THINNED, subset_seed=3)
    subset = label_subset(data, 0.3)
    assert np.bincount(LABELS[subset]).tolist() == [1, 4, 6]
    assert subset.tolist() == sorted(set(subset) & set(data.train_indices))
    assert subset.dtype == np.int64
    assert label_subset(data, 1.0).tolist() == data.train_indices.tolist()


def test_a_smaller_label_fraction_is_part_of_a_larger_one() -> None:
    data = tuning_data(dataset(), thinned=whole, subset_seed=3)
    subsets = [set(label_subset(data, fraction)) for fraction in (0.1, 0.25, 0.5, 1.0)]
    assert [len(subset) for subset in subsets] == [4, 13, 26, 52]
    assert all(smaller < larger for smaller, larger in pairwise(subsets))


def test_a_label_subset_depends_on_the_subset_seed_and_is_no_thinning_and_no_validation() -> None:
    labels = np.repeat([0, 1, 2], 100)
    images = np.zeros((300, 1, 1, 1), dtype=np.uint8)
    data = tuning_data(replace(dataset(), train_images=images, train_labels=labels), thinned=whole, subset_seed=0)
    everything = replace(data, train_indices=np.arange(300), class_counts=np.array([100, 100, 100]))
    assert len(label_subset(everything, 0.29)) == 87  # 0.29 * 100 is 28.999999999999996
    subset = label_subset(everything, 0.1).tolist()
    assert subset == label_subset(everything, 0.1).tolist()
    assert subset != label_subset(replace(everything, subset_seed=1), 0.1).tolist()
    assert subset != thin(labels, np.arange(300), np.array([10, 10, 10]), 0).tolist()
    assert subset != split_validation(labels, np.full(3, 10))[1].tolist()


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_a_label_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="label fraction must be above 0 and at most 1"):
        label_subset(tuning_data(dataset(), thinned=whole, subset_seed=0), fraction)


def test_a_label_fraction_that_leaves_a_class_empty_is_refused_and_enough_is_named() -> None:
    """Of 16 images, 0.06 is 0.96; 1/16 is 0.0625."""
    data = tuning_data(dataset(), thinned=whole, subset_seed=0)
    message = r"label fraction 0.06 leaves class 'a' without an image \(it has 16\); 0.0625 is enough"
    with pytest.raises(ValueError, match=message):
        label_subset(data, 0.06)
    assert np.bincount(LABELS[label_subset(data, 0.0625)]).tolist() == [1, 1, 1]
