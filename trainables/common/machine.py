"""What this process may use of its machine, which may be less than the machine has."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cpus(root: Path = Path("/")) -> int:
    """The CPUs of this process's affinity, or fewer by a quota of its control groups (containers); at least 1.

    root: where /proc and /sys lie, for tests.
    """
    cpus: float = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([cpus, *_quotas(root)])))


def _quotas(root: Path) -> list[float]:
    """The CPUs that each control group above this process allows, of both versions; none outside of Linux."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Version 2 has no controllers here, and all of them in one tree. In a container a path may begin at its own
        # group or at the machine's; its own group is at the top of the tree in the second case.
        tree = root / "sys/fs/cgroup" / controllers
        group = tree / path.lstrip("/")
        for folder in (group, *group.parents):
            if (quota := _quota(folder)) is not None:
                quotas.append(quota)
            if folder == tree:
                break
    return quotas


def _quota(folder: Path) -> float | None:
    """The CPUs that this control group allows, or None if it sets no limit."""
    try:
        if (folder / "cpu.max").exists():
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if int(limit) > 0 else None  # "max" is no number, and -1 no limit
    except (OSError, ValueError, ZeroDivisionError):
        return None
