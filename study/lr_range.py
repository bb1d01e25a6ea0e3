"""python -m study.lr_range TASK|RECIPE [options]: test at which learning rate one begins to learn, and to diverge."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from study.cli import Parser, Verb, add_options, add_own_options, parse_verb, require_known, run_main
from study.core.errors import StudyError, nearest
from study.core.invocation import invocation
from study.reproduction.spec import ReproductionSpec
from trainables.probes.lr_range import SCHEDULES, LrRangeSettings

_DEFAULTS = LrRangeSettings()
VERB = Verb(
    name="study.lr_range",
    scopes=frozenset({"training"}),
    options={
        "arm": (str, "whose start configuration is tested; default the control"),
        "schedule": (str, f"how the learning rate rises: {', '.join(SCHEDULES)} [default {_DEFAULTS.schedule}]"),
        "num_steps": (int, f"steps from --min-lr to --max-lr [in steps; default {_DEFAULTS.num_steps}]"),
        "min_lr": (float, f"learning rate of the first step [default {_DEFAULTS.min_lr:g}]"),
        "max_lr": (float, f"learning rate of the last step [default {_DEFAULTS.max_lr:g}]"),
        "smoothing": (float, f"weight of the past in the smoothed loss [0 to 1; default {_DEFAULTS.smoothing:g}]"),
    },
    epilog=lambda study: "What study.run leaves to --budget is as there: quick without a GPU, standard with one.",
    also="RECIPE       a recipe of study.reproduce or a variant: its own net, beside the rate that it trains at",
)
# s4_resnet9_aug, or with a variant s4_resnet9_aug.plain_decay; no task is called like that.
RECIPE = re.compile(r"s\d_.*")


def main(argv: Sequence[str]) -> int:
    if argv and RECIPE.fullmatch(argv[0]):
        values, own = parse_recipe(argv)
        from study.probes.recipe_lr_range import run_recipe_range_test

        return run_recipe_range_test(argv[0], values, own)
    study, values, own = parse_verb(VERB, argv)
    from study.probes.lr_range import run_range_test

    return run_range_test(study, values, own)


def parse_recipe(argv: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the given values of ReproductionSpec's fields, and those of the test's options. Raises StudyError."""
    from study.reproduction.recipes import RECIPES

    runs = {name: says for recipe in RECIPES.values() for name, (_, says, _) in recipe.runs.items()}
    if argv[0] not in runs:
        raise StudyError(f"there is no recipe {argv[0]!r}{nearest(argv[0], runs)}")
    parser = Parser(
        prog=f"{invocation(VERB.name)} {argv[0]}",
        description=f"{argv[0]}: {runs[argv[0]]}",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    options = {name: option for name, option in VERB.options.items() if name != "arm"}
    add_own_options(parser, VERB.name, options)
    add_options(parser, ReproductionSpec, scopes=VERB.scopes)
    given, unknown = parser.parse_known_args(argv[1:])
    require_known(parser, unknown)
    own = {name: value for name, value in vars(given).items() if name in options}
    return {name: value for name, value in vars(given).items() if name not in own}, own


if __name__ == "__main__":
    run_main(main)
