"""Files that a crash cannot truncate: a reader sees the old content or the new one, complete."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
"""The names of files that are being written; of a killed process they stay."""
_FULL = {errno.ENOSPC, errno.EDQUOT}


class StorageError(OSError):
    """The disk does not take what is to be written: it is full, read-only or gone. strerror says so, with the bytes."""


def storage_error(error: OSError, path: Path, size: int) -> StorageError:
    """error as a StorageError of the file at path, of which size bytes were to be written."""
    says = error.strerror or str(error)
    if error.errno in _FULL:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(path.parent).free
            says += f" ({size:,} bytes to write, {free:,} free: {max(1, size - free):,} missing)"
    return StorageError(error.errno or errno.EIO, says, str(path))


def write_durably(path: Path, content: bytes) -> None:
    """Write a temporary file beside path, sync it, rename it, and sync the folder, which holds the name.

    A reader sees the old content or the new one, even after a power failure. Raises StorageError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        _remove(temporary)  # before it is asked what is free
        raise storage_error(error, path, len(content)) from error
    except BaseException:
        _remove(temporary)
        raise


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # also where nothing can be removed any more
        path.unlink(missing_ok=True)


def json_bytes(content: Any) -> bytes:
    """Content as indented JSON."""
    return (json.dumps(content, indent=2) + "\n").encode()


def write_json(path: Path, content: Any) -> None:
    """Write content as indented JSON, durably."""
    write_durably(path, json_bytes(content))


def sync_folder(folder: Path) -> None:
    """Sync the folder's entries to disk, so that a file renamed into it stays there after a power failure."""
    if os.name != "posix":  # other systems cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
