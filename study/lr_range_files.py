"""What a learning-rate range test leaves behind, and how a study starts at the learning rate that it suggests."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from study.errors import StudyError
from study.group import TUNE
from study.spec import StudySpec
from trainables.files import write_durably
from trainables.lr_range import LrRange

TABLE, FACTS, FIGURE = "lr_range.parquet", "lr_range.json", "lr_range.png"
OPTION = "--start-from-lr-range"

# A row a step. Only the last loss may be other than finite.
STEPS = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False, metadata={"unit": "from 1"}),
        pa.field("learning_rate", pa.float64(), nullable=False, metadata={"unit": "of this step"}),
        pa.field("loss", pa.float64(), nullable=False, metadata={"unit": "of its batch, before the step"}),
        pa.field("smoothed_loss", pa.float64(), nullable=False),
    ]
)


def write_lr_range(folder: Path, result: LrRange, facts: Mapping[str, Any], figure: bytes) -> None:
    columns = {
        "step": range(1, len(result.losses) + 1),
        "learning_rate": result.learning_rates,
        "loss": result.losses,
        "smoothed_loss": result.smoothed_losses,
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}, schema=STEPS), buffer)
    write_durably(folder / TABLE, buffer.getvalue())
    write_durably(folder / FIGURE, figure)
    write_durably(folder / FACTS, (json.dumps(facts, indent=2) + "\n").encode())


def start_knob(stage: str, arm: str) -> str:
    """The name under which --start sets the learning rate that the arm's test suggests: the puzzles have their own."""
    return "learning_rate" if stage == TUNE else f"{arm}.learning_rate"


def rate_text(learning_rate: float) -> str:
    """A learning rate as --start is given it."""
    return f"{learning_rate:.4g}"


def starting_from_lr_range(spec: StudySpec) -> dict[str, Any]:
    """The settings with which spec's arms start at the rate that --start-from-lr-range suggests; {} without it.

    The rate stands in start, and so in spec.json: a resumed study does not read the folder. Raises StudyError.
    """
    if spec.start_from_lr_range is None:
        return {}
    knob, learning_rate = _suggested(spec.start_from_lr_range, spec.task)
    start = spec.start or {}
    if knob in start:
        return {"start_from_lr_range": None}
    return {"start": {**start, knob: learning_rate}}


def start_refused(spec: StudySpec, sentence: str) -> str:
    """The sentence of SearchSpace.starting_at, with the option that it is about."""
    knob = sentence.partition(" ")[0]
    if spec.start_from_lr_range is not None and knob.endswith("learning_rate"):
        return f"{OPTION} {spec.start_from_lr_range}: {sentence}; give one that is by --start {knob}=VALUE"
    return f"--start: {sentence}"


def _suggested(folder: Path, task: str) -> tuple[str, str]:
    try:
        facts = json.loads((folder / FACTS).read_text())
        of_task, knob = facts["task"], start_knob(facts["stage"], facts["arm"])
        learning_rate = facts["suggestions"]["steepest_descent"]
    except OSError:
        raise StudyError(f"{OPTION} {folder} is not a folder that study.lr_range wrote (it lacks {FACTS})") from None
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError):
        raise StudyError(f"{OPTION}: {folder / FACTS} is damaged") from None
    if of_task != task:
        raise StudyError(f"{OPTION} {folder} is of the task {of_task!r}, not {task!r}")
    if learning_rate is None:
        raise StudyError(f"{OPTION} {folder} suggests no learning rate: the loss never fell there")
    if not isinstance(learning_rate, float) or not 0 < learning_rate < math.inf:
        raise StudyError(f"{OPTION}: {folder / FACTS} is damaged")
    return knob, rate_text(learning_rate)
