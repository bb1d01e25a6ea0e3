"""Pictures drawn side by side are those that one process draws."""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import Any

import pytest

from study.page.drawing import rendered
from study.page.figures import base
from study.page.figures.base import Picture
from study.page.tasks.baseline import PAGE

FIGURE = PAGE.figures[0]
THIS_PROCESS = os.getpid()
pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs a fork")


def picture(data: Any) -> Picture:
    """Of more bytes than a pipe holds; every second one without an SVG."""
    return Picture(png=b"\x89PNG" + bytes([data]) * 200_000, svg=bytes([data]) * 200_000 if data % 2 else None)


def test_they_come_in_order_and_were_drawn_by_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(figure: base.Figure, data: int) -> Picture:
        assert os.getpid() != THIS_PROCESS
        return picture(data)

    monkeypatch.setattr(base, "render", drawn)
    assert list(rendered(((FIGURE, data) for data in range(7)), 2)) == [picture(data) for data in range(7)]


def test_one_process_draws_them_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(figure: base.Figure, data: int) -> Picture:
        assert os.getpid() == THIS_PROCESS
        return picture(data)

    monkeypatch.setattr(base, "render", drawn)
    assert list(rendered([(FIGURE, 1), (FIGURE, 2)], 1)) == [picture(1), picture(2)]


def test_what_a_killed_process_left_is_drawn_by_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(figure: base.Figure, data: int) -> Picture:
        if os.getpid() != THIS_PROCESS and data == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return picture(data)

    monkeypatch.setattr(base, "render", drawn)
    assert list(rendered([(FIGURE, data) for data in range(3)], 2)) == [picture(data) for data in range(3)]


def test_what_a_drawing_raises_is_raised_here_and_said_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def drawn(figure: base.Figure, data: int) -> Picture:
        raise ValueError(f"no picture of {data}")

    monkeypatch.setattr(base, "render", drawn)
    with pytest.raises(ValueError, match="no picture of 0"):
        list(rendered([(FIGURE, data) for data in range(3)], 2))
    assert capfd.readouterr() == ("", "")
