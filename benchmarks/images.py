"""Images a second of one trial, beside a bare loop over one batch in memory and beside a DataLoader of PIL images."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.data import tuning_set
from benchmarks.interleave import interleaved, ratios
from benchmarks.loader import as_channels_last, batches
from benchmarks.measured import Measured
from benchmarks.setting import BATCH_SIZE, learner_of, numerics
from trainables.data.types import TuningData
from trainables.tasks.baseline import BASELINE
from trainables.training.checkpoints import write_checkpoint
from trainables.training.learner import Learner
from trainables.training.trial import trial_epoch

AIMS = {"lenet": 0.92, "small_cnn": 0.96, "resnet20": 0.97}
"""Net -> what a trial should reach of the bare loop's speed."""
NUM_BATCHES = {"lenet": 39, "small_cnn": 39, "resnet20": 10}  # an epoch of about 5,000 images; resnet20 is slow
SHARE_OF_LIMIT = 0.9
NUM_WORKERS = (0, 1, 2)
RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4
UNJUDGED = replace(BASELINE, validate=lambda learner, data: {})
"""The task without its validation, which neither of the peers does."""

Batches = Iterable[tuple[Tensor, Tensor]]


def run(*, quick: bool, repeats: int | None, folder: Path) -> list[Measured]:
    torch.set_num_threads(1)
    return [figure for net in AIMS for figure in _beside(net, quick=quick, repeats=repeats, folder=folder)]


def _beside(net: str, *, quick: bool, repeats: int | None, folder: Path) -> list[Measured]:
    num_images = BATCH_SIZE * (1 if quick else NUM_BATCHES[net])
    data = tuning_set(folder, num_images)
    trained = data.images[data.train_indices], data.labels[data.train_indices]
    loaders = {
        f"DataLoader, {workers} workers": batches(
            *trained, batch_size=BATCH_SIZE, num_workers=workers, is_training=True
        )
        for workers in NUM_WORKERS
    }
    learner = _learner(net, data)
    fixed = next(iter(learner.batches.draw(learner.batches.epoch_plan(1), 1)))[:2]
    sides: dict[str, Callable[[], object]] = {
        "one trial": lambda: _epoch(learner, data, folder / "checkpoints" / net),
        "bare loop": _loop(_learner(net, data), lambda: [fixed] * (num_images // BATCH_SIZE)),
        **{
            name: _loop(_learner(net, data), lambda loader=loader: as_channels_last(loader))  # type: ignore[misc]
            for name, loader in loaders.items()
        },
    }
    interleaved(sides, 1)  # warms up: imports of the first step, the loaders' workers
    took = interleaved(sides, repeats or (1 if quick else 5))
    seconds = {name: [one.seconds for one in repeats] for name, repeats in took.items()}
    loader = min(loaders, key=lambda name: statistics.median(seconds[name]))
    limit = statistics.median(ratios(seconds[loader], seconds["bare loop"]))
    detail = {
        "images": num_images,
        "seconds": seconds,
        "cpu_seconds": {name: [one.cpu_seconds for one in repeats] for name, repeats in took.items()},
    }
    return [
        Measured(
            name=f"{net}, images/s of one trial: bare loop",
            values=ratios(seconds["bare loop"], seconds["one trial"]),
            at_least=AIMS[net],
            note=f"{num_images / statistics.median(seconds['one trial']):,.0f} images/s",
            detail=detail,
        ),
        Measured(
            name=f"{net}, images/s of one trial: {loader}",
            values=ratios(seconds[loader], seconds["one trial"]),
            at_least=SHARE_OF_LIMIT * limit,
            note=f"the bare loop: {limit:.2f}",
        ),
    ]


def _learner(net: str, data: TuningData) -> Learner:
    hparams = {"model": net, "learning_rate": RATE, "momentum": MOMENTUM, "weight_decay": DECAY}
    hparams |= {"batch_size": BATCH_SIZE, "augmentation": "crop_flip"}
    return learner_of(hparams, data, num_epochs=1_000)


def _epoch(learner: Learner, data: TuningData, folder: Path) -> None:
    """The whole epoch of a trial in a worker, but for its validation."""
    result = trial_epoch(UNJUDGED, learner, data)
    state = {"learner": learner.state_dict(), "result": json.dumps(result)}
    write_checkpoint(folder, state, epoch=learner.epoch)


def _loop(learner: Learner, epoch: Callable[[], Batches]) -> Callable[[], None]:
    """An epoch of the learner's model in a loop as short as it can be, with an optimiser of its own."""
    model, is_bfloat16 = learner.model, numerics().precision == "bfloat16"
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, weight_decay=DECAY, nesterov=True)

    def loop() -> None:
        model.train()
        for inputs, targets in epoch():
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16):
                logits = model(inputs)
            F.cross_entropy(logits.float(), targets).backward()
            optimizer.step()

    return loop
