"""Cautions: winners at the edge of what was searched, and arms that plain accuracy would have crowned."""

from __future__ import annotations

from study.analysis import results
from study.analysis.edges import Edge, winners_at_edges
from study.analysis.given import given_winners
from study.analysis.tables import Tables
from study.core.text import listed, plural
from study.page.table import Table
from study.page.task import TaskPage
from study.page.text import config_value, distance_text, paired_text, score_text
from study.page.words import metric_name

PLAIN_ACCURACY = "test_accuracy"
MOST_NAMED = 3


def cautions(page: TaskPage, tables: Tables) -> list[str]:
    """The remarks; none where there is nothing to be cautious about."""
    return [*_given_remark(page, tables), *_edge_remark(page, tables), *_crown_remarks(page, tables)]


# --- winners that were given


def _given_remark(page: TaskPage, tables: Tables) -> list[str]:
    arms, num_searched = given_winners(tables)
    if not arms:
        return []
    if len(arms) == num_searched:
        where = "In every arm" if num_searched > 1 else "Here"
        end = "so what is compared are configurations as they were given, not tuned ones" * (num_searched > 1)
    else:
        where, end = f"In {listed([page.arm_phrase(arm) for arm in arms])}", ""
    nothing = "nothing that the search proposed ended with a better validation score"
    return [
        f"{where} the winner is a configuration that the search was given to begin with: {nothing}"
        f"{', ' * bool(end)}{end}."
    ]


# --- winners at an edge


def _edge_remark(page: TaskPage, tables: Tables) -> list[str]:
    edges = winners_at_edges(tables)
    if edges is None or not edges.found:
        return []
    arms_of: dict[tuple[str, str], list[str]] = {}  # values that lie alike are told once
    for edge in edges.found:
        alike = f"{edge.knob} {_number(edge.value)}", f"(searched {_searched(edge)}; try {_try_next(edge)})"
        arms_of.setdefault(alike, []).append(page.arm_phrase(edge.arm))
    told = [f"{value} of {listed(arms)} {searched}" for (value, searched), arms in arms_of.items()]
    more = "; others in the table" * (len(told) > MOST_NAMED)
    return [
        f"Of the winners' {plural(edges.num_values, 'value')} that could lie at an edge of what was searched, "
        f"{len(edges.found)} {'do' if len(edges.found) > 1 else 'does'} (of values drawn at random, about "
        f"{edges.expected:.1f} would), and the best may lie beyond: {'; '.join(told[:MOST_NAMED])}{more}. A table "
        "under Winning configurations has what to search next."
    ]


def edge_ends(tables: Tables) -> dict[tuple[str, str], str]:
    """(arm, knob) -> 'upper edge' or 'lower edge', of the winners' values at an edge."""
    edges = winners_at_edges(tables)
    return {} if edges is None else {(edge.arm, edge.knob): f"{edge.end} edge" for edge in edges.found}


def edges_table(tables: Tables) -> Table | None:
    edges = winners_at_edges(tables)
    if edges is None or not edges.found:
        return None
    return Table(
        caption="Winners at the edge of what was searched: within 5 % of the range on the knob's own scale, or the "
        "first or last of several choices. Try next: half a decade further on a logarithmic scale, half the range "
        "further on a linear one, the next choice; never beyond what the hyperparameter may be.",
        columns=("Arm", "Knob", "Value", "Searched", "Try next"),
        rows=tuple(
            (edge.arm, edge.knob, _number(edge.value), _searched(edge), _try_next(edge)) for edge in edges.found
        ),
    )


def edges_unknown(tables: Tables) -> str | None:
    """The sentence where it is not known whether a winner lies at an edge; None where it is, or none was searched."""
    if winners_at_edges(tables) is not None or (tables.trials["arm"].value_counts() < 2).all():
        return None
    return (
        "Whether a winner lies at the edge of what was searched is not known: this run was made before ranges were "
        "recorded."
    )


def _searched(edge: Edge) -> str:
    if edge.choices is not None:
        return ", ".join(map(_number, edge.choices))
    return f"{_number(edge.low)} to {_number(edge.high)}"


def _try_next(edge: Edge) -> str:
    return f"{'down' if edge.end == 'lower' else 'up'} to {_number(edge.beyond)}"


def _number(value: float) -> str:
    """Three significant digits; of a number close to 1, as many as tell it from 1."""
    return config_value(value) if isinstance(value, int) or 0.99 <= value < 1 else f"{value:.3g}"


# --- plain accuracy


def _crown_remarks(page: TaskPage, tables: Tables) -> list[str]:
    """A sentence for each group of arms that plain accuracy would have ranked otherwise at its head."""
    sentences = []
    for group in tables.groups:
        crown = results.crowned_by(tables, group, PLAIN_ACCURACY)
        if crown is None or crown.difference is None:
            continue
        crowned, best = page.arm_phrase(crown.crowned), page.arm_phrase(crown.best)
        with_title = f"With {group.title}, plain" if group.title else "Plain"
        verdict = (
            f"would have crowned {crowned} and not {best}"
            if crown.difference.excludes_zero
            else f"is highest in {crowned} and not in {best}, though no difference between the two is measurable"
        )
        sentences.append(
            f"{with_title} accuracy, in which a class counts by its test images, {verdict}: "
            f"{score_text(crown.crowned_score)}, {distance_text(crown.difference, best)} "
            f"{paired_text(crown.difference, crown.crowned_score)}. The study is judged by {metric_name(tables.score)}."
        )
    return sentences
