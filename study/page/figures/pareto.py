"""The figure of score against training time and size."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from study.analysis.fidelity import at_equal_fidelity
from study.analysis.pareto import COSTS, scores_and_costs
from study.analysis.tables import Tables
from study.page.figures.base import BLUE, PALE, WIDTH, Figure, legend
from study.page.words import metric_name

LABELS = {"seconds": "Training time an epoch (s)", "parameters": "Parameters (thousands)"}
SCALES = {"seconds": 1.0, "parameters": 1e-3}


@dataclass(frozen=True, kw_only=True)
class ScoreAndCost:
    """trials: arm, trial_id, score (%), seconds, parameters (thousands), on_front. costs: those that differ."""

    ylabel: str
    trials: pd.DataFrame
    costs: tuple[str, ...]


def pareto_data(tables: Tables) -> ScoreAndCost | None:
    found, fidelity = scores_and_costs(tables), at_equal_fidelity(tables)
    if found is None or fidelity is None or len(found) < 2:
        return None
    scaled = {name: found[name] * scale for name, scale in SCALES.items()}
    return ScoreAndCost(
        ylabel=f"{metric_name(tables.objective).capitalize()}\nafter epoch {fidelity.epoch} (%)",
        trials=found.assign(score=100 * found["score"], **scaled),
        costs=tuple(cost for cost in COSTS if cost == "seconds" or found[cost].nunique() > 1),
    )


def draw_pareto(data: ScoreAndCost) -> Canvas:
    canvas = Canvas(figsize=(WIDTH, 3.3), layout="constrained")
    axes = canvas.subplots(1, len(data.costs), sharey=True, squeeze=False).flat
    others, front = data.trials[~data.trials["on_front"]], data.trials[data.trials["on_front"]]
    for ax, cost in zip(axes, data.costs, strict=True):
        ax.scatter(others[cost], others["score"], s=14, color=PALE, linewidth=0, zorder=2)
        ax.scatter(front[cost], front["score"], s=24, color=BLUE, linewidth=0, zorder=3)
        if data.trials[cost].max() > 20 * data.trials[cost].min() > 0:
            ax.set_xscale("log")
        else:
            ax.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
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


PARETO = Figure(
    name="pareto",
    section="budget",
    title="Score against cost",
    caption="A point a trial. On the front: no other trial of any arm is at least as good in validation score, "
    "training time and number of parameters, and better in one; parameters have no panel where all models are of one "
    "size. All trials are compared after the same epoch, the first rung of early stopping or else the last epoch. Time "
    "is the mean of an epoch until then, of training alone; trials run side by side, so that a difference of a few "
    "percent is noise.",
    alt=lambda data: (
        f"Score over cost of {len(data.trials)} trials, {int(data.trials['on_front'].sum())} on the front."
    ),
    absent="fewer than two trials reached a common epoch",
    data=pareto_data,
    draw=draw_pareto,
)
