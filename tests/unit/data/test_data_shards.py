"""Which files are a split: either layout of Hugging Face, and no shard too few or too many."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_files import encoded, picture, write_parquet, write_parquet_folder

from trainables.data import DataError, ImageDataset, load_dataset, parquet

TRAIN = "train-00000-of-00001"


def load(folder: Path) -> ImageDataset:
    return load_dataset(str(folder), data_root=folder, download=False)


def assert_refused(folder: Path, message: str) -> None:
    """Loading the folder raises DataError with this message, in which FOLDER stands for the folder."""
    with pytest.raises(DataError) as caught:
        load(folder)
    assert str(caught.value).replace(str(folder), "FOLDER") == message


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("train/0000.parquet", "test/0000.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"),
        ("train-00000-of-00001-a09b74b3ef9c3b56.parquet", "test-00000-of-00001-6f34fa2e1b7e3f3b.parquet"),
    ],
)
def test_the_layouts_of_hugging_face_are_read(tmp_path: Path, names: tuple[str, str]) -> None:
    for name, labels in zip(names, ([0, 1, 0, 1], [1, 0]), strict=True):
        write_parquet(tmp_path / name, labels)
    dataset = load(tmp_path)
    assert dataset.train_labels.tolist() == [0, 1, 0, 1]
    assert dataset.test_labels.tolist() == [1, 0]


def test_numbered_shards_are_joined_in_order(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train" / "0001.parquet", [1, 1])
    write_parquet(tmp_path / "train" / "0000.parquet", [0, 0, 0])
    write_parquet(tmp_path / "test" / "0000.parquet", [0, 1])
    assert load(tmp_path).train_labels.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (("train-00000-of-00003", "train-00002-of-00003"), "train-00001-of-00003.parquet is missing"),
        (("train-00002-of-00004",), "train-00000-of-00004.parquet is missing, and 2 more"),
        (("train/0000", "train/0002"), "0001.parquet is missing"),
    ],
)
def test_a_missing_shard_is_named(tmp_path: Path, names: tuple[str, ...], missing: str) -> None:
    write_parquet(tmp_path / "test.parquet", [0, 1])
    for name in names:
        write_parquet(tmp_path / f"{name}.parquet", [0, 1, 0, 1])
    assert_refused(tmp_path, f"the train split of FOLDER is incomplete: shard {missing}")


def test_shards_of_two_sets_are_refused(tmp_path: Path) -> None:
    write_parquet_folder(tmp_path)
    for index in range(2):
        write_parquet(tmp_path / f"train-0000{index}-of-00002.parquet", [0, 1, 0])
    assert_refused(
        tmp_path,
        f"FOLDER/{TRAIN}.parquet and FOLDER/train-00000-of-00002.parquet are of two sets of shards: keep one set",
    )


@pytest.mark.parametrize(
    "name", [f"{TRAIN} (1)", f"{TRAIN}-a09b74b3ef9c3b56", f"{TRAIN}-a09b74b3ef9c3b56 (1)", f"{TRAIN}.bak", "train_old"]
)
def test_the_same_shard_again_is_passed_over_and_said_and_another_one_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_parquet_folder(tmp_path)
    shutil.copy(folder / f"{TRAIN}.parquet", folder / f"{name}.parquet")
    dataset = load(folder)
    assert len(dataset.train_labels) == 6
    (remark,) = [remark for remark in dataset.remarks if "passed over" in remark]
    assert name in remark
    assert remark.endswith("passed over.")
    write_parquet(folder / f"{name}.parquet", [0, 1, 1, 1])
    with pytest.raises(DataError) as caught:
        load(folder)
    assert str(folder / f"{name}.parquet") in str(caught.value)


def test_a_backup_of_a_file_that_is_no_shard_of_a_set_is_treated_alike(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1, 0, 1])
    write_parquet(tmp_path / "test.parquet", [0, 1])
    shutil.copy(tmp_path / "train.parquet", tmp_path / "train - Copy.parquet")
    dataset = load(tmp_path)
    assert dataset.train_labels.tolist() == [0, 1, 0, 1]
    assert "train - Copy.parquet holds the same bytes as train.parquet and was passed over." in dataset.remarks
    write_parquet(tmp_path / "train - Copy.parquet", [0, 1, 0, 0])
    assert_refused(
        tmp_path,
        "FOLDER/train - Copy.parquet is not a shard of the train split that train.parquet belongs to, nor the same "
        "as one: move it out of the folder",
    )


def test_files_of_no_split_are_passed_over_and_said_but_for_hidden_ones(tmp_path: Path) -> None:
    write_parquet_folder(tmp_path)
    (tmp_path / "metadata.parquet").write_bytes(b"")
    (tmp_path / f"._{TRAIN}.parquet").write_bytes(b"")
    remarks = [remark for remark in load(tmp_path).remarks if "passed over" in remark]
    assert remarks == ["metadata.parquet is of no split and was passed over."]


def test_a_folder_that_is_called_like_a_shard_is_refused(tmp_path: Path) -> None:
    write_parquet_folder(tmp_path)
    (tmp_path / "train-1.parquet").mkdir()
    assert_refused(tmp_path, "FOLDER/train-1.parquet is not a file, and a Parquet file is expected under that name")


# What the files hold


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write_parquet_folder(tmp_path) / f"{TRAIN}.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.Table.from_arrays([*table.columns, table.column("label")], ["img", "label", "label"]), path)
    assert_refused(tmp_path, f"FOLDER/{TRAIN}.parquet has 2 columns called label, and one is needed")


def test_row_groups_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyArrow refuses to read 2 GB of images or more at once: here 1 kB, and no more than that is asked for."""
    sizes = []
    whole, in_pieces = pq.ParquetFile.read, pq.ParquetFile.iter_batches

    def read(file: pq.ParquetFile, *args: object, **options: object) -> pa.Table:
        sizes.append(file.metadata.num_rows)
        return whole(file, *args, **options)

    def iter_batches(file: pq.ParquetFile, batch_size: int, **options: object) -> Iterator[pa.RecordBatch]:
        sizes.append(batch_size)
        return in_pieces(file, batch_size, **options)

    monkeypatch.setattr(pq.ParquetFile, "read", read)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", iter_batches)
    monkeypatch.setattr(parquet, "PIECE_BYTES", 1000, raising=False)
    noise = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
    blobs = [encoded(image) for image in noise]
    assert 700 < min(map(len, blobs)) <= max(map(len, blobs)) < 1000
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", [0, 1, 0, 1, 1, 0], blobs=blobs)
    assert (load(tmp_path).train_images == noise).all()
    assert set(sizes) == {1}


def test_large_binary_images_are_read(tmp_path: Path) -> None:
    path = write_parquet_folder(tmp_path) / f"{TRAIN}.parquet"
    kind = pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])
    images = pa.array([{"bytes": encoded(picture(value)), "path": ""} for value in (10, 20, 30, 40)], kind)
    pq.write_table(pa.table({"img": images, "label": [0, 1, 0, 1]}), path)
    assert load(tmp_path).train_images[:, 0, 0, 0].tolist() == [10, 20, 30, 40]


@pytest.mark.parametrize("name", ["validation-00000-of-00001", "val", "validation/0000"])
def test_a_validation_split_is_validated_on(tmp_path: Path, name: str) -> None:
    blobs = [encoded(picture(value)) for value in range(100, 104)]
    write_parquet(tmp_path / "train.parquet", [0, 1, 0, 1])
    write_parquet(tmp_path / "test.parquet", [0, 1], blobs=[encoded(picture(7)), encoded(picture(8))])
    write_parquet(tmp_path / f"{name}.parquet", [0, 1, 1, 0], blobs=blobs)
    for _ in range(2):  # decoded, then from the cache
        dataset = load(tmp_path)
        assert dataset.val_indices is not None
        assert dataset.train_images[dataset.val_indices, 0, 0, 0].tolist() == [100, 101, 102, 103]
        assert dataset.train_labels[dataset.val_indices].tolist() == [0, 1, 1, 0]
        assert len(dataset.train_labels) == 8
        assert dataset.test_images[:, 0, 0, 0].tolist() == [7, 8]
        assert dataset.remarks == ("The validation split's 4 images are validated on; none is cut from training.",)


def test_a_validation_split_that_lacks_a_class_is_named_as_unused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1, 0, 1])
    write_parquet(tmp_path / "test.parquet", [0, 1], blobs=[encoded(picture(7)), encoded(picture(8))])
    write_parquet(tmp_path / "validation.parquet", [1, 1], blobs=[encoded(picture(200))] * 2)
    dataset = load(tmp_path)
    assert dataset.val_indices is None
    assert 200 not in dataset.train_images
    assert dataset.remarks == (
        "The validation split's 2 images are not used, because none is of class '0'; validation is cut from training "
        "instead.",
    )


def test_a_class_that_is_validated_on_and_not_trained_is_refused(tmp_path: Path) -> None:
    names = ["cat", "dog"]
    for split, labels in (("train", [0, 0]), ("test", [0, 1]), ("validation", [0, 1])):
        write_parquet(tmp_path / f"{split}.parquet", labels, class_names=names)
    assert_refused(tmp_path, "class 'dog' of FOLDER has 0 training images, and at least 1 is needed")


# Data sets known by name


def test_a_part_of_a_known_data_set_is_refused(tmp_path: Path) -> None:
    """CIFAR-10 with 200 rows of c0 to c9; then with its true names."""
    folder = tmp_path / "cifar10"
    blob = encoded(picture(1, 16))
    for names, differs in (
        ([f"c{label}" for label in range(10)], "a class of it is 'c0' where CIFAR-10 has 'airplane'"),
        (None, "it has 220 images, and CIFAR-10 has 60,000"),
    ):
        write_parquet(folder / "train-0.parquet", [*range(10)] * 20, blobs=[blob] * 200, class_names=names)
        write_parquet(folder / "test-0.parquet", [*range(10)] * 2, blobs=[blob] * 20, class_names=names)
        with pytest.raises(DataError) as caught:
            load_dataset("cifar10", data_root=tmp_path, download=False)
        assert str(caught.value) == (
            f"{folder} is not the whole CIFAR-10: {differs}; fetch it anew, or give this folder by --dataset PATH as "
            "what it is"
        )
        assert len(load(folder).train_labels) == 200
