"""Ray as this machine lets it be: what it is told, what it may raise, and what is checked before it is started."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
import torch
from study_process import run_here

from study.core.errors import StudyError
from study.engine import access, cluster, study_session
from study.engine.cluster import connected
from trainables.common.machine import usable_cpus

SMALL = (
    "--dataset", "digits", "--arms", "none", "--trials-per-arm", "1", "--max-epochs", "1", "--retest-seeds", "1",
)  # fmt: skip


@pytest.fixture
def no_ray(monkeypatch, tmp_path):
    """The options of every call of ray.init; nothing is started."""
    calls = []

    def init(**options):
        calls.append(options)
        return SimpleNamespace(dashboard_url="127.0.0.1:8265")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return calls


def test_what_ray_s_nodes_say_is_silent_while_a_study_has_a_ray_and_not_afterwards(no_ray):
    said = ray._private.worker.print_to_stdstream
    with connected(None) as joined:
        joined.start(print)
        assert ray._private.worker.print_to_stdstream is not said
    assert ray._private.worker.print_to_stdstream is said


def failing(error: Exception):
    def init(**options):
        raise error

    return init


# --- what Ray may raise

FAILURES = [
    OSError("validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: '/a/ray/plasma_store'"),
    PermissionError(13, "Permission denied", "/tmp/ray/session_latest"),
    ray.exceptions.RuntimeEnvSetupError("the package\nhas 900 MB"),
    ray.exceptions.RaySystemError("the GCS is gone"),
    ConnectionError("no answer"),
    Exception("The current node timed out during startup."),
    ImportError(""),
]


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize("address", [None, "10.0.0.1:6379"])
@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_whatever_ray_raises_is_one_sentence(monkeypatch, error, address):
    monkeypatch.setattr(ray, "init", failing(error))
    monkeypatch.setattr(cluster, "_require_reachable", lambda address, failure: None)
    monkeypatch.setattr(access, "require_token", lambda address, seconds: None)
    with pytest.raises(StudyError) as caught, connected(address) as joined:
        joined.start(print)
    assert "\n" not in str(caught.value)
    reason = " ".join(str(error).split()) or "ImportError"
    assert reason in str(caught.value)


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize("error", FAILURES[:2])
def test_the_sentence_says_what_to_do_about_ray_s_folder(monkeypatch, error):
    monkeypatch.setattr(ray, "init", failing(error))
    with pytest.raises(StudyError, match=r"on this machine did not start: .*; set RAY_TMPDIR to a folder of your own"):  # noqa: SIM117
        with connected(None) as joined:
            joined.start(print)


@pytest.mark.usefixtures("no_ray")
def test_a_study_whose_ray_does_not_start_ends_with_one_sentence_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(ray, "init", failing(FAILURES[0]))
    monkeypatch.setattr(study_session, "require_trainable", lambda *what: None)  # tested elsewhere, and slow
    status, _, stderr = run_here("study.run", "imbalance", *SMALL)
    assert (status, len(stderr.splitlines())) == (2, 1)
    assert stderr.startswith("error: a Ray cluster on this machine did not start: validate_socket_filename failed")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "127.0.0.1:99999"])
def test_an_address_where_nothing_listens_is_refused_at_once(no_ray, address):
    """Ray tries for nine minutes."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = address.format(closed.getsockname()[1])  # bound, and not listening
        with pytest.raises(StudyError, match=f"^the Ray cluster at {address} did not answer: "), connected(address):
            pass
    assert no_ray == []


# --- what Ray is told


def test_ray_is_told_the_cpus_that_this_process_may_use(no_ray, monkeypatch):
    monkeypatch.setattr(cluster, "usable_cpus", lambda: 3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with connected(None) as joined:
        assert (joined.cpus, joined.gpus) == (3, 2)
        assert no_ray == []  # known before Ray is started
        joined.start(print)
    assert (no_ray[0]["address"], no_ray[0]["num_cpus"], no_ray[0]["num_gpus"]) == ("local", 3, 2)
    assert joined.dashboard_url == "http://127.0.0.1:8265"


@pytest.mark.parametrize(("cpus", "told"), [(1.0, 1), (1.5, 2), (3 * 0.1, 1), (2.9999999999, 3), (99.0, 3)])
def test_ray_gets_no_more_cpus_than_the_session_uses(no_ray, monkeypatch, cpus, told):
    """It starts a worker for each of them, of 0.1 GB and a second or two of CPU, whether or not a trial comes."""
    monkeypatch.setattr(cluster, "usable_cpus", lambda: 3)
    with connected(None) as joined:
        joined.start(print, cpus=cpus)
    assert (no_ray[0]["num_cpus"], joined.cpus) == (told, 3)


@pytest.mark.parametrize(("dashboard", "started"), [(True, ["start_monitor", "start_api_server"]), (False, [])])
def test_ray_starts_no_process_whose_work_nobody_sees(monkeypatch, no_ray, dashboard, started):
    """What workers print is refused; without a dashboard, nothing shows what its two processes tell it."""
    processes = []
    node, names = ray._private.node.Node, ("start_log_monitor", "start_monitor", "start_api_server")
    for name in names:
        monkeypatch.setattr(node, name, lambda node, name=name: processes.append(name))
    methods = [getattr(node, name) for name in names]
    init = ray.init

    def starting(**options):
        for name in names:
            getattr(node, name)(None)
        return init(**options)

    monkeypatch.setattr(ray, "init", starting)
    with connected(None, dashboard=dashboard) as joined:
        joined.start(print)
    assert processes == started
    assert [getattr(node, name) for name in names] == methods


@pytest.mark.usefixtures("no_ray")
def test_nothing_is_uploaded_on_a_cluster_of_this_machine(monkeypatch):
    """Ray does so by itself for a driver under uv run."""
    monkeypatch.setattr(ray._private.ray_constants, "RAY_ENABLE_UV_RUN_RUNTIME_ENV", True)
    monkeypatch.setattr("ray._private.runtime_env.uv_runtime_env_hook._get_uv_run_cmdline", lambda: ["uv", "run", "x"])
    with connected(None) as joined:
        joined.start(print)
    assert ray._private.worker._maybe_modify_runtime_env({}, _skip_env_hook=False) == {}


def machine(root: Path, groups: str, **files: str) -> Path:
    """A root of /proc and /sys. files: content by path below /sys/fs/cgroup, '__' for '/' and '_dot_' for '.'."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


def allowed(monkeypatch, number: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(number)), raising=False)


@pytest.mark.parametrize(
    ("groups", "files", "cpus"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu_dot_max": "max 100000"}, 8),
        ("0::/\n", {"cpu_dot_max": "350000 100000"}, 3),
        ("0::/\n", {"cpu_dot_max": "50000 100000"}, 1),  # half a CPU is one slot
        ("0::/\n", {"cpu_dot_max": "1600000 100000"}, 8),
        ("0::/a/b\n", {"a__b__cpu_dot_max": "max 100000", "a__cpu_dot_max": "200000 100000"}, 2),  # a group above
        ("4:memory:/\n3:cpu,cpuacct:/d\n", {"cpu,cpuacct__d__cpu_dot_cfs_quota_us": "400000",
                                            "cpu,cpuacct__d__cpu_dot_cfs_period_us": "100000"}, 4),
        ("3:cpu:/docker/1\n", {"cpu__cpu_dot_cfs_quota_us": "400000", "cpu__cpu_dot_cfs_period_us": "100000"}, 4),
        ("3:cpu:/\n", {"cpu__cpu_dot_cfs_quota_us": "-1", "cpu__cpu_dot_cfs_period_us": "100000"}, 8),
    ],
)  # fmt: skip
def test_the_usable_cpus_are_those_of_the_affinity_and_the_quota(monkeypatch, tmp_path, groups, files, cpus):
    allowed(monkeypatch, 8)
    assert usable_cpus(machine(tmp_path, groups, **files)) == cpus


def test_where_there_is_neither_the_machine_has_what_it_counts(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # macOS, Windows
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cpus(tmp_path) == 6


# --- what needs no cluster is checked before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--start", "learning_rate=1e9"], "--start: learning_rate must be"),
        (["--cpus-per-trial", "1e99"], "--cpus-per-trial must be at most the cluster's"),
        (["--gpus-per-trial", "64"], "--gpus-per-trial must be at most the cluster's"),
        (["--name", "taken"], "exists already"),
        (["--output-dir", "/proc/sys"], "--output-dir /proc/sys cannot be written to"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
@pytest.mark.parametrize("verb", ["study.run", "study.reproduce"])
def test_what_needs_no_cluster_is_refused_before_ray_is_started(no_ray, tmp_path, verb, words, sentence):
    if verb == "study.reproduce" and words[0] == "--start":
        pytest.skip("a reproduction searches nothing")
    if words[0] == "--output-dir" and not Path("/proc/sys").exists():
        pytest.skip("no folder here that refuses the superuser too")
    (tmp_path / "reports/taken").mkdir(parents=True)
    of_verb = ("imbalance", *SMALL) if verb == "study.run" else ("s0", "--dataset", "digits", "--scale", "0.01")
    status, stdout, stderr = run_here(verb, *of_verb, *words)
    assert (status, stdout) == (2, "")
    assert sentence in stderr
    assert no_ray == []
    assert os.listdir(tmp_path / "reports") == ["taken"]
