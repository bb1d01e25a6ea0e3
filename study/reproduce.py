"""python -m study.reproduce [RECIPE ...]: train the recipes of five student reports, as stated and corrected."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from study.cli import LOUDNESS, Help, Parser, add_options, add_own_options, loudness_of, require_known, run_main
from study.core.invocation import invocation
from study.reproduction.spec import ReproductionSpec


def main(argv: Sequence[str]) -> int:
    values, own = parse(argv)
    loudness = loudness_of(own)
    # Imported after parsing: --help and a misspelt option need neither Ray nor the data.
    from study.engine.console import StudyConsole
    from study.reproduction.session import begin

    return begin(values, StudyConsole(loudness=loudness))


def parse(argv: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the given values of ReproductionSpec's fields, and those of LOUDNESS. Raises StudyError."""
    parser = Parser(
        prog=invocation("study.reproduce"),
        description="Trains the recipes of five student reports exactly as stated, and with their faults mended, and "
        "writes a page: reported, reproduced, corrected, tuned.",
        epilog=_recipes(),
        formatter_class=Help,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="a recipe, a source (s0 to s4) or all [all]")
    add_own_options(parser, "study.reproduce", LOUDNESS)
    add_options(parser, ReproductionSpec)
    given, unknown = parser.parse_known_intermixed_args(argv)
    require_known(parser, unknown)
    own = {name: value for name, value in vars(given).items() if name in LOUDNESS}
    values = {name: value for name, value in vars(given).items() if name not in own}
    return {**values, "recipes": tuple(values.get("recipes") or ())}, own


def _recipes() -> str:
    from study.reproduction.recipes import RECIPES

    return "\n".join(["recipes:", *(f"  {recipe.name:20} {recipe.says}" for recipe in RECIPES.values())])


if __name__ == "__main__":
    run_main(main)
