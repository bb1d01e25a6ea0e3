"""Figures of how hyperparameters act together: learning rate × weight decay, and parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.tri import Triangulation

from study.analysis import results
from study.analysis.fidelity import EqualFidelity, at_equal_fidelity
from study.analysis.knobs import knob_axis, varied_knobs
from study.analysis.tables import Tables, python_value
from study.page.figures.base import BLACK, VERMILLION, WIDTH, Figure, legend, panels, set_log_ticks, set_title
from study.page.figures.labels import broken, plain, told_apart
from study.page.text import config_value
from study.page.words import metric_name

LEAST_FOR_SURFACE = 15
"""With fewer trials, a surface between them would show the noise of single points."""
MOST_COORDINATES = 12
MOST_UPRIGHT = 8
"""With more axes, their names do not fit beside each other."""
COLORS = mpl.colormaps["viridis"]
_COMPARED = (
    "All trials are compared after the same epoch, the first rung of early stopping or else the last epoch; those that "
    "did not reach it are left out, and what is best there need not be best in the end."
)


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """Trials by two knobs. trials: arm, x, y, score (%), is_winner; arms: in declared order."""

    label: str
    arms: tuple[str, ...]
    trials: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Coordinate:
    """An axis of parallel coordinates. ticks: (place from 0 to 1, label), from the bottom up."""

    name: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """An arm's trials over its knobs. places: [trials, coordinates] from 0 to 1, the last the score; NaN: inactive.

    scores: in %, of the trials; is_winner: bool of each.
    """

    arm: str
    coordinates: tuple[Coordinate, ...]
    places: np.ndarray
    scores: np.ndarray
    is_winner: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Parallels:
    label: str
    arms: tuple[Parallel, ...]


def _label(tables: Tables, fidelity: EqualFidelity) -> str:
    return f"{metric_name(tables.objective).capitalize()}\nafter epoch {fidelity.epoch} (%)"


def landscape_data(tables: Tables) -> Landscape | None:
    """The trials that have both a learning rate and a weight decay above 0."""
    fidelity = at_equal_fidelity(tables)
    columns = ["config/learning_rate", "config/weight_decay"]
    if fidelity is None or not set(columns) <= set(fidelity.trials):
        return None
    trials = fidelity.trials[(fidelity.trials[columns] > 0).all(axis=1)]
    winners = set(results.winners(tables.trials)["trial_id"])
    trials = pd.DataFrame(
        {
            "arm": trials["arm"],
            "x": trials[columns[0]],
            "y": trials[columns[1]],
            "score": 100 * trials["score"],
            "is_winner": trials["trial_id"].isin(winners),
        }
    ).reset_index(drop=True)
    arms = tuple(arm for arm, own in trials.groupby("arm") if own["x"].nunique() > 1 and own["y"].nunique() > 1)
    if not arms:
        return None
    return Landscape(
        label=_label(tables, fidelity),
        arms=tuple(arm for arm in tables.arms if arm in arms),
        trials=trials[trials["arm"].isin(arms)].reset_index(drop=True),
    )


def surface(trials: pd.DataFrame) -> Triangulation | None:
    """The triangles between the trials on logarithmic axes; None if they are too few or lie on a line."""
    places = np.log10(trials[["x", "y"]].drop_duplicates().to_numpy())
    if len(places) < LEAST_FOR_SURFACE or np.linalg.matrix_rank(places - places.mean(axis=0), tol=1e-6) < 2:
        return None
    return Triangulation(np.log10(trials["x"]), np.log10(trials["y"]))


def _norm(scores: Sequence[float] | np.ndarray | pd.Series) -> Normalize:
    """Colours from the lower quartile up: the differences that matter are among the better trials."""
    low, high = float(np.quantile(scores, 0.25)), float(np.max(scores))
    return Normalize(low, high if high > low else low + 1)


def draw_landscape(data: Landscape) -> Canvas:
    num_columns = min(3, len(data.arms))
    canvas, axes = panels(len(data.arms), num_columns, 2.0 if num_columns > 1 else 3.0, sharex=True, sharey=True)
    norm = _norm(data.trials["score"])
    titles = told_apart(data.arms, 22 if num_columns == 3 else 40)
    for ax, arm, title in zip(axes, data.arms, titles, strict=True):
        trials = data.trials[data.trials["arm"] == arm].sort_values("is_winner")
        ax.set_xscale("log")
        ax.set_yscale("log")
        triangles = surface(trials)
        if triangles is not None:
            levels = np.linspace(float(norm.vmin or 0), float(norm.vmax or 1), 9)
            ax.tricontourf(
                Triangulation(10**triangles.x, 10**triangles.y, triangles.triangles), trials["score"].to_numpy(),
                levels=levels, cmap=COLORS, norm=norm, alpha=0.45, extend="min", antialiased=False, zorder=1,
            )  # fmt: skip
        for is_winner, marker, size, edge in ((False, "o", 17, "white"), (True, "D", 34, VERMILLION)):
            own = trials[trials["is_winner"] == is_winner]
            ax.scatter(
                own["x"], own["y"], c=own["score"], cmap=COLORS, norm=norm, s=size, marker=marker,
                edgecolor=edge, linewidth=1.3 if is_winner else 0.5, zorder=3,
            )  # fmt: skip
        set_title(ax, title)
        ax.use_sticky_edges = False
        ax.margins(0.06)
        for axis, values in ((ax.xaxis, data.trials["x"]), (ax.yaxis, data.trials["y"])):
            set_log_ticks(axis, values.min(), values.max())
    canvas.supxlabel("learning_rate", fontsize=9)
    canvas.supylabel("weight_decay", fontsize=9)
    _color_bar(canvas, axes, norm, data.label)
    if data.trials["is_winner"].any():
        legend(canvas, [_winner_handle("D")])
    return canvas


def _color_bar(canvas: Canvas, axes: Sequence[Axes], norm: Normalize, label: str) -> None:
    """A bar beside the panels, as thin beside many as beside few."""
    num_rows = len({ax.get_subplotspec().rowspan.start for ax in axes})  # type: ignore[union-attr]
    bar = canvas.colorbar(
        mpl.cm.ScalarMappable(norm, COLORS), ax=list(axes), extend="min", aspect=15 * num_rows, pad=0.01
    )
    bar.set_label(label)
    bar.outline.set_visible(False)  # type: ignore[operator]


def _winner_handle(marker: str, **options: Any) -> Line2D:
    return Line2D(
        [], [], linestyle=options.get("linestyle", ""), linewidth=1.8, color=VERMILLION, marker=marker, markersize=6,
        markerfacecolor="white", markeredgecolor=VERMILLION, label="the arm's winner",
    )  # fmt: skip


def parallel_data(tables: Tables) -> Parallels | None:
    fidelity = at_equal_fidelity(tables)
    if fidelity is None:
        return None
    winners = set(results.winners(tables.trials)["trial_id"])
    scores = 100 * fidelity.trials["score"]
    low, high = float(scores.min()), float(scores.max())
    found = []
    for arm in tables.arms:
        trials = fidelity.trials[fidelity.trials["arm"] == arm]
        # Those of most values first, if there is no room for all.
        by_values = sorted(varied_knobs(trials), key=lambda knob: -trials[f"config/{knob}"].nunique())
        knobs = [knob for knob in varied_knobs(trials) if knob in by_values[:MOST_COORDINATES]]
        if len(trials) < 2 or not knobs:
            continue
        columns = [_coordinate(tables, knob, trials[f"config/{knob}"]) for knob in knobs]
        own = 100 * trials["score"].to_numpy()
        score = Coordinate(name="score", ticks=((0.0, f"{low:.1f}"), (1.0, f"{high:.1f}")))
        height = (own - low) / (high - low) if high > low else np.full(len(own), 0.5)
        found.append(
            Parallel(
                arm=arm,
                coordinates=(*(coordinate for coordinate, _ in columns), score),
                places=np.column_stack([*(places for _, places in columns), height]),
                scores=own,
                is_winner=trials["trial_id"].isin(winners).to_numpy(),
            )
        )
    return Parallels(label=_label(tables, fidelity), arms=tuple(found)) if found else None


def _coordinate(tables: Tables, knob: str, values: pd.Series) -> tuple[Coordinate, np.ndarray]:
    """The axis of a knob, and the places of the values on it."""
    present = values.dropna().infer_objects()
    axis = knob_axis(tables, knob, present)
    choices = sorted(present.unique(), key=lambda choice: (isinstance(choice, str), choice))
    if axis.scale == "category" or (len(choices) <= 4 and (present % 1 == 0).all()):  # such as batch sizes
        step = 1 / max(len(choices) - 1, 1)
        at = {choice: position * step for position, choice in enumerate(choices)}
        ticks = tuple((place, config_value(python_value(choice))) for choice, place in at.items())
        return Coordinate(name=knob, ticks=ticks), values.map(at).to_numpy(dtype=float)
    low = min(float(present.min()), math.inf if axis.low is None else axis.low)
    high = max(float(present.max()), -math.inf if axis.high is None else axis.high)
    scaled = _SCALES.get(axis.scale, np.asarray)
    bottom, top = scaled(low), scaled(high)
    places = (scaled(values.astype(float).to_numpy()) - bottom) / (top - bottom)
    ends = [config_value(end) if axis.scale == "logit" else f"{end:.3g}" for end in (low, high)]
    return Coordinate(name=knob, ticks=((0.0, ends[0]), (1.0, ends[1]))), places


_SCALES: dict[str, Callable[[Any], Any]] = {"log": np.log, "logit": lambda share: np.log(share / (1 - share))}


OFF = -0.16
"""Where the line of a trial passes an axis of a knob that it lacks."""


def draw_parallel(data: Parallels) -> Canvas:
    canvas = Canvas(figsize=(WIDTH, 1.95 * len(data.arms) + 0.5), layout="constrained")
    axes = list(canvas.subplots(len(data.arms), 1, squeeze=False).flat)
    norm = _norm(np.concatenate([arm.scores for arm in data.arms]))
    has_off = any(np.isnan(arm.places).any() for arm in data.arms)
    for ax, arm in zip(axes, data.arms, strict=True):
        _draw_arm(ax, arm, norm)
    _color_bar(canvas, axes, norm, data.label)
    handles = [_winner_handle("", linestyle="-")] if any(arm.is_winner.any() for arm in data.arms) else []
    if has_off:
        handles.append(Line2D([], [], linestyle="", marker="$–$", color=BLACK, label="the trial lacks the knob"))
    if handles:
        legend(canvas, handles)
    return canvas


def _draw_arm(ax: Axes, arm: Parallel, norm: Normalize) -> None:
    num_coordinates = len(arm.coordinates)
    is_narrow = num_coordinates > MOST_UPRIGHT
    places = np.where(np.isnan(arm.places), OFF, arm.places)
    order = np.argsort(arm.scores)  # the better ones on top
    lines = [np.column_stack([np.arange(num_coordinates), places[row]]) for row in order]
    ax.add_collection(LineCollection(lines, colors=COLORS(norm(arm.scores[order])), linewidths=0.9, alpha=0.75))
    for row in np.flatnonzero(arm.is_winner):
        ax.plot(range(num_coordinates), places[row], color=VERMILLION, linewidth=1.8, zorder=4)
    for position, coordinate in enumerate(arm.coordinates):
        ax.axvline(position, color="#666666", linewidth=0.7, zorder=3)
        ticks = [*coordinate.ticks, *([(OFF, "–")] if np.isnan(arm.places[:, position]).any() else [])]
        labels = told_apart([text for _, text in ticks], 8 if is_narrow else 12)
        for (place, _), label in zip(ticks, labels, strict=True):
            ax.text(
                position + 0.04, place, label, fontsize=6, va="center", zorder=5,
                bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
            )  # fmt: skip
    ax.set_xlim(-0.1, num_coordinates - 0.4)
    ax.set_ylim(OFF - 0.1, 1.1)
    ax.set_yticks([])
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if is_narrow:
        names = [plain(coordinate.name, 24) for coordinate in arm.coordinates]
        ax.set_xticks(range(num_coordinates), names, fontsize=7, rotation=30, ha="right", rotation_mode="anchor")
    else:
        names = [broken(coordinate.name, 12) for coordinate in arm.coordinates]
        ax.set_xticks(range(num_coordinates), names, fontsize=min(7.5, 60 / num_coordinates))
    ax.tick_params(axis="x", length=0)
    set_title(ax, arm.arm)


LANDSCAPE = Figure(
    name="landscape",
    section="tuning",
    title="Validation score over learning rate and weight decay",
    caption=f"A point a trial, both axes logarithmic. Where an arm has {LEAST_FOR_SURFACE} trials or more, the colour "
    "between them is interpolated linearly, noise included; beyond the outermost trials nothing is known. Colours "
    f"begin at the lower quartile. {_COMPARED}",
    alt=lambda data: f"Maps of the validation score over learning rate and weight decay of {len(data.arms)} arms.",
    absent="no arm varied both and reached a common epoch with two trials",
    data=landscape_data,
    draw=draw_landscape,
)
PARALLEL = Figure(
    name="parallel",
    section="tuning",
    title="Trials in parallel coordinates",
    caption=f"A line a trial, an axis a hyperparameter that the arm varies, on its own scale (of more than "
    f"{MOST_COORDINATES}, those of most values); the last axis is the "
    f"score, the same for all arms, and the colour repeats it from the lower quartile up. {_COMPARED}",
    alt=lambda data: f"Parallel coordinates of the trials of {len(data.arms)} arms, coloured by score.",
    absent="no arm has two trials that reached a common epoch",
    data=parallel_data,
    draw=draw_parallel,
)
