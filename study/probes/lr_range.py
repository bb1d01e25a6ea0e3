"""The learning-rate range test of a study's arm: its setup, its console output, its files."""

from __future__ import annotations

import datetime
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from search_spaces.declarations import extreme_values
from search_spaces.space import SearchSpace
from study.core.commands import command_line
from study.core.errors import StudyError, nearest
from study.core.parsing import table_of
from study.core.plugins import own_part_names, require_sound_models
from study.core.run_dir import first_made, numbered
from study.core.spec import RunSpec, StudySpec, option_name, validated
from study.core.stage import Stage
from study.core.start_points import rate_text, start_knob
from study.page.figures.base import png
from study.probes.lr_range_figures import draw_lr_range, lr_range_data
from study.probes.lr_range_files import FIGURE, write_lr_range
from study.records.provenance import data_lines, describe_dataset, describe_machine, describe_versions, git_commit
from study.tasks.resolve import checked, resolved
from study.tasks.study import Study, cut, load_images
from trainables.data.types import ImageDataset, TuningData
from trainables.probes.lr_range import LrRange, LrRangeSettings, lr_range
from trainables.training.learner import Learner

VERB = "study.lr_range"


def run_range_test(study: Study, values: Mapping[str, Any], own: Mapping[str, Any]) -> int:
    """Test an arm's learning rates and write the result. Returns the exit status. Raises StudyError or DataError.

    values: the study's settings; own: the settings of the test, arm and the fields of LrRangeSettings.
    """
    settings = range_settings({name: value for name, value in own.items() if name != "arm"})
    values = {name: value for name, value in values.items() if name != "start_from_lr_range"}
    asked = {name: value for name, value in values.items() if name not in {"name", "arms"}} | {"arms": ("all",)}
    require_free(validated(study.spec, values))
    spec = checked(study, asked)
    dataset, found = load_images(study, spec)
    spec = resolved(study, asked, dataset=found, num_gpus=torch.cuda.device_count())
    data = cut(study, spec, dataset)
    stage, arm = _tested(study, study.stages(spec, data), own.get("arm"))
    searched = _searched(stage.space, arm)
    require_sound_models(data)
    learner = _learner(stage, arm, spec, data)
    print(*data_lines(dataset), sep="\n")
    print(f"test: {arm}, up to {settings.num_steps} steps, {settings.schedule} to {settings.max_lr:g}")
    result = lr_range(learner, settings)

    facts = {
        "task": study.name,
        "arm": arm,
        "stage": stage.name,
        "command": _command(study, values, own),
        "searched_range": searched,
        "plugins": own_part_names(),
        **facts_of(result, settings, stage.space.start_hparams(stage.space.arms[arm]), spec, dataset, data),
    }
    figure = png(
        draw_lr_range, lr_range_data(result, f"Learning-rate range test: {arm} on {dataset.name}", searched=searched)
    )
    folder = made_folder(
        spec.output_dir, (values["name"],) if values.get("name") else numbered(f"lr-range-{spec.name}")
    )
    write_lr_range(folder, result, facts, figure)
    _say(study, values, folder, result, start_knob(stage.name, arm), searched)
    return 0


def range_settings(given: Mapping[str, Any]) -> LrRangeSettings:
    """Raises StudyError, which names the option."""
    try:
        return LrRangeSettings(**given)
    except ValueError as error:
        names = "|".join(vars(LrRangeSettings()))
        raise StudyError(re.sub(rf"\b({names})\b(?= must| \()", lambda m: option_name(m[0]), str(error))) from None


def facts_of(
    result: LrRange,
    settings: LrRangeSettings,
    hparams: Mapping[str, Any],
    spec: RunSpec,
    dataset: ImageDataset,
    data: TuningData,
) -> dict[str, Any]:
    """What is recorded of every test, whatever was tested: settings, result, training, data, machine, versions."""
    assert spec.numerics is not None
    return {
        "ended": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "settings": {**vars(settings), "diverged_above": "4 times the lowest smoothed loss"},
        "num_steps_taken": len(result.losses),
        "divergence_step": result.divergence_step,
        "suggestions": {"steepest_descent": result.steepest_descent, "tenth_of_minimum": result.tenth_of_minimum},
        "config": {**hparams, "learning_rate": None},
        "seed": spec.seed,
        "numerics": spec.numerics.model_dump(),
        "dataset": describe_dataset(dataset, data),
        "hardware": describe_machine(cpus=spec.cpus_per_trial or 1.0, gpus=spec.gpus_per_trial or 0.0),
        "versions": describe_versions(),
        "commit": git_commit(),
    }


def _tested(study: Study, stages: Sequence[Stage], name: str | None) -> tuple[Stage, str]:
    """The stage and arm that --arm names; without it, the control of the last group. Raises StudyError."""
    stage_of = {arm: stage for stage in stages for arm in stage.arms}
    group = stages[-1].groups[-1]
    arm = study.aliases.get(name, name) if name is not None else group.control or group.arms[0]
    if arm not in stage_of:
        raise StudyError(f"--arm must be one of {', '.join(stage_of)}, got {name!r}{nearest(str(name), stage_of)}")
    stage = stage_of[arm]
    if arm in stage.warm_arms and stage.start_from is None:
        raise StudyError(f"--arm {arm} begins with weights that solved puzzles: give them by --pretext-checkpoint DIR")
    return stage, arm


def _learner(stage: Stage, arm: str, spec: StudySpec, data: TuningData) -> Learner:
    """The learner of the arm's first trial, built as in a worker."""
    assert spec.numerics is not None
    torch.set_num_threads(spec.numerics.num_threads)
    device = torch.device("cuda" if spec.gpus_per_trial and torch.cuda.is_available() else "cpu")
    return stage.first_learner(arm, data, numerics=spec.numerics, device=device)


def _searched(space: SearchSpace, arm: str) -> tuple[float, float]:
    """The range of learning rates that a study searches where the arm starts. Raises StudyError if there is none."""
    distribution = space.knobs(space.arms[arm]).get("learning_rate")
    if distribution is None:
        raise StudyError(f"--space fixes the learning rate of {arm}: a study would not search what the test suggests")
    values = extreme_values(distribution)
    return min(values), max(values)


def _command(study: Study, values: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    words = [f"{option_name(name)} {shlex.quote(str(value))}" for name, value in own.items()]
    return " ".join([command_line(study.name, values, VERB), *words])


def require_free(spec: RunSpec) -> None:
    if spec.name is not None and spec.run_dir.exists():
        raise StudyError(f"{spec.run_dir} exists already: choose another --name")


def made_folder(output_dir: Path, names: Iterable[str]) -> Path:
    try:
        return first_made(output_dir, names)
    except FileExistsError as error:
        raise StudyError(f"{error.filename} exists already: choose another --name") from None


def say_divergence(result: LrRange) -> None:
    if result.divergence_step is not None:
        diverged_at = rate_text(result.learning_rates[result.divergence_step - 1])
        print(f"diverged at step {result.divergence_step}, learning rate {diverged_at}")
    else:
        print("did not diverge")


def _say(
    study: Study,
    values: Mapping[str, Any],
    folder: Path,
    result: LrRange,
    knob: str,
    searched: tuple[float, float],
) -> None:
    """Print the suggestions, each with the command that starts a study there."""
    say_divergence(result)
    print(f"figure: {folder / FIGURE}")
    told = {name: value for name, value in values.items() if name not in {"name", "output_dir"}}
    suggestions = {"steepest descent": result.steepest_descent, "a tenth of the minimum's": result.tenth_of_minimum}
    for name, rate in suggestions.items():
        if rate is None:
            print(f"{name}: none, the loss never fell")
            continue
        low, high = searched
        nearest_end = min(max(float(rate_text(rate)), low), high)
        is_inside = nearest_end == float(rate_text(rate))
        hint = "" if is_inside else f", outside of {low:g} to {high:g}, which a study searches; nearest to it:"
        print(f"{name}: {rate_text(rate)}{hint}")
        print(f"  {command_line(study.name, {**told, 'start': {**_start(told), knob: rate_text(nearest_end)}})}")
        if is_inside and name == "steepest descent":
            print(f"  {command_line(study.name, {**told, 'start_from_lr_range': folder})}")


def _start(told: Mapping[str, Any]) -> dict[str, str]:
    """The value of --start as a dict; it is text from the command line and a table from a file."""
    return dict(table_of(told.get("start") or {}, ""))
