"""Counts, times and lists as text, for the console and the page alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NOTHING = "–"


def duration(seconds: float | None) -> str:
    """A duration as text: '4.0 s', '45 s', '12 min 05 s', '3 h 20 min'; a dash for None or NaN."""
    if seconds is None or math.isnan(seconds):
        return NOTHING
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 10 or seconds == 0 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def short(value: object) -> str:
    """A setting or a measurement as text, a float with four digits: 'adam', '32', '0.01235'."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plural(number: int, noun: str) -> str:
    """A number and its noun: '1 arm', '2 arms', '1,200 images', '3 searches'."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural_of(noun)}"


def plural_of(noun: str) -> str:
    return f"{noun}es" if noun.endswith("search") else f"{noun}s"


def listed(names: Sequence[str]) -> str:
    """A list as text: 'a', 'a and b', 'a, b and c'."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def word(number: int) -> str:
    """A number in words up to ten, else in digits: 'five', '12'."""
    return NUMBER_WORDS[number] if 0 <= number < len(NUMBER_WORDS) else f"{number:,}"
