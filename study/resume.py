"""python -m study.resume RUN: continue a study or reproduction from its ledger, or extend a study."""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Sequence

from study.cli import LOUDNESS, Parser, add_options, add_own_options, given_path, loudness_of, require_known, run_main
from study.core.errors import StudyError
from study.core.far_copy import fetched
from study.core.invocation import invocation
from study.core.run_dir import task_of
from study.core.spec import REPRODUCE, SESSION_SETTINGS, RunSpec, StudySpec
from study.records.provenance import ALLOW_CHANGED
from study.tasks.extend import GROWING
from study.tasks.resolve import read_spec

_OWN = {"run", "allow_changed", *LOUDNESS}


def main(argv: Sequence[str]) -> int:
    given, unknown = _parser(StudySpec).parse_known_args(argv)
    allow_changed, loudness = given.allow_changed, loudness_of(vars(given))
    own = _OWN
    if "://" in given.run:
        own = _OWN | {"output_dir"}
        output_dir = given_path(
            "--output-dir", vars(given).get("output_dir", RunSpec.model_fields["output_dir"].default)
        )
        run_dir = fetched(given.run, output_dir)
        if loudness != "quiet":
            print(f"fetched {given.run} into {run_dir}")
    else:
        run_dir = given_path("RUN", given.run)
    if task_of(run_dir) == REPRODUCE:
        place = {name: value for name, value in vars(given).items() if name not in own}
        if unknown or place.keys() - set(SESSION_SETTINGS):
            raise StudyError(
                f"{run_dir} is a reproduction, whose settings stay as they are: study.resume takes none but --address"
            )
        from study.engine.console import StudyConsole
        from study.reproduction.session import resume as resume_reproduction

        return resume_reproduction(run_dir, StudyConsole(loudness=loudness), allow_changed=allow_changed, given=place)
    study, spec = read_spec(run_dir)
    parser = _parser(study.spec)  # which knows the task's own options too
    settings, unknown = parser.parse_known_args(argv)
    require_known(parser, unknown)
    from study.engine.console import StudyConsole
    from study.engine.study_session import resume
    from study.page.tasks.registry import PAGES

    values = {name: value for name, value in vars(settings).items() if name not in own}
    console = StudyConsole(loudness=loudness)
    return resume(study, PAGES[study.name], spec, console, allow_changed=allow_changed, given=values)


def _parser(spec: type[RunSpec]) -> Parser:
    parser = Parser(
        prog=invocation("study.resume"),
        description="Continues a study or a reproduction from its ledger. A study may get more trials, retest seeds or "
        "arms: give the new totals, and the further arms; and it may go on on another Ray cluster, or here. All other "
        "settings stay as they are.",
        argument_default=SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "run",
        metavar="RUN",
        help="a run directory, such as reports/NAME, or a run's folder at --checkpoints, such as "
        "s3://BUCKET/FOLDER/NAME-1a2b3c4d, which is fetched into a new run directory, in --output-dir",
    )
    parser.add_argument(
        ALLOW_CHANGED,
        dest="allow_changed",
        action="store_true",
        default=False,
        help="go on although the program's own source is not that of the session before",
    )
    add_own_options(parser, "study.resume", LOUDNESS)
    add_options(parser, spec, shown={*GROWING, *SESSION_SETTINGS})
    return parser


if __name__ == "__main__":
    run_main(main)
