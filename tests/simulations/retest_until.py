"""What --retest-until decide spends and proves, against retests on a fixed number of seeds.

    python tests/simulations/retest_until.py [--studies 1000] [--arms 2,6] [--most 20]

Each study has a control and k - 1 other arms, of which one is better by a gap; the rest equal the control. A seed moves
all arms alike and each arm by itself; the gap is in standard deviations of a paired difference of one seed. Printed are
how often a difference to the control is claimed that is not so (of the wrong sign, or where there is none), how often
the better arm is told from the control, the trainings that this took, and those of the smallest fixed number of seeds
that tells it as often (a dash where no number up to the most does, or there is no gap).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from study.analysis.contenders import Scores, needing_seeds, paired_to_control  # noqa: E402
from study.core.looks import look_sizes  # noqa: E402

CONTROL, BETTER, FIRST, STEP = "a0", "a1", 3, 1e-4
NOISE = 0.01 / np.sqrt(2)  # so that a paired difference of one seed deviates by 0.01


def study(rng: np.random.Generator, *, num_arms: int, gap: float, most: int) -> Scores:
    """The scores that each arm would have on each of the most seeds."""
    lifts = np.array([0.0, 0.01 * gap, *[0.0] * (num_arms - 2)])
    by_seed = 0.7 + lifts + rng.normal(0, 0.01, (most, 1)) + rng.normal(0, NOISE, (most, num_arms))
    return dict(pd.DataFrame(by_seed, columns=[f"a{k}" for k in range(num_arms)]).items())  # type: ignore[arg-type]


def adaptive(scores: Scores, looks: tuple[int, ...]) -> Scores:
    """What --retest-until decide would have retested of them."""
    arms, seen = list(scores), dict.fromkeys(scores, 0)
    for number in looks:
        seen |= dict.fromkeys(arms, number)
        found = {arm: values[: seen[arm]] for arm, values in scores.items()}
        arms = list(needing_seeds(found, CONTROL, step=STEP, num_looks=len(looks), narrow=0.0))
        if not arms:
            break
    return found


def claims(scores: Scores, *, gap: float, num_looks: int) -> tuple[bool, bool]:
    """(whether anything is claimed of the control that is not so, whether the better arm is told from it)"""
    differences = paired_to_control(scores, CONTROL, step=STEP, num_looks=num_looks)
    wrong = False
    for arm, difference in differences.items():
        truth = gap if arm == BETTER else 0.0
        wrong |= difference.excludes_zero and np.sign(difference.mean) != np.sign(truth)
    better = differences[BETTER]
    return wrong, gap > 0 and better.excludes_zero and better.mean > 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--arms", default="2,6")
    parser.add_argument("--most", type=int, default=20)
    options = parser.parse_args()
    rng, looks = np.random.default_rng(0), look_sizes(FIRST, options.most)
    print(f"looks at {looks}\narms  gap  wrong %  told %  trainings  fixed: seeds  trainings")
    for num_arms in map(int, options.arms.split(",")):
        for gap in (0.0, 1.0, 1.5, 2.0, 3.0, 5.0):
            studies = [study(rng, num_arms=num_arms, gap=gap, most=options.most) for _ in range(options.studies)]
            ended = [adaptive(scores, looks) for scores in studies]
            found = [claims(scores, gap=gap, num_looks=len(looks)) for scores in ended]
            wrong, told = 100 * np.mean(found, axis=0)
            spent = np.mean([sum(map(len, scores.values())) for scores in ended])
            print(f"{num_arms:4d} {gap:4.1f} {wrong:8.1f} {told:7.1f} {spent:10.1f}", end="  ")
            number = fixed_seeds(studies, gap, told, options.most) if gap else None
            print("           -          -" if number is None else f"{number:12d} {num_arms * number:10d}", flush=True)


def fixed_seeds(studies: list[Scores], gap: float, told: float, most: int) -> int | None:
    """The smallest number of seeds, the same in all arms, that tells the better arm from the control as often."""
    for number in range(2, most + 1):
        cut = [{arm: values[:number] for arm, values in scores.items()} for scores in studies]
        if 100 * np.mean([claims(scores, gap=gap, num_looks=1)[1] for scores in cut]) >= told:
            return number
    return None


if __name__ == "__main__":
    main()
