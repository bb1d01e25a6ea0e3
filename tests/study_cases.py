"""What tests of the study share: specs, hand-made events, results as the Trainable reports them, no Ray cluster."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from learner_cases import SPACE

from study.core.ledger import ASKED, CHECKPOINT, EPOCH, Event, Ledger
from study.core.ledger_files import COUNT, LEDGER, VERSION
from study.core.stage import TUNE, Group, Stage
from study.engine.scheduler import ArmScheduler
from trainables.tasks.imbalance import IMBALANCE

METRIC = "val_balanced_accuracy"


def make_stage(*, arms: tuple[str, ...] = ("none", "focal"), **values: Any) -> Stage:
    settings: dict[str, Any] = {
        "name": TUNE,
        "task": IMBALANCE,
        "space": SPACE,
        "groups": (Group(title="", control="none", arms=arms),),
        "seed": 0,
        "searcher": "tpe",
        "trials_per_arm": 6,
        "max_epochs": 9,
        "grace_epochs": 1,
        "reduction_factor": 3,
    }
    return Stage(**{**settings, "arms": arms, **values})


def asked(trial_id: str, *, hparams: dict[str, Any] | None = None, seed: int = 11) -> Event:
    """trial_id "focal-0003" is number 3 of the arm focal."""
    arm, number = trial_id.rsplit("-", 1)
    payload = {"arm": arm, "number": int(number), "seed": seed, "params": {}, "hparams": hparams or {}}
    return Event(kind=ASKED, trial_id=trial_id, payload=payload)


def epoch_row(epoch: int, value: float, **more: Any) -> dict[str, Any]:
    """A row of epochs.parquet with numbers that add up by hand: 100 images, 2 s to train, 0.5 s to validate."""
    return {
        "epoch": epoch,
        "images": 100,
        "train_loss": 1.5,
        "learning_rate": 0.1,
        METRIC: value,
        "val_accuracy": 0.5,
        "val_loss": 1.25,
        "train_seconds": 2.0,
        "eval_seconds": 0.5,
        "gpu_ids": None,
        "weights_sha256": "ab" * 32,
        **more,
    }


def epoch_events(trial_id: str, epoch: int, value: float) -> tuple[Event, Event]:
    checkpoint = {"epoch": epoch, "file": f"epoch-{epoch:04d}.pt", "sha256": "cd" * 32}
    return (
        Event(kind=EPOCH, trial_id=trial_id, payload=epoch_row(epoch, value)),
        Event(kind=CHECKPOINT, trial_id=trial_id, payload=checkpoint),
    )


def result_of(epoch: int, value: float) -> dict[str, Any]:
    """What the Trainable reports after an epoch."""
    return epoch_row(epoch, value, checkpoint=f"epoch-{epoch:04d}.pt", checkpoint_sha256="cd" * 32)


def ray_trial(trial_id: str) -> SimpleNamespace:
    """As much of Ray's Trial as the scheduler looks at."""
    return SimpleNamespace(config={"trial_id": trial_id}, status="RUNNING", get_error=lambda: None)


def make_scheduler(stage: Stage, ledger: Ledger, **options: Any) -> ArmScheduler:
    defaults = {"on_event": lambda record: None, "should_end": lambda: False}
    return ArmScheduler(stage=stage, ledger=ledger, **defaults | options)


def edit_ledger(run_dir: Path, statement: str, values: Sequence[Any] = ()) -> None:
    """Change what a ledger has recorded, unnoticed."""
    as_version_1(run_dir)
    with contextlib.closing(sqlite3.connect(run_dir / LEDGER)) as connection, connection:
        connection.execute(statement, values)


def as_version_1(run_dir: Path) -> None:
    """The ledger as earlier versions wrote it, without chain and count."""
    connection = sqlite3.connect(run_dir / LEDGER)
    if connection.execute("PRAGMA user_version").fetchone() == (VERSION,):
        connection.execute("ALTER TABLE events DROP COLUMN chain")
        connection.execute("PRAGMA user_version=1")
    connection.close()
    (run_dir / COUNT).unlink(missing_ok=True)
