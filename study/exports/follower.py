"""A process of its own in which a logger works: whatever its package does there, the study does not notice.

It reads trainings from its stdin, a line each, until that ends. Its exit status is 0 if all of them were logged; else
the last line that it says is the reason.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from study.exports.logged import Log, Logger, from_line
from study.exports.mlflow import MlflowLogger
from study.exports.wandb import WandbLogger

LOGGERS: dict[str, Callable[[str], Logger]] = {"mlflow": MlflowLogger, "wandb": WandbLogger}
ORPHAN_SECONDS = 3.0
"""How long it goes on when the study's process was killed."""


def follow(name: str, study: str, record: Path) -> None:
    log = Log(LOGGERS[name](study), record)
    for line in sys.stdin:
        log.update(from_line(line))
    log.close()


def _end_with_the_study(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    time.sleep(ORPHAN_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    os.nice(10)  # what trains comes first
    threading.Thread(target=_end_with_the_study, args=[int(sys.argv[4])], daemon=True).start()
    try:
        follow(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # not by way of what the package does at a process's end
