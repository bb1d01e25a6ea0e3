"""Figures that compare arms: test scores with intervals, and paired differences to the control."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from study.analysis import results
from study.analysis.tables import Tables, row_tuples
from study.core.stage import Group
from study.page.figures.base import BLACK, BLUE, GREY, ROLE_COLORS, ROLE_MARKERS, WIDTH, Figure, legend, roles
from study.page.figures.labels import plain
from study.page.words import axis_label, metric_name

_Reference = Callable[[pd.DataFrame, Group], pd.Series]  # a group's arms -> where its reference line is, if any
_DASHED: dict[str, Any] = {"color": BLACK, "linewidth": 0.9, "linestyle": (0, (4, 3))}


@dataclass(frozen=True, kw_only=True)
class Dots:
    """A group's dots. arms: arm, mean, low, high, n, role, best first; seeds: arm, seed or search, value; %, points."""

    title: str
    arms: pd.DataFrame
    seeds: pd.DataFrame
    reference: float | None  # the control's mean; 0 for differences
    control: str | None


@dataclass(frozen=True, kw_only=True)
class DotPlot:
    """A dot plot with a panel for each group that has a retested arm. xlabel: what the values are.

    role_labels: the roles that the legend names.
    """

    xlabel: str
    interval_label: str
    reference_label: str
    value_format: str
    groups: tuple[Dots, ...]
    role_labels: tuple[tuple[str, str], ...] = (("best", "best arm"), ("control", "control"))


def scores_data(tables: Tables) -> DotPlot | None:
    scores, of_units = results.arm_scores(tables), results.unit_scores(tables)
    if scores.empty:
        return None
    seeds = _named(tables, of_units.assign(value=100 * of_units["score"]))
    return DotPlot(
        xlabel=axis_label(tables.score),
        interval_label="mean, 95 % t-interval",
        reference_label=f"mean of {_reference_name(tables)}",
        value_format="{:.1f}",
        groups=_dots(tables, scores, seeds, lambda arms, group: arms.loc[arms["arm"] == group.control, "mean"]),
    )


def differences_data(tables: Tables) -> DotPlot | None:
    differences, of_units = results.arm_differences(tables), results.unit_scores(tables)
    if differences.empty:
        return None
    scores = of_units.set_index(["arm", "unit"])["score"]
    controls = pd.MultiIndex.from_arrays([of_units["arm"].map(tables.controls), of_units["unit"]])
    values = 100 * (of_units["score"].to_numpy() - scores.reindex(controls).to_numpy())
    return DotPlot(
        xlabel=f"{metric_name(tables.score).capitalize()} minus that of {_reference_name(tables)}, "
        f"paired by {tables.unit} (points)",
        interval_label="mean, simultaneous t-interval",
        reference_label="no difference",
        value_format="{:+.1f}",
        groups=_dots(
            tables,
            differences,
            _named(tables, of_units.assign(value=values)).dropna(),
            lambda arms, group: pd.Series([0.0]),
        ),
    )


def _named(tables: Tables, of_units: pd.DataFrame) -> pd.DataFrame:
    """arm, seed or search, value."""
    return of_units[["arm", "unit", "value"]].rename(columns={"unit": tables.unit})


def _reference_name(tables: Tables) -> str:
    """The control's name, or "the control" where each group has its own."""
    return plain(str(tables.groups[0].control)) if len(tables.groups) == 1 else "the control"


def _dots(tables: Tables, arms: pd.DataFrame, seeds: pd.DataFrame, reference: _Reference) -> tuple[Dots, ...]:
    arms = arms.assign(role=arms["arm"].map(roles(tables)))
    arms[["mean", "low", "high"]] *= 100
    found = []
    for group in tables.groups:
        own = arms[arms["group"] == group.title].reset_index(drop=True)
        at = reference(own, group)
        if len(own):
            found.append(
                Dots(
                    title=group.title,
                    arms=own,
                    seeds=seeds[seeds["arm"].isin(own["arm"])],
                    reference=float(at.iloc[0]) if len(at) else None,
                    control=group.control,
                )
            )
    return tuple(found)


def draw_dots(data: DotPlot) -> Canvas:
    sizes = [len(group.arms) for group in data.groups]
    height = 0.36 * sum(sizes) + 1.25 + 0.35 * (len(sizes) - 1)
    canvas = Canvas(figsize=(WIDTH, height), layout="constrained")
    axes = canvas.subplots(len(sizes), 1, squeeze=False, sharex=True, height_ratios=[size + 0.3 for size in sizes])
    for ax, group in zip(axes.flat, data.groups, strict=True):
        _draw_group(ax, group, data.value_format)
    axes.flat[-1].set_xlabel(data.xlabel)
    arms, unit = pd.concat([group.arms for group in data.groups]), data.groups[0].seeds.columns[1]
    handles = [
        Line2D(
            [], [], color=BLUE, marker="o", markersize=6, linewidth=1.8, markeredgecolor="white",
            label=data.interval_label if arms["low"].notna().any() else "one value: no interval",
        ),
        Line2D([], [], color=GREY, marker="o", markersize=2.6, linestyle="", label=f"one {unit}"),
    ]  # fmt: skip
    for role, label in data.role_labels:
        if (arms["role"] == role).any():
            style: dict[str, Any] = {"color": ROLE_COLORS[role], "marker": ROLE_MARKERS[role], "linestyle": ""}
            handles.append(Line2D([], [], label=label, **style))
    if any(group.reference is not None for group in data.groups):
        handles.append(Line2D([], [], label=data.reference_label, **_DASHED))
    legend(canvas, handles)
    return canvas


def _draw_group(ax: Axes, group: Dots, value_format: str) -> None:
    ax.grid(axis="y", visible=False)
    if group.reference is not None:
        ax.axvline(group.reference, zorder=1, **_DASHED)
    for row, arm in enumerate(row_tuples(group.arms)):
        color, marker = ROLE_COLORS[arm.role], ROLE_MARKERS[arm.role]
        seeds = group.seeds.loc[group.seeds["arm"] == arm.arm, "value"]
        heights = np.full(len(seeds), row + 0.24)
        ax.plot(seeds, heights, "o", color=GREY, markersize=2.6, markeredgewidth=0, zorder=2)
        if not math.isnan(arm.low):
            ax.plot([arm.low, arm.high], [row, row], color=color, linewidth=1.8, solid_capstyle="butt", zorder=3)
        ax.plot(arm.mean, row, marker, color=color, markersize=6, markeredgecolor="white", zorder=4)
        half_width = "" if math.isnan(arm.low) else f" ± {(arm.high - arm.low) / 2:.1f}"
        text = value_format.format(arm.mean).replace("-", "−") + half_width
        ax.text(1.015, row, text, transform=ax.get_yaxis_transform(), va="center", fontsize=8, color=color)
    ax.set_yticks(range(len(group.arms)), [plain(arm) for arm in group.arms["arm"]])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(len(group.arms) - 0.45, -0.55)
    ax.margins(x=0.04)
    ax.set_title(group.title, loc="left", fontweight="bold", fontsize=8.5)


def alt(data: DotPlot) -> str:
    arms = pd.concat([group.arms for group in data.groups])
    values = "; ".join(
        f"{arm} {data.value_format.format(mean)}" for arm, mean in zip(arms["arm"], arms["mean"], strict=True)
    )
    return f"Dot plot. {data.xlabel}: {values}."


SCORES = Figure(
    name="scores",
    section="results",
    title="The {score} of each arm's winner",
    caption="Mean over {fresh_units} with its 95 % t-interval; small dots are the single {units}. The "
    "intervals of two arms may overlap and the arms still differ: {units} are paired, so differences "
    "are judged in the next figure.",
    alt=alt,
    absent="no arm has been retested",
    data=scores_data,
    draw=draw_dots,
)
DIFFERENCES = Figure(
    name="differences",
    section="results",
    title="Paired differences to the control",
    caption="Each {unit}'s score minus the control's at the same {unit} ({shared}), mean and t-interval; the "
    "intervals of a group hold together at 95 % (Bonferroni). Where one crosses the line, no difference is measurable.",
    alt=alt,
    absent="no {challenger} and its control have been retested on a common {unit}",
    data=differences_data,
    draw=draw_dots,
)
