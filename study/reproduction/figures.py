"""The figures of a reproduction: reported beside reproduced, curves, recall of each class, speed of convergence."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from study.analysis.tables import row_tuples
from study.page.figures.base import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    SKY,
    VERMILLION,
    WIDTH,
    Figure,
    legend,
    panels,
    set_epoch_axis,
    set_title,
)
from study.page.figures.labels import class_labels, plain
from study.page.words import dataset_title
from study.reproduction import comparisons, results
from study.reproduction.curve_figures import epoch_figure
from study.reproduction.records import RecipeRecord, TunedRecord
from study.reproduction.results import Reproduction, Score


def figures_of(reproduction: Reproduction) -> tuple[Figure, ...]:
    """All figures of the page in its order; a figure of recalls for each data set that has such recipes."""
    datasets = dict.fromkeys(
        reproduction.dataset_of(recipe) for recipe in reproduction.recipes if _has_classes(reproduction, recipe)
    )
    declared = map(epoch_figure, reproduction.summary.curves)
    return (OVERVIEW, *(_classes_figure(dataset) for dataset in datasets), *declared, SPEED, CURVES)


def _label(reproduction: Reproduction, recipe: RecipeRecord) -> str:
    """The recipe's name, with its scale where that is not 1."""
    scale = results.scale_mark(reproduction, recipe.name)
    return f"{recipe.name} ({scale})" if scale else recipe.name


# --- reported, reproduced, corrected, tuned ------------------------------------------------------------------------


def overview_data(reproduction: Reproduction) -> pd.DataFrame | None:
    """A row a recipe that ran: label, reported, last, lowest, highest (seeds), best, corrected, control, tuned, in %.

    NaN where there is no such number; reported and tuned also where the run does not compare with them.
    """
    found = []
    for recipe in reproduction.recipes:
        name, column = recipe.name, results.main_column(reproduction, recipe)
        last = results.score_of(results.last_epoch(reproduction, name, column))
        if last is None:
            continue
        mended, tuned = comparisons.main_correction(reproduction, recipe), reproduction.summary.tuned.get(name)
        is_shown = mended and mended.run and results.same_scale(reproduction, name, mended.run)
        after = _mean(mended.after) if mended and is_shown else math.nan
        is_control = mended is not None and mended.is_control
        compares = results.obstacle(reproduction, name) is None
        found.append(
            {
                "label": _label(reproduction, recipe),
                "reported": recipe.reported[0].value if compares and recipe.reported else math.nan,
                "last": last.mean,
                "lowest": last.lowest,
                "highest": last.highest,
                "best": _mean(results.score_of(results.best_on_test(reproduction, name, column))),
                "corrected": math.nan if is_control else after,
                "control": after if is_control else math.nan,
                "tuned": tuned.mean if compares and isinstance(tuned, TunedRecord) else math.nan,
            }
        )
    if not found:
        return None
    frame = pd.DataFrame(found)
    frame.loc[:, "reported":] *= 100  # type: ignore[misc]
    return frame


def _mean(score: Score | None) -> float:
    return math.nan if score is None else score.mean


# In the order in which they are drawn: reported last, so that it is seen where the others agree with it.
OVERVIEW_STYLES: dict[str, dict[str, Any]] = {
    "tuned": {"marker": "^", "color": ORANGE, "markersize": 6.5, "label": "tuned"},
    "corrected": {"marker": "D", "color": VERMILLION, "markersize": 5, "label": "corrected"},
    "control": {"marker": "s", "color": GREY, "markersize": 5, "label": "control"},
    "best": {"marker": "o", "color": BLUE, "markersize": 6.5, "markerfacecolor": "none", "label": "best epoch on test"},
    "last": {"marker": "o", "color": BLUE, "markersize": 5, "label": "last epoch, and its seeds"},
    "reported": {"marker": "|", "color": BLACK, "markersize": 13, "markeredgewidth": 2, "label": "reported"},
}


def draw_overview(data: pd.DataFrame) -> Canvas:
    canvas = Canvas(figsize=(WIDTH, 0.3 * len(data) + 1.25), layout="constrained")
    ax = canvas.subplots()
    ax.grid(axis="x", visible=True)
    ax.hlines(range(len(data)), data["lowest"], data["highest"], color=BLUE, linewidth=1.8)
    for name, style in OVERVIEW_STYLES.items():
        ax.plot(data[name], range(len(data)), linestyle="", zorder=3, **style)
    ax.set_yticks(range(len(data)), [plain(label, 34) for label in data["label"]])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(data) - 0.4, -0.6)
    ax.margins(x=0.04)
    ax.set_xlabel("Test accuracy (%); of puzzles: those solved")
    handles = [
        Line2D([], [], linestyle="-" if name == "last" else "", linewidth=1.8, **style)
        for name, style in reversed(OVERVIEW_STYLES.items())
        if data[name].notna().any()
    ]
    legend(canvas, handles)
    return canvas


def _overview_alt(data: pd.DataFrame) -> str:
    rows = []
    for row in row_tuples(data):
        reported = "" if math.isnan(row.reported) else f"reported {row.reported:.1f}, "
        rows.append(f"{row.label} {reported}reproduced {row.last:.1f}")
    return f"Dot plot of test accuracy (%), a row a recipe: {'; '.join(rows)}."


OVERVIEW = Figure(
    name="overview",
    section="results",
    title="Reported, reproduced, corrected and tuned",
    caption="A row a recipe that ran; means over seeds, the line from the lowest to the highest seed's last epoch. The "
    "hollow circle is what choosing the epoch by the test split would have given. Corrected: where another run mends "
    "the fault (where reporting the last epoch does, that is the filled dot). Control: what the recipe lacked, and is "
    "to be judged against. × after a name: its scale; its numbers compare neither with the reported nor with the tuned "
    "one, which are left out.",
    alt=_overview_alt,
    absent="no recipe has run",
    data=overview_data,
    draw=draw_overview,
)


# --- curves --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CurvePanel:
    """test: epoch, mean, smoothed; training: epoch, mean, empty where it was not followed; in %."""

    title: str
    test: pd.DataFrame
    training: pd.DataFrame


def curves_data(reproduction: Reproduction) -> list[CurvePanel] | None:
    found = []
    for recipe in reproduction.recipes:
        name, column = recipe.name, results.main_column(reproduction, recipe)
        if column not in reproduction.epochs:
            continue
        test = results.curve(reproduction, name, column)
        training = results.curve(reproduction, name, "train_eval_accuracy")
        if len(test):
            test[["mean", "smoothed"]] *= 100
            training[["mean", "smoothed"]] *= 100
            found.append(CurvePanel(title=_label(reproduction, recipe), test=test, training=training))
    return found or None


def draw_curves(data: list[CurvePanel]) -> Canvas:
    canvas, axes = panels(len(data), min(3, len(data)), 1.45)
    for ax, panel in zip(axes, data, strict=True):
        marker = "o" if len(panel.test) == 1 else ""
        ax.plot(panel.training["epoch"], panel.training["mean"], **_TRAINING, marker=marker, markersize=3)
        ax.plot(panel.test["epoch"], panel.test["mean"], **_RAW)
        ax.plot(panel.test["epoch"], panel.test["smoothed"], **_SMOOTHED, marker=marker, markersize=4)
        set_title(ax, panel.title)
        set_epoch_axis(ax)
        if panel.test["epoch"].max() == 1:
            ax.set_xlim(0, 2)
            ax.set_xticks([1])
    canvas.supxlabel("Epoch", fontsize=9)
    canvas.supylabel("Accuracy (%),\neach panel's own scale", fontsize=9)
    legend(canvas, [Line2D([], [], **style) for style in (_SMOOTHED, _RAW, _TRAINING)])
    return canvas


_SMOOTHED: dict[str, Any] = {"color": VERMILLION, "linewidth": 1.8, "label": "test, smoothed"}
_RAW: dict[str, Any] = {"color": VERMILLION, "linewidth": 0.8, "alpha": 0.45, "label": "test, each epoch"}
_TRAINING: dict[str, Any] = {"color": BLUE, "linewidth": 1.2, "linestyle": (0, (4, 2)), "label": "training"}


def _curves_alt(data: list[CurvePanel]) -> str:
    ends = "; ".join(f"{panel.title} {panel.test['mean'].iloc[-1]:.1f}" for panel in data)
    return f"Test and training accuracy (%) over epochs, a panel a recipe; test at the last epoch: {ends}."


CURVES = Figure(
    name="curves",
    section="curves",
    title="The recipes over their epochs",
    caption="Test accuracy, of puzzles those solved; means over seeds. Smoothed: exponential moving average of decay "
    f"{results.SMOOTHING:g} an epoch with bias correction; every number on this page is of the raw scores. "
    "Training: a fixed sample of un-augmented training images.",
    alt=_curves_alt,
    absent="no recipe has run",
    data=curves_data,
    draw=draw_curves,
)


# --- recall by class -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ClassPanel:
    """recall: mean, lowest and highest seed, float64[3, C] in %; cut: classes; reported: of the first classes, in %."""

    title: str
    recall: np.ndarray
    cut: tuple[int, ...]
    reported: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ClassPanels:
    class_names: tuple[str, ...]
    panels: tuple[ClassPanel, ...]


def _has_classes(reproduction: Reproduction, recipe: RecipeRecord) -> bool:
    """Whether a recipe's classes are worth a look: some are cut, or the report printed their recalls."""
    run = reproduction.run(recipe.name)
    return run is not None and bool(recipe.reported_per_class or run.imbalance or results.cut_classes(run, 2))


def classes_data(dataset: str, reproduction: Reproduction) -> ClassPanels | None:
    found = []
    for recipe in reproduction.recipes:
        run = reproduction.run(recipe.name)
        recalls = results.of_classes(reproduction, recipe.name, "per_class_recall")
        is_shown = reproduction.dataset_of(recipe) == dataset and _has_classes(reproduction, recipe)
        if run is None or recalls is None or not is_shown:
            continue
        compares = results.obstacle(reproduction, recipe.name) is None
        found.append(
            ClassPanel(
                title=_label(reproduction, recipe),
                recall=100 * np.stack([recalls.mean(axis=0), recalls.min(axis=0), recalls.max(axis=0)]),
                cut=results.cut_classes(run, recalls.shape[1]),
                reported=tuple(100 * value for value in recipe.reported_per_class) if compares else (),
            )
        )
    if not found:
        return None
    names = reproduction.class_names(dataset, found[0].recall.shape[1])
    return ClassPanels(class_names=names, panels=tuple(found))


def draw_classes(data: ClassPanels) -> Canvas:
    canvas, axes = panels(len(data.panels), min(2, len(data.panels)), 1.4, sharex=True, sharey=True)
    names = class_labels(data.class_names, 14) or tuple(map(str, range(len(data.class_names))))
    overhanging = axes[-2] if len(axes) > 2 and len(axes) % 2 else None  # the place below it is empty
    for ax, panel in zip(axes, data.panels, strict=True):
        mean, lowest, highest = panel.recall
        classes = np.arange(len(mean))
        colors = [SKY if number in panel.cut else GREY for number in classes]
        ax.bar(classes, mean, color=colors, width=0.7)
        ax.vlines(classes, lowest, highest, color=BLACK, linewidth=0.9)
        ax.plot(classes[: len(panel.reported)], panel.reported, linestyle="", **_REPORTED_RECALL)
        ax.grid(axis="x", visible=False)
        ax.set_xticks(classes, names, rotation=45, ha="right", fontsize=7)
        ax.tick_params(axis="x", length=0)
        if ax is overhanging:
            _hang_names(ax, names)
        set_title(ax, panel.title)
    axes[0].set_ylim(0, 100)
    canvas.supylabel("Test recall (%)", fontsize=9)
    handles: list[Any] = [Patch(color=GREY, label="a whole class")]
    if any(panel.cut for panel in data.panels):
        handles.insert(0, Patch(color=SKY, label="a cut class"))
    if any((panel.recall[1] < panel.recall[2]).any() for panel in data.panels):
        handles.append(Line2D([], [], color=BLACK, linewidth=0.9, label="lowest to highest seed"))
    if any(panel.reported for panel in data.panels):
        handles.append(Line2D([], [], linestyle="", **_REPORTED_RECALL))
    legend(canvas, handles)
    return canvas


def _hang_names(ax: Axes, names: Sequence[str]) -> None:
    """The classes' names below the panel, without making its row as high as they are long."""
    ax.tick_params(axis="x", labelbottom=False)
    for place, name in enumerate(names):
        label = ax.annotate(
            name,
            (place, 0),
            xytext=(3, -4),
            xycoords=ax.get_xaxis_transform(),
            textcoords="offset points",
            rotation=45,
            ha="right",
            va="top",
            fontsize=7,
        )
        label.set_in_layout(False)


_REPORTED_RECALL: dict[str, Any] = {"marker": "D", "color": VERMILLION, "markersize": 4.5, "label": "reported"}


def _classes_alt(data: ClassPanels) -> str:
    rows = []
    for panel in data.panels:
        values = zip(data.class_names, panel.recall[0], strict=True)
        rows.append(f"{panel.title} {', '.join(f'{name} {value:.0f}' for name, value in values)}")
    return f"Test recall (%) of each class, a panel a recipe: {'; '.join(rows)}."


def file_slug(dataset: str) -> str:
    """A data set's name as a part of a file's: '/data/my pets' -> 'data-my-pets'."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", dataset).strip("-")[-60:] or "dataset"


def _classes_figure(dataset: str) -> Figure:
    title = dataset_title(dataset).replace("{", "{{").replace("}", "}}")  # it is formatted
    return Figure(
        name=f"classes_{file_slug(dataset)}",
        section="classes",
        title=f"Recall of each class on {title}",
        caption="Recipes that cut classes, or whose report printed a table of classes; means over seeds at the last "
        "epoch. Cut: fewer images, or in fewer batches.",
        alt=_classes_alt,
        absent="no such recipe has run",
        data=partial(classes_data, dataset),
        draw=draw_classes,
    )


# --- speed ---------------------------------------------------------------------------------------------------------


def speed_data(reproduction: Reproduction) -> pd.DataFrame | None:
    """A row a recipe that ran: label, num_epochs, and mean, lowest, highest seed of epochs and of images."""
    found = []
    for recipe in reproduction.recipes:
        speed = results.convergence(reproduction, recipe.name)
        if speed is not None:
            row: dict[str, Any] = {"label": _label(reproduction, recipe), "num_epochs": speed.num_epochs}
            for name, score in (("epochs", speed.epochs), ("images", speed.images)):
                row |= {name: score.mean, f"{name}_lowest": score.lowest, f"{name}_highest": score.highest}
            found.append(row)
    return pd.DataFrame(found) if found else None


def draw_speed(data: pd.DataFrame) -> Canvas:
    canvas = Canvas(figsize=(WIDTH, 0.26 * len(data) + 1.25), layout="constrained")
    left, right = canvas.subplots(1, 2, sharey=True)
    places = range(len(data))
    left.plot(data["num_epochs"], places, linestyle="", **_ALL_EPOCHS)
    _draw_reached(left, data, "epochs")
    _draw_reached(right, data, "images")
    left.set_yticks(places, [plain(label, 30) for label in data["label"]])
    left.set_ylim(len(data) - 0.4, -0.6)
    left.set_xlim(0.85, 1.2 * data["num_epochs"].max())
    left.set_xlabel(f"Epochs to {100 * results.TARGET_SHARE:.0f} % of the last score")
    right.set_xlabel("Training images drawn until then")
    legend(
        canvas, [Line2D([], [], linestyle="-", linewidth=1.8, **_REACHED), Line2D([], [], linestyle="", **_ALL_EPOCHS)]
    )
    return canvas


_REACHED: dict[str, Any] = {"marker": "o", "color": BLUE, "markersize": 5, "label": "mean, lowest to highest seed"}
_ALL_EPOCHS: dict[str, Any] = {"marker": "|", "color": GREY, "markersize": 8, "label": "the recipe's epochs"}


def _draw_reached(ax: Axes, data: pd.DataFrame, name: str) -> None:
    places = range(len(data))
    ax.hlines(places, data[f"{name}_lowest"], data[f"{name}_highest"], color=BLUE, linewidth=1.8)
    ax.plot(data[name], places, linestyle="", **_REACHED)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(_count))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.tick_params(axis="y", length=0)


def _count(value: float, _position: int) -> str:
    """1000000 -> '1 M', 50000 -> '50 k'."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def _speed_alt(data: pd.DataFrame) -> str:
    rows: Sequence[str] = [f"{row.label} {row.epochs:.1f} of {row.num_epochs}" for row in row_tuples(data)]
    return f"Epochs until a recipe first reaches 95 % of its last score: {'; '.join(rows)}."


SPEED = Figure(
    name="speed",
    section="speed",
    title="Epochs and images until 95 % of the last score",
    caption="The first epoch whose raw test score is at least 95 % of the last epoch's, for each seed: a run whose "
    "score falls in the end is early by this measure, not fast. Both axes are "
    "logarithmic. An epoch of one recipe may be five of another's: the images say what it cost.",
    alt=_speed_alt,
    absent="no recipe has run",
    data=speed_data,
    draw=draw_speed,
)
