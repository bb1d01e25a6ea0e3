"""A study whose Ray dies, or whose driver is killed: recorded within seconds, with a page, and nothing lingers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from faults import Faults
from study_process import (
    SOONER,
    StudyProcess,
    epochs_so_far,
    ledger_events,
    of_kind,
    read_rows,
    read_summary,
    started,
    wait_until,
)

pytestmark = [pytest.mark.timeout(900), pytest.mark.faults]

LONG = (
    "--dataset", "digits", "--arms", "none", "--trials-per-arm", "1", "--max-epochs", "500", "--retest-seeds", "1",
    "--precision", "float32", "--image-size", "16", SOONER,
)  # fmt: skip
LOSSES = {
    "gcs": (lambda process: process.kill_part("gcs_server"), 3, "Ray's control store (gcs_server) is gone"),
    "raylet": (lambda process: process.kill_part("raylet"), 3, "Ray's scheduler (raylet) is gone"),
    "terminated": (lambda process: process.terminate(), 143, ""),
}


def test_a_study_whose_ray_is_gone_is_recorded_has_a_page_and_leaves_nothing(tmp_path, faults: Faults):
    for name in faults.each([*LOSSES], few=1):
        check_loss(tmp_path / name, *LOSSES[name])


def check_loss(run_dir: Path, lose: Callable[[StudyProcess], None], status: int, says: str) -> None:
    place = ("--output-dir", str(run_dir.parent), "--name", run_dir.name)
    with started("study.run", "imbalance", *LONG, *place) as process:
        process.wait_until(lambda: len(epochs_so_far(ledger_events(run_dir))) >= 2, "at work")
        wait_until(lambda: process.unmarked == [], "has processes that the warden would not know", seconds=5)
        assert process.exposed == []
        lose(process)
        wait_until(lambda: of_kind(ledger_events(run_dir), "session_end") != [], "was not recorded", seconds=15)
        assert process.wait() == status, process.stdout + process.stderr
        wait_until(lambda: not process.has_strays, "left processes behind", seconds=10)
        assert says in process.stdout
        assert f"continue: python -m study.resume {run_dir}" in process.stdout
        assert "Traceback" not in process.stderr
    events = ledger_events(run_dir)
    assert [event["state"] for event in of_kind(events, "session_end")] == ["interrupted"]
    assert of_kind(events, "finished") == []  # the trial goes on when the study does
    assert read_summary(run_dir)["state"] == "interrupted"
    assert len(read_rows(run_dir, "epochs")) == len(epochs_so_far(events))
    assert "interrupted" in (run_dir / "report.html").read_text()
