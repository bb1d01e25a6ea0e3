"""python -m study.resume RUN: continue a study or reproduction from its ledger, or extend a study."""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from study.cli import LOUDNESS, Parser, add_options, add_own_options, given_path, loudness_of, require_known, run_main
from study.core.errors import StudyError
from study.core.far_copy import run_at
from study.core.invocation import invocation
from study.core.run_dir import task_of
from study.core.spec import REPRODUCE, SESSION_SETTINGS, RunSpec, StudySpec
from study.records.provenance import ALLOW_CHANGED
from study.tasks.extend import GROWING
from study.tasks.registry import find_study
from study.tasks.resolve import read_spec

_OWN = {"run", "allow_changed", *LOUDNESS}
_OWN_OF_FAR = {"output_dir", *_OWN}


def main(argv: Sequence[str]) -> int:
    given, _ = _parser(StudySpec).parse_known_args(argv)
    loudness, own = loudness_of(vars(given)), _OWN
    if "://" in given.run:
        far, own = run_at(given.run), _OWN_OF_FAR
        _settings(argv, far.task, own, far.uri)  # which is refused before anything is fetched
        output_dir = vars(given).get("output_dir", RunSpec.model_fields["output_dir"].default)
        run_dir = far.fetched(given_path("--output-dir", output_dir))
        if loudness != "quiet":
            print(f"fetched {far.uri} into {run_dir}")
    else:
        run_dir = given_path("RUN", given.run)
    task = task_of(run_dir)
    from study.engine.console import StudyConsole

    if task == REPRODUCE:
        from study.reproduction.session import resume as resume_reproduction

        place = _settings(argv, task, own, run_dir)
        return resume_reproduction(
            run_dir, StudyConsole(loudness=loudness), allow_changed=given.allow_changed, given=place
        )
    study, spec = read_spec(run_dir)
    values = _settings(argv, study.name, own, run_dir)
    from study.engine.study_session import resume
    from study.page.tasks.registry import PAGES

    console = StudyConsole(loudness=loudness)
    return resume(study, PAGES[study.name], spec, console, allow_changed=given.allow_changed, given=values)


def _settings(argv: Sequence[str], task: str, own: AbstractSet[str], run: Path | str) -> dict[str, Any]:
    """The given settings of a run, without the options in own, which are none. Raises StudyError, naming the run."""
    parser = _parser(StudySpec if task == REPRODUCE else find_study(task).spec)  # which knows the task's own options
    given, unknown = parser.parse_known_args(argv)
    values = {name: value for name, value in vars(given).items() if name not in own}
    if task == REPRODUCE and (unknown or values.keys() - set(SESSION_SETTINGS)):
        raise StudyError(
            f"{run} is a reproduction, whose settings stay as they are: study.resume takes none but --address"
        )
    require_known(parser, unknown)
    return values


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
        "s3://BUCKET/FOLDER/NAME-1a2b3c4d (or s3://BUCKET/FOLDER/NAME, if one run has that name): it is fetched into a "
        "new run directory, in --output-dir",
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
