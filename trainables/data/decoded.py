"""Decoded: a data set as arrays, brought to their types, split, and fingerprinted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.data.class_names import normalised_names

ARRAY_NAMES = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A decoded data set: uint8[N, H, W, C] images and int64[N] labels of both splits.

    superclass_of: class -> superclass, a position in superclass_names; None if there are none. fingerprint: hex
    SHA-256 over the arrays (type, shape, contents), the class names and the superclasses, if any. own_size: the side
    that the images would have had, None if it is theirs. odd_image: the first image that was of another size, as the
    beginning of a sentence; None if there is none. remarks: as in ImageDataset, of the decoding; notices likewise, of
    the decoded copy. num_val: how many of the last training images are a validation split.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str
    superclass_of: tuple[int, ...] | None = None
    superclass_names: tuple[str, ...] | None = None
    own_size: int | None = None
    odd_image: str | None = None
    remarks: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    num_val: int = 0


def make_decoded(
    *,
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    class_names: Sequence[str],
    superclass_of: Sequence[int] | None = None,
    superclass_names: Sequence[str] | None = None,
    own_size: int | None = None,
    odd_image: str | None = None,
    remarks: Sequence[str] = (),
    num_val: int = 0,
) -> Decoded:
    """Convert the arrays to their dtypes, contiguous, and compute the fingerprint."""
    arrays: dict[str, Any] = {
        "train_images": np.ascontiguousarray(train_images, dtype=np.uint8),
        "train_labels": np.ascontiguousarray(train_labels, dtype=np.int64),
        "test_images": np.ascontiguousarray(test_images, dtype=np.uint8),
        "test_labels": np.ascontiguousarray(test_labels, dtype=np.int64),
    }
    class_names = normalised_names(class_names)
    contents: list[Any] = [[[name, _array_sha256(arrays[name])] for name in ARRAY_NAMES], class_names]
    if superclass_of is not None:
        contents += [superclass_of, superclass_names]
    return Decoded(
        **arrays,
        class_names=class_names,
        fingerprint=hashlib.sha256(json.dumps(contents).encode()).hexdigest(),
        superclass_of=None if superclass_of is None else tuple(superclass_of),
        superclass_names=None if superclass_names is None else tuple(superclass_names),
        own_size=own_size,
        odd_image=odd_image,
        remarks=tuple(remarks),
        num_val=num_val,
    )


def decoded_of_splits(
    *,
    images: np.ndarray,
    labels: np.ndarray,
    num_train: int,
    num_val: int,
    class_names: Sequence[str],
    remarks: Sequence[str] = (),
    **nested: Any,
) -> Decoded:
    """Make a data set of images that are in the order train, validation, test. nested: further of make_decoded's.

    Validation images that lack a class cannot judge all classes: they are left out, and a remark says so.
    """
    end = num_train + num_val
    missing = np.setdiff1d(np.arange(len(class_names)), labels[num_train:end])
    is_used = num_val > 0 and not len(missing)
    if is_used:
        remarks = (*remarks, f"The validation split's {num_val:,} images are validated on; none is cut from training.")
    elif num_val:
        remarks = (
            *remarks,
            f"The validation split's {num_val:,} images are not used, because none is of class "
            f"{class_names[missing[0]]!r}; validation is cut from training instead.",
        )
    last = end if is_used else num_train
    return make_decoded(
        train_images=images[:last],
        train_labels=labels[:last],
        test_images=images[end:],
        test_labels=labels[end:],
        class_names=class_names,
        remarks=remarks,
        num_val=num_val if is_used else 0,
        **nested,
    )


def _array_sha256(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    digest.update(array.data)
    return digest.hexdigest()
