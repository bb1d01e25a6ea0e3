"""Superclasses: from the two labels of each image to the superclass of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainables.data.types import DataError


def nest_classes(
    labels: np.ndarray,
    superclass_labels: np.ndarray,
    *,
    class_names: Sequence[str],
    superclass_names: Sequence[str],
    where: str,
) -> tuple[int, ...]:
    """The superclass of each class, a position in superclass_names.

    labels, superclass_labels: int64[N], of the same images; where: the folder, for error messages. Raises DataError
    if a class has no image, or images of more than one superclass.
    """
    superclass_of = []
    for label, class_name in enumerate(class_names):
        found = np.unique(superclass_labels[labels == label])
        if len(found) != 1:
            names = ", ".join(repr(superclass_names[superclass]) for superclass in found) or "none"
            raise DataError(
                f"class {class_name!r} of {where} must belong to exactly one superclass, "
                f"and its images have {len(found)}: {names}"
            )
        superclass_of.append(int(found[0]))
    return tuple(superclass_of)
