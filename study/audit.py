"""python -m study.audit RUN: train a random few of a finished study's stopped trials to their end."""

from __future__ import annotations

from argparse import SUPPRESS, Namespace
from collections.abc import Sequence

from study.cli import LOUDNESS, Parser, add_options, add_own_options, given_path, loudness_of, require_known, run_main
from study.core.errors import StudyError
from study.core.invocation import invocation
from study.core.spec import SESSION_SETTINGS, RunSpec

NUM_TRIALS = 10


def main(argv: Sequence[str]) -> int:
    given = parse(argv)
    run_dir = given_path("RUN", given.run)
    from study.engine.console import StudyConsole
    from study.engine.study_session import begin_audit
    from study.page.tasks.registry import PAGES
    from study.tasks.resolve import read_spec

    study, spec = read_spec(run_dir)
    return begin_audit(
        study,
        PAGES[study.name],
        spec,
        StudyConsole(loudness=loudness_of(vars(given))),
        num_trials=given.trials,
        given={name: getattr(given, name) for name in SESSION_SETTINGS if name in given},
    )


def parse(argv: Sequence[str]) -> Namespace:
    """Returns run, trials, and what is given of LOUDNESS and SESSION_SETTINGS. Raises StudyError."""
    parser = Parser(
        prog=invocation("study.audit"),
        description="Audits early stopping in a finished study: trains a random few of the trials that were stopped "
        "to their end, from the same seeds, and says on the page how often one would have beaten its arm's winner. "
        "No test image is used.",
        argument_default=SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="a run directory, such as reports/NAME")
    parser.add_argument(
        "--trials",
        metavar="N",
        default=str(NUM_TRIALS),
        help=f"at most so many trials in all, those of earlier audits included [default {NUM_TRIALS}]",
    )
    add_own_options(parser, "study.audit", LOUDNESS)
    add_options(parser, RunSpec, scopes=frozenset({"session"}))
    given, unknown = parser.parse_known_args(argv)
    require_known(parser, unknown)
    if not given.trials.isdecimal() or not int(given.trials):
        raise StudyError(f"--trials must be a whole number from 1 on, got {given.trials!r}")
    given.trials = int(given.trials)
    return given


if __name__ == "__main__":
    run_main(main)
