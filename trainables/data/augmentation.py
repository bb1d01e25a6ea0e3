"""Batches made from the resident images: gathered, viewed, augmented, normalised; tensors only.

Every random number is drawn on the CPU, where the generator is, and then moved: a GPU sees the same crops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

VIEWS = ("as_is", "horizontal_flip", "vertical_flip", "brightness", "contrast")
# ITU-R 601-2, as in torchvision's adjust_contrast.
LUMA = (0.2989, 0.587, 0.114)
# (value - 128)² is at most 2^14, and float32 is exact for integers up to 2^24: sums over 2^10 rows are exact.
CENTRE, EXACT_ROWS = 128, 2**10
# Limits of random_resized_crop. torchvision's default, down to 8 % of the area, is meant for ImageNet's 224 pixels.
MIN_AREA, MAX_ASPECT = 0.25, 4 / 3
# Number of images that share a RandAugment policy.
RANDAUGMENT_GROUP_SIZE = 8
MAX_MAGNITUDE = 30

# (uint8[B, H, W, C], CPU generator) -> uint8[B, H, W, C], contiguous, on the batch's device.
Augment = Callable[[Tensor, torch.Generator], Tensor]


def random_crop(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Pad each side with size // 8 zeros and crop each image at a random offset. batch: uint8[B, H, W, C]."""
    num_images, height, width, channels = batch.shape
    pad_y, pad_x = height // 8, width // 8
    top = torch.randint(0, 2 * pad_y + 1, (num_images,), generator=generator)
    left = torch.randint(0, 2 * pad_x + 1, (num_images,), generator=generator)
    padded = batch.new_zeros(num_images, height + 2 * pad_y, width + 2 * pad_x, channels)
    padded[:, pad_y : pad_y + height, pad_x : pad_x + width] = batch
    # A row of a crop is one run of memory. index_select copies runs whole, where advanced indexing goes byte by byte.
    num_pixels = padded.numel() // channels
    runs = padded.view(-1).as_strided((num_pixels - width + 1, width * channels), (channels, 1))
    rows = (torch.arange(num_images) * padded.shape[1] + top)[:, None] + torch.arange(height)
    starts = (rows * padded.shape[2] + left[:, None]).flatten().to(batch.device, non_blocking=True)
    return runs.index_select(0, starts).view(batch.shape)


def random_flip(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image with probability 1/2. batch: uint8[B, H, W, C]."""
    flip = torch.randint(0, 2, (len(batch),), generator=generator)
    return _choose((batch, batch.flip(2)), flip)


def _choose(candidates: tuple[Tensor, ...], choice: Tensor) -> Tensor:
    """Take image i from candidates[choice[i]]. index_select copies whole images, which advanced indexing does not."""
    chosen = choice * len(choice) + torch.arange(len(choice), device=choice.device)
    return torch.cat(candidates).index_select(0, chosen.to(candidates[0].device, non_blocking=True))


def random_resized_crop(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Crop a random box of each image and enlarge it, bilinearly, to full size. batch: uint8[B, H, W, C].

    Szegedy et al. 2015, as in torchvision: the box's share of the area is uniform in 0.25-1, the logarithm of its
    width over its height is uniform in ± log 4/3, its position is uniform. Two differences: a side that would exceed
    the image's is clipped to it, where torchvision would draw again; and corners may lie between pixels.
    """
    uniform = torch.rand(4, len(batch), generator=generator)
    area = MIN_AREA + (1 - MIN_AREA) * uniform[0]
    aspect = torch.exp(math.log(MAX_ASPECT) * (2 * uniform[1] - 1))
    width, height = (area * aspect).sqrt().clamp_max(1), (area / aspect).sqrt().clamp_max(1)
    # affine_grid's coordinates go from -1 to 1, so the centre of a box of width w lies within ± (1 - w).
    boxes = torch.zeros(len(batch), 2, 3)
    boxes[:, 0, 0], boxes[:, 0, 2] = width, (1 - width) * (2 * uniform[2] - 1)
    boxes[:, 1, 1], boxes[:, 1, 2] = height, (1 - height) * (2 * uniform[3] - 1)
    pixels = batch.permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(boxes.to(batch.device, non_blocking=True), list(pixels.shape), align_corners=False)
    resized = functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return resized.round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def cutout(batch: Tensor, generator: torch.Generator, *, cutout_length: int) -> Tensor:
    """Hide a square of cutout_length pixels in each image. batch: uint8[B, H, W, C].

    DeVries & Taylor 2017: the square is centred on any pixel, so at a border only part of it is inside the image. They
    fill it with 0 after normalisation, the data set's mean colour; here it gets the image's own mean colour, which
    needs no data set statistics and hardly changes the brightness, whether the background is dark or bright.
    """
    num_images, height, width, _ = batch.shape
    hidden = [_stripe(size, num_images, cutout_length, generator).to(batch.device) for size in (height, width)]
    inside = (hidden[0][:, :, None] & hidden[1][:, None, :])[..., None]
    mean_colour = batch.flatten(1, 2).float().mean(1).round_().to(torch.uint8)
    return torch.where(inside, mean_colour[:, None, None, :], batch)


def _stripe(size: int, num_images: int, length: int, generator: torch.Generator) -> Tensor:
    """bool[num_images, size]: `length` consecutive positions, clipped, around one that is drawn for each image."""
    start = torch.randint(0, size, (num_images, 1), generator=generator) - length // 2
    positions = torch.arange(size)
    return (positions >= start) & (positions < start + length)


def randaugment(
    batch: Tensor, generator: torch.Generator, *, randaugment_num_ops: int, randaugment_magnitude: int
) -> Tensor:
    """RandAugment (Cubuk et al. 2020) with torchvision's 14 operations. batch: uint8[B, H, W, C].

    torchvision draws one policy per call, and one call per image would take four times as long, so each 8 consecutive
    images share a policy. The order is new in every epoch, and so are the groups. Pixels from outside the image are
    black, as in `random_crop`. randaugment_magnitude: 0-30, one of torchvision's 31 bins.
    """
    from torchvision.transforms.v2 import RandAugment  # slow to import, and most trials do not need it

    transform = RandAugment(num_ops=randaugment_num_ops, magnitude=randaugment_magnitude)
    seed = int(torch.randint(2**62, (), generator=generator))
    # torchvision draws from the CPU's global generator, which is seeded for this batch alone and then restored.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        groups = [transform(group) for group in batch.permute(0, 3, 1, 2).split(RANDAUGMENT_GROUP_SIZE)]
    return torch.cat(groups).permute(0, 2, 3, 1).contiguous()


# The knobs that a step reads, with the largest value of each; the smallest is 0.
KNOBS: dict[Callable[..., Tensor], dict[str, float]] = {
    cutout: {"cutout_length": math.inf},
    randaugment: {"randaugment_num_ops": math.inf, "randaugment_magnitude": MAX_MAGNITUDE},
}


@dataclass(frozen=True)
class Augmentation:
    """The steps applied to a batch, in order. needs: the names of the hyperparameters that they read."""

    steps: tuple[Callable[..., Tensor], ...]

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(knob for step in self.steps for knob in KNOBS.get(step, {}))


# The augmentations without a flip are for data whose mirror images belong to another class, or to none.
AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(()),
    "crop": Augmentation((random_crop,)),
    "crop_flip": Augmentation((random_crop, random_flip)),
    "resized_crop": Augmentation((random_resized_crop,)),
    "resized_crop_flip": Augmentation((random_resized_crop, random_flip)),
    "crop_cutout": Augmentation((random_crop, cutout)),
    "crop_flip_cutout": Augmentation((random_crop, random_flip, cutout)),
    "crop_randaugment": Augmentation((random_crop, randaugment)),
    "crop_flip_randaugment": Augmentation((random_crop, random_flip, randaugment)),
}


def augmenter(name: str, knobs: Mapping[str, Any] | None = None) -> Augment:
    """The augmentation called `name` in AUGMENTATIONS. knobs: hyperparameters by name; its steps read their own.

    Raises ValueError if a knob is out of range.
    """
    return augmenter_of(AUGMENTATIONS[name], knobs or {})


def augmenter_of(augmentation: Augmentation, knobs: Mapping[str, Any]) -> Augment:
    """As augmenter, of an augmentation that need not be in the table."""
    steps = [partial(step, **_own_knobs(step, knobs)) for step in augmentation.steps]

    def augment(batch: Tensor, generator: torch.Generator) -> Tensor:
        for step in steps:
            batch = step(batch, generator)
        return batch

    return augment


def _own_knobs(step: Callable[..., Tensor], knobs: Mapping[str, Any]) -> dict[str, int]:
    own = {knob: knobs[knob] for knob in KNOBS.get(step, {})}
    for knob, value in own.items():
        largest = KNOBS[step][knob]
        if not 0 <= value <= largest:
            allowed = "at least 0" if largest == math.inf else f"from 0 to {largest}"
            raise ValueError(f"{knob} must be {allowed}, got {value}")
    return own


def gather_batch(
    images: Tensor,
    indices: Tensor,
    *,
    augment: Augment,
    generator: torch.Generator,
    views: Tensor | None = None,
    photometric_strength: float | Tensor | None = None,
) -> Tensor:
    """Gather the images at `indices`, each in its view, and augment them: uint8[B, H, W, C] on the images' device.

    images: uint8[N, H, W, C]; indices: int64[B]; augment: from `augmenter`; generator: on the CPU; views: uint8[B],
    positions in VIEWS (the augment_copies remedy) or None; photometric_strength: brightness and contrast factors are
    uniform in 1 ± this value. Raises ValueError if views are given without a strength.
    """
    batch = images.index_select(0, indices.to(images.device, non_blocking=True))
    if views is not None:
        if photometric_strength is None:
            raise ValueError("photometric_strength must be given with views, got None")
        batch = apply_views(batch, views, photometric_strength, generator)
    return augment(batch, generator)


def apply_views(
    batch: Tensor, views: Tensor, photometric_strength: float | Tensor, generator: torch.Generator
) -> Tensor:
    """Turn each image into its view: uint8[B, H, W, C], like `batch`.

    views: uint8[B], positions in VIEWS. Brightness multiplies by the image's factor, contrast blends with the
    image's mean grey (torchvision's definitions). One factor per image is drawn, used or not, so that the
    random stream does not depend on the views. Results are rounded and clamped to 0-255.
    """
    view = views.to(batch.device, non_blocking=True).long()
    uniform = torch.rand(len(batch), generator=generator).to(batch.device, non_blocking=True)
    strength = torch.as_tensor(photometric_strength, dtype=torch.float32, device=batch.device)
    factor = (1 + strength * (2 * uniform - 1))[:, None, None, None]
    pixels = batch.float()
    # brightness: factor · image; contrast: factor · image + (1 - factor) · mean grey
    is_contrast = (view == VIEWS.index("contrast"))[:, None, None, None]
    offset = is_contrast * (1 - factor) * _mean_gray(pixels)
    photometric = pixels.mul_(factor).add_(offset).round_().clamp_(0, 255).to(torch.uint8)
    # Brightness and contrast differ in their offset alone, so they share the last candidate.
    return _choose((batch, batch.flip(2), batch.flip(1), photometric), view.clamp_max(3))


def _mean_gray(pixels: Tensor) -> Tensor:
    """The mean grey value of each image: float32[B, 1, 1, 1]. pixels: float32[B, H, W, C]."""
    channel_means = pixels.flatten(2).mean(1).unflatten(1, pixels.shape[2:]).mean(1)
    weights = pixels.new_tensor(LUMA if pixels.shape[3] == 3 else (1.0,))
    return (channel_means @ weights)[:, None, None, None]


def normalise(batch: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(batch / 255 - mean) / std as float32[B, C, H, W] in channels_last memory format.

    batch: uint8[B, H, W, C], contiguous; mean, std: float32[C] of pixel values in 0-1, on the batch's device.
    """
    num_images, height, width, channels = batch.shape
    # Whole rows at once: broadcasting over 3 channels would run an inner loop of length 3.
    scale = (1 / (255 * std)).repeat(width)
    shift = (-mean / std).repeat(width)
    pixels = batch.view(num_images, height, width * channels).float()
    pixels = torch.addcmul(shift, pixels, scale, out=pixels)
    return pixels.view(num_images, height, width, channels).permute(0, 3, 1, 2)


def channel_stats(images: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over images[indices], pixel values in 0-1: float32[C] each.

    images: uint8[N, H, W, C]; indices: int64[M], M at least 1. The sums are exact, so the results are the
    same on every device and with any number of threads. A deviation is at least 1/255, so that dividing by that of a
    constant channel stays finite.
    """
    height, width, channels = images.shape[1:]
    total = torch.zeros(width * channels, dtype=torch.float64, device=images.device)
    total_square = torch.zeros_like(total)
    for chunk in indices.to(images.device).split(max(1, EXACT_ROWS // height)):
        rows = images.index_select(0, chunk).flatten(2).flatten(0, 1).float() - CENTRE
        total += rows.sum(0)
        total_square += rows.square_().sum(0)
    num_pixels = len(indices) * height * width
    mean = total.view(width, channels).sum(0) / num_pixels
    variance = total_square.view(width, channels).sum(0) / num_pixels - mean.square()
    std = variance.clamp_min(0).sqrt().clamp_min(1) / 255
    return ((mean + CENTRE) / 255).float(), std.float()
