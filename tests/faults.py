"""Faults that tests make, counted: `python -m pytest -m faults` makes all of them, the default run a few of a kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import pytest

Case = TypeVar("Case")
PROPERTY = "faults"


class Faults:
    """The faults of a test. every: whether all are made, as under -m faults."""

    def __init__(self, *, every: bool) -> None:
        self.every = every
        self.injected = self.survived = 0

    def only_if_every(self, why: str) -> None:
        """Skip the test, but under -m faults. why: what the default run has of it instead, or what it costs."""
        if not self.every:
            pytest.skip(f"{why}: python -m pytest -m faults")

    def each(self, cases: Sequence[Case], *, few: int = 2) -> Iterator[Case]:
        """The cases, or a few of them, evenly spread; one is survived when the loop comes back for the next."""
        chosen = cases if self.every else cases[:: max(1, -(-len(cases) // few))]
        for case in chosen:
            self.injected += 1
            yield case
            self.survived += 1


def cut_or_flip(content: bytes, fault: str | int) -> bytes:
    """The content emptied, halved, less its last byte, or with the byte at that place flipped."""
    if isinstance(fault, int):
        return content[:fault] + bytes([content[fault] ^ 0x01]) + content[fault + 1 :]
    return content[: {"empty": 0, "half": len(content) // 2, "less a byte": len(content) - 1}[fault]]


def damages(size: int, *, flips: int) -> list[str | int]:
    """Three cuts of a file of that size, and flips of bytes spread over it."""
    return ["empty", "half", "less a byte", *range(0, size, max(1, size // flips))]
