"""Every source reads its true on-disk format, and every bad input is named in one sentence."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_files import (
    encoded,
    picture,
    write_cifar100_parquet,
    write_cifar100_pickles,
    write_cifar_pickles,
    write_image,
    write_image_folder,
    write_parquet,
    write_parquet_folder,
)
from PIL import Image
from sklearn import datasets
from torchvision.datasets import CIFAR10

from trainables.data import SOURCES, DataError, ImageDataset, cifar, load_dataset, resolve_dataset
from trainables.data.resize import resize_dataset
from trainables.data.splits import tuning_data, whole

pytestmark = pytest.mark.usefixtures("parts_of_known_data_sets")


def load(name_or_path: str | Path, data_root: Path = Path("nowhere"), download: bool = False) -> ImageDataset:
    return load_dataset(str(name_or_path), data_root=data_root, download=download)


def assert_refused(folder: Path, *parts: str) -> None:
    """Loading the folder raises a DataError that holds every part and is one line."""
    with pytest.raises(DataError) as caught:
        load(folder)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


# Parquet


@pytest.mark.parametrize("folder_name", ["cifar10", "cifar-10"])
def test_cifar10_is_read_from_parquet(tmp_path: Path, folder_name: str) -> None:
    names = ["airplane", "automobile"]
    folder = write_parquet_folder(tmp_path / folder_name, names)
    for data_root in (tmp_path, folder):
        dataset = load("cifar10", data_root)
        assert dataset.name == "cifar10"
        assert dataset.origin == f"CIFAR-10, read from {folder} (Parquet)"
        assert dataset.class_names == ("airplane", "automobile")
        assert dataset.train_labels.tolist() == [0, 1, 0, 1, 1, 0]
        assert dataset.train_images.shape == (6, 32, 32, 3)
        assert dataset.train_images[:, 5, 7, 1].tolist() == [0, 11, 2, 13, 14, 5]
        assert dataset.test_labels.tolist() == [1, 0]
        assert dataset.test_images[:, 0, 0, 0].tolist() == [10, 1]
        assert dataset.train_images.dtype == np.uint8
        assert dataset.train_labels.dtype == np.int64
        assert dataset.flip_keeps_label


def test_parquet_shards_are_joined_in_order_and_the_column_may_be_named_image(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-00001-of-00002.parquet", [1, 1], image_column="image")
    write_parquet(tmp_path / "train-00000-of-00002.parquet", [0, 0, 0], image_column="image")
    write_parquet(tmp_path / "test-00000-of-00001.parquet", [0, 1], image_column="image")
    dataset = load(tmp_path)
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1]
    assert dataset.class_names == ("0", "1")
    assert dataset.name == tmp_path.name


def test_jpeg_bytes_are_decoded(tmp_path: Path) -> None:
    blobs = [encoded(picture(value), "JPEG") for value in (10, 20, 30, 40)]
    write_parquet(tmp_path / "train.parquet", [0, 0, 1, 1], blobs=blobs)
    write_parquet(tmp_path / "test.parquet", [0, 1], blobs=blobs[:2])
    assert load(tmp_path).train_images[:, 3, 3, 0].tolist() == [10, 20, 30, 40]


def test_empty_parquet_files_are_refused(tmp_path: Path) -> None:
    folder = write_parquet_folder(tmp_path)
    write_parquet(folder / "test-00000-of-00001.parquet", [], blobs=[])
    assert_refused(folder, "test-00000-of-00001.parquet", "0 rows")
    (folder / "train-00000-of-00001.parquet").write_bytes(b"")
    assert_refused(folder, "train-00000-of-00001.parquet", "0 bytes")


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    path = write_parquet_folder(tmp_path) / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert_refused(tmp_path, str(path), "truncated")


@pytest.mark.parametrize("column", ["img", "label"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = write_parquet_folder(tmp_path) / "test-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    assert_refused(tmp_path, str(path), f"no column {column}")


def test_an_image_column_without_bytes_is_refused(tmp_path: Path) -> None:
    path = write_parquet_folder(tmp_path) / "test-00000-of-00001.parquet"
    pq.write_table(pa.table({"img": ["a.png"], "label": [0]}), path)
    assert_refused(tmp_path, str(path), "img", "struct<bytes, path>")


@pytest.mark.parametrize("blob", [b"no image", encoded(picture(3))[:60], None, b""])
def test_an_image_that_does_not_decode_is_named_by_file_and_row(tmp_path: Path, blob: bytes | None) -> None:
    write_parquet_folder(tmp_path)
    path = tmp_path / "train-00000-of-00001.parquet"
    good = encoded(picture(1))
    write_parquet(path, [0, 1, 0, 1, 1], blobs=[good, good, good, blob, good])
    assert_refused(tmp_path, f"row 3 of {path}")


def test_a_null_label_is_named_by_file_and_row(tmp_path: Path) -> None:
    path = write_parquet_folder(tmp_path) / "train-00000-of-00001.parquet"
    write_parquet(path, [0, 1, 0, None, 1])
    assert_refused(tmp_path, f"row 3 of {path}", "no label")


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_beyond_the_class_names_is_named_by_file_and_row(tmp_path: Path, label: int) -> None:
    path = write_parquet_folder(tmp_path, ["cat", "dog"]) / "test-00000-of-00001.parquet"
    write_parquet(path, [0, label, 1], blobs=[encoded(picture(1))] * 3, class_names=["cat", "dog"])
    assert_refused(tmp_path, f"row 1 of {path}", f"label {label}", "0 to 1")


def test_a_test_label_unseen_in_training_is_refused_where_there_are_no_class_names(tmp_path: Path) -> None:
    path = write_parquet_folder(tmp_path) / "test-00000-of-00001.parquet"
    write_parquet(path, [0, 1, 7])
    assert_refused(tmp_path, f"row 2 of {path}", "label 7", "0 to 1")


def test_a_gap_in_numbered_classes_is_refused(tmp_path: Path) -> None:
    write_parquet_folder(tmp_path)
    write_parquet(tmp_path / "train-00000-of-00001.parquet", [0, 0, 2, 2])
    assert_refused(tmp_path, "class 1")


def test_differing_class_names_are_refused(tmp_path: Path) -> None:
    write_parquet_folder(tmp_path, ["cat", "dog"])
    write_parquet(tmp_path / "test-00000-of-00001.parquet", [0, 1], class_names=["dog", "cat"])
    assert_refused(tmp_path, "test-00000-of-00001.parquet", "class names")


def test_a_missing_test_split_is_named(tmp_path: Path) -> None:
    (write_parquet_folder(tmp_path) / "test-00000-of-00001.parquet").unlink()
    assert_refused(tmp_path, "test split is missing", "test-*.parquet")


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", [0, 0, 0])
    write_parquet(tmp_path / "test-0.parquet", [0])
    assert_refused(tmp_path, "1 class", "at least 2")


def test_a_class_too_small_for_validation_is_named(tmp_path: Path) -> None:
    write_parquet_folder(tmp_path, ["cat", "dog"])
    write_parquet(tmp_path / "train-00000-of-00001.parquet", [0, 0, 0, 1], class_names=["cat", "dog"])
    assert_refused(tmp_path, "'dog'", "has 1 training images", "at least 2")


def test_a_class_without_test_images_is_named(tmp_path: Path) -> None:
    write_parquet_folder(tmp_path, ["cat", "dog"])
    write_parquet(tmp_path / "test-00000-of-00001.parquet", [0, 0], class_names=["cat", "dog"])
    assert_refused(tmp_path, "'dog'", "no test image")


def test_cifar100_is_read_from_parquet(tmp_path: Path) -> None:
    folder = write_cifar100_parquet(tmp_path / "cifar100")
    for dataset in (load("cifar100", tmp_path), load("cifar100", folder), load("cifar100", tmp_path)):
        assert dataset.origin == f"CIFAR-100, read from {folder} (Parquet)"
        assert dataset.train_labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
        assert dataset.train_images[:, 3, 3, 0].tolist() == [0, 11, 22, 33, 4, 15, 26, 37]
        assert dataset.test_labels.tolist() == [3, 2, 1, 0]
        assert dataset.class_names == ("apple", "bee", "pear", "wasp")
        assert dataset.superclass_names == ("fruit", "insects")
        assert dataset.superclass_of == (0, 1, 0, 1)  # the last load took it from the decoded cache


def test_cifar100s_parquet_is_read_as_a_folder_too_and_without_names(tmp_path: Path) -> None:
    dataset = load(write_cifar100_parquet(tmp_path / "mine", with_names=False))
    assert dataset.class_names == ("0", "1", "2", "3")
    assert dataset.superclass_names == ("0", "1")
    assert dataset.superclass_of == (0, 1, 0, 1)


def test_superclasses_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    first = write_cifar100_parquet(tmp_path / "first")
    second = write_cifar100_parquet(tmp_path / "second")
    assert load(first).fingerprint == load(second).fingerprint
    for path in second.glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["coarse_label"]), path)
    without = load(second)
    assert without.superclass_of is without.superclass_names is None
    assert without.fingerprint != load(first).fingerprint


@pytest.mark.parametrize("label_column", ["coarse_label", "label"])
def test_missing_fine_labels_of_cifar100_are_named_with_what_is_there(tmp_path: Path, label_column: str) -> None:
    path = tmp_path / "cifar100" / "train-00000-of-00001.parquet"
    for split in (path, path.with_name("test-00000-of-00001.parquet")):
        write_parquet(split, [0, 1, 0, 1], label_column=label_column)
    with pytest.raises(DataError) as caught:
        load("cifar100", tmp_path)
    assert str(caught.value) == f"{path} has no column fine_label; its columns are img, {label_column}"


def test_a_coarse_label_beyond_its_names_is_named_by_file_and_row(tmp_path: Path) -> None:
    path = write_cifar100_parquet(tmp_path) / "train-00000-of-00001.parquet"
    write_parquet(
        path,
        [0, 1],
        label_column="fine_label",
        class_names=["apple", "bee"],
        coarse_labels=[0, 2],
        coarse_names=["fruit", "insects"],
    )
    assert_refused(tmp_path, f"row 1 of {path}", "coarse_label 2", "0 to 1")


# torchvision's layouts


def test_cifar10_is_read_from_torchvisions_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = write_cifar_pickles(tmp_path, monkeypatch)
    dataset = load("cifar10", tmp_path)
    assert dataset.train_images.shape == (100, 32, 32, 3)
    # A row holds 1,024 red values, row by row, then green, then blue.
    assert dataset.train_images[23, 4, 5].tolist() == [rows[23, c * 1024 + 4 * 32 + 5] for c in range(3)]
    assert dataset.train_labels[:12].tolist() == [*range(10), 0, 1]
    assert dataset.test_images[9, 0, 0, 0] == rows[109, 0]
    assert dataset.class_names[3] == "cat"
    assert "cifar-10-batches-py" in dataset.origin


def test_parquet_goes_before_torchvisions_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar_pickles(tmp_path, monkeypatch)
    write_parquet_folder(tmp_path / "cifar10", ["airplane", "automobile"])
    assert len(load("cifar10", tmp_path).train_labels) == 6


def test_damaged_torchvision_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar_pickles(tmp_path, monkeypatch)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"cifar-10-batches-py is incomplete or damaged.*--download"):
        load("cifar10", tmp_path)


def test_a_failed_download_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(self: CIFAR10) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(CIFAR10, "download", no_network)
    with pytest.raises(DataError, match=r"CIFAR-10 could not be downloaded to .*: no route to host"):
        load("cifar10", tmp_path, download=True)


def test_cifar100_is_read_from_torchvisions_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = write_cifar100_pickles(tmp_path, monkeypatch)
    dataset = load("cifar100", tmp_path)
    assert dataset.name == "cifar100"
    assert dataset.origin == f"CIFAR-100, read from {tmp_path / 'cifar-100-python'} (torchvision's layout)"
    assert dataset.train_images.shape == (8, 32, 32, 3)
    assert dataset.train_images[5, 4, 7].tolist() == [rows[5, c * 1024 + 4 * 32 + 7] for c in range(3)]
    assert dataset.test_images[3, 0, 0, 0] == rows[11, 0]
    assert dataset.train_labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert dataset.test_labels.tolist() == [3, 2, 1, 0]
    assert dataset.class_names == ("apple", "bee", "pear", "wasp")
    assert dataset.superclass_names == ("fruit", "insects")
    assert dataset.superclass_of == (0, 1, 0, 1)
    assert dataset.flip_keeps_label


def test_a_class_of_two_superclasses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bee is an insect, and in the test split a fruit."""
    write_cifar100_pickles(tmp_path, monkeypatch, test={"coarse_labels": [1, 0, 0, 0]})
    with pytest.raises(DataError, match=r"class 'bee' of .*exactly one superclass.* have 2: 'fruit', 'insects'"):
        load("cifar100", tmp_path)


def test_damaged_cifar100_files_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar100_pickles(tmp_path, monkeypatch)
    path = tmp_path / "cifar-100-python" / "train"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"cifar-100-python is incomplete or damaged.*--download"):
        load("cifar100", tmp_path)


class Executed:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("executed",)


def test_a_pickle_is_read_as_arrays_and_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "train"
    path.write_bytes(pickle.dumps({"coarse_labels": Executed()}))
    with pytest.raises(pickle.UnpicklingError, match="mkdir has no place among arrays"):
        cifar.read_pickle(path)
    assert not (tmp_path / "executed").exists()


def test_eurosat_is_split_into_four_fifths_and_one(tmp_path: Path) -> None:
    for label, class_name in enumerate(("AnnualCrop", "Forest", "River")):
        for number in range(10):
            path = tmp_path / "eurosat" / "2750" / class_name / f"{class_name}_{number}.jpg"
            write_image(path, picture(60 * label + 5 * number, 64))
    dataset = load("eurosat", tmp_path)
    assert dataset.class_names == ("AnnualCrop", "Forest", "River")
    assert dataset.train_images.shape == (24, 64, 64, 3)
    assert np.bincount(dataset.train_labels).tolist() == [8, 8, 8]
    assert np.bincount(dataset.test_labels).tolist() == [2, 2, 2]
    train_values, test_values = dataset.train_images[:, 0, 0, 0], dataset.test_images[:, 0, 0, 0]
    assert sorted([*train_values, *test_values]) == [60 * label + 5 * n for label in range(3) for n in range(10)]
    assert (train_values // 60 == dataset.train_labels).all()


# digits, folders


def test_digits_are_embedded() -> None:
    dataset = load("digits")
    assert dataset.train_images.shape == (1297, 32, 32, 3)
    assert np.bincount(dataset.test_labels).tolist() == [50] * 10
    assert dataset.num_val_per_class == 20
    assert not dataset.flip_keeps_label
    assert dataset.train_images.min() == 0
    assert dataset.train_images.max() == 255
    assert (dataset.train_images[..., 0] == dataset.train_images[..., 2]).all()


def test_digits_are_the_same_at_every_load_and_no_image_is_in_both_splits() -> None:
    first, second = load("digits"), load("digits")
    assert first.fingerprint == second.fingerprint
    train = {image.tobytes() for image in first.train_images}
    assert not any(image.tobytes() in train for image in first.test_images)


def test_digit_pairs_are_embedded_with_the_first_digit_as_superclass() -> None:
    dataset = load("digit-pairs")
    assert dataset.train_images.shape == (2400, 16, 16, 3)
    assert np.bincount(dataset.train_labels).tolist() == [24] * 100
    assert np.bincount(dataset.test_labels).tolist() == [15] * 100
    assert (dataset.class_names[0], dataset.class_names[7], dataset.class_names[99]) == ("00", "07", "99")
    assert dataset.superclass_names == ("0x", "1x", "2x", "3x", "4x", "5x", "6x", "7x", "8x", "9x")
    assert dataset.superclass_of is not None
    assert (dataset.superclass_of[7], dataset.superclass_of[42], dataset.superclass_of[99]) == (0, 4, 9)
    assert not dataset.flip_keeps_label
    assert (dataset.train_images[..., 0] == dataset.train_images[..., 2]).all()
    # A crop's shift of 2 pixels up or down keeps a digit whole.
    assert not dataset.train_images[:, :2].any()
    assert not dataset.train_images[:, 14:].any()
    assert dataset.fingerprint == load("digit-pairs").fingerprint


def digits_within(images: np.ndarray) -> list[tuple[bytes, bytes]]:
    """The two handwritten digits of each pair, without the dark rows above and below."""
    halves = [np.hsplit(image[..., 0], 2) for image in images]
    return [tuple(half[half.any(axis=1)].tobytes() for half in pair) for pair in halves]  # type: ignore[misc]


def test_pairs_of_train_validation_and_test_have_no_digit_in_common() -> None:
    dataset = load("digit-pairs")
    data = tuning_data(dataset, thinned=whole, subset_seed=0)
    assert np.bincount(data.labels[data.val_indices]).tolist() == [4] * 100
    assert np.bincount(data.labels[data.train_indices]).tolist() == [20] * 100
    splits = [dataset.train_images[data.train_indices], dataset.train_images[data.val_indices], dataset.test_images]
    train, val, test = ({digit for pair in digits_within(images) for digit in pair} for images in splits)
    assert not train & val
    assert not train & test
    assert not val & test
    # 1,097 digits are drawn 4,000 times: but for e^-3.6 of them, each is in a pair.
    assert len(train) > 1040


def test_test_pairs_are_made_of_the_test_digits_of_the_digits_data_set() -> None:
    """scikit-learn's 8x8 digits, found again in the pairs, and by enlarging them in the digits data set."""
    sklearn_digits = datasets.load_digits()
    large = {image.tobytes(): number for number, image in enumerate(load("digits").test_images[..., 0])}
    labels_of_small, is_test = {}, {}
    for image, label in zip(sklearn_digits.images, sklearn_digits.target, strict=True):
        gray = Image.fromarray(np.rint(image * 255 / 16).astype(np.uint8))
        pixels = np.asarray(gray)
        small = pixels[pixels.any(axis=1)].tobytes()
        labels_of_small[small] = int(label)
        is_test[small] = np.asarray(gray.resize((32, 32), Image.Resampling.BILINEAR)).tobytes() in large
    dataset = load("digit-pairs")
    for images, labels, expected in (
        (dataset.train_images, dataset.train_labels, False),
        (dataset.test_images, dataset.test_labels, True),
    ):
        for (left, right), label in zip(digits_within(images), labels, strict=True):
            assert (labels_of_small[left], labels_of_small[right]) == divmod(label, 10)
            assert is_test[left] == is_test[right] == expected


def test_a_folder_of_images_by_class_is_read(tmp_path: Path) -> None:
    dataset = load(write_image_folder(tmp_path / "pets"))
    assert dataset.name == "pets"
    assert dataset.class_names == ("cat", "dog")
    assert dataset.train_images[:, 0, 0, 0].tolist() == [0, 1, 2, 50, 51, 52]
    assert dataset.test_images[:, 0, 0, 0].tolist() == [9, 59]
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_other_sizes_are_cropped_at_the_centre_and_resized_to_the_first(tmp_path: Path) -> None:
    write_image_folder(tmp_path, sizes=(24, 48))
    wide = np.zeros((24, 40, 3), dtype=np.uint8)
    wide[:, 8:32] = 200  # the central square
    write_image(tmp_path / "train" / "cat" / "2.png", wide)
    dataset = load(tmp_path)
    assert dataset.train_images.shape == (5, 24, 24, 3)
    assert (dataset.train_images[2] == 200).all()
    assert (dataset.train_images[1] == 1).all()


def test_gray_images_keep_one_channel_and_mixed_ones_become_rgb(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label, class_name in enumerate(("cat", "dog")):
            for number in range(2):
                write_image(tmp_path / split / class_name / f"{number}.png", picture(7 + label, 20)[..., 0])
    gray = load(tmp_path)
    assert gray.train_images.shape == (4, 20, 20, 1)
    assert gray.train_images[:, 0, 0, 0].tolist() == [7, 7, 8, 8]
    write_image(tmp_path / "train" / "cat" / "2.png", picture(90, 20) * np.array([1, 0, 0], dtype=np.uint8))
    mixed = load(tmp_path)
    assert mixed.train_images.shape == (5, 20, 20, 3)
    assert mixed.train_images[2, 0, 0].tolist() == [90, 0, 0]
    assert mixed.train_images[0, 0, 0].tolist() == [7, 7, 7]


def test_a_file_that_is_no_image_is_named_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    (tmp_path / "train" / "cat" / ".DS_Store").write_bytes(b"hidden")
    load(tmp_path)
    path = tmp_path / "train" / "dog" / "notes.txt"
    path.write_text("a good dog")
    assert_refused(tmp_path, str(path), "cannot be decoded")


def test_a_16_bit_image_is_refused(tmp_path: Path) -> None:
    path = write_image_folder(tmp_path) / "train" / "cat" / "9.png"
    Image.fromarray(np.full((32, 32), 40000, dtype=np.uint16)).save(path)
    assert_refused(tmp_path, str(path), "8 bits")


def test_images_below_16_pixels_are_refused(tmp_path: Path) -> None:
    assert_refused(write_image_folder(tmp_path, sizes=(15, 32)), "15 pixels", "16")


def test_a_folder_without_its_test_split_or_a_class_of_it_is_refused(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    (tmp_path / "test" / "dog" / "0.png").unlink()
    assert_refused(tmp_path, "test", "dog")
    (tmp_path / "test" / "dog").rmdir()
    assert_refused(tmp_path, "class 'dog'", "in train and not in test")
    (tmp_path / "test" / "cat" / "0.png").unlink()
    (tmp_path / "test" / "cat").rmdir()
    (tmp_path / "test").rmdir()
    assert_refused(tmp_path, "test split is missing")


def test_a_folder_with_nothing_in_it_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path, str(tmp_path), "no data set", "train/<class>/*")


# names, paths and auto


def test_a_path_that_is_not_there_or_a_file_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "pets", "there is no folder", str(tmp_path / "pets"))
    (tmp_path / "pets.parquet").write_bytes(b"PAR1")
    assert_refused(tmp_path / "pets.parquet", "is a file")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("cifar-10", "cifar10"),
        ("CIFAR-100", "cifar100"),
        ("EuroSat", "eurosat"),
        ("digit", "digits"),
        ("digitpairs", "digit-pairs"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(name: str, nearest: str) -> None:
    with pytest.raises(DataError, match=f"unknown data set '{name}'.*did you mean '{nearest}'"):
        load(name)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(DataError, match="unknown data set ''"):
        load("")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "eurosat"])
def test_a_name_is_never_replaced(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="--download") as caught:
        load(name, tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_auto_takes_the_default_where_it_lies(tmp_path: Path) -> None:
    write_parquet_folder(tmp_path / "cifar10", ["airplane", "automobile"])
    dataset = load("auto", tmp_path)
    assert dataset.name == "cifar10"
    assert "--download" not in dataset.origin


def test_auto_falls_back_to_digits_and_says_how_to_get_the_real_data(tmp_path: Path) -> None:
    dataset = load("auto", tmp_path)
    assert dataset.name == "digits"
    assert dataset.origin == (
        "digits, the embedded data set (scikit-learn's real 8x8 handwriting, enlarged to 32x32x3); "
        "for CIFAR-10 add --dataset cifar10 --download"
    )
    assert "CIFAR-10" not in load("digits").origin


def test_auto_with_download_fetches_the_default(tmp_path: Path) -> None:
    assert resolve_dataset("auto", data_root=tmp_path, download=True).name == "cifar10"


def test_auto_does_not_fall_back_where_the_default_is_damaged(tmp_path: Path) -> None:
    path = write_parquet_folder(tmp_path / "cifar10") / "train-00000-of-00001.parquet"
    path.write_bytes(b"")
    with pytest.raises(DataError, match="0 bytes"):
        load("auto", tmp_path)


def test_auto_falls_back_to_the_embedded_data_set_that_the_task_names(tmp_path: Path) -> None:
    options = {"data_root": tmp_path, "download": False, "default": "cifar100", "embedded": "digit-pairs"}
    dataset = load_dataset("auto", **options)
    assert dataset.name == resolve_dataset("auto", **options).name == "digit-pairs"
    assert dataset.origin.endswith("; for CIFAR-100 add --dataset cifar100 --download")


@pytest.mark.parametrize("option", ["default", "embedded"])
def test_an_unknown_default_or_embedded_is_a_programming_error(tmp_path: Path, option: str) -> None:
    with pytest.raises(ValueError, match=rf"{option} must be one of .*'cifar11'"):
        resolve_dataset("auto", data_root=tmp_path, download=False, **{option: "cifar11"})
    assert set(SOURCES) >= {"cifar10", "cifar100", "eurosat", "digits", "digit-pairs"}


# image_size


@pytest.mark.parametrize("image_size", [16, 24, 48])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_resized_as_pil_does(tmp_path: Path, image_size: int, channels: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    for number, image in enumerate(noise):
        split = "train" if number < 4 else "test"
        write_image(tmp_path / split / "ab"[number % 2] / f"{number}.png", image if channels == 3 else image[..., 0])
    dataset = load_dataset(str(tmp_path), data_root=tmp_path, download=False, image_size=image_size)
    assert dataset.train_images.shape == (4, image_size, image_size, channels)
    assert dataset.train_images.dtype == np.uint8
    for result, number in zip([*dataset.train_images, *dataset.test_images], [0, 2, 1, 3, 4, 5], strict=True):
        resized = Image.fromarray(noise[number]).resize((image_size, image_size), Image.Resampling.BILINEAR)
        assert np.abs(result.astype(int) - np.asarray(resized)[..., :channels].astype(int)).max() <= 1


def test_a_resized_data_set_has_another_fingerprint_and_says_its_size(tmp_path: Path) -> None:
    folder = write_cifar100_parquet(tmp_path / "cifar100")
    dataset = load(folder)
    resized = resize_dataset(dataset, 40)
    assert resized.fingerprint not in (dataset.fingerprint, resize_dataset(dataset, 41).fingerprint)
    assert resized.origin == f"cifar100, read from {folder} (Parquet), resized to 40x40"
    arrays = {"train_images": dataset.train_images, "test_images": dataset.test_images}
    names = {"origin": dataset.origin, "fingerprint": dataset.fingerprint}
    assert vars(replace(resized, **arrays, **names)) == vars(dataset)
    assert resize_dataset(dataset, 32) is dataset


def test_auto_says_the_size_before_the_hint(tmp_path: Path) -> None:
    dataset = load_dataset("auto", data_root=tmp_path, download=False, image_size=16)
    assert dataset.train_images.shape == (1297, 16, 16, 3)
    assert dataset.origin.endswith(
        "enlarged to 32x32x3), resized to 16x16; for CIFAR-10 add --dataset cifar10 --download"
    )


@pytest.mark.parametrize("image_size", [15, 0, -32])
def test_an_image_size_below_16_is_refused_before_anything_is_read(tmp_path: Path, image_size: int) -> None:
    for function in (resolve_dataset, load_dataset):
        with pytest.raises(DataError, match=f"--image-size must be at least 16 pixels, got {image_size}"):
            function("auto", data_root=tmp_path, download=False, image_size=image_size)
