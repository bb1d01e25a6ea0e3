"""The knobs that several spaces share, with one name and one range each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search_spaces.declarations import Choice, Float, Int, Trial

MOMENTUM = Float("momentum", 0.7, 0.97, start=0.9)
WEIGHT_DECAY = Float("weight_decay", 1e-5, 1e-2, log=True, start=5e-4)
SCHEDULE = Choice("schedule", ("cosine", "linear", "multi_step"), start="cosine")
LABEL_SMOOTHING = Float("label_smoothing", 0.0, 0.2, start=0.0)


def batch_size(num_train: int) -> Choice:
    """The batch size, with smaller choices below 5,000 images, so that an epoch has enough steps."""
    if num_train < 5000:
        return Choice("batch_size", (16, 32, 64), start=32)
    return Choice("batch_size", (64, 128, 256), start=128)


def batch_size_to_512(num_train: int) -> Choice:
    """The batch size, up to 512 for data sets as large as CIFAR, as is usual for residual networks."""
    return batch_size(num_train) if num_train < 20_000 else Choice("batch_size", (128, 256, 512), start=128)


def crop(flip: bool, *, extra: str = "") -> str:
    """The name of the cropping augmentation, such as crop_flip. flip: whether a mirror image is of the same class."""
    return f"crop{'_flip' if flip else ''}{extra}"


def augmentation(
    trial: Trial, choices: Sequence[str], *, start: str, image_size: int, num_ops_start: int = 2
) -> dict[str, Any]:
    """Suggest an augmentation and its knobs. image_size: in pixels; num_ops_start: start of randaugment_num_ops."""
    chosen = Choice("augmentation", choices, start=start).suggest(trial)
    own: tuple[Choice | Int, ...] = ()
    if chosen.endswith("cutout"):
        lengths = cutout_lengths(image_size)
        own = (Choice("cutout_length", lengths, start=lengths[0]),)
    elif chosen.endswith("randaugment"):
        own = (
            Int("randaugment_num_ops", 1, 2, start=num_ops_start),
            Int("randaugment_magnitude", 3, 15, start=9),
        )
    return {"augmentation": chosen, **{knob.name: knob.suggest(trial) for knob in own}}


def cutout_lengths(image_size: int) -> list[int]:
    """The choices of cutout_length in pixels: 8, 12 and 16 for images of 32, in proportion for other sizes."""
    return [image_size // 4, 3 * image_size // 8, image_size // 2]
