"""python -m study.resume RUN [--allow-changed]: continue an interrupted study or reproduction from its ledger."""

from __future__ import annotations

from collections.abc import Sequence

from study.cli import run_directory, run_main
from study.core.run_dir import task_of
from study.core.spec import REPRODUCE
from study.records.provenance import ALLOW_CHANGED

HELP = {ALLOW_CHANGED: "go on although the program's own source is not that of the session before"}


def main(argv: Sequence[str]) -> int:
    allow_changed = ALLOW_CHANGED in argv
    run_dir = run_directory("study.resume", [word for word in argv if word != ALLOW_CHANGED], HELP)
    from study.engine.console import StudyConsole

    console = StudyConsole()
    if task_of(run_dir) == REPRODUCE:
        from study.reproduction.session import resume as resume_reproduction

        return resume_reproduction(run_dir, console, allow_changed=allow_changed)
    from study.engine.study_session import resume
    from study.page.tasks.registry import PAGES
    from study.tasks.resolve import read_spec

    study, spec = read_spec(run_dir)
    return resume(study, PAGES[study.name], spec, console, allow_changed=allow_changed)


if __name__ == "__main__":
    run_main(main)
