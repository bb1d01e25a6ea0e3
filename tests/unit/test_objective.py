"""--objective score,seconds: a search by fronts, rebuilt from the ledger, whose knee is retested beside its winner."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_run import write_run
from study_cases import make_scheduler, make_stage, ray_trial, result_of

from study.analysis.tables import load_tables
from study.core.entrants import entrants, former_retests, retested_anew
from study.core.errors import StudyError
from study.core.front import knee, non_dominated
from study.core.ledger import RETEST, Event, Ledger
from study.core.spec import validated
from study.core.stage import Stage
from study.engine.searcher import ArmSearcher
from study.page.answers import remarks
from study.page.figures.pareto import pareto_data
from study.page.methods import methods
from study.page.tables import budget_sentences, knees_table
from study.page.tasks.registry import find_page
from study.tasks.imbalance import ImbalanceSpec

EPOCHS = 2


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as ledger:
        yield ledger


def stage_of(searcher: str = "tpe", num_trials: int = 40) -> Stage:
    return make_stage(
        arms=("none",), searcher=searcher, trials_per_arm=num_trials, max_epochs=EPOCHS, objective="score,seconds"
    )


def searcher_of(stage: Stage, ledger: Ledger) -> ArmSearcher:
    return ArmSearcher(
        stage=stage, ledger=ledger, make_config=lambda record: {"trial_id": record.trial_id, "hparams": record.hparams}
    )


def planted(hparams: dict[str, Any]) -> tuple[float, float]:
    """(score, seconds): best at a learning rate of 0.1, fastest at 0.001; the front lies between, at little decay."""
    rate, decay = math.log10(hparams["learning_rate"]), math.log10(hparams["weight_decay"])
    return 0.8 - 0.1 * (rate + 1) ** 2 - 0.05 * (decay + 5) ** 2, 1 + (rate + 3) ** 2 + 0.5 * (decay + 5) ** 2


def conduct(searcher: ArmSearcher, stage: Stage, ledger: Ledger, num_trials: int | None = None) -> None:
    """What Ray does with searcher and scheduler, a trial at a time."""
    scheduler = make_scheduler(stage, ledger)
    for _ in range(stage.num_trials if num_trials is None else num_trials):
        config = searcher.suggest("ray")
        assert isinstance(config, dict)
        score, seconds = planted(config["hparams"])
        for epoch in range(1, EPOCHS + 1):
            result = result_of(epoch, score) | {"train_seconds": seconds}
            is_over = scheduler.on_trial_result(None, ray_trial(config["trial_id"]), result) == "STOP"
            assert is_over == (epoch == EPOCHS), "no trial is stopped early"
        searcher.on_trial_complete("ray", {})


def test_the_front_is_approached_closer_than_by_random_search(tmp_path: Path) -> None:
    """The loss of a trial is what it could gain in both objectives at once: its distance to little decay."""
    losses = {}
    for name in ("tpe", "random"):
        (tmp_path / name).mkdir()
        with Ledger(tmp_path / name) as ledger:
            stage = stage_of(name)
            conduct(searcher_of(stage, ledger), stage, ledger)
            later = list(ledger.book.trials.values())[20:]
            losses[name] = np.mean([(math.log10(trial.hparams["weight_decay"]) + 5) ** 2 for trial in later])
    assert losses["tpe"] < losses["random"] / 2


def test_a_searcher_that_is_rebuilt_from_the_ledger_goes_on_as_if_never_gone(tmp_path: Path) -> None:
    stage, found = stage_of(num_trials=16), []
    for sessions in ((16,), (9, 7)):
        (run_dir := tmp_path / str(len(sessions))).mkdir()
        with Ledger(run_dir) as ledger:
            for num_trials in sessions:
                conduct(searcher_of(stage, ledger), stage, ledger, num_trials)
            found.append([trial.params for trial in ledger.book.trials.values()])
    assert len(found[0]) == 16
    assert found[0] == found[1]


@pytest.mark.parametrize("searcher", ["tpe", "random"])
def test_a_study_that_is_extended_has_the_trials_of_one_that_began_larger(tmp_path: Path, searcher: str) -> None:
    """As long as both begin to model at the same trial; what was the knee or won before is a former one's."""

    def trials(folder: str, *totals: int) -> list[dict[str, Any]]:
        (tmp_path / folder).mkdir()
        for before, total in itertools.pairwise((0, *totals)):
            stage = replace(stage_of(searcher, total), first_trials_per_arm=5)
            with Ledger(tmp_path / folder) as ledger:
                conduct(searcher_of(stage, ledger), stage, ledger, total - before)
                among = retested_anew(stage, ledger.book)
                ledger.append(
                    *(
                        Event(kind=RETEST, payload={"arm": "none", "trial_id": one.trial.trial_id, "seed": 1000})
                        for one in among
                        if (one.trial.trial_id, 1000) not in ledger.book.retests
                    )
                )
                former = {row["trial_id"] for row in former_retests(stage, ledger.book)}
                assert not former & {one.trial.trial_id for one in among}
                assert len(former) + len(among) == len(ledger.book.retests)
                found = [trial.params for trial in ledger.book.trials.values()]
        assert bool(former) == (len(totals) > 1)
        return found

    assert trials("extended", 5, 7, 20) == trials("whole", 20)


def test_the_knee_lies_farthest_below_the_line_between_the_ends_of_the_front() -> None:
    costs = np.array([[0.0, 10.0], [1.0, 6.0], [2.0, 2.0], [10.0, 0.0], [3.0, 3.0]])
    assert non_dominated(costs).tolist() == [True, True, True, True, False]
    assert knee(costs) == 2
    assert knee(np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]])) is None  # a straight line has no bend


def test_the_winner_and_the_knee_of_a_front_are_retested(ledger: Ledger) -> None:
    stage = stage_of(num_trials=12)
    conduct(searcher_of(stage, ledger), stage, ledger)
    trials = list(ledger.book.trials.values())
    found = {entrant.role: entrant.trial for entrant in entrants(stage, ledger.book)}
    assert set(found) == {"winner", "knee"}
    assert found["winner"] is max(trials, key=lambda trial: planted(trial.hparams)[0])
    assert planted(found["knee"].hparams)[1] < planted(found["winner"].hparams)[1]
    assert not any(
        planted(trial.hparams)[0] > planted(found["knee"].hparams)[0]
        and planted(trial.hparams)[1] < planted(found["knee"].hparams)[1]
        for trial in trials
    )


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"searcher": "gp"}, "--objective score,seconds is searched by --searcher tpe or random, got gp"),
        ({"searcher": "grid"}, "--objective score,seconds is searched by --searcher tpe or random, got grid"),
        (
            {"control": "random"},
            "--control judges searches by their score alone: leave it out, or --objective score,sec",
        ),
        ({"audit": 3}, "--audit is of trials that were stopped early, of which --objective score,seconds has none"),
        (
            {"retest_until": "decide"},
            "--retest-until adds seeds by the score alone: leave it out, or --objective",
        ),
        ({"objective": "time"}, "--objective must be one of score, score,seconds, got 'time'"),
    ],
)
def test_what_it_does_not_go_with_is_refused_in_a_sentence(other: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StudyError) as refused:
        validated(ImbalanceSpec, {"task": "imbalance", "objective": "score,seconds", **other})
    assert str(refused.value).startswith(sentence)


def test_the_page_says_what_was_searched_and_what_the_knee_saves(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", arms=["none", "focal"]))
    page = find_page("imbalance")
    assert not any("Two objectives" in sentence for sentence in methods(page, tables))
    assert knees_table(tables) is None
    winner = tables.summary["winners"]["focal"]["trial_id"]
    other = next(name for name in tables.tuning[tables.tuning["arm"] == "focal"]["trial_id"] if name != winner)
    own = tables.retests[tables.retests["trial_id"] == winner]
    worse = own.assign(trial_id=other, role="knee", **{tables.score: own[tables.score] - 0.02})
    retests = pd.concat([tables.retests.assign(role="winner"), worse])
    both = replace(
        tables,
        retests=retests.assign(search=1).reset_index(drop=True),
        rungs=tables.rungs.iloc[:0],
        epochs=tables.epochs.assign(train_seconds=np.where(tables.epochs["trial_id"] == other, 1.5, 3.0)),
        summary={
            **tables.summary,
            "budget": {**tables.summary["budget"], "objective": "score,seconds"},
            "references": [{"arm": "focal", "search": 1, "role": "knee", "trial_id": other, "same_as": None}],
        },
    )
    table = knees_table(both)
    assert table is not None
    ((arm, _, best_seconds, _, knee_seconds, difference),) = table.rows
    assert (arm, best_seconds, knee_seconds) == ("focal", "3", "1.5")
    assert "2.0" in str(difference)
    shown = pareto_data(both)
    assert shown is not None
    of_focal = shown.trials[shown.trials["arm"] == "focal"].set_index("trial_id")["role"]
    assert of_focal[of_focal != ""].to_dict() == {winner: "winner", other: "knee"}
    said = methods(page, both)
    assert any(sentence.startswith("Two objectives.") for sentence in said)
    assert any("no early stopping" in sentence for sentence in said)
    assert any("and so the knee of its front," in sentence for sentence in said)
    assert "Early stopping was off" in " ".join(budget_sentences(both))
    assert remarks(page, both)[0].startswith("Each arm was searched for score and training time at once")
