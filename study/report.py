"""python -m study.report RUN: rebuild a run directory's page from its tables alone."""

from __future__ import annotations

from collections.abc import Sequence

from study.cli import run_directory, run_main
from study.errors import StudyError
from study.spec import REPRODUCE, task_of


def main(argv: Sequence[str]) -> int:
    run_dir = run_directory("study.report", argv)
    if task_of(run_dir) == REPRODUCE:
        from study.reproduction_page import write_reproduction_page as write
    else:
        from study.page import write_page as write
    try:
        print(write(run_dir))
    except (ValueError, OSError) as error:
        raise StudyError(str(error)) from None
    return 0


if __name__ == "__main__":
    run_main(main)
