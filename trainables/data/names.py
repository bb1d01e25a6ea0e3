"""An image of a data set by its name: the path that a Parquet file keeps beside it, or its place below the folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainables.common.nearest import nearest
from trainables.data.cifar import CIFAR10, CIFAR100
from trainables.data.eurosat import holdout_split
from trainables.data.images import EncodedImage
from trainables.data.listing import list_files, list_folder, reading
from trainables.data.parquet import IMAGE_COLUMNS
from trainables.data.shards import SPLIT_NAMES, find_shards, has_shards
from trainables.data.types import DataError

# Data set -> what its folder below the data root may be called; of no other one have the images names.
FOLDERS: Mapping[str, tuple[str, ...]] = {
    "cifar10": CIFAR10.folder_names,
    "cifar100": CIFAR100.folder_names,
    "eurosat": ("eurosat",),
}
TEST = "test"


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where an image lies: a file, or a row of a Parquet file."""

    name: str
    split: str
    path: Path
    row: int | None = None


def find_image(text: str, *, dataset: str, data_root: Path) -> EncodedImage:
    """The image whose name is text, or the only one whose name ends with /text.

    dataset: a name or a path, as `resolve_dataset` found it. The pixels of no test image are read: one is refused.
    Raises DataError, with the nearest name, where there is none, and where several names end so.
    """
    with reading(data_root):
        places = _places(dataset, data_root)
    if not places:
        raise DataError(f"the images of {dataset} have no names")
    exact = [place for place in places if place.name == text]
    found = exact or [place for place in places if place.name.endswith(f"/{text}")]
    names = [place.name for place in places if place.split != TEST]
    if not found:
        raise DataError(f"{dataset} has no image {text!r}{nearest(text, names)}")
    if len(found) > 1:
        first = " and ".join(f"{place.name} ({place.split})" for place in found[:2])
        raise DataError(f"{len(found)} images of {dataset} are called {text!r}, such as {first}")
    (place,) = found
    if place.split == TEST:
        raise DataError(
            f"{place.name} is a test image of {dataset}, and no test image is looked at{nearest(place.name, names)}"
        )
    return EncodedImage(contents=_contents(place), where=place.name)


def _places(dataset: str, data_root: Path) -> list[_Place]:
    if dataset not in FOLDERS:
        folder = Path(dataset)
        if has_shards(folder):
            return _in_parquet(folder)
        return _in_folders(folder) if (folder / "train").is_dir() else []
    folders = [data_root / name for name in FOLDERS[dataset]] + [data_root]
    parquet = next((folder for folder in folders if has_shards(folder)), None)
    if parquet is not None:
        return _in_parquet(parquet)
    return _in_eurosat(data_root) if dataset == "eurosat" else []


def _in_parquet(folder: Path) -> list[_Place]:
    return [
        _Place(name=name, split=split, path=path, row=row)
        for split, paths in find_shards(folder).files.items()
        for path in paths
        for row, name in enumerate(_names(path))
        if name
    ]


def _names(path: Path) -> list[str | None]:
    """The paths of a file's images, without their bytes; none where it keeps none."""
    with pq.ParquetFile(path) as file:
        column = _image_column(file)
        if column is None or file.schema_arrow.field(column).type.get_field_index("path") < 0:
            return []
        table = file.read(columns=[f"{column}.path"])
    return [name for chunk in table.column(column).chunks for name in chunk.flatten()[0].to_pylist()]


def _image_column(file: pq.ParquetFile) -> str | None:
    return next((column for column in IMAGE_COLUMNS if column in file.schema_arrow.names), None)


def _in_folders(folder: Path) -> list[_Place]:
    """Images by class, named from the data set's folder on: train/cat/1.png."""
    found = []
    for split, names in SPLIT_NAMES.items():
        for root in (folder / name for name in names if (folder / name).is_dir()):
            for entry in list_folder(root)[0]:
                paths = list_files(Path(entry.path)).files if entry.is_dir() else []
                found += [_Place(name=_below(path, folder), split=split, path=path) for path in paths]
    return found


def _in_eurosat(data_root: Path) -> list[_Place]:
    """torchvision's layout, which holds out its test images by their order."""
    from torchvision.datasets import EuroSAT  # slow to import, and not needed for Parquet

    listing = EuroSAT(str(data_root))
    test = set(holdout_split(np.asarray(listing.targets, dtype=np.int64), len(listing.classes))[1].tolist())
    folder = data_root / "eurosat" / "2750"
    return [
        _Place(name=_below(Path(path), folder), split=TEST if place in test else "train", path=Path(path))
        for place, (path, _) in enumerate(listing.samples)
    ]


def _below(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)).replace(os.sep, "/")


def _contents(place: _Place) -> bytes | Path:
    if place.row is None:
        return place.path
    try:
        with pq.ParquetFile(place.path, page_checksum_verification=True) as file:
            column, row = _image_column(file), place.row
            for group in range(file.num_row_groups):
                num_rows = file.metadata.row_group(group).num_rows
                if row < num_rows:
                    contents: bytes = file.read_row_group(group, columns=[column]).column(0)[row].as_py()["bytes"]
                    return contents
                row -= num_rows
    except pa.ArrowException as error:
        raise DataError(f"{place.path} is damaged ({error})") from error
    raise DataError(f"{place.path} has no row {place.row}")
