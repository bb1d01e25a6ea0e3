"""A trained model with its preprocessing, for use outside of the study."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from trainables.data.augmentation import normalise
from trainables.training.learner import Learner


class Predictor(nn.Module):
    """uint8[B, H, W, C] images, as they are stored -> float32[B, num_classes], the logits by which the arm is judged.

    It normalises as the training did, and applies what the loss or a post-hoc adjustment does to the model's outputs.
    class_names: by index of the logits.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, learner: Learner, class_names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = learner.model
        self.class_names = class_names
        self.register_buffer("mean", learner.batches.mean)
        self.register_buffer("std", learner.batches.std)
        self._logits: Callable[[Tensor], Tensor] = learner.logits
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise ValueError(f"images must be uint8[B, H, W, C], got {images.dtype}{list(images.shape)}")
        return self._logits(normalise(images.contiguous(), self.mean, self.std))
