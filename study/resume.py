"""python -m study.resume RUN: continue an interrupted study from its ledger."""

from __future__ import annotations

from collections.abc import Sequence

from study.cli import run_directory, run_main
from study.spec import REPRODUCE, task_of


def main(argv: Sequence[str]) -> int:
    run_dir = run_directory("study.resume", argv)
    from study import conduct, reproduction
    from study.console import StudyConsole

    resume = reproduction.resume if task_of(run_dir) == REPRODUCE else conduct.resume
    return resume(run_dir, StudyConsole())


if __name__ == "__main__":
    run_main(main)
