"""The page of the baseline study: models compared, and each model with each optimiser."""

from __future__ import annotations

from study.analysis.optimizers import models_by_optimizer
from study.analysis.tables import Tables, row_tuples
from study.core.text import NOTHING
from study.page.answers import group_headline, verdict_remarks
from study.page.class_sections import CLASS_SECTIONS
from study.page.figures.catalogue import RESULTS, TUNING, of_classes
from study.page.table import Table
from study.page.task import Section, TaskPage
from study.page.text import percent
from study.page.words import metric_name, optimizer_name


def optimizers_table(tables: Tables) -> Table | None:
    """The table of each model's best validation score with each optimiser, and the number of trials."""
    cells = models_by_optimizer(tables)
    if cells.empty:
        return None
    optimizers = sorted(cells["optimizer"].unique())
    by_cell = {(cell.arm, cell.optimizer): cell for cell in row_tuples(cells)}
    best = {arm: frame["best"].max() for arm, frame in cells.groupby("arm")}
    found = []
    for arm in (arm for arm in tables.arms if arm in best):
        texts = [arm]
        for optimizer in optimizers:
            cell = by_cell.get((arm, optimizer))
            mark = " *" if cell is not None and cell.best == best[arm] else ""
            trials = "" if cell is None else f" ({cell.num_completed:,} of {cell.num_trials:,})"
            texts.append(NOTHING if cell is None else f"{percent(cell.best)}{mark}{trials}")
        found.append(tuple(texts))
    return Table(
        caption=f"Best {metric_name(tables.objective)} (%) by model and optimiser, and how many of its "
        "trials ran to the end; * the model's best. Exploratory: the searcher chose how often to try an optimiser, so "
        "the budgets of a row's cells are not equal, and a cell of more trials has had more chances.",
        columns=("Model", *(optimizer_name(str(optimizer)) for optimizer in optimizers)),
        rows=tuple(found),
    )


OPTIMIZERS = Section(
    name="optimizers",
    title="Models and optimisers",
    text="The optimiser is a choice within each model's search, not an arm of its own: optimisers were not retested "
    "against each other, and what follows are single trials on validation images.",
    tables=lambda tables: [optimizers_table(tables)],
)

PAGE = TaskPage(
    title="Baseline: which model and optimiser, and how good?",
    headline=group_headline,
    remarks=verdict_remarks,
    figures=(*RESULTS, *of_classes("training images"), *TUNING),
    sections=(*CLASS_SECTIONS, OPTIMIZERS),
    challenger="other model",
    retest="training and validation images joined, the seed choosing initialisation and order",
    shared="same training images, same seed of initialisation and order",
    names_optimizer=True,
)
