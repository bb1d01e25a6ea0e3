"""The figure of a learning-rate range test: the loss over the learning rate, and the suggestions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullFormatter

from study.core.start_points import rate_text
from study.page.figures.base import BLACK, BLUE, GREY, ORANGE, SKY, VERMILLION, WIDTH
from study.page.figures.labels import plain
from trainables.probes.lr_range import LrRange


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A learning rate that is marked, and the smoothed loss there."""

    label: str
    learning_rate: float
    loss: float
    color: str
    marker: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The figure's data. bottom, top: around losses before divergence.

    searched: the range that a study searches, of an arm; chosen: the rate that a recipe trains at.
    """

    title: str
    is_logarithmic: bool
    learning_rates: np.ndarray
    losses: np.ndarray
    smoothed_losses: np.ndarray
    marks: tuple[Mark, ...]
    searched: tuple[float, float] | None
    chosen: float | None
    diverged_at: float | None
    limits: tuple[float, float]
    bottom: float
    top: float


def lr_range_data(
    result: LrRange, title: str, *, searched: tuple[float, float] | None = None, chosen: float | None = None
) -> Curve:
    rates, losses, smooth = map(np.array, (result.learning_rates, result.losses, result.smoothed_losses))
    suggestions = (
        ("steepest descent", result.steepest_descent, VERMILLION, "D"),
        ("a tenth of the minimum's", result.tenth_of_minimum, BLACK, "s"),
    )
    is_logarithmic = result.settings.schedule == "exponential"
    is_finite = np.isfinite(smooth)
    before = slice(0, int(np.where(is_finite, smooth, np.inf).argmin()) + 1)
    seen = losses[before][np.isfinite(losses[before])]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
    margin = 0.08 * (high - low) or 0.1
    return Curve(
        title=title,
        is_logarithmic=is_logarithmic,
        learning_rates=rates,
        losses=losses,
        smoothed_losses=smooth,
        marks=tuple(
            Mark(
                label=f"{label} {rate_text(rate)}",
                learning_rate=rate,
                loss=float(np.interp(rate, rates[is_finite], smooth[is_finite])),
                color=color,
                marker=marker,
            )
            for label, rate, color, marker in suggestions
            if rate is not None
        ),
        searched=searched,
        chosen=chosen,
        diverged_at=None if result.divergence_step is None else float(rates[result.divergence_step - 1]),
        limits=(float(rates[0]), min(result.settings.max_lr, (3 if is_logarithmic else 1.15) * float(rates[-1]))),
        bottom=low - margin,
        top=high + 3 * margin,  # room for the labels
    )


def draw_lr_range(curve: Curve) -> Canvas:
    canvas = Canvas(figsize=(WIDTH, 3.6), layout="constrained")
    ax = canvas.subplots()
    if curve.searched is not None:
        ax.axvspan(*curve.searched, color="#F2F2F2", linewidth=0, zorder=0, label="searched by a study")
    if curve.chosen is not None:
        ax.axvline(curve.chosen, color=ORANGE, linewidth=1.6, label=f"of the recipe: {rate_text(curve.chosen)}")
    ax.plot(curve.learning_rates, curve.losses, color=SKY, alpha=0.55, linewidth=0.8, label="loss of each step's batch")
    ax.plot(curve.learning_rates, curve.smoothed_losses, color=BLUE, linewidth=1.8, label="smoothed")
    if curve.is_logarithmic:
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlim(*curve.limits)
    ax.set_ylim(curve.bottom, curve.top)
    height = curve.top - curve.bottom
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
    if curve.diverged_at is not None:
        ax.axvline(curve.diverged_at, color=GREY, linewidth=1, linestyle=(0, (4, 2)))
        text = f"stopped: diverged\nat {rate_text(curve.diverged_at)} "
        place = (curve.diverged_at, curve.bottom + 0.04 * height)
        ax.text(*place, text, ha="right", color="#333333", fontsize=8, bbox=box)
    for number, mark in enumerate(sorted(curve.marks, key=lambda mark: mark.learning_rate)):
        # The smaller rate's label is on its left, the larger one's on its right, at two heights: they never overlap.
        side = "right" if number == 0 and len(curve.marks) > 1 and curve.is_logarithmic else "left"
        level = curve.top - (0.05 + 0.08 * number) * height
        ax.vlines(mark.learning_rate, curve.bottom, level, color=mark.color, linewidth=0.9, linestyle=(0, (1, 1.5)))
        ax.plot(mark.learning_rate, mark.loss, mark.marker, color=mark.color, markersize=6, markeredgecolor="white")
        text = f"{mark.label} " if side == "right" else f" {mark.label}"
        ax.text(mark.learning_rate, level, text, ha=side, va="center", color=mark.color, fontsize=8.5, bbox=box)
    ax.set_title(plain(curve.title, 110), loc="left", fontweight="bold", fontsize=8.5)
    ax.set_xlabel("Learning rate of the step")
    ax.set_ylabel(f"Training loss (the {'arm' if curve.chosen is None else 'recipe'}'s own)")
    canvas.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return canvas
