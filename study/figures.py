"""FIGURES: every plot of the page, in its order. Each is a data function and a draw function, in figures_*.py."""

from __future__ import annotations

from study.analysis import Tables
from study.figures_base import Figure
from study.figures_classes import CONFUSION, RECALL
from study.figures_losses import ACCURACIES, LOSSES, RETEST_CURVES
from study.figures_puzzles import PRETEXT_CURVES, PUZZLES, SINKHORN
from study.figures_scores import DIFFERENCES, SCORES
from study.figures_slices import OWN_SLICES, SLICES
from study.figures_tau import TAU
from study.figures_transfer import CLASSIFIER_CURVES, TRANSFER
from study.figures_tuning import BUDGET, CURVES, SURVIVORS

FIGURES: tuple[Figure, ...] = (
    TRANSFER,
    SCORES,
    DIFFERENCES,
    CLASSIFIER_CURVES,
    RECALL,
    CONFUSION,
    LOSSES,
    ACCURACIES,
    TAU,
    PUZZLES,
    SINKHORN,
    PRETEXT_CURVES,
    CURVES,
    SURVIVORS,
    SLICES,
    OWN_SLICES,
    BUDGET,
    RETEST_CURVES,
)


def figures_of(tables: Tables) -> tuple[Figure, ...]:
    """Those that the page of this run's task shows."""
    return tuple(figure for figure in FIGURES if figure.tasks is None or tables.task in figure.tasks)
