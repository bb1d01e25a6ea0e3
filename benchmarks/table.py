"""What was measured, as a table for people and as JSON."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from benchmarks.measured import Measured
from study.records.provenance import describe_machine, describe_versions, git_commit
from trainables.common.machine import usable_cpus

HEADER = ("measure", "median", "lowest–highest", "aim", "")
PEERS = {"syne_tune": "syne-tune"}
"""What is measured beside this project and does not come with it: its module, and its package."""


def is_there(peer: str) -> bool:
    """Whether a module of PEERS is installed; says so if not."""
    if importlib.util.find_spec(peer) is not None:
        return True
    print(f"{PEERS[peer]} is not installed, so nothing is measured beside it: pip install '.[benchmarks]'", flush=True)
    return False


def table(measured: Sequence[Measured]) -> str:
    """A Markdown table, a row a figure."""
    rows = [HEADER, *(_row(one) for one in measured)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _row(one: Measured) -> tuple[str, ...]:
    unit = one.unit if one.unit == "×" else f" {one.unit}"
    aim = "" if one.at_least is None else f"≥ {_short(one.at_least)}"
    aim = aim if one.at_most is None else f"≤ {_short(one.at_most)}"
    verdict = {True: "met", False: "missed", None: ""}[one.is_met]
    name = one.name + (f" ({one.note})" if one.note else "")
    return name, f"{_short(one.median)}{unit}", f"{_short(min(one.values))}–{_short(max(one.values))}", aim, verdict


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def as_json(measured: Mapping[str, Sequence[Measured]], *, date: str, quick: bool) -> dict[str, Any]:
    """All that was measured, by benchmark, with what it was measured on."""
    installed = {package: version(package) for module, package in PEERS.items() if importlib.util.find_spec(module)}
    return {
        "date": date,
        "commit": git_commit(),
        "hardware": describe_machine(cpus=usable_cpus(), gpus=torch.cuda.device_count()),
        "versions": describe_versions() | installed,
        "quick": quick,
        "measured": {
            name: [{**asdict(one), "median": one.median, "is_met": one.is_met} for one in found]
            for name, found in measured.items()
        },
    }
