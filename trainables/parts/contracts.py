"""What holds for every part, the project's and users' own, as checks on small made-up inputs: milliseconds each.

A check raises ContractError, a sentence that lacks its subject: "must return ...". None needs data or trains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.common.nearest import nearest
from trainables.data.augmentation import VIEWS, Augmentation, augmenter_of
from trainables.data.types import ImageDataset
from trainables.models.heads import HEADS
from trainables.parts.class_weights import ClassWeighting
from trainables.parts.losses import Loss
from trainables.parts.mixing import Mixing
from trainables.parts.optimizers import ParamGroups, decay_groups
from trainables.parts.part import OWN_KNOBS
from trainables.parts.samplers import Epoch, EpochPlan, Sampler
from trainables.parts.schedules import Schedule


class ContractError(ValueError):
    """What is wrong with a part, as a sentence without its subject."""


KNOBS: Mapping[str, Any] = {
    "label_smoothing": 0.1,
    "focal_gamma": 2.0,
    "ldam_max_margin": 0.5,
    "ldam_scale": 10.0,
    "balanced_softmax_tau": 1.0,
    "post_hoc_tau": 1.0,
    "class_weight_gamma": 1.0,
    "class_weight_beta": 0.999,
    "tail_class_weight": 1.1,
    "reweight_start": 0.6,
    "head_start": 0.6,
    "sampler_exponent": 0.5,
    "cut_loss_scale": 0.1,
    "photometric_strength": 0.3,
    "mixing_alpha": 0.5,
    "cutout_length": 8,
    "randaugment_num_ops": 2,
    "randaugment_magnitude": 9,
}
"""A usual value of each hyperparameter that parts need. Users' own have an example instead."""

COUNTS = (40, 3, 17, 1, 9)
NUM_EPOCHS = 5
REPEATS = "gives another result for the same inputs: it must draw random numbers from nothing but the generator it gets"


def value_of(knob: str) -> Any:
    """A value for the checks. Raises ContractError for a name that is no hyperparameter of a part."""
    if knob in OWN_KNOBS:
        return OWN_KNOBS[knob].example
    if knob not in KNOBS:
        known = [*KNOBS, *OWN_KNOBS]
        raise ContractError(
            f"needs {knob!r}, which is no knob of a part: declare it by hyperparameter(), or take one of "
            f"{', '.join(known)}{nearest(knob, known)}"
        )
    return KNOBS[knob]


def check_loss(loss: Loss) -> None:
    if loss.head not in HEADS:
        raise ContractError(f"must take the outputs of a head, {' or '.join(HEADS)}, got {loss.head!r}")
    counts = torch.tensor(COUNTS)
    scalars = {knob: torch.tensor(float(value_of(knob))) for knob in loss.needs}
    targets = torch.arange(20) % len(counts)
    outputs = 2 * torch.rand(20, len(counts), generator=_seeded()) - 1  # as cosines are
    weights = torch.linspace(0.5, 1.5, len(counts))

    def of(logits: Tensor, classes: Tensor, class_weights: Tensor = weights) -> Tensor:
        try:
            return loss.function(logits, classes, class_weights=class_weights, class_counts=counts, scalars=scalars)
        except KeyError as error:
            raise ContractError(f"reads {error.args[0]!r}, which is not among what it needs") from None

    logits = outputs.clone().requires_grad_()
    with _unchanged(outputs=outputs, targets=targets, class_weights=weights, class_counts=counts):
        value = _same_twice(lambda: of(outputs, targets))
        of(logits, targets)
    _require_tensor(value, (), torch.float32, "a loss")
    if not value.isfinite():
        raise ContractError(f"must be finite, got {float(value)}")
    value = of(logits, targets)
    gradient = torch.autograd.grad(value, logits, allow_unused=True)[0] if value.requires_grad else None
    if gradient is None or not gradient.any():
        raise ContractError("gives the logits no gradient")
    if not gradient.isfinite().all():
        raise ContractError("gives the logits a gradient that is not finite")
    twice = of(outputs.repeat(2, 1), targets.repeat(2))
    if not torch.isclose(twice, value, rtol=1e-4):
        raise ContractError(
            f"must be a mean over images: of a batch and its copy it is {float(twice):g}, not {value:g}"
        )
    if not of(torch.tensor([[1e4, -1e4, 0, 0, 0]]), torch.tensor([1])).isfinite():
        raise ContractError("is not finite where the model is certain and wrong (logits of 10,000)")
    if loss.takes_soft_targets and not torch.isclose(
        of(outputs, F.one_hot(targets, len(counts)).float()), value, rtol=1e-4
    ):
        raise ContractError("gives one-hot targets, which it says it takes, another loss than classes")


def check_class_weighting(weighting: ClassWeighting) -> None:
    counts = torch.tensor(COUNTS)
    knobs = {knob: value_of(knob) for knob in weighting.needs}
    with _unchanged(class_counts=counts):
        weights = _same_twice(lambda: weighting.weights(counts, knobs))
    _require_tensor(weights, (len(counts),), torch.float32, "a weight a class")
    if not weights.isfinite().all() or not (weights > 0).all():
        raise ContractError(f"must give positive, finite weights, got {_listed(weights)} for {list(COUNTS)} images")
    if abs(float(weights.mean()) - 1) > 1e-4:
        raise ContractError(f"must give weights with mean 1, got mean {float(weights.mean()):g}")


def check_sampler(sampler: Sampler, *, batch_size: int = 8, counts: Sequence[int] = COUNTS) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=_seeded(3))]
    class_counts = torch.tensor(counts)
    knobs = {knob: value_of(knob) for knob in sampler.needs}

    def of(number: int) -> EpochPlan:
        epoch = Epoch(
            labels=labels,
            class_counts=class_counts,
            batch_size=batch_size,
            knobs=knobs,
            number=number,
            num_epochs=NUM_EPOCHS,
            generator=_seeded(number),
        )
        try:
            with _unchanged(labels=labels, class_counts=class_counts):
                plan = sampler.function(epoch)
        except KeyError as error:
            raise ContractError(f"reads {error.args[0]!r}, which is not among what it needs") from None
        if not isinstance(plan, EpochPlan):
            raise ContractError(f"must return an EpochPlan, got {type(plan).__name__}")
        return plan

    for number in (1, NUM_EPOCHS):
        _check_plan(_same_twice(partial(of, number)), len(labels))


def _check_plan(plan: EpochPlan, num_images: int) -> None:
    _require_tensor(plan.positions, (num_images,), torch.int64, "positions, as many as there are training images,")
    if int(plan.positions.min()) < 0 or int(plan.positions.max()) >= num_images:
        raise ContractError(f"must draw positions from 0 to {num_images - 1}, got {int(plan.positions.max())}")
    if min(plan.batch_sizes) < 2:
        raise ContractError(f"must make batches of at least 2 images, got {min(plan.batch_sizes)}")
    if not plan.loss_scales.isfinite().all() or (plan.loss_scales < 0).any():
        raise ContractError(f"must give loss_scales that are finite and not negative, got {_listed(plan.loss_scales)}")
    if plan.views is not None and (plan.views.dtype != torch.uint8 or int(plan.views.max()) >= len(VIEWS)):
        raise ContractError(f"must give views as uint8 below {len(VIEWS)}")


def check_mixing(mixing: Mixing) -> None:
    counts = torch.tensor(COUNTS)
    knobs = {knob: value_of(knob) for knob in mixing.needs}
    images = torch.randn(6, 3, 16, 16, generator=_seeded())
    labels = torch.arange(6) % len(counts)
    with _unchanged(images=images, labels=labels, class_counts=counts):
        mixed, targets = _same_twice(lambda: mixing.prepare(counts, knobs)(images, labels, _seeded()))
    _require_tensor(mixed, tuple(images.shape), torch.float32, "images")
    if not mixed.isfinite().all():
        raise ContractError("must give finite images")
    if targets.is_floating_point():
        _require_tensor(targets, (6, len(counts)), torch.float32, "each image's shares of the classes")
        if (targets < 0).any() or not torch.allclose(targets.sum(dim=1), torch.ones(6), atol=1e-4):
            raise ContractError("must give each image shares of the classes that add up to 1")
    else:
        _require_tensor(targets, (6,), torch.int64, "labels")


def check_augmentation(augmentation: Augmentation) -> None:
    knobs = {knob: value_of(knob) for knob in augmentation.needs}
    for shape in ((9, 32, 32, 3), (9, 16, 16, 1)):
        batch = torch.randint(0, 256, shape, dtype=torch.uint8, generator=_seeded())
        with _unchanged(images=batch):
            changed = _same_twice(partial(_augmented, augmentation, knobs, batch))
        _require_tensor(changed, shape, torch.uint8, "images")
        if not changed.is_contiguous():
            raise ContractError("must return images that are contiguous in memory")


def _augmented(augmentation: Augmentation, knobs: Mapping[str, Any], batch: Tensor) -> Tensor:
    return augmenter_of(augmentation, knobs)(batch, _seeded())


def check_model(
    make: Callable[..., nn.Module],
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    head: str = "linear",
) -> None:
    """make(num_classes, in_channels, image_size, head), as build_model calls a model with its name bound."""

    def built() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return make(num_classes=num_classes, in_channels=in_channels, image_size=image_size, head=head)

    model, again = built(), built()
    if not isinstance(model, nn.Module):
        raise ContractError(f"must return an nn.Module, got {type(model).__name__}")
    _require_same(model.state_dict(), again.state_dict(), "has other weights under the same seed of torch")
    images = torch.randn(4, in_channels, image_size, image_size, generator=_seeded())
    with _unchanged(images=images):
        outputs = model(images)
    what = f"a logit a class for images of {in_channels} × {image_size} × {image_size}"
    _require_tensor(outputs, (4, num_classes), torch.float32, what)
    if not outputs.isfinite().all():
        raise ContractError("gives outputs that are not finite")
    if not outputs.requires_grad:
        raise ContractError("has no parameter that its outputs depend on")
    outputs.square().sum().backward()
    # A gradient of 0 is none of our business: a last layer that begins at 0 gives the others that.
    if idle := [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]:
        raise ContractError(f"gives no gradient to {', '.join(idle[:3])}: its outputs do not depend on it")
    model.eval()
    with torch.no_grad():
        whole, part = model(images), model(images[:2])
    if not torch.allclose(whole[:2], part, rtol=1e-3, atol=1e-4):
        raise ContractError("judges an image by the others of its batch, in evaluation mode")


def check_optimizer(make: Callable[[ParamGroups, float, float], torch.optim.Optimizer]) -> None:
    def stepped() -> tuple[Tensor, ...]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
        before = [value.detach().clone() for value in model.parameters()]
        optimizer = make(decay_groups(model, 1e-4), 0.01, 0.9)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise ContractError(f"must return a torch.optim.Optimizer, got {type(optimizer).__name__}")
        if any("lr" not in group or "lr_scale" not in group for group in optimizer.param_groups):
            raise ContractError("must keep the parameter groups that it is given, each with its lr")
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.ones(5, 4)).square().sum().backward()
            optimizer.step()
        after = [value.detach() for value in model.parameters()]
        if any(torch.equal(old, new) for old, new in zip(before, after, strict=True)):
            raise ContractError("leaves a parameter as it was that has a gradient")
        if not all(value.isfinite().all() for value in after):
            raise ContractError("makes parameters that are not finite")
        return tuple(after)

    _same_twice(stepped)


def check_schedule(schedule: Schedule) -> None:
    for step in range(100):
        multiplier = _same_twice(partial(schedule, step / 100))
        if isinstance(multiplier, bool) or not isinstance(multiplier, int | float) or not 0 < multiplier <= 1:
            raise ContractError(f"must give a multiplier in (0, 1], got {multiplier!r} at {step} % of training")


def check_metric(metric: Callable[[Tensor, Tensor], Any]) -> None:
    """metric(logits float32[T, C], targets int64[T]) -> a number."""
    logits, targets = torch.randn(30, 5, generator=_seeded()), torch.arange(30) % 5
    with _unchanged(logits=logits, targets=targets):
        value = _same_twice(lambda: metric(logits, targets))
    if isinstance(value, bool) or not isinstance(value, int | float | Tensor) or not math.isfinite(value):
        raise ContractError(f"must return a finite number, got {value!r}")


def check_dataset(dataset: ImageDataset) -> None:
    if not isinstance(dataset, ImageDataset):
        raise ContractError(f"must return an ImageDataset, got {type(dataset).__name__}")
    num_classes = len(dataset.class_names)
    for split in ("train", "test"):
        images, labels = getattr(dataset, f"{split}_images"), getattr(dataset, f"{split}_labels")
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2]:
            raise ContractError(
                f"must have {split}_images as uint8[N, side, side, channels], got {images.dtype} of shape "
                f"{list(images.shape)}"
            )
        if labels.dtype != np.int64 or labels.shape != images.shape[:1] or not len(labels):
            raise ContractError(
                f"must have {split}_labels as int64, one an image, got {labels.dtype} of shape {list(labels.shape)} "
                f"for {len(images)} images"
            )
        if labels.min() < 0 or labels.max() >= num_classes:
            raise ContractError(
                f"must have {split}_labels from 0 to {num_classes - 1}, got {labels.min()} to {labels.max()}"
            )


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class _unchanged:
    """A block in which none of these tensors may change. Raises ContractError after it, which names one that did."""

    def __init__(self, **tensors: Tensor) -> None:
        self._tensors = tensors
        self._before = {name: tensor.clone() for name, tensor in tensors.items()}

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            for name, tensor in self._tensors.items():
                if not torch.equal(tensor, self._before[name]):
                    raise ContractError(f"changes its {name} in place, which others use too")


def _same_twice(run: Callable[[], Any]) -> Any:
    """The result of run, which must be the same whatever the state of torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = run()
        torch.manual_seed(2)
        _require_same(first, run(), REPEATS)
    return first


def _require_same(first: Any, second: Any, complaint: str) -> None:
    for one, other in zip(_leaves(first), _leaves(second), strict=True):
        if not (torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else one == other):
            raise ContractError(complaint)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, EpochPlan):
        return _leaves([value.positions, value.batch_sizes, value.loss_scales, value.views])
    if isinstance(value, Mapping):
        return [leaf for key, one in value.items() for leaf in [key, *_leaves(one)]]
    if isinstance(value, list | tuple):
        return [len(value), *(leaf for one in value for leaf in _leaves(one))]
    return [value]


def _require_tensor(value: Any, shape: tuple[int, ...], dtype: torch.dtype, what: str) -> None:
    wanted = f"must return {what} as {str(dtype).removeprefix('torch.')} of shape {list(shape)}"
    if not isinstance(value, Tensor):
        raise ContractError(f"{wanted}, got {type(value).__name__}")
    if value.shape != shape or value.dtype != dtype:
        raise ContractError(f"{wanted}, got {str(value.dtype).removeprefix('torch.')} of shape {list(value.shape)}")


def _listed(values: Tensor) -> str:
    return ", ".join(f"{value:g}" for value in values.flatten()[:5].tolist())
