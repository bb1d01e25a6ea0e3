"""Study: a task as a study, and what all studies do with it: choose arms, load data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from search_spaces.declarations import StartTrial, extreme_values
from search_spaces.space import Arm, SearchSpace
from study.core.errors import StudyError, nearest
from study.core.ledger import Book, TrialRecord
from study.core.spec import StudySpec
from study.core.stage import TUNE, Group, Stage, make_stage
from study.core.start_points import start_refused
from trainables.common.plugins import own_parts
from trainables.data.sources import load_dataset, resolve_dataset
from trainables.data.splits import Thinned, proportional_counts, tuning_data, whole
from trainables.data.types import ImageDataset, TuningData


def _no_settings(spec: Any) -> Mapping[str, Any]:
    return {}


def _no_defaults(spec: Any, dataset: str) -> Mapping[str, Any]:
    return {}


def _whole(spec: Any) -> Thinned:
    return whole


def its_own_start(stage: Stage, trial: TrialRecord, book: Book) -> Mapping[str, Any]:
    """The arms and start of a study that trains this trial alone, for tasks in which --arms names the stage's arms."""
    return {"arms": [trial.arm], "start": dict(trial.params)}


@dataclass(frozen=True, kw_only=True)
class Amendment:
    """Where the option `option` has this value, presets have other settings: budget -> settings."""

    option: str
    value: Any
    presets: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A task as a study: what python -m study.run NAME runs.

    question: what it answers, for --help. arm_names: the values of --arms; arm_table: where plugins add others;
    aliases: other names for them. models: the values of --model, if the spec has it. presets: the settings of each
    --budget; amendments: where another option changes them; defaults(spec, dataset): settings that follow from the data
    set. stages(spec, data): the experiments, in order, TUNE last. thinned(spec): class counts -> the counts that the
    task thins them to. setting(spec): the task's own options, for the page. alone(stage, trial, book): arms,
    start and further settings of a study that trains this trial alone, and the trials whose weights it begins with.
    """

    name: str
    question: str
    spec: type[StudySpec]
    arm_names: tuple[str, ...]
    arm_table: Mapping[str, Arm] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]]
    stages: Callable[[Any, TuningData], tuple[Stage, ...]]
    default_dataset: str
    embedded_dataset: str = "digits"
    amendments: tuple[Amendment, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    defaults: Callable[[Any, str], Mapping[str, Any]] = _no_defaults
    thinned: Callable[[Any], Thinned] = _whole
    setting: Callable[[Any], Mapping[str, Any]] = _no_settings
    alone: Callable[[Stage, TrialRecord, Book], Mapping[str, Any]] = its_own_start

    def kept(self, spec: StudySpec) -> Thinned:
        """Class counts -> the counts of the images that are trained on: of --train-images at most, then thinned."""
        thinned = self.thinned(spec)
        return thinned if spec.train_images is None else partial(_fewer, most=spec.train_images, thinned=thinned)

    @property
    def own_arms(self) -> tuple[str, ...]:
        """The arms that plugins added."""
        return tuple(name for name in self.arm_table if name not in self.arm_names)


def _fewer(class_counts: np.ndarray, *, most: int, thinned: Thinned) -> np.ndarray:
    return thinned(proportional_counts(class_counts, most))


def preset_of(study: Study, budget: str, spec: StudySpec) -> dict[str, Any]:
    """The settings of a budget under the spec's other options."""
    settings = dict(study.presets[budget])
    for amendment in study.amendments:
        if getattr(spec, amendment.option) == amendment.value:
            settings |= amendment.presets.get(budget, {})
    return settings


def budget(arms: tuple[str, ...], trials: int, epochs: int, grace: int, seeds: int, **own: Any) -> dict[str, Any]:
    """A preset: trials per arm, epochs of a full trial, first rung, retest seeds; ASHA keeps a third."""
    return {
        "arms": arms,
        "trials_per_arm": trials,
        "max_epochs": epochs,
        "grace_epochs": grace,
        "reduction_factor": 3,
        "retest_seeds": seeds,
        **own,
    }


def one_stage(spec: StudySpec, task: Any, space: SearchSpace, control: str) -> tuple[Stage, ...]:
    """The single stage of a study with one group of arms, judged against the control."""
    arms = spec.arms or ()
    group = Group(title="", control=control, arms=arms)
    space = in_force(spec, space, arms, start=spec.start, ranges=spec.space)
    stage = make_stage(spec, name=TUNE, task=task, space=space, arms=arms, groups=(group,))
    for part in own_parts():
        if part.kind == "arm" and part.name in arms:
            _require_sound(stage, part.name)
    return (stage,)


def _require_sound(stage: Stage, own_arm: str) -> None:
    """Raise StudyError if an arm of a plugin is overruled by the space that all share, or searches what is refused."""
    space, arm = stage.space, stage.space.arms[own_arm]
    start = space.start_hparams(arm)
    for name, value in arm.fixed.items():
        if start[name] != value:
            raise StudyError(
                f"--plugin: the arm {own_arm!r} fixes {name}={value!r}, which the task sets for all arms "
                f"({start[name]!r}); return it from the arm's suggest instead"
            )
    try:
        stage.task.validated(start)
    except ValueError as error:
        raise StudyError(f"--plugin: the arm {own_arm!r} cannot be trained where its search starts: {error}") from None
    for branch in space.branches(arm):
        for name, distribution in branch.distributions.items():
            for value in extreme_values(distribution):
                try:
                    stage.task.validated(space.sample(arm, StartTrial({**branch.params, name: value})))
                except ValueError as error:
                    raise StudyError(f"--plugin: the arm {own_arm!r} allows {name}={value}: {error}") from None


def in_force(
    spec: StudySpec,
    space: SearchSpace,
    arms: tuple[str, ...],
    *,
    start: Mapping[str, str] | None,
    ranges: Mapping[str, str] | None,
) -> SearchSpace:
    """The space of a stage with these arms, with the ranges of --space and the start values of --start.

    Raises StudyError.
    """
    try:
        space = space.overridden(ranges, arms) if ranges else space
    except ValueError as error:
        raise StudyError(f"--space {error}") from None
    try:
        space = space.starting_at(start, arms) if start else space
    except ValueError as error:
        raise StudyError(start_refused(spec, str(error))) from None
    try:
        for arm in arms:
            space.require_starts(space.arms[arm])
    except ValueError as error:
        raise StudyError(f"--space {error}") from None
    return space


def chosen_arms(study: Study, names: tuple[str, ...]) -> tuple[str, ...]:
    """The arms that --arms names; 'all' means all. Raises StudyError for an unknown or repeated arm."""
    if names == ("all",):
        return (*study.arm_names, *study.own_arms)
    known = (*study.arm_names, *study.own_arms)
    names = tuple(study.aliases.get(name, name) for name in names)
    for name in names:
        if name not in known:
            raise StudyError(f"--arms must be all or some of {', '.join(known)}, got {name!r}{nearest(name, known)}")
    if len(set(names)) < len(names):
        raise StudyError(f"--arms must name each arm once, got {', '.join(names)}")
    return names


def load_images(study: Study, spec: StudySpec) -> tuple[ImageDataset, str]:
    """Returns the data set, and its name or path. Raises DataError."""
    options: dict[str, Any] = {
        "data_root": spec.data_root,
        "download": spec.download,
        "default": study.default_dataset,
        "embedded": study.embedded_dataset,
        "image_size": spec.image_size,
    }
    found = resolve_dataset(spec.dataset, **options)
    dataset = load_dataset(spec.dataset, **options, drop_duplicates=spec.drop_duplicates, cache_dir=spec.cache_dir)
    return dataset, found.name or str(found.path)


def cut(study: Study, spec: StudySpec, dataset: ImageDataset) -> TuningData:
    """What tuning trains and validates on. spec: the complete one, for a budget may set --train-images. Raises
    StudyError.
    """
    try:
        return tuning_data(dataset, thinned=study.kept(spec), subset_seed=spec.seed, validation_cut=spec.validation_cut)
    except ValueError as error:
        raise StudyError(f"{dataset.name}: {error}") from None


def load_data(study: Study, spec: StudySpec) -> tuple[ImageDataset, TuningData, str]:
    """Returns the data set, its tuning data, and its name or path. Raises StudyError or DataError."""
    dataset, found = load_images(study, spec)
    return dataset, cut(study, spec, dataset), found
