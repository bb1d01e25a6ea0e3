"""How often a page claims a gain where all arms are equal, by the page's own functions.

    python tests/simulations/claims.py [--studies 2000] [--arms 2,6,19] [--seeds 3,5,10]

Each study has k arms of the same true score; a seed moves all arms alike (training subset) and each arm by itself. A
score is a number of right answers among the test images. Printed are the shares of studies in which a sentence claims
what is not so: any arm above the control, which the headline and a remark name, and one arm alone as the best; and the
share in which a given arm, truly one of the best, is ruled out as the best. Each is to be at most 5 %.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from study.analysis import results  # noqa: E402
from study.analysis.tables import Tables  # noqa: E402
from study.core.stage import TUNE, Group, retests_of  # noqa: E402

SCORE = "test_accuracy"


def made_up(rng: np.random.Generator, *, num_arms: int, num_seeds: int, num_test: int, spread: np.ndarray) -> Tables:
    """Tables of a study whose arms are equal. spread: each arm's standard deviation over seeds, 0-1."""
    arms = [f"arm{k}" for k in range(num_arms)]
    common = rng.normal(0.8, 0.01, (num_seeds, 1))
    share = np.clip(common + rng.normal(0, 1, (num_seeds, num_arms)) * spread, 0, 1)
    right = rng.binomial(num_test, share) / num_test
    retests = pd.DataFrame(
        [
            {"stage": retests_of(TUNE), "arm": arm, "seed": seed, SCORE: right[seed, k]}
            for k, arm in enumerate(arms)
            for seed in range(num_seeds)
        ]
    )
    trials = pd.DataFrame({"stage": TUNE, "arm": arms, "status": "failed", "objective": np.nan, "number": 0})
    group = {"title": "", "control": arms[0], "arms": arms}
    facts = {"task": "", "score": SCORE, "budget": {}, "dataset": {"num_test": num_test}}
    summary = {**facts, "arms": arms, "groups": [group]}
    empty = pd.DataFrame()
    return Tables(spec={}, summary=summary, trials=trials, epochs=empty, rungs=empty, retests=retests)


def claims(tables: Tables) -> Counter[str]:
    group: Group = tables.groups[0]
    verdict = results.verdict(tables, group)
    return Counter(
        above_control=bool(verdict.above_control),
        one_best=len(verdict.may_be_best) == 1,
        ruled_out="arm1" not in verdict.may_be_best,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--arms", default="2,6,19")
    parser.add_argument("--seeds", default="3,5,10")
    options = parser.parse_args()
    print("arms  n   test images  spreads  above control  one best  a best one ruled out   (%)")
    for num_arms in map(int, options.arms.split(",")):
        for num_seeds in map(int, options.seeds.split(",")):
            for num_test, uneven in ((10_000, False), (10_000, True), (100, False)):
                rng = np.random.default_rng(0)
                spread = 0.005 * (np.geomspace(0.3, 3, num_arms) if uneven else np.ones(num_arms))
                counts: Counter[str] = Counter()
                for _ in range(options.studies):
                    study = made_up(rng, num_arms=num_arms, num_seeds=num_seeds, num_test=num_test, spread=spread)
                    counts += claims(study)
                above, alone, ruled_out = (
                    100 * counts[name] / options.studies for name in ("above_control", "one_best", "ruled_out")
                )
                print(
                    f"{num_arms:4d} {num_seeds:2d} {num_test:13,d}  {'uneven' if uneven else 'equal':7s} "
                    f"{above:14.1f} {alone:9.1f} {ruled_out:21.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
