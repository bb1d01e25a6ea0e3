"""python -m study.report RUN: rebuild a run directory's page from its tables alone."""

from __future__ import annotations

from collections.abc import Sequence

from study.cli import run_directory, run_main
from study.errors import StudyError


def main(argv: Sequence[str]) -> int:
    run_dir = run_directory("study.report", argv)
    from study.page import write_page

    try:
        print(write_page(run_dir))
    except (ValueError, OSError) as error:
        raise StudyError(str(error)) from None
    return 0


if __name__ == "__main__":
    run_main(main)
