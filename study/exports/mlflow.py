"""Trials and retests as runs of an MLflow experiment."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from study.exports.logged import LoggedTraining, Logger, curves, time_of

STATUSES = {"completed": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
WAITING = "SCHEDULED"
"""MLflow's status of a trial that was interrupted."""


class MlflowLogger(Logger):
    """Logs to the tracking server or database that MLflow itself would take, or to that at uri.

    The experiment is MLFLOW_EXPERIMENT_NAME, else it has the study's name. A trial that early stopping ended is KILLED,
    an interrupted one SCHEDULED; the tag status has the study's own word.
    """

    def __init__(self, study: str, uri: str | None = None) -> None:
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):  # which tell how they make a database
            logging.getLogger(name).setLevel(logging.WARNING)
        self._study = study
        self._client = MlflowClient(tracking_uri=uri)
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or study
        self.destination = f"{self._client.tracking_uri} {experiment}"
        known = self._client.get_experiment_by_name(experiment)
        self._experiment_id = self._client.create_experiment(experiment) if known is None else known.experiment_id

    def begin(self, training: LoggedTraining, run_id: str | None) -> str:
        if run_id is not None:
            self._client.update_run(run_id, status="RUNNING")
            self._client.set_tag(run_id, "status", "running")
            if "role" in training.tags:  # a winner's retest may be a former one's by now
                self._client.set_tag(run_id, "role", training.tags["role"])
            return run_id
        from mlflow.entities import Param

        tags = {"study": self._study, "status": "running", **training.tags}
        run = self._client.create_run(
            self._experiment_id,
            start_time=_milliseconds(training.started),
            tags={name: str(value) for name, value in tags.items()},
            run_name=training.name,
        )
        params = [Param(name, str(value)) for name, value in training.hparams.items()]
        self._client.log_batch(run.info.run_id, params=params)
        return str(run.info.run_id)

    def log(self, run_id: str, epoch: Mapping[str, Any]) -> None:
        self._log(run_id, curves(epoch), step=int(epoch["epoch"]), at=time_of(epoch))

    def end(self, run_id: str, training: LoggedTraining, last_epoch: int) -> None:
        self._log(run_id, training.results, step=last_epoch, at=training.ended)
        self._client.set_tag(run_id, "status", training.status)
        if training.message is not None:
            self._client.set_tag(run_id, "message", training.message)
        status = STATUSES.get(training.status)
        if status is None:
            self._client.update_run(run_id, status=WAITING)
        else:
            self._client.set_terminated(run_id, status, end_time=_milliseconds(training.ended))

    def _log(self, run_id: str, values: Mapping[str, float], *, step: int, at: float | None) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(name, value, _milliseconds(at), step) for name, value in values.items()]
        self._client.log_batch(run_id, metrics=metrics)


def _milliseconds(at: float | None) -> int:
    return round(1000 * (time.time() if at is None else at))
