"""Was tuning worth it: the verdict on the retests, curves over what was spent, and the section of the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_run import IMAGES_PER_EPOCH, write_run

from study.analysis import worth
from study.analysis.results import arm_scores, winners
from study.analysis.tables import Tables, load_tables
from study.page.methods import methods
from study.page.render import render_page
from study.page.tables import budget_sentences
from study.page.tasks.registry import PAGES
from study.page.worth import worth_section

PAGE = PAGES["imbalance"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run", arms=("none", "focal"), control_trials=3)


@pytest.fixture(scope="module")
def tables(run_dir: Path) -> Tables:
    return load_tables(run_dir)


def scored(tables: Tables, **scores: list[float]) -> Tables:
    """The tables with these scores of both arms: winner, default, random; each a list over the three seeds."""
    retests = tables.retests.copy()
    for role, values in scores.items():
        of_role = retests["role"] == role
        retests.loc[of_role, "test_balanced_accuracy"] = retests.loc[of_role, "seed"].map(dict(enumerate(values, 1)))
    return replace(tables, retests=retests)


# --- controls compete with no arm


def test_controls_are_out_of_all_that_ranks_arms(tables: Tables) -> None:
    assert len(tables.control_trials) == 6
    assert set(tables.control_trials["control"]) == {"random"}
    assert len(tables.tuning) == 12
    assert not tables.tuning_epochs["trial_id"].str.contains("random").any()
    assert not tables.tuning_rungs["trial_id"].str.contains("random").any()
    assert not winners(tables.trials)["trial_id"].str.contains("random").any()
    assert list(arm_scores(tables)["n"]) == [3, 3]
    assert set(tables.main_retests["role"]) == {"winner"}
    assert not tables.retest_epochs["trial_id"].str.contains("random").any()


def test_tables_of_earlier_runs_know_no_controls_and_lose_no_trial(tables: Tables) -> None:
    own = tables.trials[tables.trials["control"].isna()].drop(columns=["search", "control"])
    retests = tables.main_retests.drop(columns=["role", "search"])
    summary = {name: value for name, value in tables.summary.items() if name != "references"}
    earlier = replace(tables, trials=own, retests=retests, summary=summary)
    assert (len(earlier.tuning), len(earlier.control_trials), len(earlier.references)) == (12, 0, 0)
    assert len(earlier.main_retests) == 6
    assert worth_section(PAGE, earlier) is None


# --- the verdict


def test_a_gain_is_the_paired_difference_and_all_of_them_hold_together(tables: Tables) -> None:
    found = worth.gains(scored(tables, winner=[0.7, 0.71, 0.72], default=[0.6, 0.62, 0.61], random=[0.7, 0.7, 0.7]))
    assert [(gain.arm, gain.role) for gain in found] == [
        ("none", "default"), ("focal", "default"), ("none", "random"), ("focal", "random"),
    ]  # fmt: skip
    # .10, .09, .11: s = .01, four comparisons: t(2, 1 - .05 / 8) = 8.8602, so ± .05115.
    difference = found[0].difference
    assert difference is not None
    assert (difference.mean, difference.num_comparisons) == (pytest.approx(0.1), 4)
    assert difference.half_width == pytest.approx(0.0511547, abs=1e-6)


def test_a_winner_that_is_the_default_has_nothing_to_gain_and_counts_as_no_comparison(tables: Tables) -> None:
    same = [
        {**one, "same_as": "winner", "trial_id": tables.main_retests.query("arm == 'focal'")["trial_id"].iloc[0]}
        if (one["arm"], one["role"]) == ("focal", "default")
        else one
        for one in tables.summary["references"]
    ]
    tables = replace(tables, summary={**tables.summary, "references": same})
    found = {(gain.arm, gain.role): gain for gain in worth.gains(tables)}
    assert found["focal", "default"].is_winner
    assert found["focal", "default"].difference is None
    assert found["focal", "default"].reference == found["focal", "default"].winner
    assert found["none", "default"].difference.num_comparisons == 3
    section = worth_section(PAGE, tables)
    assert section is not None
    assert "The winner of focal is its default, trained again once and not twice." in section.sentences


def test_further_seeds_of_winners_are_not_compared(tables: Tables) -> None:
    more = tables.main_retests.iloc[[0]].assign(seed=9)
    found = worth.gains(replace(tables, retests=pd.concat([tables.retests, more])))
    assert {gain.winner.n for gain in found} == {3}


def test_of_equal_configurations_a_gain_is_claimed_in_at_most_five_percent_of_studies() -> None:
    rng, num_studies = np.random.default_rng(0), 300
    claims = 0
    for _ in range(num_studies):
        pairs = []
        for arm in range(3):  # one winner is held against both references
            winner, *references = (pd.Series(rng.normal(0.7, 0.01, 3)) for _ in range(3))
            pairs += [
                worth.Pair(arm=str(arm), role=role, winner=winner, reference=reference, is_winner=False)
                for role, reference in zip(worth.ROLES, references, strict=True)
            ]
        claims += any(gain.difference.low > 0 for gain in worth.judged(pairs, step=0.0) if gain.difference)
    assert 0 < claims <= 0.05 * num_studies


# --- curves


def test_the_best_so_far_steps_up_where_a_trial_completes(tables: Tables) -> None:
    curve = next(c for c in worth.anytime(tables) if (c.arm, c.method) == ("none", "own"))
    own = tables.tuning[tables.tuning["arm"] == "none"].sort_values("number")
    assert list(curve.images) == list(own["images"].cumsum())
    best = own["objective"].where(own["status"] == "completed").cummax().ffill()
    assert curve.best.tolist() == pytest.approx(best.tolist(), nan_ok=True)
    known = ~np.isnan(curve.low)
    assert known.any()
    assert (curve.low[known] <= curve.best[known]).all()
    assert curve.high[known] == pytest.approx(np.full(known.sum(), curve.best[-1]), abs=0.05)


def one_rung_tables(tables: Tables, ends: dict[str, str]) -> Tables:
    """Three random trials of none, at epoch 1 in the order 0, 1, 2; ends: number -> status."""
    trials, epochs = tables.trials.copy(), tables.epochs.copy()
    for number in range(3):
        trial_id = f"none-random-000{number}"
        first = (epochs["trial_id"] == trial_id) & (epochs["epoch"] == 1)
        epochs.loc[first, "val_balanced_accuracy"] = 0.5 - 0.1 * number
        is_it = trials["trial_id"] == trial_id
        num_epochs = 9 if ends[str(number)] == "completed" else 1
        values = [ends[str(number)], num_epochs, num_epochs * IMAGES_PER_EPOCH]
        trials.loc[is_it, ["status", "epochs", "images"]] = values
    return replace(tables, trials=trials, epochs=epochs)


def test_one_rung_then_the_best_spends_every_trial_s_first_rung_and_the_rest_of_the_best(tables: Tables) -> None:
    tables = one_rung_tables(tables, {"0": "completed", "1": "stopped", "2": "completed"})
    known, trials = worth.one_rung(tables, tables.control_trials[tables.control_trials["arm"] == "none"])
    assert (known.num_trials, known.k, known.num_unknown) == (3, 1, 0)
    assert list(trials["images"]) == [3 * IMAGES_PER_EPOCH, 8 * IMAGES_PER_EPOCH]
    ended = tables.trials.set_index("trial_id").loc["none-random-0000", "objective"]
    curve = next(c for c in worth.anytime(tables) if (c.arm, c.method) == ("none", "one_rung"))
    assert curve.best.tolist() == pytest.approx([np.nan, ended], nan_ok=True)


def test_one_rung_is_not_replayed_where_nobody_knows_how_the_best_would_have_ended(tables: Tables) -> None:
    tables = one_rung_tables(tables, {"0": "stopped", "1": "completed", "2": "completed"})
    known, _ = worth.one_rung(tables, tables.control_trials[tables.control_trials["arm"] == "none"])
    assert known.num_unknown == 1
    assert ("none", "one_rung") not in {(curve.arm, curve.method) for curve in worth.anytime(tables)}
    section = worth_section(PAGE, tables)
    assert section is not None
    assert "It cannot be replayed" in section.sentences[-1]


def test_the_expected_best_of_n_is_that_of_draws_with_replacement() -> None:
    scores = np.array([0.3, 0.1, 0.2])
    assert worth.expected_best(scores, 1) == pytest.approx(0.2)
    assert worth.expected_best(scores, 2) == pytest.approx((0.3 * 5 + 0.2 * 3 + 0.1) / 9)
    assert worth.expected_best(scores, 1000) == pytest.approx(0.3)


def test_expected_curves_cost_a_mean_trial_a_step(tables: Tables) -> None:
    curve = next(c for c in worth.expected(tables) if (c.arm, c.method) == ("focal", "random"))
    images = tables.control_trials[tables.control_trials["arm"] == "focal"]["images"]
    assert curve.images.tolist() == pytest.approx((np.arange(1, 4) * images.mean()).tolist())
    assert (np.diff(curve.score) > 0).all()


# --- the page


def test_the_section_says_in_which_arms_tuning_gained(tables: Tables) -> None:
    tables = scored(tables, winner=[0.7, 0.71, 0.72], default=[0.6, 0.62, 0.61], random=[0.69, 0.72, 0.72])
    section = worth_section(PAGE, tables)
    assert section is not None
    assert section.sentences[0] == (
        "Tuning gained measurably on the default in 2 of 2 arms: none by 10.0 points and focal by 10.0 points (paired "
        "intervals, adjusted for 4 comparisons)."
    )
    assert section.sentences[1] == "Tuning brought no measurable gain on random search's winner in any of the 2 arms."
    assert "Random search had 3 trials an arm, and not 6 as the arm's own search" in section.sentences[3]
    (table,) = section.tables
    assert table.columns == (
        "Arm", "Winner", "Default", "Winner − default", "Random search", "Winner − random search",
    )  # fmt: skip
    assert [row[0] for row in table.rows] == ["none", "focal"]
    assert table.rows[0][3] == "+10.0 (4.9–15.1)"


def test_a_loss_is_a_loss_and_one_seed_is_no_evidence(tables: Tables) -> None:
    lost = worth_section(PAGE, scored(tables, winner=[0.6, 0.61, 0.62], default=[0.7, 0.72, 0.71]))
    assert lost is not None
    assert lost.sentences[1].startswith("It ended measurably below the default in none by 10.0 points and focal by")
    one = worth_section(PAGE, replace(tables, retests=tables.retests[tables.retests["seed"] == 1]))
    assert one is not None
    assert one.sentences[0].endswith("; one seed gives no interval.")


def test_the_page_tells_controls_in_section_budget_and_methods(tables: Tables) -> None:
    html = render_page(PAGE, tables, [])
    assert "Was tuning worth it?</h2>" in html
    assert any(s.startswith("Random search, the control, ran 6 trials more") for s in budget_sentences(tables))
    told = " ".join(methods(PAGE, tables))
    assert "Control. Uniform random search drew 3 trials more in every arm" in told
    assert "Each winner, and so the arm's default and random search's winner, was retrained on 3 fresh seeds" in told


def test_without_references_the_page_has_no_such_section(tmp_path: Path) -> None:
    html = render_page(PAGE, load_tables(write_run(tmp_path / "run", arms=("none", "focal"))), [])
    assert "worth it" not in html
