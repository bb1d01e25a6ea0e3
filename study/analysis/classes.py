"""The winners' recalls and confusions by class."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from study.analysis import class_groups, results
from study.analysis.tables import Tables


def mean_recall(tables: Tables, arm: str) -> np.ndarray:
    """An arm's recall of each class, the mean over the retest's seeds: float64[C], 0-1."""
    retests = tables.main_retests
    return np.stack(list(retests.loc[retests["arm"] == arm, "per_class_recall"])).mean(axis=0)


def mean_confusion(tables: Tables, arm: str) -> np.ndarray:
    """An arm's confusion matrix as shares of the true class (rows), the mean over seeds: float64[C, C], 0-1."""
    retests = tables.main_retests
    matrices = retests.loc[retests["arm"] == arm, "confusion_matrix"]
    counts = np.stack([np.array([list(row) for row in matrix], dtype=float) for matrix in matrices])
    totals = counts.sum(axis=2, keepdims=True)
    return np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0).mean(axis=0)


def has_superclasses(tables: Tables) -> bool:
    dataset = tables.summary["dataset"]
    return bool(dataset.get("superclass_names") and dataset.get("superclass_of"))


def superclass_recall(tables: Tables, arm: str) -> np.ndarray:
    """An arm's recall in each superclass, the mean over its classes and over seeds: float64[S], 0-1."""
    return _membership(tables) @ mean_recall(tables, arm)


def superclass_confusion(tables: Tables, arm: str) -> np.ndarray:
    """The shares of each superclass's test images (rows) that are taken for a class of each superclass: float64[S, S].

    The mean over the superclass's classes and over seeds, 0-1. The diagonal counts an image of another class of the
    same superclass as right.
    """
    membership = _membership(tables)
    return membership @ mean_confusion(tables, arm) @ (membership > 0).T.astype(float)


def _membership(tables: Tables) -> np.ndarray:
    """Each class's weight in the mean of its superclass: float64[S, C], rows sum to 1."""
    dataset = tables.summary["dataset"]
    membership = np.zeros((len(dataset["superclass_names"]), len(dataset["class_names"])))
    membership[list(dataset["superclass_of"]), np.arange(len(dataset["class_names"]))] = 1
    return membership / membership.sum(axis=1, keepdims=True)


def compared_arms(tables: Tables) -> tuple[str, str | None] | None:
    """The best retested arm of the first group, and the control (None if it is the best itself or not retested)."""
    group = tables.groups[0]
    order = results.ranked(tables, group)
    if not order:
        return None
    return order[0], group.control if group.control in order[1:] else None


def hardest_classes(tables: Tables, num_classes: int = 10) -> pd.DataFrame:
    """The best arm's classes of lowest mean recall: class_name, superclass (or None), num_images, best, control.

    num_images: of a retest's training set, on a long tail alone, else NaN; best, control: recalls, 0-1.
    """
    arms = compared_arms(tables)
    if arms is None:
        return pd.DataFrame(columns=["class_name", "superclass", "num_images", "best", "control"])
    best, control = arms
    counts = class_groups.retest_counts(tables) if class_groups.is_long_tail(tables) else None
    recall = pd.DataFrame(
        {
            "class_name": list(tables.summary["dataset"]["class_names"]),
            "superclass": _superclasses(tables),
            "num_images": math.nan if counts is None else counts[0],
            "best": mean_recall(tables, best),
            "control": mean_recall(tables, control) if control else math.nan,
        }
    )
    return recall.sort_values("best", kind="stable").head(num_classes).reset_index(drop=True)


def confused_pairs(tables: Tables, num_pairs: int = 10) -> pd.DataFrame:
    """The best arm's most frequent errors: true, predicted, is_same_superclass (None: no superclasses), best, control.

    best and control are shares of the true class's test images, 0-1, the mean over seeds.
    """
    arms = compared_arms(tables)
    columns = ["true", "predicted", "is_same_superclass", "best", "control"]
    if arms is None:
        return pd.DataFrame(columns=columns)
    names, superclasses = list(tables.summary["dataset"]["class_names"]), _superclasses(tables)
    shares, control_shares = (None if arm is None else mean_confusion(tables, arm) for arm in arms)
    assert shares is not None
    np.fill_diagonal(shares, 0.0)
    found = []
    for position in np.argsort(-shares, axis=None, kind="stable")[:num_pairs]:
        true, predicted = divmod(int(position), len(names))
        if shares[true, predicted] > 0:
            is_same = None if superclasses[true] is None else superclasses[true] == superclasses[predicted]
            control_share = math.nan if control_shares is None else control_shares[true, predicted]
            found.append((names[true], names[predicted], is_same, shares[true, predicted], control_share))
    return pd.DataFrame(found, columns=columns)


def _superclasses(tables: Tables) -> list[str | None]:
    """The name of each class's superclass, or None for every class if there are none."""
    dataset = tables.summary["dataset"]
    names, index = dataset.get("superclass_names"), dataset.get("superclass_of")
    return [None] * len(dataset["class_names"]) if not names or not index else [str(names[i]) for i in index]
