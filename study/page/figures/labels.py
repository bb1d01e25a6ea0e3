"""Names as labels of figures: what the fonts can draw, shortened so that no two classes look alike."""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections.abc import Sequence

from matplotlib import font_manager

MAX_LABELLED_CLASSES = 20
FONT = "DejaVu Sans"  # comes with Matplotlib
# Taken for what FONT lacks where they are installed. Scripts whose letters change shape with their neighbours, or run
# from right to left, are not drawn right by Matplotlib with any font.
FALLBACK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "NanumGothic",
)
UNDRAWN = "?"


@functools.cache
def font_names() -> tuple[str, ...]:
    """FONT and those of FALLBACK_FONTS that are on this machine."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return (FONT, *(name for name in FALLBACK_FONTS if name in installed))


@functools.cache
def _characters() -> frozenset[int]:
    found: set[int] = set()
    for name in font_names():
        found |= font_manager.get_font(font_manager.findfont(name)).get_charmap().keys()
    return frozenset(found)


def _is_drawn(character: str) -> bool:
    return ord(character) in _characters() and unicodedata.bidirectional(character) not in {"R", "AL"}


def is_drawable(text: str) -> bool:
    """Whether a figure can show the whole text."""
    return all(map(_is_drawn, text))


def plain(text: str, width: int = 28) -> str:
    """A name as a label: without mathtext and what fonts lack, and shortened to width characters."""
    return _escaped(_cut(_drawn(text), width))


def _drawn(text: str) -> str:
    return "".join(character if _is_drawn(character) else UNDRAWN for character in text)


def _escaped(text: str) -> str:
    return text.replace("$", r"\$")


def broken(name: str, width: int) -> str:
    """A name in lines of about width characters, broken at underscores."""
    lines = [""]
    for word in name.split("_"):
        joined = f"{lines[-1]}_{word}" if lines[-1] else word
        if len(joined) <= width or not lines[-1]:
            lines[-1] = joined
        else:
            lines[-1] += "_"
            lines.append(word)
    return "\n".join(plain(line, 16) for line in lines)


def are_by_index(class_names: Sequence[str]) -> bool:
    """Whether figures show these classes by their index: too many for labels, or with names that cannot be drawn."""
    return len(class_names) > MAX_LABELLED_CLASSES or not all(map(is_drawable, class_names))


def by_index(class_names: Sequence[str]) -> str:
    """What the heading of an axis adds to "class"."""
    return ", by its index" if are_by_index(class_names) else ""


def class_labels(class_names: Sequence[str], width: int) -> tuple[str, ...] | None:
    """Labels of at most width characters, no two alike; None if there are too many classes for labels.

    Names that are alike when their end is cut off are cut before what tells them apart; if that does not help they get
    their index. All classes have their index as label if one of them cannot be drawn.
    """
    if len(class_names) > MAX_LABELLED_CLASSES:
        return None
    if are_by_index(class_names):
        return tuple(map(str, range(len(class_names))))
    return told_apart(class_names, width)


def told_apart(names: Sequence[str], width: int) -> tuple[str, ...]:
    """Labels of at most width characters, no two alike. See class_labels."""
    names = [_drawn(name) for name in names]
    cut = [_cut(name, width) for name in names]
    telling = [
        label if cut.count(label) == 1 else _telling(name, _those(names, cut, label), width)
        for name, label in zip(names, cut, strict=True)
    ]
    return tuple(
        _escaped(label if telling.count(label) == 1 else f"{_cut(label, width - len(f' {index}'))} {index}")
        for index, label in enumerate(telling)
    )


def _those(class_names: Sequence[str], cut: Sequence[str], label: str) -> list[str]:
    return [name for name, its in zip(class_names, cut, strict=True) if its == label]


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def _telling(name: str, alike: Sequence[str], width: int) -> str:
    """The name's beginning, an ellipsis, and it from where it differs from the others on; else from its end."""
    differs_at = max((_num_shared(name, other) for other in alike if other != name), default=0)
    num_first = width // 4
    rest = name[min(differs_at, len(name) - 1) :]
    room = width - num_first - 1
    if len(rest) < room:  # there is room for some of what is shared
        rest = name[-room:]
    return name[:num_first] + "…" + _cut(rest, room)


def _num_shared(name: str, other: str) -> int:
    """The number of characters that both names begin with."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(name, other, strict=False)))
