"""python -m study.run TASK [options]: run a study and write its report."""

from __future__ import annotations

from collections.abc import Sequence

from study.cli import parse_study, run_main


def main(argv: Sequence[str]) -> int:
    study, values = parse_study(argv)
    # Imported after parsing: --help and a misspelt option need neither Ray nor the data.
    from study.engine.console import StudyConsole
    from study.engine.study_session import begin
    from study.page.tasks.registry import PAGES

    return begin(study, PAGES[study.name], values, StudyConsole())


if __name__ == "__main__":
    run_main(main)
