"""python -m study.cache: list the decoded copies of data sets, with their sizes and ages, and clear them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from study.cli import Help, Parser, given_path, require_known, run_main
from study.core.errors import StudyError, nearest
from study.core.invocation import invocation
from study.core.text import duration, plural
from trainables.common.memory import bytes_text
from trainables.data.cache import Copy, clear, copies_in, user_cache

ALL = ""


def main(argv: Sequence[str]) -> int:
    given = parse(argv)
    place = user_cache() if given.cache_dir is None else given_path("--cache-dir", given.cache_dir)
    if place is None:
        raise StudyError("there is no home folder, so that decoded copies are kept nowhere but in a --cache-dir")
    try:
        print(_cleared(place, given.clear) if given.clear is not None else _listed(place))
    except OSError as error:
        raise StudyError(f"{place} cannot be read or changed: {error.strerror or error}") from None
    return 0


def parse(argv: Sequence[str]) -> Namespace:
    """Returns cache_dir (None: the user's cache) and clear (None: nothing, ALL, or a name). Raises StudyError."""
    parser = Parser(
        prog=invocation("study.cache"),
        description="Lists the decoded copies of data sets, which spare a study the decoding of its images.\nThey may "
        "be cleared at any time: the next study makes its own again.",
        formatter_class=Help,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--cache-dir", metavar="DIR", help=f"the folder that they lie in [default {user_cache() or 'none'}]"
    )
    parser.add_argument(
        "--clear", nargs="?", const=ALL, metavar="NAME", help="remove the copies of this data set; without NAME, all"
    )
    given, unknown = parser.parse_known_args(argv)
    require_known(parser, unknown)
    return given


def _listed(place: Path) -> str:
    copies = copies_in(place)
    return "\n".join([f"{place}: {_counted(copies)}", *(f"  {_line(copy)}" for copy in copies)])


def _cleared(place: Path, name: str) -> str:
    names = {copy.name for copy in copies_in(place)}
    if name != ALL and name not in names:
        raise StudyError(f"{place} holds no decoded copy of {name!r}{nearest(name, sorted(names))}")
    return f"removed from {place}: {_counted(clear(place, None if name == ALL else name))}"


def _counted(copies: Sequence[Copy]) -> str:
    size = f", {bytes_text(sum(copy.num_bytes for copy in copies))}" if copies else ""
    return f"{plural(len(copies), 'decoded data set')}{size}"


def _line(copy: Copy) -> str:
    state = f" ({copy.state})" if copy.state else ""
    whose = f"{copy.name}, {copy.kind}, of {copy.folder}" if copy.folder else copy.path.name
    return f"{whose}: {bytes_text(copy.num_bytes)}, made {duration(copy.age_seconds)} ago{state}"


if __name__ == "__main__":
    run_main(main)
