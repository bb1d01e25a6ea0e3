"""How often the interval of a difference covers the truth where the search has its own luck.

    python tests/simulations/searches.py [--studies 2000] [--searches 2,3,5] [--seeds 3]

Two arms, each tuned by K searches; a search's winner deviates from what searches of that arm find on average, and a
seed from its winner. The interval over K searches, by the page's own functions, and that over the seeds of one search,
which a study that tunes each arm once gives. In % of studies; each is to be 95. Mean half-widths beside them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from study.analysis.contenders import paired_to_control  # noqa: E402
from study.analysis.intervals import Interval  # noqa: E402

GAP = 0.02  # the arms' true difference
SEED_DEVIATION = 0.01


def arm(rng: np.random.Generator, *, mean: float, luck: float, searches: int, seeds: int) -> np.ndarray:
    """Test scores of the winners of an arm's searches: float64[K, n]."""
    winners = mean + rng.normal(0, luck, (searches, 1))
    return winners + rng.normal(0, SEED_DEVIATION, (searches, seeds))


def study(rng: np.random.Generator, *, luck: float, searches: int, seeds: int) -> tuple[Interval, Interval]:
    """The intervals of the difference over all searches, and over the seeds of the first one alone."""
    control = arm(rng, mean=0.7, luck=luck, searches=searches, seeds=seeds)
    treated = arm(rng, mean=0.7 + GAP, luck=luck, searches=searches, seeds=seeds)
    over = []
    for name, values in (("search", (control.mean(axis=1), treated.mean(axis=1))), ("seed", (control[0], treated[0]))):
        index = pd.RangeIndex(len(values[0]), name=name)
        scores = {arm: pd.Series(own, index=index) for arm, own in zip(("control", "treated"), values, strict=True)}
        over.append(paired_to_control(scores, "control", step=0.0)["treated"])
    return over[0], over[1]


def covers(interval: Interval) -> bool:
    return interval.low is not None and interval.high is not None and interval.low <= GAP <= interval.high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--searches", default="2,3,5")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print("luck of the search  searches   over searches: covers, ±   over one search's seeds: covers, ±")
    for ratio in (0.0, 0.5, 1.0, 2.0):
        for searches in map(int, options.searches.split(",")):
            found = [
                study(rng, luck=ratio * SEED_DEVIATION, searches=searches, seeds=options.seeds)
                for _ in range(options.studies)
            ]
            told = []
            for intervals in zip(*found, strict=True):
                share = 100 * np.mean([covers(interval) for interval in intervals])
                told.append(f"{share:20.1f} {100 * np.mean([interval.half_width for interval in intervals]):6.2f}")
            print(f"{ratio:18.1f} {searches:9d} {'    '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
