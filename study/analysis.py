"""From the tables of a run directory to plain frames: winners, intervals, paired differences, budgets."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from study import records

LEVEL = 0.95
MAX_IMAGE_SPREAD = 0.10  # above it, the arms' tuning budgets are not called equal
SCORE = "test_balanced_accuracy"
TEST_METRICS = (
    "test_accuracy",
    "test_macro_f1",
    "test_worst_class_recall",
    "test_nll",
    "test_ece",
)
STATUSES = ("completed", "stopped", "failed", "running", "interrupted")
_REQUIRED_SUMMARY_KEYS = ("name", "state", "dataset", "imbalance", "arms", "control", "budget")


@dataclass(frozen=True, kw_only=True)
class Tables:
    """All that a run directory says: two JSON documents, four tables."""

    spec: Mapping[str, Any]
    summary: Mapping[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    rungs: pd.DataFrame
    retests: pd.DataFrame

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms in the order in which the study declared them."""
        return tuple(self.summary["arms"])

    @property
    def control(self) -> str:
        return str(self.summary["control"])


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
    """What the retests say, judged on unrounded numbers."""

    control: str
    best: str | None  # the arm of the highest mean test score; None: nothing was retested
    score: Interval | None  # of the best arm
    num_arms: int  # retested
    is_control_retested: bool
    challenger: str | None  # the best remedy: the best arm itself, or the next one where the control is best
    difference: Interval | None  # challenger - control, paired
    adjusted: Interval | None  # the same at the Bonferroni level; None for fewer than two comparisons
    num_comparisons: int  # remedies that share at least one seed with the control
    measurably_above_control: tuple[str, ...]  # at 95 %, unadjusted
    indistinguishable_from_best: tuple[str, ...]  # paired interval of best - arm includes 0, or is none
    chosen_on_validation: str | None  # the retested arm of the best validation score: no test value chose it
    chosen_on_validation_score: Interval | None


def load_tables(run_dir: Path) -> Tables:
    """Read a run directory. Raises ValueError, in one sentence, where it is not one or a file is damaged."""
    if not run_dir.is_dir():
        raise ValueError(f"{run_dir} is not a directory; a run directory is wanted, such as reports/NAME")
    summary = _load_json(run_dir / "summary.json")
    missing = [key for key in _REQUIRED_SUMMARY_KEYS if key not in summary]
    if missing:
        raise ValueError(f"{run_dir / 'summary.json'} lacks {', '.join(missing)}")
    return Tables(
        spec=_load_json(run_dir / "spec.json"),
        summary=summary,
        trials=_load_frame(run_dir / "trials.parquet"),
        epochs=_load_frame(run_dir / "epochs.parquet"),
        rungs=_load_frame(run_dir / "rungs.parquet"),
        retests=_load_frame(run_dir / "retests.parquet"),
    )


def _load_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path.parent} is not a run directory: it has no {path.name}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value


def _load_frame(path: Path) -> pd.DataFrame:
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


def seed_scores(retests: pd.DataFrame, arm: str, metric: str = SCORE) -> pd.Series:
    """An arm's test scores, indexed by seed."""
    return retests[retests["arm"] == arm].set_index("seed")[metric].sort_index()


def winners(trials: pd.DataFrame) -> pd.DataFrame:
    """Each arm's best completed tuning trial, a row an arm in the order of first appearance.

    Best by objective, the validation score of the *last* epoch; ties go to the lower number. An arm without
    a completed trial has no row: a stopped trial's score is of fewer epochs and never wins.
    """
    candidates = trials[(trials["stage"] == "tune") & (trials["status"] == "completed") & trials["objective"].notna()]
    order = {arm: position for position, arm in enumerate(trials["arm"].drop_duplicates())}
    best = candidates.sort_values(["objective", "number"], ascending=[False, True]).drop_duplicates("arm")
    return best.sort_values("arm", key=lambda arms: arms.map(order)).reset_index(drop=True)


def status_counts(tables: Tables) -> pd.DataFrame:
    """Index arm (declared order), a column a status, values the number of tuning trials."""
    tuning = tables.trials[tables.trials["stage"] == "tune"]
    counts = {
        arm: {status: int(((tuning["arm"] == arm) & (tuning["status"] == status)).sum()) for status in STATUSES}
        for arm in tables.arms
    }
    return pd.DataFrame.from_dict(counts, orient="index", columns=list(STATUSES))


def ranked_arms(tables: Tables) -> list[str]:
    """The retested arms, the best mean test score first; ties in declared order."""
    means = tables.retests.groupby("arm")[SCORE].mean() if len(tables.retests) else pd.Series(dtype="float64")
    retested = [arm for arm in tables.arms if arm in means.index]
    return sorted(retested, key=lambda arm: -means[arm])


def arm_scores(tables: Tables) -> pd.DataFrame:
    """A row a retested arm, the best first: arm, mean, low, high, n of the test balanced accuracy (0-1)."""
    found = []
    for arm in ranked_arms(tables):
        found.append({"arm": arm, **_columns(t_interval(seed_scores(tables.retests, arm)))})
    return pd.DataFrame(found, columns=["arm", "mean", "low", "high", "n"])


def arm_differences(tables: Tables) -> pd.DataFrame:
    """A row a remedy, the best first: arm, mean, low, high, n of the paired difference to control (0-1)."""
    control = seed_scores(tables.retests, tables.control)
    found = []
    for arm in ranked_arms(tables):
        difference = paired_difference(seed_scores(tables.retests, arm), control)
        if arm != tables.control and difference is not None:
            found.append({"arm": arm, **_columns(difference)})
    return pd.DataFrame(found, columns=["arm", "mean", "low", "high", "n"])


def _columns(interval: Interval) -> dict[str, float | int]:
    low = math.nan if interval.low is None else interval.low
    high = math.nan if interval.high is None else interval.high
    return {"mean": interval.mean, "low": low, "high": high, "n": interval.n}


def arm_table(tables: Tables) -> pd.DataFrame:
    """A row an arm, the retested ones first and best first: scores, differences, trials.

    Columns: arm, mean, low, high, n; difference_mean, _low, _high, _n; the means of TEST_METRICS;
    val_objective of the winning trial; one column a status. NaN where there is no such value.
    """
    scores = arm_scores(tables).set_index("arm")
    differences = arm_differences(tables).set_index("arm").add_prefix("difference_")
    metrics = tables.retests.groupby("arm")[list(TEST_METRICS)].mean()
    validation = winners(tables.trials).set_index("arm")["objective"].rename("val_objective")
    order = [*scores.index, *(arm for arm in tables.arms if arm not in scores.index)]
    table = pd.concat([scores, differences, metrics, validation, status_counts(tables)], axis=1)
    return table.reindex(order).rename_axis("arm").reset_index()


def arm_budgets(tables: Tables) -> pd.DataFrame:
    """What tuning spent, a row an arm (declared order), and what early stopping saved.

    Columns: arm, num_trials, num_epochs, num_images, seconds (training and validation), num_stopped,
    saved_epochs, saved_images, saved_seconds. Saved are a stopped trial's epochs not run, each taken at the
    trial's own mean images and seconds an epoch: an estimate, not a measurement.
    """
    tuning = tables.trials[tables.trials["stage"] == "tune"].set_index("trial_id")
    per_epoch = tables.epochs[tables.epochs["stage"] == "tune"]
    epoch_seconds = (per_epoch["train_seconds"] + per_epoch["eval_seconds"]).groupby(per_epoch["trial_id"])
    tuning = tuning.assign(
        seconds=epoch_seconds.sum().reindex(tuning.index).fillna(0.0),
        mean_epoch_seconds=epoch_seconds.mean().reindex(tuning.index),
    )
    max_epochs = int(tables.summary["budget"]["max_epochs"])
    found = []
    for arm in tables.arms:
        trials = tuning[tuning["arm"] == arm]
        stopped = trials[(trials["status"] == "stopped") & (trials["epochs"] > 0)]
        saved_epochs = (max_epochs - stopped["epochs"]).clip(lower=0)
        found.append(
            {
                "arm": arm,
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


def image_spread(budgets: pd.DataFrame) -> float:
    """(max - min) / max of the images that the arms spent in tuning; 0 where nothing was spent."""
    most = float(budgets["num_images"].max()) if len(budgets) else 0.0
    return (most - float(budgets["num_images"].min())) / most if most > 0 else 0.0


def rung_survivors(tables: Tables) -> pd.DataFrame:
    """A row an arm x rung: arm, rung_epoch, num_reached, num_continued, num_stopped."""
    rungs = tables.rungs[tables.rungs["stage"] == "tune"]
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


def verdict(tables: Tables) -> Verdict:
    """Judge the retests: who is best, by how much above the control, and who cannot be told from the best."""
    ranked, control = ranked_arms(tables), tables.control
    scores = {arm: seed_scores(tables.retests, arm) for arm in ranked}
    remedies = [arm for arm in ranked if arm != control]
    control_scores = scores.get(control, pd.Series(dtype="float64"))
    differences = {arm: paired_difference(scores[arm], control_scores) for arm in remedies}
    num_comparisons = sum(difference is not None for difference in differences.values())
    challenger = remedies[0] if remedies else None
    adjusted = None
    if challenger is not None and num_comparisons > 1:
        adjusted = paired_difference(scores[challenger], control_scores, 1 - (1 - LEVEL) / num_comparisons)
    to_best = {arm: paired_difference(scores[ranked[0]], scores[arm]) for arm in ranked[1:]}
    validation = winners(tables.trials).set_index("arm")["objective"]
    validated = [arm for arm in ranked if arm in validation.index]
    chosen = max(validated, key=lambda arm: validation[arm], default=None)
    return Verdict(
        control=control,
        best=ranked[0] if ranked else None,
        score=t_interval(scores[ranked[0]]) if ranked else None,
        num_arms=len(ranked),
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
