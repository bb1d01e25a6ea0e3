"""What the pages take for granted of a summary.json, which may be of another version or of somebody else's making."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from study.core.stage import TUNE


class _Dataset(BaseModel):
    name: str
    num_classes: int
    num_train: int
    num_val: int
    num_test: int
    class_names: list[str]
    class_counts: list[int] | None = None
    remarks: list[str] | None = None


class _Group(BaseModel):
    title: str
    control: str | None
    arms: list[str]


class _Stage(BaseModel):
    name: str
    arms: list[str]
    objective: str
    mode: str
    trials_per_arm: int
    max_epochs: int


class _Budget(BaseModel):
    trials_per_arm: int | None = None
    max_epochs: int | None = None
    grace_epochs: int | None = None
    reduction_factor: int | None = None
    retest_seeds: int | None = None
    retest_until: float | None = None
    train_images: int | None = None
    control_trials: int | None = None
    searches: int | None = None
    objective: str | None = None
    looks: list[int] | None = None
    time_budget: float | None = None


class _Hardware(BaseModel):
    cpu: str | None = None
    cpus: float | None = None
    gpus: list[str] | None = None
    memory_gb: float | None = None


class _Axis(BaseModel):
    low: float | None = None
    high: float | None = None
    scale: str | None = None
    choices: list[Any] | None = None


class _Winner(BaseModel):
    trial_id: str
    config: dict[str, Any]


class _Reference(BaseModel):
    arm: str
    role: str
    trial_id: str


class _Summary(BaseModel):
    """Fields that are None may be missing: earlier versions had none."""

    name: str
    task: str
    state: str
    dataset: _Dataset
    setting: dict[str, Any]
    arms: list[str]
    groups: list[_Group] = Field(min_length=1)
    stages: list[_Stage]
    score: str
    objective: str
    budget: _Budget
    command: str | None = None
    commit: str | None = None
    arm_factors: dict[str, dict[str, Any]] | None = None
    arm_descriptions: dict[str, str] | None = None
    not_retested: dict[str, str] | None = None
    knobs: dict[str, dict[str, _Axis]] | None = None
    ranges_by_choice: dict[str, dict[str, Any]] | None = None
    winners: dict[str, _Winner] | None = None
    references: list[_Reference] | None = None
    sessions: list[dict[str, Any]] | None = None
    extensions: list[dict[str, Any]] | None = None
    hardware: _Hardware | None = None
    versions: dict[str, str] | None = None
    numerics: dict[str, Any] | None = None
    taus: list[float] | None = None
    ledger_milliseconds_per_event: float | None = None


def require_summary(summary: Mapping[str, Any]) -> None:
    """Raise ValueError, in one sentence, for what is missing or of another type."""
    missing = [name for name, field in _Summary.model_fields.items() if field.is_required() and name not in summary]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    try:
        _Summary.model_validate(summary)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"is of no use: {place:.100}: {first['msg'].splitlines()[0]}") from None
    if TUNE not in {stage["name"] for stage in summary["stages"]}:
        raise ValueError(f"is of no use: it has no stage {TUNE}")
