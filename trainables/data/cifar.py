"""CIFAR-10 (Krizhevsky 2009): Parquet under the data root, else torchvision's layout or download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainables.data.assemble import assemble_dataset
from trainables.data.decoded import make_decoded
from trainables.data.parquet import has_parquet_files, read_parquet_folder
from trainables.data.types import DataError, ImageDataset

FOLDER_NAMES = ("cifar10", "cifar-10")
TORCHVISION_FOLDER = "cifar-10-batches-py"


def cifar10_lies_under(data_root: Path) -> bool:
    """Whether either layout is there; nothing is read."""
    return _parquet_folder(data_root) is not None or (data_root / TORCHVISION_FOLDER).is_dir()


def load_cifar10(data_root: Path, download: bool) -> ImageDataset:
    """CIFAR-10: 50,000 + 10,000 images of 32x32x3 in 10 classes.

    Looks for data_root/cifar10/*.parquet (or cifar-10, or data_root itself where that is its name), then for
    data_root/cifar-10-batches-py, then downloads the latter where `download` is set. Raises DataError.
    """
    folder = _parquet_folder(data_root)
    if folder is not None:
        return assemble_dataset(
            read_parquet_folder(folder),
            name="cifar10",
            origin=f"CIFAR-10, read from {folder} (Parquet)",
            where=str(folder),
        )
    if not download and not (data_root / TORCHVISION_FOLDER).is_dir():
        raise DataError(
            f"CIFAR-10 is not under the data root {data_root} (neither cifar10/*.parquet nor "
            f"{TORCHVISION_FOLDER}): add --download to fetch it, or give its place with --data-root"
        )
    return _load_torchvision(data_root, download)


def _parquet_folder(data_root: Path) -> Path | None:
    folders = [data_root / name for name in FOLDER_NAMES]
    if data_root.resolve().name in FOLDER_NAMES:
        folders.append(data_root)
    return next((folder for folder in folders if has_parquet_files(folder)), None)


def _load_torchvision(data_root: Path, download: bool) -> ImageDataset:
    from torchvision.datasets import CIFAR10  # slow to import, and Parquet does without

    folder = data_root / TORCHVISION_FOLDER
    try:
        train = CIFAR10(str(data_root), train=True, download=download)
        test = CIFAR10(str(data_root), train=False)
    except (OSError, RuntimeError) as error:
        if download:
            raise DataError(f"CIFAR-10 could not be downloaded to {data_root}: {error}") from error
        raise DataError(
            f"{folder} is incomplete or damaged (an md5 sum differs): add --download to fetch it again"
        ) from error
    decoded = make_decoded(
        train_images=train.data,
        train_labels=np.asarray(train.targets),
        test_images=test.data,
        test_labels=np.asarray(test.targets),
        class_names=train.classes,
    )
    origin = f"CIFAR-10, read from {folder} (torchvision's layout)"
    return assemble_dataset(decoded, name="cifar10", origin=origin, where=str(folder))
