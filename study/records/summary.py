"""summary.json: what a page needs to know about a study besides its tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from study.core.checksums import write_checked
from study.core.commands import command_line, winner_settings
from study.core.entrants import entrants, outcomes, retested_anew
from study.core.ledger import Book, Ledger, TrialRecord
from study.core.plugins import own_part_names
from study.core.run_dir import resume_command
from study.core.spec import StudySpec
from study.core.stage import Stage, ranges_of, ranges_set
from study.records.sizes import sizes
from study.tasks.study import Study
from trainables.common.files import json_bytes
from trainables.training.evaluation import TAUS

State = Literal["running", "interrupted", "complete"]


def write_summary(
    run_dir: Path,
    *,
    spec: StudySpec,
    study: Study,
    stages: Sequence[Stage],
    ledger: Ledger,
    state: State,
) -> None:
    """Write summary.json from spec, stages and ledger; only the time per ledger event is this process's own."""
    book = ledger.book
    last = book.sessions[-1]
    main = stages[-1]
    content = {
        "name": spec.name,
        "task": spec.task,
        "state": state,
        "command": book.sessions[0]["command"],
        "resume_command": resume_command(spec.run_dir),
        "dataset": last["dataset"],
        "setting": study.setting(spec),
        "arms": list(main.arms),
        "groups": [{"title": g.title, "control": g.control, "arms": list(g.arms)} for g in main.groups],
        "stages": [_stage(stage, book) for stage in stages],
        "arm_factors": {arm: dict(stage.space.arms[arm].factors) for stage in stages for arm in stage.arms},
        "ranges_set": ranges_set(stages),
        "knobs": {arm: stage.space.axes(stage.space.arms[arm]) for stage in stages for arm in stage.arms},
        "ranges_by_choice": {
            arm: stage.space.ranges_by_choice(stage.space.arms[arm]) for stage in stages for arm in stage.arms
        },
        "arm_descriptions": {arm: stage.space.arms[arm].description for stage in stages for arm in stage.arms},
        "not_retested": {arm: why for stage in stages for arm, why in _not_retested(ledger, stage, state).items()},
        "winners": {
            arm: _winner(spec, study, stage, trial, book)
            for stage in stages
            for arm, trial in stage.winners(book).items()
        },
        "references": [
            {
                "arm": entrant.arm,
                "search": entrant.search,
                "role": entrant.role,
                "trial_id": entrant.trial.trial_id,
                "same_as": entrant.same_as,
            }
            for entrant in entrants(main, book)
            if entrant.role != "winner"
        ],
        "budget": {
            "name": spec.budget,
            "trials_per_arm": spec.trials_per_arm,
            "max_epochs": spec.max_epochs,
            "train_images": spec.train_images,
            "grace_epochs": spec.grace_epochs,
            "reduction_factor": spec.reduction_factor,
            "searcher": spec.searcher,
            "objective": spec.objective,
            "retest_seeds": spec.retest_seeds,
            "retest_until": spec.retest_until,
            "looks": list(spec.looks),
            "time_budget": spec.time_budget,
            "searches": spec.searches,
            "control": spec.control,
            "control_trials": main.control_trials,
            "retest_default": main.retests_default,
        },
        "model_sizes": _model_sizes(main, book),
        "fork": _fork(book),
        "extensions": [extension.model_dump() for extension in book.extensions],
        "sessions": [
            {name: value for name, value in session.items() if name != "dataset"} for session in book.sessions
        ],
        "hardware": last["hardware"],
        "versions": last["versions"],
        "commit": last["commit"],
        "numerics": spec.numerics.model_dump() if spec.numerics else {},
        "seed": spec.seed,
        "plugins": own_part_names(),
        "ledger_milliseconds_per_event": ledger.milliseconds_per_event(),
        "objective": main.task.metric,
        "score": main.task.score,
        "taus": list(TAUS) if main.task.at_end is not None else None,
    }
    write_checked(run_dir, {"summary.json": json_bytes(content)})


def _fork(book: Book) -> dict[str, Any] | None:
    """What the searches began with, in words; the trials themselves are in the ledger, and may be many."""
    fork = book.fork
    return None if fork is None else {"run": fork.run, "num_retests": fork.num_retests, "alike": fork.alike}


def _model_sizes(main: Stage, book: Book) -> list[dict[str, Any]]:
    """The parameters of the models of the main stage's trials, so that a page need not build them to count."""
    kinds = [(trial.hparams.get("model"), trial.hparams.get("padding")) for trial in main.trials(book)]
    found = sizes(kinds, book.sessions[-1]["dataset"])
    return [{"model": model, "padding": padding, "parameters": size} for (model, padding), size in found.items()]


def _stage(stage: Stage, book: Book) -> dict[str, Any]:
    return {
        "name": stage.name,
        "arms": list(stage.arms),
        "objective": stage.task.metric,
        "mode": stage.task.mode,
        "trials_per_arm": stage.trials_per_arm,
        "max_epochs": stage.max_epochs,
        "epochs_of": {arm: stage.num_epochs(arm) for arm in stage.arms},
        "num_given": {arm: _num_given(stage, arm, book) for arm in stage.arms},
    }


def _num_given(stage: Stage, arm: str, book: Book) -> int:
    """How many of a search's first trials no sampler proposes. A grid is spread over the space, as draws are."""
    if stage.searcher == "grid":
        return 0
    inherited = book.fork.arms.get(arm) if book.fork else None
    return len(stage.space.start_points(stage.space.arms[arm])) + (len(inherited.tried_first) if inherited else 0)


def _winner(spec: StudySpec, study: Study, stage: Stage, trial: TrialRecord, book: Book) -> dict[str, Any]:
    return {
        "trial_id": trial.trial_id,
        "objective": trial.value(stage.task.metric),
        "epochs": trial.num_epochs,
        "config": trial.hparams,
        "command": command_line(
            spec.task, winner_settings(spec, study.alone(stage, trial, book), ranges_of(stage, trial.arm))
        ),
    }


def _not_retested(ledger: Ledger, stage: Stage, state: State) -> dict[str, str]:
    book = ledger.book
    best = stage.winners(book)
    winners = [entrant for entrant in retested_anew(stage, book) if entrant.role == "winner"]
    retested = {entrant.arm for entrant, _ in outcomes(book.retests, winners)}
    failures = {entrant.arm: row for entrant, row in outcomes(book.retest_failures, winners)}
    reasons = {}
    for arm in stage.arms:
        if arm not in best:
            over = state == "complete"
            reasons[arm] = "no trial ran to its last epoch" if over else "no trial has run to its last epoch yet"
        elif arm in failures:
            reasons[arm] = f"its winner failed on seed {failures[arm]['seed']}: {failures[arm]['message']}"
        elif arm not in retested:
            reasons[arm] = "the study was interrupted before its retest"
    return reasons
