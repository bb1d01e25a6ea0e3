"""Task, a task as workers see it: its hyperparameters, how a learner is built from them, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError
from torch import Tensor

from trainables.common.plugins import Plugin, use
from trainables.data.types import TestData, TuningData
from trainables.hparams import Hparams
from trainables.training.checkpoints import read_newest_checkpoint
from trainables.training.learner import Learner
from trainables.training.setup import TrialSetup


def whole_images(learner: Learner, images: Tensor) -> tuple[Tensor, int]:
    """The model_inputs of a task whose model takes whole images."""
    return learner.batches.normalised(images), 1


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task as workers see it.

    build_learner(hparams, data, setup): a learner at epoch 0, a function of these alone. validate(learner, data): the
    val_* columns of epochs.parquet after an epoch, without the prefix. test(learner, data, test): columns of
    retests.parquet. metric: the column of epochs.parquet to optimise; score: the column of retests.parquet by which
    arms are judged. warm_start(learner, state, hparams): load another learner's weights. follow(learner, data, test):
    columns of epochs.parquet for each epoch of the retest, to look at and never to choose by. at_end(learner, data):
    columns of epochs.parquet for a trial's last epoch. is_classifier: whether the model predicts classes.
    model_inputs(learner, images): the model's inputs for images, uint8[B, H, W, C] on the learner's device, and
    into how many tiles per side each is cut (1: not cut). plugins: users' parts, which are in use wherever the task is.
    """

    name: str
    hparams: type[Hparams]
    build_learner: Callable[[Any, TuningData, TrialSetup], Learner]
    validate: Callable[[Learner, TuningData], Mapping[str, float]]
    test: Callable[[Learner, TuningData, TestData], Mapping[str, Any]]
    metric: str
    mode: Literal["max", "min"]
    score: str
    warm_start: Callable[[Learner, Mapping[str, Any], Any], None] | None = None
    follow: Callable[[Learner, TuningData, TestData], Mapping[str, float]] | None = None
    at_end: Callable[[Learner, TuningData], Mapping[str, Any]] | None = None
    is_classifier: bool = True
    model_inputs: Callable[[Learner, Tensor], tuple[Tensor, int]] = whole_images
    plugins: tuple[Plugin, ...] = ()

    def learner(
        self,
        hparams: Mapping[str, Any],
        data: TuningData,
        setup: TrialSetup,
        *,
        start_from: str | None = None,
    ) -> Learner:
        """Build a learner at epoch 0. start_from: a checkpoint folder of another learner, whose weights to begin with.

        Raises ValueError, in one sentence, for invalid hparams and if start_from has no intact checkpoint or one of
        another architecture.
        """
        validated = self.validated(hparams)
        learner = self.build_learner(validated, data, setup)
        if start_from is not None:
            assert self.warm_start is not None, f"{self.name} begins from nothing"
            state = read_newest_checkpoint(start_from)
            if state is None:
                raise ValueError(f"there is no intact checkpoint in {start_from} to start from")
            self.warm_start(learner, state["learner"], validated)
        return learner

    def validated(self, hparams: Mapping[str, Any]) -> Hparams:
        """The typed hyperparameters; the task's plugins are in use then. Raises ValueError, in one sentence."""
        use(self.plugins)
        try:
            return self.hparams.model_validate(hparams)
        except ValidationError as error:
            first = error.errors()[0]
            where = "".join(f"{name}: " for name in first["loc"])
            sentence = f"{where}{first['msg'].removeprefix('Value error, ')}"
            raise ValueError(sentence.replace(": Input should be", " must be")) from None
