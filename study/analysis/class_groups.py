"""Groups of classes by their number of training images, and the recall of each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.analysis import results
from study.analysis.intervals import Interval, paired_difference, t_interval
from study.analysis.once import once
from study.analysis.tables import Tables

MANY_ABOVE, FEW_BELOW = 100, 20
"""More training images than the first: many-shot; fewer than the second: few-shot; else medium-shot (Liu et al. 2019,
"Large-Scale Long-Tailed Recognition in an Open World")."""
SHOTS = ("many-shot", "medium-shot", "few-shot")
THIRDS = ("head", "middle", "tail")
LEAST_TAIL = 2.0  # the largest class over the smallest, from which on classes are grouped


@dataclass(frozen=True, kw_only=True)
class ClassGroup:
    """Classes that are alike in their number of training images. classes: their indices; counts: their images."""

    name: str
    classes: tuple[int, ...]
    counts: tuple[int, ...]

    @property
    def num_images(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True, kw_only=True)
class ClassGroups:
    """The groups of a data set's classes, those without a class left out, the most frequent classes first.

    all_in: the name of the shot into which the field's thresholds put all classes; then the groups are thirds of the
    classes by frequency. None: the groups are the field's. are_derived: whether the counts follow from those of tuning,
    because the run recorded none of its retests.
    """

    groups: tuple[ClassGroup, ...]
    all_in: str | None
    are_derived: bool


@dataclass(frozen=True, kw_only=True)
class GroupRecall:
    """An arm's recall on a group of classes, the mean over these, over seeds; and its paired difference to the control.

    difference: None for the control itself, and where the two share no seed.
    """

    arm: str
    group: ClassGroup
    recall: Interval
    difference: Interval | None


def is_long_tail(tables: Tables) -> bool:
    """Whether the largest class of tuning's training set has at least LEAST_TAIL times the images of the smallest."""
    counts = [int(count) for count in tables.summary["dataset"]["class_counts"]]
    return max(counts) >= LEAST_TAIL * max(min(counts), 1)


def retest_counts(tables: Tables) -> tuple[np.ndarray, bool] | None:
    """The training images of each class in the retests, int64[C], and whether they were derived.

    None without retests, and where arms trained on different numbers of images. The seed chooses the images, not their
    number. Runs that did not record the counts trained on train and validation joined; where these were thinned anew,
    the counts are those of tuning, scaled to the retests' number.
    """
    retests = tables.main_retests
    if retests["num_train"].nunique() != 1:
        return None
    if "class_counts" in retests and retests["class_counts"].notna().all():
        return np.asarray(retests["class_counts"].iloc[0], dtype=np.int64), False
    dataset, num_train = tables.summary["dataset"], int(retests["num_train"].iloc[0])
    tuning = np.asarray(dataset["class_counts"], dtype=np.int64)
    joined = tuning + np.asarray(dataset.get("val_counts") or 0, dtype=np.int64)
    if joined.sum() == num_train:
        return joined, True
    return np.rint(tuning * (num_train / tuning.sum())).astype(np.int64), True


def shot_of(count: int) -> str:
    """The field's name for a class of so many training images: 'many-shot', 'medium-shot' or 'few-shot'."""
    return SHOTS[0] if count > MANY_ABOVE else SHOTS[2] if count < FEW_BELOW else SHOTS[1]


def frequency_bins(counts: Sequence[int] | np.ndarray, num_bins: int) -> np.ndarray:
    """The bin of each class when classes are divided equally by frequency: int64[C], 0 for the most frequent.

    Classes of one size share a bin, that of the middle one among them.

    >>> frequency_bins([500, 500, 80, 9], 2).tolist()
    [0, 0, 1, 1]
    """
    counts = np.asarray(counts)
    num_larger = (counts[None, :] > counts[:, None]).sum(axis=1)
    num_equal = (counts[None, :] == counts[:, None]).sum(axis=1)
    return ((2 * num_larger + num_equal) * num_bins // (2 * len(counts))).astype(np.int64)


@once
def class_groups(tables: Tables) -> ClassGroups | None:
    """The groups of a long tail's classes; None if the data set has none, or nothing was retested.

    They are many-, medium- and few-shot where at least two of these have a class, and else thirds of the classes.
    """
    found = retest_counts(tables)
    if found is None or not is_long_tail(tables):
        return None
    counts, are_derived = found
    shots = [shot_of(int(count)) for count in counts]
    all_in = shots[0] if len(set(shots)) == 1 else None
    names = shots if all_in is None else _thirds(counts)
    groups = [
        ClassGroup(
            name=name,
            classes=tuple(index for index, its in enumerate(names) if its == name),
            counts=tuple(int(count) for count, its in zip(counts, names, strict=True) if its == name),
        )
        for name in (SHOTS if all_in is None else THIRDS)
        if name in names
    ]
    return ClassGroups(groups=tuple(groups), all_in=all_in, are_derived=are_derived)


def _thirds(counts: np.ndarray) -> list[str]:
    """The third of each class. Of sizes that fall into two of them, as two sizes do, the larger is the head."""
    bins = frequency_bins(counts, len(THIRDS))
    if len(set(bins.tolist())) == 2:
        return [THIRDS[0] if its == bins.min() else THIRDS[2] for its in bins]
    return [THIRDS[its] for its in bins]


@once
def group_recalls(tables: Tables) -> list[GroupRecall]:
    """The recalls of each retested arm of the first group of arms, the best arm first, in each group of classes.

    The differences of all arms in all groups of classes hold together at 95 % (Bonferroni): a reader looks for the
    largest of them.
    """
    found = class_groups(tables)
    if found is None:
        return []
    control = tables.groups[0].control
    recalls = {
        arm: [_seed_recalls(tables, arm, group) for group in found.groups]
        for arm in results.ranked(tables, tables.groups[0])
    }
    compared = results.differences_to_control(tables, tables.groups[0])
    num_comparisons = len(compared) * len(found.groups)
    num_classes = sum(len(group.classes) for group in found.groups)
    return [
        GroupRecall(
            arm=arm,
            group=group,
            recall=t_interval(seeds),
            difference=paired_difference(
                seeds,
                recalls[str(control)][position],
                num_comparisons=num_comparisons,
                num_looks=tables.num_looks,
                step=tables.score_step * num_classes / len(group.classes),  # one image weighs more among fewer classes
            )
            if arm in compared
            else None,
        )
        for arm, by_group in recalls.items()
        for position, (group, seeds) in enumerate(zip(found.groups, by_group, strict=True))
    ]


def _seed_recalls(tables: Tables, arm: str, group: ClassGroup) -> pd.Series:
    """The arm's mean recall over the group's classes, indexed by seed."""
    recalls = results.seed_scores(tables.main_retests, arm, "per_class_recall")
    return recalls.map(lambda recall: float(np.asarray(recall, dtype=float)[list(group.classes)].mean()))
