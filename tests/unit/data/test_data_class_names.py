"""Class names: one spelling of each, readable everywhere; refused or normalised before anything is decoded."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from dataset_files import picture, write_image, write_image_folder, write_parquet_folder

from trainables.data import DataError, ImageDataset, load_dataset
from trainables.data.class_names import normalised_names

CAFE = "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
CAFE_NFD = unicodedata.normalize("NFD", CAFE)


def load(folder: Path) -> ImageDataset:
    return load_dataset(str(folder), data_root=folder, download=False)


def test_names_are_kept_in_one_normal_form() -> None:
    assert CAFE != CAFE_NFD
    assert normalised_names([CAFE_NFD, "猫", "🐱", "a b"]) == (CAFE, "猫", "🐱", "a b")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "caf\udce9"], r"the class name 'caf\udce9' is not UTF-8: rename the class"),
        (["a", " "], "the class name ' ' is blank or holds control characters: rename the class"),
        (["a", "b\nc"], r"the class name 'b\nc' is blank or holds control characters: rename the class"),
        (["a", "b", "a"], "2 classes are called 'a': join or rename them"),
        ([CAFE, CAFE_NFD], r"2 classes are called 'café', spelled 'caf\xe9' and 'cafe\u0301': join or rename them"),
    ],
)
def test_names_that_cannot_be_told_apart_or_shown_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(DataError) as caught:
        normalised_names(names)
    assert str(caught.value) == message


def test_a_class_folder_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path)
    for split in (b"train", b"test"):
        os.rename(os.path.join(os.fsencode(folder), split, b"dog"), os.path.join(os.fsencode(folder), split, b"d\xf6g"))
    with pytest.raises(DataError, match="is not UTF-8"):
        load(folder)


def test_folders_of_two_spellings_of_a_class_are_refused_and_of_one_in_each_split_joined(tmp_path: Path) -> None:
    for split, name in (("train", CAFE), ("test", CAFE_NFD)):
        for number in range(3):
            write_image(tmp_path / split / name / f"{number}.png", picture(number + 10 * len(split)))
            write_image(tmp_path / split / "zoo" / f"{number}.png", picture(number + 10 * len(split) + 100))
    dataset = load(tmp_path)
    assert dataset.class_names == (CAFE, "zoo")
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    write_image(tmp_path / "train" / CAFE_NFD / "0.png", picture(1))
    with pytest.raises(DataError, match="2 classes are called 'café'"):
        load(tmp_path)


def test_the_names_in_parquet_files_are_treated_alike(tmp_path: Path) -> None:
    assert load(write_parquet_folder(tmp_path / "one", [CAFE_NFD, "b"])).class_names == (CAFE, "b")
    with pytest.raises(DataError, match="2 classes are called 'b'"):
        load(write_parquet_folder(tmp_path / "two", ["b", "b"]))


# A folder of validation images


@pytest.mark.parametrize("name", ["val", "validation"])
def test_a_folder_of_validation_images_is_validated_on(tmp_path: Path, name: str) -> None:
    folder = write_image_folder(tmp_path)
    for label, class_name in enumerate(("cat", "dog")):
        write_image(folder / name / class_name / "0.png", picture(200 + label))
    for _ in range(2):
        dataset = load(folder)
        assert dataset.val_indices is not None
        assert dataset.train_images[dataset.val_indices, 0, 0, 0].tolist() == [200, 201]
        assert dataset.train_labels[dataset.val_indices].tolist() == [0, 1]
        assert len(dataset.train_labels) == 8
        assert dataset.remarks == ("The validation split's 2 images are validated on; none is cut from training.",)


def test_validation_images_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path)
    write_image(folder / "val" / "0.png", picture(200))
    assert load(folder).remarks == (
        "The images in val are not used, because they lie in no class folders; validation is cut from training "
        "instead.",
    )
    write_image(folder / "val" / "dog" / "0.png", picture(200))
    dataset = load(folder)
    assert dataset.val_indices is None
    assert any("are not used, because none is of class 'cat'" in remark for remark in dataset.remarks)
    write_image(folder / "val" / "cow" / "0.png", picture(200))
    with pytest.raises(DataError, match=r"class 'cow' of .* is in val and not in train"):
        load(folder)
    (folder / "dev").mkdir()
    with pytest.raises(DataError, match="are both called like a validation split"):
        load(folder)
