"""The learning-rate range test: the loss while the learning rate rises step by step. Needs no Ray.

Smith 2017, "Cyclical learning rates for training neural networks"; smoothing and stopping rule are those of fastai.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from trainables.common.seeds import derive_seed
from trainables.training.learner import Learner

Schedule = Literal["exponential", "linear"]
SCHEDULES: tuple[str, ...] = get_args(Schedule)
MIN_STEPS = 10
DIVERGED = 4.0  # times the lowest smoothed loss so far
HALF_OCTAVE = math.log(2) / 2


@dataclass(frozen=True, kw_only=True)
class LrRangeSettings:
    """The rise of the learning rate: from min_lr in the first of num_steps steps to max_lr in the last.

    smoothing: the weight of the past in the smoothed loss; 0 leaves the loss unchanged. Smoothing makes the loss lag,
    so suggestions are about smoothing / (1 - smoothing) steps late. Raises ValueError naming the field.
    """

    schedule: Schedule = "exponential"
    num_steps: int = 300
    min_lr: float = 1e-6
    max_lr: float = 1.0
    smoothing: float = 0.9

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")
        if self.num_steps < MIN_STEPS:
            raise ValueError(f"num_steps must be at least {MIN_STEPS}, got {self.num_steps}")
        if not 0 < self.min_lr < math.inf:
            raise ValueError(f"min_lr must be above 0 and finite, got {self.min_lr}")
        if not self.min_lr < self.max_lr < math.inf:
            raise ValueError(f"max_lr must be above min_lr ({self.min_lr:g}) and finite, got {self.max_lr:g}")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing must be in [0, 1), got {self.smoothing:g}")

    def learning_rates(self) -> list[float]:
        spaced = np.geomspace if self.schedule == "exponential" else np.linspace
        return spaced(self.min_lr, self.max_lr, self.num_steps).tolist()  # type: ignore[operator]


@dataclass(frozen=True, kw_only=True)
class LrRange:
    """The result of a range test. learning_rates, losses and smoothed_losses have one value per step taken.

    losses[k]: the loss of step k's batch, before that step with learning_rates[k]. divergence_step: the step, from 1,
    whose loss was not finite or whose smoothed loss was above 4 times the lowest; it is the last step. steepest_descent
    and tenth_of_minimum: the suggested learning rates, None if the loss never fell.
    """

    settings: LrRangeSettings
    learning_rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed_losses: tuple[float, ...]
    divergence_step: int | None
    steepest_descent: float | None
    tenth_of_minimum: float | None


def lr_range(learner: Learner, settings: LrRangeSettings) -> LrRange:
    """Train for up to settings.num_steps steps, each at its learning rate, then restore everything, bit for bit.

    Restored are the weights and statistics, the optimiser's state, the modules' modes and torch's random state. What
    depends on the epoch, such as a late re-weighting, is as in the learner's next epoch in all steps.
    """
    rates = settings.learning_rates()
    losses: list[float] = []
    smooth: list[float] = []
    divergence_step = None
    with _put_back(learner):
        for step, (loss, smoothed_loss) in enumerate(smoothed(_losses(learner, rates), settings.smoothing), start=1):
            losses.append(loss)
            smooth.append(smoothed_loss)
            if not math.isfinite(smoothed_loss) or smoothed_loss > DIVERGED * min(smooth):
                divergence_step = step
                break
    rates = rates[: len(losses)]
    return LrRange(
        settings=settings,
        learning_rates=tuple(rates),
        losses=tuple(losses),
        smoothed_losses=tuple(smooth),
        divergence_step=divergence_step,
        steepest_descent=steepest_descent(rates, smooth),
        tenth_of_minimum=tenth_of_minimum(rates, smooth),
    )


def smoothed(losses: Iterable[float], smoothing: float) -> Iterator[tuple[float, float]]:
    """Yield (loss, smoothed loss) per step: an exponential moving average from 0, divided by its weight so far.

    average_k = smoothing × average_(k-1) + (1 - smoothing) × loss_k; smoothed_k = average_k / (1 - smoothing^k), as
    Adam corrects its bias (Kingma & Ba 2015, section 3), so that the first smoothed loss is the first loss.
    """
    average = 0.0
    for number, loss in enumerate(losses, start=1):
        average = smoothing * average + (1 - smoothing) * loss
        yield loss, average / (1 - smoothing**number)


def steepest_descent(learning_rates: Sequence[float], smoothed_losses: Sequence[float]) -> float | None:
    """The rate at which the smoothed loss falls fastest over the logarithm of the rate; None if it never falls.

    A slope is taken over an octave, from √½ to √2 times the rate: between neighbouring steps of a linear rise, which
    almost coincide on a logarithmic scale, it would be noise. A fifth of the steps at the start, up to 10, and a tenth
    at the end, up to 5, are left out: the average is of few losses there, or the loss diverges. So are the steps after
    the lowest loss: a fall after a spike is no progress.
    """
    losses = np.array(smoothed_losses)
    num_steps = len(losses)
    lowest = _lowest(losses)
    first, last = min(10, num_steps // 5), min(num_steps - min(5, num_steps // 10), lowest + 1)
    if last - first < 1 or lowest == 0:
        return None
    is_finite = np.isfinite(losses)  # only the last may be non-finite
    places, losses = np.log(learning_rates)[is_finite], losses[is_finite]
    above, below = (np.interp(places[first:last] + side, places, losses) for side in (HALF_OCTAVE, -HALF_OCTAVE))
    slopes = above - below
    steepest = int(slopes.argmin())
    return float(learning_rates[first + steepest]) if slopes[steepest] < 0 else None


def tenth_of_minimum(learning_rates: Sequence[float], smoothed_losses: Sequence[float]) -> float | None:
    """A tenth of the rate at the lowest smoothed loss; None if that is the first loss."""
    lowest = _lowest(np.array(smoothed_losses))
    return float(learning_rates[lowest]) / 10 if lowest > 0 else None


def _lowest(losses: np.ndarray) -> int:
    return int(np.where(np.isfinite(losses), losses, np.inf).argmin())


def _losses(learner: Learner, learning_rates: Iterable[float]) -> Iterator[float]:
    """Take a step at each of the rates and yield its loss, as Learner.train_epoch does."""
    epoch = learner.epoch + 1
    learner.begin_epoch(epoch)
    for learning_rate, (inputs, targets, loss_scale) in zip(learning_rates, _batches(learner, epoch), strict=False):
        yield learner.step(inputs, targets, loss_scale, learning_rate=learning_rate, epoch=epoch).item()


def _batches(learner: Learner, epoch: int) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Yield the batches of the learner's next epoch, then of further epochs in other orders, endlessly."""
    batches = learner.batches
    for number in itertools.count(epoch):
        torch.manual_seed(derive_seed(batches.seed, "model", number))
        order = torch.Generator().manual_seed(derive_seed(batches.seed, "order", number))
        yield from batches.draw(batches.plan(epoch, order), number)


@contextlib.contextmanager
def _put_back(learner: Learner) -> Iterator[None]:
    """Undo, after the block, its changes to the model, the optimiser and torch's random state."""
    model, optimizer = learner.model, learner.optimizer
    tensors = [*model.parameters(), *model.buffers()]
    values = [tensor.detach().clone() for tensor in tensors]
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    state = copy.deepcopy(optimizer.state_dict())
    try:
        with torch.random.fork_rng(devices=[learner.device] if learner.device.type == "cuda" else []):
            yield
    finally:
        optimizer.zero_grad(set_to_none=True)
        optimizer.load_state_dict(state)
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)
        for parameter, requires_grad in trained:
            parameter.requires_grad_(requires_grad)
        for module, mode in modes:
            module.training = mode
