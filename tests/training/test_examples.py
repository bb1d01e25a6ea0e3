"""The examples do what their first lines say."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def said_by(name: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out.splitlines()


def test_one_trial_learns_for_five_epochs_and_imports_no_compiler() -> None:
    """torch._dynamo would take 2 s and 0.15 GB of every worker's start; any optimiser, and torchvision, import it."""
    program = (
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__'); print({'torch._dynamo'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", program, str(EXAMPLES / "one_trial.py")]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # as in this process; two would wait for each other
    said = subprocess.run(command, cwd=EXAMPLES.parent, env=one_thread, capture_output=True, text=True, check=True)
    *lines, imported = said.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"epoch {number}" for number in range(1, 6)]
    scores = [float(re.findall(r"accuracy ([\d.]+) %", line)[0]) for line in lines]
    assert scores[-1] > max(scores[0], 50)
    assert imported == "set()"


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
