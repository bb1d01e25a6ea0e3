"""The examples do what their first lines say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def said_by(name: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out.splitlines()


def test_one_trial_learns_for_five_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said_by("one_trial.py", capsys)
    assert [line.partition(":")[0] for line in lines] == [f"epoch {number}" for number in range(1, 6)]
    scores = [float(re.findall(r"accuracy ([\d.]+) %", line)[0]) for line in lines]
    assert scores[-1] > max(scores[0], 50)


def test_a_loss_of_ones_own_learns_as_cross_entropy_does(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said_by("add_a_loss.py", capsys)
    names = [line.partition(":")[0] for line in lines]
    assert names == ["cross_entropy", "generalised_cross_entropy"]
    assert all(float(re.findall(r"accuracy ([\d.]+) %", line)[0]) > 50 for line in lines)


def test_a_loss_that_lacks_what_it_needs_is_refused() -> None:
    hparams = runpy.run_path(str(EXAMPLES / "add_a_loss.py"))["GceHparams"]
    with pytest.raises(ValueError, match="loss 'generalised_cross_entropy' needs gce_q, got None"):
        hparams(loss="generalised_cross_entropy")


def test_every_example_is_run_here() -> None:
    elsewhere = {"from_python.py", "my_parts.py"}  # tests/cluster/test_studies.py, tests/unit/test_plugins.py
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"one_trial.py", "add_a_loss.py"} | elsewhere
