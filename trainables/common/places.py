"""Places: folders of small files on this machine, or on any file system that pyarrow knows, such as S3's."""

from __future__ import annotations

import contextlib
import errno
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit
from urllib.request import url2pathname

from trainables.common.files import StorageError, write_durably

if TYPE_CHECKING:  # slow to import, and local places need none of it
    from pyarrow.fs import FileSystem

_OF_BUCKETS = ("s3", "gs", "gcs")
_SECRETS = ("password", "secret", "token", "key", "sig")
_ONE_REQUEST = {"s3": "allow_delayed_open=true"}
"""What has a store take a small file in one request, where it would take three."""


class Place(ABC):
    """A folder of small files, which need not exist. As text, which place_at reads, it can be told to another process.

    is_near: whether a file is written within milliseconds.
    """

    is_near: bool

    @abstractmethod
    def __truediv__(self, name: str) -> Place:
        """The folder of that name in it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of its path."""

    @abstractmethod
    def files(self) -> list[str]:
        """The names of its files, in no order; none where there is no such folder. Raises OSError."""

    @abstractmethod
    def folders(self) -> list[str]:
        """The names of the folders in it, likewise."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises FileNotFoundError where there is none, StorageError where the place cannot be reached, and OSError where
        the file cannot be read though its disk can.
        """

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a file, and the folder where there is none: a reader sees the old content or the new one.

        Raises OSError.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if there is one. Raises OSError."""

    @abstractmethod
    def remove_all(self) -> None:
        """Remove the folder with all that is in it; what cannot be removed stays."""


@dataclass(frozen=True)
class LocalPlace(Place):
    """A folder of this machine, or one that several machines mount."""

    path: Path
    is_near = True

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> LocalPlace:
        return LocalPlace(self.path / name)

    @property
    def name(self) -> str:
        return self.path.name

    def files(self) -> list[str]:
        return [path.name for path in self._entries() if not path.is_dir()]

    def folders(self) -> list[str]:
        return [path.name for path in self._entries() if path.is_dir()]

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_durably(self.path / name, content)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def remove_all(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def _entries(self) -> list[Path]:
        return list(self.path.iterdir()) if self.path.is_dir() else []


@dataclass(frozen=True)
class RemotePlace(Place):
    """A folder in a store that pyarrow.fs opens by its URI, with credentials that it finds itself.

    A write is whole or not there where the store's puts are, as those of S3, GCS and Azure.
    """

    uri: str
    is_near = False

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str) -> RemotePlace:
        parts = urlsplit(self.uri)
        return RemotePlace(_uri(parts, f"{parts.path.rstrip('/')}/{quote(name, safe='')}"))

    @property
    def name(self) -> str:
        return unquote(urlsplit(self.uri).path.rstrip("/").rpartition("/")[2])

    def files(self) -> list[str]:
        return self._entries(are_files=True)

    def folders(self) -> list[str]:
        return self._entries(are_files=False)

    def read(self, name: str) -> bytes:
        with self._asked(name) as (store, path), store.open_input_file(f"{path}/{name}") as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        with self._asked(name) as (store, path):
            try:
                _put(store, f"{path}/{name}", content)
            except FileNotFoundError:  # not in every store does a folder come with its first file
                store.create_dir(path, recursive=True)
                _put(store, f"{path}/{name}", content)

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._asked(name) as (store, path):
            store.delete_file(f"{path}/{name}")

    def remove_all(self) -> None:
        with contextlib.suppress(OSError), self._asked() as (store, path):
            store.delete_dir(path)

    def _entries(self, *, are_files: bool) -> list[str]:
        from pyarrow.fs import FileSelector

        with self._asked() as (store, path):
            found = store.get_file_info(FileSelector(path, allow_not_found=True))
        return [entry.base_name for entry in found if entry.is_file == are_files]

    @contextlib.contextmanager
    def _asked(self, name: str = "") -> Iterator[tuple[FileSystem, str]]:
        """The store and the folder's path in it. What it refuses becomes a StorageError, but for what is not there."""
        from pyarrow import ArrowException

        parts = urlsplit(self.uri)
        try:
            store, base = _store(_uri(parts, ""))
            yield store, base + unquote(parts.path).rstrip("/")
        except FileNotFoundError:
            raise
        except (OSError, ArrowException) as error:
            says = " ".join((getattr(error, "strerror", None) or str(error)).split())
            where = str(self / name) if name else self.uri
            raise StorageError(getattr(error, "errno", None) or errno.EIO, says[:500], where) from error


def place_at(folder: Place | Path | str) -> Place:
    """The place that a path or a URI names: a RemotePlace, unless it is a path or begins with file://."""
    if isinstance(folder, Place):
        return folder
    if isinstance(folder, Path) or "://" not in folder:
        return LocalPlace(Path(folder))
    parts = urlsplit(folder)
    return LocalPlace(Path(url2pathname(parts.path))) if parts.scheme == "file" else RemotePlace(folder)


def split_uri(uri: str) -> tuple[str, str]:
    """The URI of the folder above, and the name of the folder. Raises ValueError if it names none."""
    parts = urlsplit(uri)
    above, _, name = parts.path.rstrip("/").rpartition("/")
    if not name:
        raise ValueError(f"must be the URI of a run's folder, such as s3://bucket/folder/NAME-1a2b3c4d, got {uri!r}")
    return _uri(parts, above), unquote(name)


def require_uri(text: str) -> None:
    """Raise ValueError, a rule without the name of the option and without any secret, unless this may be kept as a URI.

    It is written into files and shown on pages.
    """
    try:
        parts = urlsplit(text)
    except ValueError:  # brackets that are no address
        parts = SplitResult("", "", "", "", "")
    secrets = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if name.lower().endswith(_SECRETS)]
    if parts.password is not None or secrets:
        raise ValueError(
            f"must be a URI without a {secrets[0] if secrets else 'password'}, which would be kept with the run: "
            "credentials are looked for where the store's own tools keep them"
        )
    lies_here, names_host = parts.scheme == "file", parts.netloc not in {"", "localhost"}
    is_nowhere = names_host if lies_here else parts.scheme in _OF_BUCKETS and not names_host
    if not parts.scheme or "://" not in text or not text.isprintable() or parts.fragment or is_nowhere:
        raise ValueError(f"must be the URI of a folder, such as s3://bucket/folder or file:///folder, got {text!r}")


@lru_cache
def _store(root: str) -> tuple[FileSystem, str]:
    """The store of a URI without a path, and what its paths begin with. One a process: it keeps connections."""
    from pyarrow.fs import FileSystem

    parts = urlsplit(root)
    query = "&".join(filter(None, (parts.query, _ONE_REQUEST.get(parts.scheme))))
    return FileSystem.from_uri(_uri(parts._replace(query=query), ""))


def _uri(parts: SplitResult, path: str) -> str:
    """The URI with that path. urlunsplit would leave out the slashes of one that names no host."""
    return f"{parts.scheme}://{parts.netloc}{path}" + (f"?{parts.query}" if parts.query else "")


def _put(store: FileSystem, path: str, content: bytes) -> None:
    with store.open_output_stream(path) as file:
        file.write(content)
