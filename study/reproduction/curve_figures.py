"""The declared curves: losses and accuracies of several runs over their epochs, beside what a report printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from study.page.figures.base import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    SKY,
    VERMILLION,
    Figure,
    legend,
    panels,
    set_epoch_axis,
    set_title,
)
from study.page.figures.labels import plain
from study.reproduction import results
from study.reproduction.recipe import EpochCurves, ReportedEpochs
from study.reproduction.results import Reproduction

COLORS = (BLUE, VERMILLION, ORANGE, SKY, GREY)
TRAINING: Any = (0, (4, 2))
TEST: Any = "-"
STYLES = {"train_eval_loss": TRAINING, "test_loss": TEST, "train_eval_accuracy": TRAINING, "test_accuracy": TEST}
ACCURACY, VANISHING_LOSS = "Accuracy (%)", "Training loss, logarithmic"
# Heading of a panel -> its columns.
TOGETHER = {"Loss": ("train_eval_loss", "test_loss"), ACCURACY: ("train_eval_accuracy", "test_accuracy")}
VANISHING = {VANISHING_LOSS: ("train_eval_loss",), "Test loss": ("test_loss",), ACCURACY: TOGETHER[ACCURACY]}


@dataclass(frozen=True, kw_only=True)
class RunCurves:
    """A run's columns over its epochs, each with a row an epoch: epoch, mean, lowest, highest (of the seeds)."""

    label: str
    columns: dict[str, pd.DataFrame]

    def last(self, column: str) -> float:
        return float(self.columns[column]["mean"].iloc[-1])

    def lowest(self, column: str) -> tuple[int, float]:
        """The epoch at which the mean over seeds is lowest, and that mean."""
        frame = self.columns[column]
        place = int(frame["mean"].argmin())
        return int(frame["epoch"].iloc[place]), float(frame["mean"].iloc[place])


@dataclass(frozen=True, kw_only=True)
class CurvesData:
    """Accuracies and their reported values are shares, 0-1. reported: empty where no run here compares with them."""

    runs: tuple[RunCurves, ...]
    reported: tuple[ReportedEpochs, ...]
    has_vanishing_loss: bool


def section(curves: EpochCurves) -> str:
    """Its place on the page."""
    return f"epochs_{curves.name}"


def epoch_curves_data(curves: EpochCurves, reproduction: Reproduction) -> CurvesData | None:
    """The runs that were trained; None where none was."""
    found = []
    for label, run in curves.runs:
        columns = {column: results.over_epochs(reproduction, run, column) for column in STYLES}
        if all(len(frame) for frame in columns.values()):
            mark = results.scale_mark(reproduction, run)
            found.append(RunCurves(label=f"{label} ({mark})" if mark else label, columns=columns))
    if not found:
        return None
    compares = bool(comparable(curves, reproduction))
    return CurvesData(
        runs=tuple(found),
        reported=curves.reported if compares else (),
        has_vanishing_loss=curves.has_vanishing_loss,
    )


def comparable(curves: EpochCurves, reproduction: Reproduction) -> list[tuple[str, str]]:
    """Label and name of the runs whose epochs compare with those that a report printed."""
    return [
        (label, run)
        for label, run in curves.runs
        if reproduction.has_run(run) and results.obstacle(reproduction, run) is None
    ]


def draw_epoch_curves(data: CurvesData) -> Canvas:
    num_epochs = max(int(frame["epoch"].max()) for run in data.runs for frame in run.columns.values())
    shown = VANISHING if data.has_vanishing_loss else TOGETHER
    canvas, axes = panels(len(shown), len(shown), 2.6)
    for ax, (title, columns) in zip(axes, shown.items(), strict=True):
        factor = 100 if title == ACCURACY else 1
        for color, run in zip(COLORS, data.runs, strict=False):
            for column in columns:
                _draw(ax, run.columns[column], factor, color=color, linestyle=STYLES[column])
        for reported in data.reported:
            if reported.column in columns:
                _draw_reported(ax, reported, factor, num_epochs)
        set_title(ax, title)
        _set_epochs(ax, num_epochs, is_logarithmic=bool(data.reported))
        if title == VANISHING_LOSS:
            ax.set_yscale("log")
    canvas.supxlabel("Epoch", fontsize=9)
    legend(canvas, _handles(data))
    return canvas


def _draw_reported(ax: Axes, reported: ReportedEpochs, factor: float, num_epochs: int) -> None:
    epochs, values = zip(*reported.values, strict=True)
    ax.plot(epochs, [factor * value for value in values], **_reported(hollow=STYLES[reported.column] == TRAINING))
    if reported.later is not None and reported.later[0] <= num_epochs:
        since, low, high = reported.later
        ax.fill_between([since, num_epochs], factor * low, factor * high, color=BLACK, linewidth=0, zorder=4)


def _draw(ax: Axes, frame: pd.DataFrame, factor: float, **style: Any) -> None:
    marker = "o" if len(frame) == 1 else ""
    ax.plot(frame["epoch"], factor * frame["mean"], linewidth=1.5, marker=marker, markersize=4, **style)
    if (frame["lowest"] < frame["highest"]).any():
        between = factor * frame["lowest"], factor * frame["highest"]
        ax.fill_between(frame["epoch"], *between, color=style["color"], alpha=0.15, linewidth=0)


def _reported(hollow: bool) -> dict[str, Any]:
    return {
        "linestyle": "",
        "marker": "D",
        "markersize": 4.5,
        "color": BLACK,
        "markerfacecolor": "none" if hollow else BLACK,
        "zorder": 4,
    }


def _set_epochs(ax: Axes, num_epochs: int, *, is_logarithmic: bool) -> None:
    """Logarithmic where the first epochs are what a report printed."""
    if num_epochs == 1:
        ax.set_xlim(0, 2)
        ax.set_xticks([1])
    elif is_logarithmic:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        set_epoch_axis(ax)


def _handles(data: CurvesData) -> Sequence[Line2D]:
    handles = [
        Line2D([], [], color=color, linewidth=2.5, label=plain(run.label, 40))
        for color, run in zip(COLORS, data.runs, strict=False)
    ]
    handles += [
        Line2D([], [], color=BLACK, linestyle=style, linewidth=1.2, label=label)
        for style, label in ((TRAINING, "training"), (TEST, "test"))
    ]
    if data.reported:
        handles.append(Line2D([], [], **_reported(hollow=False), label="reported (training: hollow)"))
    return handles


def _alt(data: CurvesData) -> str:
    ends = "; ".join(
        f"{run.label} training loss {run.last('train_eval_loss'):.2g}, test loss {run.last('test_loss'):.2f}, test "
        f"accuracy {100 * run.last('test_accuracy'):.1f}"
        for run in data.runs
    )
    return f"Losses and accuracies (%) of training and test images over epochs; at the last epoch: {ends}."


def epoch_figure(curves: EpochCurves) -> Figure:
    return Figure(
        name=section(curves),
        section=section(curves),
        title=curves.title,
        caption=f"{curves.caption} Means over seeds, the band from the lowest to the highest. Training: a fixed sample "
        "of un-augmented training images, after each epoch; every loss is plain cross-entropy.",
        alt=_alt,
        absent="none of its runs was trained",
        data=partial(epoch_curves_data, curves),
        draw=draw_epoch_curves,
    )
