"""From a run to the settings of another study: those of the run, changed as said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.core.errors import StudyError
from study.core.invocation import invocation
from study.core.run_dir import SPEC, settings_of
from study.core.spec import CHOSEN_ONCE, REPRODUCE, StudySpec
from study.tasks.registry import find_study
from study.tasks.study import Study

_OF_THE_RUN = {"task", "name", "start_from_lr_range", *CHOSEN_ONCE}
_OF_THE_TASK = {"arms", "start", "space"}


def task_to_fork(run_dir: Path, task: str | None) -> Study:
    """The study of that task, of the run's own if it is None. Raises StudyError."""
    settings = settings_of(run_dir)
    if settings.get("task") == REPRODUCE:
        raise StudyError(f"{run_dir} is a reproduction, which searched nothing: no study can begin with its trainings")
    return find_study(str(settings.get("task")) if task is None else task)


def fork_values(run_dir: Path, study: Study, given: Mapping[str, Any]) -> dict[str, Any]:
    """The run's settings, replaced by those given; for another task, those that all tasks have. Raises StudyError."""
    settings = settings_of(run_dir)
    known = {name: value for name, value in settings.items() if name not in _OF_THE_RUN}
    if settings["task"] != study.name:
        shared = StudySpec.model_fields.keys() - _OF_THE_TASK
        known = {name: value for name, value in known.items() if name in shared}
    if "address" in given:
        known.pop("insecure_cluster", None)  # said of another cluster
    values = {**known, **given}
    if (values.get("searches") or 1) > 1:
        raise StudyError(
            f"--searches is {values['searches']}, and searches that begin with the same trials would not tell the luck "
            f"of a search: give --searches 1, or begin a study without them by {invocation('study.run')} {study.name} "
            f"--spec {run_dir / SPEC}"
        )
    return values
