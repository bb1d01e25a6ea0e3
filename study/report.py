"""python -m study.report DIR: rebuild a run directory's page from its tables alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from study.page import write_page


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 with one sentence on stderr where the directory is no run directory."""
    parser = argparse.ArgumentParser(prog="python -m study.report", description=__doc__)
    parser.add_argument("run_dir", metavar="DIR", type=Path, help="a run directory, such as reports/NAME")
    run_dir = parser.parse_args(arguments).run_dir
    try:
        path = write_page(run_dir)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
