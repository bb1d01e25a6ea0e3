"""A data set that is asked for by name is the published one, whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trainables.data import DataError
from trainables.data.decoded import Decoded, make_decoded
from trainables.data.known import KNOWN, require_whole


def decoded_of(name: str, *, class_names: tuple[str, ...] | None = None, moved: int = 0, taken: int = 0) -> Decoded:
    """The right labels with black images; `moved` of them from the last class to the first, `taken` away."""
    known = KNOWN[name]
    num_test = known.num_test or 100
    train = np.repeat(np.arange(len(known.num_images)), np.array(known.num_images) - num_test)
    train[len(train) - moved :] = 0
    train = train[: len(train) - taken]
    test = np.repeat(np.arange(len(known.num_images)), num_test)
    decoded = make_decoded(
        train_images=np.zeros((len(train), 1, 1, 1)),
        train_labels=train,
        test_images=np.zeros((len(test), 1, 1, 1)),
        test_labels=test,
        class_names=class_names or known.class_names,
    )
    side = {"cifar10": 32, "cifar100": 32, "eurosat": 64}[name]
    return replace(decoded, train_images=np.broadcast_to(np.uint8(0), (len(train), side, side, 1)))


@pytest.mark.parametrize(("name", "num_images"), [("cifar10", 60_000), ("cifar100", 60_000), ("eurosat", 27_000)])
def test_the_whole_data_set_passes_under_its_names_or_numbers(name: str, num_images: int) -> None:
    known = KNOWN[name]
    assert sum(known.num_images) == num_images
    assert len(set(known.class_names)) == len(known.num_images)
    require_whole(decoded_of(name), name, "there")
    require_whole(decoded_of(name, class_names=tuple(map(str, range(len(known.num_images))))), name, "there")


def test_the_names_are_compared_without_case_and_spaces() -> None:
    assert KNOWN["cifar10"].class_names[:2] == ("airplane", "automobile")
    assert list(KNOWN["cifar100"].class_names) == sorted(KNOWN["cifar100"].class_names)
    names = ("Annual Crop", "Forest", "herbaceous vegetation", *KNOWN["eurosat"].class_names[3:])
    require_whole(decoded_of("eurosat", class_names=names), "eurosat", "there")


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ({"taken": 1}, "it has 59,999 images, and CIFAR-10 has 60,000"),
        ({"moved": 1}, "its class 'airplane' has 6,001 images instead of 6,000"),
        ({"class_names": ("ape", *KNOWN["cifar10"].class_names[1:])}, "a class of it is 'ape' where CIFAR-10 has "),
        ({"class_names": (*KNOWN["cifar10"].class_names, "unicorn")}, "it has 11 classes, and CIFAR-10 has 10"),
    ],
)
def test_what_differs_is_said(changed: dict, differs: str) -> None:
    with pytest.raises(DataError) as caught:
        require_whole(decoded_of("cifar10", **changed), "cifar10", "there")
    assert str(caught.value).startswith(f"there is not the whole CIFAR-10: {differs}")


def test_images_of_another_size_are_noticed() -> None:
    right = decoded_of("eurosat")
    for changed, differs in (
        ({"train_images": right.train_images[:, :32, :32]}, "its images are 32 x 32 pixels"),
        ({"odd_image": "row 7 of train.parquet is 64 x 48 pixels"}, "row 7 of train.parquet is 64 x 48 pixels"),
    ):
        with pytest.raises(DataError) as caught:
            require_whole(replace(right, **changed), "eurosat", "there")
        assert str(caught.value) == (
            f"there is not the whole EuroSAT: {differs}, and those of EuroSAT are 64 x 64; fetch it anew, or give this "
            "folder by --dataset PATH as what it is"
        )


def test_images_moved_from_training_to_the_test_are_noticed() -> None:
    right = decoded_of("cifar10")
    moved = make_decoded(
        train_images=right.train_images[1:],
        train_labels=right.train_labels[1:],
        test_images=np.zeros((10_001, 1, 1, 1)),
        test_labels=np.append(right.test_labels, 0),
        class_names=right.class_names,
    )
    with pytest.raises(DataError, match="its class 'airplane' has 1,001 test images instead of 1,000"):
        require_whole(moved, "cifar10", "there")
