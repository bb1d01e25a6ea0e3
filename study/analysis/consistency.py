"""Whether the tables of a run, and its summary.json, are of one study: what one says of another is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from search_spaces.declarations import ends_of
from study.analysis.summary import MOST
from study.core.entrants import FORMER, ROLES
from study.core.stage import retests_of
from study.records import tables as records

_KEYS = {
    "trials": ["trial_id"],
    "epochs": ["trial_id", "epoch"],
    "rungs": ["trial_id", "rung_epoch"],
    "retests": ["trial_id", "seed"],
    "puzzles": ["number"],
    "audit": ["trial_id"],
}
"""What no two rows of a table share."""
_WORDS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "trials": {"status": records.STATUSES, "control": ("random",)},
    "rungs": {"decision": ("continue", "stop")},
    "retests": {"role": (*ROLES, FORMER)},
}
SLACK = 1e-3
"""What a number may lie beyond its bounds by rounding: a mean in float32, the end of a schedule."""
_FROM_ONE = ("epoch", "rung_epoch", "search", "grid", "final_epoch", "stopped_at_epoch", "rank_at_stop", "num_train")
_SHARES_IN = ("epochs", "retests")  # elsewhere a value is the stage's metric, which may be a loss


def require_consistent(
    summary: Mapping[str, Any], frames: Mapping[str, pd.DataFrame], schemas: Mapping[str, pa.Schema]
) -> None:
    """Raise ValueError, in one sentence that begins with a table's name, for what is impossible, or denied by another.

    What a table says of others holds at every moment of a run, also of one that was killed between two files: trials
    are written before what is said of them. summary: as require_summary wants it.
    """
    for name, frame in frames.items():
        words = _WORDS.get(name, {})
        require_possible(name, frame, schemas[name], key=_KEYS[name], words=words, shares=name in _SHARES_IN)
    for name, sentence in _contradictions(summary, frames):
        raise ValueError(f"{name} is of no use: {sentence}")


def require_possible(
    name: str,
    frame: pd.DataFrame,
    schema: pa.Schema,
    *,
    key: list[str],
    words: Mapping[str, Sequence[str]],
    shares: bool,
) -> None:
    """Raise ValueError, as require_consistent, for what no table of this schema has.

    key: what no two rows share; words: what a column may say; shares: whether all that is 0-1 by its unit is.
    """
    for sentence in (*_numbers(frame, schema, shares=shares), *_words(frame, words), *_twice(frame, key)):
        raise ValueError(f"{name}.parquet is of no use: {sentence}")


def _numbers(frame: pd.DataFrame, schema: pa.Schema, *, shares: bool) -> Iterable[str]:
    for field in schema:
        unit = (field.metadata or {}).get(b"unit", b"").decode()
        kind = field.type
        values: Any = frame[field.name].dropna()
        if pa.types.is_list(kind):
            kind = kind.value_type
            values = _flat(values)
            if pa.types.is_list(kind):
                kind, values = kind.value_type, _flat(values)
            if pd.isna(values).any() and not unit.startswith("0-1"):
                yield f"{field.name} has a list that lacks values"
        if not len(values):
            continue
        if pa.types.is_integer(kind):
            low, high = (1 if field.name in _FROM_ONE else 0), (2**63 if field.name == "seed" else MOST)
        elif shares and unit.startswith("0-1"):
            low, high = 0, 1
        elif unit == "s" or field.name == "learning_rate":
            low, high = 0, MOST
        else:
            continue
        least, most = np.nanmin(values), np.nanmax(values)
        slack = 0 if pa.types.is_integer(kind) else SLACK
        if least < low - slack or most > high + slack:
            yield f"{field.name} has {least if least < low else most:g}, and is from {low} to {high:g}"


def _flat(lists: Iterable[Any]) -> pd.Series:
    found = [value for one in lists for value in one]
    return pd.Series(found, dtype="object" if found and hasattr(found[0], "__len__") else "float64")


def _words(frame: pd.DataFrame, allowed: Mapping[str, Sequence[str]]) -> Iterable[str]:
    for column, words in allowed.items():
        for word in frame[column].dropna().unique():
            if word not in words:
                yield f"{column} has {word!r:.50}, and is one of {', '.join(words)}"


def _twice(frame: pd.DataFrame, key: list[str]) -> Iterable[str]:
    doubled: Any = frame[frame.duplicated(key)]
    if len(doubled):
        yield f"it has {' '.join(f'{name} {doubled[name].iloc[0]}' for name in key)} twice"


def _contradictions(summary: Mapping[str, Any], frames: Mapping[str, pd.DataFrame]) -> Iterable[tuple[str, str]]:
    arms = {arm: stage["name"] for stage in summary["stages"] for arm in stage["arms"]}
    arm_of = dict(zip(frames["trials"]["trial_id"], frames["trials"]["arm"], strict=True))
    of_trials = {name: frames[name] for name in ("trials", *frames) if name != "puzzles"}
    for name, frame in of_trials.items():
        places = frame[["stage", "arm"]].drop_duplicates()
        for stage, arm in zip(places["stage"], places["arm"], strict=True):
            if stage not in {arms.get(arm), retests_of(arms.get(arm, ""))}:
                yield f"{name}.parquet", f"it has the arm {arm} in the stage {stage}, which summary.json lacks"
        trials = frame[["trial_id", "arm"]].drop_duplicates()
        for trial_id, arm in zip(trials["trial_id"], trials["arm"], strict=True):
            retested = trial_id.rpartition("-seed-")[0] if name == "epochs" else ""  # see records.retest_id
            if arm not in {arm_of.get(trial_id), arm_of.get(retested)}:
                yield f"{name}.parquet", f"its {trial_id} is no trial of {arm} in trials.parquet"
    named = [(arm, winner["trial_id"]) for arm, winner in (summary.get("winners") or {}).items()]
    named += [(one["arm"], one["trial_id"]) for one in summary.get("references") or []]
    for arm, trial_id in named:
        if arm_of.get(trial_id) != arm:
            yield "summary.json", f"{trial_id!r:.50} is no trial of {arm} in trials.parquet"
    yield from _about_knobs(summary, frames["trials"])
    yield from _about_lists(summary, frames)


def _about_knobs(summary: Mapping[str, Any], trials: pd.DataFrame) -> Iterable[tuple[str, str]]:
    """What is searched on a scale of numbers is one, and lies where the scale is defined."""
    for arm, axes in (summary.get("knobs") or {}).items():
        own = trials[trials["arm"] == arm]
        for knob, axis in axes.items():
            if axis["scale"] == "category" or f"config/{knob}" not in own:
                continue
            values: Any = own[f"config/{knob}"].dropna()
            least, most = ends_of(axis["scale"] if axis.get("choices") is None else None)
            if len(values) and not (
                pd.api.types.is_numeric_dtype(values) and least < values.min() and values.max() < most
            ):
                yield "trials.parquet", f"config/{knob} of {arm} is not on its scale, {axis['scale']}"


def _about_lists(summary: Mapping[str, Any], frames: Mapping[str, pd.DataFrame]) -> Iterable[tuple[str, str]]:
    num_classes, num_taus = summary["dataset"]["num_classes"], len(summary.get("taus") or [])
    lengths = (
        ("retests", "class_counts", num_classes),
        ("retests", "per_class_recall", num_classes),
        ("retests", "confusion_matrix", num_classes),
        ("retests", "test_balanced_accuracy_by_tau", num_taus),
        ("epochs", "val_balanced_accuracy_by_tau", num_taus),
    )
    for name, column, length in lengths:
        if not are_of_length(frames[name][column], length):
            yield f"{name}.parquet", f"{column} is not of {length} values, as in summary.json"
    puzzles: Any = frames["puzzles"].itertuples() if "puzzles" in frames else ()
    for row in puzzles:
        number = row.grid**2  # of tiles; it may be anything, so that nothing is made of this size
        lists = (row.permutation, row.predicted, row.sinkhorn, *row.sinkhorn)
        orders = (row.permutation, row.predicted)
        if any(len(one) != number for one in lists) or any(sorted(order) != [*range(number)] for order in orders):
            yield "puzzles.parquet", f"puzzle {row.number} is not of {row.grid} x {row.grid} tiles"


def are_of_length(lists: pd.Series, length: int) -> bool:
    """Whether all lists have so many values, and so have the lists in them; what is missing is none."""
    found: Iterable[Any] = lists.dropna()
    return all(
        len(one) == length and all(len(row) == length for row in one if hasattr(row, "__len__")) for one in found
    )
