"""Figures of the validation score over each hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from study.analysis import results
from study.analysis.knobs import Axis, is_numeric, knob_axis
from study.analysis.tables import Tables
from study.page.figures.base import (
    BLACK,
    BLUE,
    PALE,
    VERMILLION,
    Figure,
    legend,
    panels,
    set_log_ticks,
    set_title,
    short,
)
from study.page.figures.labels import broken, plain
from study.page.words import axis_label

SHARED_KNOBS = ("learning_rate", "momentum", "weight_decay")


@dataclass(frozen=True, kw_only=True)
class Slices:
    """Trials over knobs. trials: arm, trial_id, status, is_winner, objective (%), knob, value; axes: by knob."""

    ylabel: str
    arms: tuple[str, ...]
    knobs: tuple[str, ...]
    trials: pd.DataFrame
    axes: dict[str, Axis]


def _slices(tables: Tables, knobs: Sequence[str]) -> Slices | None:
    tuning = tables.tuning[tables.tuning["objective"].notna()]
    winners = set(results.winners(tables.trials)["trial_id"])
    pieces = []
    for knob in knobs:
        column = _searched(tuning, f"config/{knob}")
        if column is not None and column.notna().any():
            piece = tuning.loc[column.notna(), ["arm", "trial_id", "status", "objective"]]
            pieces.append(piece.assign(knob=knob, value=column[column.notna()].astype("object")))
    if not pieces:
        return None
    trials = pd.concat(pieces, ignore_index=True)
    trials["is_winner"] = trials["trial_id"].isin(winners)
    trials["objective"] *= 100
    present = tuple(knob for knob in knobs if (trials["knob"] == knob).any())
    values = {knob: trials.loc[trials["knob"] == knob, "value"].infer_objects() for knob in present}
    axes = {knob: knob_axis(tables, knob, values[knob]) for knob in present}
    arms = tuple(arm for arm in tables.arms if (trials["arm"] == arm).any())
    ylabel = axis_label(tables.objective)
    return Slices(ylabel=ylabel, arms=arms, knobs=present, trials=trials, axes=axes)


def _searched(tuning: pd.DataFrame, column: str) -> pd.Series | None:
    """The column without the values of arms that fix it at 0, where it is not searched; None if it does not exist."""
    if column not in tuning:
        return None
    values = tuning[column]
    if not is_numeric(values):
        return values
    return values.where(values.groupby(tuning["arm"]).transform("max") > 0)


def slices_data(tables: Tables) -> Slices | None:
    return _slices(tables, SHARED_KNOBS)


def own_slices_data(tables: Tables) -> Slices | None:
    """The other hyperparameters, for each arm those that took more than one value in it."""
    names = [name.removeprefix("config/") for name in tables.trials.columns if name.startswith("config/")]
    slices = _slices(tables, [name for name in names if name not in SHARED_KNOBS])
    if slices is None:
        return None
    num_values = slices.trials.groupby(["arm", "knob"])["value"].transform("nunique")
    trials = slices.trials[num_values > 1].reset_index(drop=True)
    if trials.empty:
        return None
    return Slices(
        ylabel=slices.ylabel,
        arms=tuple(arm for arm in slices.arms if (trials["arm"] == arm).any()),
        knobs=tuple(knob for knob in slices.knobs if (trials["knob"] == knob).any()),
        trials=trials,
        axes=slices.axes,
    )


def _set_knob_axis(ax: Axes, axis: Axis, values: pd.Series) -> None:
    scale = axis.scale
    if scale == "category":
        names = [label.get_text() for label in ax.get_xticklabels()]
        width, size = (12, 8.0) if len(names) < 4 else (8, 6.5)
        ax.set_xticks(ax.get_xticks(), [broken(name, width) for name in names], fontsize=size)
        return
    low = float(values.min()) if axis.low is None else axis.low
    high = float(values.max()) if axis.high is None else axis.high
    if scale == "log":
        ax.set_xscale("log")
        pad = max((high / low) ** 0.06, 1.05)
        ax.set_xlim(low / pad, high * pad)
        set_log_ticks(ax.xaxis, low, high)
    elif scale == "logit":
        ax.set_xscale("logit")
        candidates = [0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999]
        ax.xaxis.set_major_locator(FixedLocator([tick for tick in candidates if low * 0.99 <= tick <= high]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlim(1 - (1 - low) * 1.8, 1 - (1 - high) / 1.8)
    else:
        choices = sorted(set(values.dropna()))
        if len(choices) <= 4 and all(float(choice).is_integer() for choice in choices):  # such as batch sizes
            ax.xaxis.set_major_locator(FixedLocator(choices))
        else:
            ax.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
        pad = 0.06 * (high - low) or 0.05
        ax.set_xlim(low - pad, high + pad)


def _scatter(ax: Axes, trials: pd.DataFrame) -> None:
    """Draw completed trials filled, others hollow at their last value, and the winner as a diamond on top."""
    # One scatter per kind: one artist, not one per trial.
    kinds = (
        (trials["status"] == "completed") & ~trials["is_winner"],
        trials["status"] == "stopped",
        ~trials["status"].isin(["completed", "stopped"]),
        trials["is_winner"],
    )
    for mask, options in zip(kinds, _SCATTER_OPTIONS, strict=True):
        if mask.any():
            ax.scatter(trials.loc[mask, "value"], trials.loc[mask, "objective"], clip_on=False, **options)


_SCATTER_OPTIONS: tuple[dict[str, Any], ...] = (
    {"marker": "o", "s": 18, "color": BLUE, "linewidth": 0, "zorder": 3},
    {"marker": "o", "s": 16, "facecolor": "white", "edgecolor": BLUE, "linewidth": 0.9, "zorder": 2.5},
    {"marker": ">", "s": 18, "facecolor": "white", "edgecolor": BLACK, "linewidth": 0.9, "zorder": 2.5},
    {"marker": "D", "s": 26, "color": VERMILLION, "linewidth": 0, "zorder": 4},
)
_SCATTER_LABELS = (
    "completed",
    "stopped early, at its last value",
    "unfinished or failed, at its last value",
    "best",
)


def _scatter_legend(canvas: Canvas, trials: pd.DataFrame, extra: Sequence[Any] = ()) -> None:
    present = (
        ((trials["status"] == "completed") & ~trials["is_winner"]).any(),
        (trials["status"] == "stopped").any(),
        (~trials["status"].isin(["completed", "stopped"])).any(),
        trials["is_winner"].any(),
    )
    handles = []
    for is_present, options, label in zip(present, _SCATTER_OPTIONS, _SCATTER_LABELS, strict=True):
        if is_present:
            face = options.get("facecolor", options.get("color"))
            edge = options.get("edgecolor", options.get("color"))
            handles.append(
                Line2D(
                    [], [], linestyle="", marker=options["marker"], markersize=math.sqrt(options["s"]),
                    markerfacecolor=face, markeredgecolor=edge, markeredgewidth=0.9, label=label,
                )
            )  # fmt: skip
    legend(canvas, [*handles, *extra])


def draw_slices(data: Slices) -> Canvas:
    num_knobs = len(data.knobs)
    canvas, axes = panels(len(data.arms) * num_knobs, num_knobs, 1.22, sharex="col", sharey=True)
    by_knob = {knob: data.trials[data.trials["knob"] == knob] for knob in data.knobs}
    for position, ax in enumerate(axes):
        arm, knob = data.arms[position // num_knobs], data.knobs[position % num_knobs]
        trials = by_knob[knob]
        others = trials[trials["arm"] != arm]
        ax.scatter(others["value"], others["objective"], s=5, color=PALE, linewidth=0, zorder=1.5)
        _scatter(ax, trials[trials["arm"] == arm])
        if position < num_knobs:
            _set_knob_axis(ax, data.axes[knob], trials["value"].infer_objects())
        if position % num_knobs == 0:
            set_title(ax, arm)
        if position >= len(axes) - num_knobs:
            ax.set_xlabel(knob)
    canvas.supylabel(data.ylabel, fontsize=9)
    extra = []
    if len(data.arms) > 1:
        extra.append(Line2D([], [], linestyle="", marker="o", markersize=2.5, color=PALE, label="other arms"))
    _scatter_legend(canvas, data.trials, extra)
    return canvas


def draw_own_slices(data: Slices) -> Canvas:
    pairs = list(data.trials[["arm", "knob"]].drop_duplicates().itertuples(index=False, name=None))
    pairs.sort(key=lambda pair: (data.arms.index(pair[0]), data.knobs.index(pair[1])))
    canvas, axes = panels(len(pairs), 3, 1.75, sharey=True)
    for ax, (arm, knob) in zip(axes, pairs, strict=True):
        trials = data.trials[(data.trials["arm"] == arm) & (data.trials["knob"] == knob)]
        if data.axes[knob].scale == "category":
            trials = trials.assign(value=trials["value"].astype(str))
            ax.xaxis.update_units(sorted(trials["value"].unique()))  # else in order of appearance
        _scatter(ax, trials)
        _set_knob_axis(ax, data.axes[knob], trials["value"].infer_objects())
        set_title(ax, arm)
        ax.set_xlabel(plain(knob, 30), fontsize=8.5)
    canvas.supylabel(data.ylabel, fontsize=9)
    _scatter_legend(canvas, data.trials)
    return canvas


SLICES = Figure(
    name="slices",
    section="tuning",
    title="Validation score over the shared hyperparameters",
    caption="A row an arm, grey dots the other arms' trials. A stopped trial stands, hollow, at its "
    "last value, which is of fewer epochs and not comparable with a completed one. The best is the arm's winner.",
    alt=lambda data: f"Scatter plots of the validation score over {', '.join(data.knobs)} for {len(data.arms)} arms.",
    absent="no trial has a validation score",
    data=slices_data,
    draw=draw_slices,
)
OWN_SLICES = Figure(
    name="own_slices",
    section="tuning",
    title="Validation score over each arm's other hyperparameters",
    caption="A panel for each further hyperparameter that took more than one value in an arm. A stopped trial stands "
    "at its last value, which is not comparable with a completed one. The best is the arm's winner.",
    alt=lambda data: f"Scatter plots of the validation score over {', '.join(data.knobs)}.",
    absent="no arm varied a further hyperparameter",
    data=own_slices_data,
    draw=draw_own_slices,
)
