"""From the run directory of a reproduction to the numbers of its runs, and why a run has none or smaller ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from study.analysis.consistency import are_of_length, require_possible
from study.analysis.intervals import Interval, t_interval
from study.analysis.once import once
from study.analysis.tables import load_table
from study.records.tables import RUN_EPOCHS, RUNS, with_missing_columns
from study.reproduction.records import RecipeRecord, ReproductionSummary, RunRecord, read_summary

TARGET_SHARE = 0.95
"""Of the last epoch's score: from where on a run counts as converged."""
SMOOTHING = 0.5
"""Decay of the exponential moving average, an epoch: it lags behind by one epoch, and some runs have four."""
MAX_MESSAGE = 120
"""Characters of a failure's message that a sentence gives; the table of failures gives all."""
NOT_CHOSEN = "not run: not chosen"
MASK_SAMPLER = "mask_in_loop"  # and mask_in_loop_oversample: no data set is cut, batches are


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What the run directory of a reproduction says. epochs: only of the runs x seeds that runs holds, the finished."""

    summary: ReproductionSummary
    runs: pd.DataFrame
    epochs: pd.DataFrame

    @property
    def recipes(self) -> tuple[RecipeRecord, ...]:
        return self.summary.recipes

    def run(self, name: str) -> RunRecord | None:
        """What is said of a run; None where it was not chosen."""
        return self.summary.runs.get(name)

    def num_seeds_of(self, run: str) -> int:
        """On how many seeds the run is finished."""
        return int((self.runs["run"] == run).sum())

    def has_run(self, name: str) -> bool:
        """Whether at least one seed of the run is finished."""
        return self.num_seeds_of(name) > 0

    def dataset_of(self, recipe: RecipeRecord) -> str:
        return self.summary.dataset_override or recipe.dataset

    def class_names(self, dataset: str, num_classes: int) -> tuple[str, ...]:
        """Their numbers where the names are not known."""
        known = self.summary.datasets.get(dataset)
        return (known and known.class_names) or tuple(map(str, range(num_classes)))


@dataclass(frozen=True, kw_only=True)
class Score(Interval):
    """A number over seeds with its t-interval. sd (n - 1): None where n < 2; lowest, highest: of the seeds."""

    sd: float | None
    lowest: float
    highest: float


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """epochs, images: until the raw test score first reaches TARGET_SHARE of the last epoch's; score: the last one."""

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
    summary = read_summary(run_dir / "summary.json")
    runs = _load_table(run_dir / "runs.parquet", RUNS)
    epochs = _load_table(run_dir / "epochs.parquet", RUN_EPOCHS)
    try:
        _require_consistent(summary, runs, epochs)
    except ValueError as error:
        raise ValueError(f"{run_dir}/{error}") from None
    finished = pd.MultiIndex.from_frame(runs[["run", "seed"]])
    is_finished = pd.MultiIndex.from_frame(epochs[["run", "seed"]]).isin(finished)
    return Reproduction(summary=summary, runs=runs, epochs=epochs[is_finished])


def _load_table(path: Path, schema: pa.Schema) -> pd.DataFrame:
    table = load_table(path)
    missing = [column for column in schema.names if column not in table.column_names]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}")
    try:
        frame: pd.DataFrame = with_missing_columns(table, schema).to_pandas()
    except ValueError as error:
        raise ValueError(f"{path} is of no use: {error}") from None
    return frame


def _require_consistent(summary: ReproductionSummary, runs: pd.DataFrame, epochs: pd.DataFrame) -> None:
    """Raise ValueError, in one sentence that begins with a table's name, where they are not of one reproduction."""
    require_possible("runs", runs, RUNS, key=["run", "seed"], words={}, shares=True)
    require_possible("epochs", epochs, RUN_EPOCHS, key=["run", "seed", "epoch"], words={}, shares=True)
    for name, frame in (("runs", runs), ("epochs", epochs)):
        if unknown := sorted(set(frame["run"]) - summary.runs.keys()):
            raise ValueError(f"{name}.parquet is of no use: its {unknown[0]!r:.50} is no run in summary.json")
    datasets = {recipe.name: summary.dataset_override or recipe.dataset for recipe in summary.recipes}
    for run, rows in runs.groupby("run"):
        dataset = summary.datasets.get(datasets[summary.runs[str(run)].recipe])
        for column in ("per_class_recall", "confusion_matrix", "drawn_per_class", "distinct_per_class"):
            if dataset is not None and not are_of_length(rows[column], dataset.num_classes):
                raise ValueError(
                    f"runs.parquet is of no use: {column} of {run} is not of {dataset.num_classes} classes"
                )


# --- numbers of a run -------------------------------------------------------------------------------------------


def score_of(values: pd.Series) -> Score | None:
    """values: a number a seed. None where there is none."""
    values = values.dropna()
    if values.empty:
        return None
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return Score(**vars(t_interval(values)), sd=sd, lowest=float(values.min()), highest=float(values.max()))


@once
def last_epoch(reproduction: Reproduction, run: str, column: str) -> pd.Series:
    """A run's numbers at its last epoch, indexed by seed."""
    runs = reproduction.runs
    return runs[runs["run"] == run].set_index("seed")[column].dropna().sort_index()


@once
def best_on_test(reproduction: Reproduction, run: str, column: str) -> pd.Series:
    """The maximum over epochs, indexed by seed; empty for what was not followed on test over the epochs."""
    if not column.startswith("test_") or column not in reproduction.epochs:
        return pd.Series(dtype="float64")
    return _epochs_of(reproduction, run, column).groupby("seed")[column].max()


@once
def _epochs_of(reproduction: Reproduction, run: str, column: str) -> pd.DataFrame:
    epochs = reproduction.epochs
    return epochs[epochs["run"] == run].dropna(subset=[column]).sort_values(["seed", "epoch"])


def main_column(reproduction: Reproduction, recipe: RecipeRecord) -> str:
    """The column of runs.parquet that a recipe is judged by: its first reported number's, else its run's score."""
    if recipe.reported:
        return recipe.reported[0].column
    run = reproduction.run(recipe.name)
    return "test_accuracy" if run is None else run.score


@once
def convergence(reproduction: Reproduction, run: str) -> Convergence | None:
    """How fast a run came near its own last score. None where it has no finished seed with a score an epoch."""
    record = reproduction.run(run)
    if record is None or record.score not in reproduction.epochs:
        return None
    column, epochs, images = record.score, {}, {}
    for seed, frame in _epochs_of(reproduction, run, column).groupby("seed"):
        is_reached = frame[column] >= TARGET_SHARE * frame[column].iloc[-1]
        epochs[seed] = int(frame.loc[is_reached, "epoch"].iloc[0])
        images[seed] = int(frame.loc[frame["epoch"] <= epochs[seed], "images"].sum())
    reached, drawn = score_of(pd.Series(epochs)), score_of(pd.Series(images))
    score = score_of(last_epoch(reproduction, run, column))
    if reached is None or drawn is None or score is None:
        return None
    return Convergence(num_epochs=record.num_epochs, epochs=reached, images=drawn, score=score)


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


def over_epochs(reproduction: Reproduction, run: str, column: str) -> pd.DataFrame:
    """A row an epoch: epoch, and mean, lowest and highest seed; no row where the column was not followed."""
    if column not in reproduction.epochs:
        return pd.DataFrame(columns=["epoch", "mean", "lowest", "highest"])
    by_epoch = _epochs_of(reproduction, run, column).groupby("epoch")[column]
    return by_epoch.agg(mean="mean", lowest="min", highest="max").reset_index()


def distinct_images(reproduction: Reproduction, run: str) -> DistinctImages | None:
    """How many different images a run trained on; None where they were not counted."""
    counts = of_classes(reproduction, run, "distinct_per_class")
    record = reproduction.run(run)
    if counts is None or record is None:
        return None
    total = score_of(pd.Series(counts.sum(axis=1)))
    cut = list(cut_classes(record, counts.shape[1]))
    assert total is not None
    return DistinctImages(total=total, cut=score_of(pd.Series(counts[:, cut].sum(axis=1))) if cut else None)


def of_classes(reproduction: Reproduction, run: str, column: str) -> np.ndarray | None:
    """float64[n, C]: a column that holds a number a class, a row a seed; None where there is none."""
    runs = reproduction.runs
    rows = runs.loc[runs["run"] == run, column].dropna()
    return np.stack([np.asarray(row, dtype=float) for row in rows]) if len(rows) else None


def cut_classes(run: RunRecord, num_classes: int) -> tuple[int, ...]:
    """The classes that have fewer images, or are in fewer batches: the first half under a step or a mask in the loop.

    Under an exponential tail: those with less than half of the largest class' images.
    """
    if run.imbalance == "step" or str(run.config.get("sampler", "")).startswith(MASK_SAMPLER):
        return tuple(range(num_classes // 2))
    if run.imbalance == "exponential" and run.class_counts:
        return tuple(number for number, count in enumerate(run.class_counts) if count < max(run.class_counts) / 2)
    return ()


# --- why there is no number, or not one that compares --------------------------------------------------------------


def absence(reproduction: Reproduction, run: str) -> str | None:
    """Why a run has no number ('not run: no EuroSAT under data'); None where it has one."""
    record = reproduction.run(run)
    if record is None:
        return NOT_CHOSEN
    if reproduction.has_run(run):
        return None
    if record.not_run:
        return f"not run: {record.not_run}"
    if record.failures:
        return f"failed: {next(iter(record.failures.values()))[:MAX_MESSAGE]}"
    return "not run: no reason was recorded" if reproduction.summary.state == "complete" else "not run yet"


def shortfall(reproduction: Reproduction, run: str) -> str | None:
    """What is missing of a run that has numbers ('2 of 3 seeds, 1 failed'); None where nothing is."""
    num_done, num_seeds = reproduction.num_seeds_of(run), reproduction.summary.seeds
    record = reproduction.run(run)
    if record is None or num_done >= num_seeds:
        return None
    failed = f", {len(record.failures)} failed" if record.failures else ""
    return f"{num_done} of {num_seeds} seeds{failed}"


def _lineage(reproduction: Reproduction, run: str) -> dict[str, RunRecord]:
    """The run, the one whose weights it begins with, and so on, by name."""
    found: dict[str, RunRecord] = {}
    name: str | None = run
    while name is not None and name not in found and (record := reproduction.run(name)) is not None:
        found[name] = record
        name = record.begins_with
    return found


def _reduced(reproduction: Reproduction, run: str) -> tuple[str, RunRecord] | None:
    """The run itself, or the one that it begins with, that was trained at a smaller scale; None where none was.

    Before it the words that say which of them it is: none, or 'begins with NAME at '.
    """
    for name, record in _lineage(reproduction, run).items():
        if record.scale != 1:
            return "" if name == run else f"begins with {name} at ", record
    return None


def scale_note(reproduction: Reproduction, run: str) -> str | None:
    """'scale 0.05 of epochs and of images (1 of 20 epochs, 2,500 training images)', also of weights it begins with.

    None where all is as stated.
    """
    found = _reduced(reproduction, run)
    if found is None:
        return None
    begins, record = found
    images = f", {record.num_train:,} training images" if record.num_train else ""
    epochs = f"{record.num_epochs} of {record.full_epochs} epochs"
    return f"{begins}scale {record.scale:g} of epochs and of images ({epochs}{images})"


def scale_mark(reproduction: Reproduction, run: str) -> str:
    """'×0.1', 'begins ×0.1', or nothing where all is as stated."""
    found = _reduced(reproduction, run)
    return "" if found is None else f"{'begins ' if found[0] else ''}×{found[1].scale:g}"


def same_scale(reproduction: Reproduction, run: str, other: str) -> bool:
    """Whether two runs, and those they begin with, were trained on the same share of epochs and images."""
    lineages = [_lineage(reproduction, name) for name in (run, other)]
    return all(lineages) and len({record.scale for lineage in lineages for record in lineage.values()}) == 1


def obstacle(reproduction: Reproduction, run: str) -> str | None:
    """Why a run's number does not compare with a reported one ('scale 0.05'); None where it does."""
    if reproduction.summary.dataset_override is not None:
        return f"trained on {reproduction.summary.dataset_override}"
    found = _reduced(reproduction, run)
    return None if found is None else f"{found[0]}scale {found[1].scale:g}"
