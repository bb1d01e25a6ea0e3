"""The page's section on the search's own luck, of studies that tuned every arm repeatedly."""

from __future__ import annotations

from dataclasses import dataclass

from study.analysis import luck
from study.analysis.luck import PairLuck
from study.analysis.tables import Tables
from study.core.text import NOTHING, plural
from study.page.table import Table
from study.page.task import TaskPage
from study.page.text import interval_cell, paired_cell, percent, points
from study.page.words import metric_name

MOST_LISTED = 5  # searches whose means a cell lists


@dataclass(frozen=True, kw_only=True)
class LuckSection:
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]


def luck_section(page: TaskPage, tables: Tables) -> LuckSection | None:
    """The section, or None if every arm was tuned once, or no two searches were retested."""
    arms, pairs = luck.arm_lucks(tables), luck.pair_lucks(tables)
    if not arms:
        return None
    return LuckSection(
        sentences=(_what(tables), _parts(tables), *_open(page, pairs)),
        tables=(_arms_table(tables, arms), *([_pairs_table(pairs)] if pairs else [])),
    )


def _what(tables: Tables) -> str:
    num_seeds = int(tables.summary["budget"]["retest_seeds"])
    return (
        f"Every arm was tuned {tables.num_searches} times, with other seeds of the sampler and of the trials and with "
        f"equal budgets, on the same training and validation images, and each winner was retested on "
        f"{plural(num_seeds, 'seed')} of its own. An arm's score is the mean over its searches: what one search of "
        "this size finds on average. So all intervals cover the search as well, each search counting as one value; the "
        "winning configuration that is shown of an arm is the best on validation of all its searches."
    )


def _parts(tables: Tables) -> str:
    subsets = (
        "A seed draws the subset of training images along with initial weights and order: their shares were not "
        "recorded apart."
        if luck.seeds_draw_subsets(tables)
        else "A seed draws initial weights and order; all seeds trained on the same images, so that no subset's luck "
        "is in it."
    )
    return (
        f"{subsets} What the search adds is what is left of the spread of the searches' means when that of their seeds "
        f"is taken out (one-way random effects); from {tables.num_searches} searches it is a rough estimate."
    )


def _open(page: TaskPage, pairs: list[PairLuck]) -> list[str]:
    """How many searches or seeds would settle what is open."""
    open_pairs = [pair for pair in pairs if not pair.difference.excludes_zero]
    if not open_pairs:
        return []
    best = open_pairs[0]
    name, control = page.arm_phrase(best.arm), page.control_phrase(best.control)
    return [
        f"Between {name} and {control} no difference is measurable. If the difference were the one measured "
        f"({points(best.difference.mean)} points) and its spread too, {_settling(best)} would tell it from 0; the "
        "table has this for all that is open."
    ]


def _settling(pair: PairLuck) -> str:
    ways = []
    if pair.searches is not None:
        ways.append(plural(pair.searches, "search"))
    if pair.seeds is not None:
        ways.append(f"{plural(pair.seeds, 'seed')} in each search")
    return " or ".join(ways) if ways else "no number of searches that anyone would run"


def _arms_table(tables: Tables, arms: list[luck.ArmLuck]) -> Table:
    return Table(
        caption=f"{metric_name(tables.score).capitalize()} of the winners of each search: in %, ± half the width of "
        "the 95 % t-interval over searches. Deviations in points: of a single seed within a search, and of the search "
        "by itself.",
        columns=("Arm", "Mean of searches", "Each search", "Deviation over seeds", "Deviation of the search"),
        rows=tuple(
            (
                one.arm,
                interval_cell(one.score),
                _means(one.spread.search_means),
                _deviation(one.spread.seeds),
                _deviation(one.spread.search),
            )
            for one in arms
        ),
    )


def _pairs_table(pairs: list[PairLuck]) -> Table:
    return Table(
        caption="Paired differences to the control, in points, and what they vary by: a seed's difference within a "
        "search, and a search's. Settled by: how many searches of as many seeds, or how many seeds in each search, "
        "would make the interval exclude 0 if what was measured were so; – where that is settled, or where no number "
        "does.",
        columns=("Arm", "Difference", "Deviation over seeds", "Deviation of the search", "Searches", "Seeds a search"),
        rows=tuple(
            (
                pair.arm,
                paired_cell(pair.difference),
                _deviation(pair.spread.seeds),
                _deviation(pair.spread.search),
                _number(pair.searches),
                _number(pair.seeds),
            )
            for pair in pairs
        ),
    )


def _means(means: tuple[float, ...]) -> str:
    if len(means) <= MOST_LISTED:
        return ", ".join(map(percent, means))
    return f"{percent(min(means))} to {percent(max(means))}"


def _deviation(deviation: float | None) -> str:
    return NOTHING if deviation is None else percent(deviation)


def _number(number: int | None) -> str:
    return NOTHING if number is None else f"{number:,}"
