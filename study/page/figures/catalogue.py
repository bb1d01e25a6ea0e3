"""The catalogue of figures for pages. Each is a data function and a draw function, in the file of its subject."""

from __future__ import annotations

from dataclasses import replace

from study.analysis.tables import Tables
from study.page.figures.base import Figure
from study.page.figures.class_groups import CLASS_GROUPS, RECALL_BY_COUNT, by_count
from study.page.figures.classes import CONFUSION
from study.page.figures.classes import recall as recall
from study.page.figures.importance import ARM_IMPORTANCE, IMPORTANCE
from study.page.figures.landscape import LANDSCAPE, PARALLEL
from study.page.figures.losses import ACCURACIES as ACCURACIES
from study.page.figures.losses import LOSSES as LOSSES
from study.page.figures.losses import RETEST_CURVES
from study.page.figures.pareto import ARM_FRONTS, PARETO
from study.page.figures.puzzles import PRETEXT_CURVES as PRETEXT_CURVES
from study.page.figures.puzzles import PUZZLES as PUZZLES
from study.page.figures.puzzles import SINKHORN as SINKHORN
from study.page.figures.scores import DIFFERENCES, SCORES
from study.page.figures.slices import OWN_SLICES, SLICES
from study.page.figures.superclasses import SUPERCLASS_CONFUSION, SUPERCLASS_RECALL, by_superclass
from study.page.figures.tau import TAU as TAU
from study.page.figures.transfer import CLASSIFIER_CURVES as CLASSIFIER_CURVES
from study.page.figures.transfer import TRANSFER as TRANSFER
from study.page.figures.tuning import BUDGET, CURVES, SURVIVORS
from study.page.figures.worth import ANYTIME, EXPECTED

RESULTS: tuple[Figure, ...] = (SCORES, DIFFERENCES)
"""The first figures of every page: the arms compared with each other and with the control."""
TUNING: tuple[Figure, ...] = (
    ANYTIME,
    EXPECTED,
    CURVES,
    SURVIVORS,
    SLICES,
    OWN_SLICES,
    IMPORTANCE,
    ARM_IMPORTANCE,
    LANDSCAPE,
    PARALLEL,
    BUDGET,
    PARETO,
    ARM_FRONTS,
    RETEST_CURVES,
)
"""The last figures of every page: the course of tuning and of the retest."""


def of_classes(counted: str) -> tuple[Figure, ...]:
    """The figures of classes, for a page that has class_sections.CLASS_SECTIONS; each run gets those that fit it.

    A few classes are shown one by one; many by superclass, and a long tail of many against its training images.
    counted: see TaskPage.
    """
    return (
        replace(recall(counted), applies=lambda tables: not (by_superclass(tables) or by_count(tables))),
        replace(CONFUSION, applies=_one_by_one),
        CLASS_GROUPS,
        RECALL_BY_COUNT,
        SUPERCLASS_RECALL,
        SUPERCLASS_CONFUSION,
    )


def _one_by_one(tables: Tables) -> bool:
    return not by_superclass(tables)
