"""What must hold before a study begins, goes on or is extended; what does not is said in one sentence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from study.analysis.tables import load_summary
from study.core.entrants import outcomes, retested_anew
from study.core.errors import StudyError
from study.core.ledger import Book
from study.core.plugins import require_sound_models
from study.core.spec import StudySpec
from study.core.stage import Stage
from study.engine.tuning import require_start
from trainables.common.places import Place
from trainables.data.types import TuningData


def require_trainable(stages: Sequence[Stage], data: TuningData, spec: StudySpec) -> None:
    """Check every arm's space, and build the learner of its first trial, to fail before all trials do.

    Raises StudyError.
    """
    assert spec.numerics is not None
    require_sound_models(data)
    for stage in stages:
        for arm in stage.arms:
            stage.require_legal_space(arm)
            stage.first_learner(arm, data, numerics=spec.numerics, device=torch.device("cpu"))


def require_weights(stages: Sequence[Stage], book: Book, checkpoints: Place, *, num_seeds: int) -> None:
    """Raise StudyError if weights are gone that further trials, or retests on the seeds there are, would begin with.

    Else each of them would fail for good. num_seeds: of a retest, at least. Where nothing is left to train that begins
    with them, they may be gone.
    """
    for stage in stages:
        warm = [arm for arm in stage.arms if arm in stage.warm_arms]
        if stage.before is None or not warm or _is_over(stage, warm, book, num_seeds):
            continue
        if _are_trained(stage.before, stage.before.arms, book):  # else another trial may win
            for search in stage.before.searches:
                if stage.before.winners(book, search):
                    require_start(stage, book, checkpoints, warm[0], search=search.number)
        for lender, row in outcomes(book.retests, retested_anew(stage.before, book)):
            require_start(stage, book, checkpoints, warm[0], search=lender.search)
            require_start(stage, book, checkpoints, warm[0], row["seed"], search=lender.search)


def _is_over(stage: Stage, arms: Sequence[str], book: Book, num_seeds: int) -> bool:
    """Whether these arms have all their trials, and their entrants all retests."""
    entrants = [entrant for entrant in retested_anew(stage, book) if entrant.arm in arms]
    num_done = sum(len(outcomes(rows, entrants)) for rows in (book.retests, book.retest_failures))
    return _are_trained(stage, arms, book) and num_done >= num_seeds * len(entrants)


def _are_trained(stage: Stage, arms: Sequence[str], book: Book) -> bool:
    num_planned = sum(stage.trials_of(search) for search in stage.searches)
    trials = [book.of_arm(arm) for arm in arms]
    return all(len(of_arm) >= num_planned and all(one.is_finished for one in of_arm) for of_arm in trials)


def require_same_arms(stages: Sequence[Stage], run_dir: Path) -> None:
    """Raise StudyError if what an arm of the run means, or the metric, is another one by this program's source."""
    try:
        summary = load_summary(run_dir)
    except ValueError as error:
        raise StudyError(str(error)) from None
    main, known = stages[-1], summary.get("knobs") or {}
    pairs = [("the metric", summary["objective"], main.task.metric), ("the score", summary["score"], main.task.score)]
    for stage in stages:
        for arm in stage.arms:
            now = json.loads(json.dumps(stage.space.axes(stage.space.arms[arm])))
            was = known.get(arm, now)
            pairs += [(f"{knob} of {arm}", was.get(knob), now.get(knob)) for knob in {**was, **now}]
    for what, was, now in pairs:
        if was != now:
            raise StudyError(
                f"{run_dir} cannot be extended by this program: {what} was {was} and is {now}, so that trials of "
                "before and after would not be of one study"
            )


def require_same_data(run_dir: Path, data: TuningData, book: Book) -> None:
    """Raise StudyError if these are not the data that the run began with."""
    known = book.sessions[0]["dataset"]["fingerprint"] if book.sessions else data.fingerprint
    if data.fingerprint != known:
        raise StudyError(
            f"the data are not those that {run_dir} began with (fingerprint {data.fingerprint[:12]}, was {known[:12]})"
        )
