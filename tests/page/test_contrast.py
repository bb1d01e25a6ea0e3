"""The colours of the page's text, light and dark: WCAG 2's AA wants a contrast of 4.5."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import study.page

CSS = (Path(study.page.__file__).parent / "templates" / "style.css.j2").read_text(encoding="utf-8")
LIGHT, DARK = (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", block)) for block in re.findall(r":root \{([^}]*)\}", CSS))


def luminance(color: str) -> float:
    digits = color.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    channels = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_black_on_white_is_21() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [(text, ground) for text in ("ink", "soft", "best", "link") for ground in ("paper", "tint")]
    + [("ink", "warn-tint")],
)
def test_text_stands_out_from_its_ground(theme: str, text: str, ground: str) -> None:
    colors = {**LIGHT, **(DARK if theme == "dark" else {})}
    assert contrast(colors[text], colors[ground]) >= 4.5
