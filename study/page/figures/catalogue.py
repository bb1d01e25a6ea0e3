"""The catalogue of figures for pages. Each is a data function and a draw function, in the file of its subject."""

from __future__ import annotations

from study.page.figures.base import Figure
from study.page.figures.classes import CONFUSION as CONFUSION
from study.page.figures.classes import recall as recall
from study.page.figures.losses import ACCURACIES as ACCURACIES
from study.page.figures.losses import LOSSES as LOSSES
from study.page.figures.losses import RETEST_CURVES
from study.page.figures.puzzles import PRETEXT_CURVES as PRETEXT_CURVES
from study.page.figures.puzzles import PUZZLES as PUZZLES
from study.page.figures.puzzles import SINKHORN as SINKHORN
from study.page.figures.scores import DIFFERENCES, SCORES
from study.page.figures.slices import OWN_SLICES, SLICES
from study.page.figures.tau import TAU as TAU
from study.page.figures.transfer import CLASSIFIER_CURVES as CLASSIFIER_CURVES
from study.page.figures.transfer import TRANSFER as TRANSFER
from study.page.figures.tuning import BUDGET, CURVES, SURVIVORS

RESULTS: tuple[Figure, ...] = (SCORES, DIFFERENCES)
"""The first figures of every page: the arms compared with each other and with the control."""
TUNING: tuple[Figure, ...] = (CURVES, SURVIVORS, SLICES, OWN_SLICES, BUDGET, RETEST_CURVES)
"""The last figures of every page: the course of tuning and of the retest."""
