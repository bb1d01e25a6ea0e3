"""StudyError, which the command line shows as one sentence with exit status 2 and no traceback."""

from __future__ import annotations

from trainables.common.nearest import nearest as nearest


class StudyError(ValueError):
    """An error for the user: one sentence that says what was wrong and what is allowed."""


def last_line(error: BaseException | str) -> str:
    """The last line of an error's text, which says what happened, or the error's type if it has no text."""
    lines = str(error).strip().splitlines()
    return lines[-1][:500] if lines else type(error).__name__
