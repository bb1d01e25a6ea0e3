"""What a killed or lost study would leave: processes are ended within seconds, temporary files when it goes on."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from fake_session import conducted
from faults import Faults
from study_cases import asked

from study.core.ledger import Ledger
from study.core.run_dir import worked_on_again
from study.engine import cluster as cluster_module
from study.engine import signals, warden
from study.engine.cluster import Cluster

pytestmark = pytest.mark.faults

SLEEP = "import time; time.sleep(600)"
# A driver that starts a warden and a process that bears the mark, says the latter's number, and waits to be killed.
DRIVER = f"""
import os, subprocess, sys, time
from study.engine import warden
pipe = warden.start("killed")
env = dict(os.environ, **{{warden.MARK: "killed"}})
print(subprocess.Popen([sys.executable, "-c", {SLEEP!r}], env=env, start_new_session=True).pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def sleepers() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Two processes that bear a mark each, and one that bears none."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("processes are known by their environment where there is /proc")
    processes = {
        token: subprocess.Popen(
            [sys.executable, "-c", SLEEP], env={**os.environ, **({warden.MARK: token} if token else {})}
        )
        for token in ("mine", "mine-2", "")
    }
    yield processes
    for process in processes.values():
        process.kill()
        process.wait()


def wait_for(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_a_warden_ends_the_processes_of_its_study_and_no_other(sleepers, faults: Faults):
    for _ in faults.each(["closed"]):
        pipe = warden.start("mine")
        time.sleep(0.3)
        assert sleepers["mine"].poll() is None  # while the pipe is open
        pipe.close()
        assert wait_for(lambda: sleepers["mine"].poll() is not None)
    assert sleepers["mine"].poll() == -signal.SIGKILL
    assert [sleepers[token].poll() for token in ("mine-2", "")] == [None, None]
    assert warden.marked("mine") == []


def test_after_kill_9_its_processes_are_gone_within_ten_seconds(faults):
    for _ in faults.each(["killed"]):
        driver = subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE)
        assert driver.stdout is not None
        pid = int(driver.stdout.readline())
        assert warden.marked("killed") == [pid]
        driver.kill()
        driver.wait()
        driver.stdout.close()
        assert wait_for(lambda: not warden.marked("killed"))


def test_temporary_files_that_a_killed_process_left_are_removed_when_the_run_goes_on(tmp_path, faults):
    strays = [tmp_path / ".trials.parquet.123.tmp", tmp_path / "checkpoints/none-0000/.epoch-0001.pt.7.tmp"]
    others = [tmp_path / "ray/.x.1.tmp", tmp_path / ".tmp", tmp_path / "notes.1.tmp", tmp_path / ".lock.tmp"]
    with Ledger(tmp_path) as ledger:
        ledger.append(asked("none-0000"))
    for path in [*strays, *others]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    for stray in faults.each(strays):
        with worked_on_again(tmp_path):
            assert not stray.exists()
    assert all(path.exists() for path in others)


# --- the watchdog


@pytest.fixture
def watched(monkeypatch) -> Iterator[Cluster]:
    monkeypatch.setattr(cluster_module, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(signals, "owns_process", False)
    cluster = Cluster(cpus=1, gpus=0)
    yield cluster
    cluster.unwatch()


def watch(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    interrupted = threading.Event()
    monkeypatch.setattr(cluster_module._thread, "interrupt_main", interrupted.set)
    threading.Thread(target=cluster._watch, daemon=True).start()
    return interrupted


def test_the_watchdog_ends_the_session_when_a_part_of_ray_is_gone(watched, monkeypatch, faults):
    told: list[str] = []
    part: list[str | None] = [None]
    watched.loss = lambda: part[0]
    watched.on_loss = lambda name: told.append(name) or 3
    interrupted = watch(watched, monkeypatch)
    assert not interrupted.wait(0.1)
    for name in faults.each(["Ray's scheduler (raylet)"]):
        part[0] = name
        assert interrupted.wait(5)
        assert told == [name]


def test_a_watchdog_whose_conclusion_fails_does_not_leave_the_main_thread_waiting(watched, monkeypatch, capsys):
    def on_loss(name: str) -> int:
        raise OSError("the page cannot be drawn")

    watched.loss, watched.on_loss = (lambda: "it"), on_loss
    assert watch(watched, monkeypatch).wait(5)
    assert "error: the page cannot be drawn" in capsys.readouterr().err


def test_a_verb_s_process_ends_with_the_session_s_status(watched, monkeypatch):
    ended: list[int] = []
    monkeypatch.setattr(signals, "owns_process", True)
    monkeypatch.setattr(cluster_module.os, "_exit", ended.append)
    watched.loss, watched.on_loss = (lambda: "it"), (lambda name: 143)
    assert watch(watched, monkeypatch).wait(5)
    assert ended == [143]


def test_of_a_ray_that_was_started_here_the_dead_part_is_named(monkeypatch):
    cluster = Cluster(cpus=1, gpus=0)
    cluster._warden = io.BytesIO()
    dead: list[tuple[str, object]] = [("log_monitor", None)]
    monkeypatch.setattr(ray._private.worker, "_global_node", SimpleNamespace(dead_processes=lambda: dead))
    assert cluster.loss() is None
    dead.append(("raylet", None))
    assert cluster.loss() == "Ray's scheduler (raylet) is gone, and this machine's Ray with it"


def test_ray_is_not_missed_where_none_was_started():
    assert Cluster(cpus=1, gpus=0).loss() is None


@pytest.mark.parametrize(("was_terminated", "status"), [(False, 3), (True, 143)])
@pytest.mark.parametrize("error", [RuntimeError("Ray's own words"), KeyboardInterrupt()])
def test_a_session_without_ray_is_interrupted_whatever_ray_says_of_it(
    tmp_path, monkeypatch, faults, was_terminated, status, error
):
    monkeypatch.setattr(signals, "was_terminated", was_terminated)
    for _ in faults.each([error]):
        found, said, run_dir = conducted(tmp_path, error, lost="Ray's scheduler (raylet) is gone")
        assert found == status
        assert ": Ray's scheduler (raylet) is gone\n" in said
        assert f"continue: python -m study.resume {run_dir}" in said
    with Ledger(run_dir) as ledger:
        assert [session.get("state") for session in ledger.book.sessions] == ["interrupted"]
