"""A study's metrics for Prometheus, by Ray's."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType

from ray.util.metrics import Gauge

from study.core.ledger import Book, TrialRecord
from study.core.stage import Stage

REFRESH_SECONDS = 5.0
"""Ray forgets a gauge that was not set for some 20 seconds."""


class StageMetrics:
    """Gauges of a stage's tuning while the block lasts; Ray puts ray_ before their names.

    study_best_score: the best validation score of an arm's completed trials; study_trials: how many trials have a
    status; study_images_per_second: of the running trials together, by each one's last epoch, evaluation included.
    """

    def __init__(self, name: str, stage: Stage, book: Book) -> None:
        self._name, self._stage = name, stage
        self._best_score = Gauge(
            "study_best_score", description="Best validation score so far, 0-1", tag_keys=("study", "arm")
        )
        self._trials = Gauge("study_trials", description="Trials by status", tag_keys=("study", "status"))
        self._speed = Gauge(
            "study_images_per_second", description="Training images a second of all trials", tag_keys=("study",)
        )
        self._values: dict[tuple[Gauge, str, str], float] = {}
        self._status_of: dict[str, str] = {}
        self._speed_of: dict[str, float] = {}
        self._num_of: Counter[str] = Counter()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="metrics", daemon=True)
        for trial in stage.trials(book):
            self.trial_changed(trial)

    def __enter__(self) -> StageMetrics:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_over.set()
        self._thread.join()

    def trial_changed(self, trial: TrialRecord) -> None:
        before = self._status_of.get(trial.trial_id)
        if before != trial.status:
            self._status_of[trial.trial_id] = trial.status
            self._num_of[trial.status] += 1
            if before is not None:
                self._num_of[before] -= 1
            for status in {trial.status, before or trial.status}:
                self._values[self._trials, "status", status] = self._num_of[status]
        if trial.is_finished:
            self._speed_of.pop(trial.trial_id, None)
        elif trial.epochs:
            last = trial.epochs[-1]
            seconds = last["train_seconds"] + last["eval_seconds"]
            self._speed_of[trial.trial_id] = last["images"] / seconds if seconds > 0 else 0.0
        self._values[self._speed, "", ""] = sum(self._speed_of.values())
        self._note_best(trial)

    def _note_best(self, trial: TrialRecord) -> None:
        value = trial.value(self._stage.task.metric)
        if trial.status != "completed" or trial.control is not None or value is None:
            return
        sign = 1 if self._stage.task.mode == "max" else -1
        best = self._values.get((self._best_score, "arm", trial.arm))
        if best is None or sign * value > sign * best:
            self._values[self._best_score, "arm", trial.arm] = value

    def _refresh(self) -> None:
        is_over = False
        while not is_over:
            for (gauge, tag, label), value in list(self._values.items()):
                gauge.set(value, tags={"study": self._name, **({tag: label} if tag else {})})
            is_over = self._is_over.wait(REFRESH_SECONDS)
