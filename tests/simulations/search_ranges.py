"""Whether the proposals of each sampler reach optima planted near either end of every range, in every arm.

    python tests/simulations/search_ranges.py [--samplers tpe,qmc] [--arms small_cnn,focal] [--trials 48] [--seeds 3]

A line a plan: an end, 0.1 or 0.9, and the best optimiser where an arm chooses among several. For each of its
knobs: how near the nearest proposal came to the optimum, as a share of the range, and which share of the proposals
after the first third of the trials lie within 0.15 of it (0.25 of a uniform draw).
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

from planted_optima import plans, propose  # noqa: E402

from search_spaces import baseline, cifar100, imbalance, jigsaw  # noqa: E402
from search_spaces.space import Arm, SearchSpace  # noqa: E402

KNOBS = ("learning_rate", "momentum", "weight_decay")
SAMPLERS = ("tpe", "random", "qmc", "cmaes", "gp")


def all_arms() -> Iterator[tuple[str, SearchSpace, Arm]]:
    """(task, space, arm) of every space, as for CIFAR-10's and CIFAR-100's whole training sets."""
    spaces = {
        "baseline": baseline.search_space(num_train=45_000, image_size=32, padding="same", flip=True),
        "imbalance": imbalance.search_space(num_train=22_500, model="small_cnn", augmentation="crop_flip"),
        "cifar100": cifar100.search_space(
            num_train=45_000, image_size=32, model="resnet18", deeper="resnet34", flip=True
        ),
        "pretext": jigsaw.pretext_space(num_train=45_000, grid=2, flip=True),
    }
    for task, space in spaces.items():
        for arm in space.arms.values():
            yield task, space, arm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--arms", default="")
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(f"{'':63s}{''.join(f'{knob:>13s}' for knob in KNOBS)}")
    for task, space, arm in all_arms():
        if options.arms and arm.name not in options.arms.split(","):
            continue
        for sampler in options.samplers.split(","):
            for plan in plans(space, arm):
                rows = [
                    row
                    for seed in range(options.seeds)
                    for row in propose(space, arm, plan, sampler=sampler, num_trials=options.trials, seed=seed)
                ]
                optimum = f"{plan.optimizer or 'any'} {plan.end}"
                print(f"{task:9s} {arm.name:31s} {sampler:8s} {optimum:12s}", end="")
                for knob in KNOBS:
                    distances = [abs(row[knob] - plan.end) for row in rows if knob in row]
                    late = [
                        abs(row[knob] - plan.end) < 0.15
                        for row in rows
                        if knob in row and row["number"] >= options.trials // 3
                    ]
                    print(f" {min(distances):6.2f} {statistics.mean(late):5.2f}" if late else "      -     -", end="")
                print(flush=True)


if __name__ == "__main__":
    main()
