"""Heads: the last layer of a model, from features to logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CosineLinear(nn.Module):
    """The cosine of the angle between the features and each class's weight vector; no bias.

    This is NormedLinear in LDAM's code (Cao et al. 2019). forward: float[B, in_features] -> float32[B, out_features]
    in [-1, 1] up to rounding; zero features give zeros. The LDAM loss multiplies the cosines by its scale.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.uniform_(self.weight, -1, 1)
        with torch.no_grad():
            self.weight.copy_(F.normalize(self.weight, dim=1))

    def forward(self, features: Tensor) -> Tensor:
        # Never in bfloat16: LDAM's scale of up to 30 would multiply the rounding error of a cosine.
        with torch.autocast(features.device.type, enabled=False):
            return F.linear(F.normalize(features.float(), dim=1), F.normalize(self.weight, dim=1))


HEADS: dict[str, Callable[[int, int], nn.Module]] = {"linear": nn.Linear, "cosine": CosineLinear}
"""head -> (in_features, out_features) -> module."""
