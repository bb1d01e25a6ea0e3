"""What a page says, against studies whose truth is planted in their learning curves; by the page's own functions.

    python tests/simulations/whole_studies.py [--studies 1000] [--seeds 3,5,10]

Each study is a search and its retests. An arm has a true score that it reaches with the right learning rate, and less
the farther from it (a parabola over the logarithm); weight decay and momentum do nothing. A trial's score rises towards
its own over the epochs, some quickly, some slowly: slow ones that would have won are stopped early, and it is known
which. Random search draws the trials, ASHA stops them by the project's rule, the best that reached the end is retested:
a seed moves all arms alike (the training subset) and each arm by itself, and a score is a number of right answers among
the test images. Printed:

- coverage: how often the 95 % interval of one arm's paired difference to the control holds the true difference of the
  two winners' configurations;
- null: of studies with equal arms, how many have a page whose first sentence claims a gain, whichever arm it names;
- right arm: of studies in which one arm is better by three standard errors of a mean difference, how many first
  sentences name it as the best;
- false stops: what share of the stopped trials would have beaten their arm's winner, what an audit of ten says on
  average, and how often its interval holds the share;
- important knob: in how many arms the learning rate comes first in importance, and how often a knob that does nothing
  is called more important than chance.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from planted_studies import (  # noqa: E402
    ARMS,
    audit_of,
    base_tables,
    claims_a_gain,
    covers,
    difference_error,
    first_sentence,
    planted_study,
    with_winners,
)

from study.analysis.audit import false_stops  # noqa: E402
from study.analysis.importance import ALL_ARMS, importances  # noqa: E402
from study.analysis.results import verdict  # noqa: E402
from study.analysis.tables import Tables  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seeds", default="3,5,10")
    parser.add_argument("--importance-studies", type=int, default=50)
    options = parser.parse_args()
    base = base_tables()
    level = [0.0] * len(ARMS)
    print(" n   coverage %  null: a gain claimed %  right arm named %   said of it: a gain %")
    for num_seeds in map(int, options.seeds.split(",")):
        rng = np.random.default_rng(num_seeds)
        lifts = [*level[:-1], 3 * difference_error(num_seeds)]
        counts = np.zeros(4)
        for _ in range(options.studies):
            study = planted_study(base, rng, level, num_seeds=num_seeds)
            gapped = with_winners(study, base, rng, lifts)
            sentence = first_sentence(gapped)
            is_right = verdict(gapped.tables, gapped.tables.groups[0]).best == ARMS[-1]
            counts += (
                covers(study, ARMS[1]),
                claims_a_gain(first_sentence(with_winners(study, base, rng, level))),
                is_right,
                is_right and claims_a_gain(sentence),
            )
        print(f"{num_seeds:2d} " + "".join(f"{value:19.1f}" for value in 100 * counts / options.studies), flush=True)
    _print_audits(base, options.studies)
    _print_importance(base, options.importance_studies)


def _print_audits(base: Tables, num_studies: int, num_audited: int = 10) -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(num_studies):
        study = planted_study(base, rng, [0.0] * len(ARMS), num_seeds=2)
        audit = audit_of(study, rng, num_audited)
        if audit is not None:
            share, true = false_stops(audit), float(np.mean(list(study.would_have_won.values())))
            found.append((true, share.num / share.n, share.low <= true <= share.high))
    true, said, covered = 100 * np.mean(found, axis=0)
    print(
        f"false stops, {len(found):,} studies: {true:.1f} % of the stopped trials; an audit of {num_audited} says "
        f"{said:.1f} % on average, and its interval holds the share in {covered:.1f} %"
    )


def _print_importance(base: Tables, num_studies: int) -> None:
    for num_trials in (24, 48):
        rng = np.random.default_rng(0)
        found = [
            importances(planted_study(base, rng, [0.0] * len(ARMS), num_seeds=2, num_trials=num_trials).tables)
            for _ in range(num_studies)
        ]
        for kind in ("over all arms", "in an arm"):
            firsts, above = [], []
            for shares in found:
                of_score = shares[
                    (shares["target"] == "score") & ((shares["arm"] == ALL_ARMS) == (kind != "in an arm"))
                ]
                firsts += list(of_score.drop_duplicates("arm")["knob"] == "learning_rate")
                above += list(of_score[of_score["knob"] != "learning_rate"]["is_above_chance"])
            print(
                f"importance {kind}, {num_trials} trials an arm, {len(firsts)} times: the learning rate comes first in "
                f"{100 * np.mean(firsts):.0f} %; what does nothing is above chance in {100 * np.mean(above):.1f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
