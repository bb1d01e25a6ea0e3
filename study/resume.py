"""python -m study.resume RUN: continue an interrupted study from its ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from study.cli import run_main
from study.errors import StudyError


def main(argv: Sequence[str]) -> int:
    if len(argv) != 1 or argv[0] in {"-h", "--help"}:
        if argv and argv[0] in {"-h", "--help"}:
            print("usage: python -m study.resume RUN\n\nRUN: a run directory, such as reports/NAME")
            return 0
        raise StudyError("study.resume takes one argument, a run directory such as reports/NAME")
    from study.conduct import resume
    from study.console import StudyConsole

    return resume(Path(argv[0]), StudyConsole())


if __name__ == "__main__":
    run_main(main)
