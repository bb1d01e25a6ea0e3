"""SOURCES, the table of data sets, and the way from a name, a path or "auto" to an ImageDataset."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from trainables.common.nearest import nearest
from trainables.common.paths import user_path
from trainables.data.assemble import without_duplicates
from trainables.data.cifar import CIFAR10, CIFAR100
from trainables.data.digits import load_digit_pairs, load_digits
from trainables.data.eurosat import eurosat_lies_under, load_eurosat
from trainables.data.folder import load_folder
from trainables.data.images import MIN_IMAGE_SIZE
from trainables.data.listing import reading
from trainables.data.resize import resize_dataset
from trainables.data.types import DataError, ImageDataset

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set known by name.

    title: its name in a sentence, "CIFAR-10". lies_under(data_root): whether it is there, without reading it.
    load(data_root, download, cache_dir): the data set; raises DataError if it is not there and may not be downloaded.
    """

    title: str
    lies_under: Callable[[Path], bool]
    load: Callable[[Path, bool, Path | None], ImageDataset]


SOURCES: dict[str, Source] = {
    "cifar10": Source(title=CIFAR10.title, lies_under=CIFAR10.lies_under, load=CIFAR10.load),
    "cifar100": Source(title=CIFAR100.title, lies_under=CIFAR100.lies_under, load=CIFAR100.load),
    "eurosat": Source(title="EuroSAT", lies_under=eurosat_lies_under, load=load_eurosat),
    "digits": Source(
        title="scikit-learn's digits",
        lies_under=lambda data_root: True,  # embedded in scikit-learn
        load=lambda data_root, download, cache_dir: load_digits(),
    ),
    "digit-pairs": Source(
        title="pairs of scikit-learn's digits",
        lies_under=lambda data_root: True,
        load=lambda data_root, download, cache_dir: load_digit_pairs(),
    ),
}


@dataclass(frozen=True, kw_only=True)
class ResolvedDataset:
    """The meaning of a --dataset value, before anything is read.

    Exactly one of name (a key of SOURCES) and path is set. hint: how to get the real data set if "auto" took the
    embedded one instead, else "".
    """

    name: str | None
    path: Path | None
    hint: str


def resolve_dataset(
    name_or_path: str,
    *,
    data_root: Path,
    download: bool,
    default: str = "cifar10",
    embedded: str = "digits",
    image_size: int | None = None,
) -> ResolvedDataset:
    """The data set that `load_dataset` would load with the same arguments; reads and downloads nothing.

    "auto" means `default` if it lies under data_root or may be downloaded, else `embedded`, which needs no
    download. A data set given by name is never replaced. Raises DataError for an unknown name, a path that is not a
    folder or an image_size below 16 pixels, and ValueError for a `default` or `embedded` that is not in SOURCES.
    """
    for option, name in (("default", default), ("embedded", embedded)):
        if name not in SOURCES:
            raise ValueError(f"{option} must be one of {sorted(SOURCES)}, got {name!r}")
    if image_size is not None and image_size < MIN_IMAGE_SIZE:
        raise DataError(f"--image-size must be at least {MIN_IMAGE_SIZE} pixels, got {image_size}")
    if name_or_path == AUTO:
        with reading(data_root):
            lies_under = SOURCES[default].lies_under(data_root)
        if download or lies_under:
            return ResolvedDataset(name=default, path=None, hint="")
        hint = f"for {SOURCES[default].title} add --dataset {default} --download"
        return ResolvedDataset(name=embedded, path=None, hint=hint)
    if name_or_path in SOURCES:
        return ResolvedDataset(name=name_or_path, path=None, hint="")
    return ResolvedDataset(name=None, path=_checked_folder(name_or_path), hint="")


def load_dataset(
    name_or_path: str,
    *,
    data_root: Path,
    download: bool,
    default: str = "cifar10",
    embedded: str = "digits",
    image_size: int | None = None,
    drop_duplicates: bool = False,
    cache_dir: Path | None = None,
) -> ImageDataset:
    """Load a data set by name, by path to a folder, or by "auto" (see `resolve_dataset`).

    image_size: the side to resize the images to, in pixels; None keeps their size. drop_duplicates: whether
    `without_duplicates` is applied. cache_dir: where decoded copies are kept (see `load_or_decode`). The result's
    `name` and `origin` say which data set was taken and, if "auto" fell back to the embedded one, how to get the real
    one. Raises DataError, one sentence for the user, for anything wrong with the data or its place.
    """
    resolved = resolve_dataset(
        name_or_path,
        data_root=data_root,
        download=download,
        default=default,
        embedded=embedded,
        image_size=image_size,
    )
    with reading(resolved.path or data_root):
        if resolved.path is not None:
            dataset = load_folder(resolved.path, image_size, cache_dir)
        else:
            assert resolved.name is not None
            dataset = SOURCES[resolved.name].load(data_root, download, cache_dir)
    if drop_duplicates:
        dataset = without_duplicates(dataset)
    if image_size is not None:
        dataset = resize_dataset(dataset, image_size)
    return replace(dataset, origin=f"{dataset.origin}; {resolved.hint}") if resolved.hint else dataset


def _checked_folder(name_or_path: str) -> Path:
    try:
        path = user_path(name_or_path)
    except ValueError as error:
        raise DataError(f"--dataset {error}") from None
    with reading(path):
        is_folder, is_there = path.is_dir(), path.exists()
    if name_or_path and is_folder:
        return path
    if name_or_path and is_there:
        raise DataError(f"{path} is a file, and --dataset takes the name of a data set or a path to a folder")
    if os.sep in name_or_path or name_or_path.startswith("~"):
        raise DataError(f"there is no folder {path}, which --dataset names")
    known = [AUTO, *sorted(SOURCES)]
    raise DataError(
        f"unknown data set {name_or_path!r}: allowed are {', '.join(known)} and a path to a folder"
        f"{nearest(name_or_path.lower(), known)}"
    )
