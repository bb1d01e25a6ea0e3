"""How often an arm is told from the control where all are equal: Bonferroni, Dunnett, moderated spreads.

    python tests/simulations/simultaneous.py [--studies 2000] [--comparisons 1,5,18] [--seeds 3,5,10]

The reason why the page compares arms with the control by Bonferroni's inequality, each by its own spread. In % of
studies; each is to be at most 5. Spreads of the arms over seeds: equal, drawn up to threefold or tenfold, or tenfold
for the control or for one arm.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from scipy import optimize, special

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from study.analysis.intervals import LEVEL, half_widths  # noqa: E402

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(61)


def tenfold(of: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    return lambda rng, num_arms: np.where(np.arange(num_arms) == of, 10.0, 1.0)


SPREADS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "equal": lambda rng, num_arms: np.ones(num_arms),
    "up to threefold": lambda rng, num_arms: 3 ** rng.uniform(0, 1, num_arms),
    "up to tenfold": lambda rng, num_arms: 10 ** rng.uniform(0, 1, num_arms),
    "control tenfold": tenfold(0),
    "one arm tenfold": tenfold(1),
}


@cache
def dunnett_quantile(comparisons: int, freedom: int) -> float:
    """Two-sided, of the largest |t| of comparisons with one control, arms of one size and spread (Dunnett 1955)."""
    chi = np.sqrt(special.chdtri(freedom, 1 - (np.arange(400) + 0.5) / 400) / freedom)
    weights = WEIGHTS / WEIGHTS.sum()

    def missed(quantile: float) -> float:
        reach = np.sqrt(2) * quantile * chi
        inside = special.ndtr(NODES[:, None] + reach) - special.ndtr(NODES[:, None] - reach)
        return float((weights[:, None] * inside**comparisons).sum(axis=0).mean() - LEVEL)

    return float(optimize.brentq(missed, 1, 50))


def moderated(variances: np.ndarray, freedom: int) -> tuple[np.ndarray, float]:
    """Variances drawn together, and their degrees of freedom (Smyth 2004, "limma", section 6)."""
    logs = np.log(variances) - special.digamma(freedom / 2) + np.log(freedom / 2)
    beyond = logs.var(ddof=1) - special.polygamma(1, freedom / 2)
    if beyond <= 0:
        return np.full_like(variances, np.exp(logs.mean())), len(variances) * freedom
    prior = 2 * optimize.brentq(lambda half: special.polygamma(1, half) - beyond, 1e-6, 1e6)
    common = np.exp(logs.mean() + special.digamma(prior / 2) - np.log(prior / 2))
    return (prior * common + freedom * variances) / (prior + freedom), min(prior + freedom, len(variances) * freedom)


def study(rng: np.random.Generator, *, comparisons: int, n: int, spreads: np.ndarray) -> list[bool]:
    """Whether each method tells any arm from the control."""
    by_seed = rng.normal(size=(comparisons + 1, n)) * spreads[:, None]
    differences = by_seed[1:] - by_seed[0]
    means, variances = np.abs(differences.mean(axis=1)), differences.var(axis=1, ddof=1)
    own = half_widths(np.sqrt(variances), n, num_intervals=comparisons, least_sd=0.0)
    residuals = by_seed - by_seed.mean(axis=1, keepdims=True) - by_seed.mean(axis=0) + by_seed.mean()
    freedom = comparisons * (n - 1)
    pooled = dunnett_quantile(comparisons, freedom) * np.sqrt(2 * (residuals**2).sum() / freedom / n)
    together, degrees = moderated(variances, n - 1) if comparisons > 1 else (variances, n - 1)
    quantile = special.stdtrit(degrees, 1 - (1 - LEVEL) / comparisons / 2)
    return [bool((means > half).any()) for half in (own, pooled, quantile * np.sqrt(together / n))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--comparisons", default="1,5,18")
    parser.add_argument("--seeds", default="3,5,10")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print("comparisons seeds  spreads          Bonferroni  Dunnett  moderated")
    for comparisons in map(int, options.comparisons.split(",")):
        for n in map(int, options.seeds.split(",")):
            for name, spreads in SPREADS.items():
                found = [
                    study(rng, comparisons=comparisons, n=n, spreads=spreads(rng, comparisons + 1))
                    for _ in range(options.studies)
                ]
                own, pooled, together = 100 * np.mean(found, axis=0)
                print(f"{comparisons:11d} {n:5d}  {name:16s} {own:10.1f} {pooled:8.1f} {together:10.1f}", flush=True)


if __name__ == "__main__":
    main()
