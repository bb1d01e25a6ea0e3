"""Trials and retests as MLflow and Weights & Biases have them, a run each, and what they were given of them so far."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_NO_CURVES = frozenset({"epoch", "time", "images"})
INTERRUPTED = "interrupted"
RUNNING = "running"


@dataclass(frozen=True, kw_only=True)
class LoggedTraining:
    """A trial or a retest for a logger.

    name: unique in its study. tags: kind (trial or retest), stage, arm, seed and what else tells it from others.
    hparams: with the arm's factors. epochs: rows of epochs.parquet. status: as in trials.parquet. results: numbers that
    it came to.
    """

    name: str
    tags: Mapping[str, Any]
    hparams: Mapping[str, Any]
    epochs: Sequence[Mapping[str, Any]]
    status: str
    message: str | None = None
    results: Mapping[str, float] = field(default_factory=dict)

    @property
    def started(self) -> float | None:
        """When the first of these epochs began, in seconds since the epoch, where that was recorded."""
        first = self.epochs[0] if self.epochs else {}
        time = time_of(first)
        return None if time is None else time - first["train_seconds"] - first["eval_seconds"]

    @property
    def ended(self) -> float | None:
        return time_of(self.epochs[-1]) if self.epochs else None


def time_of(epoch: Mapping[str, Any]) -> float | None:
    time = epoch.get("time")
    return None if time is None or math.isnan(time) else float(time)


def curves(epoch: Mapping[str, Any]) -> dict[str, float]:
    """What is drawn over epochs: every finite number that the epoch recorded."""
    return {str(name): value for name, value in finite(epoch).items() if name not in _NO_CURVES}


def finite(row: Mapping[Any, Any]) -> dict[Any, float]:
    return {name: value for name, value in row.items() if isinstance(value, float) and math.isfinite(value)}


class Logger(ABC):
    """A tool that shows trainings, a run each. Whatever goes wrong is an exception of its own.

    destination: where it writes to, in words that are the same in the next session.
    """

    destination: str

    @abstractmethod
    def begin(self, training: LoggedTraining, run_id: str | None) -> str:
        """Begin a run, or go on with the one of that id. Returns its id."""

    @abstractmethod
    def log(self, run_id: str, epoch: Mapping[str, Any]) -> None:
        """Add an epoch to a run that was begun."""

    @abstractmethod
    def end(self, run_id: str, training: LoggedTraining, last_epoch: int) -> None:
        """End a run with the training's status, and its results after that epoch."""


@dataclass(kw_only=True)
class _Given:
    """What a logger has of a training. epoch: the last one; role: of a retest, where that was noted."""

    name: str
    run_id: str | None = None
    epoch: int = 0
    status: str | None = None
    role: str | None = None


class Log:
    """What a logger has, so that it is given each thing once.

    record: the file in which that is noted, for the next session; None: nothing was given before.
    """

    def __init__(self, logger: Logger, record: Path | None = None) -> None:
        self._logger, self._record = logger, record
        self._given: dict[str, _Given] = {}
        self._open: dict[str, LoggedTraining] = {}
        for line in record.read_text().splitlines() if record is not None and record.is_file() else []:
            try:
                values = json.loads(line)
            except ValueError:  # the process was killed while it wrote
                continue
            if values.pop("destination") == logger.destination:
                self._given[values["name"]] = _Given(**values)

    def update(self, training: LoggedTraining) -> None:
        """Give the logger what it lacks of the training."""
        given = self._given.setdefault(training.name, _Given(name=training.name))
        new = [epoch for epoch in training.epochs if epoch["epoch"] > given.epoch]
        role = training.tags.get("role")
        if not new and training.status == given.status and given.role in {None, role}:
            return
        given.role = role
        if training.name not in self._open:
            given.run_id = self._logger.begin(training, given.run_id)
        assert given.run_id is not None
        self._open[training.name] = training
        given.status = RUNNING
        self._note(given)
        for epoch in new:
            self._logger.log(given.run_id, epoch)
            given.epoch = int(epoch["epoch"])
            self._note(given)
        if training.status != RUNNING:
            self._logger.end(given.run_id, training, given.epoch)
            del self._open[training.name]
            given.status = training.status
            self._note(given)

    def close(self) -> None:
        """End what is not over as interrupted: a later session goes on with it."""
        for training in list(self._open.values()):
            self.update(LoggedTraining(**{**_fields(training), "epochs": (), "status": INTERRUPTED}))

    def _note(self, given: _Given) -> None:
        if self._record is not None:
            with self._record.open("a") as file:
                file.write(json.dumps({"destination": self._logger.destination, **asdict(given)}) + "\n")


def to_line(training: LoggedTraining) -> str:
    return json.dumps(_fields(training)) + "\n"


def from_line(line: str) -> LoggedTraining:
    return LoggedTraining(**json.loads(line))


def _fields(training: LoggedTraining) -> dict[str, Any]:
    return {name: getattr(training, name) for name in LoggedTraining.__dataclass_fields__}
