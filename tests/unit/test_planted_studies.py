"""The page against studies whose truth is planted; tests/simulations/whole_studies.py asks the same of many."""

from __future__ import annotations

import numpy as np
import pytest
from planted_studies import (
    ARMS,
    CONTROL,
    MAX_EPOCHS,
    Planted,
    base_tables,
    claims_a_gain,
    covers,
    difference_error,
    first_sentence,
    planted_study,
    with_winners,
)

from study.analysis.results import verdict
from study.analysis.tables import Tables

LEVEL = (0.0,) * len(ARMS)
NUM_STUDIES = 40


@pytest.fixture(scope="module")
def base() -> Tables:
    return base_tables()


@pytest.fixture(scope="module")
def studies(base: Tables) -> list[Planted]:
    rng = np.random.default_rng(5)
    return [planted_study(base, rng, LEVEL, num_seeds=5) for _ in range(NUM_STUDIES)]


def test_the_interval_of_an_arms_difference_holds_the_true_one(studies: list[Planted]) -> None:
    assert sum(covers(study, ARMS[1]) for study in studies) >= 35  # of 40 at 95 %: fewer in 1 of 200 draws


def test_equal_arms_are_hardly_ever_called_a_gain_and_a_better_one_is_named(
    base: Tables, studies: list[Planted]
) -> None:
    rng = np.random.default_rng(6)
    better = (*LEVEL[:-1], 10 * difference_error(5))
    level = [first_sentence(with_winners(study, base, rng, LEVEL)) for study in studies]
    gapped = [with_winners(study, base, rng, better) for study in studies]
    assert sum(map(claims_a_gain, level)) <= 3
    assert all(verdict(study.tables, study.tables.groups[0]).best == ARMS[-1] for study in gapped)
    assert sum(claims_a_gain(first_sentence(study)) for study in gapped) >= 35


def test_what_was_planted_is_what_the_tables_say(studies: list[Planted]) -> None:
    """A stopped trial ran to a rung; of slow ones some would have won, and of most not; the control is an arm."""
    tuning = studies[0].tables.tuning
    stopped = tuning[tuning["status"] == "stopped"]
    assert set(stopped["epochs"]) <= {2, 6}
    assert set(tuning[tuning["status"] == "completed"]["epochs"]) == {MAX_EPOCHS}
    assert set(stopped["trial_id"]) == set(studies[0].would_have_won)
    share = np.mean([won for study in studies for won in study.would_have_won.values()])
    assert 0.01 < share < 0.3
    assert CONTROL in studies[0].truth
