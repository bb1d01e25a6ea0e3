"""python -m study.export RUN --to PATH: a run's records for Optuna's dashboard, TensorBoard and others, or as CSV."""

from __future__ import annotations

import importlib
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from study.analysis.tables import Tables, load_tables
from study.cli import Parser, given_path, require_known, run_main
from study.core.errors import StudyError, nearest
from study.core.invocation import invocation
from study.core.run_dir import task_of
from study.core.spec import REPRODUCE

FORMATS = {
    "optuna": ("study.exports.optuna", "write_optuna"),
    "tensorboard": ("study.exports.tensorboard", "write_tensorboard"),
    "csv": ("study.exports.csv", "write_csv"),
    "mlflow": ("study.exports.logs", "write_mlflow"),
    "wandb": ("study.exports.logs", "write_wandb"),
}
BY_SUFFIX = {".db": "optuna", ".sqlite": "optuna", ".sqlite3": "optuna"}


def main(argv: Sequence[str]) -> int:
    given = parse(argv)
    try:
        if task_of(given.run) == REPRODUCE:
            raise StudyError(f"{given.run} is a reproduction, which has no trials to export: give a study's run")
        print(_writer(given.format)(load_tables(given.run), given.to))
    except (ValueError, OSError) as error:
        raise StudyError(str(error)) from None
    return 0


def _writer(name: str) -> Callable[[Tables, Path], str]:
    """The function that writes the format, imported when it is asked for."""
    module, function = FORMATS[name]
    writer: Callable[[Tables, Path], str] = getattr(importlib.import_module(module), function)
    return writer


def parse(argv: Sequence[str]) -> Namespace:
    """Returns run, to (paths) and format, one of FORMATS. Raises StudyError."""
    parser = Parser(
        prog=invocation("study.export"),
        description="Writes a run's records in the format of another tool: an Optuna storage (trials that early "
        "stopping ended are PRUNED), TensorBoard's event files with its plugin for hyperparameters, CSV, a database of "
        "MLflow, or offline runs of Weights & Biases.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="a run directory, such as reports/NAME")
    parser.add_argument(
        "--to", metavar="PATH", help="the file (optuna, mlflow) or folder (tensorboard, csv, wandb) to write"
    )
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
