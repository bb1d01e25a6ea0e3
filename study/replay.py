"""python -m study.replay RUN TRIAL: train a recorded trial again and say where it first differs from its record."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence

from study.cli import Parser, given_path, require_known, run_main
from study.core.errors import StudyError
from study.core.invocation import invocation

DIFFERS = 1  # the exit status


def main(argv: Sequence[str]) -> int:
    given = parse(argv)
    from study.probes.replay import replay_trial

    found = replay_trial(
        given_path("RUN", given.run),
        given.trial,
        num_epochs=given.epochs,
        say=lambda line: print(line, flush=True),
        warn=lambda line: print(f"warning: {line}", file=sys.stderr),
    )
    print(*found.verdict, sep="\n")
    return DIFFERS if found.differences else 0


def parse(argv: Sequence[str]) -> Namespace:
    """Returns run, trial and epochs (None: all that were recorded). Raises StudyError."""
    parser = Parser(
        prog=invocation("study.replay"),
        description="Trains a trial again from its recorded seed, configuration, numerics and data, without Ray, and "
        "compares each epoch with the record: learning rate, training loss, weights, validation. Writes nothing.",
        epilog="Exit status: 0 if nothing differs, 1 if something does, 2 for a user error.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="a run directory, such as reports/NAME")
    parser.add_argument(
        "trial", metavar="TRIAL", help="a trial of it, such as none-0003, or a retest, such as none-0003-seed-1000"
    )
    parser.add_argument("--epochs", metavar="N", help="only the first N epochs [default: all that were recorded]")
    given, unknown = parser.parse_known_args(argv)
    require_known(parser, unknown)
    if given.epochs is not None:
        if not given.epochs.isdecimal() or not int(given.epochs):
            raise StudyError(f"--epochs must be a whole number from 1 on, got {given.epochs!r}")
        given.epochs = int(given.epochs)
    return given


if __name__ == "__main__":
    run_main(main)
