"""The one error that the command line shows: a sentence, exit status 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StudyError(ValueError):
    """What was wrong and what is allowed, in one sentence for the user."""


def last_line(error: BaseException | str) -> str:
    """The last line of an error's text, where Python puts what happened; its type where it has no text."""
    lines = str(error).strip().splitlines()
    return lines[-1][:500] if lines else type(error).__name__


def nearest(name: str, allowed: Iterable[str]) -> str:
    """'; did you mean X?' or '', to end an error message with."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
