"""The retest: winners are retrained on fresh seeds and tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import ray

from study.analysis.contenders import needing_seeds
from study.core.ledger import RETEST, RETEST_FAILED, Book, Event, Ledger, TrialRecord
from study.core.run_dir import CHECKPOINTS, WEIGHTS, retest_folder
from study.core.spec import StudySpec
from study.core.stage import Stage
from study.engine.jobs import Job, Outcome, run_jobs
from study.engine.tuning import start_folder
from trainables.data.types import TestData, TuningData
from trainables.training.checkpoints import read_newest_checkpoint, write_checkpoint


def fresh_seeds(seed: int, number: int) -> list[int]:
    """The seeds of a run's last trainings, as a function of its seed; tuning trials use others."""
    return [1000 * (seed + 1) + k for k in range(number)]


def retest(
    *,
    spec: StudySpec,
    stage: Stage,
    looks: Sequence[int],
    on_look: Callable[[Sequence[str], int], list[str]],
    training_data: Callable[[int], Callable[[TuningData], TuningData]],
    ledger: Ledger,
    data: TuningData,
    test: TestData,
    run_dir: Path,
    num_slots: int,
    on_done: Callable[[str, int], None],
    say: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Retrain every arm's winner on the first seeds, those that need it on further ones, where the ledger lacks them.

    The seeds are the same in all arms: they determine subset, initial weights and order. looks: numbers of seeds; after
    each but the last, `needing_seeds` says which arms go on to the next. on_look(arms, number of seeds) is called
    before these arms are retrained on so many seeds; what it returns counts as lost. training_data(seed)(data): what a
    retest trains on, made in its worker of the tuning data. A stage before another one keeps its checkpoints. Returns a
    line for each retest that was lost (see run_jobs): the ledger does not have it, and a resume repeats it.
    """
    arms = tuple(stage.winners(ledger.book))
    for number in looks:
        seeds = fresh_seeds(spec.seed, number)
        lost = on_look(arms, number) or _retest_on(
            seeds,
            arms,
            spec=spec,
            stage=stage,
            training_data=training_data,
            ledger=ledger,
            data=data,
            test=test,
            run_dir=run_dir,
            num_slots=num_slots,
            on_done=on_done,
            say=say,
        )
        if lost:
            return lost
        arms = _arms_that_go_on(spec, stage, ledger.book, seeds, step=1 / len(test.labels), num_looks=len(looks))
        if not arms:
            break
    return []


def _arms_that_go_on(
    spec: StudySpec, stage: Stage, book: Book, seeds: Sequence[int], *, step: float, num_looks: int
) -> tuple[str, ...]:
    """Judged by the retests on these seeds alone, so that a resume decides as the session before it did."""
    if num_looks == 1:
        return ()
    assert spec.retest_until is not None
    rows = [row for row in book.retested(stage.winners(book)) if row["seed"] in seeds]
    go_on: set[str] = set()
    for group in stage.groups:
        scores = {
            arm: pd.Series({row["seed"]: row[stage.task.score] for row in rows if row["arm"] == arm}, dtype="float64")
            for arm in group.arms
        }
        tested = {arm: values for arm, values in scores.items() if len(values)}
        narrow = spec.retest_until / 100
        go_on.update(needing_seeds(tested, group.control, step=step, num_looks=num_looks, narrow=narrow))
    return tuple(arm for arm in stage.arms if arm in go_on)


def _retest_on(
    seeds: Sequence[int],
    arms: Sequence[str],
    *,
    spec: StudySpec,
    stage: Stage,
    training_data: Callable[[int], Callable[[TuningData], TuningData]],
    ledger: Ledger,
    data: TuningData,
    test: TestData,
    run_dir: Path,
    num_slots: int,
    on_done: Callable[[str, int], None],
    say: Callable[[str], None] = lambda line: None,
) -> list[str]:
    best = {arm: winner for arm, winner in stage.winners(ledger.book).items() if arm in arms}
    _fail_without_weights(stage, ledger, best, seeds)
    known = [*ledger.book.retested(best), *ledger.book.failed_retests(best)]
    over = {(row["arm"], row["seed"]) for row in known}
    waiting = [(arm, seed) for seed in seeds for arm in best if (arm, seed) not in over]
    if not waiting:
        return []
    pool_ref, test_ref = ray.put(data), ray.put(test)
    jobs = [
        Job(
            name=arm,
            seed=seed,
            task=stage.task,
            hparams=best[arm].hparams,
            num_epochs=stage.num_epochs(arm),
            pool=pool_ref,
            training_data=training_data(seed),
            test=test_ref,
            folder=run_dir.resolve() / CHECKPOINTS / retest_folder(best[arm].trial_id, seed),
            keeps_folder=stage.lends_weights,
            start_from=start_folder(stage, ledger.book, run_dir, arm, seed),
        )
        for arm, seed in waiting
    ]

    def record(job: Job, outcome: Outcome) -> None:
        if job.seed == fresh_seeds(spec.seed, 1)[0] and not isinstance(outcome, str):
            keep_weights(job.folder, run_dir / WEIGHTS / job.folder.name)
        record_outcome(ledger, arm=job.name, trial_id=best[job.name].trial_id, seed=job.seed, outcome=outcome)
        on_done(job.name, job.seed)

    return run_jobs(jobs, spec=spec, num_slots=num_slots, failed={}, on_outcome=record, say=say)


def keep_weights(checkpoints: Path, folder: Path) -> None:
    """Write the model of the last checkpoint, without the optimiser, into a folder of its own: 4 bytes a parameter.

    Called before the retest is recorded: of one that is recorded they are there, unless its checkpoint was damaged.
    """
    if (state := read_newest_checkpoint(checkpoints)) is not None:
        learner = state["learner"]
        write_checkpoint(folder, {"model": learner["model"]}, epoch=learner["epoch"])


def _fail_without_weights(stage: Stage, ledger: Ledger, best: Mapping[str, TrialRecord], seeds: Sequence[int]) -> None:
    """Fail the retests on seeds on which the stage before failed: its half-trained weights must not be used."""
    if stage.before is None:
        return
    over = {(row["arm"], row["seed"]) for row in ledger.book.failed_retests(best)}
    for failure in ledger.book.failed_retests(stage.before.winners(ledger.book)):
        for arm in best:
            if arm in stage.warm_arms and failure["seed"] in seeds and (arm, failure["seed"]) not in over:
                message = f"{failure['arm']} failed on this seed: {failure['message']}"
                record_outcome(ledger, arm=arm, trial_id=best[arm].trial_id, seed=failure["seed"], outcome=message)


def record_outcome(ledger: Ledger, *, arm: str, trial_id: str, seed: int, outcome: Outcome) -> None:
    """Commit the outcome of a training on a fresh seed."""
    common = {"arm": arm, "trial_id": trial_id, "seed": seed}
    if isinstance(outcome, str):
        ledger.append(Event(kind=RETEST_FAILED, payload={**common, "message": outcome}))
    else:
        row, epochs = outcome
        ledger.append(Event(kind=RETEST, payload={**common, **row, "epochs": epochs}))
