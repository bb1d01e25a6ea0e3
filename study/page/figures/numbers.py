"""The numbers of a figure as CSV: whatever its data function handed to its draw function."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

MOST_CHARACTERS = 100_000
"""Of one figure; more would swell a page, and is in the run's tables."""


def figure_numbers(data: Any) -> str | None:
    """The data as CSV, a block for each table in them; None if they are longer than MOST_CHARACTERS.

    Where there are several blocks, a line "# PATH" stands above each, the fields that lead to it.
    """
    blocks = list(_blocks("", data))
    if sum(frame.size for _, frame in blocks) > MOST_CHARACTERS:  # each cell ends with a comma or a line
        return None
    texts = [_csv(frame) for _, frame in blocks]
    if sum(map(len, texts)) > MOST_CHARACTERS:
        return None
    if len(blocks) == 1:
        return texts[0]
    return "\n".join(f"# {path}\n{text}" for (path, _), text in zip(blocks, texts, strict=True))


def _blocks(path: str, data: Any) -> Iterator[tuple[str, pd.DataFrame]]:
    if isinstance(data, pd.DataFrame):
        yield path, data
    elif isinstance(data, pd.Series):
        yield path, data.to_frame()
    elif isinstance(data, np.ndarray):
        yield path, pd.DataFrame(data if data.ndim == 2 else {"value": data.reshape(-1)})
    elif dataclasses.is_dataclass(data):
        yield from _fields(path, {field.name: getattr(data, field.name) for field in dataclasses.fields(data)})
    elif isinstance(data, Mapping):
        yield from _fields(path, {str(key): value for key, value in data.items()})
    elif _is_sequence(data):
        yield from _fields(path, {str(position): value for position, value in enumerate(data)})


def _fields(path: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, pd.DataFrame]]:
    """What is one value of its field as rows of one table, then the tables below the others."""
    plain = {name: value for name, value in fields.items() if _is_plain(value)}
    if plain:
        yield path or "values", pd.DataFrame({"name": list(plain), "value": list(plain.values())})
    for name, value in fields.items():
        if name not in plain:
            yield from _blocks(f"{path}/{name}".lstrip("/"), value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int | float | np.generic)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _csv(frame: pd.DataFrame) -> str:
    has_index = not isinstance(frame.index, pd.RangeIndex)
    return str(frame.to_csv(index=has_index, float_format="%.6g", lineterminator="\n"))
