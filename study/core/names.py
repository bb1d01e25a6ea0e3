"""Names of trials, arms and stages as a run directory has them: they become parts of paths, and it may be anybody's."""

from __future__ import annotations

import re

_NAME = re.compile(r"\w[\w.-]*", re.ASCII)


def require_plain(name: object) -> None:
    """Raise ValueError for a name that is no single, visible part of a path."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"a name must be of letters, digits, '_', '.' and '-', got {name!r:.100}")
