"""A study whose checkpoints lie in S3: killed, resumed, and gone on with where nothing of its run directory is."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest
from faults import Faults
from s3_server import s3_server
from study_process import (
    SETTINGS,
    SOONER,
    epochs_so_far,
    finished_trials,
    ledger_events,
    of_kind,
    read_summary,
    started,
    trials_in_their_middle,
)

from trainables.common.places import place_at
from trainables.training.checkpoints import read_newest_checkpoint

LONG = (
    "--arms",
    "none",
    "--trials-per-arm",
    "2",
    "--max-epochs",
    "12",
    "--grace-epochs",
    "12",
    "--train-images",
    "300",
)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_study_in_s3_goes_on_after_its_driver_and_then_its_machine_are_lost(tmp_path, faults: Faults):
    faults.only_if_every("three sessions with Ray")
    run_dir, again = tmp_path / "first" / "far", tmp_path / "second" / "far"
    with s3_server() as s3:
        uri = s3.uri("studies")
        words = (*SETTINGS, *LONG, SOONER, "--max-concurrent", "1", "--checkpoints", uri)
        with started(
            "study.run", "imbalance", *words, "--output-dir", str(run_dir.parent), "--name", run_dir.name
        ) as study:
            study.wait_until(lambda: len(epochs_so_far(ledger_events(run_dir))) == 3, "a trial trains")
            study.kill_driver()
        cut = ledger_events(run_dir)
        (trial,) = trials_in_their_middle(cut)
        (folder,) = place_at(uri).folders()
        far = place_at(uri) / folder
        assert read_newest_checkpoint(far / trial) is not None
        for lost in faults.each(["driver", "machine"]):
            if lost == "machine":
                shutil.rmtree(run_dir)
            s3.requests.clear()
            where = (str(run_dir),) if lost == "driver" else (str(far), "--output-dir", str(again.parent))
            with started("study.resume", *where) as study:
                if lost == "driver":
                    study.wait_until(lambda: len(epochs_so_far(ledger_events(run_dir))) > 4, "the trial goes on")
                    study.terminate()
                    assert study.wait() == 143, study.stdout + study.stderr
                    assert ledger_events(run_dir)[: len(cut)] == cut
                    before = ledger_events(run_dir)
                else:
                    assert study.wait() == 0, study.stdout + study.stderr
            read = [one for one in s3.requests if one.startswith("GET") and f"{trial}/epoch-" in one]
            assert any(one.endswith(".pt") for one in read), "it did not go on from its checkpoint"
        events = ledger_events(again)
        assert [event["kind"] for event in events][: len(before)] == [event["kind"] for event in before]
        assert events[: len(before)] == before  # the first session's end was sent
        assert max(Counter(epochs_so_far(events)).values()) == 1
        assert set(finished_trials(events).values()) == {"completed"}
        assert len(of_kind(events, "retest")) >= 1
        assert read_summary(again)["state"] == "complete"
        assert sorted(far.folders()) == ["backup", *sorted(finished_trials(events))]  # the retests' are removed
        assert not (run_dir / "checkpoints").exists()
        assert not (again / "checkpoints").exists()
