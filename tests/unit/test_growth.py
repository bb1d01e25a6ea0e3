"""As a study grows a trial costs what it did; a long search shows TPE a part of its trials, the same after a resume."""

from __future__ import annotations

import io
import math
import sys
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from ray.tune.experiment import Trial
from rich.console import Console
from study_cases import asked, epoch_events, make_scheduler, make_stage, ray_trial, result_of
from test_searcher import conduct, make_searcher

from study.core.ledger import RUNG, Book, Event, Ledger, finished
from study.core.search import PLAIN
from study.engine import shown_trials
from study.engine.console import StudyConsole
from study.engine.scheduler import asha_decision
from study.engine.shown_trials import ShownTrials
from study.records.tables import read_table, trial_row
from study.records.writer import RecordWriter

HPARAMS = {"learning_rate": 0.05, "batch_size": 32}


def ended_trials(num_trials: int) -> list[Event]:
    """Half of the trials stopped at the first of two rungs."""
    events: list[Event] = []
    for number in range(num_trials):
        trial_id, value = f"none-{number:04d}", number / num_trials
        rung = {"rung_epoch": 1, "value": value, "cutoff": None, "num_peers": number, "decision": "continue"}
        events += [asked(trial_id, hparams=HPARAMS), *epoch_events(trial_id, 1, value)]
        events += [Event(kind=RUNG, trial_id=trial_id, payload=rung)]
        events += [finished(trial_id, "completed" if number % 2 else "stopped")]
    return events


def operations_of(work) -> int:
    """How many operations of the interpreter the work takes; those within functions written in C count once."""
    num_operations = 0

    def count(frame, kind, argument):
        nonlocal num_operations
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        num_operations += kind == "opcode"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        work()
    finally:
        sys.settrace(before)
    return num_operations


def operations_of_a_trial(folder, num_trials: int) -> dict[str, int]:
    """Those of proposing a trial, handing it out, deciding on it and showing it, after so many others."""
    folder.mkdir()
    stage = make_stage(arms=("none",), searcher="random", trials_per_arm=num_trials + 5)
    console = StudyConsole(Console(file=io.StringIO(), width=200))
    with Ledger(folder) as ledger:
        ledger.append(*ended_trials(num_trials))
        searcher = make_searcher(stage, ledger)
        scheduler = make_scheduler(stage, ledger)
        for number in range(num_trials):
            over = SimpleNamespace(trial_id=f"ray-{number}", status=Trial.TERMINATED, is_finished=lambda: True)
            scheduler.on_trial_add(None, over)
        scheduler.choose_trial_to_run(None)
        asked_for = searcher.suggest("ray")["trial_id"]  # the first after a start has more to do
        scheduler.on_trial_result(None, ray_trial(asked_for), result_of(1, 0.5))
        with console.tuning(stage, ledger.book, slots=1):
            counts = {"propose": operations_of(lambda: searcher.suggest("further"))}
            trial = ledger.book.trials[f"none-{num_trials + 1:04d}"]
            decide = lambda: scheduler.on_trial_result(None, ray_trial(trial.trial_id), result_of(1, -1.0))  # noqa: E731
            counts["decide"] = operations_of(decide)
            assert trial.status == "stopped"
            counts["choose"] = operations_of(lambda: scheduler.choose_trial_to_run(None))
            counts["show"] = operations_of(lambda: console.trial_changed(trial))
            counts["table"] = operations_of(console._table)
    return counts


def test_the_work_of_a_trial_does_not_grow_with_the_trials_before_it(tmp_path, monkeypatch):
    monkeypatch.setattr(shown_trials, "MOST_SHOWN", 30)
    few, many = (operations_of_a_trial(tmp_path / str(number), number) for number in (50, 400))
    assert few.keys() == {"propose", "decide", "choose", "show", "table"}
    assert all(few.values())
    assert {part: many[part] for part in many if many[part] > 1.1 * few[part]} == {}


def test_counts_are_those_of_all_trials():
    book = Book()
    for event in [*ended_trials(5), asked("none-0005"), *epoch_events("none-0005", 1, 0.5), asked("focal-0000")]:
        book.apply(event)
    book.apply(finished("focal-0000", "failed", "nan"))
    none = book.arms["none"]
    assert [trial.number for trial in none.trials] == [0, 1, 2, 3, 4, 5]
    assert (none.num_finished, none.num_epochs, none.num_trained, list(none.running)) == (5, 6, 5, ["none-0005"])
    assert none.num_ended == {"completed": 2, "stopped": 3}
    assert list(none.rung_values[PLAIN, 1]) == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert (book.arms["focal"].num_ended, book.arms["focal"].num_trained) == ({"failed": 1}, 0)


def test_the_cutoff_is_the_same_of_a_list_and_of_kept_values():
    rng = np.random.default_rng(0)
    for _ in range(50):
        peers = [*rng.normal(size=rng.integers(1, 30)), math.nan]
        book = Book()
        book.arms["none"].rung_values[PLAIN, 1].extend(peers)
        kept = asha_decision(0.5, book.arms["none"].rung_values[PLAIN, 1], reduction_factor=3, mode="min")
        assert kept == asha_decision(0.5, peers, reduction_factor=3, mode="min")
        assert kept.cutoff == -float(np.quantile([-peer for peer in peers[:-1]], 1 - 1 / 3))


def shown_of(monkeypatch, values: list[float | None], *, direction: str = "maximize") -> list[int]:
    """The numbers of the trials that are shown, 6 at most, of which 2 are the best. None: a trial that failed."""
    monkeypatch.setattr(shown_trials, "MOST_SHOWN", 6)
    monkeypatch.setattr(shown_trials, "NUM_BEST", 2)
    study = optuna.create_study(direction=direction, storage=ShownTrials(direction[:3]))
    for value in values:
        state = optuna.trial.TrialState.FAIL if value is None else None
        study.tell(study.ask(), value, state=state)
    study.ask()
    return [trial.number for trial in study.get_trials(deepcopy=False)]


def test_a_short_search_shows_all_and_a_long_one_the_best_and_the_latest(monkeypatch):
    assert shown_of(monkeypatch, [1, None, 3, 3, 3]) == [0, 1, 2, 3, 4, 5]
    assert shown_of(monkeypatch, [9, 1, 8, None, 8, 1, 2, 3, 4]) == [0, 2, 5, 6, 7, 8, 9]
    assert shown_of(monkeypatch, [9, 1, 8, None, 8, 1, 2, 3, 4], direction="minimize") == [1, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("most_shown", [8, 1000])
def test_a_long_search_goes_on_after_a_resume_as_if_it_had_not_ended(tmp_path, monkeypatch, most_shown):
    monkeypatch.setattr(shown_trials, "MOST_SHOWN", most_shown)
    monkeypatch.setattr(shown_trials, "NUM_BEST", 3)
    stage = make_stage(arms=("none",), trials_per_arm=18, max_epochs=2)
    proposed = {}
    for name, pieces in (("whole", [1000]), ("in pieces", [13, 2, 1000])):
        (tmp_path / name).mkdir()
        with Ledger(tmp_path / name) as ledger:
            for most in pieces:
                conduct(make_searcher(stage, ledger), make_scheduler(stage, ledger), slots=1, max_suggestions=most)
            proposed[name] = [trial.params for trial in ledger.book.trials.values()]
    assert len(proposed["whole"]) == 18
    assert proposed["in pieces"] == proposed["whole"]


def test_a_resume_asks_optuna_no_more_than_it_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(shown_trials, "MOST_SHOWN", 30)
    stage = make_stage(arms=("none",), trials_per_arm=500)
    with Ledger(tmp_path) as ledger:
        ledger.append(*ended_trials(400))
        study = make_searcher(stage, ledger).optuna_study("none")
        values = [trial.value for trial in study.trials if trial.value is not None]
    assert len(study._storage._studies[study._study_id].trials) <= 30 + 1 + shown_trials.NUM_BEST
    assert max(values) == 399 / 400


def test_tables_of_a_grown_study_make_rows_of_the_new_trials_alone(tmp_path, monkeypatch):
    book, stage = Book(), make_stage(arms=("none",))
    for event in ended_trials(40):
        book.apply(event)
    writer = RecordWriter(tmp_path, [stage])
    writer.write(book, active=True)
    made = []
    noted = lambda stage, trial, **more: made.append(trial.trial_id) or trial_row(stage, trial, **more)  # noqa: E731
    monkeypatch.setattr("study.records.writer.trial_row", noted)
    for event in [asked("none-0040", hparams=HPARAMS), finished("none-0040", "failed", "nan")]:
        book.apply(event)
    writer.write(book, active=True)
    assert made == ["none-0040"]
    assert read_table(tmp_path / "trials.parquet").num_rows == 41
