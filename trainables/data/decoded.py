"""The cache of decoded images: decoded once, kept as .npy files, checked at every load."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainables.common.files import sync_folder
from trainables.data.class_names import normalised_names
from trainables.data.memory import require_memory

ARRAY_NAMES = ("train_images", "train_labels", "test_images", "test_labels")
# Part of every cache key: increase it when decoding, resizing or a source's own split changes.
CACHE_VERSION = 2
META_NAME = "meta.json"
META_FIELDS = (
    "fingerprint",
    "class_names",
    "superclass_of",
    "superclass_names",
    "own_size",
    "remarks",
    "num_val",
)
TEMPORARY_PREFIX = ".tmp-"
STALE_SECONDS = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A decoded data set: uint8[N, H, W, C] images and int64[N] labels of both splits.

    superclass_of: class -> superclass, a position in superclass_names; None if there are none. fingerprint: hex
    SHA-256 over the arrays (type, shape, contents), the class names and the superclasses, if any. own_size: the side
    that the images would have had, None if it is theirs. remarks: as in ImageDataset, of the decoding. num_val: how
    many of the last training images are a validation split.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str
    superclass_of: tuple[int, ...] | None = None
    superclass_names: tuple[str, ...] | None = None
    own_size: int | None = None
    remarks: tuple[str, ...] = ()
    num_val: int = 0


def make_decoded(
    *,
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    class_names: Sequence[str],
    superclass_of: Sequence[int] | None = None,
    superclass_names: Sequence[str] | None = None,
    own_size: int | None = None,
    remarks: Sequence[str] = (),
    num_val: int = 0,
) -> Decoded:
    """Convert the arrays to their dtypes, contiguous, and compute the fingerprint."""
    arrays: dict[str, np.ndarray] = {
        "train_images": np.ascontiguousarray(train_images, dtype=np.uint8),
        "train_labels": np.ascontiguousarray(train_labels, dtype=np.int64),
        "test_images": np.ascontiguousarray(test_images, dtype=np.uint8),
        "test_labels": np.ascontiguousarray(test_labels, dtype=np.int64),
    }
    return _from_arrays(arrays, class_names, superclass_of, superclass_names, own_size, remarks, num_val)


def decoded_of_splits(
    *,
    images: np.ndarray,
    labels: np.ndarray,
    num_train: int,
    num_val: int,
    class_names: Sequence[str],
    remarks: Sequence[str] = (),
    **nested: Any,
) -> Decoded:
    """Make a data set of images that are in the order train, validation, test. nested: further of make_decoded's.

    Validation images that lack a class cannot judge all classes: they are left out, and a remark says so.
    """
    end = num_train + num_val
    missing = np.setdiff1d(np.arange(len(class_names)), labels[num_train:end])
    is_used = num_val > 0 and not len(missing)
    if is_used:
        remarks = (*remarks, f"The validation split's {num_val:,} images are validated on; none is cut from training.")
    elif num_val:
        remarks = (
            *remarks,
            f"The validation split's {num_val:,} images are not used, because none is of class "
            f"{class_names[missing[0]]!r}; validation is cut from training instead.",
        )
    last = end if is_used else num_train
    return make_decoded(
        train_images=images[:last],
        train_labels=labels[:last],
        test_images=images[end:],
        test_labels=labels[end:],
        class_names=class_names,
        remarks=remarks,
        num_val=num_val if is_used else 0,
        **nested,
    )


def load_or_decode(folder: Path, key: str, decode: Callable[[], Decoded]) -> Decoded:
    """Load the data set cached under `key` in `folder` or in the user's cache, or decode it and cache it there.

    A damaged, incomplete or unreadable copy is ignored and replaced. Places that cannot be written to are skipped; if
    there is no other, the images are decoded at each load. Any number of processes may call this at the same time.
    """
    places = [*_beside(folder), *_user_cache()]
    for place in places:
        kept = _read(place / key)
        if kept is not None:
            return kept
    decoded = decode()
    for place in places:
        if _write(decoded, place, key):
            break
    return decoded


def sized(kind: str, image_size: int | None) -> str:
    """The kind of a cache key, for images decoded to at most this size."""
    return kind if image_size is None else f"{kind} {image_size}"


def contents_key(kind: str, files: Sequence[Path]) -> str:
    """A cache key from names, sizes and contents, but not dates: for data sets of a few files."""
    return _key(kind, ((path.name, path.stat().st_size, _file_sha256(path)) for path in files))


def listing_key(kind: str, files: Sequence[Path], folder: Path) -> str:
    """A cache key from relative names, sizes and modification times (ns): for data sets of many files."""
    stats = ((path, path.stat()) for path in files)
    entries = ((str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns) for path, stat in stats)
    return _key(kind, entries)


def _key(kind: str, entries: Iterable[tuple[str, int, str | int]]) -> str:
    digest = hashlib.sha256(json.dumps([CACHE_VERSION, kind]).encode())
    for entry in entries:
        digest.update(json.dumps(entry).encode())
    return digest.hexdigest()[:32]


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _array_sha256(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    digest.update(array.data)
    return digest.hexdigest()


def _from_arrays(
    arrays: dict[str, np.ndarray],
    class_names: Sequence[str],
    superclass_of: Sequence[int] | None,
    superclass_names: Sequence[str] | None,
    own_size: int | None,
    remarks: Sequence[str],
    num_val: int,
) -> Decoded:
    class_names = normalised_names(class_names)
    contents: list[Any] = [[[name, _array_sha256(arrays[name])] for name in ARRAY_NAMES], class_names]
    if superclass_of is not None:
        contents += [superclass_of, superclass_names]
    return Decoded(
        **arrays,
        class_names=class_names,
        fingerprint=hashlib.sha256(json.dumps(contents).encode()).hexdigest(),
        superclass_of=None if superclass_of is None else tuple(superclass_of),
        superclass_names=None if superclass_names is None else tuple(superclass_names),
        own_size=own_size,
        remarks=tuple(remarks),
        num_val=num_val,
    )


def _beside(folder: Path) -> list[Path]:
    # The superuser may write anywhere, but a folder without any write bit is meant to stay unchanged.
    return [folder / ".decoded"] if folder.stat().st_mode & 0o222 else []


def _user_cache() -> list[Path]:
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home directory
        return []
    return [root / "ray-tune-study" / "decoded"]


def _read(directory: Path) -> Decoded | None:
    try:
        meta = json.loads((directory / META_NAME).read_text())
        shapes = [np.load(directory / f"{name}.npy", mmap_mode="r").shape for name in ("train_images", "test_images")]
        require_memory(sum(shape[0] for shape in shapes), shapes[0][1], shapes[0][3])
        arrays = {name: np.load(directory / f"{name}.npy", mmap_mode=None, allow_pickle=False) for name in ARRAY_NAMES}
        names = meta["class_names"]
        nested = meta["superclass_of"], meta["superclass_names"]
        decoded = _from_arrays(arrays, names, *nested, meta["own_size"], meta["remarks"], meta["num_val"])
    # NumPy raises MemoryError for a flipped bit in a header, and EOFError for an empty file. What does not fit into
    # memory is refused when it is to be decoded.
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, MemoryError):
        return None
    return decoded if decoded.fingerprint == meta["fingerprint"] else None


def _write(decoded: Decoded, place: Path, key: str) -> bool:
    temporary: Path | None = None
    try:
        place.mkdir(parents=True, exist_ok=True)
        _remove_stale(place)
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=place))
        for name in ARRAY_NAMES:
            with (temporary / f"{name}.npy").open("wb") as file:
                np.save(file, getattr(decoded, name), allow_pickle=False)
                _flush(file.fileno(), file.flush)
        with (temporary / META_NAME).open("w") as text:
            json.dump({name: getattr(decoded, name) for name in META_FIELDS}, text)
            _flush(text.fileno(), text.flush)
        temporary.chmod(0o755)  # mkdtemp's 0700 would hide the cache in a shared data folder from other users
        _install(temporary, place / key)
    except OSError:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        return False
    return True


def _flush(descriptor: int, flush: Callable[[], None]) -> None:
    flush()
    os.fsync(descriptor)


def _install(temporary: Path, final: Path) -> None:
    # An existing directory is damaged, or has just been written by another process with the same contents.
    while True:
        try:
            temporary.rename(final)
            break
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        aside = final.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
        with contextlib.suppress(FileNotFoundError):  # another process has moved it
            final.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
    sync_folder(final.parent)


def _remove_stale(place: Path) -> None:
    """Remove temporary folders that killed processes left behind more than a day ago."""
    for path in place.glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # its process has just finished
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
