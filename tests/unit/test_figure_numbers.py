"""A figure's numbers as CSV, whatever its data are."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from study.page.figures.numbers import MOST_CHARACTERS, figure_numbers


@dataclass(frozen=True)
class Panel:
    name: str
    height: float
    points: pd.DataFrame


POINTS = pd.DataFrame({"x": [1.5, 2.0], "arm": ["a", "b, c"]})


def test_one_table_is_plain_csv() -> None:
    text = figure_numbers(POINTS)
    assert text is not None
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(text)), POINTS)
    assert figure_numbers(POINTS.set_index("arm")) == 'arm,x\na,1.5\n"b, c",2\n'


def test_several_tables_are_named_by_the_fields_that_lead_to_them() -> None:
    text = figure_numbers({"first": Panel("p", 0.5, POINTS), "maps": (np.eye(2), np.array([1.5]))})
    assert text is not None
    assert text.split("\n")[0] == "# first"
    assert "# first\nname,value\nname,p\nheight,0.5\n" in text
    assert "# first/points\nx,arm\n1.5,a\n" in text
    assert "# maps/0\n0,1\n1,0\n0,1\n" in text
    assert "# maps/1\nvalue\n1.5\n" in text


def test_missing_numbers_are_empty_and_too_many_are_left_out() -> None:
    assert figure_numbers(pd.DataFrame({"x": [np.nan, 1.0]})) == 'x\n""\n1\n'
    assert figure_numbers(pd.DataFrame({"x": np.linspace(0, 1, MOST_CHARACTERS)})) is None


def test_a_table_of_too_many_cells_is_not_written_to_be_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pd.DataFrame, "to_csv", lambda *_, **__: pytest.fail("it was written"))
    assert figure_numbers(np.zeros(MOST_CHARACTERS + 1)) is None
