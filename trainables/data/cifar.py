"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): Parquet under the data root, else torchvision's layout or download."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainables.common.paths import real_name
from trainables.data.assemble import assemble_dataset
from trainables.data.decoded import Decoded, make_decoded
from trainables.data.known import require_whole
from trainables.data.parquet import LABEL_COLUMNS, read_parquet_folder
from trainables.data.shards import has_shards
from trainables.data.superclasses import nest_classes
from trainables.data.types import DataError, ImageDataset


@dataclass(frozen=True, kw_only=True)
class Cifar:
    """CIFAR-10 or CIFAR-100.

    folder_names: possible names of the folder of its Parquet files; label_columns: possible names of their label
    column. torchvision_class: its class in torchvision.datasets; torchvision_folder: where that class keeps its
    pickles. has_superclasses: whether the pickles hold coarse labels beside the fine ones.
    """

    name: str
    title: str
    folder_names: tuple[str, ...]
    label_columns: Sequence[str]
    torchvision_class: str
    torchvision_folder: str
    has_superclasses: bool

    def lies_under(self, data_root: Path) -> bool:
        """Whether the data set is there in either layout; no file is read."""
        return self._parquet_folder(data_root) is not None or (data_root / self.torchvision_folder).is_dir()

    def load(self, data_root: Path, download: bool, cache_dir: Path | None = None) -> ImageDataset:
        """Load 50,000 + 10,000 images of 32x32x3.

        Looks for data_root/cifar10/*.parquet (or cifar-10, or data_root itself if that is its name), then for
        data_root/cifar-10-batches-py, then downloads the latter if `download` is set; CIFAR-100 likewise.
        cache_dir: as in `load_or_decode`. Raises DataError.
        """
        folder = self._parquet_folder(data_root)
        if folder is not None:
            decoded, layout = read_parquet_folder(folder, self.label_columns, cache_dir=cache_dir), "Parquet"
        else:
            folder = data_root / self.torchvision_folder
            if not download and not folder.is_dir():
                raise DataError(
                    f"{self.title} is not under the data root {data_root} (neither {self.name}/*.parquet nor "
                    f"{self.torchvision_folder}): add --download to fetch it, or give its place with --data-root"
                )
            decoded, layout = self._read_torchvision(data_root, folder, download), "torchvision's layout"
        require_whole(decoded, self.name, str(folder))
        origin = f"{self.title}, read from {folder} ({layout})"
        return assemble_dataset(decoded, name=self.name, origin=origin, where=str(folder))

    def _parquet_folder(self, data_root: Path) -> Path | None:
        folders = [data_root / name for name in self.folder_names]
        if real_name(data_root) in self.folder_names:
            folders.append(data_root)
        return next((folder for folder in folders if has_shards(folder)), None)

    def _read_torchvision(self, data_root: Path, folder: Path, download: bool) -> Decoded:
        from torchvision import datasets  # slow to import, and not needed for Parquet

        torchvision_class = getattr(datasets, self.torchvision_class)
        try:  # torchvision verifies the files' md5 sums before reading any
            train = torchvision_class(str(data_root), train=True, download=download)
            test = torchvision_class(str(data_root), train=False)
        except (OSError, RuntimeError) as error:
            if download:
                raise DataError(f"{self.title} could not be downloaded to {data_root}: {error}") from error
            raise DataError(
                f"{folder} is incomplete or damaged (an md5 sum differs): add --download to fetch it again"
            ) from error
        labels = np.asarray(train.targets), np.asarray(test.targets)
        return make_decoded(
            train_images=train.data,
            train_labels=labels[0],
            test_images=test.data,
            test_labels=labels[1],
            class_names=train.classes,
            **(_superclasses(folder, np.concatenate(labels), train.classes) if self.has_superclasses else {}),
        )


CIFAR10 = Cifar(
    name="cifar10",
    title="CIFAR-10",
    folder_names=("cifar10", "cifar-10"),
    label_columns=tuple(LABEL_COLUMNS),
    torchvision_class="CIFAR10",
    torchvision_folder="cifar-10-batches-py",
    has_superclasses=False,
)
CIFAR100 = Cifar(
    name="cifar100",
    title="CIFAR-100",
    folder_names=("cifar100", "cifar-100"),
    label_columns=("fine_label",),
    torchvision_class="CIFAR100",
    torchvision_folder="cifar-100-python",
    has_superclasses=True,
)


def _superclasses(folder: Path, labels: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """superclass_of and superclass_names, which torchvision does not read from CIFAR-100's pickles."""
    coarse_labels = [read_pickle(folder / split)["coarse_labels"] for split in ("train", "test")]
    superclass_names = read_pickle(folder / "meta")["coarse_label_names"]
    superclass_of = nest_classes(
        labels,
        np.concatenate(coarse_labels),
        class_names=class_names,
        superclass_names=superclass_names,
        where=str(folder),
    )
    return {"superclass_of": superclass_of, "superclass_names": superclass_names}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads built-in types and NumPy arrays; refuses every other callable that a pickle may name."""

    ALLOWED = frozenset(
        {
            ("_codecs", "encode"),  # how Python 3 writes bytes in protocol 2
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "_reconstruct"),
        }
    )

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} has no place among arrays")
        return super().find_class(module_name, global_name)


def read_pickle(path: Path) -> dict[str, Any]:
    """Read one of Krizhevsky's files. Raises UnpicklingError if it holds more than built-in types and arrays."""
    with path.open("rb") as file:
        # latin1: the files were written by Python 2, whose strings are bytes.
        contents: dict[str, Any] = _ArrayUnpickler(file, encoding="latin1").load()
    return contents
