"""Locks between processes, which the operating system takes back when the process that holds one is gone."""

from __future__ import annotations

from pathlib import Path

import filelock


def file_lock(path: Path) -> filelock.BaseFileLock:
    """A lock on a file. Its acquire raises filelock.Timeout, or another OSError where the file system has no locks.

    There, filelock would take the file's existence for a lock, which outlives a killed process on another host.
    """
    return filelock.FileLock(path, fallback_to_soft=False)
