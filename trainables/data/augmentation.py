"""A batch from the resident images: gathered, viewed, cropped, flipped, normalised; tensors only.

Every random number is drawn on the generator's device, the CPU, and then moved: a GPU sees the same crops.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

VIEWS = ("as_is", "horizontal_flip", "vertical_flip", "brightness", "contrast")
# ITU-R 601-2, as in torchvision's adjust_contrast.
LUMA = (0.2989, 0.587, 0.114)
# (value - 128)² is at most 2^14, and float32 counts to 2^24: sums over 2^10 rows are exact.
CENTRE, EXACT_ROWS = 128, 2**10


def _keep(batch: Tensor, generator: torch.Generator) -> Tensor:
    return batch


def random_crop(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Pad each side with size // 8 zeros and cut at a random offset an image. batch: uint8[B, H, W, C]."""
    num_images, height, width, channels = batch.shape
    pad_y, pad_x = height // 8, width // 8
    top = torch.randint(0, 2 * pad_y + 1, (num_images,), generator=generator)
    left = torch.randint(0, 2 * pad_x + 1, (num_images,), generator=generator)
    padded = batch.new_zeros(num_images, height + 2 * pad_y, width + 2 * pad_x, channels)
    padded[:, pad_y : pad_y + height, pad_x : pad_x + width] = batch
    # All crops as a view, [B, top, left, H, W * C], rows unbroken in memory: indexing it copies whole rows.
    crops = padded.flatten(2).unfold(2, width * channels, channels).unfold(1, height, 1).transpose(3, 4)
    rows = torch.arange(num_images, device=batch.device)
    top, left = top.to(batch.device, non_blocking=True), left.to(batch.device, non_blocking=True)
    return crops[rows, top, left].reshape(batch.shape)


def random_flip(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image with probability 1/2. batch: uint8[B, H, W, C]."""
    flip = torch.randint(0, 2, (len(batch),), generator=generator).to(batch.device, non_blocking=True)
    return _choose((batch, batch.flip(2)), flip)


def _choose(candidates: tuple[Tensor, ...], choice: Tensor) -> Tensor:
    """Image i from candidates[choice[i]]. Copies whole images, three times as fast as torch.where's mask."""
    return torch.stack(candidates)[choice, torch.arange(len(choice), device=choice.device)]


def _crop_and_flip(batch: Tensor, generator: torch.Generator) -> Tensor:
    return random_flip(random_crop(batch, generator), generator)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "none": _keep,
    "crop": random_crop,
    "crop_flip": _crop_and_flip,
}


def gather_batch(
    images: Tensor,
    indices: Tensor,
    *,
    augmentation: str,
    generator: torch.Generator,
    views: Tensor | None = None,
    photometric_strength: float | Tensor | None = None,
) -> Tensor:
    """The images at `indices`, each in its view, then augmented: uint8[B, H, W, C] on the images' device.

    images: uint8[N, H, W, C]; indices: int64[B]; generator: of the CPU; views: uint8[B], positions in VIEWS
    (the augment_copies remedy) or None; photometric_strength: brightness and contrast factors are uniform in
    1 ± it. Raises ValueError for an unknown augmentation, and for views without a strength.
    """
    if augmentation not in AUGMENTATIONS:
        raise ValueError(f"augmentation must be one of {list(AUGMENTATIONS)}, got {augmentation!r}")
    batch = images.index_select(0, indices.to(images.device, non_blocking=True))
    if views is not None:
        if photometric_strength is None:
            raise ValueError("photometric_strength must be given with views, got None")
        batch = apply_views(batch, views, photometric_strength, generator)
    return AUGMENTATIONS[augmentation](batch, generator)


def apply_views(
    batch: Tensor, views: Tensor, photometric_strength: float | Tensor, generator: torch.Generator
) -> Tensor:
    """Turn each image into its view, uint8[B, H, W, C] as `batch`.

    views: uint8[B], positions in VIEWS. Brightness multiplies by the image's factor, contrast blends with the
    image's mean grey (torchvision's definitions); one factor an image is drawn, used or not, so that the
    stream does not depend on the views. Results are rounded and clamped to 0-255.
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
    """Mean grey value of each image: float32[B, 1, 1, 1]. pixels: float32[B, H, W, C]."""
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

    images: uint8[N, H, W, C]; indices: int64[M], M at least 1. The sums are exact, so every device and number
    of threads gives the same. A constant channel's deviation counts as 1/255, so that dividing by it stays
    finite.
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
