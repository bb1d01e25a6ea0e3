"""PAGES: the tasks that study.report knows, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from study.analysis.tables import load_tables
from study.page.render import write_page_of_tables
from study.page.task import TaskPage
from study.page.tasks import baseline, cifar100, imbalance, jigsaw

PAGES: Mapping[str, TaskPage] = {
    "baseline": baseline.PAGE,
    "imbalance": imbalance.PAGE,
    "jigsaw": jigsaw.PAGE,
    "cifar100": cifar100.PAGE,
}


def find_page(task: object) -> TaskPage:
    """Raises ValueError for a task that has no page."""
    if task not in PAGES:
        raise ValueError(f"task must be one of {', '.join(PAGES)}, got {task!r}")
    return PAGES[str(task)]


def write_page_of(run_dir: Path) -> Path:
    """Write the page of the task that run_dir says it is of. Raises ValueError where it is no study's run directory."""
    tables = load_tables(run_dir)
    return write_page_of_tables(run_dir, find_page(tables.task), tables)
