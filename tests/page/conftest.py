"""Pictures are drawn coarsely, and once: no test of the page looks at pixels, and few at an SVG."""

from __future__ import annotations

import pytest

from study.page.figures.base import MOST_SVG_CHARACTERS


@pytest.fixture(autouse=True)
def coarse_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.page.figures.base.DPI", 40)
    monkeypatch.setattr("study.page.figures.base.MOST_SVG_CHARACTERS", 0)


@pytest.fixture
def svgs_are_drawn(coarse_pictures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.page.figures.base.MOST_SVG_CHARACTERS", MOST_SVG_CHARACTERS)
