"""A preflight: the extremes of every arm's space take real steps, and what the study will cost follows from them."""

from __future__ import annotations

import gc
import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from study.core.errors import last_line
from study.core.plugins import require_sound_models
from study.core.run_dir import existing_parent, require_checkpoints
from study.core.spec import StudySpec
from study.core.stage import Stage
from study.core.streams import Loudness
from study.core.text import duration, plural, short
from study.engine.cluster import cluster_of, num_slots
from study.engine.console import StudyConsole
from study.engine.forecast import ArmCost, Forecast, forecast
from study.probes.costs import arm_cost, idle_cost, seconds_by_choice
from study.probes.extremes import Case, costliest_cases, extreme_cases
from study.records.provenance import data_lines
from study.tasks.resolve import checked, resolved
from study.tasks.study import Study, cut, load_images
from trainables.common.memory import available_memory, bytes_text, forget_peak_memory, peak_memory
from trainables.data.splits import retest_data
from trainables.data.types import TuningData
from trainables.probes.rehearsal import Rehearsal, rehearse
from trainables.training.setup import TrialSetup

RAY_BYTES = 1_500_000_000  # Ray's own processes, its dashboard's included
SPARED = 0.05  # of the memory: Ray ends trainings where a machine is fuller
GPU_CONTEXT_BYTES = 600_000_000  # what a process takes of a GPU beside its tensors
BUSY = 1.3  # wall over processor time, from where on other work is worth a word
FAILED = 1  # the exit status


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A configuration that does not train. params: the values of its knobs; message: why."""

    arm: str
    params: Mapping[str, Any]
    message: str

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={short(value)}" for name, value in self.params.items())
        return f"{self.arm} with {settings or 'its only configuration'}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """What a preflight found. failures: the configurations that do not train.

    arms: a row an arm: stage, arm, configurations (those tried), memory_bytes and gpu_memory_bytes (the most that the
    process took), epoch_seconds (on average over what is searched, validated and saved), longest_epoch_seconds,
    checkpoint_bytes (of one). slots: the trainings at a time that settings and processors allow; max_concurrent: those
    for which there is memory too. gpus_per_trial: the share of a GPU that a trial needs, 0 without one. forecast: what
    the study costs; idle: what it would cost if nothing else ran here. Both are None where an arm has no configuration
    that trains.
    """

    arms: pd.DataFrame
    failures: tuple[Failure, ...]
    slots: int
    max_concurrent: int
    gpus_per_trial: float
    forecast: Forecast | None
    idle: Forecast | None

    def __str__(self) -> str:
        return "\n".join(_lines(self))


@dataclass(frozen=True, kw_only=True)
class _Tried:
    """The cases of an arm that were tried. trained: those of which the means are taken, which costliest are not."""

    trained: list[tuple[Case, Rehearsal]] = field(default_factory=list)
    costliest: list[tuple[Case, Rehearsal]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    memory_bytes: int = 0
    gpu_memory_bytes: int = 0


def run_preflight(study: Study, values: Mapping[str, Any], loudness: Loudness) -> int:
    """Print a preflight. Returns the exit status. Raises StudyError or DataError."""
    found = preflight(study, values, StudyConsole(loudness=loudness).say)
    print(found)
    return FAILED if found.failures else 0


def preflight(study: Study, values: Mapping[str, Any], say: Callable[[str], None] = lambda line: None) -> Preflight:
    """Try the extremes of a study's arms, and reckon what it costs. Makes no run directory and reads no test image.

    Raises StudyError or DataError for what study.run would refuse.
    """
    spec = checked(study, values)
    require_checkpoints(spec)
    dataset, found = load_images(study, spec)
    for line in data_lines(dataset):
        say(line)
    with cluster_of(spec) as cluster:  # one of this machine is not started
        spec = resolved(study, values, dataset=found, num_gpus=cluster.gpus)
        num_slots(spec, cluster)  # what a trial asks for must be there
        data = cut(study, spec, dataset)
        stages = study.stages(spec, data)
        require_sound_models(data)
        for stage in stages:
            for arm in stage.arms:
                stage.require_legal_space(arm)
        tried = _all_tried(stages, data, spec)
        share = _gpu_share(spec, tried.values())
        slots = num_slots(spec.model_copy(update={"gpus_per_trial": share}), cluster)
    room = slots
    if spec.address is None:  # else the trials are elsewhere
        each = max(of_arm.memory_bytes for of_arm in tried.values())
        room = min(slots, fitting(available_memory(), data.images.nbytes, each))
    later = retest_data(data, thinned=study.kept(spec), subset_seed=0)
    cost_of = partial(
        arm_cost,
        num_train=(data.num_train, later.num_train),
        num_val=len(data.val_indices),
        num_test=len(dataset.test_labels),
    )
    costs = {arm: cost_of(stage, tried[arm].trained) for stage in stages for arm in stage.arms if tried[arm].trained}
    idle = {arm: idle_cost(cost) for arm, cost in costs.items()}
    is_whole = len(costs) == len(tried)
    rows = [_row(stage, arm, tried[arm], costs.get(arm), data) for stage in stages for arm in stage.arms]
    return Preflight(
        arms=pd.DataFrame(rows),
        failures=tuple(failure for of_arm in tried.values() for failure in of_arm.failures),
        slots=slots,
        max_concurrent=room,
        gpus_per_trial=share,
        forecast=forecast(stages, spec, costs, room) if is_whole else None,
        idle=forecast(stages, spec, idle, room) if is_whole else None,
    )


def _all_tried(stages: Sequence[Stage], data: TuningData, spec: StudySpec) -> dict[str, _Tried]:
    """What became of each arm's cases, on as many threads as a trial has."""
    assert spec.numerics is not None
    num_threads = torch.get_num_threads()
    torch.set_num_threads(spec.numerics.num_threads)
    try:
        # Where checkpoints will lie, so that they are written as quickly, or as slowly.
        with tempfile.TemporaryDirectory(prefix=".preflight-", dir=existing_parent(spec.output_dir)) as folder:
            return {arm: _tried(stage, arm, data, spec, Path(folder)) for stage in stages for arm in stage.arms}
    finally:
        torch.set_num_threads(num_threads)


def _tried(stage: Stage, arm: str, data: TuningData, spec: StudySpec, folder: Path) -> _Tried:
    """Rehearse the extreme cases of an arm in a folder of its own, then those that are the costliest by what came out.

    A trial that begins with the weights of the stage before begins with those that its rehearsal left.
    """
    assert spec.numerics is not None
    device = torch.device("cuda" if spec.gpus_per_trial and torch.cuda.is_available() else "cpu")
    setup = TrialSetup(num_epochs=stage.num_epochs(arm), seed=stage.seed, numerics=spec.numerics, device=device)
    start_from = stage.start_from
    if stage.before is not None:
        start_from = str(folder / stage.before.arms[0])
    space, found = stage.space, _Tried()
    gc.collect()
    forget_peak_memory()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    known: list[Mapping[str, Any]] = []

    def rehearse_all(cases: Iterable[Case], trained: list[tuple[Case, Rehearsal]]) -> None:
        for case in cases:
            if case.hparams in known:
                continue
            known.append(case.hparams)
            try:
                rehearsal = rehearse(
                    stage.task,
                    case.hparams,
                    data,
                    setup,
                    folder=folder / arm,
                    start_from=start_from if arm in stage.warm_arms else None,
                )
            except OSError:  # of the disk, and not of the configuration
                raise
            except Exception as error:  # whatever a part of it raises
                found.failures.append(Failure(arm=arm, params=case.params, message=_reason(error)))
            else:
                trained.append((case, rehearsal))

    rehearse_all(extreme_cases(space, space.arms[arm]), found.trained)
    if found.trained:
        seconds = {choice: mean.wall for choice, mean in seconds_by_choice(found.trained).items()}
        rehearse_all(costliest_cases(space, space.arms[arm], seconds), found.costliest)
    gpu_bytes = torch.cuda.max_memory_reserved() + GPU_CONTEXT_BYTES if device.type == "cuda" else 0
    return replace(found, memory_bytes=peak_memory() or 0, gpu_memory_bytes=gpu_bytes)


def _reason(error: Exception) -> str:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return f"out of memory: {last_line(error)}"
    return last_line(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {last_line(error)}"


def fitting(free_bytes: int | None, shared_bytes: int, each_bytes: int) -> int:
    """How many trainings the free memory holds, beside Ray and the images that they share; 1 at least."""
    if free_bytes is None or not each_bytes:
        return sys.maxsize
    return max(1, int(((1 - SPARED) * free_bytes - RAY_BYTES - shared_bytes) / each_bytes))


def gpu_share(asked: float, each_bytes: int, total_bytes: int) -> float:
    """The share of a GPU that a trial needs: what was asked, or more where the GPU's memory is too small for that.

    >>> gpu_share(0.25, 6_000_000_000, 24_000_000_000)  # three fit, with a little spared
    0.3333
    """
    fit = max(1, math.floor((1 - SPARED) * total_bytes / each_bytes))
    return max(asked, math.floor(10_000 / fit) / 10_000)


def _gpu_share(spec: StudySpec, tried: Iterable[_Tried]) -> float:
    asked, peak = spec.gpus_per_trial or 0.0, max(one.gpu_memory_bytes for one in tried)
    return gpu_share(asked, peak, torch.cuda.get_device_properties(0).total_memory) if peak else asked


def _row(stage: Stage, arm: str, tried: _Tried, cost: ArmCost | None, data: TuningData) -> dict[str, Any]:
    num_val = len(data.val_indices)
    longest = [
        (one.image * one.num_images + one.val_image * num_val + one.save).wall
        for _, one in (*tried.trained, *tried.costliest)
    ]
    return {
        "stage": stage.name,
        "arm": arm,
        "configurations": len(tried.trained) + len(tried.costliest) + len(tried.failures),
        "memory_bytes": tried.memory_bytes,
        "gpu_memory_bytes": tried.gpu_memory_bytes,
        "epoch_seconds": cost.epoch.wall if cost else math.nan,
        "longest_epoch_seconds": max(longest, default=math.nan),
        "checkpoint_bytes": cost.checkpoint_bytes if cost else 0,
    }


def _lines(found: Preflight) -> list[str]:
    """The preflight as a text: a table, what does not train, and what the study takes."""
    has_gpu = bool(found.arms["gpu_memory_bytes"].any())
    heads = ["arm", "tried", "memory", *["GPU memory"] * has_gpu, "an epoch", "longest", "a checkpoint"]
    rows = [
        [
            row["arm"],
            str(row["configurations"]),
            bytes_text(row["memory_bytes"]),
            *[bytes_text(row["gpu_memory_bytes"])] * has_gpu,
            duration(row["epoch_seconds"]),
            duration(row["longest_epoch_seconds"]),
            bytes_text(row["checkpoint_bytes"]),
        ]
        for row in found.arms.to_dict("records")
    ]
    lines = columns([heads, *rows])
    lines += [f"does not train: {failure}" for failure in found.failures]
    if not found.failures:
        lines.append("all of them train, and are restored as they were saved")
    options = f"--max-concurrent {found.max_concurrent}"
    if has_gpu:
        options += f" --gpus-per-trial {found.gpus_per_trial:g}"
    why = plural(found.slots, "slot")
    if found.max_concurrent < found.slots:
        why = f"memory for no more than {found.max_concurrent} of {why}"
    lines.append(f"proposed: {options} ({why})")
    if found.forecast is None or found.idle is None:
        return lines
    for part in found.forecast.parts:
        counted = f": {plural(part.trainings, 'training')}, {plural(round(part.epochs), 'epoch')}" * bool(
            part.trainings
        )
        lines.append(f"  {part.name}{counted}: {duration(part.seconds.wall)}")
    total = found.forecast.seconds
    trainings = sum(part.seconds.cpu for part in found.forecast.parts if part.trainings)
    lines.append(f"time: about {duration(total.wall)}; trainings take {duration(trainings)} of processors")
    if total.wall > BUSY * found.idle.seconds.wall and not has_gpu:
        lines.append(f"  other work slows this machine now; without it about {duration(found.idle.seconds.wall)}")
    if found.forecast.further is not None:
        further = found.forecast.further
        lines.append(f"  and up to {plural(further.trainings, 'further retest')}: {duration(further.seconds.wall)}")
    there = found.forecast.store_bytes
    elsewhere = f", and {bytes_text(there)} where --checkpoints says" if there else ""
    lines.append(f"disk: about {bytes_text(found.forecast.disk_bytes)}{elsewhere}")
    return lines


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, the first cell at the left and the others at the right of columns."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
