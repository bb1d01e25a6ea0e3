"""The figure of post-hoc logit adjustment: scores of trained winners, logits shifted by -tau log prior, over tau."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from study.analysis.tables import Tables
from study.analysis.tau import tau_sweeps
from study.page.figures.base import BLUE, GREY, VERMILLION, Figure, legend, panels, set_title


def tau_data(tables: Tables) -> pd.DataFrame | None:
    """One row per arm and tau: arm, tau, is_chosen, validation, mean, low, high (test over seeds, or NaN); in %."""
    frames = []
    for sweep in tau_sweeps(tables):
        frame = pd.DataFrame({"arm": sweep.arm, "tau": sweep.taus, "validation": sweep.validation})
        test = sweep.test if sweep.test is not None else pd.DataFrame(columns=list(sweep.taus), dtype="float64")
        frame["is_chosen"] = frame["tau"] == sweep.chosen
        frame = frame.assign(mean=test.mean().to_numpy(), low=test.min().to_numpy(), high=test.max().to_numpy())
        frame[["validation", "mean", "low", "high"]] *= 100
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else None


def draw_tau(data: pd.DataFrame) -> Canvas:
    arms = list(data["arm"].drop_duplicates())
    canvas, axes = panels(len(arms), 3, 1.6, sharex=True, sharey=True)
    for ax, arm in zip(axes, arms, strict=True):
        sweep = data[data["arm"] == arm]
        chosen = sweep[sweep["is_chosen"]]
        ax.axvline(chosen["tau"].iloc[0], color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        ax.fill_between(sweep["tau"], sweep["low"], sweep["high"], color=VERMILLION, alpha=0.2, linewidth=0)
        ax.plot(sweep["tau"], sweep["mean"], color=VERMILLION, linewidth=1.5)
        ax.plot(sweep["tau"], sweep["validation"], color=BLUE, linewidth=1.5, linestyle=(0, (4, 2)))
        ax.plot(chosen["tau"], chosen["validation"], "D", color=BLUE, markersize=5, markeredgecolor="white")
        set_title(ax, arm)
    canvas.supxlabel("τ, subtracted after training as τ log π", fontsize=9)
    canvas.supylabel("Balanced accuracy (%)", fontsize=9)
    legend(
        canvas,
        [
            Line2D([], [], color=BLUE, linewidth=1.5, linestyle=(0, (4, 2)), label="validation (winning trial)"),
            Line2D([], [], color=BLUE, marker="D", linestyle="", markersize=5, label="τ* chosen on it"),
            Line2D([], [], color=VERMILLION, linewidth=1.5, label="test, mean over seeds"),
            Patch(color=VERMILLION, alpha=0.2, linewidth=0, label="lowest to highest seed"),
        ],
    )
    return canvas


def _alt(data: pd.DataFrame) -> str:
    chosen = data[data["is_chosen"]]
    listed = "; ".join(f"{arm} {tau:g}" for arm, tau in zip(chosen["arm"], chosen["tau"], strict=True))
    return f"Validation and test balanced accuracy over tau, a panel an arm. Tau chosen on validation: {listed}."


TAU = Figure(
    name="tau",
    section="tau",
    title="Balanced accuracy over τ, adjusted after training",
    caption="For every arm's winner. The dashed vertical line is τ*, the best on validation (the smallest of equals). "
    "No test value chose it; the test curve beside it shows what it was worth. τ = 0 is the arm as it was retested.",
    alt=_alt,
    absent="no sweep over τ was recorded",
    data=tau_data,
    draw=draw_tau,
)
