"""Tuning: one Ray Tune experiment for all arms of a stage, with its state in the ledger."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from ray import tune

from study.core.errors import StudyError
from study.core.ledger import Book, Ledger, TrialRecord, finished
from study.core.run_dir import retest_folder
from study.core.search import Search
from study.core.spec import StudySpec
from study.core.stage import Stage
from study.engine.memory import KILLED_TRIES, fewer, killed_for_memory, memory_failure, memory_line
from study.engine.scheduler import ArmScheduler
from study.engine.searcher import ArmSearcher
from study.engine.signals import signals_to
from trainables.common.places import Place
from trainables.data.types import TuningData
from trainables.training.checkpoints import read_newest_checkpoint
from trainables.worker import TrialConfig, trainable_class

WORKER_RETRIES = 3  # restarts of a trial whose worker or node was lost; it continues from its last checkpoint


def tune_arms(
    *,
    spec: StudySpec,
    stage: Stage,
    data: TuningData,
    ledger: Ledger,
    run_dir: Path,
    checkpoints: Place,
    slots: int,
    deadline: float | None,
    on_event: Callable[[TrialRecord], None],
    on_interrupt: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
) -> bool:
    """Run the trials of a stage that are not finished in the ledger. Returns whether Ctrl-C or SIGTERM ended it early.

    checkpoints: where those of each trial have a folder. deadline: by time.monotonic(); running trials then end as they
    are, and no further one begins.
    The first Ctrl-C lets the current epochs finish, so that they are recorded; a second one raises KeyboardInterrupt.
    A trial for which there was no memory is tried again: with half as many beside it if Ray's memory monitor killed it
    (which say is told), at the end and alone if its device refused; it fails if that does not help. If their
    checkpoints' place is full, read-only or gone, all trials end as they are; then it raises StorageError.
    """
    assert spec.numerics is not None
    run_dir = run_dir.resolve()  # workers have other working directories
    interrupted = False

    def should_end() -> bool:
        is_over = deadline is not None and time.monotonic() > deadline
        return interrupted or is_over or scheduler.storage_error is not None

    def make_config(trial: TrialRecord) -> dict[str, Any]:
        return TrialConfig(
            trial_id=trial.trial_id,
            seed=trial.seed,
            num_epochs=stage.num_epochs(trial.arm),
            checkpoint_dir=str(checkpoints / trial.trial_id),
            start_from=start_folder(stage, ledger.book, checkpoints, trial.arm, search=trial.search),
            numerics=spec.numerics,  # type: ignore[arg-type]
            hparams=trial.hparams,
        ).model_dump()

    known = stage.trials(ledger.book)
    if all(trial.is_finished for trial in known) and len(known) >= stage.num_trials:
        return False
    _quiet_ray()

    def note_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        # At once, for the epochs in flight may take minutes; in a thread, for the signal may have come amid a print.
        threading.Thread(target=on_interrupt, daemon=True).start()

    killed_alone: Counter[str] = Counter()
    is_last_try = False
    for attempt in itertools.count(1):
        searcher = ArmSearcher(stage=stage, ledger=ledger, make_config=make_config, should_end=should_end)
        scheduler = ArmScheduler(
            stage=stage,
            ledger=ledger,
            on_event=on_event,
            should_end=should_end,
            out_of_memory=(lambda trial, error: memory_failure(error, trial.hparams, spec)) if is_last_try else None,
        )
        name = f"session-{len(ledger.book.sessions)}-{stage.name}{f'-{attempt}' if attempt > 1 else ''}"
        try:
            with signals_to(note_interrupt):
                _tuner(spec, stage, data, searcher, scheduler, slots, name, run_dir).fit()
        except Exception as error:
            killed = killed_for_memory(error)
            if killed is None:
                raise
            if slots == 1:
                for trial in searcher.running:
                    killed_alone[trial.trial_id] += 1
                    if killed_alone[trial.trial_id] >= KILLED_TRIES:
                        message = memory_failure(killed, trial.hparams, spec)
                        ledger.append(finished(trial.trial_id, "failed", message))
                        on_event(trial)
            slots = fewer(slots)
            say(memory_line(killed, slots))
        else:
            if scheduler.storage_error is not None:
                raise scheduler.storage_error
            if should_end() or not scheduler.set_aside:
                return interrupted
            slots, is_last_try = 1, True
        if should_end():
            return interrupted
    raise AssertionError


def _tuner(
    spec: StudySpec,
    stage: Stage,
    data: TuningData,
    searcher: ArmSearcher,
    scheduler: ArmScheduler,
    slots: int,
    name: str,
    run_dir: Path,
) -> tune.Tuner:
    resources = tune.PlacementGroupFactory([{"CPU": spec.cpus_per_trial, "GPU": spec.gpus_per_trial}])
    trainable = tune.with_resources(tune.with_parameters(trainable_class(stage.task), data=data), resources)
    trainable.__name__ = trainable_class(stage.task).__name__  # the name in the dashboard; Ray's wrappers hide it
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,  # the searcher ends the experiment
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(run_dir / "ray"),
            failure_config=tune.FailureConfig(max_failures=WORKER_RETRIES),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
            verbose=0,
            progress_reporter=tune.CLIReporter(),  # which is silent; in a notebook, Ray's would draw a table of its own
        ),
    )


def start_folder(
    stage: Stage, book: Book, checkpoints: Place, arm: str, seed: int | None = None, *, search: int = 1
) -> str | None:
    """The checkpoint folder whose weights the arm's trials, or its retest with that seed, begin with, or None.

    search: the number of the search that the trials are of, or on whose seeds the retest is: they begin with what the
    stage before found in its search of that number.
    """
    if arm not in stage.warm_arms:
        return None
    if stage.start_from is not None:
        return stage.start_from
    assert stage.before is not None
    (winner,) = stage.before.winners(book, Search(number=search)).values()
    folder = winner.trial_id if seed is None else retest_folder(winner.trial_id, seed)
    return str(checkpoints / folder)


def require_start(
    stage: Stage, book: Book, checkpoints: Place, arm: str, seed: int | None = None, *, search: int = 1
) -> str | None:
    """The start_folder of a training that is to be done again. Raises StudyError if its weights are gone."""
    folder = start_folder(stage, book, checkpoints, arm, seed, search=search)
    if folder is None:
        return None
    state = read_newest_checkpoint(folder)
    lent_at = None if stage.before is None else {stage.before.num_epochs(lender) for lender in stage.before.arms}
    if state is None or (lent_at is not None and state["learner"]["epoch"] not in lent_at):
        raise StudyError(
            f"{arm} begins with the weights in {folder}, whose last checkpoint is deleted or damaged: it cannot be "
            "trained again"
        )
    return folder


def _trial_name(trial: Any) -> str:
    return trial.config["trial_id"]


def _quiet_ray() -> None:
    """Turn off Ray's loggers and make its snapshots rare: the ledger holds everything."""
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output prints its banner even at verbose=0
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "600"
    os.environ["TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S"] = "0"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # our handler ends the trials, so that their results are recorded
    os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"  # a lost worker needs no traceback: its trial continues
    for name in ("ray.tune", "ray.train", "ray.air", "ray._private"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Its only error lists the failed trials at the end, which the console has named, with reasons.
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
