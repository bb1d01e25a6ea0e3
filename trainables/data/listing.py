"""The files of a folder that are data: what hidden and foreign things are, and a walk that passes over them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainables.data.types import DataError

# What desktops, archivers and file servers leave in folders, in lower case.
FOREIGN_NAMES = frozenset(
    {
        "#recycle", "$recycle.bin", "@eadir", "__macosx", "desktop.ini", "ehthumbs.db", "icon\r", "lost+found",
        "system volume information", "thumbs.db",
    }
)  # fmt: skip
LONGEST_NAME = 255


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What lies in a folder. files: the data, at any depth; passed_over: hidden and foreign files and folders."""

    files: tuple[Path, ...]
    passed_over: tuple[Path, ...]


def is_foreign(name: str) -> bool:
    """Whether a file or folder of that name is hidden, or foreign to a data set."""
    return name.startswith(".") or name.lower() in FOREIGN_NAMES


def natural_key(name: str) -> tuple[str, str]:
    """Sorts names as their characters say, but numbers in them by their size: "2" before "10"."""
    return re.sub(r"[0-9]+", lambda number: number[0].zfill(LONGEST_NAME), name), name


def list_folder(folder: Path) -> tuple[list[os.DirEntry[str]], list[Path]]:
    """The entries of a folder by name, and the paths of the hidden and foreign ones. Raises DataError."""
    with reading(folder), os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    data = [entry for entry in ordered if not is_foreign(entry.name)]
    return data, [Path(entry.path) for entry in ordered if is_foreign(entry.name)]


def list_files(folder: Path) -> Listing:
    """All files below a folder, those of one folder together. Links are followed.

    Raises DataError for a link to nothing or to a folder that it lies in, for what can't be read, and for what is
    neither file nor folder.
    """
    files: list[Path] = []
    passed_over: list[Path] = []

    def walk(folder: Path, around: tuple[Path, ...]) -> None:
        around = (*around, Path(os.path.realpath(folder)))
        entries, foreign = list_folder(folder)
        passed_over.extend(foreign)
        for entry in entries:
            path = Path(entry.path)
            with reading(path):
                if entry.is_dir():
                    if entry.is_symlink() and any(outer.is_relative_to(os.path.realpath(path)) for outer in around):
                        raise DataError(f"{path} is a link to a folder that it lies in: remove it")
                    walk(path, around)
                elif entry.is_file():
                    files.append(path)
                elif entry.is_symlink():
                    raise DataError(f"{path} is a link to nothing ({os.readlink(path)}): mend or remove it")
                else:
                    raise DataError(f"{path} is neither a file nor a folder: remove it")

    walk(folder, ())
    files.sort(key=lambda path: (str(path.parent), path.name))
    return Listing(files=tuple(files), passed_over=tuple(passed_over))


@contextlib.contextmanager
def reading(place: Path) -> Iterator[None]:
    """Raises DataError if the block cannot read a file or folder."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or place} cannot be read ({error.strerror or error})") from error
