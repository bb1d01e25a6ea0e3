"""Searches inside an arm: their turns, seeds, rungs and winners, what is retested for them, and a resume amid them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from learner_cases import start_hparams
from ray.tune.search import Searcher
from study_cases import asked, epoch_events, make_scheduler, make_stage, ray_trial, result_of
from test_searcher import conduct, make_searcher

from study.core.commands import command_line
from study.core.entrants import Entrant, entrants, outcomes
from study.core.errors import StudyError
from study.core.ledger import ASKED, RETEST, Book, Event, Ledger, finished
from study.core.search import PLAIN, Search, searches_of
from study.core.spec import validated
from study.engine.audit import audit_order
from study.engine.study_session import _retested_text, _trials_text
from study.tasks.imbalance import ImbalanceSpec
from study.tasks.registry import STUDIES
from study.tasks.resolve import resolved

RANDOM = Search(control="random")
SECOND = Search(number=2)


def controlled(**values: Any) -> Any:
    return make_stage(arms=("none", "focal"), trials_per_arm=4, searches=searches_of(1, "random"), **values)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as ledger:
        yield ledger


# --- turns and names


def test_searches_take_turns_by_the_share_of_their_trials(ledger: Ledger) -> None:
    searcher = make_searcher(controlled(control_trials=2), ledger)
    asked_for = iter(lambda: searcher.suggest("ray"), Searcher.FINISHED)
    assert [config["trial_id"] for config in asked_for] == [
        "none-0000", "focal-0000", "none-random-0000", "focal-random-0000", "none-0001", "focal-0001",
        "none-0002", "focal-0002", "none-random-0001", "focal-random-0001", "none-0003", "focal-0003",
    ]  # fmt: skip


def test_a_plain_search_leaves_nothing_in_the_ledger_and_others_say_what_they_are(ledger: Ledger) -> None:
    stage = make_stage(arms=("none",), trials_per_arm=1, searches=searches_of(2, "random"), control_trials=1)
    searcher = make_searcher(stage, ledger)
    while searcher.suggest("ray") != Searcher.FINISHED:
        pass
    said = {e.trial_id: {k: v for k, v in e.payload.items() if k in {"search", "control"}} for e in ledger.events()}
    assert said == {
        "none-0000": {},
        "none-s2-0000": {"search": 2},
        "none-random-0000": {"control": "random"},
        "none-s2-random-0000": {"search": 2, "control": "random"},
    }


def test_a_plain_search_proposes_what_it_would_without_others(tmp_path: Path) -> None:
    proposed = []
    for name, stage in {
        "alone": make_stage(arms=("none",), trials_per_arm=4),
        "among": make_stage(arms=("none",), trials_per_arm=4, searches=searches_of(2, "random"), control_trials=3),
    }.items():
        (tmp_path / name).mkdir()
        with Ledger(tmp_path / name) as ledger:
            conduct(make_searcher(stage, ledger), make_scheduler(stage, ledger), slots=1)
            plain = ledger.book.of_arm("none", PLAIN)
            proposed.append([(trial.trial_id, trial.seed, trial.params, trial.rungs) for trial in plain])
    assert proposed[0] == proposed[1]


def test_a_control_is_random_from_its_first_trial_and_another_search_has_other_seeds(ledger: Ledger) -> None:
    stage = make_stage(arms=("none",), trials_per_arm=3, searches=searches_of(2, "random"), control_trials=3)
    conduct(make_searcher(stage, ledger), make_scheduler(stage, ledger), slots=1)
    of = {search: ledger.book.of_arm("none", search) for search in stage.searches}
    assert of[PLAIN][0].hparams == of[SECOND][0].hparams == start_hparams("none")
    assert of[RANDOM][0].hparams != start_hparams("none")
    assert [trial.seed for trial in of[RANDOM]] == [trial.seed for trial in of[PLAIN]]  # paired, as arms are
    assert not {trial.seed for trial in of[SECOND]} & {trial.seed for trial in of[PLAIN]}
    rates = [{trial.hparams["learning_rate"] for trial in trials[1:]} for trials in of.values()]
    assert not set.intersection(*rates)


# --- rungs and winners


def test_rungs_are_of_one_search_alone(ledger: Ledger) -> None:
    stage = controlled(control_trials=4)
    for search, value in ((PLAIN, 0.9), (RANDOM, 0.1)):
        trial_id = "-".join(["none", *search.words, "0000"])
        event = asked(trial_id)
        ledger.append(Event(kind=ASKED, trial_id=trial_id, payload={**event.payload, "arm": "none", **search.recorded}))
        decided = make_scheduler(stage, ledger).on_trial_result(None, ray_trial(trial_id), result_of(1, value))
        assert decided == "CONTINUE"  # the first arrival of its search, whatever others reached
    assert [trial.rungs[0]["num_peers"] for trial in ledger.book.trials.values()] == [0, 0]


def trial(book: Book, trial_id: str, value: float, search: Search = PLAIN, **hparams: float) -> None:
    """A completed trial of the arm none."""
    payload = {**asked(trial_id, hparams=hparams).payload, "arm": "none", **search.recorded}
    book.apply(Event(kind=ASKED, trial_id=trial_id, payload=payload))
    for event in epoch_events(trial_id, 1, value):
        book.apply(event)
    book.apply(finished(trial_id, "completed"))


def test_a_control_never_wins_an_arm_and_each_search_has_its_winner() -> None:
    book, stage = Book(), make_stage(arms=("none",), searches=searches_of(2, "random"), control_trials=2)
    trial(book, "none-0000", 0.5)
    trial(book, "none-s2-0000", 0.7, SECOND)
    trial(book, "none-random-0000", 0.9, RANDOM)
    assert stage.winners(book)["none"].trial_id == "none-s2-0000"
    found = {search: stage.winners(book, search).get("none") for search in stage.searches}
    assert [won and won.trial_id for won in found.values()] == ["none-0000", "none-s2-0000", "none-random-0000", None]


# --- what is retested


def told(found: list[Entrant]) -> list[tuple[str, int, str, str | None]]:
    return [(entrant.role, entrant.search, entrant.trial.trial_id, entrant.same_as) for entrant in found]


def test_winner_default_and_the_control_s_winner_enter_the_retest() -> None:
    book, stage = (
        Book(),
        make_stage(arms=("none",), searches=searches_of(1, "random"), control_trials=2, retests_default=True),
    )
    trial(book, "none-0000", 0.5, learning_rate=0.1)
    trial(book, "none-0001", 0.6, learning_rate=0.2)
    trial(book, "none-random-0000", 0.9, RANDOM, learning_rate=0.3)
    assert told(entrants(stage, book)) == [
        ("winner", 1, "none-0001", None),
        ("default", 1, "none-0000", None),
        ("random", 1, "none-random-0000", None),
    ]


def test_nothing_is_retested_twice_where_two_are_one_configuration() -> None:
    book = Book()
    stage = make_stage(arms=("none",), searches=searches_of(2, "random"), control_trials=1, retests_default=True)
    trial(book, "none-0000", 0.5, learning_rate=0.1)  # the default, and the first search's winner
    trial(book, "none-s2-0001", 0.6, SECOND, learning_rate=0.1)  # another trial of the same configuration
    trial(book, "none-random-0000", 0.9, RANDOM, learning_rate=0.1)
    assert told(entrants(stage, book)) == [
        ("winner", 1, "none-0000", None),
        ("winner", 2, "none-s2-0001", None),
        ("default", 1, "none-0000", "winner"),
        ("default", 2, "none-s2-0001", "winner"),
        ("random", 1, "none-0000", "winner"),
    ]


def test_a_retest_is_of_the_search_whose_seed_it_has() -> None:
    book, stage = Book(), make_stage(arms=("none",), searches=searches_of(2, None), retests_default=True)
    trial(book, "none-0000", 0.5, learning_rate=0.1)
    trial(book, "none-s2-0001", 0.6, SECOND, learning_rate=0.2)
    for trial_id, seed, more in (
        ("none-0000", 1000, {}), ("none-0000", 1001, {"search": 2}), ("none-s2-0001", 1001, {"search": 2})
    ):  # fmt: skip
        book.apply(Event(kind=RETEST, payload={"arm": "none", "trial_id": trial_id, "seed": seed, **more}))
    found = [
        (entrant.role, entrant.search, row["seed"]) for entrant, row in outcomes(book.retests, entrants(stage, book))
    ]
    assert found == [("winner", 1, 1000), ("winner", 2, 1001), ("default", 1, 1000), ("default", 2, 1001)]


def test_controls_are_not_audited() -> None:
    book, stage = Book(), controlled(control_trials=2)
    trial(book, "none-0000", 0.5)
    trial(book, "none-random-0000", 0.5, RANDOM)
    for trial_id, search in (("none-0001", PLAIN), ("none-random-0001", RANDOM)):
        book.apply(
            Event(kind=ASKED, trial_id=trial_id, payload={**asked(trial_id).payload, "arm": "none", **search.recorded})
        )
        book.apply(finished(trial_id, "stopped"))
    assert [trial.trial_id for trial in audit_order(stage, book, 0)] == ["none-0001"]


def test_the_plan_tells_the_extra_trials_and_retests() -> None:
    plain = make_stage(trials_per_arm=6)
    assert (_trials_text(plain), _retested_text(plain)) == ("6 trials", "arm's winner")
    more = make_stage(trials_per_arm=6, searches=searches_of(3, "random"), control_trials=2, retests_default=True)
    assert _trials_text(more) == "3 searches x 6 trials (and 2 of random search)"
    assert _retested_text(more) == "search's winner, its default and random search's winner"
    assert (plain.num_trials, more.num_trials) == (12, 2 * 3 * (6 + 2))


# --- a resume in the middle of any of them


@pytest.mark.parametrize("cut", range(1, 12, 2))
def test_a_study_that_was_killed_goes_on_as_one_that_was_not(tmp_path: Path, cut: int) -> None:
    stage = make_stage(
        arms=("none",), trials_per_arm=4, max_epochs=3, searches=searches_of(2, "random"), control_trials=2
    )

    def trials(folder: str, *cuts: int) -> list[tuple[Any, ...]]:
        (tmp_path / folder).mkdir()
        for most in (*cuts, 1000):
            with Ledger(tmp_path / folder) as ledger:
                searcher, scheduler = make_searcher(stage, ledger), make_scheduler(stage, ledger)
                conduct(searcher, scheduler, slots=1, max_suggestions=most)
                found = ledger.book.trials.values()
        return [(trial.trial_id, trial.params, trial.status, trial.rungs) for trial in found]

    whole = trials("whole")
    assert Counter(trial_id.rpartition("-")[0] for trial_id, *_ in whole) == {
        "none": 4, "none-s2": 4, "none-random": 2, "none-s2-random": 2,
    }  # fmt: skip
    assert trials("killed", cut) == whole


# --- the settings


def settings(**values: Any) -> ImbalanceSpec:
    given = {"dataset": "digits", "name": "it", "output_dir": "nowhere", **values}
    return resolved(STUDIES["imbalance"], given, dataset="digits", num_gpus=0)  # type: ignore[return-value]


def test_the_default_is_retested_but_in_a_quick_study_unless_it_is_asked_for_or_has_a_control() -> None:
    assert not settings().retest_default
    assert settings(budget="standard").retest_default
    assert settings(control="random").retest_default
    assert settings(retest_default=True).retest_default
    assert not settings(budget="full", control="random", retest_default=False).retest_default


def test_a_control_gets_a_share_of_an_arm_s_trials_and_at_least_one() -> None:
    assert settings(trials_per_arm=6).control_trials == 0
    assert settings(trials_per_arm=6, control="random").control_trials == 6
    assert settings(trials_per_arm=6, control="random", control_share=0.33).control_trials == 2
    assert settings(trials_per_arm=6, control="random", control_share=0.01).control_trials == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"control": "grid"}, "--control must be one of random, got 'grid'"),
        ({"control_share": 0.5}, "--control-share belongs to --control, which is not given"),
        ({"control": "random", "control_share": 1.5}, "--control-share must be less than or equal to 1"),
        ({"searches": 0}, "--searches must be greater than or equal to 1, got 0"),
        ({"searches": 2, "retest_until": "decide"}, "--retest-until adds seeds, .* --searches .*: leave out one"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_sentence(values: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        validated(ImbalanceSpec, values)


def test_the_recorded_command_says_what_was_turned_off() -> None:
    given = {"dashboard": False, "download": False, "retest_default": False, "control": "random"}
    command = command_line("imbalance", given)
    assert command.endswith("imbalance --no-dashboard --no-retest-default --control random")
