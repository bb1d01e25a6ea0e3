"""Trials and retests as runs of Weights & Biases, grouped by study."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.exports.logged import LoggedTraining, Logger, curves, time_of

PROJECT = "ray-tune-study"
MAX_TAG_LENGTH = 64


class WandbLogger(Logger):
    """Logs to WANDB_PROJECT, else to the project ray-tune-study, or, with a folder, offline into that.

    WANDB_MODE=offline and W&B's other variables hold as ever. A run's group is its study, its job type trial or retest;
    a failed training is a failed run, and how any other ended is in its summary, as status.
    """

    def __init__(self, study: str, folder: Path | None = None) -> None:
        import wandb

        self._wandb, self._study, self._folder = wandb, study, folder
        wandb.setup(wandb.Settings(silent=True))  # else it would ask a terminal for a key
        self._project = os.environ.get("WANDB_PROJECT") or PROJECT
        self.destination = f"{os.environ.get('WANDB_BASE_URL', 'wandb')} {os.environ.get('WANDB_ENTITY', '')}"
        self.destination += f"/{self._project}/{study}"
        self._runs: dict[str, Any] = {}

    def begin(self, training: LoggedTraining, run_id: str | None) -> str:
        tags = training.tags
        run = self._wandb.init(
            project=self._project,
            group=self._study,
            job_type=tags["kind"],
            name=training.name,
            id=run_id,
            resume="allow" if run_id else None,
            reinit="create_new",  # trials run side by side
            config={**training.hparams, **tags},
            tags=[str(tags[name])[:MAX_TAG_LENGTH] for name in ("stage", "arm", "role", "control") if name in tags],
            dir=self._folder,
            mode="offline" if self._folder else None,
            settings=self._wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,  # of this process, which trains nothing
                x_disable_meta=True,
                x_save_requirements=False,
                stop_fn=lambda: None,  # a run that is stopped in the browser is one trial of a study
            ),
        )
        self._runs[run.id] = run
        return str(run.id)

    def log(self, run_id: str, epoch: Mapping[str, Any]) -> None:
        at = time_of(epoch)
        self._runs[run_id].log(
            {**curves(epoch), **({} if at is None else {"_timestamp": at})}, step=int(epoch["epoch"])
        )

    def end(self, run_id: str, training: LoggedTraining, last_epoch: int) -> None:
        run = self._runs.pop(run_id)
        facts = {"status": training.status, **({} if training.message is None else {"message": training.message})}
        run.summary.update({**training.results, **facts})
        run.finish(exit_code=1 if training.status == "failed" else 0)
