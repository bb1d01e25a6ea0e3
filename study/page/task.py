"""TaskPage: a task as a page, with its title, words, answer, sections, tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.analysis.tables import Tables
from study.core.stage import Group
from study.core.text import plural_of
from study.page.figures.base import Figure
from study.page.table import Table
from study.page.words import images_phrase, metric_name

Summary = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section that only this task's page has. Figures of that section come before its tables."""

    name: str
    title: str
    text: str
    tables: Callable[[Tables], Sequence[Table | None]]


def on_dataset(summary: Summary) -> str:
    """The condition 'On CIFAR-10'."""
    return f"On {images_phrase(summary)}"


@dataclass(frozen=True, kw_only=True)
class TaskPage:
    """A task as a page.

    title: the heading, the question that the page answers. headline(page, tables, group): the answer for a group of
    arms; remarks(page, tables): the sentences that qualify it. figures: those of all sections, in order. sections: the
    task's own, between the results and the winning configurations. first_table: a table above that of the arms, if any.

    challenger: the noun for an arm that is compared with the control. counted: the noun for what class_counts count.
    data_notes: the task's own sentences on the data. condition: "On CIFAR-10 with ...", the beginning of every answer.
    trained: the noun for what a trial of the main stage trains. arm_phrase, control_phrase: an arm's or a control's
    name in a sentence. split, epoch, retest, test: sentences of Methods on the training data, on what an epoch draws,
    on the data of a retest, and on when the test split was read. shared: what two arms share at one retest seed.
    score_title: the heading of the score's column in the table of arms; metrics: the columns after it. names_optimizer:
    whether the winner's optimiser is part of the answer. notes: further paragraphs of Methods.
    """

    title: str
    headline: Callable[[TaskPage, Tables, Group], str]
    remarks: Callable[[TaskPage, Tables], list[str]]
    figures: tuple[Figure, ...]
    sections: tuple[Section, ...] = ()
    first_table: Callable[[Tables], Table | None] = lambda tables: None

    challenger: str
    counted: str = "training images"
    data_notes: Callable[[Summary], list[str]] = lambda summary: []
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
        """The values of {score}, {objective}, {challenger}, {shared}, {unit}, ... in titles and captions of figures."""
        return {
            "unit": tables.unit,
            "units": plural_of(tables.unit),
            "retest_units": "the retest seeds" if tables.unit == "seed" else "searches",
            "rival": "arm" if tables.unit == "seed" else "search",
            "fresh_units": "fresh seeds" if tables.unit == "seed" else "searches, each with the mean over its seeds,",
            "score": metric_name(tables.score),
            "objective": metric_name(tables.objective),
            "challenger": self.challenger,
            "shared": self.shared,
        }
