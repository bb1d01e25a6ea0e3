"""python -m study.lr_range TASK [options]: test at which learning rate an arm begins to learn, and to diverge."""

from __future__ import annotations

from collections.abc import Sequence

from study.cli import Verb, parse_verb, run_main
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
)


def main(argv: Sequence[str]) -> int:
    study, values, own = parse_verb(VERB, argv)
    from study.probes.lr_range import run_range_test

    return run_range_test(study, values, own)


if __name__ == "__main__":
    run_main(main)
