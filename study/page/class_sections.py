"""The sections of a page on classes: groups of them by frequency, and single ones where they are many."""

from __future__ import annotations

from study.analysis.tables import Tables
from study.page.class_tables import confused_table, group_recalls_table, groups_table, hardest_table
from study.page.figures.labels import MAX_LABELLED_CLASSES
from study.page.table import Table
from study.page.task import Section


def _single_classes(tables: Tables) -> list[Table | None]:
    """Of so few classes that figures label them, the figures say all."""
    is_many = len(tables.summary["dataset"]["class_names"]) > MAX_LABELLED_CLASSES
    return [hardest_table(tables), confused_table(tables)] if is_many else []


CLASS_SECTIONS = (
    Section(
        name="class_groups",
        title="Frequent and rare classes",
        text="What an arm gains on rare classes it may lose on frequent ones, and a mean over all classes hides both.",
        tables=lambda tables: [groups_table(tables), group_recalls_table(tables)],
    ),
    Section(
        name="classes",
        title="Classes",
        text="There are too many classes to show each: here are the hardest, the pairs most often confused and, where "
        "the data set has them, superclasses.",
        tables=_single_classes,
    ),
)
"""For a page whose figures include catalogue.of_classes."""
