"""python -m study.resume RUN [options]: continue an interrupted study or reproduction from its ledger."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from study.cli import LOUDNESS, Parser, add_own_options, given_path, loudness_of, require_known, run_main
from study.core.invocation import invocation
from study.core.run_dir import task_of
from study.core.spec import REPRODUCE
from study.records.provenance import ALLOW_CHANGED


def main(argv: Sequence[str]) -> int:
    given = parse(argv)
    run_dir, loudness = given_path("RUN", given.run), loudness_of(vars(given))
    from study.engine.console import StudyConsole

    console = StudyConsole(loudness=loudness)
    if task_of(run_dir) == REPRODUCE:
        from study.reproduction.session import resume as resume_reproduction

        return resume_reproduction(run_dir, console, allow_changed=given.allow_changed)
    from study.engine.study_session import resume
    from study.page.tasks.registry import PAGES
    from study.tasks.resolve import read_spec

    study, spec = read_spec(run_dir)
    return resume(study, PAGES[study.name], spec, console, allow_changed=given.allow_changed)


def parse(argv: Sequence[str]) -> Namespace:
    """Returns run, allow_changed, quiet and verbose. Raises StudyError."""
    parser = Parser(
        prog=invocation("study.resume"),
        description="Continues an interrupted study or reproduction: what is finished is kept, and trainings go on "
        "from their last checkpoints.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="a run directory, such as reports/NAME")
    parser.add_argument(
        ALLOW_CHANGED,
        dest="allow_changed",
        action="store_true",
        help="go on although the program's own source is not that of the session before",
    )
    add_own_options(parser, "study.resume", LOUDNESS)
    given, unknown = parser.parse_known_args(argv)
    require_known(parser, unknown)
    return given


if __name__ == "__main__":
    run_main(main)
