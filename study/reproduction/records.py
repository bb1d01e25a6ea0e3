"""summary.json of a reproduction, as it is written and as it is read: what a page needs to know besides the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from study.analysis.summary import Count, Hardware, Positive, Recorded, SessionFacts
from study.analysis.tables import load_json
from study.core.spec import REPRODUCE
from study.records.summary import State
from study.reproduction.recipe import Ablation, Cause, Claim, EpochCurves, Reported


class _Machines(Recorded):
    """What is kept as it is, and shown."""

    sessions: list[SessionFacts] | None = None
    hardware: Hardware | None = None
    versions: dict[str, str] | None = None


class Record(BaseModel):
    """A part of summary.json. What an older one lacks has a default; what a newer one says beyond it is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


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
    scale: float = Field(gt=0, le=1)
    num_epochs: Positive
    full_epochs: Positive
    num_train: Count | None = None
    class_counts: tuple[Count, ...] | None = None
    imbalance: str | None
    begins_with: str | None = None
    config: dict[str, Any]
    not_run: str | None
    failures: dict[str, str]


class TunedRecord(Record):
    """The retests of a tuned arm. low and high: its 95 % t-interval, None or NaN for one seed."""

    model_config = ConfigDict(allow_inf_nan=True)

    study: str
    arm: str
    column: str
    epochs: int | None = None
    trials: int | None = None
    mean: float
    low: float | None
    high: float | None
    n: Positive

    @model_validator(mode="after")
    def _has_both_ends(self) -> TunedRecord:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high must both be there, or neither")
        return self


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
    num_classes: Positive
    class_names: tuple[str, ...] | None = None
    class_counts: tuple[Count, ...] | None = None
    num_train: Count
    num_val: Count | None = None
    num_test: Positive

    @model_validator(mode="after")
    def _is_of_one_number_of_classes(self) -> DatasetRecord:
        for values in (self.class_names, self.class_counts):
            if values is not None and len(values) != self.num_classes:
                raise ValueError(f"has {len(values)} class names or counts, and {self.num_classes} classes")
        return self


class ReproductionSummary(Record):
    """All of summary.json. recipes: in the order of their table; runs, tuned and datasets: by name."""

    name: str
    task: Literal["reproduce"]
    state: State
    command: str | None = None
    resume_command: str | None = None
    seed: int | None = None
    seeds: Positive
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

    @model_validator(mode="after")
    def _is_of_one_reproduction(self) -> ReproductionSummary:
        for ablation in self.ablations:
            if {len(ablation.columns)} != set(map(len, ablation.cells)) or len(ablation.rows) != len(ablation.cells):
                raise ValueError(f"the cells of the ablation {ablation.name!r:.50} are not of its rows and columns")
        names = [recipe.name for recipe in self.recipes]
        if len(set(names)) < len(names):
            raise ValueError("a recipe is there twice")
        if unknown := [name for name, run in self.runs.items() if run.recipe not in names]:
            raise ValueError(f"the run {unknown[0]!r:.50} is of no recipe that is there")
        return self


def read_summary(path: Path) -> ReproductionSummary:
    """Raises ValueError, in one sentence, where the file is no reproduction's or is damaged."""
    content = load_json(path)
    if content.get("task") != REPRODUCE:
        raise ValueError(f"{path} is not a reproduction's: its task is {content.get('task')!r}, not {REPRODUCE!r}")
    try:
        _Machines.model_validate(content)
        return ReproductionSummary.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path}: {_sentence(content, error)}") from None


def _sentence(content: dict[str, Any], error: ValidationError) -> str:
    """'recipe s0_base: lacks says, fault': of the outermost part that is damaged, all that it lacks."""
    if not error.errors()[0]["loc"]:
        return error.errors()[0]["msg"]
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
