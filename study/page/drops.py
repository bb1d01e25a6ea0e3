"""The winners' fall from validation to test, as a table and in words."""

from __future__ import annotations

from study.analysis.drops import validation_drops
from study.analysis.tables import Tables, row_tuples
from study.core.text import plural
from study.page.table import Table
from study.page.text import percent, points
from study.page.words import metric_name


def drop_table(tables: Tables) -> Table | None:
    drops = validation_drops(tables)
    if drops.empty:
        return None
    return Table(
        caption=f"From validation to test: each winner's {metric_name(tables.objective)}, the mean of its retests' "
        f"{metric_name(tables.score)} (%), and the fall between them in points. A winner has the best validation score "
        "of the arm's completed trials.",
        columns=("Arm", "Trials", "Completed", "Validation", "Test", "Fall"),
        rows=tuple(
            (
                row.arm,
                f"{row.num_trials:,}",
                f"{row.num_completed:,}",
                percent(row.validation),
                percent(row.test),
                points(row.drop),
            )
            for row in row_tuples(drops)
        ),
    )


def drop_sentence(tables: Tables) -> str | None:
    """What the falls may come from, and what they cannot tell."""
    drops = validation_drops(tables)
    if drops.empty:
        return None
    mean, least, most = (float(value) for value in (drops["drop"].mean(), drops["drop"].min(), drops["drop"].max()))
    if len(drops) == 1:
        change = f"the winner's score {'falls' if mean >= 0 else 'rises'} by {percent(abs(mean))} points"
    else:
        change = (
            f"the winners' scores {'fall' if mean >= 0 else 'rise'} by {percent(abs(mean))} points on average (change "
            f"by {points(-most)} to {points(-least)})"
        )
    counts = sorted(int(count) for count in drops["num_trials"].unique())
    chances = (
        f"every arm had {plural(counts[0], 'trial')}, so whether a fall grows with the number of trials does not show"
        if len(counts) == 1
        else f"the arms had {counts[0]:,} to {counts[-1]:,} trials, and the more there are, the more is overstated"
    )
    return (
        f"From validation to test {change}; {chances}. A fall may "
        "come from selection, the best of several noisy scores being too good, but the retest also trains on the "
        "validation images, with other seeds, and is judged on other images: these numbers cannot tell one from the "
        "other, and a rise does not show that nothing was overstated."
    )
