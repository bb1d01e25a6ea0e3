"""The page's section on the audit of early stopping: its sentences and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from study.analysis import audit as analysis
from study.analysis.audit import Share
from study.analysis.tables import Tables
from study.core.text import NOTHING, plural
from study.page.table import Table
from study.page.text import is_missing, percent, points, span
from study.page.words import metric_name


@dataclass(frozen=True, kw_only=True)
class AuditSection:
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]


def audit_section(tables: Tables) -> AuditSection | None:
    """The section, or None if no trial was audited."""
    audit = analysis.main_audit(tables)
    if audit is None:
        return None
    return AuditSection(
        sentences=(
            *_answer(tables, audit),
            _faithfulness(audit),
            _compute(tables, audit),
            *_where_it_bites(tables),
        ),
        tables=(_trials_table(tables, audit), _rungs_table(tables, audit)),
    )


def _answer(tables: Tables, audit: pd.DataFrame) -> list[str]:
    found, num_stopped = analysis.false_stops(audit), analysis.num_stopped(tables)
    drawn = (
        f"All {plural(found.n, 'trial')} that early stopping ended"
        if found.n == num_stopped
        else f"Of the {plural(num_stopped, 'trial')} that early stopping ended, {found.n} drawn at random"
    )
    sentences = [
        f"{drawn} {'was' if found.n == 1 else 'were'} trained again from the same seeds, to the last epoch. "
        f"{_share_text(found)} would have beaten the winner of the arm in {metric_name(tables.objective)}: "
        f"{percent(found.num / found.n)} %, with a 95 % interval of {span(found.low, found.high)} % (Clopper–Pearson, "
        f"n = {found.n}) for {'what such a search stops' if found.n == num_stopped else 'all that were stopped'}."
    ]
    finished = audit[audit["final_value"].notna()]
    beyond = finished["final_value"] - finished["winner_value"]
    if found.num:
        most = beyond[finished["would_have_won"]].abs().sort_values(ascending=False, kind="stable")
        sentences.append(
            f"The most was {percent(most.iloc[0])} points, by {finished['trial_id'][most.index[0]]}. These are scores "
            "of one training each: whether it would have won on fresh seeds too was not tried."
        )
    if ties := int((beyond == 0).sum()):
        sentences.append(
            f"{plural(ties, 'trial')} came out level with the winner, and {'has' if ties == 1 else 'have'} not "
            "beaten it."
        )
    if failed := len(audit) - len(finished):
        sentences.append(f"{plural(failed, 'trial')} diverged or failed on the way: not won.")
    return sentences


def _share_text(share: Share) -> str:
    return "None of them" if share.num == 0 else "All of them" if share.num == share.n else f"{share.num} of {share.n}"


def _faithfulness(audit: pd.DataFrame) -> str:
    """Whether the audited trials went the recorded way until they were stopped."""
    finished = audit[audit["final_value"].notna()]
    other = finished[finished["first_difference_epoch"].notna()]
    if other.empty:
        return "Up to where they were stopped, all epochs came out as recorded, bit for bit."
    first = other.iloc[0]
    return (
        f"{len(other)} of {plural(len(finished), 'audited trial')} did not come out as recorded up to where "
        f"{'it was' if len(other) == 1 else 'they were'} stopped, as on other hardware or with other versions: "
        f"{first['trial_id']} from epoch {int(first['first_difference_epoch'])} on ({first['first_difference']})."
    )


def _compute(tables: Tables, audit: pd.DataFrame) -> str:
    saved, share = analysis.saved_images(tables)
    return (
        f"Early stopping left about {round(saved):,} training images undrawn, {percent(share, 0)} % of what all trials "
        f"would have drawn in full; the audit drew {int(audit['images'].sum()):,}."
    )


def _where_it_bites(tables: Tables) -> list[str]:
    sentences = []
    arrivals = analysis.first_arrivals(tables)
    if arrivals.num_first:
        sentences.append(
            f"The first trial to reach a rung of its arm goes on whatever its value, having nothing to be compared "
            f"with: so {'was' if arrivals.num_first == 1 else 'were'} {arrivals.num_first:,} of "
            f"{plural(arrivals.num_decisions, 'decision')} made, and {arrivals.num_below:,} of these first values lay "
            "below the cutoff that the arm's later ones at that rung make."
        )
    coarse = analysis.coarseness(tables)
    if coarse is not None:
        sentences.append(
            f"Ranks are as coarse as the validation set is small: on {plural(coarse.num_images, 'image')} a score has "
            f"a standard error of about {percent(coarse.standard_error)} points, and {coarse.num_close:,} of "
            f"{plural(coarse.num_decisions, 'decision')} with a cutoff "
            f"{'was' if coarse.num_close == 1 else 'were'} closer to it than that. All trials are judged on the same "
            "images, so that differences between them are somewhat surer."
        )
    return sentences


def _trials_table(tables: Tables, audit: pd.DataFrame) -> Table:
    rows = tuple(_trial_row(row) for row in audit.to_dict("records"))
    marks = tuple("best" if row["would_have_won"] else "" for row in audit.to_dict("records"))
    return Table(
        caption=f"The audited trials: {metric_name(tables.objective)} in % where they were stopped (with the rank "
        "among the trials of the arm that had reached the rung, itself included) and at their end, beside their arm's "
        "winner.",
        columns=(
            "Trial",
            "Stopped at epoch",
            "There",
            "Rank",
            "Cutoff",
            "At the end",
            "Winner",
            "Difference",
            "Beats it",
        ),
        rows=rows,
        marks=marks,
    )


def _trial_row(row: dict[Any, Any]) -> tuple[str, ...]:
    rank = NOTHING if is_missing(row["rank_at_stop"]) else f"{int(row['rank_at_stop'])} of {row['num_peers'] + 1}"
    start = (
        str(row["trial_id"]),
        f"{row['stopped_at_epoch']} of {row['final_epoch']}",
        percent(row["value_at_stop"]),
        rank,
        percent(row["cutoff"]),
    )
    winner = f"{percent(row['winner_value'])} ({row['winner']})"
    if is_missing(row["final_value"]):
        message = "no message was recorded" if is_missing(row["message"]) else str(row["message"])
        return (*start, "failed", winner, NOTHING, message)
    difference = points(row["final_value"] - row["winner_value"])
    return (*start, percent(row["final_value"]), winner, difference, "yes" if row["would_have_won"] else "no")


def _rungs_table(tables: Tables, audit: pd.DataFrame) -> Table:
    tuning = tables.tuning
    num_completed = int((tuning["status"] == "completed").sum())
    num_audited = int(audit["final_value"].notna().sum())
    unseen = analysis.num_stopped(tables) - len(audit)
    sample = (
        f" The {plural(unseen, 'stopped trial')} that {'was' if unseen == 1 else 'were'} not audited "
        f"{'is' if unseen == 1 else 'are'} missing, so that good trials weigh more than they should."
        if unseen
        else ""
    )
    rows = tuple(
        (
            f"epoch {found.rung_epoch}",
            NOTHING if found.tau is None else f"{found.tau:.2f}".replace("-", "−"),
            f"{found.num_trials:,}",
            f"{found.num_pairs:,}",
        )
        for found in analysis.rung_correlations(tables)
    )
    return Table(
        caption="How far the order at each rung is the order at the end: Kendall's τ-b (1: the same order, 0: none, "
        f"−1: the reverse) over pairs of trials of an arm, {num_completed:,} completed and {num_audited:,} audited."
        f"{sample}",
        columns=("Rung", "Kendall's τ", "Trials", "Pairs"),
        rows=rows,
    )
