"""The cache of decoded images: decoded once, kept as .npy files, checked at every load, listed and cleared."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import filelock
import numpy as np
import platformdirs

from trainables.common.files import sync_folder
from trainables.common.locks import file_lock
from trainables.common.memory import bytes_text
from trainables.common.paths import real_name
from trainables.data.decoded import ARRAY_NAMES, Decoded, make_decoded
from trainables.data.memory import require_memory

# Part of every cache key: increase it when decoding, resizing or a source's own split changes.
CACHE_VERSION = 3
APP_NAME = "ray-tune-study"
CLEAR_COMMAND = "python -m study.cache"
# A folder of this name beside the data is used where it is there; none is made.
BESIDE = ".decoded"
META_NAME = "meta.json"
META_FIELDS = (
    "class_names",
    "superclass_of",
    "superclass_names",
    "own_size",
    "odd_image",
    "remarks",
    "num_val",
)
LOCK_NAME = ".ray-tune-study.lock"
LOCK_SECONDS = 60.0
# A copy's folder is named by its key. --cache-dir may hold other things, which bear neither name.
COPY_NAME = re.compile(r"[0-9a-f]{32}")
TEMPORARY_PREFIX = ".ray-tune-study-"
STALE_SECONDS = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class CacheKey:
    """What a decoded copy is of. folder: of the data; kind: how they are decoded; digest: of kind and files."""

    folder: Path
    kind: str
    digest: str

    @property
    def name(self) -> str:
        return real_name(self.folder)


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A decoded copy as it lies in a cache. version: of the cache, 0 if damaged; folder: of the data, "" if damaged."""

    path: Path
    folder: str
    kind: str
    version: int
    num_bytes: int
    age_seconds: float

    @property
    def name(self) -> str:
        """The data set's name, which is that of its folder."""
        return os.path.basename(self.folder)

    @property
    def state(self) -> str:
        """Why this version will never read it, or ""."""
        if not self.folder:
            return "damaged, or of an earlier version"
        if self.version < CACHE_VERSION:
            return "of an earlier version"
        return "" if os.path.isdir(self.folder) else "its data are not there any more"


def user_cache() -> Path | None:
    """Where decoded copies are kept unless something else is said; None where the user has no home."""
    path = platformdirs.user_cache_path(APP_NAME, appauthor=False) / "decoded"
    return path if path.is_absolute() else None


def sized(kind: str, image_size: int | None) -> str:
    """The kind of a cache key, for images decoded to at most this size."""
    return kind if image_size is None else f"{kind}, at most {image_size} pixels"


def contents_key(folder: Path, kind: str, files: Sequence[Path]) -> CacheKey:
    """A cache key from names, sizes and contents, but not dates: for data sets of a few files."""
    return _key(folder, kind, ((path.name, path.stat().st_size, _file_sha256(path)) for path in files))


def listing_key(folder: Path, kind: str, files: Sequence[Path]) -> CacheKey:
    """A cache key from relative names, sizes and modification times (ns): for data sets of many files."""
    stats = ((path, path.stat()) for path in files)
    entries = ((str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns) for path, stat in stats)
    return _key(folder, kind, entries)


def load_or_decode(key: CacheKey, decode: Callable[[], Decoded], cache_dir: Path | None = None) -> Decoded:
    """Load the data set cached under this key, or decode it and cache it.

    cache_dir: the only place that is looked into and written to; None: the folder .decoded beside the data if there
    is one, and the user's cache. A damaged, incomplete or unreadable copy is ignored and replaced, and so are copies
    of other contents of the same folder. Places that cannot be written to are skipped; if there is no other, the
    images are decoded at each load. The result's notices say what became of the copy. Any number of processes may
    call this at the same time.
    """
    places = _places(key.folder, cache_dir)
    for place in places:
        kept = _read(place / key.digest)
        if kept is not None:
            return kept
    unreadable = {place for place in places if os.path.exists(place / key.digest)}
    decoded = decode()
    return replace(decoded, notices=_keep(decoded, key, places, unreadable))


def copies_in(place: Path) -> list[Copy]:
    """The decoded copies in a cache, by name and age; none if there is no such folder. Raises OSError."""
    if not place.is_dir():
        return []
    found = [_copy(path) for path in place.iterdir() if COPY_NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda copy: (copy.name, copy.kind, copy.age_seconds))


def clear(place: Path, name: str | None = None) -> list[Copy]:
    """Remove the copies of the data sets of that name, or all, and what killed processes left. Returns the copies.

    A process that is reading one decodes anew. Raises OSError.
    """
    if not place.is_dir():
        return []
    with _locked(place) as is_locked:
        _remove_temporaries(place, is_locked)
        removed = [copy for copy in copies_in(place) if name is None or copy.name == name]
        for copy in removed:
            _remove(copy.path)
    return removed


def _places(folder: Path, cache_dir: Path | None) -> list[Path]:
    if cache_dir is not None:
        return [cache_dir]
    beside, of_user = folder / BESIDE, user_cache()
    return [*([beside] if beside.is_dir() else []), *([of_user] if of_user is not None else [])]


def _key(folder: Path, kind: str, entries: Iterable[tuple[str, int, str | int]]) -> CacheKey:
    digest = hashlib.sha256(json.dumps([CACHE_VERSION, kind]).encode())
    for entry in entries:
        digest.update(json.dumps(entry).encode())
    return CacheKey(folder=Path(os.path.realpath(folder)), kind=kind, digest=digest.hexdigest()[:32])


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(directory: Path) -> Decoded | None:
    try:
        meta = json.loads((directory / META_NAME).read_text())
        shapes = [np.load(directory / f"{name}.npy", mmap_mode="r").shape for name in ("train_images", "test_images")]
        require_memory(sum(shape[0] for shape in shapes), shapes[0][1], shapes[0][3])
        arrays = {name: np.load(directory / f"{name}.npy", mmap_mode=None, allow_pickle=False) for name in ARRAY_NAMES}
        decoded = make_decoded(**arrays, **{name: meta[name] for name in META_FIELDS})
        is_intact = decoded.fingerprint == meta["fingerprint"]
    # NumPy raises MemoryError for a flipped bit in a header, and EOFError for an empty file. What does not fit into
    # memory is refused when it is to be decoded.
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, MemoryError):
        return None
    return decoded if is_intact else None


def _copy(path: Path) -> Copy:
    try:
        meta = json.loads((path / META_NAME).read_text())
        folder, kind, version = str(meta["folder"]), str(meta["kind"]), int(meta["version"])
    except (OSError, ValueError, KeyError, TypeError):
        folder, kind, version = "", "", 0
    sizes = []
    for file in path.iterdir():
        with contextlib.suppress(FileNotFoundError):  # it is just being removed
            sizes.append(file.stat().st_size)
    age = max(0.0, time.time() - path.stat().st_mtime)
    return Copy(path=path, folder=folder, kind=kind, version=version, num_bytes=sum(sizes), age_seconds=age)


def _keep(decoded: Decoded, key: CacheKey, places: Sequence[Path], unreadable: set[Path]) -> tuple[str, ...]:
    """Write the copy into the first place that takes it, and remove what it replaces. Returns sentences about it."""
    reasons = ["there is no cache folder of the user"] if not places else []
    for place in places:
        try:
            _require_writable(place)
            with _locked(place) as is_locked:
                _remove_temporaries(place, is_locked)
                # Before the new one is written: a full disk may have room for one of them.
                replaced = _remove_outdated(place, key)
                if place not in unreadable and os.path.exists(place / key.digest):
                    return tuple(replaced)  # another process has just written it
                _write(decoded, place, key)
        except OSError as error:
            reasons.append(f"{place}: {_reason(error)}")
            continue
        for other in places:
            if other != place:
                replaced += _remove_outdated(other, key)
        damaged = [f"The decoded copy of {key.name} in {place} was damaged, and was replaced."] * (place in unreadable)
        size = bytes_text(sum(getattr(decoded, name).nbytes for name in ARRAY_NAMES))
        kept = f"A decoded copy of {key.name} ({size}) is kept in {place}; {CLEAR_COMMAND} lists and clears copies."
        return (*replaced, *damaged, kept)
    return (
        f"No decoded copy of {key.name} can be kept ({'; '.join(reasons)}), so that its images are decoded at every "
        "start; --cache-dir names another place.",
    )


def _require_writable(place: Path) -> None:
    """Make the folder. Raises OSError."""
    if os.path.exists(place) and not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is a file")
    place.mkdir(parents=True, exist_ok=True)
    if not _is_writable(place):
        raise PermissionError(errno.EACCES, "it is read-only")


def _is_writable(place: Path) -> bool:
    # The superuser may write anywhere, but a folder without any write bit is meant to stay unchanged.
    return bool(place.stat().st_mode & 0o222)


def _reason(error: OSError) -> str:
    if isinstance(error, filelock.Timeout):
        return "another process is writing to it"
    return error.strerror or "the disk is full"  # NumPy's error for half an array has no other words


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[bool]:
    """Wait until no other process changes this cache. Yields whether a lock is held, which not every disk allows.

    Raises filelock.Timeout, an OSError.
    """
    lock = file_lock(place / LOCK_NAME)
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except filelock.Timeout:
        raise
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _remove_temporaries(place: Path, is_locked: bool) -> None:
    """Remove what killed processes left: under the lock nobody else is writing; without it, what is a day old."""
    for path in place.glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # its process has just finished
            if is_locked or time.time() - path.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _remove_outdated(place: Path, key: CacheKey) -> list[str]:
    """Remove copies of other contents of the key's folder, and all that are of an earlier version or damaged.

    No later version reads those either. Returns sentences about it.
    """
    sentences: list[str] = []
    earlier: list[Copy] = []
    with contextlib.suppress(OSError):  # a place that cannot be changed stays as it is
        for copy in copies_in(place) if _is_writable(place) else []:
            if copy.path.name == key.digest:
                continue
            if copy.version < CACHE_VERSION:
                earlier.append(copy)
                _remove(copy.path)
            elif copy.version == CACHE_VERSION and (copy.folder, copy.kind) == (str(key.folder), key.kind):
                _remove(copy.path)
                sentences.append(
                    f"The decoded copy of {key.name} in {place} was of other files than lie in {key.folder} now, and "
                    "was replaced."
                )
    if earlier:
        size = bytes_text(sum(copy.num_bytes for copy in earlier))
        sentences.append(
            f"{len(earlier):,} decoded {'copy' if len(earlier) == 1 else 'copies'} of an earlier version, or damaged "
            f"({size}), {'was' if len(earlier) == 1 else 'were'} removed from {place}."
        )
    return sentences


def _write(decoded: Decoded, place: Path, key: CacheKey) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=place))
    try:
        for name in ARRAY_NAMES:
            with (temporary / f"{name}.npy").open("wb") as file:
                np.save(file, getattr(decoded, name), allow_pickle=False)
                _flush(file.fileno(), file.flush)
        meta = {
            "version": CACHE_VERSION,
            "folder": str(key.folder),
            "kind": key.kind,
            **{name: getattr(decoded, name) for name in ("fingerprint", *META_FIELDS)},
        }
        with (temporary / META_NAME).open("w") as text:
            json.dump(meta, text)
            _flush(text.fileno(), text.flush)
        temporary.chmod(0o755)  # mkdtemp's 0700 would hide the cache in a shared data folder from other users
        _install(temporary, place / key.digest)
    except BaseException:  # Ctrl-C, too, leaves nothing half written
        shutil.rmtree(temporary, ignore_errors=True)
        raise


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
        _remove(final)
    sync_folder(final.parent)


def _remove(path: Path) -> None:
    """Take a copy away at once, then delete it: nobody reads half of one. Raises OSError."""
    aside = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):  # another process has moved it
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
