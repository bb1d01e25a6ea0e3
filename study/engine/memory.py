"""Trainings that run out of memory: killed by Ray where the machine's is short, or refused by the GPU's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import ray

from study.core.errors import last_line
from study.core.spec import RunSpec
from study.core.text import plural

KILLED_TRIES = 2  # of a training that is alone, and still is killed for want of the machine's memory
REFUSED_TRIES = 1  # of one that is alone, and still gets no more of its device's memory

_USED = re.compile(r"was ([\d.]+) ?GB(?: used)? / ([\d.]+) ?GB")


def killed_for_memory(error: BaseException | None) -> ray.exceptions.OutOfMemoryError | None:
    """The word of Ray's memory monitor among the causes of an error, if it is there.

    Ray Tune takes it for an error of its own, and ends the whole experiment.
    """
    while error is not None and not isinstance(error, ray.exceptions.OutOfMemoryError):
        error = error.__cause__ or error.__context__
    return error


def fewer(num_slots: int) -> int:
    """How many trainings run at once after one was killed: halved, so that few are killed before it is enough."""
    return max(1, num_slots // 2)


def memory_line(error: BaseException, num_slots: int) -> str:
    """What happened, for the console: the memory that was used, what is done, what to change."""
    used = _USED.search(str(error))
    at = f" when the machine used {float(used[1]):.1f} of {float(used[2]):.1f} GB" if used else ""
    return (
        f"memory: Ray ended a training for want of memory{at}; {plural(num_slots, 'training')} at a time from now on "
        f"(--max-concurrent {num_slots} does so from the start; smaller batches or --image-size need less)"
    )


def memory_failure(error: BaseException | str, hparams: Mapping[str, Any], spec: RunSpec) -> str:
    """Why a training failed that had the memory for itself."""
    batch = f"batch size {hparams['batch_size']}, " if "batch_size" in hparams else ""
    share = f"{spec.gpus_per_trial:g} of a GPU" if spec.gpus_per_trial else "no GPU"
    return f"out of memory, also when it trained alone ({batch}{share} a trial): {last_line(error)}"
