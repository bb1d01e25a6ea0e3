"""A user's own folder: images by class (train/<class>/*, test/<class>/*) or Parquet files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trainables.common.paths import real_name
from trainables.data.assemble import assemble_dataset
from trainables.data.decoded import Decoded, listing_key, load_or_decode, make_decoded, sized
from trainables.data.images import EncodedImage, decode_images
from trainables.data.listing import list_files, list_folder, natural_key
from trainables.data.parquet import read_parquet_folder
from trainables.data.shards import has_shards
from trainables.data.types import DataError, ImageDataset


@dataclass(frozen=True, kw_only=True)
class _Split:
    """The images of a split. labels: int64[N]; beside: files that lie in no class folder."""

    paths: list[Path]
    labels: np.ndarray
    class_names: list[str]
    passed_over: list[Path]
    beside: list[Path]


def load_folder(folder: Path, image_size: int | None = None) -> ImageDataset:
    """Load the data set in a folder; it is named after the folder.

    It is Parquet if there is a Parquet file of a split, else images by class, which are turned, cropped and resized as
    `decode_images` says; larger ones than image_size are decoded to that. A mixture of grey and coloured images becomes
    RGB. Mirror images are assumed to keep their class. Classes are in natural order, "2" before "10". Every file that
    is not hidden or foreign must be an image. Raises DataError naming the file, or what is missing.
    """
    if has_shards(folder):
        decoded, layout = read_parquet_folder(folder, image_size=image_size), "Parquet"
    else:
        decoded, layout = _read_image_folder(folder, image_size), "images by class"
    name = real_name(folder)
    return assemble_dataset(decoded, name=name, origin=f"{name}, read from {folder} ({layout})", where=str(folder))


def _read_image_folder(folder: Path, image_size: int | None) -> Decoded:
    splits = {split: folder / split for split in ("train", "test")}
    if not any(path.is_dir() for path in splits.values()):
        raise DataError(
            f"{folder} holds no data set: expected are train/<class>/* and test/<class>/*, or "
            "train-*.parquet and test-*.parquet"
        )
    for split, path in splits.items():
        if not path.is_dir():
            raise DataError(f"the {split} split is missing: there is no folder {path}")
    train, test = _list_images(splits["train"]), _list_images(splits["test"])
    if train.class_names != test.class_names:
        odd = sorted(set(train.class_names) ^ set(test.class_names))[0]
        present, missing = ("train", "test") if odd in train.class_names else ("test", "train")
        raise DataError(f"class {odd!r} of {folder} is in {present} and not in {missing}, and both need all classes")
    paths = [*train.paths, *test.paths]

    def decode() -> Decoded:
        encoded = [EncodedImage(contents=path, where=str(path)) for path in paths]
        images = decode_images(encoded, folder=folder, image_size=image_size)
        return make_decoded(
            train_images=images.pixels[: len(train.paths)],
            train_labels=train.labels,
            test_images=images.pixels[len(train.paths) :],
            test_labels=test.labels,
            class_names=train.class_names,
            own_size=images.own_size,
            remarks=images.remarks,
        )

    decoded = load_or_decode(folder, listing_key(sized("folder", image_size), paths, folder), decode)
    return replace(decoded, remarks=(*_remarks(folder, [train, test]), *decoded.remarks))


def _list_images(split: Path) -> _Split:
    entries, passed_over = list_folder(split)
    folders = sorted((Path(entry.path) for entry in entries if entry.is_dir()), key=lambda path: natural_key(path.name))
    if not folders:
        raise DataError(f"{split} has no class folders")
    listings = [list_files(folder) for folder in folders]
    for folder, listing in zip(folders, listings, strict=True):
        if not listing.files:
            raise DataError(f"the class folder {folder} is empty")
    return _Split(
        paths=[path for listing in listings for path in listing.files],
        labels=np.repeat(np.arange(len(folders)), [len(listing.files) for listing in listings]),
        class_names=[folder.name for folder in folders],
        passed_over=[*passed_over, *(path for listing in listings for path in listing.passed_over)],
        beside=[Path(entry.path) for entry in entries if not entry.is_dir()],
    )


def _remarks(folder: Path, splits: list[_Split]) -> list[str]:
    passed_over = [path for split in splits for path in split.passed_over]
    beside = [path for split in splits for path in split.beside]
    return [
        f"Passed over: {len(paths):,} {one if len(paths) == 1 else more} (first: {paths[0].relative_to(folder)})."
        for paths, one, more in (
            (passed_over, "hidden or foreign file or folder", "hidden or foreign files or folders"),
            (beside, "file that lies in no class folder", "files that lie in no class folder"),
        )
        if paths
    ]
