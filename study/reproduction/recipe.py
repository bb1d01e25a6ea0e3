"""What a recipe is: a source system's training as its report states it, what was wrong with it, and what mends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from trainables.tasks.recipe import RECIPE
from trainables.training.task import Task

Kind = Literal["recipe", "corrected", "control", "ablation", "cause"]
LAST_EPOCH = "last epoch"
"""Recipe.corrected, or Cause.run, where it lies in what was reported and not in what was trained."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained. imbalance: "step" (first half of the classes to 1/10) or "exponential" (to 1/100).

    share: of each class's training images, before any imbalance. begins_with: the recipe whose weights of the same
    seed it begins with. score: the column of runs.parquet by which it is judged.
    """

    task: Task = RECIPE
    hparams: Mapping[str, Any]
    num_epochs: int
    imbalance: Literal["step", "exponential"] | None = None
    share: float = 1.0
    begins_with: str | None = None
    score: str = "test_accuracy"

    def with_changes(self, hparams: Mapping[str, Any], **changes: Any) -> Training:
        """hparams: laid over those here; changes: of other fields."""
        return replace(self, hparams={**self.hparams, **hparams}, **changes)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A recipe's training with something changed: its fault mended, what it lacks as a control, an ablation's cell, or
    what would explain a difference to the report.

    hparams: laid over the recipe's; changes: of other fields of its training.
    """

    kind: Kind
    says: str
    hparams: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A number that a report printed. column: of runs.parquet, where ours stands."""

    what: str
    column: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why the number that comes out here may differ from the reported one by more than 3 points.

    run: the one without that cause, or LAST_EPOCH.
    """

    text: str
    run: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training of a source system.

    corrected: the run whose number stands in the corrected column (a variant's, another recipe's), LAST_EPOCH or None.
    reported_per_class: the recalls that a report printed, the first classes' where not all are known. tuned: the study
    and the arm in which the same question was tuned. cause: None where no number differs, or no cause was found.
    """

    name: str
    says: str
    dataset: str
    training: Training
    reported: tuple[Reported, ...]
    fault: str
    choices: str
    corrected: str | None = None
    variants: Mapping[str, Variant] = field(default_factory=dict)
    reported_per_class: tuple[float, ...] = ()
    tuned: tuple[str, str] | None = None
    cause: Cause | None = None

    @property
    def source(self) -> str:
        """s0 to s4."""
        return self.name[:2]

    @property
    def runs(self) -> dict[str, tuple[Kind, str, Training]]:
        """Run name -> its kind, what it is, and what is trained; the recipe's own first."""
        runs: dict[str, tuple[Kind, str, Training]] = {self.name: ("recipe", self.says, self.training)}
        for name, variant in self.variants.items():
            changed = self.training.with_changes(variant.hparams, **variant.changes)
            runs[f"{self.name}.{name}"] = (variant.kind, variant.says, changed)
        return runs


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A declared table: cells[row][column] is a run, whose score is shown with its interval.

    counts_images: whether to show how many different images each run trained on.
    """

    name: str
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    counts_images: bool = False

    @property
    def runs(self) -> tuple[str, ...]:
        return tuple(run for row in self.cells for run in row)


@dataclass(frozen=True, kw_only=True)
class ReportedEpochs:
    """What a report printed of its epochs. column: of epochs.parquet, where ours stand; values: (epoch, value).

    later: (epoch, lowest, highest), the span in which all values from that epoch on lie; None where it printed none.
    """

    what: str
    column: str
    values: tuple[tuple[int, float], ...]
    later: tuple[int, float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class EpochCurves:
    """Runs whose losses and accuracies are drawn over their epochs on one figure. runs: (label, run).

    reported: what a report printed of the same epochs, drawn and tabled beside ours. has_vanishing_loss: whether the
    training loss has a panel of its own, with a logarithmic axis.
    """

    name: str
    title: str
    caption: str
    runs: tuple[tuple[str, str], ...]
    reported: tuple[ReportedEpochs, ...] = ()
    has_vanishing_loss: bool = False


Expectation = Literal["higher", "lower", "not higher"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a report says, or its numbers show, of two of its trainings.

    says: the claim, which a report's reader could ask as a question. pairs: (which net, the treated run, the run that
    it is judged against). expects: where the treated run's number lies. reported: the two numbers that were printed,
    the untreated one first; None where there is none.
    """

    name: str
    says: str
    pairs: tuple[tuple[str, str, str], ...]
    expects: Expectation
    column: str = "test_accuracy"
    reported: tuple[float, float] | None = None


def test_accuracy(value: float) -> Reported:
    return Reported(what="test accuracy", column="test_accuracy", value=value)


def training_accuracy(value: float) -> Reported:
    return Reported(what="training accuracy", column="train_eval_accuracy", value=value)


BEST_ON_TEST = "the best epoch on the judged set was reported"


def plain_hparams(model: str, optimizer: str, learning_rate: float, batch_size: int, **others: Any) -> dict[str, Any]:
    """Nothing that a report does not name: no augmentation, no schedule, no decay."""
    return {
        "model": model,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "schedule": "constant",
        "augmentation": "none",
        **others,
    }
