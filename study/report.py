"""python -m study.report RUN: rebuild a run directory's page from its tables alone."""

from __future__ import annotations

from collections.abc import Sequence

from study.cli import run_directory, run_main
from study.core.errors import StudyError
from study.core.run_dir import task_of
from study.core.spec import REPRODUCE


def main(argv: Sequence[str]) -> int:
    run_dir = run_directory("study.report", argv)
    from study.page.drawing import side_by_side  # slow to import: Matplotlib

    try:
        if task_of(run_dir) == REPRODUCE:
            from study.reproduction.page import write_reproduction_page

            print(write_reproduction_page(run_dir, num_processes=side_by_side()))
        else:
            from study.page.tasks.registry import write_page_of

            print(write_page_of(run_dir, num_processes=side_by_side()))
    except (ValueError, OSError) as error:
        raise StudyError(str(error)) from None
    return 0


if __name__ == "__main__":
    run_main(main)
