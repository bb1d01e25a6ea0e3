"""What studies in this process share: one Ray, started once, and pictures, of which the same one is drawn once."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from study_process import start_ray

from study.page.figures import base


@pytest.fixture(scope="module")
def one_ray() -> None:
    """A Ray for run_here, which stays for the modules that come. One slot: the other process has studies, too."""
    if not ray.is_initialized():
        start_ray(num_cpus=1)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Other tests begin without a Ray."""
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        ray.shutdown()


@pytest.fixture(scope="module", autouse=True)
def same_pictures_are_drawn_once_and_coarsely() -> Iterator[None]:
    """Of a study that is resumed, or whose page is rebuilt. That equal data give the same picture is tests/page's."""
    drawn: dict[tuple[Callable[[Any], Any], bytes], base.Picture] = {}
    draw_anew = base.render

    def render(figure: base.Figure, data: Any) -> base.Picture:
        key = figure.draw, pickle.dumps(data)
        if key not in drawn:
            drawn[key] = draw_anew(figure, data)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "render", render)
        patch.setattr(base, "DPI", 40)
        patch.setattr(base, "MOST_SVG_CHARACTERS", 0)
        yield


@pytest.fixture(scope="module")
def undrawn(same_pictures_are_drawn_once_and_coarsely: None) -> Iterator[None]:
    """Pages without pictures, where they are of studies such as others draw: a page's take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "png", lambda draw, data: b"\x89PNG")
        yield
