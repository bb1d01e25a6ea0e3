"""Class names as they are kept: one way to write each, and readable everywhere."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

from trainables.data.types import DataError


def normalised_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names in Unicode's form NFC, whatever file system they came from.

    Raises DataError for one that is not UTF-8 (Python keeps the bytes of such a file name as lone surrogates), is
    blank, holds control characters, or is that of another class.
    """
    kept = tuple(unicodedata.normalize("NFC", name) for name in names)
    for name in kept:
        readable = name.encode("utf-8", errors="backslashreplace").decode()
        if readable != name:
            raise DataError(f"the class name '{readable}' is not UTF-8: rename the class")
        if not name.strip() or any(unicodedata.category(character) == "Cc" for character in name):
            raise DataError(f"the class name {name!r} is blank or holds control characters: rename the class")
    name, count = Counter(kept).most_common(1)[0] if kept else ("", 0)
    if count > 1:
        spelled = sorted({ascii(given) for given, same in zip(names, kept, strict=True) if same == name})
        ways = f", spelled {' and '.join(spelled)}" if len(spelled) > 1 else ""
        raise DataError(f"{count} classes are called {name!r}{ways}: join or rename them")
    return kept
