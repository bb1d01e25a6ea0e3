"""A study's trials beside the same trials run by others, and how full the study's slots are.

One study a repeat is read for all figures: its tuning is held against the peers' and against perfect packing, its
retest against perfect packing.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.interleave import interleaved, ratios
from benchmarks.measured import Measured
from benchmarks.process import output_of
from benchmarks.setting import Setting, Tuned
from benchmarks.table import is_there
from study.analysis.tables import load_tables
from trainables.common.machine import usable_cpus
from trainables.data.types import TuningData
from trainables.tasks.baseline import BASELINE

MIDDLE = {"learning_rate": 0.03, "momentum": 0.9, "weight_decay": 5e-4}


@dataclass(frozen=True, kw_only=True)
class Alone:
    """The speed of a trial that runs alone, images/s: trained on, and judged."""

    trained: float
    judged: float


@dataclass(frozen=True, kw_only=True)
class Work:
    """A part of a study: its wall seconds, and the images that were trained on and judged in it."""

    seconds: float
    trained: int
    judged: int

    def over_perfect(self, alone: Alone, num_slots: int) -> float:
        """The wall over what it would be if every slot trained all the time, as fast as a trial alone."""
        return self.seconds / ((self.trained / alone.trained + self.judged / alone.judged) / num_slots)


@dataclass(frozen=True, kw_only=True)
class Study:
    tuned: Tuned
    tuning: Work
    retest: Work
    alone: Alone
    command_seconds: float


def run(*, quick: bool, repeats: int | None, folder: Path) -> list[Measured]:
    torch.set_num_threads(1)
    slots = usable_cpus()
    setting = Setting(
        folder=str(folder.resolve()),
        num_trials=2 * slots if quick else 12 * slots,
        num_epochs=2 if quick else 3,
        num_images=500 if quick else 5_000,
        num_slots=slots,
        num_retests=slots if quick else 2 * slots,
    )
    data = setting.data()
    studies: list[Study] = []
    tuned: dict[str, list[Tuned]] = {}
    one_job, more_jobs = "Optuna, 1 job", f"Optuna, {slots} jobs"

    def peer(name: str, module: str, setting: Setting) -> Callable[[], None]:
        return lambda: tuned.setdefault(name, []).append(_peer(module, setting))

    sides: dict[str, Callable[[], object]] = {
        "the study": lambda: studies.append(_study(replace(setting, seed=len(studies)), data)),
        "the tutorial": peer("the tutorial", "tutorial", setting),
        **{
            name: peer(name, "in_process", replace(setting, num_jobs=jobs))
            for name, jobs in ((one_job, 1), (more_jobs, slots))
        },
    }
    if is_there("syne_tune"):
        sides["Syne Tune"] = peer("Syne Tune", "syne", setting)
    took = interleaved(sides, repeats or (1 if quick else 3))
    tuned["the study"] = [study.tuned for study in studies]
    detail = {
        "setting": asdict(setting),
        "tuned": {name: [asdict(one) for one in repeats] for name, repeats in tuned.items()},
        "studies": [asdict(study) for study in studies],
        "command_seconds": {name: [one.seconds for one in repeats] for name, repeats in took.items()},
    }
    return [
        *figures(tuned, slots, optuna=(one_job, more_jobs), detail=detail),
        Measured(
            name="tuning: wall over perfect packing",
            values=tuple(study.tuning.over_perfect(study.alone, slots) for study in studies),
            at_most=1.10,
        ),
        Measured(
            name="retest: wall over perfect packing",
            values=tuple(study.retest.over_perfect(study.alone, slots) for study in studies),
            at_most=1.15,
        ),
    ]


def figures(
    tuned: dict[str, list[Tuned]], num_slots: int, *, optuna: Sequence[str], detail: dict[str, Any]
) -> list[Measured]:
    """What the study gains over each peer. tuned: by side, a tuning a repeat."""
    an_epoch = {name: [num_slots * one.seconds / one.epochs for one in repeats] for name, repeats in tuned.items()}
    an_hour = {name: [3600 * one.trials / one.seconds for one in repeats] for name, repeats in tuned.items()}
    best_optuna = min(optuna, key=lambda name: statistics.median(an_epoch[name]))
    own = an_epoch["the study"]
    own_note = f"the study {statistics.median(own):.2f} s, {statistics.median(an_hour['the study']):.0f} trials an hour"

    def beside(name: str, at_least: float, **more: Any) -> Measured:
        return Measured(
            name=f"slot-seconds an epoch: {name}", values=ratios(an_epoch[name], own), at_least=at_least, **more
        )

    return [
        beside("the tutorial", 3.0, note=own_note, detail=detail),
        Measured(name="trials an hour: the tutorial", values=ratios(an_hour["the study"], an_hour["the tutorial"])),
        beside(best_optuna, 0.97),
        *([beside("Syne Tune", 1.5)] if "Syne Tune" in tuned else []),
    ]


def _study(setting: Setting, data: TuningData) -> Study:
    """Run it, a trial alone before and after it."""
    name = f"study-{setting.seed}"
    file = Path(setting.folder) / f"{name}.json"
    file.write_text(json.dumps(setting.study_settings(name)))
    before, started = _alone(setting, data), time.perf_counter()
    output_of("-m", "study.run", "baseline", "--spec", str(file), "--quiet")
    command_seconds, after = time.perf_counter() - started, _alone(setting, data)
    tuned, tuning, retest = read_study(Path(setting.folder) / name)
    alone = Alone(
        trained=statistics.harmonic_mean([before.trained, after.trained]),
        judged=statistics.harmonic_mean([before.judged, after.judged]),
    )
    return Study(tuned=tuned, tuning=tuning, retest=retest, alone=alone, command_seconds=command_seconds)


def read_study(run_dir: Path) -> tuple[Tuned, Work, Work]:
    """What the tuning of a study of one session took, and the work that its tuning and its retest were."""
    tables = load_tables(run_dir)
    session, num_val = tables.summary["sessions"][-1], tables.summary["dataset"]["num_val"]
    of_tuning, of_retest = (tables.epochs[tables.epochs["stage"] == stage] for stage in ("tune", "retest"))
    num_tested = sum(int(sum(map(sum, matrix))) for matrix in tables.retests["confusion_matrix"])
    return (
        Tuned(seconds=session["tune_seconds"], trials=len(tables.trials), epochs=len(of_tuning)),
        Work(
            seconds=session["tune_seconds"],
            trained=int(of_tuning["images"].sum()),
            judged=len(of_tuning) * num_val,
        ),
        Work(seconds=session["retest_seconds"], trained=int(of_retest["images"].sum()), judged=num_tested),
    )


def _alone(setting: Setting, data: TuningData) -> Alone:
    learner = setting.learner(data, MIDDLE)
    learner.train_epoch()  # warms up
    trained = learner.train_epoch()
    started = time.perf_counter()
    BASELINE.validate(learner, data)
    return Alone(
        trained=trained.images / trained.train_seconds,
        judged=len(data.val_indices) / (time.perf_counter() - started),
    )


def _peer(module: str, setting: Setting) -> Tuned:
    file = Path(setting.folder) / f"{module}.json"
    file.write_text(json.dumps(asdict(setting)))
    output = output_of("-m", f"benchmarks.peers.{module}", str(file))
    return Tuned(**json.loads(output.splitlines()[-1]))
