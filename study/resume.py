"""python -m study.resume RUN: continue an interrupted study or reproduction from its ledger."""

from __future__ import annotations

from collections.abc import Sequence

from study.cli import run_directory, run_main
from study.core.run_dir import task_of
from study.core.spec import REPRODUCE


def main(argv: Sequence[str]) -> int:
    run_dir = run_directory("study.resume", argv)
    from study.engine.console import StudyConsole

    console = StudyConsole()
    if task_of(run_dir) == REPRODUCE:
        from study.reproduction.session import resume as resume_reproduction

        return resume_reproduction(run_dir, console)
    from study.engine.study_session import resume
    from study.page.tasks.registry import PAGES
    from study.tasks.resolve import read_spec

    study, spec = read_spec(run_dir)
    return resume(study, PAGES[study.name], spec, console)


if __name__ == "__main__":
    run_main(main)
