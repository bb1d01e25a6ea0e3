"""What a kill, a Ctrl-C or a second process may do to a study: nothing. Driven from outside, as it happens."""

from __future__ import annotations

import shutil
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from study_process import (
    ARMS,
    MAX_EPOCHS,
    RETEST_SEEDS,
    SETTINGS,
    SOONER,
    TABLES,
    TRIALS_PER_ARM,
    assert_one_sentence,
    epochs_so_far,
    finished_trials,
    ledger_events,
    of_kind,
    read_rows,
    read_summary,
    run_here,
    shared_folder,
    started,
    trials_in_their_middle,
    uninterrupted_study,
    wait_until,
    without,
)

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("undrawn")]

NUM_TRIALS = len(ARMS) * TRIALS_PER_ARM
NUM_RETESTS = len(ARMS) * RETEST_SEEDS


@dataclass
class History:
    """A study that was interrupted: its directory, and the ledger's events at each interruption."""

    run_dir: Path
    cuts: list[list[dict[str, Any]]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def cut(self) -> list[dict[str, Any]]:
        self.cuts.append(ledger_events(self.run_dir))
        return self.cuts[-1]


@pytest.fixture(scope="module")
def whole() -> Path:
    """The study of SETTINGS with one slot, never interrupted."""
    return uninterrupted_study(shared_folder())[0]


@pytest.fixture(scope="module")
def killed_twice(one_ray, undrawn, tmp_path_factory) -> History:
    """The same study: killed in the middle of a trial, resumed, killed in the middle of the retest, resumed.

    The first time its workers are left to find out, which they do in the middle of their work; the second time they die
    with it.
    """
    output_dir = tmp_path_factory.mktemp("killed-twice")
    history = History(output_dir / "cut")
    arguments = [
        "imbalance", *SETTINGS, SOONER, "--max-concurrent", "1", "--output-dir", str(output_dir), "--name", "cut",
    ]  # fmt: skip
    with started("study.run", *arguments) as process:
        process.wait_until(lambda: mid_trial(history.run_dir, finished=4), "killed in the middle of a trial")
        process.kill_driver()
        history.cut()
    with started("study.resume", str(history.run_dir)) as process:
        process.wait_until(lambda: mid_retest(history.run_dir), "killed in the middle of the retest")
        process.kill()
        history.notes["stderr"] = process.stderr
        history.cut()
    status, stdout, stderr = run_here("study.resume", str(history.run_dir))
    assert status == 0, stdout + stderr
    assert stderr == ""
    return history


@pytest.fixture(scope="module")
def two_slots(one_ray, undrawn, tmp_path_factory) -> History:
    """With two slots: begun twice under one name, Ctrl-C, resumed (twice at once), killed; the rest in one slot."""
    output_dir = tmp_path_factory.mktemp("two-slots")
    history = History(output_dir / "cut")
    arguments = [
        "imbalance", *SETTINGS, SOONER, "--max-concurrent", "2", "--output-dir", str(output_dir), "--name", "cut",
    ]  # fmt: skip
    with ExitStack() as stack:
        processes = [stack.enter_context(started("study.run", *arguments)) for _ in range(2)]
        wait_until(lambda: not all(process.is_running for process in processes), "both work", seconds=120)
        [winner] = [process for process in processes if process.is_running]
        [loser] = [process for process in processes if process is not winner]
        history.notes["loser"] = (loser.wait(), loser.stdout, loser.stderr)
        winner.wait_until(lambda: mid_trial(history.run_dir, finished=2), "interrupted in the middle of a trial")
        winner.interrupt()
        history.notes["interrupted"] = (winner.wait(), winner.stdout, winner.stderr)
    history.cut()
    history.notes["tables"] = {table: read_rows(history.run_dir, table) for table in TABLES}
    history.notes["summary"] = read_summary(history.run_dir)
    history.notes["page"] = (history.run_dir / "report.html").read_text()
    (history.run_dir / "report.html").unlink()
    with started("study.resume", str(history.run_dir)) as process:
        finished_before = len(finished_trials(history.cuts[0]))
        process.wait_until(lambda: mid_trial(history.run_dir, finished=finished_before + 1), "killed in mid-trial")
        history.notes["second resume"] = run_here("study.resume", str(history.run_dir))
        assert process.is_running
        process.kill()
    history.cut()
    status, stdout, stderr = run_here("study.resume", str(history.run_dir))
    assert status == 0, stdout + stderr
    history.notes["stderr"] = stderr
    return history


def mid_trial(run_dir: Path, *, finished: int) -> bool:
    events = ledger_events(run_dir)
    return len(finished_trials(events)) >= finished and bool(trials_in_their_middle(events))


def mid_retest(run_dir: Path) -> bool:
    return len(of_kind(ledger_events(run_dir), "retest")) >= 2


def test_the_cuts_were_where_they_should_be(killed_twice):
    first, second = killed_twice.cuts
    assert 4 <= len(finished_trials(first)) < NUM_TRIALS
    assert trials_in_their_middle(first)
    assert not of_kind(first, "retest")
    assert len(finished_trials(second)) == NUM_TRIALS
    assert 2 <= len(of_kind(second, "retest")) < NUM_RETESTS


@pytest.mark.parametrize("history", ["killed_twice", "two_slots"])
def test_everything_that_was_recorded_is_kept_and_nothing_is_done_twice(history, request):
    history = request.getfixturevalue(history)
    events = ledger_events(history.run_dir)
    for cut in history.cuts:
        assert events[: len(cut)] == cut
    assert max(Counter(epochs_so_far(events)).values()) == 1
    for trial in finished_trials(events):
        epochs = [epoch for name, epoch in epochs_so_far(events) if name == trial]
        assert epochs == list(range(1, len(epochs) + 1))
    assert max(Counter(event["trial_id"] for event in of_kind(events, "asked")).values()) == 1
    assert max(Counter(event["trial_id"] for event in of_kind(events, "finished")).values()) == 1
    assert max(Counter((row["arm"], row["seed"]) for row in of_kind(events, "retest")).values()) == 1
    assert len(finished_trials(events)) == NUM_TRIALS
    assert len(of_kind(events, "retest")) == NUM_RETESTS


@pytest.mark.parametrize("history", ["killed_twice", "two_slots"])
def test_the_tables_of_a_resumed_study_have_the_right_totals(history, request):
    run_dir = request.getfixturevalue(history).run_dir
    trials = read_rows(run_dir, "trials")
    assert {trial["trial_id"] for trial in trials} == {f"{arm}-{n:04d}" for arm in ARMS for n in range(TRIALS_PER_ARM)}
    assert {trial["status"] for trial in trials} <= {"completed", "stopped"}
    epochs = Counter((row["stage"], row["trial_id"], row["epoch"]) for row in read_rows(run_dir, "epochs"))
    assert max(epochs.values()) == 1
    assert sum(stage == "tune" for stage, _, _ in epochs) == sum(trial["epochs"] for trial in trials)
    assert sum(stage == "retest" for stage, _, _ in epochs) == NUM_RETESTS * MAX_EPOCHS
    assert len(read_rows(run_dir, "retests")) == NUM_RETESTS
    summary = read_summary(run_dir)
    assert summary["state"] == "complete"
    assert len(summary["sessions"]) == 3


def test_a_resumed_study_is_the_uninterrupted_one_bit_for_bit(killed_twice, whole):
    """Configurations, every epoch's weights and metrics, decisions, winners and retests; only clocks differ."""
    for table in TABLES:
        assert without(read_rows(killed_twice.run_dir, table), "seconds", "time") == without(
            read_rows(whole, table), "seconds", "time"
        ), table
    assert all(row["weights_sha256"] for row in read_rows(whole, "epochs") if row["stage"] == "tune")
    cut, uncut = read_summary(killed_twice.run_dir), read_summary(whole)
    assert {arm: w["config"] for arm, w in cut["winners"].items()} == {
        arm: w["config"] for arm, w in uncut["winners"].items()
    }
    assert cut["dataset"] == uncut["dataset"]


def test_events_come_in_the_order_of_the_uninterrupted_study(killed_twice, whole):
    kinds = ("asked", "epoch", "rung", "finished", "retest")

    def story(run_dir: Path) -> list[Any]:
        return [(e["kind"], e["trial_id"], e.get("epoch")) for e in ledger_events(run_dir) if e["kind"] in kinds]

    assert story(killed_twice.run_dir) == story(whole)


def test_resuming_a_complete_study_trains_nothing_and_leaves_the_tables_equal(killed_twice):
    run_dir = killed_twice.run_dir
    events = ledger_events(run_dir)
    before = {table: (run_dir / f"{table}.parquet").read_bytes() for table in TABLES}
    status, stdout, stderr = run_here("study.resume", str(run_dir))
    assert status == 0, stdout + stderr
    added = ledger_events(run_dir)[len(events) :]
    assert {event["kind"] for event in added} <= {"session", "session_end"}
    assert {table: (run_dir / f"{table}.parquet").read_bytes() for table in TABLES} == before
    assert read_summary(run_dir)["state"] == "complete"


@pytest.fixture(scope="module")
def extended(whole, one_ray, undrawn, tmp_path_factory) -> Path:
    """A copy of the whole one that got a further trial an arm, a further retest seed and a further arm."""
    run_dir = Path(shutil.copytree(whole, tmp_path_factory.mktemp("extended") / "more"))
    more = ("--trials-per-arm", str(TRIALS_PER_ARM + 1), "--retest-seeds", str(RETEST_SEEDS + 1), "--arms", "focal")
    status, stdout, stderr = run_here("study.resume", str(run_dir), *more)
    assert (status, stderr) == (0, ""), stdout + stderr
    assert "extended by 1 trial an arm, 1 retest seed and the arm focal" in stdout
    return run_dir


def test_an_extended_study_keeps_what_it_had_and_trains_what_it_lacks(extended, whole):
    events, before = ledger_events(extended), ledger_events(whole)
    assert events[: len(before)] == before
    added = events[len(before) :]
    assert [event["kind"] for event in added[:2]] == ["extended", "session"]
    assert Counter(event["arm"] for event in of_kind(added, "asked")) == {
        "focal": TRIALS_PER_ARM + 1, "none": 1, "weighted_sampler": 1, "ldam_drw": 1,
    }  # fmt: skip
    summary = read_summary(extended)
    winners = {arm: winner["trial_id"] for arm, winner in summary["winners"].items()}
    retests = [row for row in read_rows(extended, "retests") if row["role"] == "winner"]
    seeds = range(1000, 1000 + RETEST_SEEDS + 1)
    assert {(row["arm"], row["trial_id"], row["seed"]) for row in retests} == {
        (arm, winners[arm], seed) for arm in (*ARMS, "focal") for seed in seeds
    }  # fmt: skip
    num_new = len(read_rows(extended, "retests")) - len(read_rows(whole, "retests"))
    assert len(of_kind(added, "retest")) == num_new  # none is done again
    assert summary["state"] == "complete"
    assert "the arm focal were added on " in (extended / "report.html").read_text()


def test_a_fork_of_the_extended_study_begins_with_its_trials(extended):
    status, stdout, stderr = run_here(
        "study.fork", str(extended), "--name", "forked", "--arms", "none,copy", "--trials-per-arm", "2",
        "--retest-seeds", "1",
    )  # fmt: skip
    assert (status, stderr) == (0, ""), stdout + stderr
    run_dir = extended.parent / "forked"
    [fork] = of_kind(ledger_events(run_dir), "forked")
    known = {row["trial_id"]: row["status"] for row in read_rows(extended, "trials") if row["arm"] == "none"}
    assert {trial["trial_id"]: trial["status"] for trial in fork["arms"]["none"]["observed"]} == known
    assert fork["arms"]["copy"]["why_not"] == "an arm that the other study lacks"
    assert len(fork["arms"]["copy"]["tried_first"]) == 1
    copied = [row for row in read_rows(run_dir, "trials") if row["arm"] == "copy"]
    assert copied[1]["config/learning_rate"] == fork["arms"]["copy"]["tried_first"][0]["params"]["learning_rate"]
    assert f"none with {len(known)} observations" in (run_dir / "report.html").read_text()


def test_of_two_studies_begun_at_once_under_one_name_one_works(two_slots):
    status, stdout, stderr = two_slots.notes["loser"]
    assert status == 2
    assert stdout == ""
    assert_one_sentence(stderr)
    assert "exists already" in stderr
    assert len(of_kind(two_slots.cuts[0], "session")) == 1


def test_ctrl_c_ends_a_study_cleanly_with_what_is_done(two_slots):
    status, stdout, stderr = two_slots.notes["interrupted"]
    assert status == 130
    assert stderr == ""
    assert f"continue: python -m study.resume {two_slots.run_dir}" in stdout
    assert two_slots.notes["summary"]["state"] == "interrupted"
    assert '<p class="answer">' in two_slots.notes["page"]
    events = two_slots.cuts[0]
    trials = two_slots.notes["tables"]["trials"]
    finished = finished_trials(events)
    assert len(finished) >= 2
    assert {t["trial_id"]: t["status"] for t in trials if t["status"] != "interrupted"} == finished
    assert {t["trial_id"] for t in trials} == {event["trial_id"] for event in of_kind(events, "asked")}
    epochs = {(row["trial_id"], row["epoch"]) for row in two_slots.notes["tables"]["epochs"]}
    assert epochs == set(epochs_so_far(events))
    assert two_slots.notes["tables"]["retests"] == []


def test_a_run_that_is_worked_on_cannot_be_resumed(two_slots):
    status, stdout, stderr = two_slots.notes["second resume"]
    assert status == 2
    assert stdout == ""
    assert_one_sentence(stderr)
    assert "is being worked on by another process (pid " in stderr


@pytest.mark.parametrize("history", ["killed_twice", "two_slots"])
def test_resuming_says_nothing_but_its_own_lines(history, request):
    """In a process of its own until the middle of the retest, and in this one to the end."""
    assert request.getfixturevalue(history).notes["stderr"] == ""


def test_a_folder_that_is_no_run_cannot_be_resumed(tmp_path):
    status, stdout, stderr = run_here("study.resume", str(tmp_path))
    assert status == 2
    assert stdout == ""
    assert_one_sentence(stderr)
    assert f"{tmp_path} is not a run directory" in stderr
    assert list(tmp_path.iterdir()) == []
