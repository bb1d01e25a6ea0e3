"""The inside of a trained model: its layers' feature maps, its first filters, its penultimate features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn

BATCH_SIZE = 250


def feature_maps(model: nn.Module, inputs: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """The outputs of layers for a few inputs: float[B, C, h, w] each, on the CPU, in the order of layers.

    Layers are named as in `map_layers`. Leaves the model in evaluation mode. Raises ValueError for an unknown layer,
    listing the known ones.
    """
    outputs = _outputs(model, inputs)
    for layer in layers:
        if layer not in outputs:
            raise ValueError(f"there is no layer {layer!r} with feature maps; the layers are {', '.join(outputs)}")
    return {layer: outputs[layer] for layer in layers}


def map_layers(model: nn.Module, inputs: Tensor) -> tuple[str, ...]:
    """The modules that output feature maps for these inputs, in the order in which they finish.

    Names are those of named_modules; a module used k times, such as a shared ReLU, is "relu:1" to "relu:k".
    """
    return tuple(_outputs(model, inputs))


def telling_layers(model: nn.Module) -> tuple[str, ...]:
    """The first convolution and the last convolutional stage (the last of model.stages, else the last convolution)."""
    convolutions = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    stages = getattr(model, "stages", None)
    last = convolutions[-1] if stages is None else f"stages.{len(stages) - 1}"
    return tuple(dict.fromkeys((convolutions[0], last)))


def has_convolutions(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d) for module in model.modules())


def first_filters(model: nn.Module) -> tuple[str, Tensor]:
    """(name of the first convolution, its weights, float32[filters, C, k, k] on the CPU)."""
    name = telling_layers(model)[0]
    return name, model.get_submodule(name).get_parameter("weight").detach().float().cpu()


def scaled_by_filter(weights: Tensor) -> Tensor:
    """Scale each filter over all channels so that its weights go from 0 to 1; equal weights become 1/2.

    weights: float[filters, C, k, k]; returns the same shape.
    """
    low, high = weights.amin(dim=(1, 2, 3), keepdim=True), weights.amax(dim=(1, 2, 3), keepdim=True)
    spread = high - low
    return torch.where(spread > 0, (weights - low) / spread.where(spread > 0, 1.0), 0.5)


@torch.inference_mode()
def penultimate_features(model: nn.Module, inputs: Tensor) -> Tensor:
    """The inputs of the head: float32[B, D] on the CPU. inputs: float32[B, C, H, W], on the model's device.

    A user's own model need not have features(): of it, what its last linear layer is given. Leaves the model in
    evaluation mode. Raises ValueError if there is no such layer.
    """
    model.eval()
    features = getattr(model, "features", None)
    if callable(features) and hasattr(model, "head"):
        return torch.cat([features(part).float().cpu() for part in inputs.split(BATCH_SIZE)])
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError("the model has neither features() and a head nor a linear layer: name a layer")
    given: list[Tensor] = []
    hook = linear[-1].register_forward_pre_hook(lambda module, arguments: given.append(arguments[0].float().cpu()))
    try:
        for part in inputs.split(BATCH_SIZE):
            model(part)
    finally:
        hook.remove()
    return torch.cat(given).flatten(1)


@torch.inference_mode()
def layer_outputs(model: nn.Module, inputs: Tensor, layer: str) -> Tensor:
    """What a module, named as in named_modules, puts out, flattened: float32[B, D] on the CPU.

    Of a module that is used more than once, its last use. Leaves the model in evaluation mode. Raises ValueError for a
    module that does not exist, or that puts out no tensor with a row an image.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    if layer not in modules:
        raise ValueError(f"there is no layer {layer!r}; the layers are {', '.join(modules)}")
    seen: list[Tensor] = []

    def keep(module: nn.Module, arguments: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim > 1:
            seen.append(output.detach().float().cpu().flatten(1).clone())

    model.eval()
    hook = modules[layer].register_forward_hook(keep)
    parts = []
    try:
        for part in inputs.split(BATCH_SIZE):
            seen.clear()
            model(part)
            parts += seen[-1:]
    finally:
        hook.remove()
    if sum(map(len, parts)) != len(inputs):
        raise ValueError(f"layer {layer!r} puts out no row of numbers for each image")
    return torch.cat(parts)


@torch.inference_mode()
def _outputs(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    calls: list[tuple[str, Tensor]] = []

    def keep_of(name: str) -> torch.utils.hooks.RemovableHandle:
        def keep(module: nn.Module, arguments: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                # Copied at once, because a following in-place ReLU would overwrite it.
                calls.append((name, output.detach().cpu().clone()))

        return model.get_submodule(name).register_forward_hook(keep)

    model.eval()
    hooks = [keep_of(name) for name, _ in model.named_modules() if name]
    try:
        model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    uses, used = Counter(name for name, _ in calls), Counter[str]()
    outputs = {}
    for name, output in calls:
        used[name] += 1
        outputs[name if uses[name] == 1 else f"{name}:{used[name]}"] = output
    return outputs
