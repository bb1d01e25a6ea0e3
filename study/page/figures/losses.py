"""Figures of losses and accuracies over the epochs of the retest, which show overfitting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from study.analysis import results
from study.analysis.tables import Tables, row_tuples
from study.page.figures.base import BLUE, ORANGE, SKY, VERMILLION, Figure, legend, panels, set_epoch_axis, set_title


def retest_curves_data(tables: Tables) -> pd.DataFrame | None:
    """The retest's training loss: arm, epoch, mean, low, high, n; low and high are the extreme seeds."""
    epochs = tables.retest_epochs
    if epochs.empty:
        return None
    loss = _over_seeds(epochs, "train_loss")
    order = {arm: position for position, arm in enumerate(tables.arms)}
    return loss.sort_values("arm", key=lambda arms: arms.map(order), kind="stable", ignore_index=True)


def _over_seeds(epochs: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column over seeds: arm, epoch, mean, low, high, n; low and high are the extreme seeds."""
    by_epoch = epochs.dropna(subset=[column]).groupby(["arm", "epoch"])[column]
    return by_epoch.agg(mean="mean", low="min", high="max", n="count").reset_index()


def draw_retest_curves(data: pd.DataFrame) -> Canvas:
    arms = list(data["arm"].drop_duplicates())
    canvas, axes = panels(len(arms), 3, 1.35, sharex=True)
    for ax, arm in zip(axes, arms, strict=True):
        loss = data[data["arm"] == arm]
        ax.fill_between(loss["epoch"], loss["low"], loss["high"], color=SKY, alpha=0.45, linewidth=0)
        ax.plot(loss["epoch"], loss["mean"], color=BLUE, linewidth=1.4, marker="o" if len(loss) == 1 else "")
        set_title(ax, arm)
        ax.set_ylim(bottom=0 if loss["low"].min() >= 0 else None)
        set_epoch_axis(ax)
    canvas.supxlabel("Epoch", fontsize=9)
    canvas.supylabel("Training loss\n(nats, each arm's own)", fontsize=9)
    legend(
        canvas,
        [
            Line2D([], [], color=BLUE, linewidth=1.4, label="mean over seeds"),
            Patch(color=SKY, alpha=0.45, linewidth=0, label="lowest to highest seed"),
        ],
    )
    return canvas


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Curves by split. points: split (training, validation, test), arm, epoch, mean, low, high, n, in ylabel's unit."""

    ylabel: str
    arms: tuple[str, ...]
    points: pd.DataFrame


SPLIT_STYLES: dict[str, dict[str, Any]] = {
    "training": {"color": BLUE, "linestyle": "-", "label": "training (retest)"},
    "validation": {"color": ORANGE, "linestyle": (0, (4, 2)), "label": "validation (tuning winner)"},
    "test": {"color": VERMILLION, "linestyle": "-", "label": "test (retest)"},
}


def losses_data(tables: Tables) -> Splits | None:
    return _splits(tables, "loss", 1.0, "Cross-entropy (nats)")


def accuracies_data(tables: Tables) -> Splits | None:
    return _splits(tables, "accuracy", 100.0, "Accuracy (%)")


def _splits(tables: Tables, measure: str, scale: float, ylabel: str) -> Splits | None:
    winners = results.winners(tables.trials)["trial_id"]
    won = tables.tuning_epochs[tables.tuning_epochs["trial_id"].isin(winners)]
    pieces = {
        "training": _over_seeds(tables.retest_epochs, f"train_eval_{measure}"),
        "validation": _over_seeds(won, f"val_{measure}"),
        "test": _over_seeds(tables.retest_epochs, f"test_{measure}"),
    }
    if pieces["training"].empty and pieces["test"].empty:
        return None
    points = pd.concat([frame.assign(split=split) for split, frame in pieces.items()], ignore_index=True)
    points[["mean", "low", "high"]] *= scale
    arms = tuple(arm for arm in tables.arms if (points["arm"] == arm).any())
    return Splits(ylabel=ylabel, arms=arms, points=points)


def draw_splits(data: Splits) -> Canvas:
    canvas, axes = panels(len(data.arms), 3, 1.75, sharex=True, sharey=True)
    for ax, arm in zip(axes, data.arms, strict=True):
        for split, style in SPLIT_STYLES.items():
            curve = data.points[(data.points["arm"] == arm) & (data.points["split"] == split)]
            if len(curve):
                band = {"color": style["color"], "alpha": 0.2, "linewidth": 0}
                ax.fill_between(curve["epoch"], curve["low"], curve["high"], **band)
                ax.plot(curve["epoch"], curve["mean"], **style, linewidth=1.5, marker="o" if len(curve) == 1 else "")
        set_title(ax, arm)
        set_epoch_axis(ax)
    axes[0].set_ylim(bottom=0)
    canvas.supxlabel("Epoch", fontsize=9)
    canvas.supylabel(data.ylabel, fontsize=9)
    legend(canvas, [Line2D([], [], **style, linewidth=1.5) for style in SPLIT_STYLES.values()])
    return canvas


def _splits_alt(data: Splits) -> str:
    last = data.points.sort_values("epoch", kind="stable").drop_duplicates(["arm", "split"], keep="last")
    last = last.sort_values("split", key=lambda splits: splits.map(list(SPLIT_STYLES).index), kind="stable")
    ends = [
        f"{arm} {', '.join(f'{row.split} {row.mean:.3g}' for row in row_tuples(last[last['arm'] == arm]))}"
        for arm in data.arms
    ]
    return f"{data.ylabel} over epochs on training, validation and test images; at the end: {'; '.join(ends)}."


_SPLITS_CAPTION = (
    "Training (a fixed sample of un-augmented training images) and test: the retest's runs, mean over seeds, the band "
    "from the lowest to the highest. Validation: the winner's one tuning trial, which trained on the training part "
    "alone. The test curves were followed after every choice had been made; nothing was chosen by them."
)
LOSSES = Figure(
    name="losses",
    section="generalisation",
    title="Training, validation and test loss over epochs",
    caption=_SPLITS_CAPTION + " Loss is plain cross-entropy for all arms, whatever each was trained with.",
    alt=_splits_alt,
    absent="the retest has not run",
    data=losses_data,
    draw=draw_splits,
)
ACCURACIES = Figure(
    name="accuracies",
    section="generalisation",
    title="Training, validation and test accuracy over epochs",
    caption=_SPLITS_CAPTION,
    alt=_splits_alt,
    absent="the retest has not run",
    data=accuracies_data,
    draw=draw_splits,
)
RETEST_CURVES = Figure(
    name="retest_curves",
    section="retest",
    title="Training loss in the retest",
    caption="Where arms have losses of their own, compare the shape, not the height. The "
    "retest has no validation set; nothing was chosen on these runs.",
    alt=lambda data: f"Training loss over epochs in the retest, a panel for each of {data['arm'].nunique()} arms.",
    absent="the retest has not run",
    data=retest_curves_data,
    draw=draw_retest_curves,
)
