"""Where a training that was done again differs from what was recorded of it: exactly, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# In the order in which one follows from another; the validation metrics, val_*, come last.
_FIRST = ("train_indices_sha256", "learning_rate", "images", "train_loss", "weights_sha256")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A quantity, a column of epochs.parquet, that came out other than it was recorded."""

    epoch: int
    quantity: str
    recorded: Any
    again: Any

    def __str__(self) -> str:
        """'train_loss is 0.75 and was recorded as 0.5 (by +0.25)'."""
        if self.quantity.endswith("sha256"):
            return f"{self.quantity} is {str(self.again)[:12]} and was recorded as {str(self.recorded)[:12]}"
        if isinstance(self.recorded, list):
            return f"{self.quantity} differs from what was recorded (by up to {self.amount:.3g})"
        by = "" if self.amount is None else f" (by {self.amount:+.3g})"
        return f"{self.quantity} is {self.again!r} and was recorded as {self.recorded!r}{by}"

    @property
    def amount(self) -> float | None:
        """Again minus recorded; of lists, the largest distance (NaN if their lengths differ); None if not numbers."""
        if isinstance(self.recorded, list) and isinstance(self.again, list):
            if len(self.recorded) != len(self.again):
                return math.nan
            return max(abs(again - recorded) for again, recorded in zip(self.again, self.recorded, strict=True))
        numbers = isinstance(self.recorded, int | float) and isinstance(self.again, int | float)
        return self.again - self.recorded if numbers else None


def compared(recorded: Mapping[str, Any]) -> list[str]:
    """The quantities of a recorded epoch that another training must reproduce; those without a value are left out."""
    names = [*_FIRST, *sorted(name for name in recorded if name.startswith("val_"))]
    return [name for name in names if recorded.get(name) is not None]


def epoch_differences(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> list[Difference]:
    """The quantities that differ in one epoch; one that was not measured again is not compared.

    >>> [str(d) for d in epoch_differences({"epoch": 1, "train_loss": 0.5}, {"epoch": 1, "train_loss": 0.75})]
    ['train_loss is 0.75 and was recorded as 0.5 (by +0.25)']
    """
    return [
        Difference(epoch=int(recorded["epoch"]), quantity=name, recorded=recorded[name], again=again[name])
        for name in compared(recorded)
        if name in again and not _same(recorded[name], again[name])
    ]


def first_difference(recorded: Iterable[Mapping[str, Any]], again: Iterable[Mapping[str, Any]]) -> Difference | None:
    """The first difference of epochs that both have, by epoch and then in the order of `compared`."""
    by_epoch = {row["epoch"]: row for row in again}
    for row in recorded:
        if row["epoch"] in by_epoch and (found := epoch_differences(row, by_epoch[row["epoch"]])):
            return found[0]
    return None


def _same(recorded: Any, again: Any) -> bool:
    if isinstance(recorded, list) and isinstance(again, list):
        return len(recorded) == len(again) and all(map(_same, recorded, again))
    if isinstance(recorded, float) and isinstance(again, float) and math.isnan(recorded):
        return math.isnan(again)
    return bool(recorded == again)
