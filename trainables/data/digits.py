"""digits, the embedded data set: scikit-learn's 1,797 handwritten 8x8 digits, enlarged to 32x32x3."""

from __future__ import annotations

import numpy as np
from PIL import Image

from trainables.data.assemble import assemble_dataset
from trainables.data.decoded import make_decoded
from trainables.data.splits import thin
from trainables.data.types import ImageDataset

IMAGE_SIZE = 32
NUM_TEST_PER_CLASS = 50
NUM_VAL_PER_CLASS = 20
TEST_SEED = 0


def load_digits() -> ImageDataset:
    """scikit-learn's digits: 1,297 + 500 images of 32x32x3 in 10 classes; needs no download and no cache.

    The grey values 0-16 become 0-255, enlarged bilinearly and repeated in three channels, so that every model
    made for CIFAR-10 takes them. The test split is 50 images of each class, drawn with seed 0. A mirrored
    digit is another digit or none, hence flip_keeps_label is False.
    """
    from sklearn.datasets import load_digits as load_sklearn_digits  # slow to import, and no worker needs it

    digits = load_sklearn_digits()
    gray = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    enlarged = np.stack([_enlarge(image) for image in gray])
    images = np.repeat(enlarged[..., None], 3, axis=3)
    labels = digits.target.astype(np.int64)
    indices = np.arange(len(labels))
    test = thin(labels, indices, np.full(10, NUM_TEST_PER_CLASS), TEST_SEED)
    train = np.setdiff1d(indices, test)
    decoded = make_decoded(
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        class_names=[str(name) for name in digits.target_names],
    )
    return assemble_dataset(
        decoded,
        name="digits",
        origin="digits, the embedded data set (scikit-learn's real 8x8 handwriting, enlarged to 32x32x3)",
        where="digits",
        flip_keeps_label=False,
        num_val_per_class=NUM_VAL_PER_CLASS,
    )


def _enlarge(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR))
