"""The ledger's events in lines, for people who want to see everything: proposals, epochs, early stopping."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from study.core.ledger import ASKED, AUDIT_CHOSEN, EPOCH, RUNG, Event
from study.core.search import Search
from study.core.text import duration, listed, plural, short


def event_line(event: Event) -> str | None:
    """The event in a line; None for those of which the usual lines speak: ends, retests, audits, sessions."""
    line = _LINES.get(event.kind)
    return line and line(event)


def _proposal(event: Event) -> str:
    asked = event.payload
    search = Search(number=asked.get("search", 1), control=asked.get("control")).words
    params = ", ".join(f"{name}={short(value)}" for name, value in asked["params"].items())
    return f"{event.trial_id} begins{f' ({listed(search)})' if search else ''}: {params or 'no knob'}"


def _epoch(event: Event) -> str:
    row = event.payload
    shown = [
        f"{name} {short(value)}"
        for name, value in row.items()
        if name in {"train_loss", "learning_rate"} or (name.startswith("val_") and isinstance(value, int | float))
    ]
    took = f"{duration(row['train_seconds'])} to train, {duration(row['eval_seconds'])} to validate"
    gpus = f", on GPU {row['gpu_ids']}" if row.get("gpu_ids") else ""
    return f"{event.trial_id} epoch {row['epoch']}: {', '.join(shown)}; {took}{gpus}"


def _decision(event: Event) -> str:
    rung = event.payload
    cutoff = "the first to arrive" if rung["cutoff"] is None else f"cutoff {short(rung['cutoff'])}"
    return (
        f"{event.trial_id} at the rung of epoch {rung['rung_epoch']}: {short(rung['value'])}, {cutoff}, "
        f"{plural(rung['num_peers'], 'peer')} before it: {rung['decision']}"
    )


def _chosen(event: Event) -> str:
    chosen = event.payload
    return f"audit: drew {listed(chosen['trials'])} of {plural(chosen['num_stopped'], 'stopped trial')}"


_LINES: Mapping[str, Callable[[Event], str]] = {
    ASKED: _proposal, EPOCH: _epoch, RUNG: _decision, AUDIT_CHOSEN: _chosen,
}  # fmt: skip
