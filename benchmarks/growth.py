"""What a trial costs the driver as a study grows: proposing, deciding, recording, tables and console, nothing trained.

The study's own searcher, scheduler, ledger, tables and console do all that they do in a study; an experiment without
processes stands in Ray's place and makes up each epoch's result. Ray's own cost is left out. Costs are CPU seconds: how
long a disk takes to sync does not hang on the study's size. A study grows by random search; at each size that is
measured, further trials follow by the searcher in question, and these are counted.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from rich.console import Console

from benchmarks.measured import Measured
from study.core.ledger import SESSION, Event, Ledger, TrialRecord
from study.core.run_dir import checkpoints_of, new_run
from study.engine import tuning
from study.engine.console import StudyConsole
from study.engine.scheduler import ArmScheduler
from study.engine.searcher import ArmSearcher
from study.engine.study_session import StudySession
from study.page.tasks.registry import find_page
from study.tasks.registry import find_study
from study.tasks.resolve import checked, resolved
from study.tasks.study import cut, load_images

TASK, ARM = "baseline", "small_cnn"
NUM_EPOCHS = 6
SLOTS = 2
SIZES, QUICK_SIZES = (100, 1_000, 10_000), (100, 500)
WINDOWS = {"random": 100, "tpe": 30}
"""How many trials by each searcher are measured at each size."""


def run(*, quick: bool, repeats: int | None, folder: Path) -> list[Measured]:
    """What a trial costs at the largest size against the smallest, the driver's memory, and a resume of the largest.

    Optuna's TPE is apart: a proposal at the largest size against one at the size before it.
    All of it is measured once, whatever repeats is.
    """
    sizes = QUICK_SIZES if quick else SIZES
    command = [sys.executable, "-m", "benchmarks.growth", str(folder), *map(str, sizes)]  # its memory is the study's
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(said.splitlines()[-1])
    costs = {searcher: [found["milliseconds"][f"{size} {searcher}"] for size in sizes] for searcher in WINDOWS}
    first, last = (sum(costs["random"][place].values()) for place in (0, -1))
    return [
        Measured(
            name=f"cost of a trial, random search, {sizes[-1]:,} trials against {sizes[0]:,}",
            values=(last / first,),
            at_most=1.3,
            detail=found,
        ),
        Measured(
            name=f"a proposal by TPE, {sizes[-1]:,} trials against {sizes[-2]:,}",
            values=(costs["tpe"][-1]["propose"] / costs["tpe"][-2]["propose"],),
            at_most=1.3,
        ),
        Measured(name=f"memory, {sizes[-1]:,} trials", values=(found["gigabytes"],), unit="GB", at_most=2.0),
        Measured(name=f"resume, {sizes[-1]:,} trials", values=(found["resume_seconds"],), unit="s", at_most=10.0),
    ]


def measure(folder: Path, sizes: Sequence[int]) -> dict[str, Any]:
    """Milliseconds of a trial by part at each size and searcher, this process's memory, seconds that a resume takes."""
    milliseconds = {}
    with _growing_study(folder) as study:
        for size in sizes:
            study.grow(size - WINDOWS["random"], "random")
            for searcher, num_trials in WINDOWS.items():
                begun = study.clock.spent.copy()
                study.grow(study.num_trials + num_trials, searcher)
                milliseconds[f"{size} {searcher}"] = {
                    part: 1000 * (spent - begun.get(part, 0.0)) / num_trials
                    for part, spent in study.clock.spent.items()
                }
        gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        num_events, stage, run_dir = study.ledger.num_events, study.stage, study.run_dir
        tables = sum(path.stat().st_size for path in run_dir.glob("*.parquet"))
    started = time.perf_counter()
    with Ledger(run_dir) as ledger:
        ArmSearcher(stage=stage, ledger=ledger, make_config=lambda trial: {})
        seconds = time.perf_counter() - started
    return {
        "milliseconds": milliseconds,
        "gigabytes": gigabytes,
        "resume_seconds": seconds,
        "epochs_a_trial": NUM_EPOCHS,
        "events": num_events,
        "tables_bytes": tables,
    }


@dataclass(kw_only=True)
class Clock:
    """CPU seconds by part; a part within another one is its own."""

    spent: dict[str, float] = field(default_factory=dict)
    _inner: float = 0.0

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        started, outer = time.process_time(), self._inner
        self._inner = 0.0
        yield
        took = time.process_time() - started
        self.spent[part] = self.spent.get(part, 0.0) + took - self._inner
        self._inner = outer + took


@dataclass(kw_only=True)
class GrowingStudy:
    """A study of one arm that is given more trials again and again."""

    session: StudySession
    console: StudyConsole
    spec: Any
    stage: Any
    ledger: Ledger
    clock: Clock = field(default_factory=Clock)

    @property
    def run_dir(self) -> Path:
        return self.spec.run_dir

    @property
    def num_trials(self) -> int:
        return len(self.ledger.book.trials)

    def grow(self, num_trials: int, searcher: str) -> None:
        """To so many trials, the further ones proposed by this searcher."""
        self.stage = replace(self.stage, trials_per_arm=num_trials, searcher=searcher)

        def tuner(spec: Any, stage: Any, data: Any, searcher: Any, scheduler: Any, slots: int, *_: Any) -> Any:
            return SimpleNamespace(fit=lambda: experiment(searcher, scheduler, slots, self.clock))

        def on_event(trial: TrialRecord) -> None:
            with self.clock("show"):
                self.session.trial_changed(trial)

        with mock.patch.object(tuning, "_tuner", tuner), self.console.tuning(self.stage, self.ledger.book, SLOTS):
            tuning.tune_arms(
                spec=self.spec,
                stage=self.stage,
                data=None,  # type: ignore[arg-type]
                ledger=self.ledger,
                run_dir=self.run_dir,
                checkpoints=checkpoints_of(self.spec),
                slots=SLOTS,
                deadline=None,
                on_event=on_event,
            )


@contextlib.contextmanager
def _growing_study(folder: Path) -> Iterator[GrowingStudy]:
    study = find_study(TASK)
    values = {
        "task": TASK,
        "dataset": "digits",
        "arms": (ARM,),
        "max_epochs": NUM_EPOCHS,
        "grace_epochs": 1,
        "output_dir": folder,
        "name": "growing",
    }
    spec = checked(study, values)
    dataset, found = load_images(study, spec)
    spec = resolved(study, values, dataset=found, num_gpus=0)
    data = cut(study, spec, dataset)
    stages = study.stages(spec, data)
    console = StudyConsole(Console(file=io.StringIO()))
    with new_run(spec, ("growing",)) as (spec, ledger):
        session = StudySession(
            study=study,
            page=find_page(TASK),
            spec=spec,
            stages=stages,
            dataset=dataset,
            data=data,
            ledger=ledger,
            console=console,
        )
        opened = {"command": "", "hardware": {}, "versions": {}, "commit": None, **session.facts()}
        ledger.append(Event(kind=SESSION, payload=opened))
        yield GrowingStudy(session=session, console=console, spec=spec, stage=stages[-1], ledger=ledger)


class RayTrial:
    """As much of Ray's Trial as the scheduler looks at."""

    def __init__(self, trial_id: str, config: Mapping[str, Any]) -> None:
        self.trial_id, self.config, self.status, self.num_epochs = trial_id, config, Trial.PENDING, 0

    def is_finished(self) -> bool:
        return self.status == Trial.TERMINATED


def experiment(searcher: ArmSearcher, scheduler: ArmScheduler, slots: int, clock: Clock) -> None:
    """What Ray does with the two: keep the slots full, an epoch of each running trial in turn."""
    trials: list[RayTrial] = []
    running: list[RayTrial] = []
    controller = SimpleNamespace(get_trials=lambda: trials)
    is_over = False
    while True:
        while not is_over and len(running) < slots:
            ray_id = f"{len(trials):08x}"
            with clock("propose"):
                config = searcher.suggest(ray_id)
            if not isinstance(config, dict):
                is_over = config == Searcher.FINISHED
                continue
            trials.append(RayTrial(ray_id, config))
            scheduler.on_trial_add(controller, trials[-1])
            with clock("choose"):
                trial = scheduler.choose_trial_to_run(controller)
            trial.status = Trial.RUNNING
            running.append(trial)
        if not running:
            return
        for trial in list(running):
            with clock("choose"):  # which Ray asks after every result
                scheduler.choose_trial_to_run(controller)
            trial.num_epochs += 1
            result = _result(trial)
            with clock("decide"):
                decision = scheduler.on_trial_result(controller, trial, result)
            if decision == TrialScheduler.STOP:
                running.remove(trial)
                trial.status = Trial.TERMINATED
                with clock("propose"):
                    searcher.on_trial_complete(trial.trial_id, result)


def _result(trial: RayTrial) -> dict[str, Any]:
    """A made-up epoch: best at a learning rate of 0.1, better with every epoch, and noise."""
    noise = random.Random(f"{trial.config['seed']} {trial.num_epochs}")
    score = 0.8 - 0.1 * abs(math.log10(trial.config["hparams"]["learning_rate"]) + 1) - 0.3 / trial.num_epochs
    score += noise.gauss(0, 0.01)
    return {
        "epoch": trial.num_epochs,
        "images": 1000,
        "train_loss": 1 - score,
        "learning_rate": 0.1,
        "val_accuracy": score,
        "val_balanced_accuracy": score,
        "val_loss": 1 - score,
        "train_seconds": 1 + noise.random(),
        "eval_seconds": 0.1,
        "gpu_ids": None,
        "weights_sha256": f"{noise.getrandbits(256):064x}",
        "checkpoint": f"epoch-{trial.num_epochs:04d}.pt",
        "checkpoint_sha256": f"{noise.getrandbits(256):064x}",
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), [int(size) for size in sys.argv[2:]])))
