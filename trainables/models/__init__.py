"""Models by name. Each has `features(images)` -> [B, D] and a last layer `head`."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from torch import nn

from trainables.models.heads import HEADS
from trainables.models.resnet_cifar import resnet18, resnet32
from trainables.models.small_cnn import SmallCnn

MIN_IMAGE_SIZE = 16

MODELS: dict[str, Callable[..., nn.Module]] = {
    "small_cnn": SmallCnn,
    "resnet18": resnet18,
    "resnet32": resnet32,
}
"""model -> (*, num_classes, in_channels, image_size, head) -> module."""


def build_model(name: str, *, num_classes: int, in_channels: int, image_size: int, head: str = "linear") -> nn.Module:
    """A freshly initialised model for square images; the caller seeds torch's generator.

    Its forward maps float32[B, in_channels, image_size, image_size] to float32[B, num_classes]: logits with
    the head "linear", cosines in [-1, 1] with "cosine" (what a loss needs: losses.LOSS_HEADS).
    Raises ValueError for an unknown name or head, fewer than 2 classes, channels other than 1 or 3, images
    below 16×16.
    """
    for kind, value, table in (("model", name, list(MODELS)), ("head", head, list(HEADS))):
        if value not in table:
            nearest = difflib.get_close_matches(value, table, n=1, cutoff=0)[0]
            raise ValueError(f"{kind} must be one of {', '.join(table)}, got {value!r}; nearest: {nearest}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    if in_channels not in (1, 3):
        raise ValueError(f"in_channels must be 1 or 3, got {in_channels}")
    if image_size < MIN_IMAGE_SIZE:
        raise ValueError(f"image_size must be at least {MIN_IMAGE_SIZE}, got {image_size}")
    return MODELS[name](num_classes=num_classes, in_channels=in_channels, image_size=image_size, head=head)
