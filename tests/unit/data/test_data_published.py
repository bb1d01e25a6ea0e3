"""EuroSAT, CIFAR-10 and CIFAR-100 as Hugging Face publishes them: what is held out, used, said or refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from dataset_files import (
    COARSE_NAMES,
    FINE_NAMES,
    encoded,
    picture,
    write_cifar100_parquet,
    write_image_folder,
    write_parquet,
    write_parquet_folder,
)

from trainables.data import DataError, ImageDataset, load_dataset
from trainables.data.known import KNOWN

PLACES = ["AnnualCrop", "Forest", "River"]
TRAIN, TEST = "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"


def load(name: str, data_root: Path) -> ImageDataset:
    return load_dataset(name, data_root=data_root, download=False)


def assert_refused(name: str, data_root: Path, message: str) -> None:
    """Loading raises DataError with this message, in which FOLDER stands for the data set's folder."""
    folder = data_root / name if name in KNOWN else Path(name)
    with pytest.raises(DataError) as caught:
        load(name, data_root)
    assert str(caught.value).replace(str(folder), "FOLDER") == message


# EuroSAT without a test split


def write_eurosat_folder(folder: Path, num_each: int = 12) -> list[tuple[str, int, bytes]]:
    """torchvision's layout: AnnualCrop_1.jpg and so on, 64 x 64. Returns (file name, label, bytes) of each image."""
    images = []
    for label, place in enumerate(PLACES):
        for number in range(1, num_each + 1):
            blob = encoded(picture(60 * label + 3 * number, 64), "JPEG")
            images.append((f"{place}_{number}.jpg", label, blob))
            path = folder / "2750" / place / images[-1][0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(blob)
    return images


def write_eurosat_parquet(
    path: Path, images: list[tuple[str, int, bytes]], names: list[str | None] | None = None
) -> None:
    write_parquet(
        path,
        [label for _, label, _ in images],
        blobs=[blob for _, _, blob in images],
        class_names=PLACES,
        image_column="image",
        paths=[name for name, _, _ in images] if names is None else names,
    )


def shuffled(images: list[tuple[str, int, bytes]]) -> list[tuple[str, int, bytes]]:
    return [images[position] for position in np.random.default_rng(3).permutation(len(images))]


HELD_OUT = (
    "There is no test split: a fifth of each class, 6 of 36 images, is held out, drawn with seed 0 from the sorted "
    "file names."
)


@pytest.mark.usefixtures("parts_of_known_data_sets")
@pytest.mark.parametrize("prefix", ["", "EuroSAT_RGB/{place}/", "2750\\{place}\\"])
def test_eurosats_train_files_alone_are_split_as_its_folders_are(tmp_path: Path, prefix: str) -> None:
    images = write_eurosat_folder(tmp_path / "folders" / "eurosat")
    rows = shuffled(images)
    names = [prefix.format(place=name.partition("_")[0]) + name for name, _, _ in rows]
    files = tmp_path / "files" / "eurosat"
    write_eurosat_parquet(files / "data" / "train-00000-of-00002.parquet", rows[:20], names[:20])
    write_eurosat_parquet(files / "data" / "train-00001-of-00002.parquet", rows[20:], names[20:])
    of_folders, of_files = load("eurosat", tmp_path / "folders"), load("eurosat", tmp_path / "files")
    # AnnualCrop_1 and _11, Forest_2 and _8, River_1 and _6: the split of the folders may never change.
    assert of_files.test_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert of_files.test_images[:, 0, 0, 0].tolist() == [3, 33, 66, 84, 123, 138]
    assert of_files.train_labels.tolist() == of_folders.train_labels.tolist()
    assert of_files.fingerprint == of_folders.fingerprint
    assert of_files.remarks == of_folders.remarks == (HELD_OUT,)
    assert load("eurosat", tmp_path / "files").remarks == (HELD_OUT,)  # from the decoded cache


@pytest.mark.usefixtures("parts_of_known_data_sets")
@pytest.mark.parametrize("names", ["missing", "one missing", "doubled", "empty"])
def test_without_file_names_the_order_of_the_rows_decides_and_it_is_said(tmp_path: Path, names: str) -> None:
    rows = shuffled(write_eurosat_folder(tmp_path / "folders" / "eurosat"))
    given: dict[str, list[str | None]] = {
        "missing": [None] * 36,
        "one missing": [None, *(name for name, _, _ in rows[1:])],
        "doubled": ["image.jpg"] * 36,
        "empty": [""] * 36,
    }
    write_eurosat_parquet(tmp_path / "eurosat" / TRAIN, rows, given[names])
    dataset = load("eurosat", tmp_path)
    assert np.bincount(dataset.test_labels).tolist() == [2, 2, 2]
    assert dataset.remarks == (
        "There is no test split: a fifth of each class, 6 of 36 images, is held out, drawn with seed 0 from the rows "
        "in their order: not every image has a file name of its own, by which it would be the same fifth as of the "
        "folders of images.",
    )
    everything = sorted([*dataset.train_images[:, 0, 0, 0], *dataset.test_images[:, 0, 0, 0]])
    assert everything == [60 * label + 3 * number for label in range(3) for number in range(1, 13)]


@pytest.mark.usefixtures("parts_of_known_data_sets")
def test_validation_files_beside_train_files_alone_are_named_as_unused(tmp_path: Path) -> None:
    """The test split is that of all images, whichever files they lie in."""
    images = write_eurosat_folder(tmp_path / "folders" / "eurosat")
    rows = shuffled(images)
    write_eurosat_parquet(tmp_path / "eurosat" / TRAIN, rows[:26])
    write_eurosat_parquet(tmp_path / "eurosat" / "validation-00000-of-00001.parquet", rows[26:])
    dataset = load("eurosat", tmp_path)
    assert dataset.fingerprint == load("eurosat", tmp_path / "folders").fingerprint
    assert dataset.val_indices is None
    assert dataset.remarks == (
        HELD_OUT,
        "The validation split's 10 images are not used as such, but joined to the training images before the test "
        "split is taken from them; validation is cut from what is left.",
    )


@pytest.mark.usefixtures("parts_of_known_data_sets")
def test_a_test_split_that_is_there_is_taken_as_it_is(tmp_path: Path) -> None:
    rows = shuffled(write_eurosat_folder(tmp_path / "folders" / "eurosat"))
    write_eurosat_parquet(tmp_path / "eurosat" / TRAIN, rows[:20])
    write_eurosat_parquet(tmp_path / "eurosat" / TEST, rows[20:])
    dataset = load("eurosat", tmp_path)
    assert dataset.test_labels.tolist() == [label for _, label, _ in rows[20:]]
    assert dataset.remarks == ()


def test_eurosats_test_files_alone_are_refused(tmp_path: Path) -> None:
    write_eurosat_parquet(tmp_path / "eurosat" / TEST, write_eurosat_folder(tmp_path / "folders"))
    assert_refused(
        "eurosat",
        tmp_path,
        "the train split is missing: FOLDER has no file train-*.parquet, and train-*.parquet is needed",
    )


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "by path"])
def test_of_other_data_sets_train_files_alone_are_refused(tmp_path: Path, name: str) -> None:
    """CIFAR was published with a test split, and which of their own images may test is the user's to say."""
    folder = tmp_path / name
    (write_cifar100_parquet if name == "cifar100" else write_parquet_folder)(folder)
    (folder / TEST).unlink()
    assert_refused(
        str(folder) if name == "by path" else name,
        tmp_path,
        "the test split is missing: FOLDER has no file test-*.parquet, and both train-*.parquet and test-*.parquet are "
        "needed",
    )


def test_so_is_a_folder_of_images_with_train_alone(tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path / "pets")
    shutil.rmtree(folder / "test")
    assert_refused(str(folder), tmp_path, "the test split is missing: there is no folder FOLDER/test")


# Validation files and shards of data sets asked for by name


def write_known(name: str, data_root: Path) -> Path:
    """A small part in the true format: EuroSAT's column is `image`, CIFAR-100's labels are fine and coarse."""
    folder = data_root / name
    if name == "eurosat":
        images = write_eurosat_folder(data_root / "jpegs")
        write_eurosat_parquet(folder / TRAIN, images[::2])
        write_eurosat_parquet(folder / TEST, images[1::2])
        return folder
    if name == "cifar100":
        return write_cifar100_parquet(folder)
    return write_parquet_folder(folder, ["airplane", "automobile"])


@pytest.mark.usefixtures("parts_of_known_data_sets")
@pytest.mark.parametrize("name", ["cifar10", "cifar100", "eurosat"])
def test_validation_files_of_a_known_data_set_are_validated_on_or_named_as_unused(tmp_path: Path, name: str) -> None:
    folder = write_known(name, tmp_path)
    whole = load(name, tmp_path)
    shutil.copy(folder / TEST, folder / "validation-00000-of-00001.parquet")
    dataset = load(name, tmp_path)
    num_val = len(whole.test_labels)
    assert dataset.val_indices is not None
    assert dataset.train_labels[dataset.val_indices].tolist() == whole.test_labels.tolist()
    assert f"The validation split's {num_val} images are validated on; none is cut from training." in dataset.remarks
    table = pq.read_table(folder / TEST)
    last = max(table.column(1).to_pylist())
    pq.write_table(
        table.filter([label != last for label in table.column(1).to_pylist()]),
        folder / "validation-00000-of-00001.parquet",
    )
    dataset = load(name, tmp_path)
    assert dataset.val_indices is None
    assert dataset.train_labels.tolist() == whole.train_labels.tolist()
    assert any(
        f"images are not used, because none is of class {whole.class_names[last]!r}" in remark
        for remark in dataset.remarks
    )


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "eurosat"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_shard_of_a_known_data_set_is_named(tmp_path: Path, name: str, split: str) -> None:
    folder = write_known(name, tmp_path)
    (folder / f"{split}-00000-of-00001.parquet").rename(folder / f"{split}-00000-of-00002.parquet")
    assert_refused(
        name,
        tmp_path,
        f"the {split} split of FOLDER is incomplete: shard {split}-00001-of-00002.parquet is missing",
    )


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "eurosat"])
def test_a_shard_of_a_known_data_set_that_is_there_twice_is_named(tmp_path: Path, name: str) -> None:
    folder = write_known(name, tmp_path)
    (folder / "data").mkdir()
    shutil.copy(folder / TEST, folder / "data" / TRAIN)
    assert_refused(
        name,
        tmp_path,
        f"FOLDER/data/{TRAIN} and FOLDER/{TRAIN} are the same shard with different contents: keep one of them",
    )
    (folder / "data" / TRAIN).unlink()
    (folder / "train").mkdir()
    shutil.copy(folder / TRAIN, folder / "train" / "0000.parquet")
    assert_refused(
        name, tmp_path, f"FOLDER/train/0000.parquet and FOLDER/{TRAIN} are of two sets of shards: keep one set"
    )


# Fine labels and coarse ones


def write_coarse(path: Path, fine: list[int], coarse: list[int | None]) -> None:
    write_parquet(
        path,
        list(fine),
        label_column="fine_label",
        class_names=FINE_NAMES,
        coarse_labels=coarse,
        coarse_names=COARSE_NAMES,
    )


def test_a_fine_label_whose_coarse_one_is_null_is_named_by_file_and_row(tmp_path: Path) -> None:
    write_cifar100_parquet(tmp_path / "cifar100")
    write_coarse(tmp_path / "cifar100" / TRAIN, [0, 1, 2, 3, 0, 1], [0, 1, 0, None, 0, 1])
    assert_refused("cifar100", tmp_path, f"row 3 of FOLDER/{TRAIN} has no coarse_label (null)")


@pytest.mark.parametrize(("without", "other"), [(TRAIN, TEST), (TEST, TRAIN)])
def test_coarse_labels_in_one_file_and_not_in_another_are_refused(tmp_path: Path, without: str, other: str) -> None:
    folder = write_cifar100_parquet(tmp_path / "cifar100")
    pq.write_table(pq.read_table(folder / without).drop_columns(["coarse_label"]), folder / without)
    assert_refused(
        "cifar100",
        tmp_path,
        f"FOLDER/{without} has a column fine_label and no coarse_label, and FOLDER/{other} has both: every file needs "
        "it, or none",
    )


@pytest.mark.usefixtures("parts_of_known_data_sets")
def test_that_no_file_has_coarse_labels_is_said(tmp_path: Path) -> None:
    folder = write_cifar100_parquet(tmp_path / "cifar100")
    for path in folder.glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["coarse_label"]), path)
    dataset = load("cifar100", tmp_path)
    assert dataset.superclass_of is None
    assert "There are no superclasses: no file has a column coarse_label beside fine_label." in dataset.remarks


def test_a_fine_class_in_two_coarse_ones_is_named(tmp_path: Path) -> None:
    """The bee is an insect, and in the test split a fruit."""
    write_cifar100_parquet(tmp_path / "cifar100")
    write_coarse(tmp_path / "cifar100" / TEST, [3, 2, 1, 0], [1, 0, 0, 0])
    assert_refused(
        "cifar100",
        tmp_path,
        "class 'bee' of FOLDER must belong to exactly one superclass, and its images have 2: 'fruit', 'insects'",
    )


def test_labels_in_different_columns_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "pets" / TRAIN, [0, 1, 0, 1])
    write_parquet(tmp_path / "pets" / TEST, [1, 0], label_column="fine_label")
    assert_refused(
        str(tmp_path / "pets"),
        tmp_path,
        f"FOLDER/{TEST} has its labels in column fine_label and FOLDER/{TRAIN} in column label, and they must agree",
    )


# An image of another size


@pytest.fixture
def small_eurosat(monkeypatch: pytest.MonkeyPatch) -> None:
    """EuroSAT as if it had been published with five images of each class."""
    monkeypatch.setitem(KNOWN, "eurosat", replace(KNOWN["eurosat"], num_images=(5,) * 10))


def eurosat_rows(size: int = 64) -> list[tuple[str, int, bytes]]:
    return [
        (f"{place}_{number}.jpg", label, encoded(picture(20 * label + number, size), "JPEG"))
        for label, place in enumerate(KNOWN["eurosat"].class_names)
        for number in range(5)
    ]


def write_whole_eurosat(data_root: Path, rows: list[tuple[str, int, bytes]]) -> None:
    write_parquet(
        data_root / "eurosat" / TRAIN,
        [label for _, label, _ in rows],
        blobs=[blob for _, _, blob in rows],
        class_names=list(KNOWN["eurosat"].class_names),
        image_column="image",
        paths=[name for name, _, _ in rows],
    )


NOT_WHOLE = (
    "FOLDER is not the whole EuroSAT: {odd}, and those of EuroSAT are 64 x 64; fetch it anew, or give this folder by "
    "--dataset PATH as what it is"
)


@pytest.mark.usefixtures("small_eurosat")
def test_an_image_of_another_size_in_a_known_data_set_is_refused_and_named(tmp_path: Path) -> None:
    rows = eurosat_rows()
    write_whole_eurosat(tmp_path, rows)
    assert load("eurosat", tmp_path).train_images.shape == (40, 64, 64, 3)
    odd = encoded(np.ascontiguousarray(picture(3, 64)[:48]), "JPEG")
    write_whole_eurosat(tmp_path, [*rows[:7], (*rows[7][:2], odd), *rows[8:]])
    for _ in range(2):  # decoded, then from the cache
        assert_refused("eurosat", tmp_path, NOT_WHOLE.format(odd=f"row 7 of {TRAIN} is 64 x 48 pixels"))


@pytest.mark.usefixtures("small_eurosat")
def test_so_is_one_in_its_folders(tmp_path: Path) -> None:
    for name, label, blob in eurosat_rows():
        path = tmp_path / "eurosat" / "2750" / KNOWN["eurosat"].class_names[label] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(3, 65), "JPEG") if name == "Forest_2.jpg" else blob)
    assert_refused("eurosat", tmp_path, NOT_WHOLE.format(odd="2750/Forest/Forest_2.jpg is 65 x 65 pixels"))


@pytest.mark.usefixtures("small_eurosat")
def test_a_known_data_set_of_another_size_throughout_is_refused(tmp_path: Path) -> None:
    write_whole_eurosat(tmp_path, eurosat_rows(size=32))
    assert_refused("eurosat", tmp_path, NOT_WHOLE.format(odd="its images are 32 x 32 pixels"))


def test_in_a_folder_of_the_users_it_is_resized_and_said(tmp_path: Path) -> None:
    blobs: list[bytes | None] = [encoded(picture(value, 48 if value == 12 else 64)) for value in range(10, 16)]
    write_parquet(tmp_path / "pets" / TRAIN, [0, 1, 0, 1, 1, 0], blobs=blobs)
    write_parquet(tmp_path / "pets" / TEST, [0, 1], blobs=[encoded(picture(value, 64)) for value in (1, 2)])
    assert load(str(tmp_path / "pets"), tmp_path).remarks == (
        "The images are 48 to 64 pixels wide or high, whichever is less, and were all resized to the median, 64; "
        "--image-size chooses another size.",
    )
