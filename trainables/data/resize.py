"""Resizing a data set's images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trainables.data.decoded import make_decoded
from trainables.data.memory import require_memory
from trainables.data.types import ImageDataset

CHUNK_SIZE = 1000


def resize_dataset(dataset: ImageDataset, image_size: int) -> ImageDataset:
    """Resize the images to image_size x image_size pixels: bilinear, with antialiasing when they shrink.

    The fingerprint is that of the new images, and the origin names the size. A data set of that size is returned as is.
    Raises DataError if the new images do not fit into memory.
    """
    if dataset.train_images.shape[1:3] == (image_size, image_size):
        return dataset
    num_images = len(dataset.train_images) + len(dataset.test_images)
    require_memory(num_images, image_size, dataset.train_images.shape[3])
    resized = make_decoded(
        train_images=resize_images(dataset.train_images, image_size),
        train_labels=dataset.train_labels,
        test_images=resize_images(dataset.test_images, image_size),
        test_labels=dataset.test_labels,
        class_names=dataset.class_names,
        superclass_of=dataset.superclass_of,
        superclass_names=dataset.superclass_names,
    )
    return replace(
        dataset,
        origin=f"{dataset.origin}, resized to {image_size}x{image_size}",
        train_images=resized.train_images,
        test_images=resized.test_images,
        fingerprint=resized.fingerprint,
    )


def resize_images(images: np.ndarray, image_size: int) -> np.ndarray:
    """Resize uint8[N, H, W, C] to uint8[N, image_size, image_size, C]: bilinear, with antialiasing when they shrink.

    An image becomes the same whatever the others are.
    """
    import torch  # slow to import, and who asks for the names of data sets resizes none
    from torch.nn import functional

    resized = np.empty((len(images), image_size, image_size, images.shape[3]), dtype=np.uint8)
    for start in range(0, len(images), CHUNK_SIZE):
        chunk = torch.from_numpy(images[start : start + CHUNK_SIZE]).permute(0, 3, 1, 2)
        pixels = functional.interpolate(chunk, size=(image_size, image_size), mode="bilinear", antialias=True)
        resized[start : start + CHUNK_SIZE] = pixels.permute(0, 2, 3, 1).numpy()
    return resized
