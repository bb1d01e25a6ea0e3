"""The retest: winners, and what they are held against, are retrained on fresh seeds and tested."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import ray

from study.analysis.contenders import needing_seeds
from study.core.entrants import Entrant, outcomes, retested_anew
from study.core.ledger import RETEST, RETEST_FAILED, Book, Event, Ledger
from study.core.run_dir import WEIGHTS, retest_folder
from study.core.search import Search
from study.core.spec import StudySpec
from study.core.stage import Stage
from study.engine.jobs import Job, Outcome, run_jobs
from study.engine.tuning import start_folder
from trainables.common.places import Place
from trainables.data.types import TestData, TuningData
from trainables.training.checkpoints import Folder, read_newest_checkpoint, write_checkpoint


def fresh_seeds(seed: int, number: int) -> list[int]:
    """The seeds of a run's last trainings, as a function of its seed; tuning trials use others."""
    return [1000 * (seed + 1) + k for k in range(number)]


def seeds_of_search(spec: StudySpec, search: int, number: int) -> list[int]:
    """The first `number` retest seeds of the search of that number; no two searches share one."""
    first = (search - 1) * spec.looks[-1]
    return fresh_seeds(spec.seed, first + number)[first:]


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
    checkpoints: Place,
    num_slots: int,
    on_done: Callable[[Entrant, int], None],
    say: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Retrain every entrant on the first seeds, winners that need it on further ones, where the ledger lacks them.

    The seeds are the same in all arms: they determine subset, initial weights and order. looks: numbers of seeds; after
    each but the last, `needing_seeds` says which arms go on to the next. on_look(arms, number of seeds) is called
    before these arms are retrained on so many seeds; what it returns counts as lost. training_data(seed)(data): what a
    retest trains on, made in its worker of the tuning data. A stage before another one keeps its checkpoints. Returns a
    line for each retest that was lost (see run_jobs): the ledger does not have it, and a resume repeats it.
    """
    everyone = retested_anew(stage, ledger.book)
    arms = tuple(dict.fromkeys(entrant.arm for entrant in everyone))
    for number in looks:
        further = [entrant for entrant in everyone if entrant.role == "winner" and entrant.arm in arms]
        lost = on_look(arms, number) or _retest_on(
            everyone if number == looks[0] else further,
            number,
            spec=spec,
            stage=stage,
            training_data=training_data,
            ledger=ledger,
            data=data,
            test=test,
            run_dir=run_dir,
            checkpoints=checkpoints,
            num_slots=num_slots,
            on_done=on_done,
            say=say,
        )
        if lost:
            return lost
        seeds = fresh_seeds(spec.seed, number)
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
    among: Sequence[Entrant],
    number: int,
    *,
    spec: StudySpec,
    stage: Stage,
    training_data: Callable[[int], Callable[[TuningData], TuningData]],
    ledger: Ledger,
    data: TuningData,
    test: TestData,
    run_dir: Path,
    checkpoints: Place,
    num_slots: int,
    on_done: Callable[[Entrant, int], None],
    say: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Retest these entrants on the first `number` seeds of their searches."""
    seeds = {search.number: seeds_of_search(spec, search.number, number) for search in stage.searches}
    _fail_without_weights(stage, ledger, among, seeds=[seed for of_search in seeds.values() for seed in of_search])
    book = ledger.book
    planned = [(entrant, seeds[entrant.search][position]) for position in range(number) for entrant in among]
    over = {*book.retests, *book.retest_failures}
    waiting = {
        (entrant.label, seed): entrant for entrant, seed in planned if (entrant.trial.trial_id, seed) not in over
    }
    if not waiting:
        return []
    pool_ref, test_ref = ray.put(data), ray.put(test)
    jobs = [
        Job(
            name=label,
            seed=seed,
            task=stage.task,
            hparams=entrant.trial.hparams,
            num_epochs=stage.num_epochs(entrant.arm),
            pool=pool_ref,
            training_data=training_data(seed),
            test=test_ref,
            folder=checkpoints / retest_folder(entrant.trial.trial_id, seed),
            keeps_folder=stage.lends_weights,
            start_from=start_folder(stage, book, checkpoints, entrant.arm, seed, search=entrant.search),
        )
        for (label, seed), entrant in waiting.items()
    ]

    def record(job: Job, outcome: Outcome) -> None:
        entrant = waiting[job.key]
        if entrant.role == "winner" and job.seed == seeds[entrant.search][0] and not isinstance(outcome, str):
            keep_weights(job.folder, run_dir / WEIGHTS / job.folder.name)
        record_retest(ledger, entrant, seed=job.seed, outcome=outcome)
        on_done(entrant, job.seed)

    return run_jobs(jobs, spec=spec, num_slots=num_slots, failed={}, on_outcome=record, say=say)


def keep_weights(checkpoints: Folder, folder: Path) -> None:
    """Write the model of the last checkpoint, without the optimiser, into a folder of its own: 4 bytes a parameter.

    Called before the retest is recorded: of one that is recorded they are there, unless its checkpoint was damaged.
    """
    if (state := read_newest_checkpoint(checkpoints)) is not None:
        learner = state["learner"]
        write_checkpoint(folder, {"model": learner["model"]}, epoch=learner["epoch"])


def _fail_without_weights(stage: Stage, ledger: Ledger, among: Sequence[Entrant], *, seeds: Sequence[int]) -> None:
    """Fail the retests on those seeds on which the stage before failed: its half-trained weights must not be used."""
    if stage.before is None:
        return
    book = ledger.book
    warm = [entrant for entrant in among if entrant.arm in stage.warm_arms]
    for lender, failure in outcomes(book.retest_failures, retested_anew(stage.before, book)):
        for entrant in warm:
            key = entrant.trial.trial_id, failure["seed"]
            if (
                entrant.search == lender.search
                and key[1] in seeds
                and key not in {*book.retest_failures, *book.retests}
            ):
                message = f"{lender.arm} failed on this seed: {failure['message']}"
                record_retest(ledger, entrant, seed=failure["seed"], outcome=message)


def record_retest(ledger: Ledger, entrant: Entrant, *, seed: int, outcome: Outcome) -> None:
    """Commit the outcome of an entrant's retest."""
    search = Search(number=entrant.search)
    record_outcome(
        ledger, arm=entrant.arm, trial_id=entrant.trial.trial_id, seed=seed, outcome=outcome, **search.recorded
    )


def record_outcome(ledger: Ledger, *, arm: str, trial_id: str, seed: int, outcome: Outcome, **more: int) -> None:
    """Commit the outcome of a training on a fresh seed. more: what else its event has."""
    common = {"arm": arm, "trial_id": trial_id, "seed": seed, **more}
    if isinstance(outcome, str):
        ledger.append(Event(kind=RETEST_FAILED, payload={**common, "message": outcome}))
    else:
        row, epochs = outcome
        ledger.append(Event(kind=RETEST, payload={**common, **row, "epochs": epochs}))
