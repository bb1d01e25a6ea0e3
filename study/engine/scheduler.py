"""ASHA per arm and search: which trials continue. Records every result and every decision before it takes effect."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from study.core.errors import last_line
from study.core.ledger import CHECKPOINT, EPOCH, RUNG, Event, Ledger, TrialRecord, finished
from study.core.stage import Stage
from study.records.tables import MEASURED
from trainables.common.files import StorageError


@dataclass(frozen=True, kw_only=True)
class Decision:
    value: float
    cutoff: float | None
    num_peers: int
    decision: Literal["continue", "stop"]


def asha_decision(value: float, peers: Sequence[float], *, reduction_factor: int, mode: str) -> Decision:
    """Decide whether a trial continues at a rung (the stopping variant of ASHA, Li et al. 2020, by Ray's rule).

    It continues if its value is at least the (1 - 1/reduction_factor) quantile of the peers that reached the rung
    before it; the first arrival continues. A value that is not finite never does, and does not enter the quantile.
    Syne Tune counts the value itself among its peers, and so stops more trials at rungs that few have reached.

    Example: among the peers 1, 2 and 3, the best third begins at the 2/3 quantile, 2 + 1/3.

    >>> asha_decision(2.0, [1.0, 2.0, 3.0], reduction_factor=3, mode="max").decision
    'stop'
    >>> asha_decision(2.5, [1.0, 2.0, 3.0], reduction_factor=3, mode="max").decision
    'continue'
    """
    sign = 1 if mode == "max" else -1
    values = np.asarray(peers, dtype=np.float64)
    ranked = sign * values[np.isfinite(values)]
    cutoff = sign * float(np.quantile(ranked, 1 - 1 / reduction_factor)) if ranked.size else None
    survives = math.isfinite(value) and (cutoff is None or sign * value >= sign * cutoff)
    return Decision(value=value, cutoff=cutoff, num_peers=len(peers), decision="continue" if survives else "stop")


class ArmScheduler(TrialScheduler):
    """A scheduler for Ray: ASHA within each search of each arm, with the ledger as its only memory.

    The rungs are those of the ledger, so a resumed study decides as an uninterrupted one. should_end(): whether running
    trials are to end as they are (time is up, or Ctrl-C). A trial whose device has no memory for it ends as it is, and
    is in set_aside; with out_of_memory(trial, error), which says why, it fails. When a worker finds no place for a
    checkpoint, all trials end as they are, and storage_error says why.
    """

    def __init__(
        self,
        *,
        stage: Stage,
        ledger: Ledger,
        on_event: Callable[[TrialRecord], None],
        should_end: Callable[[], bool],
        out_of_memory: Callable[[TrialRecord, str], str] | None = None,
    ) -> None:
        super().__init__()
        self._out_of_memory = out_of_memory
        self.set_aside: set[str] = set()
        self.storage_error: StorageError | None = None
        self._stage, self._ledger = stage, ledger
        self._on_event, self._should_end = on_event, should_end
        self._live: dict[str, Trial] = {}  # Ray's trials that are not over, in its order

    @property
    def metric(self) -> str:
        return self._stage.task.metric

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        record = self._ledger.book.trials[trial.config["trial_id"]]
        if "no_storage" in result:
            self.storage_error = StorageError(*result["no_storage"])
            return TrialScheduler.STOP
        if "out_of_memory" in result and self._out_of_memory is None:
            self.set_aside.add(record.trial_id)
            return TrialScheduler.STOP
        if not record.is_finished:
            self._ledger.append(*self._events(record, result))
            self._on_event(record)
        return TrialScheduler.STOP if record.is_finished or self._should_end() else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Record a failure: the worker was lost or raised. Ray also calls this for a trial that it will restart."""
        if trial.status == Trial.ERROR:  # Ray will queue it again, and it continues from its checkpoint
            return
        record = self._ledger.book.trials[trial.config["trial_id"]]
        if not record.is_finished:
            error = trial.get_error() or "the worker failed"
            self._ledger.append(finished(record.trial_id, "failed", last_line(error)))
            self._on_event(record)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Note a trial of Ray's: a new one, or one whose worker was lost, which then waits behind all others."""
        self._live.pop(trial.trial_id, None)
        self._live[trial.trial_id] = trial

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> None: ...

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None: ...

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        for trial in list(self._live.values()):
            if trial.status == Trial.PENDING:
                return trial
            if trial.is_finished():
                del self._live[trial.trial_id]
        return None

    def debug_string(self) -> str:
        return f"ASHA in each of {len(self._stage.arms)} arms"

    def __deepcopy__(self, memo: dict[int, Any]) -> ArmScheduler:
        return self  # there is only one ledger

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray's snapshot of the experiment needs none of our state: the ledger holds it

    def _events(self, record: TrialRecord, result: Mapping[str, Any]) -> list[Event]:
        """The events that this result adds, the trial's end included; none for an epoch recorded before."""
        trial_id = record.trial_id
        if "failure" in result:
            return [finished(trial_id, "failed", result["failure"])]
        if "out_of_memory" in result:
            assert self._out_of_memory
            return [finished(trial_id, "failed", self._out_of_memory(record, result["out_of_memory"]))]
        epoch = result["epoch"]
        if epoch <= record.num_epochs:
            return []
        row = {**{name: result[name] for name in MEASURED if name in result}, "time": time.time()}
        events = [Event(kind=EPOCH, trial_id=trial_id, payload=row)]
        if "checkpoint" in result:
            written = {"epoch": epoch, "file": result["checkpoint"], "sha256": result["checkpoint_sha256"]}
            events.append(Event(kind=CHECKPOINT, trial_id=trial_id, payload=written))
        value = result[self._stage.task.metric]
        if epoch in self._stage.rungs(record.arm) and epoch >= self._first_stoppable_epoch(record):
            decision = asha_decision(
                value,
                self._ledger.book.arms[record.arm].rung_values[record.of_search, epoch],
                reduction_factor=self._stage.reduction_factor,
                mode=self._stage.task.mode,
            )
            events.append(Event(kind=RUNG, trial_id=trial_id, payload={"rung_epoch": epoch, **vars(decision)}))
            if decision.decision == "stop":
                return [*events, finished(trial_id, "stopped")]
        if epoch == self._stage.num_epochs(record.arm):
            events.append(finished(trial_id, "completed"))
        return events

    def _first_stoppable_epoch(self, record: TrialRecord) -> int:
        arm = self._stage.space.arms[record.arm]
        return arm.first_stoppable_epoch(record.hparams, self._stage.num_epochs(arm.name))
