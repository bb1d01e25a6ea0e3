"""The committed gallery: each page is what this version of the program makes of the run's tables.

The PNGs are taken from the run's own figures/, the SVGs from the page, so that this takes seconds; study.report draws
them anew.
"""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from study.core.run_dir import task_of
from study.core.spec import REPRODUCE
from study.page.figures import base
from study.page.figures.base import Figure, Picture
from study.page.tasks.registry import write_page_of
from study.reproduction.page import write_reproduction_page

GALLERY = Path(__file__).resolve().parents[2] / "reports" / "gallery"
RUNS = sorted(path.parent.name for path in GALLERY.glob("*/summary.json"))  # a range test has no page


@pytest.mark.parametrize("name", RUNS)
def test_a_gallery_page_is_rebuilt_from_its_tables_byte_for_byte(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuild = f"rebuild it and commit what changes: python -m study.report reports/gallery/{name}"
    page = (GALLERY / name / "report.html").read_text()
    figures = dict(re.findall(r'<figure id="([^"]+)">(.*?)</figure>', page, flags=re.S))

    def committed(figure: Figure, data: Any) -> Picture:
        png = GALLERY / name / "figures" / f"{figure.name}.png"
        svg = re.search(r'<pre class="svg" hidden>([^<]+)</pre>', figures.get(figure.name, ""))
        assert png.is_file(), f"{figure.name} is new: {rebuild}"
        assert svg is not None, f"{figure.name} has no SVG: {rebuild}"
        return Picture(png=png.read_bytes(), svg=base64.b64decode(svg[1]))

    monkeypatch.setattr(base, "render", committed)
    run_dir = tmp_path / name
    shutil.copytree(GALLERY / name, run_dir, ignore=shutil.ignore_patterns("report.html"))
    write = write_reproduction_page if task_of(run_dir) == REPRODUCE else write_page_of
    assert write(run_dir).read_text() == page, rebuild
