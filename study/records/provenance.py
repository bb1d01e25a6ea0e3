"""The provenance of a result: data set, machine, versions, commit."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from study.core.errors import StudyError
from study.core.ledger import Book
from study.core.run_dir import resume_command
from trainables.data.types import ImageDataset, TuningData

SOURCE = "source"
"""The project's own among the versions."""
ALLOW_CHANGED = "--allow-changed"
_PROJECT = Path(__file__).resolve().parents[2]
_DECISIVE = ("trainables", "search_spaces", "study/core", "study/engine", "study/tasks", "study/reproduction/recipes")
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
        "num_available": len(data.labels) - len(data.val_indices),
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
    import torch  # slow to import

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "cpu": _processor(),
        "cpus": cpus,
        "gpus": names or ([f"{gpus:g} (Ray's count)"] if gpus else []),
        "memory_gb": _memory_gb(),
    }


def describe_versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **packages, SOURCE: source_fingerprint()}


@cache
def source_fingerprint(project: Path = _PROJECT) -> str:
    """The beginning of the SHA-256 of all source that trainings and decisions follow from; pages are no part of it."""
    found = hashlib.sha256()
    for package in _DECISIVE:
        for path in sorted((project / package).rglob("*.py")):
            found.update(f"{path.relative_to(project).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()[:12]


def require_same_source(run_dir: Path, book: Book, *, allow_changed: bool) -> str | None:
    """A remark where the source is not that of the session before, if that is allowed. Raises StudyError if not.

    Sessions of before did not record it.
    """
    before = [session.get("versions", {}).get(SOURCE) for session in book.sessions]
    known, now = next((source for source in reversed(before) if source), None), source_fingerprint()
    if known in {None, now}:
        return None
    changed = f"the program has changed since {run_dir} was worked on (source {now}, was {known})"
    if not allow_changed:
        raise StudyError(
            f"{changed}: what is trained now may differ from what is recorded; to go on all the same: "
            f"{resume_command(run_dir)} {ALLOW_CHANGED}"
        )
    return changed


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
