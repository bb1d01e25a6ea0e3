"""Where exports go: a path that is free, at which a file or folder appears when all of it is written."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from study.core.errors import StudyError


@contextlib.contextmanager
def made_whole(path: Path) -> Iterator[Path]:
    """A path beside it to write to, which becomes the path at the end and is removed on an error. Raises StudyError."""
    if path.exists() or path.is_symlink():
        raise StudyError(f"{path} exists already: choose another --to")
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(part)
        yield part
        if not part.exists():
            raise StudyError(f"{path} would be empty: no trial of the run has an epoch yet")
        part.replace(path)
    except OSError as error:
        raise StudyError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
