"""Fronts of several costs: what nothing else beats in all of them, and where a front bends."""

from __future__ import annotations

import numpy as np


def non_dominated(costs: np.ndarray) -> np.ndarray:
    """Of each row, whether no other row is at most as large everywhere and smaller somewhere. float64[N, K] -> bool[N].

    Equal rows do not beat each other.
    """
    return np.array([not ((costs <= row).all(axis=1) & (costs < row).any(axis=1)).any() for row in costs], dtype=bool)


def knee(costs: np.ndarray) -> int | None:
    """The row of the front of two costs, float64[N, 2], that lies farthest below the line between the front's ends.

    Both costs are scaled to 0-1 over the front first. None if no row lies below the line; of equal rows the first.

    Example: the middle one costs a tenth of the range in both; a front of two has no middle.

    >>> knee(np.array([[0.0, 10.0], [1.0, 1.0], [10.0, 0.0]]))
    1
    >>> knee(np.array([[0.0, 10.0], [10.0, 0.0]])) is None
    True
    """
    front = np.flatnonzero(non_dominated(costs))
    own = costs[front]
    if len(own) < 3 or (np.ptp(own, axis=0) == 0).any():
        return None
    scaled = (own - own.min(axis=0)) / np.ptp(own, axis=0)
    sums = scaled.sum(axis=1)  # 1 on the line
    return int(front[sums.argmin()]) if sums.min() < 1 - 1e-9 else None
