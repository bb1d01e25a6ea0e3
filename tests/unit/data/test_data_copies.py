"""Images that are there twice, by their pixels: counted, kept on one side of the validation cut, taken out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dataset_files import encoded, picture, write_parquet

from trainables.data import DataError, ImageDataset, load_dataset
from trainables.data.assemble import assemble_dataset, without_duplicates
from trainables.data.decoded import make_decoded
from trainables.data.splits import tuning_data, whole


def images_of(values: list[int]) -> np.ndarray:
    """Flat images of these values."""
    return np.array(values, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), dtype=np.uint8)


def dataset_of(
    train: list[int], labels: list[int], test: list[int], val_indices: list[int] | None = None
) -> ImageDataset:
    """A data set of flat images of these values; classes a, b, ...; the test images take turns in them."""
    num_classes = max(labels) + 1
    decoded = make_decoded(
        train_images=images_of(train),
        train_labels=np.array(labels),
        test_images=images_of(test),
        test_labels=np.arange(len(test)) % num_classes,
        class_names="abcdef"[:num_classes],
    )
    own = None if val_indices is None else np.array(val_indices)
    return assemble_dataset(decoded, name="flat", origin="", where="flat", val_indices=own)


def cut_of(dataset: ImageDataset) -> tuple[set[int], set[int]]:
    """The values of the images to train and to validate on."""
    data = tuning_data(dataset, thinned=whole, subset_seed=0)
    values = dataset.train_images[:, 0, 0, 0]
    return set(values[data.train_indices].tolist()), set(values[data.val_indices].tolist())


def test_nothing_is_said_where_no_two_images_are_alike() -> None:
    dataset = dataset_of([1, 2, 3, 4], [0, 0, 1, 1], [5, 6])
    assert dataset.remarks == ()
    assert dataset.copy_of is None
    assert without_duplicates(dataset) is dataset


def test_copies_within_training_and_in_the_test_are_counted_by_their_pixels() -> None:
    """7 is there three times, once as b; 9 twice; 1 is a test image, twice."""
    dataset = dataset_of([7, 9, 7, 1, 7, 9, 2, 3], [0, 0, 0, 0, 1, 0, 1, 1], [1, 5, 1])
    assert dataset.copy_of is not None
    assert dataset.copy_of.tolist() == [0, 1, 0, 3, 0, 1, 6, 7]
    assert dataset.remarks == (
        "Of the data set's 8 training images, 3 repeat another one pixel by pixel (1 under another class); copies stay "
        "on one side of the validation cut, and --drop-duplicates keeps one of each.",
        "The data set's training images include 2 of its 3 test images, pixel by pixel; --drop-duplicates takes them "
        "out of training.",
    )


def test_copies_are_found_in_what_files_decode_to(tmp_path: Path) -> None:
    """The same picture as PNG and as BMP, in train and test."""
    pictures = [picture(value) for value in (10, 20, 30, 40)]
    write_parquet(tmp_path / "train.parquet", [0, 0, 1, 1], blobs=[encoded(image) for image in pictures])
    write_parquet(tmp_path / "test.parquet", [0, 1], blobs=[encoded(pictures[0], "BMP"), encoded(picture(99))])
    for _ in range(2):  # decoded, then from the cache
        dataset = load_dataset(str(tmp_path), data_root=tmp_path, download=False)
        assert [remark[:54] for remark in dataset.remarks] == ["The data set's training images include 1 of its 2 test"]


@pytest.mark.parametrize("num_copies", [2, 3])
def test_copies_never_lie_on_both_sides_of_the_validation_cut(num_copies: int) -> None:
    """A doubled and a trebled shard: 60 and 90 images a class, a tenth of each to validate on."""
    values = [*range(60)] * num_copies
    train, val = cut_of(dataset_of(values, [value % 2 for value in values], [100, 101]))
    assert not train & val
    assert len(val) == 6


def test_copies_of_two_classes_are_kept_together_too() -> None:
    """Every image is there as a and as b: of 40 images a class, 4 are validated on, the same in both."""
    dataset = dataset_of([*range(40)] * 2, [0] * 40 + [1] * 40, [100, 101])
    data = tuning_data(dataset, thinned=whole, subset_seed=0)
    assert np.bincount(data.labels[data.val_indices]).tolist() == [4, 4]
    train, val = cut_of(dataset)
    assert not train & val


def test_the_cut_moves_only_where_copies_were_torn_apart() -> None:
    """200 images, two of them alike. Whichever two: 18 of 20 validation images or more are those of the plain draw."""
    values = np.arange(200)
    labels = (values % 2).tolist()
    plain = cut_of(dataset_of(values.tolist(), labels, [250, 251]))[1]
    assert len(plain) == 20
    for copied in (2, 4, 6, 8, 10, *sorted(plain)[:4]):
        doubled = values.copy()
        doubled[(copied + 100) % 200] = copied
        dataset = dataset_of(doubled.tolist(), labels, [250, 251])
        data = tuning_data(dataset, thinned=whole, subset_seed=0)
        moved = set(data.val_indices.tolist()) ^ plain  # an image's value was its index
        is_torn = (copied in plain) != ((copied + 100) % 200 in plain)
        assert len(moved) == (2 if is_torn else 0)
        assert len(data.val_indices) == 20


def test_runs_made_before_are_cut_as_they_were() -> None:
    """The smallest class has 20 images: 2 of each class, copies or not."""
    dataset = dataset_of([*range(30)] * 2, [0] * 40 + [1] * 20, [100, 101])
    old = tuning_data(dataset, thinned=whole, subset_seed=0, validation_cut="equally")
    assert np.bincount(old.labels[old.val_indices]).tolist() == [2, 2]
    unlike = tuning_data(
        dataset_of([*range(60)], [0] * 40 + [1] * 20, [100, 101]),
        thinned=whole,
        subset_seed=0,
        validation_cut="equally",
    )
    assert unlike.val_indices.tolist() == old.val_indices.tolist()


def test_a_class_of_nothing_but_copies_is_refused() -> None:
    dataset = dataset_of([7] * 10 + [*range(20, 30)], [0] * 10 + [1] * 10, [100, 101])
    with pytest.raises(DataError, match=r"class 'a' has nothing but copies of the same images.*--drop-duplicates"):
        tuning_data(dataset, thinned=whole, subset_seed=0)


def test_copies_of_a_data_sets_own_validation_images_are_counted_and_not_trained_on() -> None:
    """Images 6 to 9 are validation: the values 1 and 2 are also trained on."""
    dataset = dataset_of([1, 2, 3, 4, 5, 6, 1, 2, 8, 9], [0, 0, 0, 1, 1, 1, 0, 0, 1, 1], [100, 101], [6, 7, 8, 9])
    assert dataset.remarks == (
        "The training images include 2 of the 4 validation images, pixel by pixel; tuning does not train on them.",
    )
    assert cut_of(dataset) == ({3, 4, 5, 6}, {1, 2, 8, 9})


def test_drop_duplicates_keeps_one_of_each_and_none_of_the_test() -> None:
    """Of 7, 9, 7, 1, 7, 9, 2, 3, 4 remain the first 7, the first 9, 2, 3 and 4: 1 is a test image."""
    dataset = dataset_of([7, 9, 7, 1, 7, 9, 2, 3, 4], [0, 0, 0, 0, 1, 0, 1, 1, 1], [1, 5])
    kept = without_duplicates(dataset)
    assert kept.train_images[:, 0, 0, 0].tolist() == [7, 9, 2, 3, 4]
    assert kept.train_labels.tolist() == [0, 0, 1, 1, 1]
    assert kept.fingerprint != dataset.fingerprint
    assert kept.copy_of is None
    assert kept.remarks == (
        "--drop-duplicates took 4 of 9 training images out: 3 repeated and 1 found in the test split.",
    )


def test_drop_duplicates_keeps_validation_images_rather_than_training_images() -> None:
    dataset = dataset_of([1, 2, 3, 4, 5, 6, 1, 2, 8, 9], [0, 0, 0, 1, 1, 1, 0, 0, 1, 1], [100, 101], [6, 7, 8, 9])
    kept = without_duplicates(dataset)
    assert kept.val_indices is not None
    assert kept.train_images[kept.val_indices, 0, 0, 0].tolist() == [1, 2, 8, 9]
    assert sorted(kept.train_images[:, 0, 0, 0].tolist()) == [1, 2, 3, 4, 5, 6, 8, 9]


def test_drop_duplicates_is_an_option_of_loading(tmp_path: Path) -> None:
    blobs = [encoded(picture(value)) for value in (10, 20, 10, 30, 40, 50)]
    write_parquet(tmp_path / "train.parquet", [0, 0, 0, 1, 1, 1], blobs=blobs)
    write_parquet(tmp_path / "test.parquet", [0, 1], blobs=[encoded(picture(value)) for value in (60, 50)])
    options = {"data_root": tmp_path, "download": False, "image_size": 16}
    dataset = load_dataset(str(tmp_path), **options, drop_duplicates=True)
    assert dataset.train_images[:, 0, 0, 0].tolist() == [10, 20, 30, 40]
    assert dataset.train_images.shape[1:3] == (16, 16)
    assert len(load_dataset(str(tmp_path), **options).train_labels) == 6


@pytest.mark.parametrize(("name", "fingerprint"), [("digits", "c12aa7bc228e77ef"), ("digit-pairs", "7607e2558dfd9e33")])
def test_the_embedded_data_sets_are_cut_as_ever(name: str, fingerprint: str) -> None:
    """Fingerprints from before copies were looked for, so that runs from then go on."""
    dataset = load_dataset(name, data_root=Path("nowhere"), download=False)
    for cut in ("by_share", "equally"):
        data = tuning_data(dataset, thinned=whole, subset_seed=0, validation_cut=cut)
        assert data.fingerprint.startswith(fingerprint)
