"""A process that outlives a study by seconds: when the study's own is gone, however it went, it ends what Ray left.

Ray's workers notice the death of their driver by themselves, but one that speaks to Ray's GCS at that moment waits for
it for a minute, as do two agents of Ray's. Run by path, without the study's packages: it starts in milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

MARK = "RAY_TUNE_STUDY_PROCESS"
"""The environment variable by which the processes of a study's Ray are known: its value is the study's own."""
LEAVE_SECONDS = 3.0
KILL_SECONDS = 5.0
_PROCESSES = Path("/proc")  # where there is none, nothing is ended


def start(token: str) -> IO[bytes]:
    """Start a warden; it begins when the pipe that is returned is closed, by its owner or by the owner's death."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, token],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends a whole group of processes does not end this one
        cwd="/",
    )
    assert process.stdin is not None
    return process.stdin


def marks(token: str) -> dict[str, str]:
    """The environment variables with which Ray is started, so that all its processes bear the mark and keep it."""
    # setproctitle writes a process's title over its environment, of which /proc/PID/environ then lacks a random part.
    return {MARK: token, "SPT_NOENV": "1"}


def marked(token: str) -> list[int]:
    """The processes that bear the mark, this one left out."""
    entry = f"{MARK}={token}".encode()
    found = []
    for folder in _PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it is over, or another user's
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


def end_marked(token: str, *, leave_seconds: float = 0.0) -> None:
    """Kill the processes that bear the mark and are still there after these seconds."""
    leave_until = time.monotonic() + leave_seconds
    give_up_at = leave_until + KILL_SECONDS
    while (left := marked(token)) and (now := time.monotonic()) < give_up_at:
        for pid in left if now >= leave_until else []:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end_marked(sys.argv[1], leave_seconds=LEAVE_SECONDS)
