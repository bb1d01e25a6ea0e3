"""From the run directory of a reproduction to numbers: scores, comparisons, corrections, speed of convergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.analysis import intervals, tables
from study.analysis.intervals import Interval
from study.records import tables as records
from study.reproduction.recipe import LAST_EPOCH

TOLERANCE = 0.03
"""How far a number may lie from the reported one and still be called reproduced, 0-1."""
TARGET_SHARE = 0.95
"""Of the last epoch's score: from where on a run counts as converged."""
SMOOTHING = 0.5
"""Decay of the exponential moving average, an epoch: it lags behind by one epoch, and some runs have four."""
MAX_MESSAGE = 120
"""Characters of a failure's message that a sentence gives; the table of failures gives all."""
NOT_CHOSEN = "not run: not chosen"
ASSIGNMENT_OF = {"test_exact_accuracy_argmax": "test_exact_accuracy"}
"""Of a score whose puzzles are solved by row argmax, the same with the optimal assignment."""
MASK_SAMPLER = "mask_in_loop"  # and mask_in_loop_oversample: no data set is cut, batches are

_SUMMARY_KEYS = ("name", "task", "state", "seeds", "dataset_override", "recipes", "runs", "ablations", "tuned",
                 "datasets")  # fmt: skip
_RECIPE_KEYS = ("name", "says", "dataset", "fault", "choices", "reported", "reported_per_class", "corrected", "cause",
                "runs", "source")  # fmt: skip
_RUN_KEYS = ("recipe", "kind", "says", "score", "scale", "num_epochs", "full_epochs", "imbalance", "config", "not_run",
             "failures")  # fmt: skip

Recipe = Mapping[str, Any]  # an entry of summary.json's recipes
Run = Mapping[str, Any]  # an entry of its runs


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What the run directory of a reproduction says. epochs: only of the runs x seeds that runs holds, the finished."""

    summary: Mapping[str, Any]
    runs: pd.DataFrame
    epochs: pd.DataFrame

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        return tuple(self.summary["recipes"])

    @property
    def num_seeds(self) -> int:
        return int(self.summary["seeds"])

    @property
    def dataset_override(self) -> str | None:
        return None if self.summary["dataset_override"] is None else str(self.summary["dataset_override"])

    def run(self, name: str) -> Run | None:
        """What is said of a run; None where it was not chosen."""
        return self.summary["runs"].get(name)

    def has_run(self, name: str) -> bool:
        """Whether at least one seed of the run is finished."""
        return bool((self.runs["run"] == name).any())

    def dataset_of(self, recipe: Recipe) -> str:
        return self.dataset_override or str(recipe["dataset"])


@dataclass(frozen=True, kw_only=True)
class Score:
    """A number over seeds. sd (n - 1), low and high (95 % t-interval) are None where n < 2: one value has no spread."""

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    lowest: float  # seed
    highest: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A reported number and ours. difference: ours minus reported; obstacle: why the two do not compare.

    Ours is the best epoch on test, as the reports picked theirs; the last epoch where the number is not of the test
    split, or is said to be the last epoch's.
    """

    what: str
    column: str
    reported: float
    last: Score | None
    best: Score | None
    is_best_compared: bool
    obstacle: str | None

    @property
    def ours(self) -> Score | None:
        return self.best if self.is_best_compared else self.last

    @property
    def difference(self) -> float | None:
        return self._difference_to(self.ours)

    @property
    def is_within(self) -> bool | None:
        """Whether ours is at most TOLERANCE away; None where there is nothing to compare."""
        return _is_within(self.difference)

    @property
    def is_last_within(self) -> bool | None:
        """The same of the last epoch, whichever ours is."""
        return _is_within(self._difference_to(self.last))

    def _difference_to(self, score: Score | None) -> float | None:
        return None if score is None or self.obstacle is not None else score.mean - self.reported


def _is_within(difference: float | None) -> bool | None:
    return None if difference is None else round(abs(difference), 9) <= TOLERANCE


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What mends a recipe, or the control that it lacks.

    run: None where the recipe's own run is judged otherwise: at its last epoch, or with another decoder. column: of
    after, and of before too unless the decoder is what is mended. difference: after minus before over the seeds that
    both have, of a control before minus after; None where the two ran at different scales, or where they are the same
    by construction. absent: why there is no number after.
    """

    recipe: str
    run: str | None
    is_control: bool = False
    column: str
    says: str
    before: Score | None
    after: Score | None
    difference: Interval | None
    absent: str | None


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """epochs, images: until the raw test score first reaches TARGET_SHARE of the last epoch's; score: the last one."""

    run: str
    num_epochs: int
    epochs: Score
    images: Score
    score: Score


@dataclass(frozen=True, kw_only=True)
class DistinctImages:
    """Different training images that were drawn, whatever their loss scale; cut: those of the classes that are cut."""

    total: Score
    cut: Score | None


def load_reproduction(run_dir: Path) -> Reproduction:
    """Read a run directory. Raises ValueError, in one sentence, where it is no reproduction's or a file is damaged."""
    if not run_dir.is_dir():
        raise ValueError(f"{run_dir} is not a directory; a run directory is wanted, such as reports/NAME")
    path = run_dir / "summary.json"
    summary = tables.load_json(path)
    if summary.get("task") != "reproduce":
        raise ValueError(f"{path} is not a reproduction's: its task is {summary.get('task')!r}, not 'reproduce'")
    _require(path, "", summary, _SUMMARY_KEYS)
    for recipe in summary["recipes"]:
        _require(path, f"recipe {recipe.get('name')}: ", recipe, _RECIPE_KEYS)
    for name, run in summary["runs"].items():
        _require(path, f"run {name}: ", run, _RUN_KEYS)
    runs = _load_table(run_dir / "runs.parquet", records.RUNS.names)
    epochs = _load_table(run_dir / "epochs.parquet", records.RUN_EPOCHS.names)
    finished = pd.MultiIndex.from_frame(runs[["run", "seed"]])
    is_finished = pd.MultiIndex.from_frame(epochs[["run", "seed"]]).isin(finished)
    return Reproduction(summary=summary, runs=runs, epochs=epochs[is_finished])


def _require(path: Path, whose: str, values: Mapping[str, Any], keys: Sequence[str]) -> None:
    missing = [key for key in keys if key not in values]
    if missing:
        raise ValueError(f"{path}: {whose}lacks {', '.join(missing)}")


def _load_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    frame = tables.load_frame(path)
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}")
    return frame


# --- numbers of a run -------------------------------------------------------------------------------------------


def score_of(values: pd.Series) -> Score | None:
    """values: a number a seed. None where there is none."""
    values = values.dropna()
    if values.empty:
        return None
    interval = intervals.t_interval(values)
    return Score(
        mean=interval.mean,
        sd=float(values.std(ddof=1)) if len(values) > 1 else None,
        low=interval.low,
        high=interval.high,
        lowest=float(values.min()),
        highest=float(values.max()),
        n=interval.n,
    )


def last_epoch(reproduction: Reproduction, run: str, column: str) -> pd.Series:
    """A run's numbers at its last epoch, indexed by seed."""
    runs = reproduction.runs
    return runs[runs["run"] == run].set_index("seed")[column].dropna().sort_index()


def best_on_test(reproduction: Reproduction, run: str, column: str) -> pd.Series:
    """The maximum over epochs, indexed by seed; empty for what was not followed on test over the epochs."""
    if not column.startswith("test_") or column not in reproduction.epochs:
        return pd.Series(dtype="float64")
    return _epochs_of(reproduction, run, column).groupby("seed")[column].max()


def _epochs_of(reproduction: Reproduction, run: str, column: str) -> pd.DataFrame:
    epochs = reproduction.epochs
    return epochs[epochs["run"] == run].dropna(subset=[column]).sort_values(["seed", "epoch"])


def main_column(reproduction: Reproduction, recipe: Recipe) -> str:
    """The column of runs.parquet that a recipe is judged by: its first reported number's, else its run's score."""
    if recipe["reported"]:
        return str(recipe["reported"][0]["column"])
    run = reproduction.run(str(recipe["name"]))
    return "test_accuracy" if run is None else str(run["score"])


def convergence(reproduction: Reproduction, run: str) -> Convergence | None:
    """How fast a run came near its own last score. None where it has no finished seed with a score an epoch."""
    declared = reproduction.run(run)
    if declared is None or str(declared["score"]) not in reproduction.epochs:
        return None
    column, epochs, images = str(declared["score"]), {}, {}
    for seed, frame in _epochs_of(reproduction, run, column).groupby("seed"):
        is_reached = frame[column] >= TARGET_SHARE * frame[column].iloc[-1]
        epochs[seed] = int(frame.loc[is_reached, "epoch"].iloc[0])
        images[seed] = int(frame.loc[frame["epoch"] <= epochs[seed], "images"].sum())
    reached, drawn = score_of(pd.Series(epochs)), score_of(pd.Series(images))
    score = score_of(last_epoch(reproduction, run, column))
    if reached is None or drawn is None or score is None:
        return None
    return Convergence(run=run, num_epochs=int(declared["num_epochs"]), epochs=reached, images=drawn, score=score)


def smoothed(values: np.ndarray, decay: float = SMOOTHING) -> np.ndarray:
    """Exponential moving average with bias correction (Kingma and Ba 2015, §3). float64[E] -> float64[E]."""
    average, found = 0.0, []
    for step, value in enumerate(values, start=1):
        average = decay * average + (1 - decay) * float(value)
        found.append(average / (1 - decay**step))
    return np.array(found)


def curve(reproduction: Reproduction, run: str, column: str) -> pd.DataFrame:
    """A row an epoch: epoch, mean over seeds, smoothed (of the means); no row where the column was not followed."""
    means = _epochs_of(reproduction, run, column).groupby("epoch")[column].mean()
    return pd.DataFrame({"epoch": means.index, "mean": means.to_numpy(), "smoothed": smoothed(means.to_numpy())})


def recalls(reproduction: Reproduction, run: str) -> np.ndarray | None:
    """float64[n, C], 0-1: the recall of each class, a row a seed; None where there is none."""
    return _lists(reproduction, run, "per_class_recall")


def distinct_images(reproduction: Reproduction, run: str) -> DistinctImages | None:
    """How many different images a run trained on; None where they were not counted."""
    counts = _lists(reproduction, run, "distinct_per_class")
    declared = reproduction.run(run)
    if counts is None or declared is None:
        return None
    total = score_of(pd.Series(counts.sum(axis=1)))
    cut = list(cut_classes(declared, counts.shape[1]))
    assert total is not None
    return DistinctImages(total=total, cut=score_of(pd.Series(counts[:, cut].sum(axis=1))) if cut else None)


def _lists(reproduction: Reproduction, run: str, column: str) -> np.ndarray | None:
    runs = reproduction.runs
    rows = runs.loc[runs["run"] == run, column].dropna()
    return np.stack([np.asarray(row, dtype=float) for row in rows]) if len(rows) else None


def cut_classes(run: Run, num_classes: int) -> tuple[int, ...]:
    """The classes that have fewer images, or are in fewer batches: the first half under a step or a mask in the loop.

    Under an exponential tail: those with less than half of the largest class' images.
    """
    if run["imbalance"] == "step" or str(run["config"].get("sampler", "")).startswith(MASK_SAMPLER):
        return tuple(range(num_classes // 2))
    counts = run.get("class_counts")
    if run["imbalance"] == "exponential" and counts:
        return tuple(number for number, count in enumerate(counts) if count < max(counts) / 2)
    return ()


# --- why there is no number, or not one that compares --------------------------------------------------------------


def absence(reproduction: Reproduction, run: str) -> str | None:
    """Why a run has no number ('not run: no EuroSAT under data'); None where it has one."""
    declared = reproduction.run(run)
    if declared is None:
        return NOT_CHOSEN
    if reproduction.has_run(run):
        return None
    if declared["not_run"]:
        return f"not run: {declared['not_run']}"
    if declared["failures"]:
        return f"failed: {str(next(iter(declared['failures'].values())))[:MAX_MESSAGE]}"
    if reproduction.summary["state"] == "complete":
        return "not run: no reason was recorded"
    return "not run yet"


def shortfall(reproduction: Reproduction, run: str) -> str | None:
    """What is missing of a run that has numbers ('2 of 3 seeds, 1 failed'); None where nothing is."""
    num_done = int((reproduction.runs["run"] == run).sum())
    declared = reproduction.run(run)
    if declared is None or num_done >= reproduction.num_seeds:
        return None
    failed = f", {len(declared['failures'])} failed" if declared["failures"] else ""
    return f"{num_done} of {reproduction.num_seeds} seeds{failed}"


def scale_text(run: Run) -> str | None:
    """'scale 0.05 (1 of 20 epochs, 2,500 training images)'; None where a run is as stated."""
    if run["scale"] == 1:
        return None
    images = f", {run['num_train']:,} training images" if run.get("num_train") else ""
    return f"scale {run['scale']:g} ({run['num_epochs']} of {run['full_epochs']} epochs{images})"


def lineage(reproduction: Reproduction, run: str) -> list[str]:
    """The run, the one whose weights it begins with, and so on."""
    found: list[str] = []
    name: str | None = run
    while name is not None and name not in found and (declared := reproduction.run(name)) is not None:
        found.append(name)
        name = declared.get("begins_with")
    return found


def reduced(reproduction: Reproduction, run: str) -> str | None:
    """The run itself, or the one that it begins with, that was trained at a smaller scale; None where none was."""
    return next((name for name in lineage(reproduction, run) if _scale(reproduction, name) != 1), None)


def _scale(reproduction: Reproduction, run: str) -> float:
    declared = reproduction.run(run)
    return 1.0 if declared is None else float(declared["scale"])


def scale_note(reproduction: Reproduction, run: str) -> str | None:
    """What scale_text says, also where it is of the weights that a run begins with; None where all is as stated."""
    name = reduced(reproduction, run)
    declared = None if name is None else reproduction.run(name)
    if declared is None:
        return None
    return f"{'' if name == run else f'begins with {name} at '}{scale_text(declared)}"


def scale_mark(reproduction: Reproduction, run: str) -> str:
    """'×0.1', 'begins ×0.1', or nothing where all is as stated."""
    name = reduced(reproduction, run)
    return "" if name is None else f"{'' if name == run else 'begins '}×{_scale(reproduction, name):g}"


def same_scale(reproduction: Reproduction, run: str, other: str) -> bool:
    """Whether two runs, and those they begin with, were trained on the same share of epochs and images."""
    first, second = lineage(reproduction, run), lineage(reproduction, other)
    return bool(first and second) and len({_scale(reproduction, name) for name in (*first, *second)}) == 1


def obstacle(reproduction: Reproduction, run: str) -> str | None:
    """Why a run's number does not compare with a reported one ('scale 0.05'); None where it does."""
    if reproduction.dataset_override is not None:
        return f"trained on {reproduction.dataset_override}"
    name = reduced(reproduction, run)
    if name is None:
        return None
    return f"{'' if name == run else f'begins with {name} at '}scale {_scale(reproduction, name):g}"


# --- reported, corrected ------------------------------------------------------------------------------------------


def comparison(
    reproduction: Reproduction, recipe: Recipe, reported: Mapping[str, Any], run: str | None = None
) -> Comparison:
    """A reported number beside that of the recipe's own run, or of another run."""
    run, column = run or str(recipe["name"]), str(reported["column"])
    best = score_of(best_on_test(reproduction, run, column))
    return Comparison(
        what=str(reported["what"]),
        column=column,
        reported=float(reported["value"]),
        last=score_of(last_epoch(reproduction, run, column)),
        best=best,
        is_best_compared=best is not None and LAST_EPOCH not in str(reported["what"]),
        obstacle=obstacle(reproduction, run),
    )


def main_comparison(reproduction: Reproduction, recipe: Recipe) -> Comparison | None:
    """That of the first reported number; None where the report printed none."""
    return comparison(reproduction, recipe, recipe["reported"][0]) if recipe["reported"] else None


def shared_numbers(reproduction: Reproduction) -> list[list[tuple[Recipe, Comparison]]]:
    """The recipes whose main number compares with their report's, those together that share one.

    A source that printed one number for several recipes printed the best of theirs: the best of ours stands first.
    """
    found: dict[tuple[object, ...], list[tuple[Recipe, Comparison]]] = {}
    for recipe in reproduction.recipes:
        one = main_comparison(reproduction, recipe)
        if one is not None and one.difference is not None:
            key = (recipe["source"], recipe["dataset"], one.column, one.reported)
            found.setdefault(key, []).append((recipe, one))
    return [sorted(group, key=lambda member: -(member[1].difference or 0.0)) for group in found.values()]


def corrected(reproduction: Reproduction, recipe: Recipe) -> Correction | None:
    """What stands in the corrected column: of the run, or of the last epoch, that the recipe names."""
    named = recipe["corrected"]
    if named is None:
        return None
    return _reported_last(reproduction, recipe) if named == LAST_EPOCH else _mended_by(reproduction, recipe, str(named))


def corrections(reproduction: Reproduction, recipe: Recipe) -> list[Correction]:
    """All that mends a recipe, that of the corrected column first; before it what another decoder alone changes."""
    first = corrected(reproduction, recipe)
    decoded = [] if first is None or first.run is None else _decoded_otherwise(reproduction, recipe)
    others = [
        name
        for name in recipe["runs"]
        if _kind(reproduction, name) in ("corrected", "control") and name != recipe["corrected"]
    ]
    return [*decoded, *([first] if first else []), *(_mended_by(reproduction, recipe, name) for name in others)]


def _kind(reproduction: Reproduction, run: str) -> str | None:
    declared = reproduction.run(run)
    return None if declared is None else str(declared["kind"])


def _reported_last(reproduction: Reproduction, recipe: Recipe) -> Correction:
    name, column = str(recipe["name"]), main_column(reproduction, recipe)
    before, after = best_on_test(reproduction, name, column), last_epoch(reproduction, name, column)
    return Correction(
        recipe=name,
        run=None,
        column=column,
        says="the last epoch is reported",
        before=score_of(before),
        after=score_of(after),
        difference=intervals.paired_difference(after, before) if _has_epochs(reproduction, name) else None,
        absent=absence(reproduction, name),
    )


def _has_epochs(reproduction: Reproduction, run: str) -> bool:
    """Whether there is more than one epoch to pick from; else the best is the last by construction."""
    declared = reproduction.run(run)
    return declared is not None and int(declared["num_epochs"]) > 1


def _decoded_otherwise(reproduction: Reproduction, recipe: Recipe) -> list[Correction]:
    """The recipe's own run, its puzzles solved by optimal assignment: nothing is trained anew."""
    name, column = str(recipe["name"]), main_column(reproduction, recipe)
    if column not in ASSIGNMENT_OF:
        return []
    before, after = (last_epoch(reproduction, name, each) for each in (column, ASSIGNMENT_OF[column]))
    return [
        Correction(
            recipe=name,
            run=None,
            column=ASSIGNMENT_OF[column],
            says="the decoder alone: the same trained net, optimal assignment in place of the row argmax",
            before=score_of(before),
            after=score_of(after),
            difference=intervals.paired_difference(after, before),
            absent=absence(reproduction, name),
        )
    ]


def _mended_by(reproduction: Reproduction, recipe: Recipe, run: str) -> Correction:
    """Another training, both judged by its own score, so that the difference is of the training alone."""
    name, declared = str(recipe["name"]), reproduction.run(run)
    column = main_column(reproduction, recipe) if declared is None else str(declared["score"])
    before, after = last_epoch(reproduction, name, column), last_epoch(reproduction, run, column)
    is_control = _kind(reproduction, run) == "control"
    pair = (before, after) if is_control else (after, before)
    return Correction(
        recipe=name,
        run=run,
        is_control=is_control,
        column=column,
        says=run if declared is None else str(declared["says"]),
        before=score_of(before),
        after=score_of(after),
        difference=intervals.paired_difference(*pair) if same_scale(reproduction, name, run) else None,
        absent=absence(reproduction, run),
    )


def as_stated(reproduction: Reproduction) -> list[Recipe]:
    """The recipes that ran on their own data and at their full scale."""
    return [
        recipe
        for recipe in reproduction.recipes
        if reproduction.has_run(str(recipe["name"])) and obstacle(reproduction, str(recipe["name"])) is None
    ]


def flatteries(reproduction: Reproduction) -> dict[str, float]:
    """Recipe -> by how much its best epoch on test lies above its last, 0-1, over seeds; of those as stated."""
    found = {}
    for recipe in as_stated(reproduction):
        name, column = str(recipe["name"]), main_column(reproduction, recipe)
        best, last = best_on_test(reproduction, name, column), last_epoch(reproduction, name, column)
        difference = intervals.paired_difference(best, last)
        if difference is not None and _has_epochs(reproduction, name):
            found[name] = difference.mean
    return found
