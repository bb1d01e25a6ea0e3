"""The Parquet files of a data set's splits: found in the layouts that Hugging Face uses, and checked to be whole."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.data.listing import list_folder
from trainables.data.types import DataError

# Split -> what its files, or the folder of its files, may be called.
SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
# Below the data set's folder; the last two are what configurations are called that have no name of their own.
PLACES = ("", "data", "default", "plain_text")

# train-00000-of-00002.parquet; older files end with a hash: train-00000-of-00001-a09b74b3ef9c3b56.parquet
_OF_SET = re.compile(r"(?P<split>[a-z]+)-(?P<index>\d+)-of-(?P<total>\d+)(-[0-9a-f]+)?", re.ASCII)
# In a folder of the split's name: train/0000.parquet
_NUMBERED = re.compile(r"(?P<index>\d+)", re.ASCII)
# What file managers and careful people make of a name: train (1), train - Copy, train_backup
_COPY = re.compile(r".*( \(\d+\)|[ ._-](copy|bak|backup|old|orig)( \(\d+\)| ?\d*)|~)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The files of each split, in order; a split that is not there has none. remarks: as in ImageDataset."""

    files: dict[str, list[Path]]
    remarks: tuple[str, ...]


def has_shards(folder: Path) -> bool:
    """Whether there is a Parquet file of the training or the test split; none is opened."""
    return bool(_paths(folder, "train") or _paths(folder, "test"))


def find_shards(folder: Path, needed: Sequence[str] = ("train", "test")) -> Shards:
    """The files of all splits. Raises DataError where a shard is missing, doubled by another, or of another set.

    needed: the splits without which the folder is refused. A file that holds the same bytes as a shard is passed over,
    and said to be.
    """
    remarks: list[str] = []
    files = {split: _whole(folder, split, _paths(folder, split), remarks) for split in SPLIT_NAMES}
    for split in needed:
        if not files[split]:
            raise DataError(
                f"the {split} split is missing: {folder} has no file {split}-*.parquet, and "
                f"{'both ' * (len(needed) > 1)}{' and '.join(f'{name}-*.parquet' for name in needed)} "
                f"{'are' if len(needed) > 1 else 'is'} needed"
            )
    used = {path for split in SPLIT_NAMES for path in _paths(folder, split)}
    for path in sorted(path for place in PLACES for path in _parquet_paths(folder / place)):
        if path not in used:
            remarks.append(f"{path.relative_to(folder)} is of no split and was passed over.")
    return Shards(files=files, remarks=tuple(remarks))


def _paths(folder: Path, split: str) -> list[Path]:
    """What bears the split's name, and what lies in a folder of that name and is numbered; sorted."""
    found: list[Path] = []
    for place in (folder / name for name in PLACES):
        for name in SPLIT_NAMES[split]:
            named = re.compile(rf"{name}([^a-zA-Z0-9].*)?")
            found += (path for path in _parquet_paths(place) if named.fullmatch(path.stem))
            found += (
                path
                for path in _parquet_paths(place / name)
                if named.fullmatch(path.stem) or re.match(r"\d", path.stem)
            )
    return sorted(found)


def _parquet_paths(folder: Path) -> list[Path]:
    """What is called *.parquet in a folder and is not hidden or foreign; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return [Path(entry.path) for entry in list_folder(folder)[0] if entry.name.endswith(".parquet")]


def _whole(folder: Path, split: str, paths: Sequence[Path], remarks: list[str]) -> list[Path]:
    """The shards among these paths. Appends to remarks. Raises DataError as find_shards does."""
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path} is not a file, and a Parquet file is expected under that name")
    numbers = {path: _number(path) for path in paths}
    shards = [path for path in paths if numbers[path] is not None]
    shards, doubles = _one_each(shards, numbers)
    if shards:
        _require_whole_set(folder, split, shards, numbers)
        others = [path for path in paths if numbers[path] is None]
    else:
        shards = [path for path in paths if not _COPY.fullmatch(path.stem)] or list(paths)
        others = [path for path in paths if path not in shards]
    for path in others:
        original = next((shard for shard in shards if _same_bytes(shard, path)), None)
        if original is None:
            raise DataError(
                f"{path} is not a shard of the {split} split that {shards[0].name} belongs to, nor the same as one: "
                "move it out of the folder"
            )
        doubles.append((path, original))
    for path, original in doubles:
        remarks.append(f"{path.relative_to(folder)} holds the same bytes as {original.name} and was passed over.")
    return shards


def _number(path: Path) -> tuple[int, int | None] | None:
    """(index, number of shards, if the name says it); None if the name is not that of a shard of a set."""
    for pattern in (_OF_SET, _NUMBERED):
        if match := pattern.fullmatch(path.stem):
            total = match.groupdict().get("total")
            return int(match["index"]), None if total is None else int(total)
    return None


def _one_each(
    shards: Sequence[Path], numbers: dict[Path, tuple[int, int | None] | None]
) -> tuple[list[Path], list[tuple[Path, Path]]]:
    """One file for each number, and pairs (passed over, kept) of the same bytes. Raises DataError if they differ."""
    kept: dict[tuple[int, int | None] | None, Path] = {}
    doubles = []
    for path in shards:
        first = kept.setdefault(numbers[path], path)
        if first is path:
            continue
        if not _same_bytes(first, path):
            raise DataError(f"{first} and {path} are the same shard with different contents: keep one of them")
        doubles.append((path, first))
    return list(kept.values()), doubles


def _require_whole_set(
    folder: Path, split: str, shards: Sequence[Path], numbers: dict[Path, tuple[int, int | None] | None]
) -> None:
    found = [number for path in shards if (number := numbers[path]) is not None]
    indices, totals = {index for index, _ in found}, [total for _, total in found]
    for path, total in zip(shards, totals, strict=True):
        if total != totals[0]:
            raise DataError(f"{shards[0]} and {path} are of two sets of shards: keep one set")
    num_shards = totals[0] if totals[0] is not None else max(indices) + 1
    missing = sorted(set(range(num_shards)) - indices)
    if missing:
        more = f", and {len(missing) - 1} more" if missing[1:] else ""
        name = re.sub(r"\d+", lambda number: f"{missing[0]:0{len(number[0])}}", shards[0].name, count=1)
        raise DataError(f"the {split} split of {folder} is incomplete: shard {name} is missing{more}")
    if max(indices) >= num_shards:
        path = shards[[index for index, _ in found].index(max(indices))]
        raise DataError(f"{path} cannot be: shards of {num_shards} count from 0 to {num_shards - 1}")


def _same_bytes(first: Path, second: Path) -> bool:
    return first.stat().st_size == second.stat().st_size and _sha256(first) == _sha256(second)


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
