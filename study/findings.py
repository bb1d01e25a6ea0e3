"""What single tasks ask of the tables: post-hoc tau, models by optimiser, hard classes, transfer, puzzles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from study import analysis
from study.analysis import LEVEL, Interval, Tables
from study.group import PRETEXT, RETESTS, Group

SCRATCH, EQUAL_EPOCHS, JIGSAW = "scratch", "scratch_equal_epochs", "jigsaw"


# --- imbalance: logit adjustment after training ---------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TauSweep:
    """One arm's winner, its logits shifted by -tau log prior before argmax (Menon et al. 2021), for each tau.

    taus: ascending; validation: balanced accuracy at each, 0-1, of the winning trial; test: the same of the
    retest, a row a seed, a column a tau; None where the arm was not retested.
    """

    arm: str
    taus: tuple[float, ...]
    validation: tuple[float, ...]
    test: pd.DataFrame | None

    @property
    def chosen(self) -> float:
        """The tau of the best validation score; ties go to the smallest."""
        return self.taus[int(np.argmax(self.validation))]

    @property
    def validation_gain(self) -> float:
        return max(self.validation) - self.validation[self.taus.index(0.0)]

    def test_score(self, tau: float) -> Interval | None:
        return None if self.test is None else analysis.t_interval(self.test[tau])

    @property
    def test_difference(self) -> Interval | None:
        """Score at the chosen tau minus score at 0, paired by seed: of one training, hence of one model."""
        return None if self.test is None else analysis.paired_difference(self.test[self.chosen], self.test[0.0])


def tau_sweeps(tables: Tables) -> list[TauSweep]:
    """A sweep for each arm whose winner recorded one, in declared order."""
    taus = tuple(float(tau) for tau in tables.summary.get("taus") or ())
    swept = tables.tuning_epochs.dropna(subset=["val_balanced_accuracy_by_tau"]).sort_values("epoch")
    validation = swept.drop_duplicates("trial_id", keep="last").set_index("trial_id")["val_balanced_accuracy_by_tau"]
    retests = tables.main_retests.dropna(subset=["test_balanced_accuracy_by_tau"])
    winners = analysis.winners(tables.trials).set_index("arm")["trial_id"]
    sweeps = []
    for arm in tables.arms:
        if arm in winners.index and winners[arm] in validation.index:
            own = retests[retests["arm"] == arm]
            test = pd.DataFrame(list(own["test_balanced_accuracy_by_tau"]), index=own["seed"], columns=list(taus))
            sweeps.append(
                TauSweep(
                    arm=arm,
                    taus=taus,
                    validation=tuple(float(value) for value in validation[winners[arm]]),
                    test=test.sort_index() if len(test) else None,
                )
            )
    return sweeps


# --- baseline -------------------------------------------------------------------------------------------------


def models_by_optimizer(tables: Tables) -> pd.DataFrame:
    """A row a model x optimiser that was tried: arm, optimizer, best, num_completed, num_trials.

    best: the validation score, 0-1, of the best of the completed trials; NaN where none was.
    """
    tried = tables.tuning.assign(optimizer=analysis.knob(tables.tuning, "optimizer")).dropna(subset=["optimizer"])
    by_cell = tried.assign(score=tried["objective"].where(tried["status"] == "completed")).groupby(["arm", "optimizer"])
    return by_cell["score"].agg(best="max", num_completed="count", num_trials="size").reset_index()


# --- cifar100 -------------------------------------------------------------------------------------------------


def compared_arms(tables: Tables) -> tuple[str, str | None] | None:
    """The best retested arm of the first group and its control, None where that is the best itself or not retested."""
    group = tables.groups[0]
    order = analysis.ranked(tables, group)
    if not order:
        return None
    return order[0], group.control if group.control in order[1:] else None


def hardest_classes(tables: Tables, num_classes: int = 10) -> pd.DataFrame:
    """The best arm's classes of lowest mean recall: class_name, superclass (None: none), best, control (0-1)."""
    arms = compared_arms(tables)
    if arms is None:
        return pd.DataFrame(columns=["class_name", "superclass", "best", "control"])
    best, control = arms
    recall = pd.DataFrame(
        {
            "class_name": list(tables.summary["dataset"]["class_names"]),
            "superclass": _superclasses(tables),
            "best": analysis.mean_recall(tables, best),
            "control": analysis.mean_recall(tables, control) if control else math.nan,
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
    shares, control_shares = (None if arm is None else analysis.mean_confusion(tables, arm) for arm in arms)
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
    """Each class's superclass by name, or None for all."""
    dataset = tables.summary["dataset"]
    names, index = dataset.get("superclass_names"), dataset.get("superclass_of")
    return [None] * len(dataset["class_names"]) if not names or not index else [str(names[i]) for i in index]


# --- jigsaw: transfer -----------------------------------------------------------------------------------------


def initialisation(arm: str) -> str:
    """'scratch_equal_epochs_10pct' -> 'scratch_equal_epochs'. Arms are named so in search_spaces/jigsaw.py."""
    return arm.rpartition("_")[0]


def label_fraction(arm: str) -> float:
    """'jigsaw_10pct' -> 0.1."""
    return float(arm.rpartition("_")[2].removesuffix("pct")) / 100


# What the two paired intervals say, by their signs: (to scratch, to scratch with equal epochs); 0: includes 0.
TRANSFER_WORDS = {
    (1, 1): "helps",
    (1, 0): "gives no measurable gain over training as long on the labels",
    (1, -1): "beats scratch, but training as long on the labels is better",
    (0, 1): "gives no measurable gain over scratch",
    (0, 0): "gives no measurable gain",
    (0, -1): "gives no measurable gain over scratch, and training as long on the labels is better",
    (-1, 1): "hurts against scratch",
    (-1, 0): "hurts against scratch",
    (-1, -1): "hurts",
}


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What pre-training did at one label fraction. arm: the pre-trained one; None differences: no seed is shared."""

    group: Group
    arm: str
    score: Interval
    to_scratch: Interval | None
    to_equal_epochs: Interval | None

    @property
    def words(self) -> str | None:
        """The verdict, or None where one of the two intervals is lacking."""
        if self.to_scratch is None or self.to_equal_epochs is None:
            return None
        if self.to_scratch.low is None or self.to_equal_epochs.low is None:
            return None
        return TRANSFER_WORDS[_sign(self.to_scratch), _sign(self.to_equal_epochs)]


def _sign(difference: Interval) -> int:
    return int(math.copysign(1, difference.mean)) if difference.excludes_zero else 0


def transfers(tables: Tables, level: float = LEVEL) -> list[Transfer]:
    """One for each group whose pre-trained arm was retested. level: of the paired intervals."""
    found = []
    for group in tables.groups:
        scores = {
            initialisation(arm): analysis.seed_scores(tables.main_retests, arm, tables.score) for arm in group.arms
        }
        arms = {initialisation(arm): arm for arm in group.arms}
        jigsaw = scores.get(JIGSAW, pd.Series(dtype="float64"))
        if len(jigsaw):
            to_scratch, to_equal_epochs = (
                analysis.paired_difference(jigsaw, scores[other], level) if other in scores else None
                for other in (SCRATCH, EQUAL_EPOCHS)
            )
            found.append(
                Transfer(
                    group=group,
                    arm=arms[JIGSAW],
                    score=analysis.t_interval(jigsaw),
                    to_scratch=to_scratch,
                    to_equal_epochs=to_equal_epochs,
                )
            )
    return found


# --- jigsaw: the puzzles --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PuzzleMetric:
    """A column of the pretext, without val_ or test_. chance: its value, 0-1, for guesses at n tiles."""

    name: str
    title: str
    chance: Callable[[int], float]


PUZZLE_METRICS = (
    PuzzleMetric(
        name="exact_accuracy",
        title="Puzzles solved exactly, by assignment",
        chance=lambda n: 1 / math.factorial(n),
    ),
    PuzzleMetric(name="tile_accuracy", title="Tiles in place, by assignment", chance=lambda n: 1 / n),
    PuzzleMetric(
        name="exact_accuracy_argmax", title="Puzzles solved exactly, by row-argmax", chance=lambda n: float(n) ** -n
    ),
    PuzzleMetric(name="tile_accuracy_argmax", title="Tiles in place, by row-argmax", chance=lambda n: 1 / n),
    PuzzleMetric(name="confidence", title="Confidence in the true places", chance=lambda n: 1 / n),
    PuzzleMetric(
        name="invalid_argmax",
        title="Puzzles whose row-argmax repeats a place",
        chance=lambda n: 1 - math.factorial(n) / float(n) ** n,
    ),
)


def pretext_arms(tables: Tables) -> tuple[str, ...]:
    """The arms that solved puzzles; none in a study that began with a given checkpoint, or without one."""
    return tuple(arm for stage in tables.summary["stages"] if stage["name"] == PRETEXT for arm in stage["arms"])


def num_tiles(tables: Tables, arm: str) -> int:
    """Tiles of a puzzle of this pretext arm: its own grid squared, or the study's where its trials name none."""
    grids = analysis.knob(tables.trials[tables.trials["arm"] == arm], "grid").dropna()
    return int(grids.iloc[0] if len(grids) else tables.summary["setting"]["grid"]) ** 2


def puzzle_metrics(tables: Tables, arm: str) -> pd.DataFrame:
    """A row a metric: title, chance, validation (the winner's last epoch), mean, low, high, n of the test; 0-1, NaN."""
    winners = analysis.winners(tables.trials, PRETEXT)
    epochs = tables.epochs[tables.epochs["trial_id"].isin(winners.loc[winners["arm"] == arm, "trial_id"])]
    last = epochs.sort_values("epoch").tail(1)
    retests = tables.retests[(tables.retests["stage"] == RETESTS[PRETEXT]) & (tables.retests["arm"] == arm)]
    found = []
    for metric in PUZZLE_METRICS:
        test = retests[f"test_{metric.name}"].dropna()
        validation = last[f"val_{metric.name}"]
        row = {
            "title": metric.title,
            "chance": metric.chance(num_tiles(tables, arm)),
            "validation": float(validation.iloc[0]) if len(validation) else math.nan,
        }
        found.append({**row, **(analysis.interval_columns(analysis.t_interval(test)) if len(test) else {})})
    return pd.DataFrame(found, columns=["title", "chance", "validation", "mean", "low", "high", "n"])
