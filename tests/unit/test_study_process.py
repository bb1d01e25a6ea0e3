"""What the tests of whole studies do by their operating system."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import study_process

pytestmark = pytest.mark.skipif(os.name != "posix", reason="studies are killed by their session, which POSIX has")


@pytest.mark.parametrize("processes", ["/proc", "no such folder"])
@pytest.mark.skipif(shutil.which("ps") is None, reason="ps is not here")
def test_a_process_is_known_until_it_has_ended(monkeypatch, processes):
    """The second is how macOS has it."""
    monkeypatch.setattr(study_process, "PROCESSES", Path(processes))
    sleeper = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert "input()" in study_process._commands()[sleeper.pid]
    finally:
        sleeper.kill()
    sleeper.communicate()
    assert sleeper.pid not in study_process._commands()
