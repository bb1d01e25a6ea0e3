"""Figures of pre-training's effect on the classifier: test accuracy over label fraction, and learning curves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from study.analysis import results, transfer
from study.analysis.tables import Tables, row_tuples
from study.analysis.transfer import EQUAL_EPOCHS, JIGSAW, SCRATCH
from study.page.figures.base import BLACK, BLUE, VERMILLION, WIDTH, Figure, legend, panels, set_epoch_axis, set_title
from study.page.words import axis_label

INITIALISATION_STYLES: dict[str, dict[str, Any]] = {
    SCRATCH: {"color": BLACK, "marker": "s", "linestyle": (0, (4, 2)), "label": "scratch"},
    EQUAL_EPOCHS: {"color": BLUE, "marker": "o", "linestyle": "-", "label": "scratch, as many epochs"},
    JIGSAW: {"color": VERMILLION, "marker": "D", "linestyle": "-", "label": "jigsaw first"},
}
# Steps by which points of the same x are moved apart, so that their intervals do not cover each other.
X_STEPS = {SCRATCH: -1, EQUAL_EPOCHS: 0, JIGSAW: 1}


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Scores by label share. points: initialisation, label_fraction (%), mean, low, high (%, clipped to 0-100), n."""

    ylabel: str
    points: pd.DataFrame


def transfer_data(tables: Tables) -> Transfer | None:
    points = results.arm_scores(tables)
    if points.empty:
        return None
    points["initialisation"] = points["arm"].map(partial(transfer.initialisation, tables))
    points["label_fraction"] = 100 * points["arm"].map(partial(transfer.label_fraction, tables))
    points[["mean", "low", "high"]] *= 100
    # A t-interval over few seeds may exceed 0-100, and would stretch the axis.
    points[["low", "high"]] = points[["low", "high"]].clip(0, 100)
    return Transfer(ylabel=axis_label(tables.score), points=points.sort_values("label_fraction"))


def draw_transfer(data: Transfer) -> Canvas:
    canvas = Canvas(figsize=(WIDTH, 3.6), layout="constrained")
    ax = canvas.subplots()
    fractions = data.points["label_fraction"]
    step = max(1.03, (fractions.max() / fractions.min()) ** 0.02)
    present = []
    for initialisation, style in INITIALISATION_STYLES.items():
        points = data.points[data.points["initialisation"] == initialisation]
        if len(points):
            at = points["label_fraction"] * step ** X_STEPS[initialisation]
            ax.vlines(at, points["low"], points["high"], color=style["color"], linewidth=1.8)
            ax.plot(at, points["mean"], **style, linewidth=1.1, markersize=5, markeredgecolor="white", zorder=3)
            present.append(style)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(sorted(data.points["label_fraction"].unique())))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    ax.margins(x=0.12)
    ax.grid(axis="x", visible=False)
    ax.set_xlabel("Share of the training labels (log scale)")
    ax.set_ylabel(data.ylabel)
    legend(canvas, [Line2D([], [], **style, linewidth=1.1, markersize=5) for style in present])
    return canvas


@dataclass(frozen=True, kw_only=True)
class ClassifierCurves:
    """Curves of the arms' winning trials. points: title (of the group), initialisation, epoch, value (%)."""

    ylabel: str
    points: pd.DataFrame


def classifier_curves_data(tables: Tables) -> ClassifierCurves | None:
    winners = results.winners(tables.trials)["trial_id"]
    epochs = tables.tuning_epochs[tables.tuning_epochs["trial_id"].isin(winners)].sort_values("epoch")
    titles = {arm: group.title for group in tables.groups for arm in group.arms}
    points = pd.DataFrame(
        {
            "title": epochs["arm"].map(titles),
            "initialisation": epochs["arm"].map(partial(transfer.initialisation, tables)),
            "epoch": epochs["epoch"],
            "value": 100 * epochs[tables.objective],
        }
    ).dropna()
    return ClassifierCurves(ylabel=axis_label(tables.objective), points=points) if len(points) else None


def draw_classifier_curves(data: ClassifierCurves) -> Canvas:
    titles = list(data.points.sort_index()["title"].drop_duplicates())
    canvas, axes = panels(len(titles), 3, 2.5, sharey=True)
    for ax, title in zip(axes, titles, strict=True):
        for initialisation, style in INITIALISATION_STYLES.items():
            is_own = (data.points["title"] == title) & (data.points["initialisation"] == initialisation)
            curve = data.points[is_own]
            last = [len(curve) - 1] if len(curve) else None
            ax.plot(curve["epoch"], curve["value"], **style, linewidth=1.4, markevery=last, markersize=5)
        set_title(ax, title)
        set_epoch_axis(ax)
    canvas.supxlabel("Epoch on labels", fontsize=9)
    canvas.supylabel(data.ylabel, fontsize=9)
    legend(canvas, [Line2D([], [], **style, linewidth=1.4, markersize=5) for style in INITIALISATION_STYLES.values()])
    return canvas


def _transfer_alt(data: Transfer) -> str:
    values = "; ".join(
        f"{row.initialisation} {row.mean:.1f} % at {row.label_fraction:g} %" for row in row_tuples(data.points)
    )
    return f"{data.ylabel} over the share of labels: {values}."


TRANSFER = Figure(
    name="transfer",
    section="results",
    title="Transfer: {score} over the share of labels",
    caption="Mean over fresh seeds with its 95 % t-interval. The points of one share stand a little apart, so that "
    "their intervals do not cover each other. Whether two initialisations differ is judged by the paired intervals "
    "above, not by these.",
    alt=_transfer_alt,
    absent="no arm has been retested",
    data=transfer_data,
    draw=draw_transfer,
)
CLASSIFIER_CURVES = Figure(
    name="classifier_curves",
    section="results",
    title="Training the classifier with and without puzzles first",
    caption="The {objective} of each arm's winning tuning trial. The epochs that solved puzzles come before epoch 1 "
    "and used no label; scratch for as many epochs spends them on labels.",
    alt=lambda data: f"{data.ylabel} over epochs, a panel for each of {data.points['title'].nunique()} label shares.",
    absent="no arm has a completed trial",
    data=classifier_curves_data,
    draw=draw_classifier_curves,
)
