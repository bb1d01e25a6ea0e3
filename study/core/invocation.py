"""How this process was started, so that the commands which it names can be copied."""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPT = "ray-study"


def invocation(verb: str) -> str:
    """The words that start a verb: study.lr_range -> 'python -m study.lr_range', or 'ray-study lr-range' there."""
    if Path(sys.argv[0]).stem == SCRIPT:
        return f"{SCRIPT} {verb.removeprefix('study.').replace('_', '-')}"
    return f"python -m {verb}"
