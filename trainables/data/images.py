"""From encoded images to one uint8 array of one size and number of channels, by a thread pool around PIL."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from trainables.data.types import DataError

MIN_IMAGE_SIZE = 16
CHUNK_SIZE = 256
GRAY_MODES = frozenset({"1", "L", "LA"})
# Modes of more than 8 bits per channel are refused, because converting would clip them.
DEEP_MODES = ("I", "F")


@dataclass(frozen=True, kw_only=True)
class EncodedImage:
    """An image as it is stored. contents: its bytes or its file; where: its place, for error messages."""

    contents: bytes | Path
    where: str


def decode_images(encoded: Sequence[EncodedImage]) -> np.ndarray:
    """Decode images to uint8[N, S, S, C], S the shorter side of the first image.

    Every image is cropped at its centre to a square and, if its side is not S, resized to S (bilinear). C is 1 if all
    images are grey, else 3. Raises DataError if S is below 16 pixels, and for the first image that does not decode or
    has more than 8 bits per channel.
    """
    image_size = min(_open(encoded[0]).size)
    if image_size < MIN_IMAGE_SIZE:
        raise DataError(f"{encoded[0].where} is {image_size} pixels wide or high, and {MIN_IMAGE_SIZE} are the least")
    images = np.empty((len(encoded), image_size, image_size, 3), dtype=np.uint8)
    is_gray = np.empty(len(encoded), dtype=bool)

    def decode_chunk(start: int) -> None:
        for index in range(start, min(start + CHUNK_SIZE, len(encoded))):
            is_gray[index] = _decode_into(images[index], encoded[index])

    executor = ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None)
    try:
        for _ in executor.map(decode_chunk, range(0, len(encoded), CHUNK_SIZE)):
            pass  # map keeps the order, so the error names the first bad image
    finally:
        executor.shutdown(cancel_futures=True)
    return np.ascontiguousarray(images[..., :1]) if is_gray.all() else images


def _decode_into(target: np.ndarray, encoded: EncodedImage) -> bool:
    """Decode one image into target, uint8[S, S, 3]. Returns whether it is grey."""
    image = _open(encoded)
    if image.mode.startswith(DEEP_MODES):
        raise DataError(f"{encoded.where} has more than 8 bits a channel (mode {image.mode}): save it with 8")
    is_gray = image.mode in GRAY_MODES
    image = image.convert("L" if is_gray else "RGB")
    side = min(image.size)
    if image.size != (side, side):
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if side != len(target):
        image = image.resize((len(target), len(target)), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    target[:] = pixels[:, :, None] if is_gray else pixels
    return is_gray


def _open(encoded: EncodedImage) -> Image.Image:
    try:
        contents = encoded.contents
        image = Image.open(io.BytesIO(contents) if isinstance(contents, bytes) else contents)
        image.load()  # decodes, and closes the file
    except Exception as error:  # PIL's decoders raise nearly anything for damaged bytes
        raise DataError(f"{encoded.where} cannot be decoded as an image ({type(error).__name__})") from error
    return image
