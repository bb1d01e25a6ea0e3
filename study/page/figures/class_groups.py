"""Figures of a long tail: the recall of groups of classes, and recall against the number of training images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from study.analysis import class_groups, classes, results
from study.analysis.class_groups import ClassGroup, frequency_bins, group_recalls, is_long_tail, retest_counts
from study.analysis.tables import Tables, row_tuples
from study.page.figures.base import (
    BLACK,
    BLUE,
    GREY,
    ROLE_COLORS,
    ROLE_MARKERS,
    VERMILLION,
    WIDTH,
    Figure,
    legend,
    panels,
    roles,
    set_title,
)
from study.page.figures.labels import MAX_LABELLED_CLASSES, plain

NUM_BINS = 10  # of the classes by frequency, over which the lines are averaged
_LEAST_BINS = 4  # fewer are no line


# --- the groups


@dataclass(frozen=True, kw_only=True)
class GroupDots:
    """recalls: arm, role, group, mean, low, high in %, arms best first; groups: what each name stands for."""

    recalls: pd.DataFrame
    groups: dict[str, str]
    control: str | None


def groups_data(tables: Tables) -> GroupDots | None:
    found = group_recalls(tables)
    if not found:
        return None
    role = roles(tables)
    rows = [
        {
            "arm": each.arm,
            "role": role[each.arm],
            "group": each.group.name,
            "mean": 100 * each.recall.mean,
            "low": math.nan if each.recall.low is None else 100 * each.recall.low,
            "high": math.nan if each.recall.high is None else 100 * each.recall.high,
        }
        for each in found
    ]
    control = tables.groups[0].control
    return GroupDots(
        recalls=pd.DataFrame(rows),
        groups={each.group.name: _size_text(each.group) for each in found},
        control=control if control in {each.arm for each in found} else None,
    )


def _size_text(group: ClassGroup) -> str:
    """'35 classes of', and on a second line '102 to 500 images'."""
    low, high = min(group.counts), max(group.counts)
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"{len(group.classes)} {'class' if len(group.classes) == 1 else 'classes'} of\n{each} images"


def draw_groups(data: GroupDots) -> Canvas:
    arms = list(data.recalls["arm"].drop_duplicates())
    canvas = Canvas(figsize=(WIDTH, 0.27 * len(arms) + 1.55), layout="constrained")
    axes = list(canvas.subplots(1, len(data.groups), squeeze=False, sharex=True, sharey=True).flat)
    for ax, (name, size) in zip(axes, data.groups.items(), strict=True):
        own = data.recalls[data.recalls["group"] == name]
        ax.grid(axis="y", visible=False)
        for row, arm in enumerate(row_tuples(own)):
            color = ROLE_COLORS[arm.role]
            if arm.arm == data.control:
                ax.axvline(arm.mean, color=BLACK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
            if not math.isnan(arm.low):
                ax.plot([arm.low, arm.high], [row, row], color=color, linewidth=1.8, solid_capstyle="butt", zorder=3)
            ax.plot(
                arm.mean,
                row,
                ROLE_MARKERS[arm.role],
                color=color,
                markersize=4.5,
                markeredgecolor="white",
                markeredgewidth=0.5,
                zorder=4,
            )
        set_title(ax, name)
        ax.set_xlabel(size, fontsize=8)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes[0].set_yticks(range(len(arms)), [plain(arm) for arm in arms])
    axes[0].set_ylim(len(arms) - 0.45, -0.55)
    low = np.nanmin(data.recalls[["mean", "low"]].to_numpy())
    high = np.nanmax(data.recalls[["mean", "high"]].to_numpy())
    margin = 0.04 * (high - low) + 0.5
    axes[0].set_xlim(max(low, 0) - margin, min(high, 100) + margin)
    canvas.supxlabel("Test recall, mean over the group's classes (%)", fontsize=9)
    legend(canvas, _group_handles(data))
    return canvas


def _group_handles(data: GroupDots) -> list[Line2D]:
    has_interval = bool(data.recalls["low"].notna().any())
    handles = [
        Line2D(
            [], [], color=BLUE, marker="o", markersize=6, linewidth=1.8, markeredgecolor="white",
            label="mean, 95 % t-interval" if has_interval else "one value: no interval",
        )
    ]  # fmt: skip
    for role, label in (("best", "best arm"), ("control", "control")):
        if (data.recalls["role"] == role).any():
            handles.append(
                Line2D([], [], color=ROLE_COLORS[role], marker=ROLE_MARKERS[role], linestyle="", label=label)
            )
    if data.control is not None:
        handles.append(
            Line2D([], [], color=BLACK, linewidth=0.9, linestyle=(0, (4, 3)), label=f"mean of {plain(data.control)}")
        )
    return handles


def _groups_alt(data: GroupDots) -> str:
    values = "; ".join(
        f"{name}: " + ", ".join(f"{arm.arm} {arm.mean:.1f}" for arm in row_tuples(own))
        for name, own in data.recalls.groupby("group", sort=False)
    )
    return f"Dot plot, a panel a group of classes. Test recall in %, {values}."


# --- against the number of training images


@dataclass(frozen=True, kw_only=True)
class RecallsByCount:
    """Recall of each class in %, arms as columns (best first), by the class's training images, and lines over bins.

    points: count, then a column an arm; lines: the same over bins of classes, count being the bin's geometric mean.
    bounds: the numbers of images at which groups of classes end.
    """

    points: pd.DataFrame
    lines: pd.DataFrame
    control: str | None
    bounds: tuple[float, ...]


def by_count(tables: Tables) -> bool:
    """Whether recall is shown against the number of training images: more classes than have labels, in many sizes."""
    counts = tables.summary["dataset"]["class_counts"]
    return (
        is_long_tail(tables)
        and len(counts) > MAX_LABELLED_CLASSES
        and len(set(frequency_bins(counts, NUM_BINS).tolist())) >= _LEAST_BINS
    )


def by_count_data(tables: Tables) -> RecallsByCount | None:
    found, groups = retest_counts(tables), class_groups.class_groups(tables)
    arms = results.ranked(tables, tables.groups[0])
    if found is None or groups is None or not arms:
        return None
    counts, _ = found
    points = pd.DataFrame({"count": counts, **{arm: 100 * classes.mean_recall(tables, arm) for arm in arms}})
    bins = points.groupby(frequency_bins(counts, NUM_BINS))
    lines = bins.mean().assign(count=bins["count"].apply(lambda counts: float(np.exp(np.log(counts).mean()))))
    control = tables.groups[0].control
    between = zip(groups.groups, groups.groups[1:], strict=False)
    return RecallsByCount(
        points=points,
        lines=lines.reset_index(drop=True),
        control=control if control in arms else None,
        bounds=tuple(math.sqrt(min(larger.counts) * max(smaller.counts)) for larger, smaller in between),
    )


def draw_by_count(data: RecallsByCount) -> Canvas:
    arms = [arm for arm in data.points.columns[1:] if arm != data.control] or [str(data.control)]
    canvas, axes = panels(len(arms), 3, 1.9, sharex=True, sharey=True)
    for ax, arm in zip(axes, arms, strict=True):
        for bound in data.bounds:
            ax.axvline(bound, color=GREY, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        ax.plot(data.points["count"], data.points[arm], "o", color=VERMILLION, alpha=0.35, markersize=3, mew=0)
        if data.control is not None:
            ax.plot(data.lines["count"], data.lines[data.control], color=BLACK, linewidth=1.5, zorder=3)
        if arm != data.control:
            ax.plot(data.lines["count"], data.lines[arm], color=VERMILLION, linewidth=1.8, zorder=4)
        set_title(ax, arm)
    axes[0].set_xscale("log")
    axes[0].invert_xaxis()  # the head on the left, as the field draws it
    for ax in axes:
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    canvas.supxlabel("Training images of the class, in a retest (from the most frequent to the rarest)", fontsize=9)
    canvas.supylabel("Test recall (%)", fontsize=9)
    handles = [
        Line2D([], [], color=VERMILLION, marker="o", alpha=0.5, markersize=3.5, linestyle="", label="a class"),
        Line2D([], [], color=VERMILLION, linewidth=1.8, label="mean over a tenth of the classes"),
    ]
    if data.control is not None:
        handles.append(Line2D([], [], color=BLACK, linewidth=1.5, label=f"that of {plain(data.control)}"))
    handles.append(Line2D([], [], color=GREY, linewidth=0.8, linestyle=(0, (2, 2)), label="groups end"))
    legend(canvas, handles)
    return canvas


CLASS_GROUPS = Figure(
    name="class_groups",
    section="class_groups",
    title="Test recall of frequent and of rare classes",
    caption="Mean over the classes of a group with its 95 % t-interval over {retest_units}; arms ordered by {score}. "
    "Intervals of two arms may overlap and the arms still differ: the table has the paired differences.",
    alt=_groups_alt,
    absent="no arm has been retested",
    data=groups_data,
    draw=draw_groups,
    applies=is_long_tail,
)
RECALL_BY_COUNT = Figure(
    name="recall_by_count",
    section="class_groups",
    title="Test recall against the number of training images",
    caption="A panel an arm, the control's line in each. Dots are single classes, the mean over the retest seeds; "
    "lines are means over tenths of the classes by frequency, classes of one size together.",
    alt=lambda data: (
        f"Test recall of {len(data.points)} classes over their training images, "
        f"of {', '.join(data.points.columns[1:])}."
    ),
    absent="no arm has been retested",
    data=by_count_data,
    draw=draw_by_count,
    applies=by_count,
)
