"""A user's own folder: images by class (train/<class>/*, test/<class>/*) or Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trainables.common.paths import real_name
from trainables.data.assemble import assemble_dataset
from trainables.data.cache import listing_key, load_or_decode, sized
from trainables.data.class_names import normalised_names
from trainables.data.decoded import Decoded, decoded_of_splits
from trainables.data.images import EncodedImage, decode_images
from trainables.data.listing import list_files, list_folder, natural_key
from trainables.data.parquet import read_parquet_folder
from trainables.data.shards import SPLIT_NAMES, has_shards
from trainables.data.types import DataError, ImageDataset


@dataclass(frozen=True, kw_only=True)
class _Split:
    """The images of a split. labels: int64[N]; beside: files that lie in no class folder."""

    paths: list[Path]
    labels: np.ndarray
    class_names: list[str]
    passed_over: list[Path]
    beside: list[Path]


def load_folder(folder: Path, image_size: int | None = None, cache_dir: Path | None = None) -> ImageDataset:
    """Load the data set in a folder; it is named after the folder.

    It is Parquet if there is a Parquet file of a split, else images by class, which are turned, cropped and resized as
    `decode_images` says; larger ones than image_size are decoded to that. A mixture of grey and coloured images becomes
    RGB. Mirror images are assumed to keep their class. Classes are in natural order, "2" before "10". Every file that
    is not hidden or foreign must be an image. cache_dir: as in `load_or_decode`. Raises DataError naming the file, or
    what is missing.
    """
    list_folder(folder)  # names a folder that cannot be read; to look for files in it would find none
    if has_shards(folder):
        decoded, layout = read_parquet_folder(folder, image_size=image_size, cache_dir=cache_dir), "Parquet"
    else:
        decoded, layout = _read_image_folder(folder, image_size, cache_dir), "images by class"
    name = real_name(folder)
    return assemble_dataset(decoded, name=name, origin=f"{name}, read from {folder} ({layout})", where=str(folder))


def _read_image_folder(folder: Path, image_size: int | None, cache_dir: Path | None) -> Decoded:
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
    validation, unused = _list_validation(folder, train.class_names)
    parts = [train, *([validation] if validation else []), test]
    paths = [path for part in parts for path in part.paths]

    def decode() -> Decoded:
        encoded = [EncodedImage(contents=path, where=str(path)) for path in paths]
        images = decode_images(encoded, folder=folder, image_size=image_size)
        return decoded_of_splits(
            images=images.pixels,
            labels=np.concatenate([part.labels for part in parts]),
            num_train=len(train.paths),
            num_val=len(validation.paths) if validation else 0,
            class_names=train.class_names,
            own_size=images.own_size,
            odd_image=images.odd_image,
            remarks=images.remarks,
        )

    decoded = load_or_decode(listing_key(folder, sized("images by class", image_size), paths), decode, cache_dir)
    return replace(decoded, remarks=(*_remarks(folder, parts), *unused, *decoded.remarks))


def _list_validation(folder: Path, class_names: Sequence[str]) -> tuple[_Split | None, list[str]]:
    """The validation images, labelled as the classes are, if there are any; and why there are none where they lie."""
    present = [folder / name for name in SPLIT_NAMES["validation"] if (folder / name).is_dir()]
    if len(present) > 1:
        raise DataError(f"{present[0]} and {present[1]} are both called like a validation split: keep one of them")
    if not present:
        return None, []
    if not any(entry.is_dir() for entry in list_folder(present[0])[0]):
        return None, [
            f"The images in {present[0].name} are not used, because they lie in no class folders; validation is cut "
            "from training instead."
        ]
    validation = _list_images(present[0])
    unknown = sorted(set(validation.class_names) - set(class_names))
    if unknown:
        raise DataError(f"class {unknown[0]!r} of {folder} is in {present[0].name} and not in train")
    number_of = np.array([class_names.index(name) for name in validation.class_names])
    return replace(validation, labels=number_of[validation.labels]), []


def _list_images(split: Path) -> _Split:
    entries, passed_over = list_folder(split)
    names = [entry.name for entry in entries if entry.is_dir()]
    if not names:
        raise DataError(f"{split} has no class folders")
    named = sorted(zip(normalised_names(names), names, strict=True), key=lambda pair: natural_key(pair[0]))
    folders = [split / name for _, name in named]
    listings = [list_files(folder) for folder in folders]
    for folder, listing in zip(folders, listings, strict=True):
        if not listing.files:
            raise DataError(f"the class folder {folder} is empty")
    return _Split(
        paths=[path for listing in listings for path in listing.files],
        labels=np.repeat(np.arange(len(folders)), [len(listing.files) for listing in listings]),
        class_names=[name for name, _ in named],
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
