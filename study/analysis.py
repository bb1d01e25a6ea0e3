"""From the tables of a run directory to plain frames: winners, intervals, paired differences, budgets."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from study import records
from study.group import RETESTS, TUNE, Group

LEVEL = 0.95
MAX_IMAGE_SPREAD = 0.10  # above it, the arms' tuning budgets are not called equal
TEST_METRICS = (
    "test_accuracy",
    "test_balanced_accuracy",
    "test_top5_accuracy",
    "test_superclass_accuracy",
    "test_macro_f1",
    "test_worst_class_recall",
    "test_nll",
    "test_ece",
)
STATUSES = ("completed", "stopped", "failed", "running", "interrupted")
_REQUIRED_SUMMARY_KEYS = (
    "name", "task", "state", "dataset", "setting", "arms", "groups", "stages", "score", "objective", "budget",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Tables:
    """All that a run directory says: two JSON documents, four tables, and the puzzles where the study made some."""

    spec: Mapping[str, Any]
    summary: Mapping[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    rungs: pd.DataFrame
    retests: pd.DataFrame
    puzzles: pd.DataFrame | None = None

    @property
    def task(self) -> str:
        return str(self.summary["task"])

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms of the main stage in the order in which the study declared them."""
        return tuple(self.summary["arms"])

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(
            Group(title=str(group["title"]), control=group["control"], arms=tuple(group["arms"]))
            for group in self.summary["groups"]
        )

    @property
    def controls(self) -> dict[str, str | None]:
        """Arm -> the control of its group."""
        return {arm: group.control for group in self.groups for arm in group.arms}

    @property
    def score(self) -> str:
        """The column of retests that arms are judged by, 0-1."""
        return str(self.summary["score"])

    @property
    def objective(self) -> str:
        """The column of epochs that the main stage tuned, 0-1."""
        return str(self.summary["objective"])

    @property
    def tuning(self) -> pd.DataFrame:
        """The trials of the main stage."""
        return self.trials[self.trials["stage"] == TUNE]

    @property
    def tuning_epochs(self) -> pd.DataFrame:
        return self.epochs[self.epochs["stage"] == TUNE]

    @property
    def tuning_rungs(self) -> pd.DataFrame:
        return self.rungs[self.rungs["stage"] == TUNE]

    @property
    def main_retests(self) -> pd.DataFrame:
        return self.retests[self.retests["stage"] == RETESTS[TUNE]]

    @property
    def retest_epochs(self) -> pd.DataFrame:
        return self.epochs[self.epochs["stage"] == RETESTS[TUNE]]

    def stage(self, name: str) -> Mapping[str, Any]:
        """What summary.json says of a stage. Raises KeyError where the study has none of that name."""
        for stage in self.summary["stages"]:
            if stage["name"] == name:
                return dict(stage)
        raise KeyError(name)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and its two-sided t-interval. low and high are None where n < 2: one value has no spread."""

    mean: float
    low: float | None
    high: float | None
    n: int
    level: float = LEVEL

    @property
    def half_width(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is measurable at this level. Without an interval it never is."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the retests of a group's arms say, judged on unrounded numbers."""

    group: Group
    best: str | None  # the arm of the highest mean test score; None: nothing was retested
    score: Interval | None  # of the best arm
    num_arms: int  # retested
    is_control_retested: bool
    challenger: str | None  # the best arm but for the control: the best itself, or the next one to a best control
    difference: Interval | None  # challenger - control, paired
    adjusted: Interval | None  # the same at the Bonferroni level; None for fewer than two comparisons
    num_comparisons: int  # arms that share at least one seed with the control
    measurably_above_control: tuple[str, ...]  # at 95 %, unadjusted
    indistinguishable_from_best: tuple[str, ...]  # paired interval of best - arm includes 0, or is none
    chosen_on_validation: str | None  # the retested arm of the best validation score: no test value chose it
    chosen_on_validation_score: Interval | None


def load_tables(run_dir: Path) -> Tables:
    """Read a run directory. Raises ValueError, in one sentence, where it is not one or a file is damaged."""
    if not run_dir.is_dir():
        raise ValueError(f"{run_dir} is not a directory; a run directory is wanted, such as reports/NAME")
    summary = load_json(run_dir / "summary.json")
    missing = [key for key in _REQUIRED_SUMMARY_KEYS if key not in summary]
    if missing:
        raise ValueError(f"{run_dir / 'summary.json'} lacks {', '.join(missing)}")
    return Tables(
        spec=load_json(run_dir / "spec.json"),
        summary=summary,
        trials=load_frame(run_dir / "trials.parquet"),
        epochs=load_frame(run_dir / "epochs.parquet"),
        rungs=load_frame(run_dir / "rungs.parquet"),
        retests=load_frame(run_dir / "retests.parquet"),
        puzzles=load_frame(run_dir / "puzzles.parquet") if (run_dir / "puzzles.parquet").is_file() else None,
    )


def load_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path.parent} is not a run directory: it has no {path.name}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value


def load_frame(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ValueError(f"{path.parent} is not a run directory: it has no {path.name}")
    try:
        frame: pd.DataFrame = records.read_table(path).to_pandas()
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    return frame


def rows(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples. Any, because pandas' stubs know no column's type."""
    return iter(frame.itertuples(index=False))


def t_interval(values: Sequence[float] | pd.Series, level: float = LEVEL) -> Interval:
    """Mean and two-sided Student t-interval, n - 1 degrees of freedom. Raises ValueError for no values."""
    sample = pd.Series(values, dtype="float64")
    if sample.empty or sample.isna().any():
        raise ValueError(f"values must be one or more numbers, got {list(sample)}")
    n, mean = len(sample), float(sample.mean())
    if n < 2:
        return Interval(mean=mean, low=None, high=None, n=n, level=level)
    half_width = float(stats.t.ppf((1 + level) / 2, n - 1)) * float(sample.std(ddof=1)) / math.sqrt(n)
    return Interval(mean=mean, low=mean - half_width, high=mean + half_width, n=n, level=level)


def paired_difference(treated: pd.Series, control: pd.Series, level: float = LEVEL) -> Interval | None:
    """The t-interval of treated - control over the seeds that both have; None where they share none.

    Both are scores indexed by seed. The same seed means the same thinned subset in every arm, hence pairs.
    """
    differences = (treated - control).dropna()
    return t_interval(differences, level) if len(differences) else None


def seed_scores(retests: pd.DataFrame, arm: str, metric: str) -> pd.Series:
    """An arm's test scores, indexed by seed."""
    return retests[retests["arm"] == arm].set_index("seed")[metric].sort_index()


def winners(trials: pd.DataFrame, stage: str = TUNE) -> pd.DataFrame:
    """Each arm's best completed trial of the stage, a row an arm in the order of first appearance.

    Best by objective, the validation score of the *last* epoch; ties go to the lower number. An arm without
    a completed trial has no row: a stopped trial's score is of fewer epochs and never wins.
    """
    candidates = trials[(trials["stage"] == stage) & (trials["status"] == "completed") & trials["objective"].notna()]
    order = {arm: position for position, arm in enumerate(trials["arm"].drop_duplicates())}
    best = candidates.sort_values(["objective", "number"], ascending=[False, True]).drop_duplicates("arm")
    return best.sort_values("arm", key=lambda arms: arms.map(order)).reset_index(drop=True)


def knob(trials: pd.DataFrame, name: str) -> pd.Series:
    """A hyperparameter's values: the column config/NAME, or factor/NAME where it is what the arms differ by.

    NaN or None where the trial has none; all so where no trial has.
    """
    for column in (f"config/{name}", f"factor/{name}"):
        if column in trials and trials[column].notna().any():
            return trials[column]
    return pd.Series(None, index=trials.index, dtype="object")


def status_counts(tables: Tables) -> pd.DataFrame:
    """Index arm (declared order), a column a status, values the number of tuning trials."""
    tuning = tables.tuning
    counts = {
        arm: {status: int(((tuning["arm"] == arm) & (tuning["status"] == status)).sum()) for status in STATUSES}
        for arm in tables.arms
    }
    return pd.DataFrame.from_dict(counts, orient="index", columns=list(STATUSES))


def ranked(tables: Tables, group: Group) -> list[str]:
    """The group's retested arms, the best mean test score first; ties in declared order."""
    retests = tables.main_retests
    means = retests.groupby("arm")[tables.score].mean() if len(retests) else pd.Series(dtype="float64")
    return sorted((arm for arm in group.arms if arm in means.index), key=lambda arm: -means[arm])


def ranked_arms(tables: Tables) -> list[str]:
    """The retested arms of all groups, in each the best first."""
    return [arm for group in tables.groups for arm in ranked(tables, group)]


def arm_scores(tables: Tables) -> pd.DataFrame:
    """A row a retested arm, in each group the best first: group, arm, mean, low, high, n of the score (0-1)."""
    found = []
    for group in tables.groups:
        for arm in ranked(tables, group):
            interval = t_interval(seed_scores(tables.main_retests, arm, tables.score))
            found.append({"group": group.title, "arm": arm, **interval_columns(interval)})
    return pd.DataFrame(found, columns=["group", "arm", "mean", "low", "high", "n"])


def arm_differences(tables: Tables) -> pd.DataFrame:
    """A row a retested arm that is no control: group, arm, mean, low, high, n of its paired difference (0-1).

    The difference is to the control of the arm's own group; a group whose control was not retested has no row.
    """
    found = []
    for group in tables.groups:
        for arm in ranked(tables, group):
            difference = _difference(tables, arm, group.control)
            if arm != group.control and difference is not None:
                found.append({"group": group.title, "arm": arm, **interval_columns(difference)})
    return pd.DataFrame(found, columns=["group", "arm", "mean", "low", "high", "n"])


def _difference(tables: Tables, arm: str, control: str | None, level: float = LEVEL) -> Interval | None:
    if control is None:
        return None
    return paired_difference(
        seed_scores(tables.main_retests, arm, tables.score),
        seed_scores(tables.main_retests, control, tables.score),
        level,
    )


def interval_columns(interval: Interval) -> dict[str, float | int]:
    """mean, low, high, n as a row of a frame; NaN where there is no interval."""
    low = math.nan if interval.low is None else interval.low
    high = math.nan if interval.high is None else interval.high
    return {"mean": interval.mean, "low": low, "high": high, "n": interval.n}


def arm_table(tables: Tables) -> pd.DataFrame:
    """A row an arm, group by group, the retested ones first and best first: scores, differences, trials.

    Columns: arm, group, mean, low, high, n; difference_mean, _low, _high, _n; the means of TEST_METRICS;
    generalisation_gap; optimizer (the winner's) and val_objective of the winning trial; one column a status.
    NaN where there is no such value.
    """
    scores = arm_scores(tables).set_index("arm").drop(columns="group")
    differences = arm_differences(tables).set_index("arm").drop(columns="group").add_prefix("difference_")
    metrics = tables.main_retests.groupby("arm")[list(TEST_METRICS)].mean()
    best = winners(tables.trials).set_index("arm")
    validation = best["objective"].rename("val_objective")
    optimizer = knob(best, "optimizer").rename("optimizer")
    columns = [scores, differences, metrics, generalisation_gaps(tables), optimizer, validation, status_counts(tables)]
    order, titles = [], []
    for group in tables.groups:
        retested = ranked(tables, group)
        order += [*retested, *(arm for arm in group.arms if arm not in retested)]
        titles += [group.title] * len(group.arms)
    table = pd.concat(columns, axis=1).reindex(order).rename_axis("arm").reset_index()
    return table.assign(group=titles)


def generalisation_gaps(tables: Tables) -> pd.Series:
    """Arm -> training minus test accuracy (0-1) at the retest's last epoch, the mean over seeds.

    Both of the same weights; training accuracy on un-augmented training images. No arm where it was not followed.
    """
    epochs = tables.retest_epochs.dropna(subset=["train_eval_accuracy", "test_accuracy"])
    last = epochs.sort_values("epoch").drop_duplicates("trial_id", keep="last")
    gaps = (last["train_eval_accuracy"] - last["test_accuracy"]).groupby(last["arm"]).mean()
    return gaps.rename("generalisation_gap")


def arm_budgets(tables: Tables) -> pd.DataFrame:
    """What tuning spent, a row an arm (declared order), and what early stopping saved.

    Columns: arm, group, full_epochs (of a trial that is not stopped), num_trials, num_epochs, num_images,
    seconds (training and validation), num_stopped, saved_epochs, saved_images, saved_seconds. Saved are a
    stopped trial's epochs not run, each taken at the trial's own mean images and seconds an epoch: an
    estimate, not a measurement.
    """
    tuning, per_epoch = tables.tuning.set_index("trial_id"), tables.tuning_epochs
    epoch_seconds = (per_epoch["train_seconds"] + per_epoch["eval_seconds"]).groupby(per_epoch["trial_id"])
    tuning = tuning.assign(
        seconds=epoch_seconds.sum().reindex(tuning.index).fillna(0.0),
        mean_epoch_seconds=epoch_seconds.mean().reindex(tuning.index),
    )
    full_epochs = tables.stage(TUNE)["epochs_of"]
    groups = {arm: group.title for group in tables.groups for arm in group.arms}
    found = []
    for arm in tables.arms:
        trials = tuning[tuning["arm"] == arm]
        stopped = trials[(trials["status"] == "stopped") & (trials["epochs"] > 0)]
        saved_epochs = (int(full_epochs[arm]) - stopped["epochs"]).clip(lower=0)
        found.append(
            {
                "arm": arm,
                "group": groups[arm],
                "full_epochs": int(full_epochs[arm]),
                "num_trials": len(trials),
                "num_epochs": int(trials["epochs"].sum()),
                "num_images": int(trials["images"].sum()),
                "seconds": float(trials["seconds"].sum()),
                "num_stopped": int((trials["status"] == "stopped").sum()),
                "saved_epochs": int(saved_epochs.sum()),
                "saved_images": float((saved_epochs * stopped["images"] / stopped["epochs"]).sum()),
                "saved_seconds": float((saved_epochs * stopped["mean_epoch_seconds"]).sum()),
            }
        )
    return pd.DataFrame(found)


def least_equal_budgets(budgets: pd.DataFrame) -> pd.DataFrame:
    """Of the arms that were to spend alike (one group, trials of as many epochs), those that spent least alike."""
    alike = [frame for _, frame in budgets.groupby(["group", "full_epochs"], sort=False)]
    return max(alike, key=image_spread)


def image_spread(budgets: pd.DataFrame) -> float:
    """(max - min) / max of the images that the arms spent in tuning; 0 where nothing was spent."""
    most = float(budgets["num_images"].max()) if len(budgets) else 0.0
    return (most - float(budgets["num_images"].min())) / most if most > 0 else 0.0


def rung_survivors(tables: Tables) -> pd.DataFrame:
    """A row an arm x rung: arm, rung_epoch, num_reached, num_continued, num_stopped."""
    rungs = tables.tuning_rungs
    found = []
    for arm in tables.arms:
        for rung_epoch in sorted(rungs["rung_epoch"].unique()):
            decisions = rungs[(rungs["arm"] == arm) & (rungs["rung_epoch"] == rung_epoch)]["decision"]
            num_stopped = int((decisions == "stop").sum())
            found.append(
                {
                    "arm": arm,
                    "rung_epoch": int(rung_epoch),
                    "num_reached": len(decisions),
                    "num_continued": len(decisions) - num_stopped,
                    "num_stopped": num_stopped,
                }
            )
    return pd.DataFrame(found, columns=["arm", "rung_epoch", "num_reached", "num_continued", "num_stopped"])


def verdict(tables: Tables, group: Group) -> Verdict:
    """Judge a group's retests: who is best, by how much above the control, and who cannot be told from the best."""
    order, control = ranked(tables, group), group.control
    scores = {arm: seed_scores(tables.main_retests, arm, tables.score) for arm in order}
    challengers = [arm for arm in order if arm != control]
    differences = {arm: _difference(tables, arm, control) for arm in challengers}
    num_comparisons = sum(difference is not None for difference in differences.values())
    challenger = challengers[0] if challengers else None
    adjusted = None
    if challenger is not None and num_comparisons > 1:
        adjusted = _difference(tables, challenger, control, 1 - (1 - LEVEL) / num_comparisons)
    to_best = {arm: paired_difference(scores[order[0]], scores[arm]) for arm in order[1:]}
    validation = winners(tables.trials).set_index("arm")["objective"]
    validated = [arm for arm in order if arm in validation.index]
    chosen = max(validated, key=lambda arm: validation[arm], default=None)
    return Verdict(
        group=group,
        best=order[0] if order else None,
        score=t_interval(scores[order[0]]) if order else None,
        num_arms=len(order),
        is_control_retested=control in scores,
        challenger=challenger,
        difference=differences[challenger] if challenger else None,
        adjusted=adjusted,
        num_comparisons=num_comparisons,
        measurably_above_control=tuple(
            arm for arm, value in differences.items() if value and value.excludes_zero and value.mean > 0
        ),
        indistinguishable_from_best=tuple(
            arm for arm, value in to_best.items() if value is None or not value.excludes_zero
        ),
        chosen_on_validation=chosen,
        chosen_on_validation_score=t_interval(scores[chosen]) if chosen else None,
    )


def mean_recall(tables: Tables, arm: str) -> np.ndarray:
    """float64[C], 0-1: an arm's recall of each class, the mean over the retest's seeds."""
    retests = tables.main_retests
    return np.stack(list(retests.loc[retests["arm"] == arm, "per_class_recall"])).mean(axis=0)


def mean_confusion(tables: Tables, arm: str) -> np.ndarray:
    """float64[C, C], 0-1: an arm's confusion matrix as shares of the true class (rows), the mean over seeds."""
    retests = tables.main_retests
    matrices = retests.loc[retests["arm"] == arm, "confusion_matrix"]
    counts = np.stack([np.array([list(row) for row in matrix], dtype=float) for matrix in matrices])
    totals = counts.sum(axis=2, keepdims=True)
    return np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0).mean(axis=0)
