"""The winners retrained on fresh seeds and tested. The only code that hands the test split to a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray

from study.catalog import Study
from study.ledger import RETEST, RETEST_FAILED, Book, Event, Ledger, TrialRecord
from study.spec import StudySpec
from trainables.base import train_and_test_in_worker
from trainables.data.types import TestData, TuningData
from trainables.task import Task


def winners(book: Book, arms: Sequence[str], task: Task) -> dict[str, TrialRecord]:
    """Each arm's best completed trial by its last epoch's metric; of equals the first. Arms with none are absent."""
    best: dict[str, TrialRecord] = {}
    sign = 1 if task.mode == "max" else -1
    for arm in arms:
        completed = [trial for trial in book.of_arm(arm) if trial.status == "completed"]
        if completed:
            best[arm] = max(completed, key=lambda trial: (sign * (trial.value(task.metric) or 0), -trial.number))
    return best


def retest_seeds(spec: StudySpec) -> list[int]:
    """Fresh seeds, the same in all arms: of the subset, the initialisation and the order."""
    return [1000 * (spec.seed + 1) + k for k in range(spec.retest_seeds or 0)]


def retest(
    *,
    spec: StudySpec,
    study: Study,
    ledger: Ledger,
    data: TuningData,
    test: TestData,
    checkpoints: Path,
    num_slots: int,
    on_done: Callable[[str, int], None],
) -> list[str]:
    """Retrain every arm's winner on every seed that the ledger does not have yet, num_slots at a time.

    Returns what was lost with its worker or raised, a line each: the ledger does not have it, a resume repeats it.
    """
    assert spec.numerics is not None
    best = winners(ledger.book, spec.arms or (), study.task)
    waiting = [
        (arm, seed)
        for seed in retest_seeds(spec)
        for arm, winner in best.items()
        if not ledger.book.is_retested(winner, seed)
    ]
    if not waiting:
        return []
    pool_ref, test_ref = ray.put(data), ray.put(test)
    lost: list[str] = []
    worker = ray.remote(train_and_test_in_worker).options(
        num_cpus=spec.cpus_per_trial, num_gpus=spec.gpus_per_trial, max_retries=2
    )
    running: dict[Any, tuple[str, int]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < num_slots:
                arm, seed = waiting.pop(0)
                future = worker.remote(
                    study.task,
                    pool_ref,
                    study.retest_cut(spec, seed),
                    test_ref,
                    hparams=best[arm].hparams,
                    num_epochs=spec.max_epochs,
                    seed=seed,
                    numerics=spec.numerics,
                    # By trial: another winner must not go on from where this one's training was cut off.
                    checkpoint_dir=checkpoints / f"retest-{best[arm].trial_id}-{seed}",
                )
                running[future] = (arm, seed)
            done, _ = ray.wait(list(running), num_returns=1)
            arm, seed = running.pop(done[0])
            try:
                outcome = ray.get(done[0])
            except ray.exceptions.RayError as error:
                lost.append(f"{arm}, seed {seed}: {str(error).strip().splitlines()[-1]}")
                continue
            _record(ledger, seed=seed, winner=best[arm], outcome=outcome)
            on_done(arm, seed)
    finally:
        for future in running:
            ray.cancel(future, force=True)
    return lost


def _record(ledger: Ledger, *, seed: int, winner: TrialRecord, outcome: Any) -> None:
    common = {"arm": winner.arm, "trial_id": winner.trial_id, "seed": seed}
    if isinstance(outcome, str):
        ledger.append(Event(kind=RETEST_FAILED, payload={**common, "message": outcome}))
    else:
        row, epochs = outcome
        ledger.append(Event(kind=RETEST, payload={**common, **row, "epochs": epochs}))
