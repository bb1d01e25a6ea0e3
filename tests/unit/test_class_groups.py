"""Groups of classes by frequency, and the recalls of groups, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.analysis import class_groups
from study.analysis.class_groups import frequency_bins, shot_of
from study.analysis.tables import Tables


def tables_of(
    recalls: dict[str, list[list[float]]],
    *,
    tuning: Sequence[int],
    retest: Sequence[int] | None = None,
    val: Sequence[int] | None = None,
    num_train: int | None = None,
    control: str = "none",
) -> Tables:
    """Tables of arms with these recalls of each class, a list a seed."""
    retests = pd.DataFrame(
        [
            {
                "stage": "retest",
                "arm": arm,
                "seed": seed,
                "num_train": num_train or sum(retest or tuning),
                "class_counts": None if retest is None else list(retest),
                "per_class_recall": recall,
                "test_accuracy": float(np.mean(recall)),
            }
            for arm, seeds in recalls.items()
            for seed, recall in enumerate(seeds)
        ],
        columns=["stage", "arm", "seed", "num_train", "class_counts", "per_class_recall", "test_accuracy"],
    )
    dataset: dict[str, Any] = {"class_counts": list(tuning), "num_test": 100 * len(tuning), "val_counts": val}
    summary = {
        "arms": list(recalls),
        "groups": [{"title": "", "control": control, "arms": list(recalls)}],
        "score": "test_accuracy",
        "budget": {},
        "dataset": dataset,
    }
    empty = pd.DataFrame()
    return Tables(spec={}, summary=summary, trials=empty, epochs=empty, rungs=empty, retests=retests)


def names_and_classes(tables: Tables) -> dict[str, tuple[int, ...]]:
    found = class_groups.class_groups(tables)
    assert found is not None
    return {group.name: group.classes for group in found.groups}


@pytest.mark.parametrize(
    ("count", "shot"),
    [
        (500, "many-shot"),
        (101, "many-shot"),
        (100, "medium-shot"),
        (20, "medium-shot"),
        (19, "few-shot"),
        (1, "few-shot"),
    ],
)
def test_shots_are_those_of_liu_et_al(count: int, shot: str) -> None:
    assert shot_of(count) == shot


@pytest.mark.parametrize(
    ("counts", "num_bins", "bins"),
    [
        ([10, 9, 8, 7, 6, 5], 3, [0, 0, 1, 1, 2, 2]),
        ([5, 10, 7], 3, [2, 0, 1]),
        ([100, 90, 80, 70, 60, 50, 40, 30, 20, 10], 3, [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]),
        ([4500] * 5 + [450] * 5, 3, [0] * 5 + [2] * 5),  # middles at 1/4 and 3/4
        ([9, 9, 9, 1], 3, [1, 1, 1, 2]),  # middles at 3/8 and 7/8
        ([7, 7, 7], 3, [1, 1, 1]),
    ],
)
def test_classes_of_one_size_share_the_bin_of_their_middle(counts: list[int], num_bins: int, bins: list[int]) -> None:
    assert frequency_bins(counts, num_bins).tolist() == bins


def test_groups_are_of_the_retests_counts_not_of_tunings() -> None:
    # 20 images in the retest, 18 in tuning: medium-shot, not few-shot.
    tables = tables_of({"none": [[0.5] * 3]}, tuning=[900, 90, 18], retest=[1000, 100, 20])
    assert names_and_classes(tables) == {"many-shot": (0,), "medium-shot": (1, 2)}
    found = class_groups.class_groups(tables)
    assert found is not None
    assert (found.all_in, found.are_derived) == (None, False)
    assert [group.num_images for group in found.groups] == [1000, 120]
    assert found.groups[1].counts == (100, 20)


@pytest.mark.parametrize(
    ("tuning", "val", "num_train", "counts"),
    [
        ([90, 10], [10, 10], 120, [100, 20]),  # joined; scaled they would be 108 and 12
        ([4500, 450], [500, 500], 5500, [5000, 500]),  # joined and thinned anew
        ([4500, 450], None, 5500, [5000, 500]),  # of a run that recorded no validation counts
    ],
)
def test_counts_that_were_not_recorded_follow_from_those_of_tuning(
    tuning: list[int], val: list[int] | None, num_train: int, counts: list[int]
) -> None:
    recorded = tables_of({"none": [[0.5, 0.5]]}, tuning=tuning, val=val, num_train=num_train)
    for tables in (recorded, replace(recorded, retests=recorded.retests.drop(columns="class_counts"))):
        found = class_groups.retest_counts(tables)
        assert found is not None
        assert (found[0].tolist(), found[1]) == (counts, True)


def test_without_retests_or_with_arms_on_different_numbers_there_are_no_groups() -> None:
    assert class_groups.class_groups(tables_of({}, tuning=[900, 10])) is None
    tables = tables_of({"none": [[0.5, 0.5]], "all": [[0.5, 0.5]]}, tuning=[900, 10])
    tables.retests["num_train"] = [91, 910]
    assert class_groups.class_groups(tables) is None


@pytest.mark.parametrize(("counts", "is_tail"), [([200, 100], True), ([199, 100], False), ([5, 5], False)])
def test_a_tail_begins_where_the_largest_class_is_twice_the_smallest(counts: list[int], is_tail: bool) -> None:
    tables = tables_of({"none": [[0.5, 0.5]]}, tuning=counts)
    assert class_groups.is_long_tail(tables) is is_tail
    assert (class_groups.class_groups(tables) is not None) is is_tail


def test_where_the_thresholds_leave_one_group_classes_are_divided_into_thirds() -> None:
    tables = tables_of({"none": [[0.5] * 6]}, tuning=[600, 500, 400, 300, 200, 150])
    assert names_and_classes(tables) == {"head": (0, 1), "middle": (2, 3), "tail": (4, 5)}
    found = class_groups.class_groups(tables)
    assert found is not None
    assert found.all_in == "many-shot"


@pytest.mark.parametrize("counts", [[500, 500, 5000, 5000], [9, 9, 9, 1], [40, 80]])
def test_two_sizes_are_a_head_and_a_tail(counts: list[int]) -> None:
    largest = max(counts)
    found = names_and_classes(tables_of({"none": [[0.5] * len(counts)]}, tuning=counts))
    assert found == {
        "head": tuple(index for index, count in enumerate(counts) if count == largest),
        "tail": tuple(index for index, count in enumerate(counts) if count < largest),
    }


RECALLS = {
    "none": [[0.9, 0.8, 0.1], [0.9, 0.8, 0.3], [0.9, 0.8, 0.2]],
    "a": [[0.8, 0.8, 0.4], [0.8, 0.8, 0.6], [0.8, 0.8, 0.5]],
    "b": [[0.9, 0.7, 0.1], [0.9, 0.8, 0.2], [0.8, 0.8, 0.3]],
}


def test_recalls_of_groups_are_means_over_their_classes_with_paired_differences() -> None:
    found = class_groups.group_recalls(tables_of(RECALLS, tuning=[1000, 200, 10]))
    assert [(each.arm, each.group.name) for each in found] == [
        (arm, name) for arm in ("a", "none", "b") for name in ("many-shot", "few-shot")
    ]
    many, few = found[:2]
    assert (many.recall.mean, few.recall.mean) == pytest.approx((0.8, 0.5))
    # .4, .6, .5: s = .1, the quantile of t with 2 degrees of freedom 4.3027, / √3.
    assert few.recall.half_width == pytest.approx(0.1 * 4.302653 / np.sqrt(3), rel=1e-6)
    assert many.difference is not None
    assert few.difference is not None
    assert many.difference.mean == pytest.approx(-0.05)  # (.8 + .8) / 2 - (.9 + .8) / 2
    assert few.difference.mean == pytest.approx(0.3)
    assert [each.difference for each in found[2:4]] == [None, None]


def test_differences_of_all_arms_in_all_groups_hold_together() -> None:
    found = class_groups.group_recalls(tables_of(RECALLS, tuning=[1000, 200, 10]))
    differences = [each.difference for each in found if each.difference is not None]
    assert [difference.num_comparisons for difference in differences] == [4, 4, 4, 4]  # two arms, two groups
    # b - none on the class of 10 images: 0, -.1, .1; s = .1. P(t > 8.8602) = .05 / 8 with 2 degrees of freedom.
    assert differences[3].half_width == pytest.approx(0.1 * 8.8602 / np.sqrt(3), rel=1e-4)


def test_a_spread_that_no_image_explains_counts_half_an_image_of_the_group() -> None:
    found = class_groups.group_recalls(tables_of(RECALLS, tuning=[1000, 200, 10]))
    many, few = found[0].difference, found[1].difference
    # Both differ by the same amount on every seed. 300 test images of 3 classes: an image is worth 1/200 of the
    # recall of two classes, 1/100 of that of one.
    assert many is not None
    assert few is not None
    assert many.half_width == pytest.approx(0.5 / 200 * 8.8602 / np.sqrt(3), rel=1e-4)
    assert few.half_width == pytest.approx(0.5 / 100 * 8.8602 / np.sqrt(3), rel=1e-4)


def test_without_the_control_there_are_recalls_and_no_differences() -> None:
    recalls = {arm: RECALLS[arm] for arm in ("a", "b")}
    found = class_groups.group_recalls(tables_of(recalls, tuning=[1000, 200, 10]))
    assert len(found) == 4
    assert all(each.difference is None for each in found)
