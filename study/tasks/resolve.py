"""From the values that a user gave to a complete StudySpec: presets, machine, name."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.core.errors import StudyError, nearest
from study.core.plugins import sources, use_given, use_kept
from study.core.run_dir import SPEC, require_place, settings_of
from study.core.spec import MAX_NAME_LENGTH, REPRODUCE, RunSpec, StudySpec, validated
from study.core.start_points import starting_from_lr_range
from study.tasks.registry import find_study
from study.tasks.study import Study, chosen_arms, preset_of
from trainables.common.numerics import Numerics, Precision
from trainables.common.plugins import own_parts

NEW_RUN: Mapping[str, Any] = {"validation_cut": "by_share"}  # what a run made earlier may have otherwise
MAX_DATED_LENGTH = MAX_NAME_LENGTH - 10  # characters and bytes; run_dir.numbered may add to it
GPU_SHARE = 0.25  # of a GPU per trial: these models leave most of a GPU idle


def checked(study: Study, values: Mapping[str, Any]) -> StudySpec:
    """Check whatever can be checked before data and cluster are touched. Raises StudyError."""
    spec = validated(study.spec, {**values, **NEW_RUN})
    use_given(spec.plugin or ())
    if spec.arms is not None:
        chosen_arms(study, spec.arms)
    model = getattr(spec, "model", None)
    models = (*study.models, *(part.name for part in own_parts() if part.kind == "model"))
    if model is not None and model not in models:
        raise StudyError(f"--model must be one of {', '.join(models)}, got {model!r}{nearest(model, models)}")
    require_place(spec)
    starting_from_lr_range(spec)
    return spec


def resolved(study: Study, values: Mapping[str, Any], *, dataset: str, num_gpus: float) -> StudySpec:
    """The complete spec of these values. dataset: the name or path that was found. Raises StudyError."""
    given = {name: value for name, value in values.items() if value is not None}
    spec = validated(study.spec, given)
    use_given(spec.plugin or ())
    given = {name: getattr(spec, name) for name in given}
    budget = spec.budget or ("standard" if num_gpus else "quick")
    settings = {**preset_of(study, budget, spec), **given, "budget": budget}
    if "grace_epochs" not in given:  # the preset's may be longer than the given trials
        settings["grace_epochs"] = min(settings["grace_epochs"], settings["max_epochs"])
    if "arms" not in given:
        settings["arms"] = (*settings["arms"], *study.own_arms)
    if "retest_default" not in given:  # which a quick study has no time for
        settings["retest_default"] = budget != "quick" or spec.control is not None
    spec = validated(study.spec, settings)
    settings |= {
        **study.defaults(spec, dataset),
        **starting_from_lr_range(spec),
        "arms": chosen_arms(study, spec.arms or ()),
        "dataset": dataset if spec.dataset == "auto" else spec.dataset,
        "name": spec.name or dated_name(study.name, dataset),
        **machine_settings(spec, num_gpus),
        **NEW_RUN,
        "plugin_sources": sources(),
    }
    return validated(study.spec, settings)


def machine_settings(spec: RunSpec, num_gpus: float) -> dict[str, Any]:
    """The CPUs and GPUs of a trial, and the numerics that follow from them."""
    cpus = spec.cpus_per_trial or 1.0
    gpus = spec.gpus_per_trial if spec.gpus_per_trial is not None else (GPU_SHARE if num_gpus else 0.0)
    return {
        "cpus_per_trial": cpus,
        "gpus_per_trial": gpus,
        "numerics": Numerics(precision=_precision(spec, gpus), num_threads=max(1, int(cpus))),
    }


def _precision(spec: RunSpec, gpus: float) -> Precision:
    if spec.precision != "auto":
        return spec.precision
    import torch  # slow to import, and a refused option needs none of it

    if gpus and torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    # With tile units (AMX) bfloat16 trains small_cnn about twice as fast (docs/performance.md).
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)  # not in every build
    return "bfloat16" if not gpus and has_tiles() else "float32"


def dated_name(task: str, dataset: str) -> str:
    """TASK-DATASET-DATE-TIME, which --name would accept; of a long name or path of a data set, its beginning."""
    return bounded_name(f"{task}-", Path(dataset).name or "data", f"-{datetime.datetime.now():%Y%m%d-%H%M%S}")


def bounded_name(start: str, stem: str, end: str = "") -> str:
    """start, stem and end, the stem cut and freed of what no folder's name has, so that --name would accept it."""
    stem = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in stem)
    while len(name := f"{start}{stem}{end}") > MAX_DATED_LENGTH or len(os.fsencode(name)) > MAX_DATED_LENGTH:
        stem = stem[:-1]
    return name


def read_spec(run_dir: Path) -> tuple[Study, StudySpec]:
    """The study and spec of a run directory, also if it was moved; its plugins are in use then. Raises StudyError."""
    values = settings_of(run_dir)
    if values.get("task") == REPRODUCE:
        raise StudyError(f"{run_dir} is a reproduction, not a study: its runs keep no checkpoint to look into")
    if not isinstance(values.get("task"), str):
        raise StudyError(f"{run_dir / SPEC} is damaged: it is not a study's spec")
    study = find_study(values["task"])
    spec = validated(study.spec, values)
    use_kept(run_dir, spec.plugin_sources)
    return study, spec
