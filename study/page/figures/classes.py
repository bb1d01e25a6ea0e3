"""Figures of the winners' recalls and confusions by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from study.analysis import classes, results
from study.analysis.class_groups import retest_counts
from study.analysis.tables import Tables
from study.page.figures.base import WIDTH, Figure, heat_map, set_title
from study.page.figures.labels import by_index, class_labels, plain

OF_CLASSES = frozenset({"recall", "confusion"})
"""The names of the figures whose axes are classes."""


@dataclass(frozen=True, kw_only=True)
class Recalls:
    """Recalls in %, the mean over seeds: arms as index (best first), classes as columns.

    class_counts: of the retests' training images; None where these differ from arm to arm. counted: see TaskPage.
    """

    recall: pd.DataFrame
    class_counts: tuple[int, ...] | None
    counted: str


def recalls_data(tables: Tables, counted: str) -> Recalls | None:
    arms = results.ranked_arms(tables)
    if not arms:
        return None
    dataset = tables.summary["dataset"]
    means = {arm: 100 * classes.mean_recall(tables, arm) for arm in arms}
    recalls = pd.DataFrame.from_dict(means, orient="index", columns=list(dataset["class_names"]))
    retested = retest_counts(tables)
    counts = None if retested is None else tuple(retested[0].tolist())
    return Recalls(recall=recalls, class_counts=counts, counted=counted)


def draw_recalls(data: Recalls) -> Canvas:
    num_arms, num_classes = data.recall.shape
    names = class_labels(list(data.recall.columns), 22)
    canvas = Canvas(figsize=(WIDTH, 0.34 * num_arms + (1.5 if names is None else 2.3)), layout="constrained")
    ax = canvas.subplots()
    values = data.recall.to_numpy()
    image = heat_map(ax, values, num_classes <= 12)
    ax.set_yticks(range(num_arms), [plain(arm) for arm in data.recall.index])
    if names is not None:
        labels = list(names)
        if data.class_counts is not None:
            labels = [f"{name} ({count:,})" for name, count in zip(names, data.class_counts, strict=True)]
        ax.set_xticks(range(num_classes), labels, rotation=40, ha="right", rotation_mode="anchor")
        counted = "" if data.class_counts is None else f" ({data.counted})"
        ax.set_xlabel(f"Class{by_index(list(data.recall.columns))}{counted}")
    else:
        each = ""
        if data.class_counts is not None:
            low, high = min(data.class_counts), max(data.class_counts)
            each = f" ({data.counted}: {f'{low:,}' if low == high else f'{low:,} to {high:,}'})"
        ax.set_xlabel(f"Class, by its index{each}")
    bar = canvas.colorbar(image, ax=ax, label="Test recall (%)", pad=0.015, aspect=14, fraction=0.05)
    bar.outline.set_visible(False)
    return canvas


@dataclass(frozen=True, kw_only=True)
class Confusions:
    """Confusion matrices: arm -> float[C, C], % of the true class (rows sum to 100), the mean over seeds."""

    matrices: dict[str, np.ndarray]
    class_names: tuple[str, ...]


def control_and_best(tables: Tables) -> list[str]:
    """The retested control of the first group of arms, and the best of its other arms."""
    group = tables.groups[0]
    order = results.ranked(tables, group)
    controls = [arm for arm in order if arm == group.control]
    return [*controls, *[arm for arm in order if arm not in controls][:1]]


def confusions_data(tables: Tables) -> Confusions | None:
    arms = control_and_best(tables)
    if not arms:
        return None
    matrices = {arm: 100 * classes.mean_confusion(tables, arm) for arm in arms}
    return Confusions(matrices=matrices, class_names=tuple(tables.summary["dataset"]["class_names"]))


def draw_confusions(data: Confusions) -> Canvas:
    num_classes = len(data.class_names)
    names = class_labels(data.class_names, 16)
    canvas = Canvas(figsize=(WIDTH, 4.25 if names is None else 4.55), layout="constrained")
    axes = list(canvas.subplots(1, max(2, len(data.matrices)), squeeze=False, sharey=True).flat)
    for ax in axes[len(data.matrices) :]:
        ax.remove()
    image: Any = None
    for ax, (arm, matrix) in zip(axes, data.matrices.items(), strict=False):
        image = heat_map(ax, matrix, num_classes <= 12, 6.5)
        set_title(ax, arm)
        ax.set_xlabel(f"Predicted class{by_index(data.class_names)}")
        if names is not None:
            slanted: dict[str, Any] = {
                "rotation": 50,
                "ha": "right",
                "rotation_mode": "anchor",
                "fontsize": 7.5,
            }
            ax.set_xticks(range(num_classes), names, **slanted)
            ax.set_yticks(range(num_classes), names, fontsize=7.5)
    axes[0].set_ylabel(f"True class{by_index(data.class_names)}")
    bar = canvas.colorbar(
        image, ax=axes[: len(data.matrices)], label="Share of the true class (%)",
        location="top", pad=0.03, aspect=40, shrink=0.5, fraction=0.04,
    )  # fmt: skip
    bar.outline.set_visible(False)
    return canvas


def recall(counted: str) -> Figure:
    """The figure of recalls. counted: the noun for what class counts count, such as "training images"."""
    return Figure(
        name="recall",
        section="results",
        title="Test recall of each class",
        caption="Mean over the retest seeds, arms ordered by {score}; the mean of a row is the balanced accuracy.",
        alt=lambda data: f"Heat map of test recall: {len(data.recall)} arms by {data.recall.shape[1]} classes.",
        absent="no arm has been retested",
        data=lambda tables: recalls_data(tables, counted),
        draw=draw_recalls,
    )


CONFUSION = Figure(
    name="confusion",
    section="results",
    title="Confusion matrices of the control and of the best {challenger}",
    caption="Rows are true classes and sum to 100 %; mean over the retest seeds.",
    alt=lambda data: f"Confusion matrices, row-normalised, of {' and '.join(data.matrices)}.",
    absent="no arm has been retested",
    data=confusions_data,
    draw=draw_confusions,
)
