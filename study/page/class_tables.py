"""Tables of classes: the hardest classes and the most confused pairs of the best arm, beside its control."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.classes import compared_arms, confused_pairs, hardest_classes
from study.analysis.tables import Tables
from study.page.figures.labels import are_by_index
from study.page.table import Table
from study.page.text import percent

KEY_COLUMNS = 4


def hardest_table(tables: Tables) -> Table | None:
    classes, arms = hardest_classes(tables), compared_arms(tables)
    if arms is None:
        return None
    best, controls = arms[0], [arm for arm in arms[1:] if arm is not None]
    has_superclass = bool(classes["superclass"].notna().any())
    return Table(
        caption=f"The hardest classes: lowest test recall (%) of {best}, the best arm, mean over the retest's seeds"
        f"{_beside(controls)}.",
        columns=("Class", *["Superclass"] * has_superclass, best, *controls),
        rows=tuple(
            (
                row["class_name"],
                *[row["superclass"]] * has_superclass,
                percent(row["best"]),
                *(percent(row["control"]) for _ in controls),
            )
            for row in classes.to_dict("records")
        ),
    )


def confused_table(tables: Tables) -> Table | None:
    pairs, arms = confused_pairs(tables), compared_arms(tables)
    if arms is None or pairs.empty:
        return None
    best, controls = arms[0], [arm for arm in arms[1:] if arm is not None]
    has_superclass = bool(pairs["is_same_superclass"].notna().any())
    return Table(
        caption=f"The most confused pairs of {best}: share (%) of the true class's test images that it takes for the "
        f"predicted one, mean over the retest's seeds{_beside(controls)}.",
        columns=(
            "True class",
            "Predicted class",
            *["Same superclass"] * has_superclass,
            best,
            *controls,
        ),
        rows=tuple(
            (
                row["true"],
                row["predicted"],
                *["yes" if row["is_same_superclass"] else "no"] * has_superclass,
                percent(row["best"]),
                *(percent(row["control"]) for _ in controls),
            )
            for row in pairs.to_dict("records")
        ),
    )


def key_table(tables: Tables) -> Table | None:
    """The classes by their index, in KEY_COLUMNS columns read downwards; None if the figures name them."""
    names = [str(name) for name in tables.summary["dataset"]["class_names"]]
    if tables.main_retests.empty or not are_by_index(names):
        return None
    num_rows = -(-len(names) // KEY_COLUMNS)
    cells = [(str(index), name) for index, name in enumerate(names)]
    padded = [*cells, *[("", "")] * (num_rows * KEY_COLUMNS - len(cells))]
    return Table(
        caption="The classes by their index in the figures above.",
        columns=("Index", "Class") * KEY_COLUMNS,
        rows=tuple(tuple(cell for pair in padded[row::num_rows] for cell in pair) for row in range(num_rows)),
    )


def _beside(controls: Sequence[str]) -> str:
    return f"; beside it that of the control {controls[0]}" if controls else ""
