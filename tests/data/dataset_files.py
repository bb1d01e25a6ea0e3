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
from torchvision.datasets import CIFAR10


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
) -> None:
    """A Parquet file in Hugging Face layout; row i is a flat picture of value 10 * label + i."""
    if blobs is None:
        blobs = [encoded(picture(10 * (label or 0) + row)) for row, label in enumerate(labels)]
    images = pa.array(
        [{"bytes": blob, "path": f"{row}.png"} for row, blob in enumerate(blobs)],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    table = pa.table({image_column: images, "label": pa.array(labels, pa.int64())})
    if class_names is not None:
        features = {"label": {"names": class_names, "_type": "ClassLabel"}}
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


def write_cifar_pickles(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """torchvision's layout: 5 training batches of 20 images, a test batch of 10.

    torchvision checks the files' md5, so its lists get these files'. Returns all rows, uint8[110, 3072].
    """
    folder = data_root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rows = np.random.default_rng(0).integers(0, 256, (110, 3072)).astype(np.uint8)

    def write(name: str, content: dict) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    train_list = []
    for batch in range(5):
        part = rows[20 * batch : 20 * batch + 20]
        content = {"data": part, "labels": [row % 10 for row in range(20)]}
        train_list.append([f"data_batch_{batch + 1}", write(f"data_batch_{batch + 1}", content)])
    test_list = [["test_batch", write("test_batch", {"data": rows[100:], "labels": list(range(10))})]]
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    meta_md5 = write("batches.meta", {"label_names": names})
    monkeypatch.setattr(CIFAR10, "train_list", train_list)
    monkeypatch.setattr(CIFAR10, "test_list", test_list)
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta_md5})
    return rows
