"""Tables of classes: groups by frequency; the hardest classes and the most confused pairs of the best arm."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.class_groups import (
    FEW_BELOW,
    MANY_ABOVE,
    SHOTS,
    ClassGroup,
    ClassGroups,
    class_groups,
    group_recalls,
)
from study.analysis.classes import compared_arms, confused_pairs, hardest_classes
from study.analysis.tables import Tables
from study.core.text import NOTHING, plural_of
from study.page.figures.labels import are_by_index
from study.page.table import Table
from study.page.text import interval_cell, paired_cell, percent

KEY_COLUMNS = 4


_SHOT_RANGES = dict(
    zip(SHOTS, (f"more than {MANY_ABOVE}", f"{FEW_BELOW} to {MANY_ABOVE}", f"fewer than {FEW_BELOW}"), strict=True)
)


def groups_table(tables: Tables) -> Table | None:
    """The groups of a long tail's classes, with the number of classes and of training images in each."""
    found = class_groups(tables)
    if found is None:
        return None
    by_name = {group.name: group for group in found.groups}
    names = SHOTS if found.all_in is None else tuple(by_name)
    total = sum(group.num_images for group in found.groups)
    return Table(
        caption=_groups_caption(found),
        columns=("Group", "Training images a class", "Classes", "Training images", "Share (%)"),
        rows=tuple(_group_row(name, by_name.get(name), total) for name in names),
    )


def _group_row(name: str, group: ClassGroup | None, total: int) -> tuple[str, ...]:
    if group is None:
        return (name, NOTHING, "0", "0", percent(0.0))
    low, high = min(group.counts), max(group.counts)
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return (name, each, f"{len(group.classes):,}", f"{group.num_images:,}", percent(group.num_images / total))


def _groups_caption(found: ClassGroups) -> str:
    shots = "; ".join(f"{name}, {_SHOT_RANGES[name]}" for name in SHOTS)
    derived = (
        " The run did not record the numbers of its retests; they follow from those of tuning." * found.are_derived
    )
    if found.all_in is None:
        return (
            "The classes by their training images in a retest, in the groups of the long-tail literature (Liu et "
            f"al. 2019): {shots}.{derived}"
        )
    num_classes = sum(len(group.classes) for group in found.groups)
    return (
        f"The classes by their training images in a retest. The long-tail literature groups them by thresholds (Liu "
        f"et al. 2019: {shots}), by which all {num_classes:,} classes are {found.all_in}. So this page divides them by "
        "frequency instead, into thirds in which classes of one size stay together, so that two sizes are two groups: "
        f"a division of its own, not to be compared with published groups.{derived}"
    )


def group_recalls_table(tables: Tables) -> Table | None:
    """The recall of each arm in each group of classes, and its paired differences to the control."""
    found, recalls = class_groups(tables), group_recalls(tables)
    if found is None or not recalls:
        return None
    control, arms = tables.groups[0].control, list(dict.fromkeys(each.arm for each in recalls))
    is_compared = any(each.difference is not None for each in recalls)
    columns, cells = ["Arm"], {arm: [arm] for arm in arms}
    for group in found.groups:
        columns += [group.name.capitalize(), *["Difference"] * is_compared]
    for each in recalls:
        difference = "control" if each.arm == control else paired_cell(each.difference)
        cells[each.arm] += [interval_cell(each.recall), *[difference] * is_compared]
    return Table(
        caption="Test recall (%), the mean over the classes of each group, of each arm's winner, the best arm first; ± "
        f"is half the width of the 95 % t-interval over {plural_of(tables.unit)}.{_differences_note(tables)}",
        columns=tuple(columns),
        rows=tuple(tuple(cells[arm]) for arm in arms),
        marks=tuple("best" if arm == arms[0] else "control" if arm == control else "" for arm in arms),
    )


def _differences_note(tables: Tables) -> str:
    numbers = [each.difference.num_comparisons for each in group_recalls(tables) if each.difference is not None]
    if not numbers:
        return ""
    which = "both intervals" if numbers[0] == 2 else f"the intervals of all {numbers[0]}"
    together = f"; {which} hold together at 95 %" if numbers[0] > 1 else ""
    return f" Differences to {tables.groups[0].control} in points, paired by {tables.unit}{together}."


def hardest_table(tables: Tables) -> Table | None:
    classes, arms = hardest_classes(tables), compared_arms(tables)
    if arms is None:
        return None
    best, controls = arms[0], [arm for arm in arms[1:] if arm is not None]
    has_superclass = bool(classes["superclass"].notna().any())
    has_count = bool(classes["num_images"].notna().any())
    return Table(
        caption=f"The hardest classes: lowest test recall (%) of {best}, the best arm, mean over the retest's seeds"
        f"{_beside(controls)}.{' Training images: in a retest.' * has_count}",
        columns=(
            "Class",
            *["Superclass"] * has_superclass,
            *["Training images"] * has_count,
            best,
            *controls,
        ),
        rows=tuple(
            (
                row["class_name"],
                *[row["superclass"]] * has_superclass,
                *[f"{row['num_images']:,.0f}"] * has_count,
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
