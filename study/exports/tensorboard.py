"""A run's trials and retests as TensorBoard's event files, a run each, with its plugin for hyperparameters."""

from __future__ import annotations

from pathlib import Path

from study.analysis.tables import Tables
from study.core.entrants import FORMER
from study.core.text import plural
from study.exports.logged import LoggedTraining, curves, time_of
from study.exports.places import made_whole
from study.exports.trainings import trainings


def write_tensorboard(tables: Tables, path: Path) -> str:
    """Write a folder of event files, and say how to open it: ARM/TRIAL for trials, retests/ARM/seed-SEED for those of
    winners, retests/ARM/default/seed-SEED for those of what they are held against, retests/ARM/former/TRIAL/seed-SEED
    for those of earlier winners.

    Every number that an epoch recorded is a curve over epochs. The hyperparameters of a trial stand beside its last
    objective. Raises StudyError if there is something at the path.
    """
    with made_whole(path) as part:
        for training in trainings(tables):
            _write_run(part / _folder(tables, training), training)
    counted = f"{plural(len(tables.trials), 'trial')}, {plural(len(tables.retests), 'retest')}"
    return f"{path}: {counted}; open it with tensorboard --logdir {path}"


def _folder(tables: Tables, training: LoggedTraining) -> Path:
    tags = training.tags
    stage, arm = str(tags["stage"]), str(tags["arm"])
    if tags["kind"] == "trial":
        return Path("trials" if len(tables.summary["stages"]) == 1 else f"trials-{stage}", arm, training.name)
    folder = Path(stage.replace("retest", "retests"), arm)
    role = tags.get("role", "winner")
    if role != "winner":
        folder /= str(role)
    if role == FORMER:  # there may be several
        folder /= str(tags["trial_id"])
    return folder / f"seed-{tags['seed']}"


def _write_run(folder: Path, training: LoggedTraining) -> None:
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams as hparams_summaries

    with SummaryWriter(logdir=str(folder)) as writer:
        if training.tags["kind"] == "trial":
            facts = {"arm": training.tags["arm"], "status": training.status, **training.hparams}
            for summary in hparams_summaries(facts, training.results):
                writer.file_writer.add_summary(summary)
        last = 0
        for epoch in training.epochs:
            last = int(epoch["epoch"])
            for name, value in curves(epoch).items():
                writer.add_scalar(name, value, last, walltime=time_of(epoch))
        for name, value in training.results.items():
            writer.add_scalar(name, value, last)
