"""summary.json: what a page needs to know of a study besides its tables."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from study.catalog import Study
from study.cli import command_line
from study.ledger import Book, Ledger, TrialRecord
from study.spec import StudySpec
from study.stage import Stage
from trainables.data.types import ImageDataset, TuningData
from trainables.evaluation import TAUS
from trainables.files import write_durably

State = Literal["running", "interrupted", "complete"]
_PACKAGES = ("ray", "torch", "torchvision", "optuna", "numpy", "pyarrow", "scikit-learn", "matplotlib")


def write_json(path: Path, content: Any) -> None:
    """Indented, and durably."""
    write_durably(path, (json.dumps(content, indent=2) + "\n").encode())


def describe_dataset(dataset: ImageDataset, data: TuningData) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "origin": dataset.origin,
        "fingerprint": data.fingerprint,
        "num_classes": data.num_classes,
        "class_names": list(data.class_names),
        "class_counts": data.class_counts.tolist(),
        "num_train": data.num_train,
        "num_val": len(data.val_indices),
        "num_test": len(dataset.test_labels),
        "image_size": dataset.train_images.shape[1],
        "channels": dataset.train_images.shape[3],
        "superclass_names": list(data.superclass_names) if data.superclass_names else None,
        "superclass_of": list(data.superclass_of) if data.superclass_of else None,
    }


def describe_machine(*, cpus: float, gpus: float) -> dict[str, Any]:
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "cpu": _processor(),
        "cpus": cpus,
        "gpus": names or ([f"{gpus:g} (Ray's count)"] if gpus else []),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
    }


def describe_versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _PACKAGES}}


def git_commit() -> str | None:
    """The project's commit, '+ changes' where the tree differs from it; None outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + (" + changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def write_summary(
    run_dir: Path,
    *,
    spec: StudySpec,
    study: Study,
    stages: Sequence[Stage],
    ledger: Ledger,
    state: State,
) -> None:
    """All of it is the spec's or the ledger's, but for the time that this process's events took."""
    book = ledger.book
    last = book.sessions[-1]
    main = stages[-1]
    content = {
        "name": spec.name,
        "task": spec.task,
        "state": state,
        "command": book.sessions[0]["command"],
        "resume_command": f"python -m study.resume {spec.run_dir}",
        "dataset": last["dataset"],
        "setting": study.setting(spec),
        "arms": list(main.arms),
        "groups": [{"title": g.title, "control": g.control, "arms": list(g.arms)} for g in main.groups],
        "stages": [_stage(stage) for stage in stages],
        "arm_descriptions": {arm: stage.space.arms[arm].description for stage in stages for arm in stage.arms},
        "not_retested": {arm: why for stage in stages for arm, why in _not_retested(ledger, stage, state).items()},
        "winners": {
            arm: _winner(spec, study, stage, trial, book)
            for stage in stages
            for arm, trial in stage.winners(book).items()
        },
        "budget": {
            "name": spec.budget,
            "trials_per_arm": spec.trials_per_arm,
            "max_epochs": spec.max_epochs,
            "grace_epochs": spec.grace_epochs,
            "reduction_factor": spec.reduction_factor,
            "searcher": spec.searcher,
            "retest_seeds": spec.retest_seeds,
            "time_budget": spec.time_budget,
        },
        "sessions": [
            {name: value for name, value in session.items() if name != "dataset"} for session in book.sessions
        ],
        "hardware": last["hardware"],
        "versions": last["versions"],
        "commit": last["commit"],
        "numerics": spec.numerics.model_dump() if spec.numerics else {},
        "seed": spec.seed,
        "ledger_milliseconds_per_event": ledger.milliseconds_per_event(),
        "objective": main.task.metric,
        "score": main.task.score,
        "taus": list(TAUS) if main.task.at_end is not None else None,
    }
    write_json(run_dir / "summary.json", content)


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "arms": list(stage.arms),
        "objective": stage.task.metric,
        "mode": stage.task.mode,
        "trials_per_arm": stage.trials_per_arm,
        "max_epochs": stage.max_epochs,
        "epochs_of": {arm: stage.num_epochs(arm) for arm in stage.arms},
    }


def _winner(spec: StudySpec, study: Study, stage: Stage, trial: TrialRecord, book: Book) -> dict[str, Any]:
    return {
        "trial_id": trial.trial_id,
        "objective": trial.value(stage.task.metric),
        "epochs": trial.num_epochs,
        "config": trial.hparams,
        "command": command_line(study, _settings_of(spec, study, stage, trial, book)),
    }


# Groups of options that say what a study is about: a winner's command repeats those that are not the default.
_TOPICS = frozenset({"data", "imbalance", "jigsaw"})
_NOT_REPEATED = frozenset({"download", "pretext_trials"})


def _settings_of(spec: StudySpec, study: Study, stage: Stage, trial: TrialRecord, book: Book) -> dict[str, Any]:
    """The settings of a study that trains this winner alone, and the one whose weights it begins with."""
    fields = study.spec.model_fields
    kept = [
        name
        for name, field in fields.items()
        if (isinstance(field.json_schema_extra, dict) and field.json_schema_extra["group"] in _TOPICS)
        or name in {"model", "padding"}
    ]
    values = spec.model_dump(mode="json", exclude_none=True)
    settings = {
        name: values[name]
        for name in kept
        if name in values and name not in _NOT_REPEATED and str(values[name]) != str(fields[name].default)
    }
    assert spec.numerics is not None
    start = dict(trial.params)
    arm = trial.arm
    factors = stage.space.arms[trial.arm].factors
    if stage.is_followed or "initialisation" in factors:
        # The arms of --arms are initialisations: each stands for an arm a share of the labels.
        start = {f"{trial.arm}.{knob}": value for knob, value in start.items()}
        arm = factors.get("initialisation", "jigsaw")
        settings |= {"pretext_trials": 1}
        if "label_fraction" in factors:
            settings |= {"label_fractions": [factors["label_fraction"]]}
    if trial.arm in stage.warm_arms and stage.before is not None:
        for before in stage.before.winners(book).values():
            start |= {f"{before.arm}.{knob}": value for knob, value in before.params.items()}
    return settings | {
        "seed": spec.seed,
        "precision": spec.numerics.precision,
        "cpus_per_trial": spec.cpus_per_trial,
        "arms": [arm],
        "trials_per_arm": 1,
        "max_epochs": spec.max_epochs,
        "retest_seeds": spec.retest_seeds,
        "start": start,
    }


def _not_retested(ledger: Ledger, stage: Stage, state: State) -> dict[str, str]:
    best = stage.winners(ledger.book)
    retested = {row["arm"] for row in ledger.book.retested(best)}
    failures = {row["arm"]: row for row in ledger.book.failed_retests(best)}
    reasons = {}
    for arm in stage.arms:
        if arm not in best:
            over = state == "complete"
            reasons[arm] = "no trial ran to its last epoch" if over else "no trial has run to its last epoch yet"
        elif arm in failures:
            reasons[arm] = f"its winner failed on seed {failures[arm]['seed']}: {failures[arm]['message']}"
        elif arm not in retested:
            reasons[arm] = "the study was interrupted before its retest"
    return reasons


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git(folder: Path, *words: str) -> str:
    result = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return result.stdout.strip()
