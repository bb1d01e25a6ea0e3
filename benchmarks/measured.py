"""What a benchmark returns: a figure for each thing that it measured, with its aim."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A figure, once a repeat; what is compared in it ran in turn within each repeat.

    at_least, at_most: the aim, one of them or none; detail: what the figure was made of, such as seconds, for the JSON.
    """

    name: str
    values: tuple[float, ...]
    unit: str = "×"
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the median is as aimed at; None without an aim."""
        if self.at_least is not None:
            return self.median >= self.at_least
        if self.at_most is not None:
            return self.median <= self.at_most
        return None
