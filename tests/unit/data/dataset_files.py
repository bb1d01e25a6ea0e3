"""Small data sets written as they lie on disk, for the tests of the sources."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100


def picture(value: int, size: int = 32) -> np.ndarray:
    """A flat RGB picture, so that JPEG keeps its colour: uint8[size, size, 3]."""
    return np.full((size, size, 3), value, dtype=np.uint8)


def encoded(image: np.ndarray, suffix: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=suffix)
    return buffer.getvalue()


def write_parquet(
    path: Path,
    labels: list[int | None],
    *,
    blobs: list[bytes | None] | None = None,
    class_names: list[str] | None = None,
    image_column: str = "img",
    label_column: str = "label",
    paths: list[str | None] | None = None,
    coarse_labels: list[int | None] | None = None,
    coarse_names: list[str] | None = None,
) -> None:
    """A Parquet file in Hugging Face layout; row i is a flat picture of value 10 * label + i."""
    if blobs is None:
        blobs = [encoded(picture(10 * (label or 0) + row)) for row, label in enumerate(labels)]
    images = pa.array(
        [
            {"bytes": blob, "path": path}
            for blob, path in zip(blobs, paths or [f"{row}.png" for row in range(len(blobs))], strict=True)
        ],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    table = pa.table({image_column: images, label_column: pa.array(labels, pa.int64())})
    if coarse_labels is not None:
        table = table.append_column("coarse_label", pa.array(coarse_labels, pa.int64()))
    if class_names is not None:
        features = {label_column: {"names": class_names, "_type": "ClassLabel"}}
        if coarse_names is not None:
            features["coarse_label"] = {"names": coarse_names, "_type": "ClassLabel"}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)


def write_parquet_folder(folder: Path, class_names: list[str] | None = None) -> Path:
    """Two classes, three training images and one test image each."""
    write_parquet(folder / "train-00000-of-00001.parquet", [0, 1, 0, 1, 1, 0], class_names=class_names)
    write_parquet(folder / "test-00000-of-00001.parquet", [1, 0], class_names=class_names)
    return folder


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def write_image_folder(folder: Path, sizes: tuple[int, ...] = (32, 32, 32)) -> Path:
    """Classes cat and dog; training images of these sizes, one test image each."""
    for label, class_name in enumerate(("cat", "dog")):
        for number, size in enumerate(sizes):
            write_image(folder / "train" / class_name / f"{number}.png", picture(50 * label + number, size))
        write_image(folder / "test" / class_name / "0.png", picture(50 * label + 9, sizes[0]))
    return folder


FINE_NAMES = ["apple", "bee", "pear", "wasp"]
COARSE_NAMES = ["fruit", "insects"]


def write_cifar100_parquet(folder: Path, *, with_names: bool = True) -> Path:
    """Hugging Face's layout of CIFAR-100: img, fine_label, coarse_label; apple and pear are fruit."""
    options: dict = {"label_column": "fine_label"}
    if with_names:
        options |= {"class_names": FINE_NAMES, "coarse_names": COARSE_NAMES}
    coarse = [0, 1, 0, 1]
    write_parquet(folder / "train-00000-of-00001.parquet", [0, 1, 2, 3] * 2, coarse_labels=coarse * 2, **options)
    write_parquet(folder / "test-00000-of-00001.parquet", [3, 2, 1, 0], coarse_labels=coarse[::-1], **options)
    return folder


def write_cifar_pickles(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """torchvision's layout: 5 training batches of 20 images, a test batch of 10.

    Returns all rows, uint8[110, 3072].
    """
    rows = np.random.default_rng(0).integers(0, 256, (110, 3072)).astype(np.uint8)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    files: dict[str, dict] = {"batches.meta": {"label_names": names}}
    for batch in range(5):
        part = rows[20 * batch : 20 * batch + 20]
        files[f"data_batch_{batch + 1}"] = {"data": part, "labels": [row % 10 for row in range(20)]}
    files["test_batch"] = {"data": rows[100:], "labels": list(range(10))}
    write_pickles(data_root, files, CIFAR10, monkeypatch)
    return rows


def write_cifar100_pickles(
    data_root: Path, monkeypatch: pytest.MonkeyPatch, **changed: dict[str, object]
) -> np.ndarray:
    """torchvision's layout: train with 8 images, test with 4, in the classes of `write_cifar100_parquet`.

    changed: what a file holds instead, by its name. Returns all rows, uint8[12, 3072].
    """
    rows = np.random.default_rng(0).integers(0, 256, (12, 3072)).astype(np.uint8)
    files: dict[str, dict] = {
        "meta": {"fine_label_names": FINE_NAMES, "coarse_label_names": COARSE_NAMES},
        "train": {"data": rows[:8], "fine_labels": [0, 1, 2, 3] * 2, "coarse_labels": [0, 1, 0, 1] * 2},
        "test": {"data": rows[8:], "fine_labels": [3, 2, 1, 0], "coarse_labels": [1, 0, 1, 0]},
    }
    for name in ("train", "test"):
        files[name] |= {"filenames": ["a.png"] * len(files[name]["data"]), "batch_label": f"{name}ing batch 1 of 1"}
    for name, contents in changed.items():
        files[name] |= contents
    write_pickles(data_root, files, CIFAR100, monkeypatch)
    return rows


def write_pickles(
    data_root: Path, files: dict[str, dict], torchvision_class: type[CIFAR10], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pickles of protocol 2, as Krizhevsky's; torchvision checks their md5 sums, so its lists get these files'."""
    numpy_2, numpy_1 = b"numpy._core.multiarray", b"numpy.core.multiarray"
    folder = data_root / torchvision_class.base_folder
    folder.mkdir(parents=True)
    md5 = {}
    for name, contents in files.items():
        (folder / name).write_bytes(pickle.dumps(contents, protocol=2).replace(numpy_2, numpy_1))
        md5[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    for attribute in ("train_list", "test_list"):
        names = [name for name, _ in getattr(torchvision_class, attribute)]
        monkeypatch.setattr(torchvision_class, attribute, [[name, md5[name]] for name in names])
    meta = torchvision_class.meta
    monkeypatch.setattr(torchvision_class, "meta", {**meta, "md5": md5[meta["filename"]]})
