"""What the data sets known by name hold when they are whole, and the check that files are that data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainables.data.decoded import Decoded
from trainables.data.types import DataError


@dataclass(frozen=True, kw_only=True)
class Known:
    """A published data set. num_images: of each class, all splits together; num_test: of each class, None if any.

    image_size: the side of every image, in pixels.
    """

    title: str
    image_size: int
    class_names: tuple[str, ...]
    num_images: tuple[int, ...]
    num_test: int | None


_CIFAR100_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple motorcycle mountain mouse mushroom oak orange orchid otter palm pear pickup_truck pine plain plate
poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout
tulip turtle wardrobe whale willow wolf woman worm
"""

KNOWN = {
    "cifar10": Known(
        title="CIFAR-10",
        image_size=32,
        class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        num_images=(6000,) * 10,
        num_test=1000,
    ),
    "cifar100": Known(
        title="CIFAR-100",
        image_size=32,
        class_names=tuple(_CIFAR100_NAMES.split()),
        num_images=(600,) * 100,
        num_test=100,
    ),
    "eurosat": Known(
        title="EuroSAT",
        image_size=64,
        class_names=(
            "AnnualCrop",
            "Forest",
            "HerbaceousVegetation",
            "Highway",
            "Industrial",
            "Pasture",
            "PermanentCrop",
            "Residential",
            "River",
            "SeaLake",
        ),
        num_images=(3000, 3000, 3000, 2500, 2500, 2000, 2500, 3000, 2500, 3000),
        num_test=None,  # it was published without a split
    ),
}


def require_whole(decoded: Decoded, name: str, where: str) -> None:
    """Raise DataError if this is not the whole of KNOWN[name]. where: the folder, for the error message.

    Class names may differ in case and punctuation, or be missing ("0", "1", ...).
    """
    known, found = KNOWN[name], decoded.class_names
    numbers = tuple(map(str, range(len(known.class_names))))
    if found != numbers and list(map(_letters, found)) != list(map(_letters, known.class_names)):
        odd = next(
            (pair for pair in zip(found, known.class_names, strict=False) if _letters(pair[0]) != _letters(pair[1])),
            None,
        )
        differs = (
            f"it has {len(found)} classes, and {known.title} has {len(known.class_names)}"
            if odd is None or len(found) != len(known.class_names)
            else f"a class of it is {odd[0]!r} where {known.title} has {odd[1]!r}"
        )
        raise _refused(known, where, differs)
    tested = np.bincount(decoded.test_labels, minlength=len(found))
    images = np.bincount(decoded.train_labels, minlength=len(found)) + tested
    expected = sum(known.num_images)
    if images.sum() != expected:
        raise _refused(known, where, f"it has {images.sum():,} images, and {known.title} has {expected:,}")
    checked = [(images, np.array(known.num_images), "images")]
    if known.num_test is not None:
        checked.append((tested, np.full(len(found), known.num_test), "test images"))
    for counts, right, of in checked:
        wrong = np.flatnonzero(counts != right)
        if len(wrong):
            label = wrong[0]
            has = f"its class {found[label]!r} has {counts[label]:,} {of} instead of {right[label]:,}"
            raise _refused(known, where, has)
    size, side = decoded.train_images.shape[1], known.image_size
    if size != side or decoded.odd_image is not None:
        size_says = f"its images are {size} x {size} pixels" if size != side else decoded.odd_image
        raise _refused(known, where, f"{size_says}, and those of {known.title} are {side} x {side}")


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()


def _refused(known: Known, where: str, differs: str) -> DataError:
    return DataError(
        f"{where} is not the whole {known.title}: {differs}; fetch it anew, or give this folder by --dataset PATH as "
        "what it is"
    )
