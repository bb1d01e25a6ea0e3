"""How much memory there is, how much this process took, and sizes in words."""

from __future__ import annotations

import contextlib
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
OWN = Path("/proc/self")
# (the limit, what is used of it with its caches, the share of the caches that is given up on demand), version 2 and 1.
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)


def available_memory() -> int | None:
    """The bytes that this process may still use: of the machine, and of its container; None if nothing says."""
    found = [_of_machine(), *(_of_cgroup(*(Path(file) for file in files)) for files in CGROUPS)]
    return min((num_bytes for num_bytes in found if num_bytes is not None), default=None)


def forget_peak_memory() -> None:
    """Let peak_memory begin anew, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        (OWN / "clear_refs").write_text("5")


def peak_memory() -> int | None:
    """The most bytes that this process has had in memory, since forget_peak_memory or ever; None if nothing says."""
    kibibytes = _entry(OWN / "status", "VmHWM:")
    return None if kibibytes is None else 1024 * kibibytes


def bytes_text(num_bytes: float) -> str:
    """A number of bytes as text: '0.4 MB', '12 MB', '3.1 GB'."""
    if num_bytes >= 999.5e6:
        return f"{num_bytes / 1e9:,.1f} GB"
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes >= 9.95e6 else f"{num_bytes / 1e6:.1f} MB"


def _of_machine() -> int | None:
    kibibytes = _entry(MEMINFO, "MemAvailable:")
    return None if kibibytes is None else 1024 * kibibytes


def _of_cgroup(limit: Path, usage: Path, stat: Path) -> int | None:
    try:
        allowed, used = int(limit.read_text()), int(usage.read_text())
    except (OSError, ValueError):  # there is none, or its limit is "max"
        return None
    return max(0, allowed - used + (_entry(stat, "inactive_file") or 0))


def _entry(file: Path, name: str) -> int | None:
    """The number after a name at the beginning of a line; None if there is none."""
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
        return next((int(words[1]) for words in lines if words[0] == name), None)
    except (OSError, ValueError, IndexError):
        return None
