"""The table of all trials, which the page's script sorts and filters."""

from __future__ import annotations

import pandas as pd

from study.analysis.knobs import varied_knobs
from study.analysis.tables import Tables
from study.core.text import NOTHING
from study.page.table import Table
from study.page.text import config_value, is_missing, percent
from study.page.words import metric_name

MOST_TRIALS = 2_000
COMMON_SHARE = 0.5
"""A knob that at least this share of the trials has gets a column; the others share one."""


def trials_table(tables: Tables) -> Table | None:
    """The trials of the main stage in the order in which they were asked for; None if there are none."""
    trials = tables.tuning.reset_index(drop=True)
    if trials.empty:
        return None
    knobs = varied_knobs(trials)
    common = [knob for knob in knobs if trials[f"config/{knob}"].notna().mean() >= COMMON_SHARE]
    others = [knob for knob in knobs if knob not in common]
    cut = f" The first {MOST_TRIALS:,} of {len(trials):,}; all are in trials.parquet." * (len(trials) > MOST_TRIALS)
    shown = trials.head(MOST_TRIALS)
    cells = {
        "Trial": shown["trial_id"].astype(str),
        "Arm": shown["arm"].astype(str),
        "Status": shown["status"].astype(str),
        "Epochs": shown["epochs"].map("{:,}".format),
        "Validation": shown["objective"].map(percent),
        **{knob: shown[f"config/{knob}"].map(_value) for knob in common},
        **({"Others": _joined(shown, others)} if others else {}),
    }
    return Table(
        caption="All trials in the order in which they were asked for, with their "
        f"{metric_name(tables.objective)} after their last epoch (%) and what was varied.{cut}",
        columns=tuple(cells),
        rows=tuple(zip(*(values.tolist() for values in cells.values()), strict=True)),
    )


def _value(value: object) -> str:
    return NOTHING if is_missing(value) else config_value(value)


def _joined(trials: pd.DataFrame, knobs: list[str]) -> pd.Series:
    """The knobs that each trial has, with their values, in one cell."""
    rows = trials[[f"config/{knob}" for knob in knobs]].to_numpy(dtype=object)
    return pd.Series(
        [
            ", ".join(
                f"{knob} {_value(value)}" for knob, value in zip(knobs, row, strict=True) if not is_missing(value)
            )
            for row in rows
        ],
        index=trials.index,
    )
