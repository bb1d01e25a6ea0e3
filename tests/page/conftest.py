"""Pictures are drawn coarsely: no test of the page looks at pixels."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def coarse_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.page.figures.base.DPI", 40)
