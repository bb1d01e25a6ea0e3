"""One trial's training in plain PyTorch: train an epoch, predict, save and load the state. Needs no Ray."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainables.common.numerics import Numerics
from trainables.common.seeds import derive_seed
from trainables.data.augmentation import Augment, gather_batch, normalise
from trainables.parts.mixing import Prepare, as_they_are
from trainables.parts.samplers import EpochPlan

EVAL_BATCH_SIZE = 1000
"""Images judged at once, at most: as many of 32 x 32 pixels. A larger image counts for more."""


def eval_batch_size(images: Tensor) -> int:
    """How many images, uint8[N, H, W, C], a model judges at once, so that its activations take bounded memory."""
    _, height, width, channels = images.shape
    # A grey image counts as one in colour: after the first layer they are alike.
    values = height * width * max(3, channels)
    return max(1, min(EVAL_BATCH_SIZE, EVAL_BATCH_SIZE * 32 * 32 * 3 // values))


class NonFiniteLossError(RuntimeError):
    """The training loss was NaN or infinite; the message names the epoch and the batch, both from 1."""


@dataclass(frozen=True, kw_only=True)
class Batches:
    """The training images of a trial, resident on its device, and the order in which an epoch draws them.

    images: uint8[N, H, W, C] and labels: int64[N], the whole pool, on the device; train_indices: int64[M], on the
    CPU; plan(epoch, generator) -> EpochPlan over positions 0..M-1; prepare: the last step for an augmented, normalised
    batch, e.g. mixing. What an epoch draws and how it augments is a function of (seed, epoch) alone, so a restored
    trial needs no generator state.
    """

    images: Tensor
    labels: Tensor
    train_indices: Tensor
    plan: Callable[[int, torch.Generator], EpochPlan]
    augment: Augment
    mean: Tensor
    std: Tensor
    seed: int
    prepare: Prepare = as_they_are

    def epoch_plan(self, epoch: int) -> EpochPlan:
        return self.plan(epoch, _generator(self.seed, "order", epoch))

    def draw(self, plan: EpochPlan, epoch: int) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Yield (inputs, targets, loss scale) for each batch; inputs and targets are what prepare returns."""
        generator = _generator(self.seed, "augmentation", epoch)
        indices = self.train_indices[plan.positions]
        start = 0
        for batch_size, loss_scale in zip(plan.batch_sizes, plan.loss_scales.tolist(), strict=True):
            batch = slice(start, start + batch_size)
            start += batch_size
            images = gather_batch(
                self.images,
                indices[batch],
                augment=self.augment,
                generator=generator,
                views=None if plan.views is None else plan.views[batch],
                photometric_strength=plan.photometric_strength,
            )
            labels = self.labels[indices[batch].to(self.labels.device)]
            yield *self.prepare(self.normalised(images), labels, generator), loss_scale

    def normalised(self, images: Tensor) -> Tensor:
        return normalise(images, self.mean, self.std)


@dataclass(frozen=True, kw_only=True)
class EpochSummary:
    epoch: int
    images: int
    train_loss: float
    learning_rate: float
    train_seconds: float


class Learner:
    """A model with its loss, optimiser, schedule and batches.

    loss(outputs, targets, epoch) -> 0-dim tensor; learning_rate(progress in [0, 1)) -> float, multiplied by a
    parameter group's "lr_scale", if any; adjust_logits(logits) -> logits, applied whenever the model predicts;
    begin_epoch(epoch): called in each epoch, also after a resume, once the model is in training mode. Its effect may
    depend only on the epoch and on what state_dict holds.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor, int], Tensor],
        optimizer: torch.optim.Optimizer,
        learning_rate: Callable[[float], float],
        batches: Batches,
        num_epochs: int,
        numerics: Numerics,
        adjust_logits: Callable[[Tensor], Tensor] = lambda logits: logits,
        begin_epoch: Callable[[int], None] = lambda epoch: None,
    ) -> None:
        self.model = model
        self.epoch = 0
        self.num_epochs = num_epochs
        self.batches = batches
        self._loss = loss
        self.optimizer = optimizer
        self._learning_rate = learning_rate
        self._adjust_logits = adjust_logits
        self._begin_epoch = begin_epoch
        self._numerics = numerics

    @property
    def device(self) -> torch.device:
        return self.batches.images.device

    def train_epoch(self) -> EpochSummary:
        """Train on the N images of the next epoch, one step per batch. Raises NonFiniteLossError."""
        started = time.perf_counter()
        epoch = self.epoch + 1
        plan = self.batches.epoch_plan(epoch)
        num_batches = len(plan.batch_sizes)
        learning_rate = math.nan
        losses = []
        self.begin_epoch(epoch)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(derive_seed(self.batches.seed, "model", epoch))  # dropout and the like
            for batch, (inputs, targets, loss_scale) in enumerate(self.batches.draw(plan, epoch)):
                learning_rate = self._learning_rate((epoch - 1 + batch / num_batches) / self.num_epochs)
                losses.append(self.step(inputs, targets, loss_scale, learning_rate=learning_rate, epoch=epoch))
        # One transfer per epoch, not per batch, so that a GPU never waits for the check.
        epoch_losses = torch.stack(losses).double().cpu()
        self._require_finite(epoch_losses, epoch)
        self.epoch = epoch
        return EpochSummary(
            epoch=epoch,
            images=len(plan.positions),
            train_loss=epoch_losses.mean().item(),
            learning_rate=learning_rate,
            train_seconds=time.perf_counter() - started,
        )

    def begin_epoch(self, epoch: int) -> None:
        """Put the model into training mode and apply the changes of this epoch."""
        self.model.train()
        self._begin_epoch(epoch)

    def step(self, inputs: Tensor, targets: Tensor, loss_scale: float, *, learning_rate: float, epoch: int) -> Tensor:
        """Train on one batch. Returns its loss before the step, 0-dim, not multiplied by loss_scale."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("lr_scale", 1.0)
        loss = self._loss(self._outputs(inputs), targets, epoch)
        self.optimizer.zero_grad(set_to_none=True)
        (loss * loss_scale).backward()
        self.optimizer.step()
        return loss.detach()

    @torch.inference_mode()
    def infer(self, inputs: Tensor) -> Tensor:
        """Run the model in evaluation mode. inputs: on the learner's device; returns float32 outputs there."""
        self.model.eval()
        return self._outputs(inputs)

    @torch.inference_mode()
    def predict(self, images: Tensor, indices: Tensor) -> Tensor:
        """The logits of images[indices], without augmentation: float32[len(indices), C] on the learner's device."""
        parts = [
            self.infer(self.batches.normalised(images[part.to(images.device)].to(self.device)))
            for part in indices.split(eval_batch_size(images))
        ]
        return self._adjust_logits(torch.cat(parts))

    def logits(self, inputs: Tensor) -> Tensor:
        """The logits of normalised inputs, as a caller's mode and gradients have it."""
        return self._adjust_logits(self._outputs(inputs))

    def state_dict(self) -> dict[str, Any]:
        """All that a trial needs to continue bit for bit; every random draw is a function of its seed and the epoch."""
        return {
            "epoch": self.epoch,
            "seed": self.batches.seed,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what state_dict returned. Raises ValueError if the state has another seed."""
        if state["seed"] != self.batches.seed:
            raise ValueError(f"a checkpoint of seed {state['seed']} cannot go on with seed {self.batches.seed}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]

    def weights_sha256(self) -> str:
        digest = hashlib.sha256()
        for name, tensor in self.model.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _outputs(self, inputs: Tensor) -> Tensor:
        enabled = self._numerics.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=enabled):
            return self.model(inputs).float()

    @staticmethod
    def _require_finite(losses: Tensor, epoch: int) -> None:
        finite = losses.isfinite()
        if not bool(finite.all()):
            batch = int((~finite).int().argmax())
            raise NonFiniteLossError(
                f"the training loss was {losses[batch].item()} at epoch {epoch}, batch {batch + 1} of {len(losses)}"
            )


def _generator(seed: int, purpose: str, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, purpose, epoch))
