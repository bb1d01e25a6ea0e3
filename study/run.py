"""python -m study.run TASK [options]: run a study and write its report."""

from __future__ import annotations

from collections.abc import Sequence

from study.cli import DRY_RUN, PRINT_SPEC, RUN, loudness_of, parse_verb, run_main
from study.tasks.resolve import checked


def main(argv: Sequence[str]) -> int:
    study, values, own = parse_verb(RUN, argv)
    loudness = loudness_of(own)
    checked(study, values)  # before Ray and PyTorch are imported, so that a refusal takes no longer than --help
    if own.get(PRINT_SPEC):
        from study.tasks.spec_file import spec_file

        print(spec_file(study, values), end="")
        return 0
    if own.get(DRY_RUN):
        from study.probes.preflight import run_preflight

        return run_preflight(study, values, loudness)
    from study.engine.console import StudyConsole
    from study.engine.study_session import begin
    from study.page.tasks.registry import PAGES

    status, _ = begin(study, PAGES[study.name], values, StudyConsole(loudness=loudness))
    return status


if __name__ == "__main__":
    run_main(main)
