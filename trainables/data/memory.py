"""The error where a data set does not fit into memory."""

from __future__ import annotations

from trainables.common.memory import available_memory, bytes_text
from trainables.data.types import DataError


def require_memory(num_images: int, image_size: int, num_channels: int) -> None:
    """Raise DataError if so many uint8 images do not fit into memory."""
    num_bytes, available = num_images * image_size**2 * num_channels, available_memory()
    if available is not None and num_bytes > available:
        raise DataError(
            f"{num_images:,} images of {image_size} x {image_size} pixels take {bytes_text(num_bytes)} of memory, and "
            f"{bytes_text(available)} are free: make them smaller with --image-size"
        )
