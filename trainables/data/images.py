"""From encoded images to one uint8 array of one size and number of channels, by a thread pool around PIL."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageOps

from trainables.common.machine import usable_cpus
from trainables.common.memory import bytes_text
from trainables.data.memory import require_memory
from trainables.data.resize import resize_images
from trainables.data.types import DataError

MIN_IMAGE_SIZE = 16
CHUNK_SIZE = 16  # so few that some large photos keep all threads busy
GRAY_MODES = frozenset({"1", "L", "LA", "La"})
# Modes of more than 8 bits per channel are refused, because converting would clip them.
DEEP_MODES = ("I", "F")
# A JPEG this many times larger than asked for is decoded smaller, to no less than half as many times.
DRAFT_FACTOR = 8
WORTH_SAYING_BYTES = 10**9

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class EncodedImage:
    """An image as it is stored. contents: its bytes or its file; where: its place, for error messages."""

    contents: bytes | Path
    where: str


@dataclass(frozen=True, kw_only=True)
class DecodedImages:
    """pixels: uint8[N, S, S, C]. own_size: the side that they would have had, None if S is that. remarks: sentences.

    odd_image: the first image that was not a square of that side, as the beginning of a sentence; None if all were.
    """

    pixels: np.ndarray
    own_size: int | None
    odd_image: str | None
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What decoding found out about an image."""

    is_gray: bool
    is_turned: bool
    is_transparent: bool


def decode_images(
    encoded: Sequence[EncodedImage], *, folder: Path | None = None, image_size: int | None = None
) -> DecodedImages:
    """Decode images to uint8[N, S, S, C]. S is the median of their shorter sides, or image_size if that is smaller.

    Every image is turned as its EXIF orientation says, laid on white where it is transparent, cropped at its centre to
    a square and, if its side is not S, resized to S (bilinear, with antialiasing). C is 1 if all images are grey, else
    3. folder: remarks name images from there on. Raises DataError if the median is below 16 pixels, if the images do
    not fit into memory, and for the first image that does not decode or has more than 8 bits per channel.
    """
    shapes = np.array(_in_threads(_shape, encoded))
    shorter = shapes.min(axis=1)
    own_size = int(np.percentile(shorter, 50, method="lower"))
    if own_size < MIN_IMAGE_SIZE:
        raise DataError(
            f"{encoded[int(shorter.argmin())].where} is {shorter.min()} pixels wide or high, the median is {own_size}, "
            f"and {MIN_IMAGE_SIZE} are the least"
        )
    is_shrunk = image_size is not None and image_size < own_size
    size = image_size if is_shrunk and image_size is not None else own_size
    require_memory(len(encoded), size, 3)
    images = np.empty((len(encoded), size, size, 3), dtype=np.uint8)
    # The way of resize_dataset, so that images of one size become what it would have made of them.
    resize = _resize_as_data_sets if is_shrunk else _resize
    found = _in_threads(lambda item: _decode_into(images[item[0]], item[1], resize), list(enumerate(encoded)))
    is_gray = all(image.is_gray for image in found)
    names = [image.where.replace(f"{folder}{os.sep}", "") for image in encoded]
    remarks = [
        *_remark(names, [image.is_turned for image in found], "turned upright as {its} EXIF orientation says"),
        *_remark(names, [image.is_transparent for image in found], "laid on white because {it_is} transparent"),
        *_remark(names, shapes[:, 0] != shapes[:, 1], "cropped at the centre because {it_is} not square"),
    ]
    odd = np.flatnonzero((shapes != own_size).any(axis=1))
    odd_image = f"{names[odd[0]]} is {shapes[odd[0], 0]} x {shapes[odd[0], 1]} pixels" if len(odd) else None
    if image_size is None:
        remarks += _size_remarks(shorter, own_size, num_bytes=images.nbytes)
    return DecodedImages(
        pixels=np.ascontiguousarray(images[..., :1]) if is_gray else images,
        own_size=own_size if is_shrunk else None,
        odd_image=odd_image,
        remarks=tuple(remarks),
    )


def decode_image(encoded: EncodedImage, size: int) -> np.ndarray:
    """Decode an image to uint8[size, size, 3], as `decode_images` does. Raises DataError as that does."""
    pixels = np.empty((size, size, 3), dtype=np.uint8)
    _decode_into(pixels, encoded, _resize)
    return pixels


def _remark(names: Sequence[str], is_so: Sequence[bool] | np.ndarray, done: str) -> list[str]:
    """The sentence that something was done to those images for which it is so; none if there are none."""
    count = int(np.sum(is_so))
    if count == 0:
        return []
    were, its, it_is = ("was", "its", "it is") if count == 1 else ("were", "their", "they are")
    first = names[int(np.argmax(is_so))]
    return [f"{count:,} of {len(names):,} images {were} {done.format(its=its, it_is=it_is)} (first: {first})."]


def _size_remarks(shorter: np.ndarray, own_size: int, *, num_bytes: int) -> list[str]:
    remarks = []
    if shorter.min() != shorter.max():
        remarks.append(
            f"The images are {shorter.min()} to {shorter.max()} pixels wide or high, whichever is less, and were all "
            f"resized to the median, {own_size}; --image-size chooses another size."
        )
    if num_bytes >= WORTH_SAYING_BYTES:
        remarks.append(
            f"The {len(shorter):,} images of {own_size} x {own_size} pixels take {bytes_text(num_bytes)} of memory, "
            "and of disk for the decoded copy; --image-size makes them smaller."
        )
    return remarks


def _in_threads(function: Callable[[Item], object], items: Sequence[Item]) -> list:
    """The results in order. Raises the error of the first item that has one."""
    executor = ThreadPoolExecutor(usable_cpus())
    chunks = [items[start : start + CHUNK_SIZE] for start in range(0, len(items), CHUNK_SIZE)]
    try:
        # map keeps the order, so the error names the first bad image
        results = list(executor.map(lambda chunk: [function(item) for item in chunk], chunks))
    finally:
        executor.shutdown(cancel_futures=True)
    return [result for chunk in results for result in chunk]


def _shape(encoded: EncodedImage) -> tuple[int, int]:
    with _opened(encoded) as image:
        return image.size


def _decode_into(target: np.ndarray, encoded: EncodedImage, resize: Callable[[Image.Image, int], np.ndarray]) -> _Found:
    """Decode one image into target, uint8[S, S, 3]."""
    with _opened(encoded) as image:
        if min(image.size) >= DRAFT_FACTOR * len(target):
            image.draft(None, (len(target) * DRAFT_FACTOR // 2,) * 2)
        image.load()
        if image.mode.startswith(DEEP_MODES):
            raise DataError(f"{encoded.where} has more than 8 bits a channel (mode {image.mode}): save it with 8")
        upright = _upright(image)
        opaque = _opaque(upright)
        is_gray = opaque.mode in GRAY_MODES
        square = _central_square(opaque.convert("L" if is_gray else "RGB"))
        pixels = np.asarray(square) if square.width == len(target) else resize(square, len(target))
        target[:] = pixels[:, :, None] if pixels.ndim == 2 else pixels
        return _Found(is_gray=is_gray, is_turned=upright is not image, is_transparent=opaque is not upright)


@contextlib.contextmanager
def _opened(encoded: EncodedImage) -> Iterator[Image.Image]:
    """The image, of which only the header has been read. Whatever the block raises becomes a DataError."""
    try:
        contents = encoded.contents
        with Image.open(io.BytesIO(contents) if isinstance(contents, bytes) else contents) as image:
            yield image
    except DataError:
        raise
    except Exception as error:  # PIL's decoders raise nearly anything for damaged bytes
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{encoded.where} cannot be read ({error.strerror})") from error
        raise DataError(f"{encoded.where} cannot be decoded as an image ({type(error).__name__})") from error


def _upright(image: Image.Image) -> Image.Image:
    """The image turned or mirrored as its EXIF orientation says; itself if that says nothing, or is damaged.

    PIL turns TIFF files itself while it loads them.
    """
    with contextlib.suppress(Exception):  # the pixels are intact
        if image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
            return ImageOps.exif_transpose(image)
    return image


def _opaque(image: Image.Image) -> Image.Image:
    """The image laid on white; itself if no pixel of it is transparent."""
    if not image.has_transparency_data:
        return image
    mode = "L" if image.mode in GRAY_MODES else "RGB"
    with_alpha = image.convert(f"{mode}A")
    alpha = with_alpha.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image
    white = Image.new(mode, image.size, "white")
    white.paste(with_alpha.convert(mode), mask=alpha)
    return white


def _central_square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image if image.size == (side, side) else image.crop((left, top, left + side, top + side))


def _resize(image: Image.Image, size: int) -> np.ndarray:
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def _resize_as_data_sets(image: Image.Image, size: int) -> np.ndarray:
    pixels = np.asarray(image)
    return resize_images(np.array(pixels[None] if pixels.ndim == 3 else pixels[None, :, :, None]), size)[0]
