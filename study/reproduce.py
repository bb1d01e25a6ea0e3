"""python -m study.reproduce [RECIPE ...]: train the recipes of five student reports, as stated and corrected."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from study.cli import Help, Parser, add_options, require_known, run_main
from study.core.invocation import invocation
from study.reproduction.spec import ReproductionSpec


def main(argv: Sequence[str]) -> int:
    values = parse(argv)
    # Imported after parsing: --help and a misspelt option need neither Ray nor the data.
    from study.engine.console import StudyConsole
    from study.reproduction.session import begin

    return begin(values, StudyConsole())


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """Returns the given values by the names of ReproductionSpec's fields. Raises StudyError."""
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
    add_options(parser, ReproductionSpec)
    given, unknown = parser.parse_known_intermixed_args(argv)
    require_known(parser, unknown)
    values = vars(given)
    return {**values, "recipes": tuple(values.get("recipes") or ())}


def _recipes() -> str:
    from study.reproduction.recipes import RECIPES

    return "\n".join(["recipes:", *(f"  {recipe.name:20} {recipe.says}" for recipe in RECIPES.values())])


if __name__ == "__main__":
    run_main(main)
