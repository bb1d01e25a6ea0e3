"""Figures of what tuning was worth: scores over the images spent, for an arm's own search and its controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from study.analysis import worth
from study.analysis.tables import Tables
from study.page.figures.base import BLUE, GREY, VERMILLION, Figure, legend, panels, set_title

STYLES: dict[str, dict[str, Any]] = {
    worth.OWN: {"color": VERMILLION, "linestyle": "-"},
    worth.RANDOM: {"color": BLUE, "linestyle": (0, (5, 2))},
    worth.ONE_RUNG: {"color": GREY, "linestyle": (0, (1, 1.5))},
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve, in % over images. low, high: of its band, NaN where it has none."""

    arm: str
    method: str
    images: np.ndarray
    score: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Curves, a panel for each arm. labels: method -> its name in the legend."""

    ylabel: str
    lines: tuple[Line, ...]
    labels: dict[str, str]
    is_stepped: bool


def labels_of(tables: Tables) -> dict[str, str]:
    searcher = str(tables.summary["budget"]["searcher"])
    return {
        worth.OWN: f"own search ({searcher}{'' if tables.has_two_objectives else ', ASHA'})",
        worth.RANDOM: "random search, ASHA",
        worth.ONE_RUNG: "random search, one rung, then the best",
    }


def anytime_data(tables: Tables) -> Lines | None:
    curves = [curve for curve in worth.anytime(tables) if np.isfinite(curve.best).any()]
    if tables.control_trials.empty or not curves:
        return None
    lines = tuple(_line(curve, curve.best, curve.low, curve.high) for curve in curves)
    return Lines(ylabel="Best so far (%)", lines=lines, labels=labels_of(tables), is_stepped=True)


def expected_data(tables: Tables) -> Lines | None:
    curves = worth.expected(tables)
    if tables.control_trials.empty or not curves:
        return None
    lines = tuple(_line(curve, curve.score, *[np.full_like(curve.score, np.nan)] * 2) for curve in curves)
    return Lines(ylabel="Expected best (%)", lines=lines, labels=labels_of(tables), is_stepped=False)


def _line(curve: worth.Anytime | worth.Expected, score: np.ndarray, low: np.ndarray, high: np.ndarray) -> Line:
    """score, low, high: 0-1, in % on the figure."""
    return Line(
        arm=curve.arm,
        method=curve.method,
        images=curve.images,
        score=100 * score,
        low=100 * low,
        high=100 * high,
    )


def draw_lines(data: Lines) -> Canvas:
    arms = list(dict.fromkeys(line.arm for line in data.lines))
    canvas, axes = panels(len(arms), 3, 1.9 if len(arms) > 1 else 3.0, sharex=True, sharey=True)
    for ax, arm in zip(axes, arms, strict=True):
        for line in (line for line in data.lines if line.arm == arm):
            style = STYLES[line.method]
            step: dict[str, Any] = {"drawstyle": "steps-post"} if data.is_stepped else {"marker": ".", "markersize": 4}
            fill: dict[str, Any] = {"step": "post"} if data.is_stepped else {}
            ax.fill_between(line.images, line.low, line.high, color=style["color"], alpha=0.16, linewidth=0, **fill)
            ax.plot(line.images, line.score, linewidth=1.5, **style, **step)
            ax.plot(line.images[-1], line.score[-1], "o", color=style["color"], markersize=4)  # all there is of a step
        set_title(ax, arm)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4))
        ax.xaxis.set_major_formatter(FuncFormatter(_count))
    canvas.supxlabel("Training images spent", fontsize=9)
    canvas.supylabel(data.ylabel, fontsize=9)
    present = [method for method in STYLES if any(line.method == method for line in data.lines)]
    legend(canvas, [Line2D([], [], linewidth=1.5, label=data.labels[method], **STYLES[method]) for method in present])
    return canvas


def _count(value: float, position: int) -> str:
    """Images on an axis: 24000 -> '24k'."""
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def _alt(data: Lines) -> str:
    return f"{data.ylabel} over training images spent; at the end: {'; '.join(_ends(data.lines, data.labels))}."


def _ends(lines: Sequence[Line], labels: dict[str, str]) -> list[str]:
    return [
        f"{line.arm}, {labels[line.method]} {line.score[np.isfinite(line.score)][-1]:.1f}"
        for line in lines
        if np.isfinite(line.score).any()
    ]


def has_control(tables: Tables) -> bool:
    return bool(tables.summary["budget"].get("control"))


ANYTIME = Figure(
    name="anytime",
    section="worth",
    title="The best {objective} so far, over the images spent",
    caption="Of completed trials, as if they had run one after another. Bands: 95 % of searches whose trials are drawn "
    "again with replacement, each at its place and with its fate; what a search would have learned from other trials "
    "is not in them. Validation scores, by which each search chose: the verdict is on the retest.",
    alt=_alt,
    absent="no trial has run to its end",
    data=anytime_data,
    draw=draw_lines,
    applies=has_control,
)
EXPECTED = Figure(
    name="expected",
    section="worth",
    title="Expected {objective} of the best trial, over budget",
    caption="Of n trials drawn from those that a search made, n from one to as many as it had, each at the mean cost "
    "of a trial (Dodge et al. 2019). A trial that was stopped early counts with the score at which it was. For random "
    "search this is what a budget buys on average; the own search's trials hang on each other, and its curve says what "
    "they are like, not what fewer of them would have found.",
    alt=_alt,
    absent="no trial has a score yet",
    data=expected_data,
    draw=draw_lines,
    applies=has_control,
)
