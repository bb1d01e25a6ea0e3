"""The search's own luck: intervals over searches, parts of the spread, what would settle a pair, and the section."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_run import write_run
from scipy import stats

from study.analysis import luck
from study.analysis.compare import Pair, Run, unpaired_because
from study.analysis.intervals import Interval, paired_difference, t_interval
from study.analysis.results import arm_scores, differences_to_control, seed_scores
from study.analysis.tables import Tables, load_tables
from study.page.answers import headlines, not_covered
from study.page.luck import luck_section
from study.page.methods import methods
from study.page.tasks.registry import PAGES

PAGE = PAGES["imbalance"]
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return write_run(folder, arms=("none", "focal"), searches=2, retest_seeds=SEEDS)


@pytest.fixture(scope="module")
def tables(run_dir: Path) -> Tables:
    """Scores by hand: none 60, 62 | 66, 68 and 64, 64 | 70, 70 of focal; a third seed each at the search's mean."""
    tables = load_tables(run_dir)
    scores = {
        "none": [0.60, 0.61, 0.62, 0.66, 0.67, 0.68],
        "focal": [0.64, 0.64, 0.64, 0.70, 0.70, 0.70],
    }
    retests = tables.retests.copy()
    for arm, values in scores.items():
        own = retests["arm"] == arm
        retests.loc[own, "test_balanced_accuracy"] = retests.loc[own, "seed"].map(dict(enumerate(values, 1)))
    return replace(tables, retests=retests)


# --- intervals over searches


def test_a_score_is_the_mean_over_searches_and_its_interval_has_one_value_a_search(tables: Tables) -> None:
    scores = seed_scores(tables.main_retests, "none", tables.score)
    assert scores.to_dict() == pytest.approx({1: 0.61, 2: 0.67})
    found = arm_scores(tables).set_index("arm")
    assert found["n"].to_dict() == {"focal": 2, "none": 2}
    # .61 and .67: s / √2 = .03, t(1, .975) = 12.706.
    assert found.loc["none", "high"] - found.loc["none", "low"] == pytest.approx(2 * 12.7062 * 0.03, abs=1e-5)
    assert t_interval(scores).unit == "search"


def test_pairs_are_of_searches_whose_seeds_are_shared(tables: Tables) -> None:
    difference = differences_to_control(tables, tables.groups[0])["focal"]
    assert (difference.mean, difference.n, difference.unit) == (pytest.approx(0.03), 2, "search")
    assert difference.low == pytest.approx(0.03, abs=1e-3)  # .03 in both: half a test image's spread is left


def test_lists_are_averaged_over_a_search_s_seeds_too(tables: Tables) -> None:
    recalls = seed_scores(tables.main_retests, "none", "per_class_recall")
    own = tables.main_retests[(tables.main_retests["arm"] == "none") & (tables.main_retests["search"] == 2)]
    assert list(recalls.index) == [1, 2]
    assert recalls[2] == pytest.approx(np.mean(np.stack(list(own["per_class_recall"])), axis=0))


def test_runs_tuned_once_and_repeatedly_are_no_pairs(tables: Tables, run_dir: Path, tmp_path: Path) -> None:
    once = load_tables(write_run(tmp_path / "once", arms=("none", "focal")))
    runs = [Run(label=name, run_dir=run_dir, tables=of) for name, of in (("once", once), ("twice", tables))]
    reason = unpaired_because(*runs, Pair(first="none", other="none"))
    assert reason == "arms were tuned more often in one than in the other"


# --- the parts of the spread


def test_the_parts_of_the_spread_are_those_that_were_planted() -> None:
    rng = np.random.default_rng(1)
    found = [luck.spread_of(list(search + rng.normal(0, 0.5, (10, 4)))) for search in rng.normal(0, 2.0, (400, 10, 1))]
    assert np.mean([spread.seeds**2 for spread in found if spread.seeds]) == pytest.approx(0.25, rel=0.05)
    assert np.mean([spread.search**2 for spread in found]) == pytest.approx(4.0, rel=0.1)


def test_the_search_has_no_part_where_seeds_explain_all_and_one_seed_tells_no_parts() -> None:
    apart = luck.spread_of([np.array([0.0, 2.0]), np.array([1.0, 1.0])])
    assert (apart.seeds, apart.search) == (1.0, 0.0)
    single = luck.spread_of([np.array([0.0]), np.array([2.0])])
    assert (single.seeds, single.search**2) == (None, pytest.approx(2.0))


def test_what_settles_a_pair_is_the_least_number_at_which_the_interval_excludes_zero() -> None:
    spread = luck.Spread(search_means=(0.0, 0.1), seeds=0.03, search=0.02, num_seeds=3)
    difference = Interval(mean=0.03, low=-1.0, high=1.0, n=2, num_comparisons=2)
    searches, seeds = luck.settled_by(difference, spread)
    assert searches is not None

    def half(num_searches: int) -> float:
        variance = (0.02**2 + 0.03**2 / 3) / num_searches
        return float(stats.t.ppf(1 - 0.05 / 4, num_searches - 1) * np.sqrt(variance))

    assert half(searches) < 0.03 <= half(searches - 1)
    assert seeds is None  # two searches whose own deviation is .02 never settle it
    alone = replace(spread, search=0.0)
    _, seeds = luck.settled_by(difference, alone)
    assert seeds is not None
    assert stats.t.ppf(1 - 0.05 / 4, 1) * np.sqrt(0.03**2 / seeds / 2) < 0.03


def test_the_interval_over_searches_covers_the_truth_and_that_over_seeds_does_not() -> None:
    """Three searches of three seeds; the search deviates as much as a seed. More in tests/simulations/searches.py."""
    rng, num_studies = np.random.default_rng(0), 400
    covered = {"search": 0, "seed": 0}
    for _ in range(num_studies):
        values = rng.normal(0, 1, (3, 1)) + rng.normal(0, 1, (3, 3))
        zero = pd.Series(0.0, index=pd.RangeIndex(3))
        over = {
            "search": pd.Series(values.mean(axis=1)),
            "seed": pd.Series(values[0]),
        }
        for unit, scores in over.items():
            interval = paired_difference(scores, zero)
            assert interval is not None
            assert interval.low is not None
            assert interval.high is not None
            covered[unit] += interval.low <= 0 <= interval.high
    assert 0.92 <= covered["search"] / num_studies <= 0.98
    assert covered["seed"] / num_studies < 0.85


# --- the page


def test_the_section_shows_the_parts_apart_and_what_would_settle_an_open_pair(tables: Tables) -> None:
    section = luck_section(PAGE, tables)
    assert section is not None
    arms, pairs = section.tables
    assert dict(zip(arms.columns, arms.rows[1], strict=True)) == {
        "Arm": "none",
        "Mean of searches": "64.0 ± 38.1",
        "Each search": "61.0, 67.0",
        "Deviation over seeds": "1.0",
        "Deviation of the search": "4.2",  # √(.06² / 2 - .01² / 3)
    }
    assert pairs.rows[0][0] == "focal"
    assert "all seeds trained on the same images" in section.sentences[1]
    subsets = tables.retests.assign(train_indices_sha256=tables.retests["seed"].astype(str))
    other = luck_section(PAGE, replace(tables, retests=subsets))
    assert other is not None
    assert other.sentences[1].startswith("A seed draws the subset of training images along with initial weights")


def test_an_open_pair_is_told_what_would_settle_it(tables: Tables) -> None:
    worse = tables.retests.copy()
    worse.loc[(worse["arm"] == "focal") & (worse["search"] == 2), "test_balanced_accuracy"] -= 0.02
    section = luck_section(PAGE, replace(tables, retests=worse))
    assert section is not None
    assert section.sentences[2].startswith("Between focal and no remedy no difference is measurable. If the difference")
    assert "searches" in section.sentences[2]


def test_the_page_says_that_its_intervals_are_over_searches(tables: Tables) -> None:
    (headline,) = headlines(PAGE, tables)
    assert "n = 2 searches" in headline
    assert not_covered(tables).startswith("The intervals are over 2 searches of each arm")
    told = " ".join(methods(PAGE, tables))
    assert "Every arm was tuned 2 times, each time with 6 trials" in told
    assert "t-intervals over searches" in told
    assert "not that of the search" not in told


def test_a_study_tuned_once_says_what_its_intervals_leave_out_and_has_no_such_section(tmp_path: Path) -> None:
    once = load_tables(write_run(tmp_path / "run", arms=("none", "focal")))
    assert luck_section(PAGE, once) is None
    assert "not over the search: each arm was tuned once" in not_covered(once)
    assert "not that of the search, for each arm was tuned once" in " ".join(methods(PAGE, once))
