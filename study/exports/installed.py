"""Whether the package of a logger is there, which is an extra of this project."""

from __future__ import annotations

from importlib.util import find_spec

from study.core.errors import StudyError


def missing(logger: str) -> str | None:
    """What to do before the logger of that name can be used, as the end of a sentence; None if nothing."""
    found = find_spec(logger)
    if found is not None and found.origin is not None:  # W&B leaves folders of its name, which can be imported too
        return None
    return f"{logger} needs a package that is not installed: pip install 'ray-tune-study[{logger}]'"


def require_installed(option: str, *loggers: str) -> None:
    """Raise StudyError if the package of one of the loggers that the option names is missing."""
    for logger in loggers:
        if (sentence := missing(logger)) is not None:
            raise StudyError(f"{option} {sentence}")
