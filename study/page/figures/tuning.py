"""Figures of tuning: learning curves, early stopping, spent budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from study.analysis import results
from study.analysis.budgets import arm_budgets, rung_survivors
from study.analysis.tables import Tables, of_arms, row_tuples
from study.core.stage import TUNE
from study.page.figures.base import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    PALE,
    SKY,
    VERMILLION,
    WIDTH,
    Figure,
    legend,
    panels,
    set_epoch_axis,
    set_title,
)
from study.page.figures.labels import plain
from study.page.words import axis_label

CHANCE_LINE: dict[str, Any] = {"color": BLACK, "linewidth": 0.9, "linestyle": (0, (4, 3)), "zorder": 1}
OUTCOME_COLORS = {
    "goes on": BLUE,
    "completed": BLUE,
    "stopped early": ORANGE,
    "failed": BLACK,
    "unfinished": PALE,
}


@dataclass(frozen=True, kw_only=True)
class CurvePanel:
    """A panel of curves. points: trial_id, epoch, value (%); ends: each trial's last point, with status and is_winner.

    rung_epochs: the epochs at which early stopping decided in the arm; chance: in %.
    """

    title: str
    points: pd.DataFrame
    ends: pd.DataFrame
    rung_epochs: tuple[int, ...]
    chance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Curves, one line per trial, in num_columns columns of panels."""

    ylabel: str
    panels: tuple[CurvePanel, ...]
    num_columns: int = 3


def curves_data(tables: Tables) -> Curves | None:
    found = [curve_panel(tables, TUNE, arm, tables.objective, title=arm) for arm in tables.arms]
    return curves(found, ylabel=axis_label(tables.objective))


def curve_panel(
    tables: Tables, stage: str, arm: str, metric: str, *, title: str, chance: float | None = None
) -> CurvePanel | None:
    """The trials of an arm and stage by a column of shares, over epochs; None if there is no value. chance: 0-1."""
    trials = of_arms(tables.trials)
    epochs = tables.epochs[(tables.epochs["stage"] == stage) & (tables.epochs["arm"] == arm)]
    epochs = epochs[epochs[metric].notna() & epochs["trial_id"].isin(trials["trial_id"])].sort_values(
        ["trial_id", "epoch"]
    )
    if epochs.empty:
        return None
    points = epochs[["trial_id", "epoch"]].assign(value=100 * epochs[metric])
    ends = points.drop_duplicates("trial_id", keep="last").merge(trials[["trial_id", "status"]], on="trial_id")
    ends["is_winner"] = ends["trial_id"].isin(set(results.winners(tables.trials, stage)["trial_id"]))
    rungs = tables.rungs[(tables.rungs["stage"] == stage) & (tables.rungs["arm"] == arm)]["rung_epoch"]
    return CurvePanel(
        title=title,
        points=points,
        ends=ends,
        rung_epochs=tuple(sorted(int(epoch) for epoch in rungs.unique())),
        chance=None if chance is None else 100 * chance,
    )


def curves(found: Sequence[CurvePanel | None], *, ylabel: str, num_columns: int = 3) -> Curves | None:
    """The panels that have values; None if there are none."""
    present = tuple(panel for panel in found if panel is not None)
    return Curves(ylabel=ylabel, panels=present, num_columns=num_columns) if present else None


# status -> line colour, end marker, label
CURVE_STYLES = {
    "completed": (BLUE, None, "completed"),
    "stopped": (GREY, "x", "stopped early"),
    "failed": (BLACK, "P", "failed"),
    "running": (SKY, ">", "unfinished"),
    "interrupted": (SKY, ">", "unfinished"),
}


def draw_curves(data: Curves) -> Canvas:
    canvas, axes = panels(len(data.panels), data.num_columns, 1.6, sharex=True, sharey=True)
    for ax, panel in zip(axes, data.panels, strict=True):
        for rung_epoch in panel.rung_epochs:
            ax.axvline(rung_epoch, color=PALE, linewidth=0.9, zorder=0.5)
        if panel.chance is not None:
            ax.axhline(panel.chance, **CHANCE_LINE)
        _draw_trials(ax, panel)
        set_title(ax, panel.title)
        ax.grid(axis="x", visible=False)
        set_epoch_axis(ax)
    canvas.supxlabel("Epoch", fontsize=9)
    canvas.supylabel(data.ylabel, fontsize=9)
    ends = pd.concat([panel.ends for panel in data.panels])
    handles = []
    if ends["is_winner"].any():
        handles.append(Line2D([], [], color=VERMILLION, linewidth=2, label="best completed trial"))
    for color, marker, label in sorted({CURVE_STYLES[status] for status in ends["status"]}, key=lambda style: style[2]):
        marker_color = "#444444" if marker == "x" else color
        handles.append(
            Line2D(
                [], [], color=color, linewidth=0.9, marker=marker or "", markersize=4.5,
                markeredgecolor=marker_color, label=label,
            )
        )  # fmt: skip
    if any(panel.rung_epochs for panel in data.panels):
        handles.append(Line2D([], [], color=PALE, linewidth=0.9, label="rung"))
    if any(panel.chance is not None for panel in data.panels):
        handles.append(Line2D([], [], label="chance", **CHANCE_LINE))
    legend(canvas, handles)
    return canvas


def _draw_trials(ax: Axes, panel: CurvePanel) -> None:
    """Draw the curves with one artist a style and not one a trial, of which a large study has a thousand."""
    curves_of = {name: curve[["epoch", "value"]].to_numpy() for name, curve in panel.points.groupby("trial_id")}
    for is_winner, width, order in ((False, 0.9, 2), (True, 2.0, 4)):
        ends = panel.ends[panel.ends["is_winner"] == is_winner]
        colors = [VERMILLION if is_winner else CURVE_STYLES[status][0] for status in ends["status"]]
        lines = [curves_of[trial_id] for trial_id in ends["trial_id"]]
        ax.add_collection(
            LineCollection(
                lines, colors=colors, linewidths=width, zorder=order, capstyle="projecting", joinstyle="round"
            )
        )
        for line, color, status in zip(lines, colors, ends["status"], strict=True):
            if len(line) == 1 and CURVE_STYLES[status][1] is None:  # one epoch makes no line
                ax.plot(*line.T, "o", color=color, markersize=3.5, zorder=order)
    for status, ends in panel.ends.groupby("status"):
        color, marker, _ = CURVE_STYLES[str(status)]
        if marker is not None:
            color = "#444444" if marker == "x" else color
            ax.plot(ends["epoch"], ends["value"], marker, color=color, markersize=4.5, zorder=5)
    ax.autoscale_view()


def survivors_data(tables: Tables) -> pd.DataFrame | None:
    """arm, column, outcome, num_trials; column is "Rung at epoch N" for each rung, then "In the end"."""
    counts = results.status_counts(tables)
    if not counts.to_numpy().sum():
        return None
    rows: list[tuple[Any, ...]] = []
    for rung in row_tuples(rung_survivors(tables)):
        column = f"Rung at epoch {rung.rung_epoch}"
        rows.append((rung.arm, column, "goes on", rung.num_continued))
        rows.append((rung.arm, column, "stopped early", rung.num_stopped))
    for arm, count in counts.iterrows():
        rows.append((arm, "In the end", "completed", count["completed"]))
        rows.append((arm, "In the end", "stopped early", count["stopped"]))
        rows.append((arm, "In the end", "failed", count["failed"]))
        rows.append((arm, "In the end", "unfinished", count["running"] + count["interrupted"]))
    return pd.DataFrame(rows, columns=["arm", "column", "outcome", "num_trials"])


def draw_survivors(data: pd.DataFrame) -> Canvas:
    arms, columns = list(data["arm"].drop_duplicates()), list(data["column"].drop_duplicates())
    columns.append(columns.pop(columns.index("In the end")))
    canvas = Canvas(figsize=(WIDTH, 0.3 * len(arms) + 1.35), layout="constrained")
    axes = list(canvas.subplots(1, len(columns), squeeze=False, sharex=True, sharey=True).flat)
    for ax, column in zip(axes, columns, strict=True):
        left = np.zeros(len(arms))
        panel = data[data["column"] == column]
        for outcome in panel["outcome"].drop_duplicates():
            counts = panel[panel["outcome"] == outcome].set_index("arm")["num_trials"]
            widths = counts.reindex(arms, fill_value=0)
            color = OUTCOME_COLORS[outcome]
            ax.barh(
                range(len(arms)),
                widths,
                left=left,
                color=color,
                height=0.68,
                edgecolor="white",
                linewidth=0.8,
            )
            for row, width in enumerate(widths):
                if width:
                    ink = "white" if color in (BLUE, BLACK) else BLACK
                    x = left[row] + width / 2
                    ax.text(x, row, str(width), ha="center", va="center", fontsize=7.5, color=ink)
            left += widths.to_numpy()
        ax.set_title(column, fontsize=8.5)
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    axes[0].set_yticks(range(len(arms)), [plain(arm) for arm in arms])
    axes[0].set_ylim(len(arms) - 0.4, -0.6)
    canvas.supxlabel("Number of trials", fontsize=9)
    present = set(data.loc[data["num_trials"] > 0, "outcome"])
    handles = [Patch(color=BLUE, label="goes on; in the end: completed")]
    for outcome in ("stopped early", "failed", "unfinished"):
        if outcome in present:
            handles.append(Patch(color=OUTCOME_COLORS[outcome], label=outcome))
    legend(canvas, handles)
    return canvas


def budgets_data(tables: Tables) -> pd.DataFrame | None:
    budgets = arm_budgets(tables)
    return budgets if budgets["num_images"].sum() > 0 else None


def draw_budgets(data: pd.DataFrame) -> Canvas:
    canvas = Canvas(figsize=(WIDTH, 0.3 * len(data) + 1.35), layout="constrained")
    left, right = canvas.subplots(1, 2, sharey=True)
    most = (data["seconds"] + data["saved_seconds"]).max()
    divisor, unit = (3600, "hours") if most >= 7200 else (60, "minutes") if most >= 180 else (1, "seconds")
    rows = range(len(data))
    for ax, spent, saved, scale, label in (
        (left, "num_images", "saved_images", 1000, "Training images drawn (thousands)"),
        (right, "seconds", "saved_seconds", divisor, f"Training and validation time ({unit})"),
    ):
        ax.barh(rows, data[spent] / scale, color=BLUE, height=0.66)
        ax.barh(
            rows, data[saved] / scale, left=data[spent] / scale, height=0.66, facecolor="white",
            edgecolor=GREY, hatch="////", linewidth=0.7,
        )  # fmt: skip
        ax.set_xlabel(label)
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    left.set_yticks(rows, [plain(arm) for arm in data["arm"]])
    left.set_ylim(len(data) - 0.4, -0.6)
    legend(
        canvas,
        [
            Patch(color=BLUE, label="spent in tuning"),
            Patch(facecolor="white", edgecolor=GREY, hatch="////", label="saved by early stopping (estimate)"),
        ],
    )
    return canvas


CURVES = Figure(
    name="curves",
    section="tuning",
    title="Learning curves of the tuning trials",
    caption="One line a trial. × marks where early stopping ended one, vertical lines the rungs at "
    "which it decides. The best completed trial, that with the highest last value, is the arm's winner.",
    alt=lambda data: (
        f"{data.ylabel} over epochs of {sum(len(panel.ends) for panel in data.panels)} trials, a panel an arm."
    ),
    absent="no trial has finished an epoch",
    data=curves_data,
    draw=draw_curves,
)
SURVIVORS = Figure(
    name="survivors",
    section="tuning",
    title="Trials at each rung of early stopping",
    caption="Of the trials that reached a rung, how many went on and how many were stopped there; on "
    "the right, how the arm's trials ended. Rungs are kept per {rival}: a trial competes with its own {rival} "
    "only.",
    alt=lambda data: f"Bars of trial counts at each rung for {data['arm'].nunique()} arms.",
    absent="no trial has finished",
    data=survivors_data,
    draw=draw_survivors,
)
BUDGET = Figure(
    name="budget",
    section="budget",
    title="What tuning spent, and what early stopping saved",
    caption="Saved: the epochs that stopped trials did not run, at each trial's own mean images and seconds an epoch.",
    alt=lambda data: f"Bars of training images and time for {len(data)} arms, spent and saved.",
    absent="no trial has finished an epoch",
    data=budgets_data,
    draw=draw_budgets,
)
