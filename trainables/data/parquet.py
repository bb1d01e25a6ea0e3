"""Parquet files in the Hugging Face layout: img: struct<bytes, path>, label, class names in the metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainables.data.cache import contents_key, load_or_decode, sized
from trainables.data.class_names import normalised_names
from trainables.data.decoded import Decoded, decoded_of_splits, make_decoded
from trainables.data.images import EncodedImage, decode_images
from trainables.data.shards import find_shards
from trainables.data.superclasses import nest_classes
from trainables.data.types import DataError

IMAGE_COLUMNS = ("img", "image")
# Label column -> the column of its superclasses, which a file may lack; None: never one.
LABEL_COLUMNS: dict[str, str | None] = {"label": None, "fine_label": "coarse_label"}
SPLITS = ("train", "validation", "test")
# A row group is read in pieces of about this size: PyArrow reads none as a whole that holds 2 GB of images or more.
PIECE_BYTES = 2**26


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A test split taken from the other images. train, test: int64, their indices in order. remark: how, a sentence."""

    train: np.ndarray
    test: np.ndarray
    remark: str


# (labels int64[N], the name of each image's file or None, number of classes) -> which images are the test split.
HoldOut = Callable[[np.ndarray, Sequence[str | None], int], HeldOut]


def read_parquet_folder(
    folder: Path,
    label_columns: Sequence[str] = tuple(LABEL_COLUMNS),
    *,
    image_size: int | None = None,
    hold_out: HoldOut | None = None,
    cache_dir: Path | None = None,
) -> Decoded:
    """Decode a folder of train-*.parquet and test-*.parquet (see `find_shards`), or take it from the decoded cache.

    image_size: as in `decode_images`. label_columns: keys of LABEL_COLUMNS; the first that a file has is its label
    column. hold_out: how a test split is made where there is none; None: such a folder is refused. cache_dir: as in
    `load_or_decode`. Superclasses are read if all files have them. Class names come from the schema's "huggingface"
    metadata, else they are "0", "1", ... up to the largest label. Raises DataError naming the file and the row
    (counted from 0).
    """
    shards = find_shards(folder, needed=("train", "test") if hold_out is None else ("train",))
    files = shards.files
    kind = "Parquet" if tuple(label_columns) == tuple(LABEL_COLUMNS) else f"Parquet ({', '.join(label_columns)})"
    if not files["test"]:
        kind += ", test split held out"
    key = contents_key(folder, sized(kind, image_size), [path for split in SPLITS for path in files[split]])
    decoded = load_or_decode(key, lambda: _decode_folder(folder, files, label_columns, image_size, hold_out), cache_dir)
    return replace(decoded, remarks=(*shards.remarks, *decoded.remarks))


@dataclass(frozen=True, kw_only=True)
class _Labels:
    """A label column of one file. values: int64[N]; names: the class names, None if the metadata have none."""

    path: Path
    column: str
    values: np.ndarray
    names: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class _File:
    """What a file holds. file_names: of the images as they were files once, None where the column has none."""

    images: Sequence[EncodedImage]
    file_names: Sequence[str | None]
    labels: _Labels
    superclasses: _Labels | None


def _decode_folder(
    folder: Path,
    files: dict[str, list[Path]],
    label_columns: Sequence[str],
    image_size: int | None,
    hold_out: HoldOut | None,
) -> Decoded:
    contents = {split: [_read_file(path, label_columns) for path in files[split]] for split in SPLITS}
    everything = [file for split in SPLITS for file in contents[split]]
    num_train = sum(len(file.images) for file in contents["train"])
    num_val = sum(len(file.images) for file in contents["validation"])
    superclasses, remarks = _superclasses(everything)
    labels, class_names = _join(folder, [file.labels for file in everything], num_train)
    nested: dict[str, Any] = {}
    if superclasses:
        superclass_labels, superclass_names = _join(folder, superclasses, num_train)
        superclass_of = nest_classes(
            labels, superclass_labels, class_names=class_names, superclass_names=superclass_names, where=str(folder)
        )
        nested = {"superclass_of": superclass_of, "superclass_names": superclass_names}
    encoded = [image for file in everything for image in file.images]
    images = decode_images(encoded, folder=folder, image_size=image_size)
    nested |= {"own_size": images.own_size, "odd_image": images.odd_image}
    remarks = [*remarks, *images.remarks]
    if hold_out is None or contents["test"]:
        return decoded_of_splits(
            images=images.pixels,
            labels=labels,
            num_train=num_train,
            num_val=num_val,
            class_names=class_names,
            remarks=remarks,
            **nested,
        )
    held_out = hold_out(labels, [name for file in everything for name in file.file_names], len(class_names))
    if num_val:
        remarks.append(
            f"The validation split's {num_val:,} images are not used as such, but joined to the training images before "
            "the test split is taken from them; validation is cut from what is left."
        )
    return make_decoded(
        train_images=images.pixels[held_out.train],
        train_labels=labels[held_out.train],
        test_images=images.pixels[held_out.test],
        test_labels=labels[held_out.test],
        class_names=class_names,
        remarks=[held_out.remark, *remarks],
        **nested,
    )


def _superclasses(files: Sequence[_File]) -> tuple[list[_Labels], list[str]]:
    """The superclasses of all files, none if no file has them, and what is to be said of that.

    Raises DataError where files differ in it, or in which column holds the labels.
    """
    labels = [file.labels for file in files]
    for other in labels:
        if other.column != labels[0].column:
            raise DataError(
                f"{other.path} has its labels in column {other.column} and {labels[0].path} in column "
                f"{labels[0].column}, and they must agree"
            )
    column = LABEL_COLUMNS[labels[0].column]
    found = [file.superclasses for file in files if file.superclasses is not None]
    if found and len(found) < len(files):
        without = next(file.labels for file in files if file.superclasses is None)
        raise DataError(
            f"{without.path} has a column {without.column} and no {column}, and {found[0].path} has both: every file "
            "needs it, or none"
        )
    if column is not None and not found:
        return [], [f"There are no superclasses: no file has a column {column} beside {labels[0].column}."]
    return found, []


def _join(folder: Path, parts: Sequence[_Labels], num_train: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Join a label column over all files, training files first. Returns values, int64[N], and the common names."""
    class_names = parts[0].names
    for part in parts:
        if part.names != class_names:
            raise DataError(f"{part.path} has other class names than {parts[0].path}, and they must agree")
    values = np.concatenate([part.values for part in parts])
    if class_names is None:
        class_names = _numbered_class_names(folder, values[:num_train])
        for part in parts:
            _check_range(part, class_names)
    return values, class_names


def _read_file(path: Path, label_columns: Sequence[str]) -> _File:
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            image_column = _first_of(IMAGE_COLUMNS, names, path)
            label_column = _first_of(label_columns, names, path)
            superclass_column = next((name for name in names if name == LABEL_COLUMNS[label_column]), None)
            columns = [name for name in (image_column, label_column, superclass_column) if name]
            for name in columns:
                if names.count(name) > 1:
                    raise DataError(f"{path} has {names.count(name)} columns called {name}, and one is needed")
            batches = file.iter_batches(batch_size=_piece_rows(file.metadata), columns=columns)
            table = pa.Table.from_batches(batches, file.schema_arrow.empty_table().select(columns).schema)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is truncated, damaged or no Parquet file ({_first_line(error)})") from error
    if table.num_rows == 0:
        raise DataError(f"{path} is empty (0 rows)")
    return _File(
        images=_encoded_images(path, table, image_column),
        file_names=_file_names(table, image_column),
        labels=_read_labels(path, table, label_column),
        superclasses=None if superclass_column is None else _read_labels(path, table, superclass_column),
    )


def _piece_rows(metadata: pq.FileMetaData) -> int:
    num_bytes = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    return max(1, PIECE_BYTES * metadata.num_rows // max(1, num_bytes))


def _first_of(columns: Sequence[str], names: Sequence[str], path: Path) -> str:
    column = next((column for column in columns if column in names), None)
    if column is None:
        others = f" (or {', '.join(columns[1:])})" if len(columns) > 1 else ""
        raise DataError(f"{path} has no column {columns[0]}{others}; its columns are {', '.join(names) or 'none'}")
    return column


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(". ")


def _metadata_class_names(table: Any, column: str) -> tuple[str, ...] | None:
    try:
        info = json.loads((table.schema.metadata or {})[b"huggingface"])
        names = [str(name) for name in info["info"]["features"][column]["names"]]
    # Written by another tool: classes are called by their numbers.
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return normalised_names(names)


def _read_labels(path: Path, table: Any, column: str) -> _Labels:
    contents = table.column(column)
    if not pa.types.is_integer(contents.type):
        raise DataError(f"column {column} of {path} is {contents.type}, and must be an integer")
    if contents.null_count:
        row = int(np.flatnonzero(contents.is_null().to_numpy())[0])
        raise DataError(f"row {row} of {path} has no {column} (null)")
    values, names = contents.to_numpy().astype(np.int64), _metadata_class_names(table, column)
    labels = _Labels(path=path, column=column, values=values, names=names)
    _check_range(labels, names)
    return labels


def _check_range(labels: _Labels, class_names: tuple[str, ...] | None) -> None:
    upper = np.inf if class_names is None else len(class_names)
    outside = np.flatnonzero((labels.values < 0) | (labels.values >= upper))
    if len(outside):
        allowed = "0 or more" if class_names is None else f"0 to {len(class_names) - 1}"
        row = outside[0]
        raise DataError(
            f"row {row} of {labels.path} has {labels.column} {labels.values[row]}, and allowed is {allowed}"
        )


def _numbered_class_names(folder: Path, train_labels: np.ndarray) -> tuple[str, ...]:
    present = np.unique(train_labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        raise DataError(
            f"{folder} has no training image of class {gaps[0]} though labels go up to {present[-1]}: "
            "without class names in the metadata, labels must count from 0 without a gap"
        )
    return tuple(str(label) for label in present)


def _encoded_images(path: Path, table: Any, column: str) -> Sequence[EncodedImage]:
    image_type = table.schema.field(column).type
    if not pa.types.is_struct(image_type) or image_type.get_field_index("bytes") < 0:
        raise DataError(f"column {column} of {path} is {image_type}, and must be struct<bytes, path>")
    contents = _fields(table, column, "bytes")
    encoded = []
    for row, blob in enumerate(contents):
        if not blob:
            raise DataError(f"row {row} of {path} has no image (its bytes are null or empty)")
        encoded.append(EncodedImage(contents=blob, where=f"row {row} of {path}"))
    return encoded


def _file_names(table: Any, column: str) -> list[str | None]:
    """The last part of each image's path; None where it has none."""
    if table.schema.field(column).type.get_field_index("path") < 0:
        return [None] * table.num_rows
    paths = _fields(table, column, "path")
    return [os.path.basename(path.replace("\\", "/")) or None if isinstance(path, str) else None for path in paths]


def _fields(table: Any, column: str, field: str) -> list[Any]:
    # flatten, not field: with it a null struct has null bytes
    chunks = table.column(column).chunks
    return [value for chunk in chunks for value in chunk.flatten()[chunk.type.get_field_index(field)].to_pylist()]
