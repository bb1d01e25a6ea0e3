"""python -m study.compare RUN RUN ...: two or more runs of a task on one page."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence

from study.analysis.compare import Comparison, Pair
from study.cli import Parser, given_path, require_known, run_main
from study.core.errors import StudyError
from study.core.invocation import invocation
from study.core.run_dir import first_made, numbered
from study.core.spec import RunSpec, validated


def main(argv: Sequence[str]) -> int:
    given = parse(argv)
    from study.analysis.compare import load_comparison
    from study.page.compare import write_comparison
    from study.page.tasks.registry import find_page

    try:
        comparison = load_comparison([given_path("RUN", run) for run in given.runs], given.pairs)
        page = find_page(comparison.first.tables.task)
        names = iter([given.spec.name]) if given.spec.name else _default_names(comparison)
        folder = first_made(given.spec.output_dir, names)
        print(write_comparison(folder, comparison, page))
    except FileExistsError as error:
        raise StudyError(f"{error.filename} exists already: choose another --name") from None
    except ValueError as error:
        raise StudyError(str(error)) from None
    return 0


def parse(argv: Sequence[str]) -> Namespace:
    """Returns runs, pairs (None: arms of the same name) and spec, which has name and output_dir. Raises StudyError."""
    parser = Parser(
        prog=invocation("study.compare"),
        description="Writes a page that holds two or more finished or unfinished runs of one task against each other: "
        "what differs in data, space, settings, machine, and the scores with intervals, paired where they may be. The "
        "first run is what the others are compared with.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories, such as reports/NAME")
    parser.add_argument(
        "--pairs",
        metavar="ARM,ARM=OTHER,...",
        help="the arms to compare, ARM of the first run with the same or another one of the others; the fewer, the "
        "narrower the intervals [default: all arms, each with that of its name]",
    )
    parser.add_argument("--name", metavar="NAME", help="name of the page's folder [default compare-RUN-RUN-...]")
    parser.add_argument("--output-dir", metavar="DIR", default="reports", help="folder for it [default reports]")
    given, unknown = parser.parse_known_intermixed_args(argv)
    require_known(parser, unknown)
    given.pairs = None if given.pairs is None else _pairs(given.pairs)
    values = {"task": "compare", "name": given.name, "output_dir": given.output_dir}
    given.spec = validated(RunSpec, values)
    return given


def _pairs(text: str) -> list[Pair]:
    parts = [part.strip().partition("=") for part in text.split(",")]
    if not all(first.strip() and bool(equals) == bool(other.strip()) for first, equals, other in parts):
        raise StudyError(f"--pairs must be ARM or ARM=OTHER, separated by commas, got {text!r}")
    pairs = [Pair(first=first.strip(), other=(other or first).strip()) for first, _, other in parts]
    if len(set(pairs)) < len(pairs):
        raise StudyError(f"--pairs must name each pair once, got {text!r}")
    return pairs


def _default_names(comparison: Comparison) -> Iterator[str]:
    from study.tasks.resolve import bounded_name

    stem = "-".join(run.label.replace("/", "-") for run in comparison.runs)
    return numbered(bounded_name("compare-", stem))


if __name__ == "__main__":
    run_main(main)
