"""What a study began with of another one's trials, and what it was given more of later, for a reader to allow for."""

from __future__ import annotations

from study.analysis.tables import Tables
from study.core.entrants import FORMER
from study.core.extension import Extension
from study.core.text import listed, plural
from study.page.task import TaskPage


def history_remarks(page: TaskPage, tables: Tables) -> list[str]:
    """The remarks; none of a study that began with nothing and was never extended."""
    return [*_fork_remarks(page, tables), *_extension_remarks(page, tables)]


def _fork_remarks(page: TaskPage, tables: Tables) -> list[str]:
    fork = tables.fork
    if fork is None:
        return []
    told = [f"{listed([page.arm_phrase(arm) for arm in arms])} with {text}" for arms, text in fork["alike"]]
    remarks = [
        f"The searches of this study began with trials of {fork['run']}, which are no part of its "
        f"{plural(int(tables.summary['budget']['trials_per_arm']), 'trial')} an arm: {'; '.join(told)}. An arm that "
        "began with more has more behind it."
    ]
    if fork["num_retests"]:
        remarks.append(
            f"{fork['run']} had tested its winners on the same test images, so that what was changed here may have "
            "been chosen by them."
        )
    return remarks


def _extension_remarks(page: TaskPage, tables: Tables) -> list[str]:
    extensions = tables.extensions
    if not extensions:
        return []
    remarks = [_added(extension) for extension in extensions]
    if any(extension.num_retests for extension in extensions):
        remarks.append(
            "Whether to extend it was decided after its results could be looked at: who extends a study until it shows "
            "something will see something too often, and the intervals do not allow for that. A new study with another "
            "--seed has no such fault."
        )
    former = tables.retests[(tables.retests["role"] == FORMER) & tables.retests["arm"].isin(tables.arms)]
    if changed := [page.arm_phrase(arm) for arm in tables.arms if arm in set(former["arm"])]:
        remarks.append(
            f"Another trial won {listed(changed)} before: the retests of earlier winners ({len(former):,}) are "
            f"in retests.parquet, role {FORMER}, and in no number of this page."
        )
    return remarks


def _added(extension: Extension) -> str:
    """'4 trials an arm and 2 retest seeds were added on 2026-11-30, after the first retest.'"""
    added = listed(extension.added)
    is_single = len(extension.added) == 1 and added.startswith(("1 ", "the arm "))
    when = "after the first retest" if extension.num_retests else "before any retest"
    return f"{added[0].upper()}{added[1:]} {'was' if is_single else 'were'} added on {extension.time[:10]}, {when}."
