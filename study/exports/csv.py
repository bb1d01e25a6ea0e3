"""A run's tables as CSV."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from study.analysis.tables import Tables
from study.core.text import plural
from study.exports.places import made_whole

_TABLES = ("trials", "epochs", "rungs", "retests", "audit")


def write_csv(tables: Tables, path: Path) -> str:
    """Write a folder of CSV files, one a table, and say what is in it. Lists are JSON.

    Raises StudyError if there is something at the path.
    """
    counts = []
    with made_whole(path) as part:
        part.mkdir()
        for name in _TABLES:
            frame = getattr(tables, name)
            if frame is not None:
                _with_text(frame).to_csv(part / f"{name}.csv", index=False)
                counts.append(f"{name}.csv ({plural(len(frame), 'row')})")
    return f"{path}: {', '.join(counts)}"


def _with_text(frame: pd.DataFrame) -> pd.DataFrame:
    changed = {name: frame[name].map(_text) for name in frame if frame[name].map(_is_list).any()}
    return frame.assign(**{str(name): values for name, values in changed.items()})


def _is_list(value: object) -> bool:
    return isinstance(value, list | np.ndarray)


def _text(value: object) -> object:
    return json.dumps(value, default=lambda array: array.tolist()) if _is_list(value) else value
