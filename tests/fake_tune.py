"""Ray Tune without Ray: its experiment by hand, on the study's own searcher, scheduler and ledger."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
from ray.tune.schedulers import TrialScheduler
from study_cases import METRIC, make_stage, result_of

from study.core.ledger import Ledger
from study.engine import tuning
from study.engine.scheduler import ArmScheduler
from study.engine.searcher import ArmSearcher
from study.tasks.imbalance import ImbalanceSpec
from trainables.common.places import LocalPlace

SAID_BY_RAY = (
    "Task was killed due to the node running low on memory.\n"
    "Memory on the node (IP: 10.0.0.1, ID: ab) was 15.20GB used / 16.00GB limit (0.950000)\n"
)
SPEC = ImbalanceSpec(task="imbalance", dataset="digits", cpus_per_trial=1, gpus_per_trial=0.25, precision="float32")
STAGE = make_stage(arms=("none",), trials_per_arm=4, max_epochs=2, grace_epochs=2)


class Machine:
    """Ray Tune in place: trials side by side, an epoch each in turn.

    killed(trial_id, how many run), refused(...): whether there is memory; unwritten(trial_id, epoch): what a disk says.
    """

    def __init__(self, folder: Path, *, killed: Any = None, refused: Any = None, unwritten: Any = None) -> None:
        self.killed, self.refused = killed or (lambda *_: False), refused or (lambda *_: False)
        self.unwritten = unwritten or (lambda *_: None)
        self.ledger = Ledger(folder)
        self.folder = folder
        self.said: list[str] = []
        self.names: list[str] = []
        self.most_at_once: list[int] = []  # of each experiment
        self.tries: Counter[str] = Counter()

    def tuner(self, spec, stage, data, searcher: ArmSearcher, scheduler: ArmScheduler, slots, name, run_dir) -> Any:
        self.names.append(name)
        return SimpleNamespace(fit=lambda: self._fit(searcher, scheduler, slots))

    def _fit(self, searcher: ArmSearcher, scheduler: ArmScheduler, slots: int) -> None:
        self.most_at_once.append(0)
        running: dict[str, dict[str, Any]] = {}
        for number in range(100):
            while len(running) < slots and isinstance(config := searcher.suggest(f"ray-{number}-{len(running)}"), dict):
                running[f"ray-{number}-{len(running)}"] = config
                self.tries[config["trial_id"]] += 1
            if not running:
                return
            self.most_at_once[-1] = max(self.most_at_once[-1], len(running))
            for ray_id, config in list(running.items()):
                trial_id = config["trial_id"]
                record = self.ledger.book.trials[trial_id]
                if self.killed(trial_id, len(running)):
                    raise RuntimeError("Caught unexpected exception") from ray.exceptions.OutOfMemoryError(SAID_BY_RAY)
                result = result_of(record.num_epochs + 1, 0.5)
                if self.refused(trial_id, len(running)):
                    result = {METRIC: float("nan"), "out_of_memory": "CUDA out of memory. Tried to allocate 2 GiB"}
                if no_storage := self.unwritten(trial_id, record.num_epochs + 1):
                    result = {METRIC: float("nan"), "no_storage": no_storage}
                trial = SimpleNamespace(config=config)
                if scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP:
                    del running[ray_id]
                    searcher.on_trial_complete(ray_id, result)
        raise AssertionError("it does not end")

    def run(self, monkeypatch, *, slots: int = 4) -> bool:
        monkeypatch.setattr(tuning, "_tuner", self.tuner)
        spec = SPEC.model_copy(update={"numerics": {"precision": "float32", "num_threads": 1}})
        return tuning.tune_arms(
            spec=spec, stage=STAGE, data=None, ledger=self.ledger, run_dir=self.folder,
            checkpoints=LocalPlace(self.folder / "checkpoints"), slots=slots, deadline=None,
            on_event=lambda trial: None, say=self.said.append,
        )  # fmt: skip

    @property
    def statuses(self) -> list[str]:
        return [trial.status for trial in self.ledger.book.trials.values()]
