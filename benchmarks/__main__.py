"""python -m benchmarks [NAME ...]: how fast this project is beside what one would take instead."""

from __future__ import annotations

import datetime
import json
import sys
import tempfile
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.data import provide
from benchmarks.measured import Measured
from benchmarks.registry import BENCHMARKS, chosen, run
from benchmarks.table import as_json, table
from study.cli import Parser, given_path, run_main


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="\n".join(f"  {name:8} {title}" for name, title in BENCHMARKS.items()),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure; default all of those below")
    parser.add_argument("--quick", action="store_true", help="see that all of it runs, in a minute or two")
    parser.add_argument(
        "--repeats",
        type=int,
        choices=range(1, 1001),
        metavar="N",
        help="default 5, 3 of trials, 50 of search; quick: 1",
    )
    parser.add_argument("--out", default="reports/benchmarks.json", metavar="FILE", help="default %(default)s")
    parser.add_argument("--data-root", metavar="DIR", help="where cifar10 lies; default data, else ../shared/data")
    given = parser.parse_args(argv)
    names, out = chosen(given.names), given_path("--out", given.out)
    data_root = given_path("--data-root", given.data_root) if given.data_root else None
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    measured: dict[str, list[Measured]] = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        for name in names:
            print(f"{name}: {BENCHMARKS[name]}", file=sys.stderr, flush=True)
            folder = Path(scratch) / name
            folder.mkdir()
            provide(folder, data_root)
            measured[name] = run(name, quick=given.quick, repeats=given.repeats, folder=folder)
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(as_json(measured, date=date, quick=given.quick), indent=1) + "\n")
    print(table([one for found in measured.values() for one in found]))
    print(f"\n{out}")
    return 0


if __name__ == "__main__":
    run_main(main)
