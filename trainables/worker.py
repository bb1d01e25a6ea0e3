"""The Ray Trainable of every task: one step = one epoch. With jobs.py, all that knows Ray below the study."""

from __future__ import annotations

import json
import math
from typing import Any, ClassVar

import ray
import torch
from pydantic import BaseModel, ConfigDict
from ray import tune

from trainables.common.files import StorageError
from trainables.common.numerics import Numerics
from trainables.data.types import TuningData
from trainables.jobs import worker_setup
from trainables.training.checkpoints import (
    CheckpointWriter,
    read_newest_checkpoint,
    write_checkpoint,
    written_checkpoint,
)
from trainables.training.learner import Learner, NonFiniteLossError
from trainables.training.task import Task
from trainables.training.trial import trial_epoch

OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)
"""What says that a device or this machine has no more memory: it may have when the trial runs alone."""


class TrialConfig(BaseModel):
    """The configuration that Ray hands to a trial.

    checkpoint_dir: a place as text; a path is absolute, and with several nodes on storage that they share. start_from:
    the checkpoint folder, likewise, of the trial whose weights this one begins with, if any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial_id: str
    seed: int
    num_epochs: int
    checkpoint_dir: str
    start_from: str | None = None
    numerics: Numerics
    hparams: dict[str, Any]


class StudyTrainable(tune.Trainable):
    """Trains the task's learner, one epoch per step, and writes a checkpoint after each (see CheckpointWriter).

    It looks for its own newest intact checkpoint when it starts, so a trial continues where it was, whether Ray
    restarts it after the loss of a worker or a study is resumed. It reports the result of that epoch once more: the
    driver may have died before recording it, and ignores it otherwise.
    """

    task: ClassVar[Task]
    _repeated: dict[str, Any] | None
    _out_of_memory: str | None
    _unreached: StorageError | None

    def setup(self, config: dict[str, Any], data: TuningData) -> None:
        self._data = data
        self._start(TrialConfig.model_validate(config))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._start(TrialConfig.model_validate(new_config))
        return True

    def step(self) -> dict[str, Any]:
        if self._repeated is not None:
            result, self._repeated = self._repeated, None
            return result
        if self._unreached is not None:
            return self._without_storage(self._unreached)
        try:
            if self._out_of_memory is None:
                result = self._train_and_validate()
        except NonFiniteLossError as error:
            return {"epoch": self._learner.epoch + 1, self.task.metric: math.nan, "failure": str(error)}
        except OUT_OF_MEMORY as error:
            self._out_of_memory = str(error)
        if self._out_of_memory is not None:
            self._forget_learner()
            return {self.task.metric: math.nan, "out_of_memory": self._out_of_memory}
        try:
            written = self._checkpoints.write(lambda: self._state(result), epoch=result["epoch"])
        except OSError as error:
            return self._without_storage(error)
        return result if written is None else _with_checkpoint(result, written)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        write_checkpoint(checkpoint_dir, self._state({}), epoch=self._learner.epoch)

    def load_checkpoint(self, checkpoint: Any) -> None:
        state = read_newest_checkpoint(str(checkpoint))
        if state is None:
            raise ValueError(f"no intact checkpoint in {checkpoint}")
        self._learner.load_state_dict(state["learner"])

    def _start(self, trial: TrialConfig) -> None:
        # Ray sets OMP_NUM_THREADS from num_cpus, but PyTorch may still choose another number.
        torch.set_num_threads(trial.numerics.num_threads)
        self._trial, self._repeated, self._out_of_memory, self._unreached = trial, None, None, None
        self._checkpoints = CheckpointWriter(trial.checkpoint_dir, num_epochs=trial.num_epochs)
        try:
            self._learner: Learner = self.task.learner(
                trial.hparams,
                self._data,
                worker_setup(num_epochs=trial.num_epochs, seed=trial.seed, numerics=trial.numerics),
                start_from=trial.start_from,
            )
            self._continue_from(trial.checkpoint_dir)
        except OUT_OF_MEMORY as error:
            self._out_of_memory = str(error)
        except StorageError as error:
            self._unreached = error

    def _continue_from(self, folder: str) -> None:
        state = read_newest_checkpoint(folder)
        if state is not None:
            self._learner.load_state_dict(state["learner"])
            # A checkpoint cannot hold its own checksum, so the result gets it from the checksum file.
            written = written_checkpoint(folder, epoch=self._learner.epoch)
            self._repeated = _with_checkpoint(json.loads(state["result"]), written)

    def _without_storage(self, error: OSError) -> dict[str, Any]:
        return {self.task.metric: math.nan, "no_storage": [error.errno, error.strerror, error.filename]}

    def _forget_learner(self) -> None:
        """Give back what the device still holds: another trial is next."""
        self.__dict__.pop("_learner", None)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _train_and_validate(self) -> dict[str, Any]:
        gpu_ids = ",".join(str(gpu) for gpu in ray.get_gpu_ids()) or None
        return {**trial_epoch(self.task, self._learner, self._data), "gpu_ids": gpu_ids}

    def _state(self, result: dict[str, Any]) -> dict[str, Any]:
        return {"learner": self._learner.state_dict(), "result": json.dumps(result)}


def _with_checkpoint(result: dict[str, Any], written: tuple[str, str]) -> dict[str, Any]:
    name, sha256 = written
    return {**result, "checkpoint": name, "checkpoint_sha256": sha256}


def trainable_class(task: Task) -> type[StudyTrainable]:
    """The task's Trainable class, e.g. ImbalanceTrainable."""
    return type(f"{task.name.capitalize()}Trainable", (StudyTrainable,), {"task": task})
