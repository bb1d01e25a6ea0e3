"""Folders of images that hold more than images: hidden and foreign things, links, what cannot be read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from dataset_files import encoded, picture, write_image, write_image_folder, write_parquet, write_parquet_folder

from trainables.data import DataError, ImageDataset, load_dataset
from trainables.data.listing import natural_key


def load(folder: Path) -> ImageDataset:
    return load_dataset(str(folder), data_root=folder, download=False)


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# hidden and foreign


@pytest.mark.parametrize(
    "place",
    [
        "train/.ipynb_checkpoints/0-checkpoint.png",
        "train/__MACOSX/cat/._0.png",
        "test/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg",
        "train/cat/.ipynb_checkpoints/0-checkpoint.png",
        "train/cat/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg",
        "train/cat/nested/__MACOSX/0.png",
        "train/cat/._0.png",
        "train/dog/Thumbs.db",
        "test/dog/desktop.ini",
        "test/dog/nested/.DS_Store",
    ],
)
def test_hidden_and_foreign_files_and_folders_are_passed_over_at_any_level(tmp_path: Path, place: str) -> None:
    before = load(write_image_folder(tmp_path))
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture(200)) if path.suffix in {".png", ".jpg"} else b"no image")
    after = load(tmp_path)
    assert after.class_names == ("cat", "dog")
    assert after.fingerprint == before.fingerprint
    (remark,) = after.remarks
    first = remark.removesuffix(").").partition("(first: ")[2]
    assert remark.startswith("Passed over: 1 hidden or foreign file or folder")
    assert place.startswith(first)


def test_what_is_passed_over_is_counted_anew_at_each_load(tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path)
    for split in ("train", "test"):
        (folder / split / "dog" / ".DS_Store").write_bytes(b"")
    sentence = "Passed over: 2 hidden or foreign files or folders (first: train/dog/.DS_Store)."
    assert load(folder).remarks == load(folder).remarks == (sentence,)
    (folder / "train" / "dog" / ".DS_Store").unlink()
    (folder / "test" / "dog" / ".DS_Store").unlink()
    assert load(folder).remarks == ()


def test_images_in_subfolders_of_a_class_are_of_that_class(tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path)
    write_image(folder / "train" / "cat" / "winter" / "at night" / "9.png", picture(99))
    dataset = load(folder)
    assert dataset.train_images[:, 0, 0, 0].tolist() == [0, 1, 2, 99, 50, 51, 52]
    assert dataset.train_labels.tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_files_beside_the_class_folders_are_said(tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path)
    write_image(folder / "train" / "stray.png", picture(99))
    assert load(folder).remarks == ("Passed over: 1 file that lies in no class folder (first: train/stray.png).",)


def test_a_data_set_below_a_hidden_folder_is_read(tmp_path: Path) -> None:
    images = load(write_image_folder(tmp_path / ".cache" / "__MACOSX" / "pets"))
    parquet = load(write_parquet_folder(tmp_path / ".cache" / "@eaDir" / "letters"))
    assert (len(images.train_labels), images.remarks) == (6, ())
    assert (len(parquet.train_labels), parquet.remarks) == (6, ())


@pytest.mark.parametrize("stray", ["metadata.parquet", "._train-00000-of-00001.parquet", ".train.parquet"])
def test_a_stray_parquet_file_makes_no_folder_of_images_a_parquet_one(tmp_path: Path, stray: str) -> None:
    folder = write_image_folder(tmp_path)
    write_parquet(folder / stray, [0, 1])
    assert load(folder).origin.endswith("(images by class)")


def test_a_folder_that_holds_only_another_parquet_file_is_told_what_is_expected(tmp_path: Path) -> None:
    write_parquet(tmp_path / "metadata.parquet", [0, 1])
    assert refusal(tmp_path).startswith(f"{tmp_path} holds no data set: expected are train/<class>/*")


# classes


def test_numbered_classes_are_in_natural_order(tmp_path: Path) -> None:
    for split, num_images in (("train", 2), ("test", 1)):
        for label in range(12):
            for number in range(num_images):
                write_image(tmp_path / split / str(label) / f"{number}.png", picture(20 * label, 16))
    dataset = load(tmp_path)
    assert dataset.class_names == tuple(str(label) for label in range(12))
    assert (dataset.train_images[:, 0, 0, 0] == 20 * dataset.train_labels).all()
    assert (dataset.test_images[:, 0, 0, 0] == 20 * np.arange(12)).all()


def test_natural_order_is_that_of_the_characters_but_for_numbers() -> None:
    """So no data set's classes change their order, and no fingerprint, whose names hold no numbers of two lengths."""
    plain = ["B", "a", "a b", "a-b", "a1", "a1b", "ab", "b!", "class 2", "class-2", "class2", "Ünsal", "é"]
    assert sorted(plain, key=natural_key) == sorted(plain)
    mixed = ["c10", "c9", "c9b", "v1.10", "v1.9", "007", "7", "10"]
    assert sorted(mixed, key=natural_key) == ["007", "7", "10", "c9", "c9b", "c10", "v1.9", "v1.10"]


# links, and what cannot be read


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path / "pets")
    elsewhere = tmp_path / "elsewhere"
    shutil.move(folder / "train" / "cat", elsewhere)
    (folder / "train" / "cat").symlink_to(elsewhere)
    (folder / "train" / "dog" / "3.png").symlink_to(elsewhere / "2.png")
    assert load(folder).train_images[:, 0, 0, 0].tolist() == [0, 1, 2, 50, 51, 52, 2]


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    path = write_image_folder(tmp_path) / "train" / "cat" / "3.png"
    path.symlink_to("gone.png")
    assert refusal(tmp_path) == f"{path} is a link to nothing (gone.png): mend or remove it"


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_link_to_a_folder_that_it_lies_in_is_named(tmp_path: Path, target: str) -> None:
    path = write_image_folder(tmp_path) / "train" / "cat" / "more"
    path.symlink_to(target)
    assert refusal(tmp_path) == f"{path} is a link to a folder that it lies in: remove it"


def test_links_that_lead_to_each_other_are_named(tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path)
    (folder / "train" / "cat" / "dogs").symlink_to("../dog")
    (folder / "train" / "dog" / "cats").symlink_to("../cat")
    path = folder / "train" / "cat" / "dogs" / "cats"
    assert refusal(folder) == f"{path} is a link to a folder that it lies in: remove it"


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    path = write_image_folder(tmp_path) / "train" / "cat" / "3.png"
    path.symlink_to("3.png")
    assert refusal(tmp_path) == f"{path} cannot be read (Too many levels of symbolic links)"


def test_a_pipe_among_the_images_is_named_and_not_waited_for(tmp_path: Path) -> None:
    path = write_image_folder(tmp_path) / "train" / "cat" / "3.png"
    os.mkfifo(path)
    assert refusal(tmp_path) == f"{path} is neither a file nor a folder: remove it"


@pytest.mark.parametrize("place", ["train/cat", "train", "."])
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """The refusal is made here, because nothing is refused to a superuser who runs the tests."""
    folder, real = write_image_folder(tmp_path), os.scandir

    def scandir(path: str | Path) -> object:
        if Path(path) == folder / place:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert refusal(tmp_path) == f"{folder / place} cannot be read (Permission denied)"


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = write_image_folder(tmp_path) / "train" / "cat" / "1.png", open

    def refusing(file: object, *args: object, **kwargs: object) -> object:
        if file == os.fspath(path):
            raise PermissionError(13, "Permission denied", str(file))
        return real(file, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", refusing)
    assert refusal(tmp_path) == f"{path} cannot be read (Permission denied)"
