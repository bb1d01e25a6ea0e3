"""The figures of score against training time and size, of all trials and arm by arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from study.analysis import results
from study.analysis.fidelity import at_equal_fidelity
from study.analysis.pareto import COSTS, scores_and_costs
from study.analysis.tables import Tables
from study.page.figures.base import BLACK, BLUE, PALE, VERMILLION, WIDTH, Figure, legend, panels, set_title
from study.page.words import metric_name

LABELS = {"seconds": "Training time an epoch (s)", "parameters": "Parameters (thousands)"}
SCALES = {"seconds": 1.0, "parameters": 1e-3}


@dataclass(frozen=True, kw_only=True)
class ScoreAndCost:
    """trials: arm, trial_id, score (%), seconds, parameters (thousands), on_front, on_arm_front, role.

    role: winner, knee or ""; costs: those that differ; arms: in declared order.
    """

    ylabel: str
    arms: tuple[str, ...]
    trials: pd.DataFrame
    costs: tuple[str, ...]


def pareto_data(tables: Tables) -> ScoreAndCost | None:
    found, fidelity = scores_and_costs(tables), at_equal_fidelity(tables)
    if found is None or fidelity is None or len(found) < 2:
        return None
    scaled = {name: found[name] * scale for name, scale in SCALES.items()}
    references = tables.references[tables.references["role"] == "knee"]
    role_of = dict.fromkeys(references["trial_id"], "knee")
    role_of |= dict.fromkeys(results.winners(tables.trials)["trial_id"], "winner")
    return ScoreAndCost(
        ylabel=f"{metric_name(tables.objective).capitalize()}\nafter epoch {fidelity.epoch} (%)",
        arms=tuple(arm for arm in tables.arms if (found["arm"] == arm).any()),
        trials=found.assign(score=100 * found["score"], role=found["trial_id"].map(role_of).fillna(""), **scaled),
        costs=tuple(cost for cost in COSTS if cost == "seconds" or found[cost].nunique() > 1),
    )


def draw_pareto(data: ScoreAndCost) -> Canvas:
    canvas = Canvas(figsize=(WIDTH, 3.3), layout="constrained")
    axes = canvas.subplots(1, len(data.costs), sharey=True, squeeze=False).flat
    others, front = data.trials[~data.trials["on_front"]], data.trials[data.trials["on_front"]]
    for ax, cost in zip(axes, data.costs, strict=True):
        ax.scatter(others[cost], others["score"], s=14, color=PALE, linewidth=0, zorder=2)
        ax.scatter(front[cost], front["score"], s=24, color=BLUE, linewidth=0, zorder=3)
        _set_cost_axis(ax, data.trials[cost])
        ax.set_xlabel(LABELS[cost])
    canvas.supylabel(data.ylabel, fontsize=9)
    styles = (("on the front", BLUE, 5.0), ("beaten by another trial", PALE, 4.0))
    legend(
        canvas,
        [
            Line2D([], [], linestyle="", marker="o", markersize=size, color=color, label=label)
            for label, color, size in styles
        ],
    )
    return canvas


def _set_cost_axis(ax: Axes, costs: pd.Series) -> None:
    if costs.max() > 20 * costs.min() > 0:
        ax.set_xscale("log")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


FRONT: dict[str, Any] = {"marker": "o", "markersize": 4.5, "color": BLUE, "linewidth": 1, "drawstyle": "steps-post"}
BEATEN: dict[str, Any] = {"marker": "o", "markersize": 4, "color": BLUE, "markerfacecolor": "white", "linestyle": ""}
OTHERS: dict[str, Any] = {"marker": "o", "markersize": 2.5, "color": PALE, "markeredgewidth": 0, "linestyle": ""}
KNEE: dict[str, Any] = {"marker": "s", "markersize": 5.5, "color": BLACK, "linestyle": ""}
WINNER: dict[str, Any] = {"marker": "D", "markersize": 5.5, "color": VERMILLION, "linestyle": ""}


def draw_arm_fronts(data: ScoreAndCost) -> Canvas:
    has_sizes = len(data.costs) > 1
    num_columns = min(2 if has_sizes else 3, len(data.arms))
    canvas, axes = panels(len(data.arms), num_columns, 1.75, sharex=True, sharey=True)
    styles: dict[str, Any] = {}
    for ax, arm in zip(axes, data.arms, strict=True):
        own = data.trials[data.trials["arm"] == arm].sort_values("seconds")
        for label, trials, style in (
            ("other arms", data.trials[data.trials["arm"] != arm], OTHERS),
            ("beaten by another of the arm", own[~own["on_arm_front"]], BEATEN),
            ("on the arm's front", own[own["on_arm_front"]], FRONT),
            ("the knee of its front", own[own["role"] == "knee"], KNEE),
            ("the arm's winner", own[own["role"] == "winner"], WINNER),
        ):
            if len(trials):
                ax.plot(trials["seconds"], trials["score"], **style)
                styles[label] = style
        sizes = own["parameters"].dropna().unique()
        set_title(ax, f"{arm} ({sizes[0]:,.0f} k parameters)" if has_sizes and len(sizes) == 1 else arm)
    _set_cost_axis(axes[0], data.trials["seconds"])
    canvas.supxlabel(LABELS["seconds"], fontsize=9)
    canvas.supylabel(data.ylabel, fontsize=9)
    legend(canvas, [Line2D([], [], label=label, **style) for label, style in styles.items()])
    return canvas


def _arm_fronts_alt(data: ScoreAndCost) -> str:
    on_front = {arm: data.trials.loc[data.trials["arm"] == arm, "on_arm_front"] for arm in data.arms}
    counts = ", ".join(f"{arm} {own.sum():,} of {len(own):,}" for arm, own in on_front.items())
    return f"Score over training time, a panel an arm. Trials on their arm's front: {counts}."


PARETO = Figure(
    name="pareto",
    section="budget",
    title="Score against cost",
    caption="A point a trial. On the front: no other trial of any arm is at least as good in validation score, "
    "training time and number of parameters, and better in one. All trials are compared after the same epoch, the "
    "first rung of early stopping or else the last epoch. Time is the mean of an epoch until then, of training alone; "
    "how noisy it is stands above.",
    alt=lambda data: (
        f"Score over cost of {len(data.trials)} trials, {int(data.trials['on_front'].sum())} on the front."
    ),
    absent="fewer than two trials reached a common epoch",
    data=pareto_data,
    draw=draw_pareto,
)
ARM_FRONTS = Figure(
    name="arm_fronts",
    section="budget",
    title="Score against training time, arm by arm",
    caption="A panel an arm. On an arm's front: no other trial of the arm is at least as good in validation score and "
    "training time, and better in one; the line is the best score within a time. The arm's winner is the best in the "
    "end, and need not be on the front here. Epoch and time are those of the figure above.",
    alt=_arm_fronts_alt,
    absent=PARETO.absent,
    data=pareto_data,
    draw=draw_arm_fronts,
    applies=lambda tables: len(tables.arms) > 1,
)
