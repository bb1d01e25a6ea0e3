"""The provenance of a result: data set, machine, versions, commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.data.types import ImageDataset, TuningData

_PACKAGES = ("ray", "torch", "torchvision", "optuna", "numpy", "pyarrow", "scikit-learn", "matplotlib")


def describe_dataset(dataset: ImageDataset, data: TuningData) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "origin": dataset.origin,
        "remarks": list(dataset.remarks),
        "fingerprint": data.fingerprint,
        "num_classes": data.num_classes,
        "class_names": list(data.class_names),
        "class_counts": data.class_counts.tolist(),
        "num_train": data.num_train,
        "num_val": len(data.val_indices),
        "val_counts": np.bincount(data.labels[data.val_indices], minlength=data.num_classes).tolist(),
        "val_is_own": dataset.val_indices is not None,
        "num_test": len(dataset.test_labels),
        "image_size": dataset.train_images.shape[1],
        "channels": dataset.train_images.shape[3],
        "superclass_names": list(data.superclass_names) if data.superclass_names else None,
        "superclass_of": list(data.superclass_of) if data.superclass_of else None,
    }


def data_lines(dataset: ImageDataset) -> list[str]:
    """What the console says about a data set: where it came from, each remark, and what became of its copy."""
    return [f"data: {dataset.origin}", *(f"note: {remark}" for remark in (*dataset.remarks, *dataset.notices))]


def describe_machine(*, cpus: float, gpus: float) -> dict[str, Any]:
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "cpu": _processor(),
        "cpus": cpus,
        "gpus": names or ([f"{gpus:g} (Ray's count)"] if gpus else []),
        "memory_gb": _memory_gb(),
    }


def describe_versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _PACKAGES}}


def git_commit() -> str | None:
    """The project's commit, followed by ' + changes' if tracked files differ from it; None outside its own checkout.

    Another project's repository may lie around an installed package, and another repository be named by GIT_DIR.
    """
    file = Path(__file__).resolve()
    project = file.parents[2]
    try:
        if Path(_git(project, "rev-parse", "--show-toplevel")).resolve() != project:
            return None
        _git(project, "ls-files", "--error-unmatch", str(file))
        commit = _git(project, "rev-parse", "HEAD")
        return commit + (" + changes" if _git(project, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _memory_gb() -> float | None:
    """The machine's memory; None where the system does not say, as Windows does not in this way."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, OSError, ValueError):  # no sysconf, or not these names
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git(folder: Path, *words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    result = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, env=environment
    )
    return result.stdout.strip()
