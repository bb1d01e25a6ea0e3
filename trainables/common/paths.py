"""Paths that a user wrote."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(text: str | Path) -> Path:
    """The path, ~ and ~NAME replaced by a home folder. Raises ValueError, a rule that lacks the name of the option."""
    if "\0" in str(text):
        raise ValueError(f"must be a path without a NUL character, got {str(text)!r}")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"must begin with a home folder that exists here, got {str(text)!r}") from None


def real_name(path: Path) -> str:
    """The last part of a path, links followed; unlike Path.resolve it can be asked of links that form a loop."""
    return os.path.basename(os.path.realpath(path))
