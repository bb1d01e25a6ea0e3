"""The embedded data sets, made of scikit-learn's 1,797 handwritten 8x8 digits: the digits, and pairs of them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from trainables.data.assemble import assemble_dataset
from trainables.data.decoded import make_decoded
from trainables.data.splits import split_validation, thin
from trainables.data.types import ImageDataset

IMAGE_SIZE = 32
NUM_TEST_PER_CLASS = 50
NUM_VAL_PER_CLASS = 20
TEST_SEED = 0

DIGIT_SIZE = 8
PAIR_SIZE = 2 * DIGIT_SIZE
# Least distance of a digit from the upper and lower border: as far as `random_crop` may shift an image.
PAIR_MARGIN = PAIR_SIZE // 8
NUM_TRAIN_PER_PAIR, NUM_VAL_PER_PAIR, NUM_TEST_PER_PAIR = 20, 4, 15
PAIR_SEED = 0


def load_digits() -> ImageDataset:
    """scikit-learn's digits: 1,297 + 500 images of 32x32x3 in 10 classes; needs no download and no cache.

    Grey values 0-16 become 0-255; images are enlarged bilinearly and repeated in three channels, so that every model
    made for CIFAR-10 accepts them. The test split has 50 images of each class, drawn with seed 0. A mirrored
    digit is another digit or none, so flip_keeps_label is False.
    """
    digits, labels, train, test = _split_digits(IMAGE_SIZE)
    images = _with_channels(digits)
    decoded = make_decoded(
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        class_names=[str(digit) for digit in range(10)],
    )
    return assemble_dataset(
        decoded,
        name="digits",
        origin="digits, the embedded data set (scikit-learn's real 8x8 handwriting, enlarged to 32x32x3)",
        where="digits",
        flip_keeps_label=False,
        num_val_per_class=NUM_VAL_PER_CLASS,
    )


def load_digit_pairs() -> ImageDataset:
    """Two digits side by side: 2,400 + 1,500 images of 16x16x3 in 100 classes "00" to "99"; needs no download.

    Each digit keeps its 8x8 pixels and stands at a random height in its half; the superclass of a pair is its first
    digit. A digit appears in several pairs, so the digits are split before they are paired: test pairs are made of the
    test digits of `load_digits`, validation pairs (4 per class) of 20 of its training digits per class, training pairs
    of the rest. If validation pairs were drawn from all pairs, their digits would also be in training pairs, and
    validation would say little about the test. Everything is drawn with seed 0.
    """
    digits, labels, train, test = _split_digits(DIGIT_SIZE)
    known, held_out = (train[part] for part in split_validation(labels[train], np.full(10, NUM_VAL_PER_CLASS)))
    generator = np.random.default_rng(PAIR_SEED)
    train_images, train_labels = _pair(digits, labels, known, NUM_TRAIN_PER_PAIR, generator)
    val_images, val_labels = _pair(digits, labels, held_out, NUM_VAL_PER_PAIR, generator)
    test_images, test_labels = _pair(digits, labels, test, NUM_TEST_PER_PAIR, generator)
    decoded = make_decoded(
        train_images=np.concatenate([train_images, val_images]),
        train_labels=np.concatenate([train_labels, val_labels]),
        test_images=test_images,
        test_labels=test_labels,
        class_names=[f"{pair:02}" for pair in range(100)],
        superclass_of=[pair // 10 for pair in range(100)],
        superclass_names=[f"{digit}x" for digit in range(10)],
    )
    return assemble_dataset(
        decoded,
        name="digit-pairs",
        origin="digit-pairs, the embedded data set (two of scikit-learn's real 8x8 digits side by side, in 16x16x3)",
        where="digit-pairs",
        flip_keeps_label=False,
        num_val_per_class=NUM_VAL_PER_PAIR,
        val_indices=len(train_labels) + np.arange(len(val_labels), dtype=np.int64),
    )


def _split_digits(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Grey digits, uint8[1797, size, size], their labels, and the sorted train and test indices (int64 each)."""
    from sklearn.datasets import load_digits as load_sklearn_digits  # slow to import, and not needed in workers

    digits = load_sklearn_digits()
    gray = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    enlarged = [np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)) for image in gray]
    labels = digits.target.astype(np.int64)
    indices = np.arange(len(labels))
    test = thin(labels, indices, np.full(10, NUM_TEST_PER_CLASS), TEST_SEED)
    return np.stack(enlarged), labels, np.setdiff1d(indices, test), test


def _pair(
    digits: np.ndarray, labels: np.ndarray, indices: np.ndarray, num_per_pair: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """num_per_pair images per class, made of digits[indices]: uint8[100 · num_per_pair, 16, 16, 3], and labels."""
    pair_labels = np.repeat(np.arange(100), num_per_pair)
    images = np.zeros((len(pair_labels), PAIR_SIZE, PAIR_SIZE), dtype=np.uint8)
    members = [indices[labels[indices] == digit] for digit in range(10)]
    for image, pair in zip(images, pair_labels, strict=True):
        for half, digit in zip(np.hsplit(image, 2), divmod(pair, 10), strict=True):
            top = generator.integers(PAIR_MARGIN, PAIR_SIZE - DIGIT_SIZE - PAIR_MARGIN, endpoint=True)
            half[top : top + DIGIT_SIZE] = digits[generator.choice(members[digit])]
    return _with_channels(images), pair_labels


def _with_channels(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[..., None], 3, axis=3)
