"""PAGES: the pages that study.report knows, by task."""

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
    """The page of a task. Raises ValueError if the task has none."""
    if task not in PAGES:
        raise ValueError(f"task must be one of {', '.join(PAGES)}, got {task!r}")
    return PAGES[str(task)]


def write_page_of(run_dir: Path, *, num_processes: int = 1) -> Path:
    """Write the page of run_dir, as its task's page; see render.draw_figures.

    Raises ValueError if it is not a study's run directory.
    """
    tables = load_tables(run_dir)
    return write_page_of_tables(run_dir, find_page(tables.task), tables, num_processes=num_processes)
