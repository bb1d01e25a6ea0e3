"""Optimisers by name, and their parameter groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

ParamGroups = list[dict[str, Any]]

OPTIMIZERS: dict[str, Callable[[ParamGroups, float, float], torch.optim.Optimizer]] = {
    "sgd": lambda groups, learning_rate, momentum: torch.optim.SGD(
        groups, lr=learning_rate, momentum=momentum, nesterov=momentum > 0
    ),
    "sgd_heavy_ball": lambda groups, learning_rate, momentum: torch.optim.SGD(
        groups, lr=learning_rate, momentum=momentum
    ),
    "adam": lambda groups, learning_rate, momentum: torch.optim.Adam(groups, lr=learning_rate, betas=(momentum, 0.999)),
    "adamw": lambda groups, learning_rate, momentum: torch.optim.AdamW(
        groups, lr=learning_rate, betas=(momentum, 0.999)
    ),
    "rmsprop": lambda groups, learning_rate, momentum: torch.optim.RMSprop(groups, lr=learning_rate, momentum=momentum),
}
"""optimizer -> (parameter groups with their weight_decay, learning_rate, momentum) -> torch's optimiser.

momentum is Nesterov's for sgd, Polyak's for sgd_heavy_ball (torch's default), RMSprop's own, and β1 of Adam and AdamW.
weight_decay is added to the gradient, except in AdamW, which subtracts learning_rate × weight_decay of the weights
themselves (Loshchilov & Hutter 2019).
"""


def decay_groups(
    model: nn.Module,
    weight_decay: float,
    lr_scales: Mapping[str, float] | None = None,
    *,
    decays_everything: bool = False,
) -> ParamGroups:
    """Parameter groups for an optimiser: weight decay on matrices and kernels, or on all if decays_everything.

    lr_scales: layer -> factor of its learning rate (a group's "lr_scale", applied by the learner), 1 for layers not
    named; a layer is a direct child of the model. Raises ValueError for a layer that the model lacks.
    """
    scales = dict(lr_scales or {})
    if unknown := set(scales) - {name for name, _ in model.named_children()}:
        raise ValueError(f"the model has no layer {', '.join(sorted(unknown))}")
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (scales.get(name.partition(".")[0], 1.0), decays_everything or parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0, "lr_scale": lr_scale}
        for (lr_scale, decays), parameters in groups.items()
    ]
