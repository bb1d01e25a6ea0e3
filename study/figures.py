"""FIGURES: every plot is a data function (tables -> numbers) and a draw function (numbers -> picture)."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from study import analysis
from study.analysis import SCORE, Tables

DPI = 200
WIDTH = 7.2  # inches; shown about 900 px wide, so that 9 pt reads as 16 px
# Okabe and Ito's palette. Colour says a role, never a name (14 arms would need 14 colours); shape repeats it.
BLACK, BLUE, SKY, ORANGE, VERMILLION = "#222222", "#0072B2", "#56B4E9", "#E69F00", "#D55E00"
GREY, PALE = "#8A8A8A", "#D5D5D5"
ROLE_COLORS = {"control": BLACK, "best": VERMILLION, "other": BLUE}
ROLE_MARKERS = {"control": "s", "best": "D", "other": "o"}
SHARED_KNOBS = ("learning_rate", "momentum", "weight_decay")
KNOB_SCALES = {"learning_rate": "log", "weight_decay": "log", "class_weight_beta": "logit"}
SCALE_RATIO = 20.0  # other knobs get a log axis where their largest value exceeds the smallest by this factor
OUTCOME_COLORS = {
    "goes on": BLUE,
    "completed": BLUE,
    "stopped early": ORANGE,
    "failed": BLACK,
    "unfinished": PALE,
}
MAX_LABELLED_CLASSES = 20
VALIDATION = "Validation balanced accuracy (%)"
TEST = "Test balanced accuracy (%)"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.linewidth": 0.7,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "axes.grid": True,
    "grid.color": "#E8E8E8",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A plot. data gives the numbers, or None where the tables hold none for it; draw never computes."""

    name: str
    title: str
    caption: str
    alt: Callable[[Any], str]
    absent: str  # said instead, where data gives None
    data: Callable[[Tables], Any]
    draw: Callable[[Any], Canvas]


def render(figure: Figure, data: Any) -> bytes:
    """The figure as PNG bytes; the same data give the same bytes."""
    with mpl.rc_context(STYLE):
        canvas = FigureCanvasAgg(figure.draw(data))
        buffer = io.BytesIO()
        canvas.print_figure(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def knob_scale(name: str, values: pd.Series) -> str:
    """log, logit, linear or category: how a hyperparameter's axis is drawn."""
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return "category"
    if name in KNOB_SCALES:
        return KNOB_SCALES[name]
    return "log" if values.min() > 0 and values.max() / values.min() > SCALE_RATIO else "linear"


def _plain(text: str, width: int = 26) -> str:
    """A name as a label: mathtext off, long names cut."""
    text = text if len(text) <= width else text[: width - 1] + "…"
    return text.replace("$", r"\$")


def _grid(num_panels: int, num_columns: int, panel_height: float, **options: Any) -> tuple[Canvas, list[Axes]]:
    """Small multiples with shared scales; surplus panels are taken away."""
    num_rows = math.ceil(num_panels / num_columns)
    canvas = Canvas(figsize=(WIDTH, panel_height * num_rows + 0.85), layout="constrained")
    axes = list(canvas.subplots(num_rows, num_columns, squeeze=False, **options).flat)
    for position, ax in enumerate(axes[:num_panels]):
        if options.get("sharex") and position + num_columns >= num_panels:
            ax.tick_params(labelbottom=True)
    for ax in axes[num_panels:]:
        ax.remove()
    return canvas, axes[:num_panels]


def _legend(canvas: Canvas, handles: Sequence[Any]) -> None:
    canvas.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 5), columnspacing=1.6)


def _roles(arms: Sequence[str], tables: Tables) -> dict[str, str]:
    ranked = analysis.ranked_arms(tables)
    roles = dict.fromkeys(arms, "other")
    if ranked:
        roles[ranked[0]] = "best"
    if tables.control in roles:
        roles[tables.control] = "control"
    return roles


# --- (a) arms with intervals, (b) paired differences --------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Dots:
    """arms: arm, mean, low, high, n, role, the best first; seeds: arm, seed, value; all in % or points."""

    arms: pd.DataFrame
    seeds: pd.DataFrame
    reference: float | None  # the control's mean; 0 for differences
    control: str


def scores_data(tables: Tables) -> Dots | None:
    arms = analysis.arm_scores(tables)
    if arms.empty:
        return None
    arms = arms.assign(role=arms["arm"].map(_roles(list(arms["arm"]), tables)))
    arms[["mean", "low", "high"]] *= 100
    seeds = tables.retests[["arm", "seed"]].assign(value=100 * tables.retests[SCORE])
    control = arms.loc[arms["arm"] == tables.control, "mean"]
    return Dots(
        arms=arms,
        seeds=seeds,
        reference=float(control.iloc[0]) if len(control) else None,
        control=tables.control,
    )


def differences_data(tables: Tables) -> Dots | None:
    arms = analysis.arm_differences(tables)
    if arms.empty:
        return None
    arms = arms.assign(role=arms["arm"].map(_roles(list(arms["arm"]), tables)))
    arms[["mean", "low", "high"]] *= 100
    control = analysis.seed_scores(tables.retests, tables.control)
    seeds = tables.retests[tables.retests["arm"].isin(arms["arm"])]
    values = 100 * (seeds[SCORE] - seeds["seed"].map(control))
    return Dots(
        arms=arms,
        seeds=seeds[["arm", "seed"]].assign(value=values).dropna(),
        reference=0.0,
        control=tables.control,
    )


def _draw_dots(data: Dots, xlabel: str, reference_label: str, value_format: str) -> Canvas:
    num_arms = len(data.arms)
    canvas = Canvas(figsize=(WIDTH, 0.36 * num_arms + 1.25), layout="constrained")
    ax = canvas.subplots()
    ax.grid(axis="y", visible=False)
    if data.reference is not None:
        ax.axvline(data.reference, color=BLACK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for row, arm in enumerate(analysis.rows(data.arms)):
        color, marker = ROLE_COLORS[arm.role], ROLE_MARKERS[arm.role]
        seeds = data.seeds.loc[data.seeds["arm"] == arm.arm, "value"]
        ax.plot(
            seeds,
            np.full(len(seeds), row + 0.24),
            "o",
            color=GREY,
            markersize=2.6,
            markeredgewidth=0,
            zorder=2,
        )
        if not math.isnan(arm.low):
            ax.plot([arm.low, arm.high], [row, row], color=color, linewidth=1.8, solid_capstyle="butt", zorder=3)
        ax.plot(arm.mean, row, marker, color=color, markersize=6, markeredgecolor="white", zorder=4)
        half_width = "" if math.isnan(arm.low) else f" ± {(arm.high - arm.low) / 2:.1f}"
        text = value_format.format(arm.mean).replace("-", "−") + half_width
        ax.text(1.015, row, text, transform=ax.get_yaxis_transform(), va="center", fontsize=8, color=color)
    ax.set_yticks(range(num_arms), [_plain(arm) for arm in data.arms["arm"]])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(num_arms - 0.45, -0.55)
    ax.margins(x=0.04)
    ax.set_xlabel(xlabel)
    handles = [Line2D([], [], color=BLUE, marker="o", markersize=6, linewidth=1.8, markeredgecolor="white")]
    labels = ["mean, 95 % t-interval" if data.arms["low"].notna().any() else "one value: no interval"]
    handles.append(Line2D([], [], color=GREY, marker="o", markersize=2.6, linestyle=""))
    labels.append("one seed")
    for role, label in (("best", "best arm"), ("control", "control")):
        if (data.arms["role"] == role).any():
            handles.append(Line2D([], [], color=ROLE_COLORS[role], marker=ROLE_MARKERS[role], linestyle=""))
            labels.append(label)
    if data.reference is not None:
        handles.append(Line2D([], [], color=BLACK, linewidth=0.9, linestyle=(0, (4, 3))))
        labels.append(reference_label)
    for handle, label in zip(handles, labels, strict=True):
        handle.set_label(label)
    _legend(canvas, handles)
    return canvas


def draw_scores(data: Dots) -> Canvas:
    return _draw_dots(data, TEST, f"mean of {_plain(data.control)}", "{:.1f}")


def draw_differences(data: Dots) -> Canvas:
    label = f"Test balanced accuracy minus that of {_plain(data.control)}, paired by seed (points)"
    return _draw_dots(data, label, "no difference", "{:+.1f}")


# --- (c) learning curves, (i) retest curves -----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Curves:
    """points: arm, trial_id, epoch, value (%); ends: the last point of each trial, with status, is_winner."""

    arms: tuple[str, ...]
    points: pd.DataFrame
    ends: pd.DataFrame
    rung_epochs: tuple[int, ...]


def curves_data(tables: Tables) -> Curves | None:
    epochs = tables.epochs[
        (tables.epochs["stage"] == "tune") & tables.epochs["val_balanced_accuracy"].notna()
    ].sort_values(["trial_id", "epoch"])
    if epochs.empty:
        return None
    points = epochs[["arm", "trial_id", "epoch"]].assign(value=100 * epochs["val_balanced_accuracy"])
    winners = set(analysis.winners(tables.trials)["trial_id"])
    ends = points.drop_duplicates("trial_id", keep="last")
    ends = ends.merge(tables.trials[["trial_id", "status"]], on="trial_id")
    ends["is_winner"] = ends["trial_id"].isin(winners)
    return Curves(
        arms=tuple(arm for arm in tables.arms if (points["arm"] == arm).any()),
        points=points,
        ends=ends,
        rung_epochs=tuple(sorted(int(epoch) for epoch in tables.rungs["rung_epoch"].unique())),
    )


# status -> line colour, end marker, label
CURVE_STYLES = {
    "completed": (BLUE, None, "completed"),
    "stopped": (GREY, "x", "stopped early"),
    "failed": (BLACK, "P", "failed"),
    "running": (SKY, ">", "unfinished"),
    "interrupted": (SKY, ">", "unfinished"),
}


def draw_curves(data: Curves) -> Canvas:
    canvas, axes = _grid(len(data.arms), 3, 1.6, sharex=True, sharey=True)
    curves = dict(iter(data.points.groupby("trial_id")))
    for ax, arm in zip(axes, data.arms, strict=True):
        for rung_epoch in data.rung_epochs:
            ax.axvline(rung_epoch, color=PALE, linewidth=0.9, zorder=0.5)
        for end in analysis.rows(data.ends[data.ends["arm"] == arm].sort_values("is_winner")):
            curve = curves[end.trial_id]
            color, marker, _ = CURVE_STYLES[end.status]
            width, order = (2.0, 4) if end.is_winner else (0.9, 2)
            color = VERMILLION if end.is_winner else color
            ax.plot(curve["epoch"], curve["value"], color=color, linewidth=width, zorder=order)
            if marker is not None:
                color = "#444444" if marker == "x" else color
                ax.plot(end.epoch, end.value, marker, color=color, markersize=4.5, zorder=5)
            elif len(curve) == 1:  # a study of one epoch
                ax.plot(end.epoch, end.value, "o", color=color, markersize=3.5, zorder=order)
        ax.set_title(_plain(arm), loc="left", fontweight="bold", fontsize=8.5)
        ax.grid(axis="x", visible=False)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    canvas.supxlabel("Epoch", fontsize=9)
    canvas.supylabel(VALIDATION, fontsize=9)
    handles = []
    if data.ends["is_winner"].any():
        handles.append(Line2D([], [], color=VERMILLION, linewidth=2, label="best completed trial"))
    labels = {CURVE_STYLES[status] for status in data.ends["status"]}
    for color, marker, label in sorted(labels, key=lambda style: style[2]):
        marker_color = "#444444" if marker == "x" else color
        handles.append(
            Line2D(
                [], [], color=color, linewidth=0.9, marker=marker or "", markersize=4.5,
                markeredgecolor=marker_color, label=label,
            )
        )  # fmt: skip
    if data.rung_epochs:
        handles.append(Line2D([], [], color=PALE, linewidth=0.9, label="rung"))
    _legend(canvas, handles)
    return canvas


def retest_curves_data(tables: Tables) -> pd.DataFrame | None:
    """arm, epoch, mean, low, high, n of the retest's training loss; low and high are the extreme seeds."""
    epochs = tables.epochs[tables.epochs["stage"] == "retest"]
    if epochs.empty:
        return None
    loss = epochs.groupby(["arm", "epoch"])["train_loss"].agg(["mean", "min", "max", "count"]).reset_index()
    loss = loss.rename(columns={"min": "low", "max": "high", "count": "n"})
    order = {arm: position for position, arm in enumerate(tables.arms)}
    return loss.sort_values("arm", key=lambda arms: arms.map(order), kind="stable", ignore_index=True)


def draw_retest_curves(data: pd.DataFrame) -> Canvas:
    arms = list(data["arm"].drop_duplicates())
    canvas, axes = _grid(len(arms), 3, 1.35, sharex=True)
    for ax, arm in zip(axes, arms, strict=True):
        loss = data[data["arm"] == arm]
        ax.fill_between(loss["epoch"], loss["low"], loss["high"], color=SKY, alpha=0.45, linewidth=0)
        ax.plot(loss["epoch"], loss["mean"], color=BLUE, linewidth=1.4, marker="o" if len(loss) == 1 else "")
        ax.set_title(_plain(arm), loc="left", fontweight="bold", fontsize=8.5)
        ax.set_ylim(bottom=0 if loss["low"].min() >= 0 else None)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    canvas.supxlabel("Epoch", fontsize=9)
    canvas.supylabel("Training loss (nats, each arm's own)", fontsize=9)
    _legend(
        canvas,
        [
            Line2D([], [], color=BLUE, linewidth=1.4, label="mean over seeds"),
            Patch(color=SKY, alpha=0.45, linewidth=0, label="lowest to highest seed"),
        ],
    )
    return canvas


# --- (d) rung survivors -------------------------------------------------------------------------------------


def survivors_data(tables: Tables) -> pd.DataFrame | None:
    """arm, column, outcome, num_trials: a column a rung ("rung at epoch 1"), the last one is the end."""
    counts = analysis.status_counts(tables)
    if not counts.to_numpy().sum():
        return None
    rows: list[tuple[Any, ...]] = []
    for rung in analysis.rows(analysis.rung_survivors(tables)):
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
    panels = list(canvas.subplots(1, len(columns), squeeze=False, sharex=True, sharey=True).flat)
    for ax, column in zip(panels, columns, strict=True):
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
    panels[0].set_yticks(range(len(arms)), [_plain(arm) for arm in arms])
    panels[0].set_ylim(len(arms) - 0.4, -0.6)
    canvas.supxlabel("Number of trials", fontsize=9)
    present = set(data.loc[data["num_trials"] > 0, "outcome"])
    handles = [Patch(color=BLUE, label="goes on; in the end: completed")]
    for outcome in ("stopped early", "failed", "unfinished"):
        if outcome in present:
            handles.append(Patch(color=OUTCOME_COLORS[outcome], label=outcome))
    _legend(canvas, handles)
    return canvas


# --- (e) slices ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Slices:
    """trials: arm, trial_id, status, is_winner, objective (%), knob, value; scales: knob -> axis."""

    arms: tuple[str, ...]
    knobs: tuple[str, ...]
    trials: pd.DataFrame
    scales: dict[str, str]


def _slices(tables: Tables, knobs: Sequence[str]) -> Slices | None:
    tuning = tables.trials[(tables.trials["stage"] == "tune") & tables.trials["objective"].notna()]
    winners = set(analysis.winners(tables.trials)["trial_id"])
    pieces = []
    for knob in knobs:
        column = tuning.get(f"config/{knob}")
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
    scales = {knob: knob_scale(knob, values[knob]) for knob in present}
    arms = tuple(arm for arm in tables.arms if (trials["arm"] == arm).any())
    return Slices(arms=arms, knobs=present, trials=trials, scales=scales)


def slices_data(tables: Tables) -> Slices | None:
    return _slices(tables, SHARED_KNOBS)


def own_slices_data(tables: Tables) -> Slices | None:
    """The other hyperparameters, of each arm those that took more than one value in it."""
    names = [name.removeprefix("config/") for name in tables.trials.columns if name.startswith("config/")]
    slices = _slices(tables, [name for name in names if name not in SHARED_KNOBS])
    if slices is None:
        return None
    num_values = slices.trials.groupby(["arm", "knob"])["value"].transform("nunique")
    trials = slices.trials[num_values > 1].reset_index(drop=True)
    if trials.empty:
        return None
    return Slices(
        arms=tuple(arm for arm in slices.arms if (trials["arm"] == arm).any()),
        knobs=tuple(knob for knob in slices.knobs if (trials["knob"] == knob).any()),
        trials=trials,
        scales=slices.scales,
    )


def _set_knob_axis(ax: Axes, scale: str, values: pd.Series) -> None:
    if scale == "category":
        return
    low, high = float(values.min()), float(values.max())
    if scale == "log":
        ax.set_xscale("log")
        pad = max((high / low) ** 0.06, 1.05)
        ax.set_xlim(low / pad, high * pad)
        subs = (1.0,) if high / low > 30 else (1.0, 3.0) if high / low > 8 else (1.0, 2.0, 5.0)
        ax.xaxis.set_major_locator(LogLocator(subs=subs, numticks=6))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        ax.xaxis.set_minor_formatter(NullFormatter())
    elif scale == "logit":
        ax.set_xscale("logit")
        candidates = [0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999]
        ax.xaxis.set_major_locator(FixedLocator([tick for tick in candidates if low * 0.99 <= tick <= high]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
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


def _short(value: float) -> str:
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e5):
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    return f"{value:g}"


def _scatter(ax: Axes, trials: pd.DataFrame) -> None:
    """Completed filled, others hollow at their last value, the winner a diamond on top."""
    # scatter, not a loop: one artist a kind
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
    _legend(canvas, [*handles, *extra])


def draw_slices(data: Slices) -> Canvas:
    num_knobs = len(data.knobs)
    canvas, axes = _grid(len(data.arms) * num_knobs, num_knobs, 1.22, sharex="col", sharey=True)
    by_knob = {knob: data.trials[data.trials["knob"] == knob] for knob in data.knobs}
    for position, ax in enumerate(axes):
        arm, knob = data.arms[position // num_knobs], data.knobs[position % num_knobs]
        trials = by_knob[knob]
        others = trials[trials["arm"] != arm]
        ax.scatter(others["value"], others["objective"], s=5, color=PALE, linewidth=0, zorder=1.5)
        _scatter(ax, trials[trials["arm"] == arm])
        if position < num_knobs:
            _set_knob_axis(ax, data.scales[knob], trials["value"].infer_objects())
        if position % num_knobs == 0:
            ax.set_title(_plain(arm, 40), loc="left", fontweight="bold", fontsize=8.5)
        if position >= len(axes) - num_knobs:
            ax.set_xlabel(knob)
    canvas.supylabel(VALIDATION, fontsize=9)
    extra = []
    if len(data.arms) > 1:
        extra.append(Line2D([], [], linestyle="", marker="o", markersize=2.5, color=PALE, label="other arms"))
    _scatter_legend(canvas, data.trials, extra)
    return canvas


def draw_own_slices(data: Slices) -> Canvas:
    pairs = list(data.trials[["arm", "knob"]].drop_duplicates().itertuples(index=False, name=None))
    pairs.sort(key=lambda pair: (data.arms.index(pair[0]), data.knobs.index(pair[1])))
    canvas, axes = _grid(len(pairs), 3, 1.75, sharey=True)
    for ax, (arm, knob) in zip(axes, pairs, strict=True):
        trials = data.trials[(data.trials["arm"] == arm) & (data.trials["knob"] == knob)]
        if data.scales[knob] == "category":
            trials = trials.assign(value=trials["value"].astype(str))
        _scatter(ax, trials)
        _set_knob_axis(ax, data.scales[knob], trials["value"].infer_objects())
        ax.set_title(_plain(arm), loc="left", fontweight="bold", fontsize=8.5)
        ax.set_xlabel(_plain(knob, 30), fontsize=8.5)
    canvas.supylabel(VALIDATION, fontsize=9)
    _scatter_legend(canvas, data.trials)
    return canvas


# --- (f) per-class recall, (g) confusion --------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Recalls:
    """recall: index arm (best first), a column a class, %, mean over seeds; class_counts: after thinning."""

    recall: pd.DataFrame
    class_counts: tuple[int, ...]


def recalls_data(tables: Tables) -> Recalls | None:
    arms = analysis.ranked_arms(tables)
    if not arms:
        return None
    dataset = tables.summary["dataset"]
    by_arm = tables.retests.groupby("arm")["per_class_recall"]
    means = {arm: 100 * np.stack(list(by_arm.get_group(arm))).mean(axis=0) for arm in arms}
    recall = pd.DataFrame.from_dict(means, orient="index", columns=list(dataset["class_names"]))
    return Recalls(recall=recall, class_counts=tuple(dataset["class_counts"]))


def draw_recalls(data: Recalls) -> Canvas:
    num_arms, num_classes = data.recall.shape
    is_labelled = num_classes <= MAX_LABELLED_CLASSES
    canvas = Canvas(figsize=(WIDTH, 0.34 * num_arms + (2.3 if is_labelled else 1.5)), layout="constrained")
    ax = canvas.subplots()
    values = data.recall.to_numpy()
    image = _heat_map(ax, values, is_labelled and num_classes <= 12)
    ax.set_yticks(range(num_arms), [_plain(arm) for arm in data.recall.index])
    if is_labelled:
        labels = [
            f"{_plain(name, 22)} ({count:,})"
            for name, count in zip(data.recall.columns, data.class_counts, strict=True)
        ]
        ax.set_xticks(range(num_classes), labels, rotation=40, ha="right", rotation_mode="anchor")
        ax.set_xlabel("Class (training images after thinning)")
    else:
        low, high = min(data.class_counts), max(data.class_counts)
        ax.set_xlabel(f"Class, by its index (training images after thinning: {low:,} to {high:,})")
    bar = canvas.colorbar(image, ax=ax, label="Test recall (%)", pad=0.015, aspect=14, fraction=0.05)
    bar.outline.set_visible(False)
    return canvas


def _heat_map(ax: Axes, values: np.ndarray, has_numbers: bool, font_size: float = 7.5) -> Any:
    image = ax.imshow(values, cmap="Blues", vmin=0, vmax=100, aspect="auto", interpolation="nearest")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if has_numbers:
        for (row, column), value in np.ndenumerate(values):
            ink = "white" if value > 55 else BLACK
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=font_size, color=ink)
    return image


@dataclass(frozen=True, kw_only=True)
class Confusions:
    """matrices: arm -> float[C, C], % of the true class (rows sum to 100), the mean over seeds."""

    matrices: dict[str, np.ndarray]
    class_names: tuple[str, ...]


def confusions_data(tables: Tables) -> Confusions | None:
    ranked = analysis.ranked_arms(tables)
    remedies = [arm for arm in ranked if arm != tables.control]
    arms = [*([tables.control] if tables.control in ranked else []), *remedies[:1]]
    if not arms:
        return None
    matrices = {}
    for arm in arms:
        rows = tables.retests.loc[tables.retests["arm"] == arm, "confusion_matrix"]
        counts = np.stack([np.array([list(row) for row in matrix], dtype=float) for matrix in rows])
        totals = counts.sum(axis=2, keepdims=True)
        shares = np.divide(100 * counts, totals, out=np.zeros_like(counts), where=totals > 0)
        matrices[arm] = shares.mean(axis=0)
    return Confusions(matrices=matrices, class_names=tuple(tables.summary["dataset"]["class_names"]))


def draw_confusions(data: Confusions) -> Canvas:
    num_classes = len(data.class_names)
    is_labelled = num_classes <= MAX_LABELLED_CLASSES
    canvas = Canvas(figsize=(WIDTH, 4.55 if is_labelled else 4.25), layout="constrained")
    axes = list(canvas.subplots(1, max(2, len(data.matrices)), squeeze=False, sharey=True).flat)
    for ax in axes[len(data.matrices) :]:
        ax.remove()
    image: Any = None
    for ax, (arm, matrix) in zip(axes, data.matrices.items(), strict=False):
        image = _heat_map(ax, matrix, num_classes <= 12, 6.5)
        ax.set_title(_plain(arm), loc="left", fontweight="bold", fontsize=8.5)
        ax.set_xlabel("Predicted class" if is_labelled else "Predicted class, by its index")
        if is_labelled:
            names = [_plain(name, 16) for name in data.class_names]
            slanted: dict[str, Any] = {
                "rotation": 50,
                "ha": "right",
                "rotation_mode": "anchor",
                "fontsize": 7.5,
            }
            ax.set_xticks(range(num_classes), names, **slanted)
            ax.set_yticks(range(num_classes), names, fontsize=7.5)
    axes[0].set_ylabel("True class" if is_labelled else "True class, by its index")
    bar = canvas.colorbar(
        image, ax=axes[: len(data.matrices)], label="Share of the true class (%)",
        location="top", pad=0.03, aspect=40, shrink=0.5, fraction=0.04,
    )  # fmt: skip
    bar.outline.set_visible(False)
    return canvas


# --- (h) budget ---------------------------------------------------------------------------------------------


def budgets_data(tables: Tables) -> pd.DataFrame | None:
    budgets = analysis.arm_budgets(tables)
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
    left.set_yticks(rows, [_plain(arm) for arm in data["arm"]])
    left.set_ylim(len(data) - 0.4, -0.6)
    _legend(
        canvas,
        [
            Patch(color=BLUE, label="spent in tuning"),
            Patch(facecolor="white", edgecolor=GREY, hatch="////", label="saved by early stopping (estimate)"),
        ],
    )
    return canvas


# --- the table ----------------------------------------------------------------------------------------------


def _scores_alt(data: Dots) -> str:
    return "Dot plot of test balanced accuracy: " + _listed(data, "{:.1f} %")


def _differences_alt(data: Dots) -> str:
    return f"Dot plot of the paired difference to {data.control}: " + _listed(data, "{:+.1f} points")


def _listed(data: Dots, value_format: str) -> str:
    pairs = zip(data.arms["arm"], data.arms["mean"], strict=True)
    return "; ".join(f"{arm} {value_format.format(mean)}" for arm, mean in pairs) + "."


FIGURES: tuple[Figure, ...] = (
    Figure(
        name="scores",
        title="Test balanced accuracy of each arm's winner",
        caption="Mean over fresh seeds with its 95 % t-interval; small dots are the single seeds. The "
        "intervals of two arms may overlap and the arms still differ: seeds are paired, so differences "
        "are judged in the next figure.",
        alt=_scores_alt,
        absent="no arm has been retested",
        data=scores_data,
        draw=draw_scores,
    ),
    Figure(
        name="differences",
        title="Paired differences to the control",
        caption="Each seed's score minus the control's at the same seed (same thinned subset, same "
        "seed of initialisation and order), mean and 95 % t-interval, not adjusted for the number of "
        "comparisons. An interval that crosses the line is no measurable difference.",
        alt=_differences_alt,
        absent="no remedy and the control have been retested on a common seed",
        data=differences_data,
        draw=draw_differences,
    ),
    Figure(
        name="recall",
        title="Test recall of each class",
        caption="Mean over the retest seeds, arms ordered by test balanced accuracy, which is the mean of a row.",
        alt=lambda data: f"Heat map of test recall: {len(data.recall)} arms by {len(data.class_counts)} classes.",
        absent="no arm has been retested",
        data=recalls_data,
        draw=draw_recalls,
    ),
    Figure(
        name="confusion",
        title="Confusion matrices of the control and of the best remedy",
        caption="Rows are true classes and sum to 100 %; mean over the retest seeds.",
        alt=lambda data: f"Confusion matrices, row-normalised, of {' and '.join(data.matrices)}.",
        absent="no arm has been retested",
        data=confusions_data,
        draw=draw_confusions,
    ),
    Figure(
        name="curves",
        title="Learning curves of the tuning trials",
        caption="One line a trial. × marks where early stopping ended one, vertical lines the rungs at "
        "which it decides; the winner is the completed trial with the highest last value.",
        alt=lambda data: f"Validation balanced accuracy over epochs of {len(data.ends)} trials, a panel an arm.",
        absent="no trial has finished an epoch",
        data=curves_data,
        draw=draw_curves,
    ),
    Figure(
        name="survivors",
        title="Trials at each rung of early stopping",
        caption="Of the trials that reached a rung, how many went on and how many were stopped there; on "
        "the right, how the arm's trials ended. Rungs are kept per arm: a trial competes with its own arm "
        "only.",
        alt=lambda data: f"Bars of trial counts at each rung for {data['arm'].nunique()} arms.",
        absent="no trial has finished",
        data=survivors_data,
        draw=draw_survivors,
    ),
    Figure(
        name="slices",
        title="Validation score over the shared hyperparameters",
        caption="A row an arm, grey dots the other arms' trials. A stopped trial stands, hollow, at its "
        "last value, which is of fewer epochs and not comparable with a completed one.",
        alt=lambda data: f"Scatter plots of validation score over {', '.join(data.knobs)} for {len(data.arms)} arms.",
        absent="no trial has a validation score",
        data=slices_data,
        draw=draw_slices,
    ),
    Figure(
        name="own_slices",
        title="Validation score over each arm's other hyperparameters",
        caption="A panel for each further hyperparameter that took more than one value in an arm.",
        alt=lambda data: f"Scatter plots of validation score over {', '.join(data.knobs)}.",
        absent="no arm varied a further hyperparameter",
        data=own_slices_data,
        draw=draw_own_slices,
    ),
    Figure(
        name="budget",
        title="What tuning spent, and what early stopping saved",
        caption="Saved: the epochs that stopped trials did not run, at each trial's own mean images and "
        "seconds an epoch.",
        alt=lambda data: f"Bars of training images and time for {len(data)} arms, spent and saved.",
        absent="no trial has finished an epoch",
        data=budgets_data,
        draw=draw_budgets,
    ),
    Figure(
        name="retest_curves",
        title="Training loss in the retest",
        caption="Losses of different arms are different functions: compare the shape, not the height. The "
        "retest has no validation set; nothing was chosen on these runs.",
        alt=lambda data: f"Training loss over epochs in the retest, a panel for each of {data['arm'].nunique()} arms.",
        absent="the retest has not run",
        data=retest_curves_data,
        draw=draw_retest_curves,
    ),
)
