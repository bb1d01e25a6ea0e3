"""The audit of early stopping in a whole study: run, extended, cut short, resumed; and a trial of it trained again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from study_cases import edit_ledger
from study_process import (
    SOONER,
    TABLES,
    assert_one_sentence,
    ledger_events,
    of_kind,
    read_rows,
    read_summary,
    run_here,
)

from study.core.ledger import AUDITED, Ledger
from study.engine import scheduler
from trainables.training.checkpoints import read_newest_checkpoint

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("undrawn")]

MAX_EPOCHS = 3
ARGUMENTS = (
    "imbalance", SOONER, "--dataset", "digits", "--image-size", "16", "--precision", "float32", "--arms",
    "none,weighted_sampler", "--trials-per-arm", "3", "--max-epochs", str(MAX_EPOCHS), "--grace-epochs", "1",
    "--reduction-factor", "3", "--retest-seeds", "1",
)  # fmt: skip


@pytest.fixture(scope="module")
def study(one_ray: None, undrawn: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A study with --audit 1, then study.audit --trials 2 cut when the second is done, then resumed."""
    output_dir = tmp_path_factory.mktemp("reports")
    run_dir, notes = output_dir / "run", {}
    name = ("--output-dir", str(output_dir), "--name", "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "asha_decision", first_alone_goes_on)
        notes["run"] = run_here("study.run", *ARGUMENTS, "--audit", "1", *name)
    notes["after run"] = ledger_events(run_dir)
    notes["tables"] = {table: read_rows(run_dir, table) for table in TABLES}
    notes["unfinished"] = shutil.copytree(run_dir, output_dir / "unfinished", ignore=shutil.ignore_patterns("ray"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "append", interrupted_at_an_audit)
        notes["cut"] = run_here("study.audit", str(run_dir), "--trials", "2")
    notes["after cut"] = ledger_events(run_dir)
    kept = {path.name: read_newest_checkpoint(path) for path in (run_dir / "checkpoints").glob("audit-*")}
    notes["kept"] = {name: json.loads(state["result"]) for name, state in kept.items()}
    notes["resume"] = run_here("study.resume", str(run_dir))
    notes["after resume"] = ledger_events(run_dir)
    notes["again"] = run_here("study.audit", str(run_dir), "--trials", "2")
    return {**notes, "run_dir": run_dir}


def first_alone_goes_on(value: float, peers: Sequence[float], **options: Any) -> scheduler.Decision:
    """ASHA with the sharpest cutoff, so that four of six trials are stopped, whatever this machine computes."""
    decision = "stop" if peers else "continue"
    return scheduler.Decision(value=value, cutoff=1.0 if peers else None, num_peers=len(peers), decision=decision)


append = Ledger.append


def interrupted_at_an_audit(ledger: Ledger, *events: Any) -> None:
    """A driver that dies when a training is done, before that is recorded."""
    if events[0].kind == AUDITED:
        raise KeyboardInterrupt
    append(ledger, *events)


def test_a_study_audits_after_its_retest_and_says_what_became_of_the_stopped_trial(study):
    status, stdout, stderr = study["run"]
    assert (status, stderr) == (0, ""), stdout + stderr
    kinds = [event["kind"] for event in study["after run"] if event["kind"] in {"retest", "audit_chosen", "audited"}]
    assert kinds == ["retest", "retest", "audit_chosen", "audited"]
    (chosen,) = of_kind(study["after run"], "audit_chosen")
    stopped = [event["trial_id"] for event in of_kind(study["after run"], "finished") if event["status"] == "stopped"]
    assert len(stopped) == chosen["num_stopped"] == 4
    (trial_id,) = chosen["trials"]
    assert trial_id in stopped
    assert f"audit: 1 trial of {len(stopped)} that were stopped early, trained to their end" in stdout
    assert f"audit 1/1  {trial_id} ends at " in stdout
    assert "not as recorded" not in stdout


def test_an_audited_trial_is_the_stopped_one_bit_for_bit_and_goes_on_to_its_end(study):
    epochs = of_kind(study["after run"], "epoch")
    for audited in of_kind(study["after resume"], "audited"):
        recorded = [event for event in epochs if event["trial_id"] == audited["trial_id"]]
        assert 1 <= len(recorded) < MAX_EPOCHS
        assert [epoch["epoch"] for epoch in audited["epochs"]] == [1, 2, 3]
        for before, again in zip(recorded, audited["epochs"], strict=False):
            for name in ("weights_sha256", "train_loss", "learning_rate", "val_balanced_accuracy", "val_loss"):
                assert before[name] == again[name]
    for row in read_rows(study["run_dir"], "audit"):
        assert (row["first_difference"], row["message"], row["final_epoch"]) == (None, None, MAX_EPOCHS)
        winner = next(t for t in read_rows(study["run_dir"], "trials") if t["trial_id"] == row["winner"])
        assert row["winner_value"] == winner["objective"]
        assert row["would_have_won"] == (row["final_value"] > winner["objective"])


def test_an_audit_changes_nothing_else_in_the_tables(study):
    for table in TABLES:
        assert read_rows(study["run_dir"], table) == study["tables"][table]


def test_an_audit_that_was_cut_short_goes_on_with_the_trial_that_was_chosen_and_repeats_none(study):
    status, stdout, stderr = study["cut"]
    assert (status, stderr) == (130, "")
    assert f"continue: python -m study.resume {study['run_dir']}" in stdout
    assert study["after cut"][: len(study["after run"])] == study["after run"]
    assert len(of_kind(study["after cut"], "audited")) == 1
    second = of_kind(study["after cut"], "audit_chosen")[1]["trials"]
    assert list(study["kept"]) == [f"audit-{trial_id}" for trial_id in second]
    assert study["resume"][0] == 0, study["resume"]
    events = study["after resume"]
    assert events[: len(study["after cut"])] == study["after cut"]
    new = {event["kind"] for event in events[len(study["after cut"]) :]}
    assert new == {"session", "audited", "session_end"}
    assert len(of_kind(events, "audit_chosen")) == 2
    audited = [event["trial_id"] for event in of_kind(events, "audited")]
    assert sorted(audited) == sorted({trial for event in of_kind(events, "audit_chosen") for trial in event["trials"]})
    assert not list((study["run_dir"] / "checkpoints").glob("audit-*"))


def test_the_training_that_was_done_when_the_driver_died_was_not_done_again(study):
    """Its epochs are those of its checkpoint, the seconds that they took included."""
    (recorded,) = of_kind(study["after resume"][len(study["after cut"]) :], "audited")
    assert recorded["epochs"] == study["kept"][f"audit-{recorded['trial_id']}"]
    assert len(recorded["epochs"]) == MAX_EPOCHS
    (ended,) = of_kind(study["after resume"][len(study["after cut"]) :], "session_end")
    assert (ended["state"], ended["audit_seconds"] > 0) == ("complete", True)


def test_an_audit_that_is_done_trains_nothing(study):
    status, stdout, stderr = study["again"]
    assert (status, stderr) == (0, "")
    assert "audit: 2 trials trained to the end already, and no further one to train" in stdout
    new = ledger_events(study["run_dir"])[len(study["after resume"]) :]
    assert [event["kind"] for event in new] == ["session", "session_end"]
    assert new[0]["command"] == f"python -m study.audit {study['run_dir']} --trials 2"
    assert read_summary(study["run_dir"])["state"] == "complete"


def test_the_page_has_the_audit(study):
    page = (study["run_dir"] / "report.html").read_text().replace("\xa0", " ")
    assert ">Early stopping, audited</h2>" in page
    assert "all epochs came out as recorded, bit for bit" in page
    for row in read_rows(study["run_dir"], "audit"):
        assert f'<th scope="row">{row["trial_id"]}</th>' in page


def test_a_study_that_is_not_finished_is_not_audited(study):
    run_dir: Path = study["unfinished"]
    edit_ledger(run_dir, "DELETE FROM events WHERE kind = 'session_end'")
    status, stdout, stderr = run_here("study.audit", str(run_dir))
    assert (status, stdout) == (2, "")
    assert_one_sentence(stderr)
    assert f"{run_dir} is not finished: continue it by python -m study.resume {run_dir}, then audit it" in stderr


def test_a_trial_that_ray_trained_is_had_again_without_ray(study):
    """A completed, a stopped and a retested one."""
    rows = read_rows(study["run_dir"], "trials")
    names = [next(row["trial_id"] for row in rows if row["status"] == status) for status in ("completed", "stopped")]
    (retest, *_) = read_rows(study["run_dir"], "retests")
    for name in (*names, f"{retest['trial_id']}-seed-{retest['seed']}"):
        status, stdout, stderr = run_here("study.replay", str(study["run_dir"]), name)
        assert (status, stderr) == (0, ""), stdout
        assert f"{name}: nothing differs in " in stdout
