"""The files of a learning-rate range test."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from study.core.start_points import FACTS
from trainables.common.files import write_durably
from trainables.probes.lr_range import LrRange

TABLE, FIGURE = "lr_range.parquet", "lr_range.png"

# One row per step. Only the last loss may be non-finite.
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
