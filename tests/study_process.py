"""Studies as a user starts them: processes of their own, which can be interrupted, killed and looked into."""

from __future__ import annotations

import contextlib
import importlib
import io
import ipaddress
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import ray

from study.cli import run_main
from study.engine import warden
from study.engine.cluster import without_idle_processes

PROJECT = Path(__file__).resolve().parents[1]
RUN_FILES = ("spec.json", "ledger.db", "summary.json", "report.html")
TABLES = ("trials", "epochs", "rungs", "retests")
# One slot, so that what is proposed does not hang on which trial is quicker: the same settings give the same study.
ARMS, TRIALS_PER_ARM, MAX_EPOCHS, RETEST_SEEDS = ("none", "weighted_sampler", "ldam_drw"), 3, 4, 2
SETTINGS = (
    "--dataset", "digits", "--arms", ",".join(ARMS), "--trials-per-arm", str(TRIALS_PER_ARM),
    "--max-epochs", str(MAX_EPOCHS), "--grace-epochs", "1", "--reduction-factor", "2",
    "--retest-seeds", str(RETEST_SEEDS), "--precision", "float32", "--image-size", "16",
)  # fmt: skip
SOONER = "--no-dashboard"  # a dozen processes fewer to start
PROCESSES = Path("/proc")
SECONDS_TO_WAIT = 240.0
STRAYS_SECONDS = 10.0
SETTLED_NANOSECONDS = 100_000_000  # far more than the resolution of a file's times


class StudyProcess:
    """python -m VERB ARGUMENTS in a session of its own."""

    def __init__(self, verb: str, *arguments: str) -> None:
        words = [sys.executable, "-m", verb, *arguments]
        environment = {name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "RAY_ADDRESS"}}
        self._files = contextlib.ExitStack()
        self._stdout = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self._stderr = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self._process = subprocess.Popen(
            words,
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._stdout,
            stderr=self._stderr,
            start_new_session=True,
            preexec_fn=_with_usual_signals,
        )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def stdout(self) -> str:
        return _content(self._stdout)

    @property
    def stderr(self) -> str:
        return _content(self._stderr)

    def wait(self) -> int:
        """The exit status."""
        return self._process.wait(timeout=SECONDS_TO_WAIT)

    def interrupt(self) -> None:
        """What Ctrl-C in a terminal does: SIGINT to the driver and to all of its group."""
        os.killpg(self._process.pid, signal.SIGINT)

    def hang_up(self) -> None:
        """What the loss of its terminal does: SIGHUP to all of its group, by the shell and by the kernel."""
        os.killpg(self._process.pid, signal.SIGHUP)
        os.killpg(self._process.pid, signal.SIGHUP)

    def kill(self) -> None:
        """SIGKILL to the driver and to all that it started, as when a machine goes down."""
        self._kill_session()
        self._process.wait()

    def kill_driver(self) -> None:
        """SIGKILL to the driver alone; returns when all that it had started is gone, which takes seconds."""
        self._process.kill()
        self._process.wait()
        wait_until(lambda: not self._session(), "processes outlived their driver", seconds=STRAYS_SECONDS)

    def kill_part(self, program: str) -> None:
        """SIGKILL to one of Ray's own processes: raylet or gcs_server."""
        commands = _commands()
        [pid] = [pid for pid in self._session() if commands[pid].split("\0")[0].endswith(f"/{program}")]
        os.kill(pid, signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM to the driver and to all of its group, as when a batch system's time is up."""
        os.killpg(self._process.pid, signal.SIGTERM)

    @property
    def unmarked(self) -> list[str]:
        """The commands of Ray's processes by whose environment the warden would not know them."""
        unmarked = []
        for pid in set(self._session()) - {self._process.pid}:
            with contextlib.suppress(OSError):  # it is over
                if warden.MARK.encode() not in (PROCESSES / str(pid) / "environ").read_bytes():
                    unmarked.append((PROCESSES / str(pid) / "cmdline").read_text())
        return unmarked

    @property
    def exposed(self) -> list[str]:
        """The addresses on which its processes listen for other machines."""
        places = []
        for pid in self._session():
            with contextlib.suppress(psutil.Error):  # it is over
                listening = [c for c in psutil.Process(pid).net_connections() if c.status == psutil.CONN_LISTEN]
                places += [c.laddr.ip for c in listening]
        assert places, "none of its processes listens"
        return [place for place in places if not ipaddress.ip_address(place.removeprefix("::ffff:")).is_loopback]

    @property
    def has_strays(self) -> bool:
        return bool(self._session())

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for condition while the process runs; AssertionError with its output if it ends before."""
        deadline = time.monotonic() + SECONDS_TO_WAIT
        while not condition():
            assert self.is_running, f"ended before {what}:\n{self.stdout}{self.stderr}"
            assert time.monotonic() < deadline, f"never {what}:\n{self.stdout}{self.stderr}"
            time.sleep(0.01)

    def end(self) -> None:
        """Leave nothing behind, whatever the test did."""
        self._kill_session()
        self._process.wait()
        self._files.close()

    def _kill_session(self) -> None:
        # The driver first: it must see none of its workers die. Again, until none is left that one of them had started.
        if self.is_running:
            self._process.kill()
        while members := self._session():
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def _session(self) -> list[int]:
        """The processes of the driver's session that are alive: its own and Ray's."""
        members = []
        for pid in _commands():
            with contextlib.suppress(OSError):
                if os.getsid(pid) == self._process.pid:
                    members.append(pid)
        return members


def _commands() -> dict[int, str]:
    """The command of every process that is alive, by its number."""
    commands = {}
    for folder in PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                commands[int(folder.name)] = (folder / "cmdline").read_text()
    return commands or _commands_by_ps()


def _commands_by_ps() -> dict[int, str]:
    """As _commands, where there is no /proc, as on macOS."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,stat=,command="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return {int(pid): "".join(command) for pid, state, *command in rows if state[0] not in "ZX"}


def _with_usual_signals() -> None:
    """A test run that was started in the background, or by nohup, would hand down what is to be ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextlib.contextmanager
def started(verb: str, *arguments: str) -> Iterator[StudyProcess]:
    process = StudyProcess(verb, *arguments)
    try:
        yield process
    finally:
        process.end()


def run_to_end(verb: str, *arguments: str) -> tuple[int, str, str]:
    """(exit status, stdout, stderr)"""
    with started(verb, *arguments) as process:
        return process.wait(), process.stdout, process.stderr


def run_here(verb: str, *arguments: str) -> tuple[int, str, str]:
    """As run_to_end, but in this process: a new one imports torch for seconds. A Ray that is here is used."""
    main = importlib.import_module(verb).main
    said, complained = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
    ):
        patch.setattr(sys, "argv", [verb, *arguments])
        with pytest.raises(SystemExit) as ended:
            run_main(main)
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.getvalue(), complained.getvalue()


def start_ray(*, num_cpus: int, num_gpus: int = 0) -> None:
    """Ray in this process, for the studies that are run by run_here."""
    with without_idle_processes(dashboard=False):
        ray.init(
            address="local",
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )


@contextlib.contextmanager
def ray_here(*, num_cpus: int, num_gpus: int = 0) -> Iterator[None]:
    """A Ray of its own for the block, which one that the module before has left gives way to."""
    ray.shutdown()
    start_ray(num_cpus=num_cpus, num_gpus=num_gpus)
    try:
        yield
    finally:
        ray.shutdown()


@cache
def uninterrupted_study(output_dir: Path) -> tuple[Path, str, str]:
    """The settings' study, run to its end in one go: (run directory, stdout, stderr)."""
    status, stdout, stderr = run_to_end(
        "study.run", "imbalance", *SETTINGS, "--max-concurrent", "1", "--output-dir", str(output_dir), "--name", "whole"
    )
    assert status == 0, stdout + stderr
    return output_dir / "whole", stdout, stderr


@cache
def shared_folder() -> Path:
    """One for all test modules of this process (see ONE_STUDY in conftest.py), removed with it."""
    folder = tempfile.TemporaryDirectory(prefix="studies-")
    _kept_alive.append(folder)
    return Path(folder.name)


_kept_alive: list[tempfile.TemporaryDirectory[str]] = []


def assert_one_sentence(stderr: str) -> None:
    """What a user error looks like: one line that begins with 'error: '."""
    lines = stderr.strip().splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("error: "), stderr


def ledger_events(run_dir: Path) -> list[dict[str, Any]]:
    """All events so far: kind, trial_id, time and what the payload holds. Empty before there is a ledger.

    Whoever waits asks a hundred times a second, so the ledger is read again only if it was written to.
    """
    ledger = run_dir / "ledger.db"
    if not ledger.exists():
        return []
    written = _written_at(ledger), _written_at(run_dir / "ledger.db-wal")
    if _read.get(run_dir, (None,))[0] == written:
        return _read[run_dir][1]
    has_settled = time.time_ns() - max(written) > SETTLED_NANOSECONDS
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=30)) as database:
        try:
            rows = database.execute("SELECT kind, trial_id, time, payload FROM events ORDER BY seq").fetchall()
        except sqlite3.OperationalError:  # the file is there, its table not yet
            return []
    events = [{**json.loads(text), "kind": kind, "trial_id": trial, "at": at} for kind, trial, at, text in rows]
    if has_settled:  # else a further write could bear the same time
        _read[run_dir] = written, events
    return events


_read: dict[Path, tuple[tuple[int, int], list[dict[str, Any]]]] = {}


def _written_at(path: Path) -> int:
    """Nanoseconds since the epoch; 0 if there is no such file."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def of_kind(events: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["kind"] == kind]


def epochs_so_far(events: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """(trial, epoch) in the order in which they were recorded."""
    return [(event["trial_id"], event["epoch"]) for event in of_kind(events, "epoch")]


def finished_trials(events: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Trial -> status."""
    return {event["trial_id"]: event["status"] for event in of_kind(events, "finished")}


def trials_in_their_middle(events: Sequence[dict[str, Any]]) -> set[str]:
    """Trials that have an epoch and are not over."""
    return {trial for trial, _ in epochs_so_far(events)} - set(finished_trials(events))


def read_rows(run_dir: Path, table: str) -> list[dict[str, Any]]:
    return pq.read_table(run_dir / f"{table}.parquet").to_pylist()


def read_summary(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "summary.json").read_text())


def without(rows: Sequence[dict[str, Any]], *suffixes: str) -> list[dict[str, Any]]:
    """The rows without the columns that end so (such as 'seconds'), which differ from run to run."""
    return [{name: value for name, value in row.items() if not name.endswith(suffixes)} for row in rows]


def wait_until(condition: Callable[[], bool], complaint: str, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.05)


def _content(file: Any) -> str:
    # Not through its position: the child shares that.
    return os.pread(file.fileno(), 10_000_000, 0).decode()
