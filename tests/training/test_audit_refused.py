"""study.audit refuses, before Ray, what cannot be audited."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from inspect_run import add_trained_trial, write_trained_run
from study_cases import edit_ledger
from study_process import assert_one_sentence, run_here

from study.core.ledger import ASKED, SESSION_END, Event, Ledger, finished

PUZZLES, WARM = "jigsaw_2x2-0000", "jigsaw_100pct-0000"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished jigsaw study of one completed trial a stage."""
    run_dir = tmp_path_factory.mktemp("reports") / "run"
    write_trained_run(
        run_dir, "jigsaw", PUZZLES, stage="pretext", dataset="digits", arms="jigsaw", max_epochs=1, pretext_epochs=1,
        pretext_trials=1, trials_per_arm=1, label_fractions="1", image_size=16, train_images=200,
    )  # fmt: skip
    add_trained_trial(run_dir, WARM, start_from=run_dir / "checkpoints" / PUZZLES)
    with Ledger(run_dir) as ledger:
        ledger.append(Event(kind=SESSION_END, payload={"state": "complete"}))
    return run_dir


def refused(run_dir: Path, *options: str) -> str:
    with Ledger(run_dir) as ledger:
        before = list(ledger.events())
    status, stdout, stderr = run_here("study.audit", str(run_dir), *options)
    assert (status, stdout) == (2, "")
    assert_one_sentence(stderr)
    with Ledger(run_dir) as ledger:
        assert list(ledger.events()) == before
    return stderr


def test_a_study_that_stopped_no_trial(trained):
    assert "has no trial that was stopped early in an arm with a winner: nothing to audit" in refused(trained)


def test_a_trial_whose_first_weights_are_gone(trained, tmp_path):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    with Ledger(run_dir) as ledger:
        payload = {"arm": "jigsaw_100pct", "number": 1, "seed": 7, "params": {}, "hparams": {}}
        stopped = WARM.replace("0000", "0001")
        ledger.append(Event(kind=ASKED, trial_id=stopped, payload=payload), finished(stopped, "stopped"))
    shutil.rmtree(run_dir / "checkpoints" / PUZZLES)
    assert "jigsaw_100pct begins with the weights in" in refused(run_dir)


def test_a_study_that_was_never_finished(trained, tmp_path):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    edit_ledger(run_dir, "DELETE FROM events WHERE kind = 'session_end'")
    assert f"is not finished: continue it by python -m study.resume {run_dir}, then audit it" in refused(run_dir)


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--trials", "0"), "--trials must be a whole number from 1 on, got '0'"),
     (("--trials", "all"), "--trials must be a whole number from 1 on, got 'all'"),
     (("--trial", "3"), "unknown option '--trial'; did you mean '--trials'?")],
)  # fmt: skip
def test_bad_options(trained, options, message):
    assert message in refused(trained, *options)


def test_a_folder_that_is_no_run(tmp_path):
    status, _, stderr = run_here("study.audit", str(tmp_path))
    assert status == 2
    assert_one_sentence(stderr)
    assert "is not a run directory" in stderr
