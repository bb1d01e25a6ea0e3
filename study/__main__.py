"""ray-study VERB ..., or python -m study VERB ...: every verb by its name."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from study.cli import run_main
from study.core.errors import StudyError, nearest
from study.core.invocation import SCRIPT

VERBS = {
    "run": "run a study and write its report",
    "resume": "continue a study or reproduction, or extend a study",
    "fork": "run a changed study that begins with the trials of a run",
    "report": "rebuild a run's page from its tables",
    "compare": "hold runs of a task against each other",
    "reproduce": "train five reports' recipes as stated, and corrected",
    "lr-range": "test the learning rates of an arm or a recipe",
    "inspect": "look into a completed trial",
    "replay": "train a trial again from its record and compare",
    "audit": "train stopped trials to their end",
    "export": "write a run's records for other tools",
    "cache": "list or remove decoded copies of data sets",
}


def script() -> None:
    """The entry point of ray-study."""
    run_main(main)


def main(argv: Sequence[str]) -> int:
    if not argv or argv[0] in {"-h", "--help"}:
        print(f"usage: {SCRIPT} VERB ...\n\nverbs:")
        for name, does in VERBS.items():
            print(f"  {name:10} {does}")
        print(f"\n{SCRIPT} VERB --help shows a verb's options; python -m study.VERB is the same.")
        return 0
    verb = argv[0].replace("_", "-")
    if verb not in VERBS:
        raise StudyError(f"verb must be one of {', '.join(VERBS)}, got {argv[0]!r}{nearest(verb, VERBS)}")
    module = importlib.import_module(f"study.{verb.replace('-', '_')}")  # the others' imports take seconds
    status: int = module.main(argv[1:])
    return status


if __name__ == "__main__":
    script()
