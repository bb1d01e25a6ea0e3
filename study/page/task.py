"""TaskPage: what a task is to a page: its title, its words, its answer, its own sections, tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.analysis.tables import Tables
from study.core.stage import Group
from study.page.figures.base import Figure
from study.page.table import Table
from study.page.words import dataset_title, metric_name

Summary = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page that a task has to itself; the figures of the same section stand before its tables."""

    name: str
    title: str
    text: str
    tables: Callable[[Tables], Sequence[Table | None]]


def on_dataset(summary: Summary) -> str:
    """'On CIFAR-10'."""
    return f"On {dataset_title(str(summary['dataset']['name']))}"


@dataclass(frozen=True, kw_only=True)
class TaskPage:
    """A task as a page.

    title: the question that the page answers, its heading. headline(page, tables, group): the answer of a group of
    arms; remarks(page, tables): what a careful reader must know beside it. figures: of all sections, in their order.
    sections: between the results and the winning configurations. first_table: above the table of arms, if any.

    challenger: what an arm that is compared with the control is. counted: what class_counts count. condition:
    "On CIFAR-10 with ...", how every answer begins. trained: what a trial of the main stage trains. arm_phrase,
    control_phrase: an arm's or a control's name in a sentence. split, epoch, retest, test: sentences of Methods, on the
    training data, on what an epoch draws, on the data that a winner is retrained on, on when the test split was read.
    shared: what two arms share at one retest seed. score_title: of the score's column in the table of arms; metrics:
    the columns beside it. names_optimizer: whether the winner's optimiser is part of the answer. notes: further
    paragraphs of Methods.
    """

    title: str
    headline: Callable[[TaskPage, Tables, Group], str]
    remarks: Callable[[TaskPage, Tables], list[str]]
    figures: tuple[Figure, ...]
    sections: tuple[Section, ...] = ()
    first_table: Callable[[Tables], Table | None] = lambda tables: None

    challenger: str
    counted: str = "training images"
    condition: Callable[[Summary], str] = on_dataset
    trained: str = "trial"
    arm_phrase: Callable[[str], str] = str
    control_phrase: Callable[[str], str] = str
    split: str = "Tuning saw training and validation images, never the test split."
    epoch: str = "An epoch draws as many images in every arm: the size of the training set."
    retest: str
    shared: str
    test: str = "The test split was read once a seed."
    score_title: str = "Test accuracy"
    metrics: tuple[str, ...] = ("test_macro_f1", "test_worst_class_recall", "test_nll", "test_ece")
    names_optimizer: bool = False
    notes: Callable[[Tables], list[str]] = lambda tables: []

    def words(self, tables: Tables) -> dict[str, str]:
        """What the titles and captions of figures may name: {score}, {objective}, {challenger}, {shared}."""
        return {
            "score": metric_name(tables.score),
            "objective": metric_name(tables.objective),
            "challenger": self.challenger,
            "shared": self.shared,
        }
