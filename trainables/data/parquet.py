"""Parquet files in the Hugging Face layout: img: struct<bytes, path>, label, names in the metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainables.data.decoded import Decoded, contents_key, load_or_decode, make_decoded
from trainables.data.images import EncodedImage, decode_images
from trainables.data.types import DataError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMN = "label"
SPLITS = ("train", "test")


def has_parquet_files(folder: Path) -> bool:
    """Whether the folder holds any Parquet file."""
    return any(folder.glob("*.parquet"))


def read_parquet_folder(folder: Path) -> Decoded:
    """Decode a folder of train-*.parquet and test-*.parquet, or take it from the decoded cache.

    Class names come from the schema's "huggingface" metadata, else they are "0", "1", ... up to the largest
    label. Raises DataError naming the file and the row (counted from 0).
    """
    files = {split: _split_files(folder, split) for split in SPLITS}
    key = contents_key("parquet", [path for split in SPLITS for path in files[split]])
    return load_or_decode(folder, key, lambda: _decode_folder(folder, files))


def _split_files(folder: Path, split: str) -> list[Path]:
    files = sorted(p for p in folder.glob("*.parquet") if p.stem == split or p.stem.startswith(f"{split}-"))
    if not files:
        raise DataError(
            f"the {split} split is missing: {folder} has no file {split}-*.parquet, and both "
            "train-*.parquet and test-*.parquet are needed"
        )
    return files


def _decode_folder(folder: Path, files: dict[str, list[Path]]) -> Decoded:
    tables = {path: _read_table(path) for split in SPLITS for path in files[split]}
    names_by_file = {path: _metadata_class_names(table) for path, table in tables.items()}
    class_names = next(iter(names_by_file.values()))
    for path, names in names_by_file.items():
        if names != class_names:
            first = next(iter(names_by_file))
            raise DataError(f"{path} has other class names than {first}, and they must agree")
    labels = {path: _read_labels(path, table, class_names) for path, table in tables.items()}
    if class_names is None:
        class_names = _numbered_class_names(folder, np.concatenate([labels[path] for path in files["train"]]))
        for path in files["test"]:
            _check_range(path, labels[path], class_names)
    encoded = [image for path, table in tables.items() for image in _encoded_images(path, table)]
    images = decode_images(encoded)
    num_train = sum(len(labels[path]) for path in files["train"])
    return make_decoded(
        train_images=images[:num_train],
        train_labels=np.concatenate([labels[path] for path in files["train"]]),
        test_images=images[num_train:],
        test_labels=np.concatenate([labels[path] for path in files["test"]]),
        class_names=class_names,
    )


def _read_table(path: Path) -> Any:
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            image_column = next((name for name in IMAGE_COLUMNS if name in names), None)
            missing = "img (or image)" if image_column is None else LABEL_COLUMN
            if image_column is None or LABEL_COLUMN not in names:
                columns = ", ".join(names) or "none"
                raise DataError(f"{path} has no column {missing}; its columns are {columns}")
            table = file.read(columns=[image_column, LABEL_COLUMN])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is truncated, damaged or no Parquet file ({_first_line(error)})") from error
    if table.num_rows == 0:
        raise DataError(f"{path} is empty (0 rows)")
    image_type = table.schema.field(image_column).type
    if not pa.types.is_struct(image_type) or image_type.get_field_index("bytes") < 0:
        raise DataError(f"column {image_column} of {path} is {image_type}, and must be struct<bytes, path>")
    # rename_columns drops the metadata, and with it the class names
    return table.rename_columns(["image", LABEL_COLUMN]).replace_schema_metadata(table.schema.metadata)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(". ")


def _metadata_class_names(table: Any) -> tuple[str, ...] | None:
    try:
        info = json.loads((table.schema.metadata or {})[b"huggingface"])
        return tuple(str(name) for name in info["info"]["features"][LABEL_COLUMN]["names"])
    except (KeyError, TypeError, ValueError):  # written by another tool: numbers must do
        return None


def _read_labels(path: Path, table: Any, class_names: tuple[str, ...] | None) -> np.ndarray:
    column = table.column(LABEL_COLUMN)
    if not pa.types.is_integer(column.type):
        raise DataError(f"column {LABEL_COLUMN} of {path} is {column.type}, and must be an integer")
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise DataError(f"row {row} of {path} has no label (null)")
    labels = column.to_numpy().astype(np.int64)
    _check_range(path, labels, class_names)
    return labels


def _check_range(path: Path, labels: np.ndarray, class_names: tuple[str, ...] | None) -> None:
    upper = np.inf if class_names is None else len(class_names)
    outside = np.flatnonzero((labels < 0) | (labels >= upper))
    if len(outside):
        allowed = "0 or more" if class_names is None else f"0 to {len(class_names) - 1}"
        row = outside[0]
        raise DataError(f"row {row} of {path} has label {labels[row]}, and allowed is {allowed}")


def _numbered_class_names(folder: Path, train_labels: np.ndarray) -> tuple[str, ...]:
    present = np.unique(train_labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        raise DataError(
            f"{folder} has no training image of class {gaps[0]} though labels go up to {present[-1]}: "
            "without class names in the metadata, labels must count from 0 without a gap"
        )
    return tuple(str(label) for label in present)


def _encoded_images(path: Path, table: Any) -> Sequence[EncodedImage]:
    contents = [blob for chunk in table.column("image").chunks for blob in _blobs(chunk)]
    encoded = []
    for row, blob in enumerate(contents):
        if not blob:
            raise DataError(f"row {row} of {path} has no image (its bytes are null or empty)")
        encoded.append(EncodedImage(contents=blob, where=f"row {row} of {path}"))
    return encoded


def _blobs(chunk: Any) -> list[bytes | None]:
    # flatten, not field: a null struct makes its bytes null too
    blobs: list[bytes | None] = chunk.flatten()[chunk.type.get_field_index("bytes")].to_pylist()
    return blobs
