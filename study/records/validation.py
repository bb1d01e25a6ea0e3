"""The validation images of a study in sentences, for the console and the page, from what summary.json says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COARSE_POINTS = 1.0  # a step of the validation score that a reader should know of


def split_sentence(dataset: Mapping[str, Any]) -> str:
    """Where the validation images came from, and how classes weigh in their score."""
    counts = _counts(dataset)
    came = "came with the data set" if dataset.get("val_is_own") else "were cut from the training set"
    weighed = (
        "balanced over the classes"
        if not counts or min(counts) == max(counts)
        else f"{images_a_class(dataset)} a class; in validation scores every class weighs the same"
    )
    return f"{int(dataset['num_val']):,} validation images {came}, {weighed}."


def images_a_class(dataset: Mapping[str, Any]) -> str:
    """'500', or '1 to 900' where classes differ."""
    counts = _counts(dataset) or [int(dataset["num_val"]) // int(dataset["num_classes"])]
    return f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"


def step_sentence(dataset: Mapping[str, Any]) -> str | None:
    """The smallest changes of the validation score that one image makes; None of runs that did not record counts."""
    counts = [count for count in _counts(dataset) if count]
    if not counts:
        return None
    return f"One validation image moves the validation score by {_steps(counts)}."


def coarse_remark(dataset: Mapping[str, Any]) -> str | None:
    """What a reader must know of a validation score that moves in large steps; None if it does not."""
    counts = [count for count in _counts(dataset) if count]
    if not counts or 100 / (len(counts) * min(counts)) < COARSE_POINTS:
        return None
    return (
        f"One validation image moves the validation score by {_steps(counts)}, so that trials which differ by less "
        "are told apart by luck: more images of the smallest classes would help."
    )


def _counts(dataset: Mapping[str, Any]) -> list[int]:
    return [int(count) for count in dataset.get("val_counts") or []]


def _steps(counts: list[int]) -> str:
    """The points that one image of a class is worth, of the largest class to the smallest: '0.02 points'."""
    low, high = (f"{100 / (len(counts) * count):.3g}" for count in (max(counts), min(counts)))
    return f"{low} points" if low == high else f"{low} to {high} points"
