"""Fuzzing with hypothesis: what is made up, and what a reader may make of it: read it, or refuse it in one sentence.

A few examples a test, the same every time; `-m faults` takes more. FUZZ_EXAMPLES=5000 takes so many, others each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from faults import Faults
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.core.errors import StudyError
from trainables.data.types import DataError

EXAMPLES = os.environ.get("FUZZ_EXAMPLES")
FEW, MANY = 12, 400

Check = Callable[[Any], object]


def fuzz(faults: Faults, cases: st.SearchStrategy[Any], check: Check, *, few: int = FEW) -> None:
    """Check the cases. One is survived where it raises nothing but an error for the user, of one line."""

    @settings(
        max_examples=int(EXAMPLES) if EXAMPLES else MANY if faults.every else few,
        derandomize=EXAMPLES is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def one(case: Any) -> None:
        faults.injected += 1
        said = "read"
        try:
            check(case)
        except (StudyError, DataError, RefusedError) as error:
            said = str(error)
        assert len(said.splitlines()) == 1
        faults.survived += 1

    one()


class RefusedError(Exception):
    """Stands for the ValueError by which a table is refused: others of the type are none of the declared ones."""


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """The content with some bytes replaced, taken out, or put in."""
    cut = st.tuples(st.integers(0, len(content)), st.integers(0, 40), st.binary(max_size=40))
    return st.lists(cut, min_size=1, max_size=4).map(lambda cuts: _cut(content, cuts))


def _cut(content: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    for place, length, new in cuts:
        content = content[:place] + new + content[place + length :]
    return content


@st.composite
def altered(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value in which something, anywhere, is another value or gone."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 4)) == 0:
        return draw(JSON_VALUES)
    if isinstance(value, list):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], *([draw(altered(value[place]))] if draw(st.booleans()) else []), *value[place + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    rest = {name: inner for name, inner in value.items() if name != key}
    return {**rest, key: draw(altered(value[key]))} if draw(st.integers(0, 4)) else rest
