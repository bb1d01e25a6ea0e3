"""python -m study.export RUN --to PATH: a run's records for Optuna's dashboard, TensorBoard, or as CSV."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from study.analysis.tables import Tables, load_tables
from study.cli import Parser, given_path, require_known, run_main
from study.core.errors import StudyError, nearest
from study.core.invocation import invocation
from study.core.run_dir import task_of
from study.core.spec import REPRODUCE

BY_SUFFIX = {".db": "optuna", ".sqlite": "optuna", ".sqlite3": "optuna"}


def main(argv: Sequence[str]) -> int:
    given = parse(argv)
    try:
        if task_of(given.run) == REPRODUCE:
            raise StudyError(f"{given.run} is a reproduction, which has no trials to export: give a study's run")
        print(_write(given.format)(load_tables(given.run), given.to))
    except (ValueError, OSError) as error:
        raise StudyError(str(error)) from None
    return 0


def _write(kind: str) -> Callable[[Tables, Path], str]:
    """The function that writes the format, imported when it is asked for."""
    if kind == "optuna":
        from study.exports.optuna import write_optuna

        return write_optuna
    if kind == "tensorboard":
        from study.exports.tensorboard import write_tensorboard

        return write_tensorboard
    from study.exports.csv import write_csv

    return write_csv


FORMATS = ("optuna", "tensorboard", "csv")


def parse(argv: Sequence[str]) -> Namespace:
    """Returns run, to (paths) and format, one of FORMATS. Raises StudyError."""
    parser = Parser(
        prog=invocation("study.export"),
        description="Writes a run's records in the format of another tool: an Optuna storage (trials that early "
        "stopping ended are PRUNED), TensorBoard's event files with its plugin for hyperparameters, or CSV.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="a run directory, such as reports/NAME")
    parser.add_argument("--to", metavar="PATH", help="the file (optuna) or folder (tensorboard, csv) to write")
    parser.add_argument(
        "--format", metavar="FORMAT", help=f"{', '.join(FORMATS)} [default: optuna for a PATH that ends in .db]"
    )
    given, unknown = parser.parse_known_intermixed_args(argv)
    require_known(parser, unknown)
    if given.to is None:
        raise StudyError("--to is missing: the file or folder to write, such as optuna.db")
    given.run, given.to = given_path("RUN", given.run), given_path("--to", given.to)
    given.format = given.format or BY_SUFFIX.get(given.to.suffix)
    if given.format is None:
        raise StudyError(f"--format is missing: one of {', '.join(FORMATS)}")
    if given.format not in FORMATS:
        found = nearest(given.format, FORMATS)
        raise StudyError(f"--format must be one of {', '.join(FORMATS)}, got {given.format!r}{found}")
    return given


if __name__ == "__main__":
    run_main(main)
