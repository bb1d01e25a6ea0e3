"""The committed gallery: each page is what this version of the program makes of the run's tables.

The pictures are taken from the run's own figures/, so that this takes seconds; study.report draws them anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from study.core.run_dir import task_of
from study.core.spec import REPRODUCE
from study.page.figures import base
from study.page.figures.base import Figure
from study.page.tasks.registry import write_page_of
from study.reproduction.page import write_reproduction_page

GALLERY = Path(__file__).resolve().parents[2] / "reports" / "gallery"
RUNS = sorted(path.parent.name for path in GALLERY.glob("*/summary.json"))  # a range test has no page


@pytest.mark.parametrize("name", RUNS)
def test_a_gallery_page_is_rebuilt_from_its_tables_byte_for_byte(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuild = f"rebuild it and commit what changes: python -m study.report reports/gallery/{name}"

    def committed(figure: Figure, data: Any) -> bytes:
        picture = GALLERY / name / "figures" / f"{figure.name}.png"
        assert picture.is_file(), f"{picture.name} is new: {rebuild}"
        return picture.read_bytes()

    monkeypatch.setattr(base, "render", committed)
    run_dir = tmp_path / name
    shutil.copytree(GALLERY / name, run_dir, ignore=shutil.ignore_patterns("report.html"))
    write = write_reproduction_page if task_of(run_dir) == REPRODUCE else write_page_of
    assert write(run_dir).read_text() == (GALLERY / name / "report.html").read_text(), rebuild
