"""A training rehearsed: real steps, a validation, a save and a restore, to see that it trains and what it costs.

It reads no test image.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.data.types import TuningData
from trainables.training.checkpoints import read_newest_checkpoint, write_checkpoint
from trainables.training.learner import Learner
from trainables.training.setup import TrialSetup
from trainables.training.task import Task

MOST_VALIDATED = 512  # images; the time of all of them follows from these
STEPS_SECONDS = 0.15  # of measured steps, after which no further one is taken


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """A duration: by the clock, and of the processor, which other work on the machine does not lengthen."""

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(wall=self.wall + other.wall, cpu=self.cpu + other.cpu)

    def __mul__(self, factor: float) -> Seconds:
        return Seconds(wall=self.wall * factor, cpu=self.cpu * factor)

    @property
    def of_processor(self) -> Seconds:
        """The duration if the processor did nothing else."""
        return Seconds(wall=self.cpu, cpu=self.cpu)


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What a training costs. build: its learner; image: an image trained on; val_image: an image validated on.

    save: a checkpoint and the hash of the weights, after each epoch. num_images: those that an epoch draws.
    checkpoint_bytes, model_bytes: a checkpoint, and the model's share of it.
    """

    build: Seconds
    image: Seconds
    val_image: Seconds
    save: Seconds
    num_images: int
    checkpoint_bytes: int
    model_bytes: int


def rehearse(
    task: Task,
    hparams: Mapping[str, Any],
    data: TuningData,
    setup: TrialSetup,
    *,
    folder: Path,
    start_from: str | None = None,
) -> Rehearsal:
    """Build the learner, take steps of its first epoch and one of its last, validate, write a checkpoint, restore it.

    folder: where the checkpoint is written. start_from: a checkpoint folder whose weights it begins with. Raises
    ValueError if the training is refused, its numbers are not finite, or what is restored is not what was saved;
    MemoryError or torch.OutOfMemoryError if there is no memory for it; whatever else a part of it raises.
    """
    build: list[Seconds] = []
    with _timed(build, setup.device):
        learner = task.learner(hparams, data, setup, start_from=start_from)
    num_images = len(learner.batches.epoch_plan(1).positions)
    image = _image_seconds(learner, task.validated(hparams).learning_rate)
    checked = replace(data, val_indices=_evenly(data.val_indices, MOST_VALIDATED))
    validation: list[Seconds] = []
    with _timed(validation, setup.device):
        task.validate(learner, checked)
    saving: list[Seconds] = []
    with _timed(saving, setup.device):
        state = {"learner": learner.state_dict(), "result": json.dumps({})}
        name, _ = write_checkpoint(folder, state, epoch=1)
        weights = learner.weights_sha256()
    restored = task.learner(hparams, data, setup, start_from=start_from)
    kept = read_newest_checkpoint(folder)
    if kept is None:
        raise ValueError(f"its checkpoint in {folder} cannot be read again")
    restored.load_state_dict(kept["learner"])
    if restored.weights_sha256() != weights:
        raise ValueError("its weights are not those that were saved, once they are restored")
    return Rehearsal(
        build=build[0],
        image=image,
        val_image=validation[0] * (1 / max(1, len(checked.val_indices))),
        save=saving[0],
        num_images=num_images,
        checkpoint_bytes=(folder / name).stat().st_size,
        model_bytes=sum(tensor.nbytes for tensor in learner.model.state_dict().values()),
    )


def _image_seconds(learner: Learner, learning_rate: float) -> Seconds:
    """Take a step of the last epoch and one of the first, then measure. Returns the time of an image of the first.

    A late phase must train too. Both steps are at the full learning rate, without warm-up; further steps only measure
    and change no weights, so that whether it trains does not hang on how quick the machine is.
    """
    spent: list[Seconds] = []
    num_images = 0
    with torch.random.fork_rng(devices=[learner.device] if learner.device.type == "cuda" else []):
        for epoch, most in ((learner.num_epochs, 1), (1, None)):
            spent, num_images = [], 0
            learner.begin_epoch(epoch)
            plan = learner.batches.epoch_plan(epoch)
            batches = learner.batches.draw(plan, epoch)
            for step, size in enumerate(plan.batch_sizes[:most]):
                with _timed(spent, learner.device):
                    inputs, targets, loss_scale = next(batches)
                    rate = 0.0 if step else learning_rate
                    loss = learner.step(inputs, targets, loss_scale, learning_rate=rate, epoch=epoch)
                if not step and not bool(loss.isfinite()):
                    raise ValueError(f"the training loss was {loss.item()} in the first steps")
                num_images += size
                if sum(seconds.wall for seconds in spent) > STEPS_SECONDS:
                    break
    if not all(bool(parameter.isfinite().all()) for parameter in learner.model.parameters()):
        raise ValueError("the weights were not finite after two steps")
    return sum(spent, Seconds()) * (1 / num_images)


@contextlib.contextmanager
def _timed(found: list[Seconds], device: torch.device) -> Iterator[None]:
    """Append the block's duration to found."""
    started = time.perf_counter(), time.process_time()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    found.append(Seconds(wall=time.perf_counter() - started[0], cpu=time.process_time() - started[1]))


def _evenly(indices: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the indices, evenly spaced, so that each class keeps its share of sorted ones."""
    return indices[:: max(1, -(-len(indices) // most))]
