"""Sides that are processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

from study.core.errors import StudyError


def output_of(*words: str) -> str:
    """What python WORDS says on stdout. Raises StudyError if it fails.

    Ray's workers do not yield to other work there: it slows those of the peers that have no Ray likewise.
    """
    environment = {**os.environ, "RAY_worker_niceness": "0"}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise StudyError(f"python {' '.join(words)[:200]} ended with status {done.returncode}: {said}")
    return done.stdout
