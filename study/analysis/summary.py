"""What the pages take for granted of a summary.json, which may be of another version or of somebody else's making."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from search_spaces.declarations import ends_of
from study.core.extension import Extension
from study.core.stage import TUNE

MOST = 10**15
"""No count of a run is larger, and sums of some thousands of them still fit in 64 bits."""

Count = Annotated[int, Field(ge=0, le=MOST)]
Positive = Annotated[int, Field(ge=1, le=MOST)]
Amount = Annotated[float, Field(ge=0, le=MOST)]


class Recorded(BaseModel):
    """Of the types that JSON has: a number that is written as text is none. Further fields are allowed."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Dataset(Recorded):
    name: str
    num_classes: Positive
    num_train: Count
    num_val: Count
    num_test: Positive
    class_names: list[str]
    class_counts: list[Count]
    image_size: Positive
    channels: Positive
    origin: str
    num_available: Count | None = None
    val_counts: list[Count] | None = None
    superclass_names: list[str] | None = None
    superclass_of: list[Count] | None = None
    fingerprint: str | None = None
    remarks: list[str] | None = None


class _Group(Recorded):
    title: str
    control: str | None
    arms: list[str]


class _Stage(Recorded):
    name: str
    arms: list[str]
    objective: str
    mode: Literal["max", "min"]
    trials_per_arm: Positive
    max_epochs: Positive
    epochs_of: dict[str, Positive]
    num_given: dict[str, Count] | None = None


class _Budget(Recorded):
    trials_per_arm: Positive
    max_epochs: Positive
    grace_epochs: Positive
    reduction_factor: Positive
    searcher: str
    retest_seeds: Positive
    retest_until: Amount | None = None
    train_images: Positive | None = None
    control: str | None = None
    control_trials: Count | None = None
    searches: Positive | None = None
    objective: str | None = None
    looks: list[Positive] | None = None
    time_budget: Amount | None = None


class Hardware(Recorded):
    cpu: str | None = None
    cpus: Amount | None = None
    gpus: list[str] | None = None
    memory_gb: Amount | None = None


class SessionFacts(Recorded):
    started: str | None = None
    ended: str | None = None
    wall_seconds: Amount | None = None
    tune_seconds: Amount | None = None
    retest_seconds: Amount | None = None
    audit_seconds: Amount | None = None
    commit: str | None = None
    hardware: Hardware | None = None
    versions: dict[str, str] | None = None


class _Axis(Recorded):
    low: float | None = None
    high: float | None = None
    scale: Literal["linear", "log", "logit", "category"]
    choices: list[Any] | None = None


class _RangeByChoice(Recorded):
    choice: str
    ranges: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]]


class _RangeSet(Recorded):
    entry: str
    arms: list[str]


class _Winner(Recorded):
    trial_id: str
    objective: float
    epochs: Positive
    config: dict[str, Any]
    command: str


class _Reference(Recorded):
    arm: str
    search: Positive
    role: str
    trial_id: str
    same_as: str | None


class _ModelSize(Recorded):
    model: str | None
    padding: str | None
    parameters: Count | None


class _Plugin(Recorded):
    file: str
    sha256: str
    parts: list[str]


class _Fork(Recorded):
    run: str
    num_retests: Count
    alike: list[Annotated[tuple[list[str], str], Strict(False)]]  # JSON has lists alone


class _Thinning(Recorded):
    kind: str
    ratio: Annotated[float, Field(ge=1, le=MOST)]
    classes: Literal["first", "last"]


class _Puzzles(Recorded):
    grid: Positive
    pretext_arm: str
    passes_per_epoch: dict[str, Positive]
    pretext_checkpoint: str | None = None


class _Networks(Recorded):
    model: str
    deeper: str | None


_SETTINGS: Mapping[str, type[Recorded]] = {"imbalance": _Thinning, "jigsaw": _Puzzles, "cifar100": _Networks}
"""What the page of a task reads of its setting."""


class _Summary(Recorded):
    """Fields that are None may be missing: earlier versions had none."""

    name: str
    task: str
    state: Literal["running", "interrupted", "complete"]
    dataset: _Dataset
    setting: dict[str, Any]
    arms: list[str]
    groups: list[_Group] = Field(min_length=1)
    stages: list[_Stage]
    score: str
    objective: str
    budget: _Budget
    winners: dict[str, _Winner] | None = None
    command: str | None = None
    resume_command: str | None = None
    commit: str | None = None
    seed: Count | None = None
    arm_factors: dict[str, dict[str, str]] | None = None
    arm_descriptions: dict[str, str] | None = None
    not_retested: dict[str, str] | None = None
    knobs: dict[str, dict[str, _Axis]] | None = None
    ranges_by_choice: dict[str, dict[str, _RangeByChoice]] | None = None
    ranges_set: list[_RangeSet] | None = None
    references: list[_Reference] | None = None
    model_sizes: list[_ModelSize] | None = None
    plugins: list[_Plugin] | None = None
    sessions: list[SessionFacts] | None = None
    extensions: list[Extension] | None = None
    fork: _Fork | None = None
    hardware: Hardware | None = None
    versions: dict[str, str] | None = None
    numerics: dict[str, Any] | None = None
    taus: list[float] | None = None
    ledger_milliseconds_per_event: Amount | None = None


def require_summary(summary: Mapping[str, Any]) -> None:
    """Raise ValueError, in one sentence, for what is missing, of another type, impossible, or contradicts the rest."""
    missing = [name for name, field in _Summary.model_fields.items() if field.is_required() and name not in summary]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    try:
        known = _Summary.model_validate(summary)
        if known.task in _SETTINGS:
            _SETTINGS[known.task].model_validate(known.setting)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"is of no use: {place:.100}: {first['msg'].splitlines()[0]}") from None
    for sentence in _contradictions(known):
        raise ValueError(f"is of no use: {sentence}")


def _contradictions(summary: _Summary) -> Iterable[str]:
    yield from _about_arms(summary)
    yield from _about_classes(summary.dataset)
    if summary.taus is not None and (0.0 not in summary.taus or summary.taus != sorted(set(summary.taus))):
        yield "taus do not rise, or lack 0"
    for arm, axes in (summary.knobs or {}).items():
        for knob, axis in axes.items():
            if not _is_range(axis):
                yield f"knobs.{arm:.50}.{knob:.50} is no range on a scale that is {axis.scale}"


def _is_range(axis: _Axis) -> bool:
    """Whether there is one of this kind; earlier versions did not record its ends."""
    if axis.low is None or axis.high is None:
        return axis.low is None and axis.high is None
    least, most = ends_of(axis.scale)
    if axis.choices is not None:  # a user may choose 0 among the values of a log scale
        return axis.low <= axis.high and all(isinstance(one, int | float) for one in axis.choices)
    return least < axis.low <= axis.high < most


def _about_arms(summary: _Summary) -> Iterable[str]:
    stages = {stage.name: stage for stage in summary.stages}
    if TUNE not in stages:
        yield f"it has no stage {TUNE}"
        return
    main = stages[TUNE]
    everyone = [arm for stage in summary.stages for arm in stage.arms]
    grouped = [arm for group in summary.groups for arm in group.arms]
    yield from _named_twice("stages", [stage.name for stage in summary.stages])
    yield from _named_twice("arms", everyone)
    yield from _named_twice("arms of groups", grouped)
    for what, found in (("groups", grouped), (f"the stage {TUNE}", main.arms)):
        if set(found) != set(summary.arms):
            yield f"its arms are not those of {what}"
    for stage in summary.stages:
        if set(stage.epochs_of) != set(stage.arms):
            yield f"epochs_of of the stage {stage.name!r:.50} is not of its arms"
        if stage.num_given is not None and set(stage.num_given) != set(stage.arms):
            yield f"num_given of the stage {stage.name!r:.50} is not of its arms"
    named = {
        "winners": summary.winners or {},
        "references": [one.arm for one in summary.references or []],
        "knobs": summary.knobs or {},
        "arm_factors": summary.arm_factors or {},
        "not_retested": summary.not_retested or {},
    }
    for what, arms in named.items():
        if unknown := [arm for arm in arms if arm not in everyone]:
            yield f"{what} has {unknown[0]!r:.50}, which is no arm of it"


def _about_classes(dataset: _Dataset) -> Iterable[str]:
    lists: dict[str, Collection[Any] | None] = {
        "class_names": dataset.class_names,
        "class_counts": dataset.class_counts,
        "val_counts": dataset.val_counts,
        "superclass_of": dataset.superclass_of,
    }
    for what, values in lists.items():
        if values is not None and len(values) != dataset.num_classes:
            yield f"dataset.{what} is of {len(values)} classes, not of {dataset.num_classes}"
    names, index = dataset.superclass_names, dataset.superclass_of
    if (names is None) != (index is None) or max(index or [-1]) >= len(names or []):
        yield "dataset.superclass_of and dataset.superclass_names are not of one another"


def _named_twice(what: str, names: Iterable[str]) -> Iterable[str]:
    for name, number in Counter(names).items():
        if number > 1:
            yield f"{what} has {name!r:.50} twice"
