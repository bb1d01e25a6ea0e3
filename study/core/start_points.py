"""Starting a study at the learning rate that a range test suggests."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from study.core.errors import StudyError
from study.core.parsing import parse_json
from study.core.spec import StudySpec
from study.core.stage import TUNE

FACTS = "lr_range.json"
"""The file into which study.lr_range writes its result."""
OPTION = "--start-from-lr-range"


def start_knob(stage: str, arm: str) -> str:
    """The --start knob for the rate suggested by a test of this arm; before the main stage it is that arm's alone."""
    return "learning_rate" if stage == TUNE else f"{arm}.learning_rate"


def rate_text(learning_rate: float) -> str:
    """A learning rate as text for --start."""
    return f"{learning_rate:.4g}"


def starting_from_lr_range(spec: StudySpec) -> dict[str, Any]:
    """The settings that make spec's arms start at the rate that --start-from-lr-range suggests; {} without it.

    The rate is put into start, and thus into spec.json, so a resumed study does not need the folder. Raises
    StudyError.
    """
    if spec.start_from_lr_range is None:
        return {}
    knob, learning_rate = _suggested(spec.start_from_lr_range, spec.task)
    start = spec.start or {}
    if knob in start:
        return {"start_from_lr_range": None}
    return {"start": {**start, knob: learning_rate}}


def start_refused(spec: StudySpec, sentence: str) -> str:
    """The error sentence of SearchSpace.starting_at, preceded by the option that it is about."""
    knob = sentence.partition(" ")[0]
    if spec.start_from_lr_range is not None and knob.endswith("learning_rate"):
        return f"{OPTION} {spec.start_from_lr_range}: {sentence}; give one that is by --start {knob}=VALUE"
    return f"--start: {sentence}"


def _suggested(folder: Path, task: str) -> tuple[str, str]:
    try:
        facts = parse_json((folder / FACTS).read_text())
        of_task, knob = facts["task"], start_knob(facts["stage"], facts["arm"])
        learning_rate = facts["suggestions"]["steepest_descent"]
    except OSError:
        raise StudyError(f"{OPTION} {folder} is not a folder that study.lr_range wrote (it lacks {FACTS})") from None
    except (ValueError, KeyError, TypeError):
        raise StudyError(f"{OPTION}: {folder / FACTS} is damaged") from None
    if of_task != task:
        raise StudyError(f"{OPTION} {folder} is of the task {of_task!r}, not {task!r}")
    if learning_rate is None:
        raise StudyError(f"{OPTION} {folder} suggests no learning rate: the loss never fell there")
    if not isinstance(learning_rate, float) or not 0 < learning_rate < math.inf:
        raise StudyError(f"{OPTION}: {folder / FACTS} is damaged")
    return knob, rate_text(learning_rate)
