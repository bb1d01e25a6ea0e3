"""The audit of early stopping: a random few of the stopped trials, trained to their end to see what would have been."""

from __future__ import annotations

from collections.abc import Callable

import ray

from study.core.ledger import AUDIT_CHOSEN, AUDIT_FAILED, AUDITED, Book, Event, Ledger, TrialRecord
from study.core.spec import StudySpec
from study.core.stage import Stage
from study.engine.jobs import Outcome, ValidatedTraining, run_jobs
from study.engine.tuning import require_start
from trainables.common.places import Place
from trainables.common.seeds import derive_seed
from trainables.data.types import TuningData


def audit_order(stage: Stage, book: Book, seed: int) -> list[TrialRecord]:
    """The stopped trials of searches with a winner, in random order: a function of the study's seed and their names.

    Controls are not audited: nothing was to be found in them.

    The first N of them are a random sample, and those of a smaller N are among them.
    """
    winners = {search: stage.winners(book, search) for search in stage.searches if search.control is None}
    stopped = [
        trial
        for trial in stage.trials(book)
        if trial.status == "stopped" and trial.arm in winners.get(trial.of_search, {})
    ]
    return sorted(stopped, key=lambda trial: derive_seed(seed, "audit", trial.trial_id))


def choose(stage: Stage, ledger: Ledger, *, seed: int, num_trials: int) -> None:
    """Commit which trials are to be audited: the first num_trials in random order, those chosen before included.

    Where trials were stopped since then, those that come before the last chosen one are audited too: only what an order
    begins with is a random sample of all.
    """
    order = audit_order(stage, ledger.book, seed)
    known = set(ledger.book.audit_chosen)
    last = max((place for place, trial in enumerate(order, start=1) if trial.trial_id in known), default=0)
    new = [trial.trial_id for trial in order[: max(num_trials, last)] if trial.trial_id not in known]
    if new:
        ledger.append(Event(kind=AUDIT_CHOSEN, payload={"trials": new, "num_stopped": len(order)}))


def waiting_audits(stage: Stage, book: Book) -> list[TrialRecord]:
    """The chosen trials that were not trained to their end yet."""
    chosen = [book.trials[trial_id] for trial_id in book.audit_chosen]
    over = {*book.audits, *book.audit_failures}
    return [trial for trial in chosen if trial.arm in stage.arms and trial.trial_id not in over]


def audit(
    *,
    spec: StudySpec,
    stage: Stage,
    ledger: Ledger,
    data: TuningData,
    checkpoints: Place,
    num_slots: int,
    on_done: Callable[[TrialRecord], None],
    say: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Train the waiting trials from their first epoch to their last, num_slots at a time; the test split is not used.

    Returns a line for each that was lost (see run_jobs): the ledger does not have it, and a resume repeats it. Raises
    StudyError if weights that a trial began with are gone.
    """
    waiting = waiting_audits(stage, ledger.book)
    if not waiting:
        return []
    data_ref = ray.put(data)
    trainings = [
        ValidatedTraining(
            name=trial.trial_id,
            seed=trial.seed,
            task=stage.task,
            hparams=trial.hparams,
            num_epochs=stage.num_epochs(trial.arm),
            data=data_ref,
            folder=checkpoints / f"audit-{trial.trial_id}",
            start_from=require_start(stage, ledger.book, checkpoints, trial.arm, search=trial.search),
        )
        for trial in waiting
    ]

    def record(training: ValidatedTraining, outcome: Outcome) -> None:
        if isinstance(outcome, str):
            ledger.append(Event(kind=AUDIT_FAILED, trial_id=training.name, payload={"message": outcome}))
        else:
            ledger.append(Event(kind=AUDITED, trial_id=training.name, payload={"epochs": outcome[1]}))
        on_done(ledger.book.trials[training.name])

    return run_jobs(trainings, spec=spec, num_slots=num_slots, failed={}, on_outcome=record, say=say)
