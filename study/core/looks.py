"""The numbers of seeds after which a retest may end."""

from __future__ import annotations

import math

GROWTH = 1.5


def look_sizes(first: int, most: int) -> tuple[int, ...]:
    """Each half as many again as the one before, rounded up; the last is `most`.

    >>> look_sizes(3, 20)
    (3, 5, 8, 12, 18, 20)
    """
    sizes = [first]
    while sizes[-1] < most:
        sizes.append(min(most, math.ceil(GROWTH * sizes[-1])))
    return tuple(sizes)
