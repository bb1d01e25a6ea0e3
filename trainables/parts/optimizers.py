"""Optimisers by name, and their parameter groups."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

ParamGroups = list[dict[str, Any]]


def _without_compiler(kind: type[Optimizer]) -> Any:
    """kind, whose methods do not import PyTorch's compiler only to tell it to keep out.

    That import takes a process 2 s and 0.15 GB, far more than everything else that an optimiser does first.
    """
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    own: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    own["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), own)


SGD = _without_compiler(torch.optim.SGD)
Adam = _without_compiler(torch.optim.Adam)
AdamW = _without_compiler(torch.optim.AdamW)
RMSprop = _without_compiler(torch.optim.RMSprop)

OPTIMIZERS: dict[str, Callable[[ParamGroups, float, float], Optimizer]] = {
    "sgd": lambda groups, learning_rate, momentum: SGD(
        groups, lr=learning_rate, momentum=momentum, nesterov=momentum > 0
    ),
    "sgd_heavy_ball": lambda groups, learning_rate, momentum: SGD(groups, lr=learning_rate, momentum=momentum),
    "adam": lambda groups, learning_rate, momentum: Adam(groups, lr=learning_rate, betas=(momentum, 0.999)),
    "adamw": lambda groups, learning_rate, momentum: AdamW(groups, lr=learning_rate, betas=(momentum, 0.999)),
    "rmsprop": lambda groups, learning_rate, momentum: RMSprop(groups, lr=learning_rate, momentum=momentum),
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
