"""What a plugin, a user's own file, registers parts with: decorators that put them into the project's tables.

A decorator returns the function as it is; where the file is imported and not given by --plugin, it does nothing else.
examples/my_parts.py has one of each kind.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from trainables.common.plugins import OwnPart, PluginError, own_parts, put, register
from trainables.data import augmentation as augmentations
from trainables.data.sources import SOURCES, Source
from trainables.data.types import DataError, ImageDataset, TuningData
from trainables.hparams import RecipeHparams, TransferHparams
from trainables.models import MODELS
from trainables.parts import contracts
from trainables.parts.class_weights import CLASS_WEIGHTINGS, ClassWeighting
from trainables.parts.losses import LOSSES, Loss
from trainables.parts.mixing import MIXINGS, Mixing
from trainables.parts.optimizers import OPTIMIZERS, ParamGroups
from trainables.parts.part import OWN_KNOBS, OwnKnob
from trainables.parts.samplers import SAMPLERS, Sampler
from trainables.parts.schedules import SCHEDULES, Schedule
from trainables.training.metrics import OWN_METRICS

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]


def hyperparameter(
    name: str,
    kind: type = float,
    *,
    example: Any,
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
) -> None:
    """A hyperparameter that an own part needs, None where it is inactive. example: what the part is checked with.

    gt, ge, lt, le: limits of what is possible; what is searched is the arm's. Losses read those of kind float alone.
    """
    if name in RecipeHparams.model_fields or name in TransferHparams.model_fields:
        raise PluginError(f"the hyperparameter {name!r} is one of the project's own: choose another name")
    limits = {rule: limit for rule, limit in {"gt": gt, "ge": ge, "lt": lt, "le": le}.items() if limit is not None}
    knob = OwnKnob(name=name, kind=kind, example=example, limits=limits)
    knob.validated(example)
    register("hyperparameter", OWN_KNOBS, name, knob)


def loss(
    name: str,
    *,
    needs: tuple[str, ...] = (),
    head: str = "linear",
    takes_soft_targets: bool = False,
    to_logits: Callable[[Tensor, Mapping[str, Any]], Tensor] | None = None,
) -> Decorator[Any]:
    """A loss: losses.LossFunction says what it is given, losses.Loss what the options mean."""
    options = {} if to_logits is None else {"to_logits": to_logits}

    def registered(function: Function) -> Function:
        entry = Loss(function=function, needs=needs, head=head, takes_soft_targets=takes_soft_targets, **options)
        register("loss", LOSSES, name, entry)
        return function

    return registered


def class_weighting(name: str, *, needs: tuple[str, ...] = ()) -> Decorator[Any]:
    """A class weighting: (class_counts int64[C], a number for each of needs) -> float32[C] with mean 1."""

    def registered(function: Function) -> Function:
        register("class_weighting", CLASS_WEIGHTINGS, name, ClassWeighting(function=function, needs=needs))
        return function

    return registered


def sampler(name: str, *, needs: tuple[str, ...] = (), retrains_head_from: str | None = None) -> Decorator[Any]:
    """A sampler: (samplers.Epoch) -> samplers.EpochPlan of as many images as there are training images."""

    def registered(function: Function) -> Function:
        entry = Sampler(function=function, needs=needs, retrains_head_from=retrains_head_from)
        register("sampler", SAMPLERS, name, entry)
        return function

    return registered


def mixing(name: str, *, needs: tuple[str, ...] = ()) -> Decorator[Any]:
    """A mixing: (class_counts int64[C], a number for each of needs) -> mixing.Prepare."""

    def registered(function: Function) -> Function:
        register("mixing", MIXINGS, name, Mixing(function=function, needs=needs))
        return function

    return registered


def augmentation(name: str, *, needs: tuple[str, ...] = ()) -> Decorator[Any]:
    """An augmentation: (uint8[B, H, W, C], CPU generator, a keyword for each of needs) -> the same type and shape."""

    def registered(function: Function) -> Function:
        put(augmentations.KNOBS, function, dict.fromkeys(needs, math.inf))
        register("augmentation", augmentations.AUGMENTATIONS, name, augmentations.Augmentation((function,)))
        return function

    return registered


def model(name: str) -> Decorator[Any]:
    """A model: (*, num_classes, in_channels, image_size) -> nn.Module from float32[B, C, H, W] to logits.

    Where it also takes head, padding, dropout or drop_path, it may be asked for them, as in models.build_model. With
    features(images) and a last layer called head it can be looked into and its head retrained.
    """

    def registered(function: Function) -> Function:
        register("model", MODELS, name, function)
        return function

    return registered


def optimizer(name: str) -> Decorator[Any]:
    """An optimiser: (parameter groups, learning_rate, momentum) -> torch.optim.Optimizer."""

    def registered(function: Function) -> Function:
        register("optimizer", OPTIMIZERS, name, function)
        return function

    return registered


def schedule(name: str) -> Decorator[Any]:
    """A schedule: (share of training that is done, in [0, 1)) -> multiplier of the learning rate in (0, 1]."""

    def registered(function: Function) -> Function:
        register("schedule", SCHEDULES, name, function)
        return function

    return registered


def metric(name: str) -> Decorator[Any]:
    """A metric of the test: (logits float32[T, C], targets int64[T], both on the CPU) -> a finite number.

    It is recorded as metric/NAME in retests.parquet and has a column on the page. Nothing is chosen by it.
    """

    def registered(function: Function) -> Function:
        register("metric", OWN_METRICS, name, function)
        return function

    return registered


def dataset(name: str) -> Decorator[Any]:
    """A data set: (data_root, download, cache_dir) -> ImageDataset, which assemble_dataset makes of arrays."""

    def registered(function: Callable[[Path, bool, Path | None], ImageDataset]) -> Any:
        def load(data_root: Path, download: bool, cache_dir: Path | None) -> ImageDataset:
            try:
                found = function(data_root, download, cache_dir)
                contracts.check_dataset(found)
            except DataError:
                raise
            except Exception as error:
                raise DataError(f"the data set {name!r} {_broken(error)}") from error
            return replace(found, name=name)

        register("dataset", SOURCES, name, Source(title=name, lies_under=lambda data_root: True, load=load))
        return function

    return registered


def check_own_parts() -> None:
    """Hold the parts of the plugins in use to their contracts, but for models: check_own_models knows the images.

    Raises PluginError, one sentence, for the first breach.
    """
    for part in own_parts():
        if part.kind in _CHECKS:
            with _naming(part), torch.random.fork_rng(devices=[]):
                for knob in getattr(part.entry, "needs", ()):
                    contracts.value_of(knob)
                _CHECKS[part.kind](part)


def check_own_models(data: TuningData) -> None:
    """Hold the models of the plugins in use to their contract, on images like these. Raises PluginError likewise."""
    from trainables.models import build_model
    from trainables.models.heads import HEADS

    for part in own_parts():
        if part.kind == "model":
            takes_heads = "head" in inspect.signature(part.entry).parameters
            for head in HEADS if takes_heads else ("linear",):
                with _naming(part), torch.random.fork_rng(devices=[]):
                    contracts.check_model(
                        partial(build_model, part.name),
                        num_classes=data.num_classes,
                        in_channels=data.images.shape[3],
                        image_size=data.image_size,
                        head=head,
                    )


@contextmanager
def _naming(part: OwnPart) -> Iterator[None]:
    """Turn whatever goes wrong in the block into a PluginError that names the part."""
    try:
        yield
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(f"{part.plugin.given}: the {part.kind} {part.name!r} {_broken(error)}") from error


def _broken(error: Exception) -> str:
    """What a check says, or what else went wrong in the part, without its subject."""
    said = str(error) if isinstance(error, contracts.ContractError) else f"fails: {type(error).__name__}: {error}"
    return " ".join(said.split())[:500]


def _require_known_needs(part: OwnPart) -> None:
    for knob in getattr(part.entry, "needs", ()):
        contracts.value_of(knob)


def _check_optimizer(part: OwnPart) -> None:
    make: Callable[[ParamGroups, float, float], torch.optim.Optimizer] = part.entry
    contracts.check_optimizer(make)


def _check_schedule(part: OwnPart) -> None:
    multiplier: Schedule = part.entry
    contracts.check_schedule(multiplier)


_CHECKS: Mapping[str, Callable[[OwnPart], None]] = {
    "loss": lambda part: contracts.check_loss(part.entry),
    "class_weighting": lambda part: contracts.check_class_weighting(part.entry),
    "sampler": lambda part: contracts.check_sampler(part.entry),
    "mixing": lambda part: contracts.check_mixing(part.entry),
    "augmentation": lambda part: contracts.check_augmentation(part.entry),
    "optimizer": _check_optimizer,
    "schedule": _check_schedule,
    "metric": lambda part: contracts.check_metric(part.entry),
}
