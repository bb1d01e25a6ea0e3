"""The retest: winners are retrained on fresh seeds and tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import ray

from study.core.ledger import RETEST, RETEST_FAILED, Event, Ledger, TrialRecord
from study.core.run_dir import CHECKPOINTS
from study.core.spec import StudySpec
from study.core.stage import Stage
from study.engine.jobs import Job, Outcome, run_jobs
from study.engine.tuning import retest_folder, start_folder
from trainables.data.types import TestData, TuningData


def retest_seeds(spec: StudySpec) -> list[int]:
    """The retest's seeds, the same in all arms: they determine subset, initial weights and order."""
    return fresh_seeds(spec.seed, spec.retest_seeds or 0)


def fresh_seeds(seed: int, number: int) -> list[int]:
    """The seeds of a run's last trainings, as a function of its seed; tuning trials use others."""
    return [1000 * (seed + 1) + k for k in range(number)]


def retest(
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
) -> list[str]:
    """Retrain every arm's winner on every seed that the ledger does not have yet, num_slots at a time.

    training_data(seed)(data): what a retest trains on, made in its worker of the tuning data. A stage before another
    one keeps its checkpoints. Returns a line for each retest that was lost (see run_jobs): the ledger does not have it,
    and a resume repeats it.
    """
    best = stage.winners(ledger.book)
    _fail_without_weights(stage, ledger, best)
    known = [*ledger.book.retested(best), *ledger.book.failed_retests(best)]
    over = {(row["arm"], row["seed"]) for row in known}
    waiting = [(arm, seed) for seed in retest_seeds(spec) for arm in best if (arm, seed) not in over]
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
            folder=run_dir.resolve() / CHECKPOINTS / retest_folder(best[arm], seed),
            keeps_folder=stage.lends_weights,
            start_from=start_folder(stage, ledger.book, run_dir, arm, seed),
        )
        for arm, seed in waiting
    ]

    def record(job: Job, outcome: Outcome) -> None:
        record_outcome(ledger, arm=job.name, trial_id=best[job.name].trial_id, seed=job.seed, outcome=outcome)
        on_done(job.name, job.seed)

    return run_jobs(jobs, spec=spec, num_slots=num_slots, failed={}, on_outcome=record)


def _fail_without_weights(stage: Stage, ledger: Ledger, best: Mapping[str, TrialRecord]) -> None:
    """Fail the retests on seeds on which the stage before failed: its half-trained weights must not be used."""
    if stage.before is None:
        return
    over = {(row["arm"], row["seed"]) for row in ledger.book.failed_retests(best)}
    for failure in ledger.book.failed_retests(stage.before.winners(ledger.book)):
        for arm in best:
            if arm in stage.warm_arms and (arm, failure["seed"]) not in over:
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
