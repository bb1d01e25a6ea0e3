"""A run directory with one trained trial, as a study leaves it, made without Ray."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from study.core.ledger import ASKED, CHECKPOINT, EPOCH, SESSION, Event, Ledger, finished
from study.tasks.registry import find_study
from study.tasks.resolve import read_spec, resolved
from study.tasks.study import load_data
from trainables.common.files import write_json
from trainables.training.checkpoints import write_checkpoint
from trainables.training.setup import TrialSetup

SEED = 5


def write_trained_run(run_dir: Path, task: str, trial_id: str, *, stage: str = "tune", **values: Any) -> None:
    """Train the trial as StudyTrainable does, for values["max_epochs"]; values: the spec's.

    trial_id "none-0003" is number 3 of the arm none, with the arm's first configuration.
    """
    study = find_study(task)
    own = {"name": run_dir.name, "output_dir": run_dir.parent, "precision": "float32", "grace_epochs": 1}
    spec = resolved(study, {**own, **values}, dataset=values["dataset"], num_gpus=0)
    _, data, _ = load_data(study, spec)
    run_dir.mkdir(parents=True)
    write_json(run_dir / "spec.json", spec.model_dump(mode="json"))
    with Ledger(run_dir) as ledger:
        ledger.append(Event(kind=SESSION, payload={"dataset": {"fingerprint": data.fingerprint}}))
    add_trained_trial(run_dir, trial_id, stage=stage)


def add_trained_trial(run_dir: Path, trial_id: str, *, stage: str = "tune", start_from: Path | None = None) -> None:
    """Train a further trial of the run to its end. start_from: the checkpoint folder whose weights it begins with."""
    study, spec = read_spec(run_dir)
    assert spec.numerics
    _, data, _ = load_data(study, spec)
    found = next(known for known in study.stages(spec, data) if known.name == stage)
    arm, number = trial_id.rsplit("-", 1)
    hparams = found.space.start_hparams(found.space.arms[arm])
    setup = TrialSetup(num_epochs=found.num_epochs(arm), seed=SEED, numerics=spec.numerics, device=torch.device("cpu"))
    torch.set_num_threads(spec.numerics.num_threads)
    learner = found.task.learner(hparams, data, setup, start_from=None if start_from is None else str(start_from))
    asked = {"arm": arm, "number": int(number), "seed": SEED, "params": {}, "hparams": hparams}
    with Ledger(run_dir) as ledger:
        ledger.append(Event(kind=ASKED, trial_id=trial_id, payload=asked))
        for _ in range(found.num_epochs(arm)):
            summary = learner.train_epoch()
            validation = found.task.validate(learner, data)
            row = {
                "epoch": summary.epoch,
                "images": summary.images,
                "train_loss": summary.train_loss,
                "learning_rate": summary.learning_rate,
                **{f"val_{name}": value for name, value in validation.items()},
                "weights_sha256": learner.weights_sha256(),
            }
            state = {"learner": learner.state_dict(), "result": json.dumps(row)}
            name, sha256 = write_checkpoint(run_dir / "checkpoints" / trial_id, state, epoch=summary.epoch)
            checkpoint = {"epoch": summary.epoch, "file": name, "sha256": sha256}
            ledger.append(
                Event(kind=EPOCH, trial_id=trial_id, payload=row),
                Event(kind=CHECKPOINT, trial_id=trial_id, payload=checkpoint),
            )
        ledger.append(finished(trial_id, "completed"))
