"""The lock of a run directory: one process works on it, and another one is told which."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

from study.core.errors import StudyError, last_line
from study.core.parsing import parse_json
from trainables.common.files import json_bytes
from trainables.common.locks import file_lock

LOCK = ".lock"
OWNER = ".owner"


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Lock the run directory while the block lasts. Raises StudyError if another process works on it.

    The lock is the file system's, and so is gone with the process that held it, however that went.
    """
    lock = file_lock(run_dir / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise StudyError(f"{run_dir} is being worked on by another process{_owner(run_dir)}") from None
    except OSError as error:  # as network file systems do without a lock daemon
        raise StudyError(
            f"{run_dir} cannot be locked ({last_line(error)}): a run needs a file system with locks, such as another "
            "--output-dir on a local disk"
        ) from None
    owner = run_dir / OWNER
    try:
        with contextlib.suppress(OSError):  # the lock holds without it
            owner.write_bytes(json_bytes({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}))
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink()
        lock.release()


def _owner(run_dir: Path) -> str:
    """Who holds the lock, in brackets; empty where that is not known, as in the moment after it was taken."""
    try:
        found = parse_json((run_dir / OWNER).read_text())
        pid, host, since = int(found["pid"]), str(found["host"]), float(found["since"])
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(since))
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return ""
    if host == socket.gethostname() and not _is_alive(pid):  # left by one that was killed
        return ""
    return f" (pid {pid} on {host}, since {at})"


def _is_alive(pid: int) -> bool:
    """Whether there is such a process on this machine, or none can be sought without harm."""
    if os.name != "posix":  # there, a signal of number 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
