"""The rows of audit.parquet: what became of stopped trials that were trained again to their end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from study.core.ledger import Book, TrialRecord
from study.core.stage import Stage
from study.records.differences import first_difference


def audit_rows(stage: Stage, book: Book) -> list[dict[str, Any]]:
    """A row for each audited trial of the stage, in the order in which they were drawn."""
    winners = {search: stage.winners(book, search) for search in stage.searches}
    rows = []
    for trial_id in book.audit_chosen:
        trial = book.trials[trial_id]
        winner = winners.get(trial.of_search, {}).get(trial.arm)
        if winner is not None and (trial_id in book.audits or trial_id in book.audit_failures):
            rows.append(_row(stage, book, trial, winner))
    return rows


def _row(stage: Stage, book: Book, trial: TrialRecord, winner: TrialRecord) -> dict[str, Any]:
    metric, is_better = stage.task.metric, _better(stage.task.mode)
    epochs = book.audits.get(trial.trial_id, [])
    difference = first_difference(trial.epochs, epochs)
    final, best = (epochs[-1][metric] if epochs else None), winner.value(metric)
    rung = trial.rungs[-1]
    return {
        "trial_id": trial.trial_id,
        "stage": stage.name,
        "arm": trial.arm,
        "seed": trial.seed,
        "stopped_at_epoch": trial.num_epochs,
        "value_at_stop": rung["value"],
        "cutoff": rung["cutoff"],
        "rank_at_stop": _rank(rung, _peers(book, trial, rung), is_better),
        "num_peers": rung["num_peers"],
        "final_epoch": stage.num_epochs(trial.arm),
        "final_value": final,
        "winner": winner.trial_id,
        "winner_value": best,
        "would_have_won": final is not None and is_better(final, best),
        "values": [epoch[metric] for epoch in epochs],
        "first_difference_epoch": difference.epoch if difference else None,
        "first_difference": str(difference) if difference else None,
        "message": book.audit_failures.get(trial.trial_id),
        "images": sum(epoch["images"] for epoch in epochs),
        "train_seconds": sum(epoch["train_seconds"] for epoch in epochs),
    }


def _better(mode: str) -> Any:
    """(a, b) -> whether a is better than b."""
    return (lambda a, b: a > b) if mode == "max" else (lambda a, b: a < b)


def _peers(book: Book, stopped: TrialRecord, rung: Mapping[str, Any]) -> list[float]:
    """The values that had reached the rung before: num_peers counts arrivals, so it tells their order."""
    return [
        other["value"]
        for trial in book.of_arm(stopped.arm, stopped.of_search)
        for other in trial.rungs
        if other["rung_epoch"] == rung["rung_epoch"] and other["num_peers"] < rung["num_peers"]
    ]


def _rank(rung: Mapping[str, Any], peers: Sequence[float], is_better: Any) -> int | None:
    """1 + the number of peers that were better; None for a value that is not finite."""
    if not math.isfinite(rung["value"]):
        return None
    return 1 + sum(math.isfinite(peer) and is_better(peer, rung["value"]) for peer in peers)
