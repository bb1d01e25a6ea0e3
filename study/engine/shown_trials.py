"""What a sampler is shown of a long search, so that the cost of a proposal does not grow with it."""

from __future__ import annotations

import copy
import heapq
import math
from collections.abc import Callable, Container, Sequence
from typing import Any, Literal

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from study.core.ledger import TrialRecord

MOST_SHOWN = 500
NUM_BEST = 25
"""As many as Optuna's TPE takes for the good ones, however many there are."""


def to_show(records: Sequence[TrialRecord], value: Callable[[TrialRecord], float]) -> Sequence[TrialRecord]:
    """All that ShownTrials may show of a search's trials. value: of a completed one, higher is better."""
    if len(records) <= MOST_SHOWN:
        return records
    modelled = [record for record in records if record.status in {"completed", "stopped"}]
    completed = [record for record in modelled if record.status == "completed" and math.isfinite(value(record))]
    best = heapq.nlargest(NUM_BEST, completed, key=value)  # of equals the first, as ShownTrials has it
    shown = {record.trial_id for record in [*modelled[-MOST_SHOWN - 1 :], *best]}
    return [record for record in records if record.trial_id in shown or not record.is_finished]


class ShownTrials(InMemoryStorage):
    """A storage of one Optuna study with one objective that shows all of its first MOST_SHOWN trials.

    Of more it shows those that are not finished, the NUM_BEST best completed ones, whenever they were, and of the
    completed and pruned ones those that were asked for last, MOST_SHOWN in all. To TPE the good trials are then the
    same as among all; those that it holds them against are recent, to which it gives the larger weights anyway.
    """

    def __init__(self, mode: Literal["max", "min"]) -> None:
        super().__init__()
        self._sign = 1 if mode == "max" else -1
        self._open: dict[int, None] = {}  # trials that are not finished
        self._latest: list[int] = []  # a heap, the first that was asked for first
        self._best: list[tuple[float, int]] = []  # a heap, the worst first: (value, higher is better; - trial)
        self._num_trials = 0

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        self._num_trials += 1
        self._note(self.get_trial(trial_id))
        return trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        is_set = super().set_trial_state_values(trial_id, state, values)
        self._note(self.get_trial(trial_id))
        return is_set

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if self._num_trials <= MOST_SHOWN or states == (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        numbers = sorted({*self._open, *self._latest, *(-trial for _, trial in self._best)})
        shown = [trial for trial in map(self.get_trial, numbers) if states is None or trial.state in states]
        return copy.deepcopy(shown) if deepcopy else shown

    def _note(self, trial: FrozenTrial) -> None:
        if not trial.state.is_finished():
            self._open[trial._trial_id] = None
            return
        self._open.pop(trial._trial_id, None)
        if trial.state in {TrialState.COMPLETE, TrialState.PRUNED}:
            _keep_largest(self._latest, trial._trial_id, MOST_SHOWN - NUM_BEST)
        if trial.state == TrialState.COMPLETE:
            assert trial.value is not None
            _keep_largest(self._best, (self._sign * trial.value, -trial._trial_id), NUM_BEST)


def _keep_largest(heap: list[Any], entry: Any, number: int) -> None:
    heapq.heappush(heap, entry)
    if len(heap) > number:
        heapq.heappop(heap)
