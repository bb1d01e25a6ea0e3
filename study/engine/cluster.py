"""The Ray cluster that a study runs on: joining or starting it, and how many trials fit."""

from __future__ import annotations

import _thread
import contextlib
import logging
import math
import os
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import IO, Any

import ray
import torch

import search_spaces
import study as study_package
import trainables
from study.core.errors import StudyError, last_line
from study.core.spec import SESSION_SETTINGS, RunSpec
from study.core.text import duration
from study.engine import access, signals, warden
from study.engine.nodes import SILENCE_SECONDS, Nodes
from study.engine.signals import hang_ups_ignored
from trainables.common.machine import usable_cpus

REACH_SECONDS = 10.0
WATCH_SECONDS = 1.0
_VITAL = {"gcs_server": "Ray's control store (gcs_server)", "raylet": "Ray's scheduler (raylet)"}
_QUIETLY = {"logging_level": logging.ERROR, "log_to_driver": False}
_RAYS_PRINT = ray._private.worker.print_to_stdstream
_ELSEWHERE = "set RAY_TMPDIR to a folder of your own with a short path and some space"


class Cluster:
    """A Ray cluster. cpus, gpus: what it has to give. dashboard_url: None before it has started, and without one.

    One of this machine has what this process may use, is known before it starts, and starts by start().
    """

    def __init__(
        self, *, cpus: float, gpus: float, dashboard_url: str | None = None, wants_dashboard: bool = True
    ) -> None:
        self.cpus, self.gpus, self.dashboard_url = cpus, gpus, dashboard_url
        self._wants_dashboard = wants_dashboard
        self._token = uuid.uuid4().hex
        self._warden: IO[bytes] | None = None
        self._nodes: Nodes | None = None
        self._is_over = threading.Event()
        self.place: Mapping[str, Any] = {}
        """The settings of a session by which it was found."""
        self.on_loss: Callable[[str], int] | None = None
        """Ends the session when Ray is gone, and returns the exit status."""

    def start(self, say: Callable[[str], None], *, cpus: float = math.inf) -> None:
        """Start Ray on this machine if no Ray is connected yet. say: told of nodes that are lost. Raises StudyError.

        cpus: what the session uses at most. Ray gets no more to give, for it starts a worker for each with itself.
        """
        if ray.is_initialized():
            self._nodes = Nodes(say)
            self._nodes.watch()
        else:
            self._start(math.ceil(min(int(self.cpus), cpus) - 1e-9))
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _start(self, num_cpus: int) -> None:
        # Under "uv run", Ray would upload the current folder for its workers, and fail where it is large. They are on
        # this machine and need nothing. Ray has read the variable of this name when it was imported.
        ray._private.ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
        access.keep_token()
        self._warden = warden.start(self._token)
        # The marks are inherited by Ray's processes, and theirs.
        marks = _environment(warden.marks(self._token))
        with access.on_loopback(), without_idle_processes(dashboard=self._wants_dashboard), marks:
            # Without "local", Ray would join the cluster that was last started on this machine.
            context = _init(
                "a Ray cluster on this machine did not start",
                address="local",
                num_cpus=num_cpus,
                num_gpus=int(self.gpus),
                include_dashboard=self._wants_dashboard,
            )
        self.dashboard_url = _url(context)

    def loss(self) -> str | None:
        """What is gone of Ray, if anything without which it hangs: as part of a sentence."""
        if self._nodes is not None:
            return f"the Ray cluster gave no answer for {duration(SILENCE_SECONDS)}" if self._nodes.are_silent else None
        node = ray._private.worker._global_node if self._warden is not None else None
        dead = {kind for kind, _ in node.dead_processes()} if node is not None else set()
        part = next((name for kind, name in _VITAL.items() if kind in dead), None)
        return None if part is None else f"{part} is gone, and this machine's Ray with it"

    def unwatch(self) -> None:
        self._is_over.set()
        if self._nodes is not None:
            self._nodes.unwatch()

    def close(self) -> None:
        """Have the warden end what a Ray that was started here leaves behind."""
        self.unwatch()
        if self._warden is not None:
            self._warden.close()
            self._warden = None

    def _watch(self) -> None:
        """End the session when Ray is gone: the main thread would wait for it, for a minute or for ever."""
        while not self._is_over.wait(WATCH_SECONDS):
            if self._nodes is not None:
                self._nodes.waited(WATCH_SECONDS)
            if (lost := self.loss()) is None or self.on_loss is None:
                continue
            try:
                status = self.on_loss(lost)
            except Exception as error:  # a thread's traceback would be all, and the main thread wait on
                print(f"error: {last_line(error)}", file=sys.stderr)
                status = 1
            warden.end_marked(self._token)
            if signals.owns_process:
                with contextlib.suppress(OSError, ValueError):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(status)  # what is left of Ray in this process would wait for the rest
            _thread.interrupt_main()
            return


@contextlib.contextmanager
def cluster_of(spec: RunSpec) -> Iterator[Cluster]:
    """The cluster of a session with these settings, as `connected`."""
    with connected(spec.address, dashboard=spec.dashboard, insecure=spec.insecure_cluster) as cluster:
        cluster.place = {name: getattr(spec, name) for name in SESSION_SETTINGS}
        yield cluster


@contextlib.contextmanager
def connected(address: str | None, *, dashboard: bool = True, insecure: bool = False) -> Iterator[Cluster]:
    """The cluster at address, joined while the block lasts; without an address, one of this machine, not started yet.

    A Ray that is initialised already is used. dashboard: whether a Ray that is started here has one. insecure: whether
    a cluster is joined that asks for no token. Raises StudyError.
    """
    was_initialised = ray.is_initialized()
    cluster: Cluster | None = None
    try:
        if was_initialised:
            cluster = _joined(None)
            yield cluster
        elif address not in (None, "local"):
            failure = f"the Ray cluster at {address} did not answer"
            found = _found(address, failure)
            _require_reachable(found, failure)
            if not insecure:
                access.require_token(found, seconds=REACH_SECONDS)
            # Nodes of a cluster may not have the project, so it is sent with the job.
            cluster = _joined(_init(failure, address=address, runtime_env={"py_modules": _packages()}))
            yield cluster
        else:
            cluster = Cluster(cpus=usable_cpus(), gpus=torch.cuda.device_count(), wants_dashboard=dashboard)
            yield cluster
    finally:
        if cluster is not None and cluster.loss() is None:
            cluster.unwatch()  # else the watchdog ends what may hang now
        if not was_initialised:
            ray.shutdown()
            ray._private.worker.print_to_stdstream = _RAYS_PRINT  # a notebook goes on, maybe with a Ray of its own
        if cluster is not None:
            cluster.close()


@contextlib.contextmanager
def without_idle_processes(*, dashboard: bool) -> Iterator[None]:
    """Have the Ray that is started in the block leave out processes whose work nobody would see.

    The log monitor sends drivers what workers print, which _QUIETLY refuses; the monitor of the autoscaler, which has
    nothing to scale here, and the API server tell the dashboard what it shows.
    """
    idle = ("start_log_monitor", *(() if dashboard else ("start_monitor", "start_api_server")))
    node = ray._private.node.Node
    before = {name: getattr(node, name) for name in idle}
    for name in idle:
        setattr(node, name, _not_started)
    try:
        yield
    finally:
        for name, start in before.items():
            setattr(node, name, start)


def _not_started(node: Any, **options: Any) -> None:
    """In the place of a method of Ray's that starts a process."""


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set these environment variables while the block lasts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _found(address: str, failure: str) -> str:
    """The address itself, or that which Ray takes "auto" for. Raises StudyError."""
    if address != "auto":
        return address
    try:
        return ray._private.services.get_ray_address_from_environment(address, None)
    except ConnectionError as error:
        raise StudyError(f"{failure}: {error}") from None


def _require_reachable(address: str, failure: str) -> None:
    """Raise StudyError if nothing listens at HOST:PORT, which Ray would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():  # Ray refuses it by itself
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise StudyError(f"{failure}: {error}; --address takes another one, or local") from None


def _joined(context: Any) -> Cluster:
    resources = ray.cluster_resources()
    return Cluster(
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        dashboard_url=None if context is None else _url(context),
    )


def _init(failure: str, **options: Any) -> Any:
    """ray.init, of which everything that goes wrong is a StudyError."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        # What nodes report would be printed whatever log_to_driver says: a hundred lines for a node that died.
        ray._private.worker.print_to_stdstream = _not_said
        with hang_ups_ignored():
            return ray.init(**_QUIETLY, **options)
    except Exception as error:  # of any type: of the operating system, of Ray's, or of its dependencies
        said = " ".join(str(error).split())[:500] or type(error).__name__
        if options["address"] != "local":
            said += "; where it asks for a token, set RAY_AUTH_MODE=token"
        elif isinstance(error, OSError) and not isinstance(error, ConnectionError):  # of its files
            said += f"; {_ELSEWHERE}"
        raise StudyError(f"{failure}: {said}") from None


def _not_said(data: Any, ignore_prefix: bool = False) -> None:
    """In the place of Ray's function that prints what nodes and workers say."""


def _url(context: Any) -> str | None:
    return f"http://{context.dashboard_url}" if context.dashboard_url else None


def num_slots(spec: RunSpec, cluster: Cluster) -> int:
    """The number of trials that run at once. Raises StudyError if the cluster cannot run a single one."""
    cpus, gpus = spec.cpus_per_trial or 0.0, spec.gpus_per_trial or 0.0
    if cpus > cluster.cpus:
        raise StudyError(f"--cpus-per-trial must be at most the cluster's {cluster.cpus:g} CPUs, got {cpus:g}")
    if gpus > cluster.gpus:
        raise StudyError(f"--gpus-per-trial must be at most the cluster's {cluster.gpus:g} GPUs, got {gpus:g}")
    fit = math.floor(cluster.cpus / cpus + 1e-9)
    if gpus:
        per_gpu = math.floor(1 / gpus + 1e-9)
        fit = min(fit, int(cluster.gpus) * per_gpu if gpus <= 1 else math.floor(cluster.gpus / gpus))
    return min(fit, spec.max_concurrent or fit)


def _packages() -> list[ModuleType]:
    return [trainables, search_spaces, study_package]
