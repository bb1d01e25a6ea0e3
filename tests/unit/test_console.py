"""What the console says, quietly, as usual and verbosely, on a terminal and elsewhere."""

from __future__ import annotations

import io
import os
import sys

import pytest
from rich.console import Console
from study_cases import METRIC, asked, epoch_events, make_stage

from study.cli import RUN, loudness_of, parse_verb
from study.core.errors import StudyError
from study.core.ledger import AUDIT_CHOSEN, EPOCH, RUNG, SESSION, Book, Event, Ledger, finished
from study.engine import console
from study.engine.console import StudyConsole
from study.engine.event_lines import event_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(loudness, say, *, file=None) -> str:
    file = file or io.StringIO()
    say(StudyConsole(Console(file=file, width=200), loudness=loudness))
    return file.getvalue()


def a_trial_s_life(console: StudyConsole) -> None:
    """Proposed, trained for an epoch and judged; then one that fails."""
    book, stage = Book(), make_stage()

    def happens(*events: Event) -> None:
        for event in events:
            book.apply(event)
            console.recorded(event)
        console.trial_changed(book.trials[events[0].trial_id or ""])

    with console.tuning(stage, book, slots=1):
        rung = {"rung_epoch": 1, "value": 0.5, "cutoff": 0.625, "num_peers": 4, "decision": "stop"}
        happens(
            asked("none-0000"),
            *epoch_events("none-0000", 1, 0.5),
            Event(kind=RUNG, trial_id="none-0000", payload=rung),
            finished("none-0000", "stopped"),
        )
        happens(asked("none-0001"), finished("none-0001", "failed", "the loss was nan"))
    console.say("retest: 2 winners")
    console.insist("report: reports/it/report.html")


def test_quietly_failures_and_what_is_insisted_on_are_said_and_nothing_else():
    lines = said("quiet", a_trial_s_life).splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("none-0001 failed: the loss was nan")
    assert lines[1] == "report: reports/it/report.html"


def test_as_usual_each_end_is_said():
    begins, *lines = said("usual", a_trial_s_life).splitlines()
    assert begins == "tuning begins: a worker takes some seconds to start, then come the first epochs"
    assert [line.partition("]  ")[2] for line in lines[:2]] == [
        "none-0000 stopped early at epoch 1: 50.0 % below 62.5 %; best of arm none yet",
        "none-0001 failed: the loss was nan",
    ]
    assert lines[2:] == ["retest: 2 winners", "report: reports/it/report.html"]


def test_verbosely_proposals_epochs_and_decisions_are_said_before_what_follows_from_them():
    _, *lines = said("verbose", a_trial_s_life).splitlines()
    usual = [line.rpartition("]  ")[2] for line in said("usual", a_trial_s_life).splitlines()[1:]]
    assert lines[0] == "none-0000 begins: no knob"
    assert lines[1].startswith("none-0000 epoch 1: train_loss 1.5, learning_rate 0.1, ")
    assert f"{METRIC} 0.5" in lines[1]
    assert lines[1].endswith("; 2.0 s to train, 0.5 s to validate")
    assert lines[2] == "none-0000 at the rung of epoch 1: 0.5, cutoff 0.625, 4 peers before it: stop"
    assert [text for line in lines if (text := line.rpartition("]  ")[2]) in usual] == usual


def test_nothing_is_drawn_quietly_or_on_a_dumb_terminal(monkeypatch):
    monkeypatch.setattr(console.time, "monotonic", lambda: 0.0)  # the time that is left is said too
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in said("usual", a_trial_s_life, file=Terminal())
    assert "\x1b[" not in said("quiet", a_trial_s_life, file=Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert said("usual", a_trial_s_life, file=Terminal()) == said("usual", a_trial_s_life)


def test_an_event_s_line_has_search_first_arrival_and_gpu_and_most_events_have_none():
    proposal = Event(
        kind="asked",
        trial_id="none-s2-random-0000",
        payload={"params": {"learning_rate": 0.0123456, "batch_size": 32}, "search": 2, "control": "random"},
    )
    assert event_line(proposal) == "none-s2-random-0000 begins (s2 and random): learning_rate=0.01235, batch_size=32"
    first = {"rung_epoch": 3, "value": 0.5, "cutoff": None, "num_peers": 0, "decision": "continue"}
    line = event_line(Event(kind=RUNG, trial_id="a-0000", payload=first))
    assert line == "a-0000 at the rung of epoch 3: 0.5, the first to arrive, 0 peers before it: continue"
    epoch, _ = epoch_events("a-0000", 1, 0.5)
    on_gpu = Event(kind=EPOCH, trial_id="a-0000", payload={**epoch.payload, "gpu_ids": "1"})
    assert str(event_line(on_gpu)).endswith("to validate, on GPU 1")
    drawn = Event(kind=AUDIT_CHOSEN, payload={"trials": ["a-0000", "a-0002"], "num_stopped": 9})
    assert event_line(drawn) == "audit: drew a-0000 and a-0002 of 9 stopped trials"
    assert event_line(finished("a-0000", "completed")) is None
    assert event_line(Event(kind=SESSION)) is None


def test_a_ledger_tells_of_an_event_once_it_is_in_the_book(tmp_path):
    heard = []
    with Ledger(tmp_path) as ledger:
        ledger.on_event = lambda event: heard.append((event.kind, set(ledger.book.trials)))
        ledger.append(asked("none-0000"))
    assert heard == [("asked", {"none-0000"})]
    with Ledger(tmp_path) as again:
        assert again.on_event(asked("none-0001")) is None  # what is read again is not told


def test_from_python_too_a_closed_pipe_and_a_poor_encoding_are_not_fatal(monkeypatch):
    """A verb's streams are made unfailing; a script's are its own."""
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.FileIO(writer, "w"), encoding="ascii", write_through=True))
    console = StudyConsole()
    console.say("2 × 2")
    assert os.read(reader, 100) == b"2 x 2\n"
    os.close(reader)
    for _ in range(3):
        console.say("2 × 2")


def test_how_loud_a_study_is_said_to_be_is_no_setting_of_it():
    _, values, own = parse_verb(RUN, ["imbalance", "--quiet", "--seed", "3"])
    assert (values, loudness_of(own)) == ({"seed": 3}, "quiet")


def test_quiet_and_verbose_exclude_each_other():
    assert (loudness_of({"quiet": True}), loudness_of({"verbose": True}), loudness_of({})) == (
        "quiet", "verbose", "usual",
    )  # fmt: skip
    with pytest.raises(StudyError, match="--quiet and --verbose exclude each other"):
        loudness_of({"quiet": True, "verbose": True})
