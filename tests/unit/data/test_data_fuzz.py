"""Images and Parquet files that hypothesis makes up are read, or refused in one sentence."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from dataset_files import encoded, picture, write_image_folder, write_parquet, write_parquet_folder
from fuzzing import damaged, fuzz
from hypothesis import strategies as st

from trainables.data import load_dataset

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0), pytest.mark.filterwarnings("ignore")]  # of Pillow


def read(folder: Path) -> None:
    """Decode anew."""
    cache = folder.with_name("cache")
    shutil.rmtree(cache, ignore_errors=True)
    load_dataset(str(folder), data_root=folder, download=False, cache_dir=cache)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_an_image_in_a_folder(tmp_path, faults, kind):
    folder = write_image_folder(tmp_path / "data")
    path = folder / "train" / "cat" / f"9.{kind.lower()}"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        read(folder)

    fuzz(faults, damaged(encoded(picture(7), kind)), check, few=4)


def test_the_bytes_of_a_parquet_file_of_images(tmp_path, faults):
    folder = write_parquet_folder(tmp_path / "data", ["cat", "dog"])
    path = folder / "train-00000-of-00001.parquet"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        read(folder)

    fuzz(faults, damaged(path.read_bytes()), check)


def test_the_rows_of_a_parquet_file_of_images(tmp_path, faults):
    folder = write_parquet_folder(tmp_path / "data")
    blobs = st.none() | st.binary(max_size=30) | damaged(encoded(picture(3)))
    rows = st.lists(st.tuples(st.none() | st.integers(-2, 3) | st.integers(-(2**63), 2**63 - 1), blobs), max_size=4)

    def check(case: tuple[list[Any], list[str] | None]) -> None:
        rows, class_names = case
        labels = [0, 1, 0, 1, *(label for label, _ in rows)]
        images = [*(encoded(picture(value)) for value in range(4)), *(blob for _, blob in rows)]
        path = folder / "train-00000-of-00001.parquet"
        write_parquet(path, labels, blobs=images, class_names=class_names)
        read(folder)

    fuzz(faults, st.tuples(rows, st.none() | st.lists(st.text(max_size=5), max_size=4)), check)
