"""python -m study.fork RUN [--task TASK] [options]: another study, which begins with the trials of RUN that fit it."""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Sequence

from study.cli import LOUDNESS, Parser, add_options, add_own_options, given_path, loudness_of, require_known, run_main
from study.core.invocation import invocation
from study.core.spec import RunSpec, StudySpec
from study.tasks.fork import task_to_fork


def main(argv: Sequence[str]) -> int:
    given, _ = _parser(StudySpec).parse_known_args(argv)
    run_dir = given_path("RUN", given.run)
    study = task_to_fork(run_dir, given.task)
    parser = _parser(study.spec)  # which knows the task's own options too
    settings, unknown = parser.parse_known_args(argv)
    require_known(parser, unknown)
    values = {name: value for name, value in vars(settings).items() if name not in {"run", "task", *LOUDNESS}}
    from study.engine.console import StudyConsole
    from study.engine.study_session import begin_fork
    from study.page.tasks.registry import PAGES

    status, _ = begin_fork(
        run_dir, study, PAGES[study.name], values, StudyConsole(loudness=loudness_of(vars(settings)))
    )
    return status


def _parser(spec: type[RunSpec]) -> Parser:
    parser = Parser(
        prog=invocation("study.fork"),
        description="Runs another study by the settings of RUN, changed as said. Its searches begin with the trials "
        "of RUN that fit its space: the samplers are told those that would have come out the same here, and of the "
        "others the best are tried first.",
        epilog=f"A task's own options are understood, too: {invocation('study.run')} TASK --help shows them.",
        argument_default=SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="a run directory, such as reports/NAME")
    parser.add_argument("--task", metavar="TASK", default=None, help="another task than that of RUN")
    add_own_options(parser, "study.fork", LOUDNESS)
    add_options(parser, spec)
    return parser


if __name__ == "__main__":
    run_main(main)
