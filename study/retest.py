"""The winners retrained on fresh seeds and tested. The only code that hands the test split to a worker."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray

from study.errors import last_line
from study.launch import CHECKPOINTS, retest_folder, start_folder
from study.ledger import RETEST, RETEST_FAILED, Event, Ledger, TrialRecord
from study.spec import StudySpec
from study.stage import Stage
from trainables.base import train_and_test_in_worker
from trainables.data.types import TestData, TuningData


def retest_seeds(spec: StudySpec) -> list[int]:
    """Fresh seeds, the same in all arms: of the subset, the initialisation and the order."""
    return [1000 * (spec.seed + 1) + k for k in range(spec.retest_seeds or 0)]


def retest(
    *,
    spec: StudySpec,
    stage: Stage,
    cut: Callable[[int], Callable[[TuningData], TuningData]],
    ledger: Ledger,
    data: TuningData,
    test: TestData,
    run_dir: Path,
    num_slots: int,
    on_done: Callable[[str, int], None],
) -> list[str]:
    """Retrain every arm's winner on every seed that the ledger does not have yet, num_slots at a time.

    cut(seed) makes a retest's training data of the tuning data, in its worker. A stage that another one follows keeps
    its checkpoints. Returns what was lost with its worker, a line each: the ledger does not have it, and a resume
    repeats it.
    """
    best = stage.winners(ledger.book)
    _fail_without_weights(stage, ledger, best)
    known = [*ledger.book.retested(best), *ledger.book.failed_retests(best)]
    over = {(row["arm"], row["seed"]) for row in known}
    waiting = [(arm, seed) for seed in retest_seeds(spec) for arm in best if (arm, seed) not in over]
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
                    stage.task,
                    pool_ref,
                    cut(seed),
                    test_ref,
                    hparams=best[arm].hparams,
                    num_epochs=stage.num_epochs(arm),
                    seed=seed,
                    numerics=spec.numerics,
                    checkpoint_dir=_folder(run_dir, best[arm], seed),
                    start_from=start_folder(stage, ledger.book, run_dir, arm, seed),
                )
                running[future] = (arm, seed)
            done, _ = ray.wait(list(running), num_returns=1)
            arm, seed = running.pop(done[0])
            try:
                outcome = ray.get(done[0])
            except ray.exceptions.RayTaskError as error:  # raised in our code: again would end alike
                outcome = last_line(error)
            except ray.exceptions.RayError as error:  # its worker or node was lost
                lost.append(f"{arm}, seed {seed}: {last_line(error)}")
                continue
            _record(ledger, seed=seed, winner=best[arm], outcome=outcome)
            if not stage.is_followed:
                shutil.rmtree(_folder(run_dir, best[arm], seed), ignore_errors=True)
            on_done(arm, seed)
    finally:
        for future in running:
            ray.cancel(future, force=True)
    return lost


def _fail_without_weights(stage: Stage, ledger: Ledger, best: Mapping[str, TrialRecord]) -> None:
    """A seed on which the stage before failed has left half-trained weights: nothing may begin with them."""
    if stage.before is None:
        return
    over = {(row["arm"], row["seed"]) for row in ledger.book.failed_retests(best)}
    for failure in ledger.book.failed_retests(stage.before.winners(ledger.book)):
        for arm in best:
            if arm in stage.warm_arms and (arm, failure["seed"]) not in over:
                message = f"{failure['arm']} failed on this seed: {failure['message']}"
                _record(ledger, seed=failure["seed"], winner=best[arm], outcome=message)


def _folder(run_dir: Path, winner: TrialRecord, seed: int) -> Path:
    return run_dir.resolve() / CHECKPOINTS / retest_folder(winner, seed)


def _record(ledger: Ledger, *, seed: int, winner: TrialRecord, outcome: Any) -> None:
    common = {"arm": winner.arm, "trial_id": winner.trial_id, "seed": seed}
    if isinstance(outcome, str):
        ledger.append(Event(kind=RETEST_FAILED, payload={**common, "message": outcome}))
    else:
        row, epochs = outcome
        ledger.append(Event(kind=RETEST, payload={**common, **row, "epochs": epochs}))
