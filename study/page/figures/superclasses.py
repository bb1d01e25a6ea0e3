"""Figures by superclass, for data sets with more classes than a figure can label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from study.analysis import classes, results
from study.analysis.tables import Tables
from study.page.figures.base import WIDTH, Figure, heat_map, set_title
from study.page.figures.classes import control_and_best
from study.page.figures.labels import MAX_LABELLED_CLASSES, class_labels, plain

_SLANTED: dict[str, Any] = {"rotation": 50, "ha": "right", "rotation_mode": "anchor", "fontsize": 6.5}
_MOST_NUMBERS = 24  # superclasses beside each other whose numbers are still legible


def by_superclass(tables: Tables) -> bool:
    """Whether classes are shown by superclass: they have such, and are too many to be labelled."""
    return classes.has_superclasses(tables) and len(tables.summary["dataset"]["class_names"]) > MAX_LABELLED_CLASSES


def _names(tables: Tables) -> tuple[str, ...]:
    names = [str(name) for name in tables.summary["dataset"]["superclass_names"]]
    return class_labels(names, 24) or tuple(map(str, range(len(names))))


def recalls_data(tables: Tables) -> pd.DataFrame | None:
    """Recalls in %: arms as index (best first), superclasses as columns."""
    arms = results.ranked_arms(tables)
    if not arms:
        return None
    means = {arm: 100 * classes.superclass_recall(tables, arm) for arm in arms}
    return pd.DataFrame.from_dict(means, orient="index", columns=list(_names(tables)))


def draw_recalls(recall: pd.DataFrame) -> Canvas:
    num_arms, num_superclasses = recall.shape
    canvas = Canvas(figsize=(WIDTH, 0.3 * num_arms + 2.0), layout="constrained")
    ax = canvas.subplots()
    image = heat_map(ax, recall.to_numpy(), num_superclasses <= _MOST_NUMBERS, 6.5)
    ax.set_yticks(range(num_arms), [plain(arm) for arm in recall.index])
    ax.set_xticks(range(num_superclasses), list(recall.columns), **{**_SLANTED, "fontsize": 7.5})
    bar = canvas.colorbar(image, ax=ax, label="Test recall (%)", pad=0.015, aspect=14, fraction=0.05)
    bar.outline.set_visible(False)
    return canvas


@dataclass(frozen=True, kw_only=True)
class Confusions:
    """Confusion matrices: arm -> float[S, S], % of the true superclass, the mean over seeds. names: labels."""

    matrices: dict[str, np.ndarray]
    names: tuple[str, ...]


def confusions_data(tables: Tables) -> Confusions | None:
    arms = control_and_best(tables)
    if not arms:
        return None
    matrices = {arm: 100 * classes.superclass_confusion(tables, arm) for arm in arms}
    return Confusions(matrices=matrices, names=_names(tables))


def draw_confusions(data: Confusions) -> Canvas:
    canvas = Canvas(figsize=(WIDTH, 4.7), layout="constrained")
    axes = list(canvas.subplots(1, max(2, len(data.matrices)), squeeze=False, sharey=True).flat)
    for ax in axes[len(data.matrices) :]:
        ax.remove()
    image: Any = None
    for ax, (arm, matrix) in zip(axes, data.matrices.items(), strict=False):
        image = heat_map(ax, matrix, False)
        set_title(ax, arm)
        ax.set_xlabel("Predicted superclass")
        ax.set_xticks(range(len(data.names)), data.names, **_SLANTED)
        ax.set_yticks(range(len(data.names)), data.names, fontsize=6.5)
    axes[0].set_ylabel("True superclass")
    bar = canvas.colorbar(
        image, ax=axes[: len(data.matrices)], label="Share of the true superclass (%)",
        location="top", pad=0.03, aspect=40, shrink=0.5, fraction=0.04,
    )  # fmt: skip
    bar.outline.set_visible(False)
    return canvas


_ABSENT = "no arm has been retested"
SUPERCLASS_RECALL = Figure(
    name="superclass_recall",
    section="classes",
    title="Test recall by superclass",
    caption="The mean recall of a superclass's classes, over the retest seeds; arms ordered by {score}. An image "
    "counts as right if its class is found, not only its superclass.",
    alt=lambda data: f"Heat map of test recall: {data.shape[0]} arms by {data.shape[1]} superclasses.",
    absent=_ABSENT,
    data=recalls_data,
    draw=draw_recalls,
    applies=by_superclass,
)
SUPERCLASS_CONFUSION = Figure(
    name="superclass_confusion",
    section="classes",
    title="Confusion of superclasses, of the control and of the best {challenger}",
    caption="Rows are true superclasses and sum to 100 %; mean over the retest seeds. On the diagonal, images taken "
    "for a class of their own superclass, right or wrong.",
    alt=lambda data: f"Confusion matrices of {len(data.names)} superclasses, of {' and '.join(data.matrices)}.",
    absent=_ABSENT,
    data=confusions_data,
    draw=draw_confusions,
    applies=by_superclass,
)
