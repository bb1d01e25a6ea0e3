"""A user's own folder: images by class (train/<class>/*, test/<class>/*) or Parquet files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainables.data.assemble import assemble_dataset
from trainables.data.decoded import Decoded, listing_key, load_or_decode, make_decoded
from trainables.data.images import EncodedImage, decode_images
from trainables.data.parquet import read_parquet_folder
from trainables.data.shards import has_shards
from trainables.data.types import DataError, ImageDataset


def load_folder(folder: Path) -> ImageDataset:
    """Load the data set in a folder; it is named after the folder.

    Images are cropped at the centre to a square and resized to the shorter side of the first one (see
    `decode_images`); a mixture of grey and coloured images becomes RGB. Mirror images are assumed to keep their class.
    Every file that is not hidden must be an image. Raises DataError naming the file, or what is missing.
    """
    if has_shards(folder):
        decoded, layout = read_parquet_folder(folder), "Parquet"
    else:
        decoded, layout = _read_image_folder(folder), "images by class"
    name = folder.resolve().name
    return assemble_dataset(decoded, name=name, origin=f"{name}, read from {folder} ({layout})", where=str(folder))


def _read_image_folder(folder: Path) -> Decoded:
    splits = {split: folder / split for split in ("train", "test")}
    if not any(path.is_dir() for path in splits.values()):
        raise DataError(
            f"{folder} holds no data set: expected are train/<class>/* and test/<class>/*, or "
            "train-*.parquet and test-*.parquet"
        )
    for split, path in splits.items():
        if not path.is_dir():
            raise DataError(f"the {split} split is missing: there is no folder {path}")
    train_paths, train_labels, class_names = _list_images(splits["train"])
    test_paths, test_labels, test_class_names = _list_images(splits["test"])
    if class_names != test_class_names:
        odd = sorted(set(class_names) ^ set(test_class_names))[0]
        present, missing = ("train", "test") if odd in class_names else ("test", "train")
        raise DataError(f"class {odd!r} of {folder} is in {present} and not in {missing}, and both need all classes")

    def decode() -> Decoded:
        paths = [*train_paths, *test_paths]
        images = decode_images([EncodedImage(contents=path, where=str(path)) for path in paths])
        return make_decoded(
            train_images=images[: len(train_paths)],
            train_labels=train_labels,
            test_images=images[len(train_paths) :],
            test_labels=test_labels,
            class_names=class_names,
        )

    return load_or_decode(folder, listing_key("folder", [*train_paths, *test_paths], folder), decode)


def _list_images(split: Path) -> tuple[list[Path], np.ndarray, list[str]]:
    from torchvision.datasets import ImageFolder  # slow to import, and not needed for Parquet

    try:
        # By default torchvision silently skips files without the suffix of an image.
        listing = ImageFolder(str(split), is_valid_file=lambda path: not Path(path).name.startswith("."))
    except FileNotFoundError as error:
        raise DataError(f"{split} has no class folders, or one of them is empty: {error}") from error
    return [Path(path) for path, _ in listing.samples], np.asarray(listing.targets), listing.classes
