"""summary.json: what a page needs to know of a study besides its tables."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from study.catalog import Study
from study.cli import command_line
from study.ledger import Ledger, TrialRecord
from study.spec import ImbalanceSpec, StudySpec
from trainables.data.types import ImageDataset, TuningData
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
    ledger: Ledger,
    state: State,
) -> None:
    """All of it is the spec's or the ledger's, but for the time that this process's events took."""
    book = ledger.book
    best = book.winners(spec.arms or (), study.task.metric, study.task.mode)
    last = book.sessions[-1]
    space_arms = last["arm_descriptions"]
    content = {
        "name": spec.name,
        "task": spec.task,
        "state": state,
        "command": book.sessions[0]["command"],
        "resume_command": f"python -m study.resume {spec.run_dir}",
        "dataset": last["dataset"],
        "imbalance": _imbalance(spec),
        "arms": list(spec.arms or ()),
        "control": study.control,
        "arm_descriptions": space_arms,
        "not_retested": _not_retested(ledger, spec, best, state),
        "winners": {arm: _winner(spec, study, trial) for arm, trial in best.items()},
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
            {name: value for name, value in session.items() if name not in {"dataset", "arm_descriptions"}}
            for session in book.sessions
        ],
        "hardware": last["hardware"],
        "versions": last["versions"],
        "commit": last["commit"],
        "numerics": spec.numerics.model_dump() if spec.numerics else {},
        "seed": spec.seed,
        "ledger_milliseconds_per_event": ledger.milliseconds_per_event(),
        "objective": study.task.metric,
    }
    write_json(run_dir / "summary.json", content)


def _imbalance(spec: StudySpec) -> Mapping[str, Any]:
    assert isinstance(spec, ImbalanceSpec)
    return {"kind": spec.imbalance, "ratio": spec.imbalance_ratio, "classes": spec.imbalance_classes}


def _winner(spec: StudySpec, study: Study, trial: TrialRecord) -> dict[str, Any]:
    values = spec.model_dump(mode="json", exclude_none=True)
    kept = ("dataset", "data_root", "imbalance", "imbalance_ratio", "imbalance_classes", "model")
    defaults = {name: field.default for name, field in study.spec.model_fields.items()}
    settings = {name: values[name] for name in kept if str(values[name]) != str(defaults[name])}
    assert spec.numerics is not None
    settings |= {
        "seed": spec.seed,
        "precision": spec.numerics.precision,
        "cpus_per_trial": spec.cpus_per_trial,
        "arms": [trial.arm],
        "trials_per_arm": 1,
        "max_epochs": spec.max_epochs,
        "retest_seeds": spec.retest_seeds,
        "start": trial.params,
    }
    return {
        "trial_id": trial.trial_id,
        "objective": trial.value(study.task.metric),
        "epochs": trial.num_epochs,
        "config": trial.hparams,
        "command": command_line(study, settings),
    }


def _not_retested(ledger: Ledger, spec: StudySpec, best: Mapping[str, TrialRecord], state: State) -> dict[str, str]:
    retested = {row["arm"] for row in ledger.book.retested(best)}
    failures = {row["arm"]: row for row in ledger.book.failed_retests(best)}
    reasons = {}
    for arm in spec.arms or ():
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
