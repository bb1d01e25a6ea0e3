"""A study whose terminal is lost ends as after Ctrl-C: what is finished is recorded, and there is a page."""

from __future__ import annotations

import pytest
from study_process import SOONER, epochs_so_far, ledger_events, of_kind, read_rows, read_summary, started

pytestmark = pytest.mark.timeout(400)

LONG = (
    "--dataset", "digits", "--arms", "none", "--trials-per-arm", "1", "--max-epochs", "500", "--retest-seeds", "1",
    "--precision", "float32", "--image-size", "16", SOONER,
)  # fmt: skip


def test_a_study_whose_terminal_is_lost_is_recorded_as_interrupted_and_has_a_page(tmp_path):
    run_dir = tmp_path / "lost"
    with started("study.run", "imbalance", *LONG, "--output-dir", str(tmp_path), "--name", run_dir.name) as process:
        process.wait_until(lambda: len(epochs_so_far(ledger_events(run_dir))) >= 2, "at work")
        process.hang_up()
        status = process.wait()
        assert (status, process.stderr) == (130, "")
        assert f"continue: python -m study.resume {run_dir}" in process.stdout
    events = ledger_events(run_dir)
    assert [event["state"] for event in of_kind(events, "session_end")] == ["interrupted"]
    assert read_summary(run_dir)["state"] == "interrupted"
    assert len(read_rows(run_dir, "epochs")) == len(epochs_so_far(events))
    assert "interrupted" in (run_dir / "report.html").read_text()
