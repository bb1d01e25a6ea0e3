"""The Ray cluster that a study runs on: joining or starting it, and how many trials fit."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import ray

import search_spaces
import study as study_package
import trainables
from study.core.errors import StudyError
from study.core.spec import RunSpec


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A Ray cluster that this process is connected to."""

    cpus: float
    gpus: float
    dashboard_url: str | None
    needs_token: bool


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Connect to address, or start Ray here, while the block lasts. A Ray that is initialised already is used."""
    started_here = not ray.is_initialized()
    if started_here:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if address is not None:
            # Nodes of a cluster may not have the project, so it is sent with the job.
            options |= {"address": address, "runtime_env": {"py_modules": _packages()}}
        else:
            # Without "local", Ray would join the cluster that was last started on this machine.
            options |= {"address": "local", "include_dashboard": True}
        try:
            context = ray.init(**options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            hint = "; where it asks for a token, set RAY_AUTH_MODE=token" if address else ""
            raise StudyError(f"{where} did not answer: {reason}{hint}") from None
    else:
        context = None
    try:
        resources = ray.cluster_resources()
        url = context.dashboard_url if context is not None else None
        yield Cluster(
            cpus=resources.get("CPU", 0.0),
            gpus=resources.get("GPU", 0.0),
            dashboard_url=f"http://{url}" if url else None,
            needs_token=os.environ.get("RAY_AUTH_MODE", "").lower() == "token",
        )
    finally:
        if started_here:
            ray.shutdown()


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
