"""A study's metrics for Ray: its dashboard and Prometheus show them, see README."""

from __future__ import annotations

from collections import Counter

from ray.util.metrics import Gauge

from study.core.ledger import Book, TrialRecord
from study.core.stage import Stage


class StageMetrics:
    """Gauges of a stage's tuning, set anew after each event; Ray prefixes their names with ray_.

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
        self._status_of: dict[str, str] = {}
        self._speed_of: dict[str, float] = {}
        self._num_of: Counter[str] = Counter()
        self._best_of: dict[str, float] = {}
        for trial in stage.trials(book):
            self.trial_changed(trial)

    def trial_changed(self, trial: TrialRecord) -> None:
        before = self._status_of.get(trial.trial_id)
        if before != trial.status:
            self._status_of[trial.trial_id] = trial.status
            self._num_of[trial.status] += 1
            if before is not None:
                self._num_of[before] -= 1
            for status in {trial.status, before} - {None}:
                self._trials.set(self._num_of[str(status)], tags={"study": self._name, "status": str(status)})
        if trial.is_finished:
            self._speed_of.pop(trial.trial_id, None)
        elif trial.epochs:
            last = trial.epochs[-1]
            seconds = last["train_seconds"] + last["eval_seconds"]
            self._speed_of[trial.trial_id] = last["images"] / seconds if seconds > 0 else 0.0
        self._speed.set(sum(self._speed_of.values()), tags={"study": self._name})
        self._note_best(trial)

    def _note_best(self, trial: TrialRecord) -> None:
        value = trial.value(self._stage.task.metric)
        if trial.status != "completed" or trial.control is not None or value is None:
            return
        sign = 1 if self._stage.task.mode == "max" else -1
        if trial.arm not in self._best_of or sign * value > sign * self._best_of[trial.arm]:
            self._best_of[trial.arm] = value
            self._best_score.set(value, tags={"study": self._name, "arm": trial.arm})
