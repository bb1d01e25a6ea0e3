"""summary.json of a reproduction, as it is written and as it is read: what a page needs to know besides the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from study.analysis.tables import load_json
from study.core.spec import REPRODUCE
from study.records.summary import State
from study.reproduction.recipe import Ablation, Cause, Claim, EpochCurves, Reported


class Record(BaseModel):
    """A part of summary.json. What an older one lacks has a default; what a newer one says beyond it is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class RecipeRecord(Record):
    """A recipe as it was declared when it was trained. runs: its own and its variants', of those that were chosen."""

    name: str
    source: str
    says: str
    dataset: str
    fault: str
    choices: str
    reported: tuple[Reported, ...]
    reported_per_class: tuple[float, ...]
    corrected: str | None
    cause: Cause | None
    runs: tuple[str, ...]


class RunRecord(Record):
    """A planned training. num_epochs: at its scale; full_epochs: as stated; failures: seed -> message."""

    recipe: str
    kind: str
    says: str
    task: str | None = None
    score: str
    scale: float
    num_epochs: int
    full_epochs: int
    num_train: int | None = None
    class_counts: tuple[int, ...] | None = None
    imbalance: str | None
    begins_with: str | None = None
    config: dict[str, Any]
    not_run: str | None
    failures: dict[str, str]


class TunedRecord(Record):
    """The retests of a tuned arm. low and high: its 95 % t-interval, None or NaN for one seed."""

    study: str
    arm: str
    column: str
    epochs: int | None = None
    trials: int | None = None
    mean: float
    low: float | None
    high: float | None
    n: int


class NotTunedRecord(Record):
    """Why a study of the recipe's task has no arm to stand beside it."""

    absent: str


class ReusedRecord(Record):
    """Runs that were taken over from an earlier reproduction, and what they were trained on and with.

    reproduction: its folder, as it was given; commits: of its sessions.
    """

    reproduction: str
    commits: tuple[str, ...]
    hardware: dict[str, Any]
    versions: dict[str, Any]
    numerics: dict[str, Any]
    runs: tuple[str, ...]


class DatasetRecord(Record):
    """What study.records.provenance says of a data set; what the page does not show of it is kept as it is."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str | None = None
    origin: str
    remarks: tuple[str, ...] = ()
    fingerprint: str | None = None
    num_classes: int
    class_names: tuple[str, ...] | None = None
    class_counts: tuple[int, ...] | None = None
    num_train: int
    num_val: int | None = None
    num_test: int


class ReproductionSummary(Record):
    """All of summary.json. recipes: in the order of their table; runs, tuned and datasets: by name."""

    name: str
    task: Literal["reproduce"]
    state: State
    command: str | None = None
    resume_command: str | None = None
    seed: int | None = None
    seeds: int
    dataset_override: str | None
    recipes: tuple[RecipeRecord, ...]
    runs: dict[str, RunRecord]
    ablations: tuple[Ablation, ...]
    curves: tuple[EpochCurves, ...] = ()
    claims: tuple[Claim, ...] = ()
    tuned: dict[str, TunedRecord | NotTunedRecord]
    reused: tuple[ReusedRecord, ...] = ()
    datasets: dict[str, DatasetRecord]
    sessions: tuple[dict[str, Any], ...] = ()
    hardware: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    commit: str | None = None
    numerics: dict[str, Any] = {}
    ledger_milliseconds_per_event: float | None = None


def read_summary(path: Path) -> ReproductionSummary:
    """Raises ValueError, in one sentence, where the file is no reproduction's or is damaged."""
    content = load_json(path)
    if content.get("task") != REPRODUCE:
        raise ValueError(f"{path} is not a reproduction's: its task is {content.get('task')!r}, not {REPRODUCE!r}")
    try:
        return ReproductionSummary.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path}: {_sentence(content, error)}") from None


def _sentence(content: dict[str, Any], error: ValidationError) -> str:
    """'recipe s0_base: lacks says, fault': of the outermost part that is damaged, all that it lacks."""
    found = sorted(error.errors(), key=lambda one: len(one["loc"]))
    *owner, last = found[0]["loc"]
    lacks = [str(one["loc"][-1]) for one in found if [*one["loc"][:-1]] == owner and one["type"] == "missing"]
    says = f"lacks {', '.join(lacks)}" if lacks else f"{last}: {found[0]['msg']}"
    if not owner:
        return says
    kind, *names = owner
    if kind == "recipes" and names:
        names[0] = content[kind][names[0]].get("name")
    return f"{' '.join(map(str, [str(kind).removesuffix('s'), *names]))}: {says}"
