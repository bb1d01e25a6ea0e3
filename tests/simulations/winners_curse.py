"""By how much the best arm's score is overstated, and by how much the page says so.

    python tests/simulations/winners_curse.py [--studies 600] [--arms 2,6,19] [--seeds 3,5,10]

Each study has k arms whose true scores spread by 0, 1 or 3 standard errors; a seed moves all arms alike and each arm by
itself. In standard errors of an arm's mean: how far the highest mean lies above its arm's true score, what the page
says, and what is left of it where the arm that the other seeds pick is read on the one left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from study.analysis import selection as selections  # noqa: E402

NOISE = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=600)
    parser.add_argument("--arms", default="2,6,19")
    parser.add_argument("--seeds", default="3,5,10")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print("arms seeds spread  true  said  left when held out")
    for num_arms in map(int, options.arms.split(",")):
        for n in map(int, options.seeds.split(",")):
            for spread in (0.0, 1.0, 3.0):
                studies = [one_study(rng, num_arms=num_arms, n=n, spread=spread) for _ in range(options.studies)]
                true, said, left = np.mean(studies, axis=0) / (NOISE / np.sqrt(n))
                print(f"{num_arms:4d} {n:5d} {spread:6.0f} {true:5.2f} {said:5.2f} {left:5.2f}", flush=True)


def one_study(rng: np.random.Generator, *, num_arms: int, n: int, spread: float) -> tuple[float, float, float]:
    true_scores = 0.7 + rng.normal(0, spread * NOISE / np.sqrt(n), num_arms)
    by_seed = true_scores + rng.normal(0, NOISE, (n, 1)) + rng.normal(0, NOISE, (n, num_arms))
    by_seed -= by_seed.mean() - true_scores.mean()  # the seeds' own mean picks no arm
    found = selections.selection(dict(pd.DataFrame(by_seed).items()))
    best = by_seed.mean(axis=0).argmax()
    held_out = selections.held_out_score(by_seed.T)
    assert found is not None
    return by_seed.mean(axis=0)[best] - true_scores[best], found.overstated, held_out - true_scores[best]


if __name__ == "__main__":
    main()
