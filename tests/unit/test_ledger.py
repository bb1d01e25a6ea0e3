"""The ledger: what was acknowledged survives, all of an append or none of it, and the book folds its events right."""

import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from study_cases import METRIC, asked, epoch_events, epoch_row

from study.core.errors import StudyError
from study.core.ledger import LEDGER, RETEST, RETEST_FAILED, RUNG, SESSION, SESSION_END, Book, Event, Ledger, finished


def rung(trial_id, epoch, value):
    payload = {"rung_epoch": epoch, "value": value, "cutoff": None, "num_peers": 0, "decision": "continue"}
    return Event(kind=RUNG, trial_id=trial_id, payload=payload)


HISTORY = [
    Event(kind=SESSION, payload={"command": "first", "ended": None}),
    asked("none-0000", hparams={"learning_rate": 0.05}),
    asked("focal-0000"),
    *epoch_events("none-0000", 1, 0.25),
    rung("none-0000", 1, 0.25),
    *epoch_events("focal-0000", 1, 0.5),
    *epoch_events("none-0000", 2, 0.75),
    finished("none-0000", "completed"),
    finished("focal-0000", "failed", "the loss was nan"),
    asked("none-0001"),
    Event(kind=SESSION_END, payload={"ended": "noon", "state": "interrupted"}),
    Event(kind=SESSION, payload={"command": "second", "ended": None}),
    Event(kind=RETEST, payload={"arm": "none", "seed": 1000, "trial_id": "none-0001", "test_accuracy": 0.25}),
    Event(kind=RETEST, payload={"arm": "none", "seed": 1000, "trial_id": "none-0000", "test_accuracy": 0.5}),
    Event(kind=RETEST_FAILED, payload={"arm": "none", "seed": 1001, "trial_id": "none-0000", "message": "nan again"}),
]


def test_the_book_is_what_the_events_add_up_to(tmp_path):
    with Ledger(tmp_path) as ledger:
        for event in HISTORY:
            ledger.append(event)
        book = ledger.book
    assert list(book.trials) == ["none-0000", "focal-0000", "none-0001"]
    none, focal, waiting = book.trials.values()
    assert (none.arm, none.number, none.seed, none.hparams) == ("none", 0, 11, {"learning_rate": 0.05})
    assert (none.status, none.message, none.num_epochs, none.is_finished) == ("completed", None, 2, True)
    assert none.epochs == [epoch_row(1, 0.25), epoch_row(2, 0.75)]
    assert none.value(METRIC) == 0.75  # of the last epoch
    assert [row["rung_epoch"] for row in none.rungs] == [1]
    assert (focal.status, focal.message, focal.num_epochs) == ("failed", "the loss was nan", 1)
    assert (waiting.status, waiting.is_finished, waiting.value(METRIC)) == ("running", False, None)
    assert book.of_arm("none") == [none, waiting]
    assert book.sessions == [
        {"command": "first", "ended": "noon", "state": "interrupted"},
        {"command": "second", "ended": None},
    ]
    # Two trials of an arm may be retested on one seed: the winner had changed, or one is what it is held against.
    retest = {"arm": "none", "seed": 1000}
    assert book.retests == {
        ("none-0001", 1000): {**retest, "trial_id": "none-0001", "test_accuracy": 0.25},
        ("none-0000", 1000): {**retest, "trial_id": "none-0000", "test_accuracy": 0.5},
    }
    assert book.retest_failures == {
        ("none-0000", 1001): {"arm": "none", "seed": 1001, "trial_id": "none-0000", "message": "nan again"}
    }


def test_a_reopened_ledger_has_the_same_events_and_the_same_book(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.append(*HISTORY[:5])
        ledger.append(*HISTORY[5:])
        before = ledger.book
    with Ledger(tmp_path) as reopened:
        assert list(reopened.events()) == HISTORY
        assert reopened.book == before


def test_numbers_come_back_bit_for_bit(tmp_path):
    value = 0.1 + 0.2  # 0.30000000000000004
    with Ledger(tmp_path) as ledger:
        ledger.append(asked("none-0000", hparams={"learning_rate": value, "tiny": 5e-324}))
    with Ledger(tmp_path) as reopened:
        assert reopened.book.trials["none-0000"].hparams == {"learning_rate": value, "tiny": 5e-324}


@pytest.mark.parametrize(
    "bad",
    [
        Event(kind=RUNG, trial_id="none-0000", payload={"value": object()}),  # no JSON
        Event(kind=RUNG, trial_id=object(), payload={}),  # type: ignore[arg-type]  # SQLite refuses the second row
    ],
    ids=["payload", "row"],
)
def test_an_append_is_all_or_nothing(tmp_path, bad):
    with Ledger(tmp_path) as ledger:
        ledger.append(asked("none-0000"))
        with pytest.raises((TypeError, sqlite3.Error)):
            ledger.append(epoch_events("none-0000", 1, 0.5)[0], bad)
        assert ledger.book.trials["none-0000"].epochs == []
        assert [event.kind for event in ledger.events()] == ["asked"]
        ledger.append(*epoch_events("none-0000", 1, 0.5))  # and it is still of use
    with Ledger(tmp_path) as reopened:
        assert reopened.book.trials["none-0000"].num_epochs == 1


WRITER = """
import sys
from pathlib import Path
from study.core.ledger import EPOCH, Event, Ledger
with Ledger(Path(sys.argv[1])) as ledger:
    for number in range(10**9):
        ledger.append(Event(kind=EPOCH, trial_id="none-0000", payload={"epoch": number}))
        print(number, flush=True)
"""


def test_a_killed_writer_loses_no_acknowledged_event(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.append(asked("none-0000"))
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) == 100:
            writer.send_signal(signal.SIGKILL)
            break
    acknowledged = [100, *(int(line) for line in writer.stdout.read().split("\n")[:-1])]
    assert writer.wait() == -signal.SIGKILL
    with Ledger(tmp_path) as reopened:
        rows = [row["epoch"] for row in reopened.book.trials["none-0000"].epochs]
    assert rows == list(range(len(rows)))
    # One more than acknowledged may be there: committed, and killed before it could say so.
    assert len(rows) - 1 in {acknowledged[-1], acknowledged[-1] + 1}


@pytest.mark.parametrize("content", [b"not a database, but long enough to be asked" * 100, b"\0" * 4096])
def test_a_file_that_is_no_ledger_is_an_error_in_one_sentence(tmp_path, content):
    (tmp_path / LEDGER).write_bytes(content)
    with pytest.raises(StudyError, match="is not a ledger that can be read"):
        Ledger(tmp_path)


def test_a_ledger_overwritten_in_its_middle_is_an_error_in_one_sentence(tmp_path):
    with Ledger(tmp_path) as ledger:
        for number in range(100):
            ledger.append(Event(kind=SESSION, payload={"command": f"{number:0500d}"}))
    path = tmp_path / LEDGER
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xaa" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StudyError, match="is not a ledger that can be read"):
        Ledger(tmp_path)


def test_an_event_costs_less_than_five_milliseconds(tmp_path):
    seconds = []
    with Ledger(tmp_path) as ledger:
        ledger.append(asked("none-0000"))
        for epoch in range(1, 201):
            events = epoch_events("none-0000", epoch, 0.5)
            started = time.perf_counter()
            ledger.append(*events)
            seconds.append((time.perf_counter() - started) / len(events))
        assert ledger.num_events == 401
        assert 0 < ledger.milliseconds_per_event() < 50  # the mean, disturbed by whatever else the machine does
    assert statistics.median(seconds) < 0.005


def test_a_ledger_that_has_written_nothing_has_no_cost(tmp_path):
    with Ledger(tmp_path) as ledger:
        assert ledger.milliseconds_per_event() is None


def test_a_ledger_of_another_version_is_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path):
        pass
    with sqlite3.connect(tmp_path / LEDGER) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(StudyError, match="version 99"):
        Ledger(tmp_path)


def test_winners_are_completed_trials_and_of_equals_the_first():
    book = Book()
    scores = {"none-0000": 0.5, "none-0001": 0.75, "none-0002": 0.75, "none-0003": 0.9, "focal-0000": 0.9}
    for trial_id, score in scores.items():
        book.apply(asked(trial_id))
        for event in epoch_events(trial_id, 1, score):
            book.apply(event)
        status = "completed" if trial_id in {"none-0000", "none-0001", "none-0002"} else "stopped"
        book.apply(finished(trial_id, status))
    assert {arm: trial.trial_id for arm, trial in book.winners(("focal", "none"), METRIC, "max").items()} == {
        "none": "none-0001"
    }
    assert book.winners(("none",), METRIC, "min")["none"].trial_id == "none-0000"


def test_the_retests_of_an_earlier_winner_are_not_those_of_its_successor():
    book = Book()
    for trial_id, score in {"none-0000": 0.5, "none-0001": 0.75}.items():
        book.apply(asked(trial_id))
        for event in epoch_events(trial_id, 1, score):
            book.apply(event)
        book.apply(finished(trial_id, "completed"))
    winners = book.winners(("none",), METRIC, "max")
    for trial_id, seed in (("none-0000", 1000), ("none-0000", 1001), ("none-0001", 1001)):
        book.apply(Event(kind=RETEST, payload={"arm": "none", "seed": seed, "trial_id": trial_id}))
    book.apply(Event(kind=RETEST_FAILED, payload={"arm": "none", "seed": 1002, "trial_id": "none-0000"}))
    assert [(row["trial_id"], row["seed"]) for row in book.retested(winners)] == [("none-0001", 1001)]
    assert book.failed_retests(winners) == []
    # A retest that failed and then went well has not failed.
    book.apply(Event(kind=RETEST_FAILED, payload={"arm": "none", "seed": 1003, "trial_id": "none-0001"}))
    book.apply(Event(kind=RETEST, payload={"arm": "none", "seed": 1003, "trial_id": "none-0001"}))
    assert book.failed_retests(winners) == []
    assert [row["seed"] for row in book.retested(winners)] == [1001, 1003]


def test_a_trial_is_not_written_twice_and_the_ledger_stays_readable(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.append(asked("none-0000"))
        with pytest.raises(ValueError, match="the ledger has a trial none-0000 already"):
            ledger.append(asked("none-0001"), asked("none-0000"))
    with Ledger(tmp_path) as again:
        assert list(again.book.trials) == ["none-0000"]  # all of an append or nothing


def test_a_sealed_ledger_takes_events_of_the_thread_that_sealed_it_alone(tmp_path):
    """One that concludes a session while the work of another thread still hears of its workers."""
    with Ledger(tmp_path) as ledger, ThreadPoolExecutor(1) as other:
        ledger.append(Event(kind=SESSION, payload={"command": "first", "ended": None}), asked("none-0000"))
        other.submit(ledger.append, *epoch_events("none-0000", 1, 0.25)).result()
        ledger.seal()
        ledger.append(Event(kind=SESSION_END, payload={"ended": "noon", "state": "interrupted"}))
        with pytest.raises(RuntimeError, match="the session is over"):
            other.submit(ledger.append, *epoch_events("none-0000", 2, 0.5)).result()
        assert ledger.book.trials["none-0000"].num_epochs == 1
    with Ledger(tmp_path) as ledger:
        assert [event.kind for event in ledger.events()][-1] == SESSION_END
