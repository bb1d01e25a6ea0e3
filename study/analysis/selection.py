"""The winner's curse: by how much the best arm's score is overstated because it was picked by that very score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

NUM_DRAWS = 4_000
LEAST_SEEDS_HELD_OUT = 4
"""With fewer, the arm that the other seeds choose is too often another one to say much about the best."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The score of the arm that was picked as the best, 0-1 like its differences.

    overstated: by how much its mean lies above its true score on average, simulated. held_out: see `held_out_score`;
    None below LEAST_SEEDS_HELD_OUT seeds.
    """

    overstated: float
    held_out: float | None
    n: int


def selection(scores: Mapping[str, pd.Series]) -> Selection | None:
    """Judge the pick of the arm with the highest mean. scores: arm -> test scores indexed by seed.

    Only seeds that all arms have count; None with fewer than two arms or seeds.
    """
    by_seed = pd.DataFrame(dict(scores)).dropna().to_numpy().T
    num_arms, n = by_seed.shape if by_seed.size else (0, 0)
    if num_arms < 2 or n < 2:
        return None
    means = by_seed.mean(axis=1)
    standard_error = math.sqrt(_residual_variance(by_seed) / n)
    return Selection(
        overstated=_overstated(_shrunken(means, standard_error), standard_error),
        held_out=held_out_score(by_seed) if n >= LEAST_SEEDS_HELD_OUT else None,
        n=n,
    )


def _residual_variance(by_seed: np.ndarray) -> float:
    """The variance of a score without what its arm and its seed share: a two-way layout, one value a cell."""
    residuals = by_seed - by_seed.mean(axis=1, keepdims=True) - by_seed.mean(axis=0) + by_seed.mean()
    num_arms, n = by_seed.shape
    return float((residuals**2).sum() / ((num_arms - 1) * (n - 1)))


def _shrunken(means: np.ndarray, standard_error: float) -> np.ndarray:
    """The means drawn together, so that they spread as the true scores do: those observed spread more, by the noise.

    float64[A] -> float64[A]. "Constrained" empirical Bayes (Louis 1984).
    """
    observed = float(means.var(ddof=1))
    true = max(0.0, observed - standard_error**2)
    return means.mean() + (math.sqrt(true / observed) if observed > 0 else 0.0) * (means - means.mean())


def _overstated(true_scores: np.ndarray, standard_error: float) -> float:
    """The mean over studies of how far the highest mean lies above the true score of its arm."""
    noise = np.random.default_rng(0).standard_normal((NUM_DRAWS, len(true_scores))) * standard_error
    picked = (true_scores + noise).argmax(axis=1)
    return float(noise[np.arange(NUM_DRAWS), picked].mean())


def held_out_score(by_seed: np.ndarray) -> float:
    """Each seed's score of the arm that the other seeds pick, the mean over seeds. by_seed: float64[arms, seeds]."""
    found = []
    for seed in range(by_seed.shape[1]):
        picked = np.delete(by_seed, seed, axis=1).mean(axis=1).argmax()
        found.append(by_seed[picked, seed])
    return float(np.mean(found))
