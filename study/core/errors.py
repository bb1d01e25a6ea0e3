"""The one error that the command line shows: a sentence, exit status 2, no traceback."""

from __future__ import annotations

from trainables.common.nearest import nearest as nearest


class StudyError(ValueError):
    """What was wrong and what is allowed, in one sentence for the user."""


def last_line(error: BaseException | str) -> str:
    """The last line of an error's text, where Python puts what happened; its type where it has no text."""
    lines = str(error).strip().splitlines()
    return lines[-1][:500] if lines else type(error).__name__
