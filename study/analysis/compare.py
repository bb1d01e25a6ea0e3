"""Two or more runs held against each other: what differs between them, and the differences of their scores."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from study.analysis import results
from study.analysis.budgets import MAX_IMAGE_SPREAD, arm_budgets, image_spread
from study.analysis.intervals import Interval, paired_difference, t_interval, unpaired_difference
from study.analysis.once import once
from study.analysis.tables import Tables, load_tables
from study.core.errors import nearest
from study.core.run_dir import task_of
from study.core.spec import REPRODUCE, SESSION_SETTINGS

ABSENT = "absent"
"""The value of what a run does not have: an arm, a knob, a setting of another version."""
NOT_SETTINGS = frozenset(
    {
        "task",
        "name",
        "output_dir",
        "checkpoints",
        "checkpoint_folder",
        "numerics",
        "validation_cut",
        "seed",
        "plugin",
        "plugin_sources",
        "logger",
    }
).union(SESSION_SETTINGS)
"""What spec.json holds besides settings, or what is compared with the data or the machine."""
SHORT_HASH = 12

Facts = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of a comparison. label: its folder's name, preceded by those of its parents where two are alike."""

    label: str
    run_dir: Path
    tables: Tables

    def scores(self, arm: str) -> pd.Series:
        """The arm's test scores, indexed by seed; empty if it was not retested or is no arm of the run."""
        return results.seed_scores(self.tables.main_retests, arm, self.tables.score)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An arm of the first run and the arm of the others that is compared with it."""

    first: str
    other: str

    @property
    def label(self) -> str:
        return self.first if self.first == self.other else f"{self.other} − {self.first}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs of one task, the first of which is what the others are compared with.

    pairs: the arms that are compared; None: each arm of the first run with the arm of that name.
    """

    runs: tuple[Run, ...]
    pairs: tuple[Pair, ...] | None = None

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def others(self) -> tuple[Run, ...]:
        return self.runs[1:]

    @property
    def score(self) -> str:
        return self.first.tables.score

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms of all runs, in the order of the first run that has them."""
        return tuple(dict.fromkeys(arm for run in self.runs for arm in run.tables.arms))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The score of an arm of another run minus that of an arm of the first one, 0-1.

    unpaired_because: None if the interval is over pairs of equal seeds; else why there are no such pairs, and then the
    interval is Welch's. is_same_training: whether the weights were the same at every seed of the pairs.
    """

    pair: Pair
    run: str
    interval: Interval
    num_first: int
    num_other: int
    unpaired_because: str | None
    is_same_training: bool


# --- reading


def load_comparison(run_dirs: Sequence[Path], pairs: Sequence[Pair] | None = None) -> Comparison:
    """Read the runs. Raises ValueError, in one sentence, unless they are two or more runs of one task and metric."""
    if len(run_dirs) < 2:
        raise ValueError(f"two or more run directories are compared, got {len(run_dirs)}")
    places = [os.path.realpath(run_dir) for run_dir in run_dirs]
    for position, place in enumerate(places):
        if place in places[:position]:
            raise ValueError(f"{run_dirs[position]} is given twice: a run is compared with others")
    for run_dir in run_dirs:
        if task_of(run_dir) == REPRODUCE:
            raise ValueError(f"{run_dir} is a reproduction, whose page compares its own runs: give studies")
    runs = tuple(
        Run(label=label, run_dir=run_dir, tables=load_tables(run_dir))
        for label, run_dir in zip(labels(places), run_dirs, strict=True)
    )
    first = runs[0]
    for run in runs[1:]:
        if run.tables.task != first.tables.task:
            raise ValueError(
                f"runs of different tasks are not compared: {first.run_dir} is of the task {first.tables.task!r}, "
                f"{run.run_dir} of {run.tables.task!r}"
            )
        if run.tables.score != first.tables.score:
            raise ValueError(
                f"runs of different metrics are not compared: {first.run_dir} is judged by {first.tables.score}, "
                f"{run.run_dir} by {run.tables.score}"
            )
    for pair in pairs or ():
        _require_arm(pair.first, first.tables.arms, f"{first.run_dir}")
        _require_arm(pair.other, [arm for run in runs[1:] for arm in run.tables.arms], "the other runs")
    return Comparison(runs=runs, pairs=None if pairs is None else tuple(pairs))


def _require_arm(arm: str, arms: Sequence[str], where: str) -> None:
    if arm not in arms:
        known = ", ".join(dict.fromkeys(arms))
        raise ValueError(f"{arm!r} is no arm of {where}, whose arms are {known}{nearest(arm, arms)}")


def labels(places: Sequence[str]) -> list[str]:
    """The shortest ends of these paths, all of one length, that tell them apart."""
    parts = [Path(place).parts for place in places]
    for length in range(1, max(map(len, parts)) + 1):
        ends = ["/".join(part[-length:]) for part in parts]
        if len(set(ends)) == len(ends):
            break
    return ends


# --- scores


@once
def scores(comparison: Comparison) -> pd.DataFrame:
    """One row per arm and run in which it was retested: arm, run, mean, low, high, n of the score (0-1), best.

    best: whether the run's scores are the highest of all arms of the arm's group in that run.
    """
    found = []
    for arm in comparison.arms:
        for run in comparison.runs:
            values = run.scores(arm)
            if len(values):
                best = {order[0] for group in run.tables.groups if (order := results.ranked(run.tables, group))}
                one = t_interval(values)
                found.append((arm, run.label, one.mean, one.low, one.high, one.n, arm in best))
    frame = pd.DataFrame(found, columns=["arm", "run", "mean", "low", "high", "n", "best"])
    return frame.astype({"low": "float64", "high": "float64"})


@once
def differences(comparison: Comparison) -> tuple[Difference, ...]:
    """The differences of the compared arms to the first run, run by run. Their intervals hold together (Bonferroni)."""
    pairs = comparison.pairs or tuple(Pair(first=arm, other=arm) for arm in comparison.first.tables.arms)
    wanted = [
        (run, pair)
        for run in comparison.others
        for pair in pairs
        if len(run.scores(pair.other)) and len(comparison.first.scores(pair.first))
    ]
    return tuple(_difference(comparison.first, run, pair, len(wanted)) for run, pair in wanted)


def _difference(first: Run, other: Run, pair: Pair, num_comparisons: int) -> Difference:
    before, after = first.scores(pair.first), other.scores(pair.other)
    why = unpaired_because(first, other, pair)
    step = max(first.tables.score_step, other.tables.score_step)
    interval_of = unpaired_difference if why else paired_difference
    num_looks = max(first.tables.num_looks, other.tables.num_looks)
    interval = interval_of(after, before, num_comparisons=num_comparisons, num_looks=num_looks, step=step)
    assert interval is not None
    weights = _of_seeds(first, pair.first, "weights_sha256"), _of_seeds(other, pair.other, "weights_sha256")
    shared = before.index.intersection(after.index)
    return Difference(
        pair=pair,
        run=other.label,
        interval=interval,
        num_first=len(before),
        num_other=len(after),
        unpaired_because=why,
        is_same_training=why is None
        and weights[0][shared].equals(weights[1][shared])
        and before[shared].equals(after[shared]),
    )


def unpaired_because(first: Run, other: Run, pair: Pair) -> str | None:
    """Why the retests of two arms are no pairs; None if they are.

    They are pairs where the runs have the same data and every seed of the run with fewer seeds is one of the other's
    too, with the same training images: the seed then chose the same in both.
    """
    if first.tables.num_searches != other.tables.num_searches:
        return "arms were tuned more often in one than in the other"
    if is_same_data(first, other) is None:
        return "a run did not record its data's fingerprint"
    if not is_same_data(first, other):
        return "the runs' data are not the same"
    before, after = (
        _of_seeds(run, arm, "train_indices_sha256") for run, arm in ((first, pair.first), (other, pair.other))
    )
    shared, fewer = before.index.intersection(after.index), min(len(before), len(after))
    if not len(shared):
        return "they share no retest seed"
    if len(shared) < fewer:
        return f"they share {len(shared)} of {fewer} retest seeds"
    if not before[shared].equals(after[shared]):
        return "a seed chose other training images in one than in the other"
    return None


def _of_seeds(run: Run, arm: str, column: str) -> pd.Series:
    retests = run.tables.main_retests
    return retests[retests["arm"] == arm].set_index("seed")[column].sort_index()


# --- what differs


def is_same_data(first: Run, other: Run) -> bool | None:
    """Whether two runs had the same images, classes, training and validation sets; None if it was not recorded."""
    prints = [run.tables.summary["dataset"].get("fingerprint") for run in (first, other)]
    return None if None in prints else prints[0] == prints[1]


def differing(facts: Sequence[Facts]) -> list[tuple[str, tuple[Any, ...]]]:
    """(name, its value in each run) of what is not the same in all; ABSENT where a run has no such fact."""
    names = dict.fromkeys(name for one in facts for name in one)
    rows = [(name, tuple(one.get(name, ABSENT) for one in facts)) for name in names]
    return [(name, values) for name, values in rows if any(value != values[0] for value in values)]


def data_facts(run: Run) -> Facts:
    dataset, retests = run.tables.summary["dataset"], run.tables.main_retests
    return {
        "Data set": dataset["name"],
        "Classes": dataset["num_classes"],
        "Training images": dataset["num_train"],
        "Training images a class": (min(dataset["class_counts"]), max(dataset["class_counts"])),
        "Validation images": dataset["num_val"],
        "Test images": dataset["num_test"],
        "Side of an image, pixels": dataset["image_size"],
        **{f"The task's own: {name}": value for name, value in run.tables.summary["setting"].items()},
        # Runs that do not say were cut equally, see splits.VALIDATION_CUTS.
        "Validation cut": run.tables.spec.get("validation_cut", "equally"),
        "Seed of study and tuning subset": run.tables.spec.get("seed", ABSENT),
        "Retest seeds": tuple(sorted(int(seed) for seed in retests["seed"].unique())),
        "Fingerprint": (dataset.get("fingerprint") or ABSENT)[:SHORT_HASH],
    }


def settings(run: Run) -> Facts:
    """The settings in spec.json, but for what names the run, its data's seeds and its machine."""
    spec = run.tables.spec
    plugins = [f"{one['file']} {one['sha256'][:SHORT_HASH]}" for one in spec.get("plugin_sources") or ()]
    return {
        **{name: value for name, value in spec.items() if name not in NOT_SETTINGS},
        **({"plugins, SHA-256": plugins} if plugins else {}),
    }


def provenance(run: Run) -> Facts:
    """The hardware, numerics, versions and commit."""
    summary = run.tables.summary
    hardware, commit = summary.get("hardware") or {}, summary.get("commit")
    return {
        "Commit": commit and commit.replace(commit[:40], commit[:SHORT_HASH], 1),
        "Processor": hardware.get("cpu", ABSENT),
        "CPUs": hardware.get("cpus", ABSENT),
        "GPUs": tuple(hardware.get("gpus") or ()),
        "Memory, GB": hardware.get("memory_gb", ABSENT),
        **(summary.get("numerics") or {}),
        **(summary.get("versions") or {}),
    }


@dataclass(frozen=True, kw_only=True)
class SpaceRow:
    """A knob or factor that some arms have otherwise in one run than in another. values: an axis or a factor's name."""

    name: str
    arms: tuple[str, ...]
    values: tuple[Any, ...]


def has_ranges(run: Run) -> bool:
    """Whether the run recorded in which range each knob was searched."""
    return any("low" in axis for axes in (run.tables.summary.get("knobs") or {}).values() for axis in axes.values())


def space_differences(comparison: Comparison) -> list[SpaceRow]:
    """What arms that all runs share have otherwise, arms that differ alike in one row. None recorded, none listed."""
    runs = comparison.runs
    if not all(map(has_ranges, runs)):
        return []
    arms_of: dict[str, tuple[str, tuple[Any, ...], list[str]]] = {}
    for arm in comparison.arms:
        if not all(arm in run.tables.arms for run in runs):
            continue
        for name, values in differing([_space(run, arm) for run in runs]):
            arms_of.setdefault(repr((name, values)), (name, values, []))[2].append(arm)
    return [SpaceRow(name=name, values=values, arms=tuple(arms)) for name, values, arms in arms_of.values()]


def _space(run: Run, arm: str) -> Facts:
    """The axis of each knob, without what later versions record besides, and the arm's factors."""
    axes = (run.tables.summary.get("knobs") or {}).get(arm, {})
    known = {name: {key: axis[key] for key in ("scale", "low", "high") if key in axis} for name, axis in axes.items()}
    return {**known, **{f"factor {name}": value for name, value in run.tables.factors(arm).items()}}


# --- budgets


@once
def budgets(comparison: Comparison) -> pd.DataFrame:
    """One row per run: run, num_arms, trials_per_arm (planned), least_epochs and most_epochs (of full trials),
    num_trials, num_epochs, num_images and seconds of tuning, images_per_arm, num_seeds (of the retest, planned)."""
    found = []
    for run in comparison.runs:
        spent, planned = arm_budgets(run.tables), run.tables.summary["budget"]
        found.append(
            {
                "run": run.label,
                "num_arms": len(spent),
                "trials_per_arm": int(planned["trials_per_arm"]),
                "least_epochs": int(spent["full_epochs"].min()),
                "most_epochs": int(spent["full_epochs"].max()),
                "num_trials": int(spent["num_trials"].sum()),
                "num_epochs": int(spent["num_epochs"].sum()),
                "num_images": int(spent["num_images"].sum()),
                "seconds": float(spent["seconds"].sum()),
                "images_per_arm": float(spent["num_images"].mean()),
                "num_seeds": int(planned["retest_seeds"]),
            }
        )
    return pd.DataFrame(found)


def are_budgets_equal(comparison: Comparison) -> bool:
    """Whether an arm was given as many trials of as many epochs in all runs, and drew about as many images."""
    found = budgets(comparison)
    is_planned_alike = not found[["trials_per_arm", "least_epochs", "most_epochs"]].nunique().gt(1).any()
    spread = image_spread(found.assign(num_images=found["images_per_arm"]))
    return bool(is_planned_alike and spread <= MAX_IMAGE_SPREAD)
