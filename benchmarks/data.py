"""The images that benchmarks train on: CIFAR-10, or made-up ones of its form where it does not lie."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from study.core.errors import StudyError
from study.tasks.baseline import BASELINE
from study.tasks.resolve import checked
from study.tasks.study import load_data
from trainables.data.sources import SOURCES
from trainables.data.types import TuningData

DATA_ROOTS = (Path("data"), Path("../shared/data"))
NAME, MADE_UP = "cifar10", "made-up"
NUM_MADE_UP = {"train": 10_000, "test": 1_000}


def provide(folder: Path, data_root: Path | None) -> None:
    """Let folder / "data" lead to CIFAR-10: at data_root, or where it lies; else made-up images lie there.

    Raises StudyError if it does not lie under the data_root that is given.
    """
    lies_under = SOURCES[NAME].lies_under
    if data_root is not None and not lies_under(data_root):
        raise StudyError(f"--data-root must hold {NAME}, and {data_root} does not")
    found = next((root for root in ([data_root] if data_root else DATA_ROOTS) if lies_under(root)), None)
    if found is not None:
        (folder / "data").symlink_to(found.resolve())
    else:
        print(f"{SOURCES[NAME].title} is not there (--data-root DIR): the images are made up", flush=True)
        _make_up(folder / "data" / MADE_UP)


def dataset_options(folder: Path) -> dict[str, str]:
    """The options of study.run that name the images provided in folder."""
    made_up = folder / "data" / MADE_UP
    if made_up.exists():
        return {"dataset": str(made_up)}
    return {"dataset": NAME, "data_root": str(folder / "data")}


def tuning_set(folder: Path, num_images: int) -> TuningData:
    """The data provided in folder as a study of the baseline with --train-images num_images cuts them."""
    spec = checked(BASELINE, {**dataset_options(folder), "train_images": num_images})
    _, data, _ = load_data(BASELINE, spec)
    return data


def _make_up(folder: Path) -> None:
    """Images of ten classes, noise about a colour of each, as Parquet."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    colours = generator.integers(64, 192, size=(10, 1, 1, 3))
    for split, number in NUM_MADE_UP.items():
        labels = np.arange(number) % len(colours)
        pixels = (colours[labels] + generator.normal(0, 32, size=(number, 32, 32, 3))).clip(0, 255).astype(np.uint8)
        images = [{"bytes": _png(image), "path": None} for image in pixels]
        pq.write_table(pa.table({"img": images, "label": labels}), folder / f"{split}-00000-of-00001.parquet")


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png", compress_level=1)
    return buffer.getvalue()
