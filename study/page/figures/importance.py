"""Figures of which knobs mattered, for the score and for the time, over all arms and in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Patch

from study.analysis.fidelity import at_equal_fidelity
from study.analysis.importance import ALL_ARMS, LEAST_TRIALS, NUM_SHUFFLES, importances
from study.analysis.tables import Tables
from study.page.figures.base import BLACK, BLUE, PALE, WIDTH, Figure, heat_map, legend
from study.page.figures.labels import plain
from study.page.words import metric_name

TARGETS = ("score", "seconds")
_HOW = (
    "Optuna's conditional PED-ANOVA: how much the best tenth of the trials that were drawn (at least five) differ in a "
    "knob from all of these; configurations given to begin with do not count. A choice, such as the arm, is smoothed "
    "more and comes out several times lower than a number that matters as much. All are compared after the same epoch, "
    "the first rung of early stopping or else the last epoch; trials that did not reach it do not count, and a knob "
    "that a trial lacks is judged among those that have it. Time is the seconds of training an epoch took. Bars are in "
    "% of the sum over knobs"
)


@dataclass(frozen=True, kw_only=True)
class Importances:
    """shares: arm, target, knob, share (%), is_above_chance. titles: by target."""

    shares: pd.DataFrame
    titles: dict[str, str]


def _data(tables: Tables, arms: Sequence[str]) -> Importances | None:
    shares = importances(tables)
    shares = shares[shares["arm"].isin(arms)]
    fidelity = at_equal_fidelity(tables)
    if shares.empty or fidelity is None:
        return None
    titles = {
        "score": f"{metric_name(tables.objective).capitalize()} after epoch {fidelity.epoch}",
        "seconds": "Training time an epoch",
    }
    return Importances(shares=shares.assign(share=100 * shares["share"]).reset_index(drop=True), titles=titles)


def importance_data(tables: Tables) -> Importances | None:
    """Over all arms; of a study with one arm, of that."""
    return _data(tables, [ALL_ARMS] if len(tables.arms) > 1 else tables.arms)


def arm_importance_data(tables: Tables) -> Importances | None:
    """In each arm, where there are several."""
    return _data(tables, tables.arms) if len(tables.arms) > 1 else None


def draw_importance(data: Importances) -> Canvas:
    by_target = {target: data.shares[data.shares["target"] == target].set_index("knob") for target in TARGETS}
    knobs = list(by_target["score"].index)
    canvas = Canvas(figsize=(WIDTH, 0.24 * len(knobs) + 1.4), layout="constrained")
    axes = canvas.subplots(1, 2, sharey=True, gridspec_kw={"wspace": 0.06})
    for ax, target in zip(axes, TARGETS, strict=True):
        rows = by_target[target].loc[knobs]
        colors = [BLUE if is_above else PALE for is_above in rows["is_above_chance"]]
        ax.barh(range(len(knobs)), rows["share"], color=colors, height=0.66)
        ax.set_xlim(0, 100)
        ax.set_title(data.titles[target], loc="left", fontsize=8.5)
        ax.set_xlabel("Importance (%)")
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(knobs)), [plain(knob, 34) for knob in knobs])
    axes[0].set_ylim(len(knobs) - 0.4, -0.6)
    legend(
        canvas,
        [
            Patch(color=BLUE, label=f"more than in each of {NUM_SHUFFLES} shuffles"),
            Patch(color=PALE, label="no more than by chance"),
        ],
    )
    return canvas


def draw_arm_importance(data: Importances) -> Canvas:
    arms, knobs = (list(data.shares[name].drop_duplicates()) for name in ("arm", "knob"))
    is_wide = len(arms) > 7
    height = 0.24 * len(knobs) + 1.5
    canvas = Canvas(figsize=(WIDTH, (2 if is_wide else 1) * height), layout="constrained")
    axes = canvas.subplots(2, 1, sharex=True) if is_wide else canvas.subplots(1, 2, sharey=True)
    for ax, target in zip(axes, TARGETS, strict=True):
        rows = data.shares[data.shares["target"] == target]
        shares = rows.pivot(index="knob", columns="arm", values="share").reindex(index=knobs, columns=arms)
        above = rows.pivot(index="knob", columns="arm", values="is_above_chance").reindex(index=knobs, columns=arms)
        heat_map(ax, shares.to_numpy(float), has_numbers=False)
        for (row, column), share in np.ndenumerate(shares.to_numpy(float)):
            if not np.isnan(share):
                is_above = bool(above.iat[row, column])
                ink = "white" if share > 55 else BLACK if is_above or share > 25 else "#777777"
                weight = "bold" if is_above else "normal"
                ax.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=7, color=ink, fontweight=weight)
        ax.set_title(data.titles[target], loc="left", fontsize=8.5)
        ax.set_yticks(range(len(knobs)), [plain(knob, 30) for knob in knobs])
        ax.set_xticks(range(len(arms)), [plain(arm, 24) for arm in arms], rotation=40, ha="right")
    return canvas


IMPORTANCE = Figure(
    name="importance",
    section="tuning",
    title="Which hyperparameters mattered",
    caption=f"{_HOW}. Blue: more than in each of {NUM_SHUFFLES} shuffles of the target over the same trials, which a "
    "knob without any influence reaches in 1 of 20 cases, so that of 20 bars one is blue by chance; importance says "
    "nothing of the direction.",
    alt=lambda data: f"Bars of the importance of {data.shares['knob'].nunique()} hyperparameters for score and time.",
    absent=f"fewer than {LEAST_TRIALS} trials that were drawn, and not given, reached a common epoch",
    data=importance_data,
    draw=draw_importance,
    applies=lambda tables: len(tables.tuning) >= LEAST_TRIALS,
)
ARM_IMPORTANCE = Figure(
    name="arm_importance",
    section="tuning",
    title="Which hyperparameters mattered in each arm",
    caption=f"As above, within each arm that has at least {LEAST_TRIALS} such trials. Bold: more than by chance; "
    "empty: the arm does not vary the hyperparameter.",
    alt=lambda data: f"Heat maps of the importance of hyperparameters in {data.shares['arm'].nunique()} arms.",
    absent=f"no arm has {LEAST_TRIALS} trials that reached a common epoch",
    data=arm_importance_data,
    draw=draw_arm_importance,
    applies=lambda tables: len(tables.arms) > 1 and tables.tuning["arm"].value_counts().max() >= LEAST_TRIALS,
)
