"""Models by name. Each has `features(images)` -> [B, D] and a last layer `head`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from trainables.common.nearest import nearest
from trainables.models.heads import HEADS
from trainables.models.lenet import LeNet
from trainables.models.resnet_cifar import resnet8, resnet9, resnet14, resnet18, resnet20, resnet32, resnet34
from trainables.models.small_cnn import PADDINGS, SmallCnn
from trainables.models.ultranet import UltraNet18

MIN_IMAGE_SIZE = 16

MODELS: dict[str, Callable[..., nn.Module]] = {
    "lenet": LeNet,
    "small_cnn": SmallCnn,
    "resnet9": resnet9,
    "resnet18": resnet18,
    "resnet8blocks": resnet18,  # its name in the source `s0_base`
    "resnet8": resnet8,
    "resnet14": resnet14,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet34": resnet34,
    "ultranet18": UltraNet18,
}
"""model -> (*, num_classes, in_channels, image_size, head, options) -> module.

Only a model's signature says which of the options padding, dropout and drop_path it takes; a user's own may take no
head either, and then has logits alone.
"""


def models_taking(option: str) -> list[str]:
    """The models that take an option of build_model: "padding", "dropout" or "drop_path"."""
    return [name for name, model in MODELS.items() if option in inspect.signature(model).parameters]


def build_model(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    image_size: int,
    head: str = "linear",
    padding: str | None = None,
    dropout: float | None = None,
    drop_path: float | None = None,
) -> nn.Module:
    """Build a freshly initialised model for square images; the caller seeds torch's generator.

    Its forward maps float32[B, in_channels, image_size, image_size] to float32[B, num_classes]: logits with
    the head "linear", cosines in [-1, 1] with "cosine" (losses.Loss says which a loss needs). padding ("same" or
    "valid"), dropout and drop_path (probabilities in [0, 1)): None means the model's default. Raises ValueError for an
    unknown name, head or padding, a probability out of range, an option that the model does not take, fewer than 2
    classes, channels other than 1 or 3, and images below 16×16.
    """
    for kind, value, table in (("model", name, MODELS), ("head", head, HEADS), ("padding", padding, PADDINGS)):
        if value is not None and value not in table:
            raise ValueError(f"{kind} must be one of {', '.join(table)}, got {value!r}{nearest(value, table)}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    if in_channels not in (1, 3):
        raise ValueError(f"in_channels must be 1 or 3, got {in_channels}")
    if image_size < MIN_IMAGE_SIZE:
        raise ValueError(f"image_size must be at least {MIN_IMAGE_SIZE}, got {image_size}")
    for kind, probability in (("dropout", dropout), ("drop_path", drop_path)):
        if probability is not None and not 0 <= probability < 1:
            raise ValueError(f"{kind} must be in [0, 1), got {probability}")
    options = {"padding": padding, "dropout": dropout, "drop_path": drop_path}
    given: dict[str, Any] = {option: value for option, value in options.items() if value is not None}
    for option in given:
        takers = models_taking(option)
        if name not in takers:
            raise ValueError(f"model {name} takes no {option}; the models that do: {', '.join(takers)}")
    makes = MODELS[name]
    if "head" in inspect.signature(makes).parameters:
        given["head"] = head
    elif head != "linear":
        raise ValueError(f"model {name} takes no head, and {head!r} is asked for")
    return makes(num_classes=num_classes, in_channels=in_channels, image_size=image_size, **given)


def num_parameters(name: str, **options: Any) -> int:
    """The number of trainable parameters of build_model(name, **options); no weight is made."""
    with torch.device("meta"):
        model = build_model(name, **options)
    return sum(parameter.numel() for parameter in model.parameters())
