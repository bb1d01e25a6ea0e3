"""Figures that hold runs against each other: the scores of each arm in each run, and the differences to the first."""

from __future__ import annotations

import pandas as pd

from study.analysis import compare
from study.analysis.compare import Comparison
from study.analysis.intervals import interval_columns
from study.page.figures.base import Figure
from study.page.figures.labels import are_by_index, class_labels, plain
from study.page.figures.scores import DotPlot, Dots, alt, draw_dots
from study.page.words import axis_label, metric_name

NAME_WIDTH = 28


def scores_data(comparison: Comparison) -> DotPlot | None:
    """A panel an arm, a row a run in which it was retested."""
    scores, names, first = compare.scores(comparison), _names(comparison), comparison.first.label
    if scores.empty:
        return None
    scores[["mean", "low", "high"]] *= 100
    panels = []
    for arm in scores["arm"].drop_duplicates():
        own = scores[scores["arm"] == arm]
        seeds = [
            pd.DataFrame({"arm": names[run.label], "seed": values.index, "value": 100 * values.to_numpy()})
            for run in comparison.runs
            if len(values := run.scores(arm))
        ]
        reference = own.loc[own["run"] == first, "mean"]
        panels.append(
            Dots(
                title=plain(arm, 60),
                arms=_rows(
                    [names[run] for run in own["run"]],
                    own,
                    ["control" if run == first else "other" for run in own["run"]],
                ),
                seeds=pd.concat(seeds, ignore_index=True),
                reference=float(reference.iloc[0]) if len(reference) else None,
                control=first,
            )
        )
    return DotPlot(
        xlabel=axis_label(comparison.score),
        interval_label="mean, 95 % t-interval",
        reference_label=f"mean of {names[first]}",
        value_format="{:.1f}",
        groups=tuple(panels),
        role_labels=(("control", names[first]),),
    )


def differences_data(comparison: Comparison) -> DotPlot | None:
    """A panel for each run but the first, a row a pair of arms."""
    found = compare.differences(comparison)
    if not found:
        return None
    first, names, panels = comparison.first, _names(comparison), []
    for run in comparison.others:
        own = [one for one in found if one.run == run.label]
        if not own:
            continue
        rows = pd.DataFrame([interval_columns(one.interval) for one in own])
        rows[["mean", "low", "high"]] *= 100
        seeds = [
            (one.pair.label, seed, 100 * value)
            for one in own
            if one.unpaired_because is None
            for seed, value in (run.scores(one.pair.other) - first.scores(one.pair.first)).dropna().items()
        ]
        panels.append(
            Dots(
                title=f"{names[run.label]} minus {names[first.label]}",
                arms=_rows(
                    [one.pair.label for one in own],
                    rows,
                    ["unpaired" if one.unpaired_because else "other" for one in own],
                ),
                seeds=pd.DataFrame(seeds, columns=["arm", "seed", "value"]),
                reference=0.0,
                control=None,
            )
        )
    return DotPlot(
        xlabel=f"{metric_name(comparison.score).capitalize()} minus that of {names[first.label]} (points)",
        interval_label="mean, simultaneous interval",
        reference_label="no difference",
        value_format="{:+.1f}",
        groups=tuple(panels),
        role_labels=(("unpaired", "not paired by seed (Welch)"),),
    )


def _names(comparison: Comparison) -> dict[str, str]:
    """Run -> its label in figures, no two alike however long their names are."""
    runs = [run.label for run in comparison.runs]
    telling = None if are_by_index(runs) else class_labels(runs, NAME_WIDTH)
    return dict(zip(runs, telling or map(plain, runs), strict=True))


def _rows(names: list[str], numbers: pd.DataFrame, roles: list[str]) -> pd.DataFrame:
    columns = numbers[["mean", "low", "high", "n"]].reset_index(drop=True)
    return columns.assign(arm=list(names), role=roles)


FIGURES: tuple[Figure, ...] = (
    Figure(
        name="compared_scores",
        section="scores",
        title="The {score} of each arm's winner in each run",
        caption="Mean over the retest's seeds with its 95 % t-interval, each interval by itself; small dots are the "
        "single seeds, the dashed line is the mean of {first}. Whether runs differ is judged in the next figure.",
        alt=alt,
        absent="no arm has been retested",
        data=scores_data,
        draw=draw_dots,
    ),
    Figure(
        name="compared_differences",
        section="differences",
        title="Differences to {first}",
        caption="Mean and interval; all intervals of this page's differences hold together at 95 % (Bonferroni). One "
        "that crosses the line shows no measurable difference. Small dots are pairs of one seed, where there are such.",
        alt=alt,
        absent="no arm was retested both in {first} and in another run",
        data=differences_data,
        draw=draw_dots,
    ),
)
