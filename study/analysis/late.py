"""Arms that early stopping judges only after its first rung, because their training changes on the way."""

from __future__ import annotations

from study.analysis.tables import Tables


def judged_late(tables: Tables) -> dict[str, int]:
    """Arm -> its decisions of early stopping, of arms whose trials passed the first rung without one."""
    rungs = tables.tuning_rungs
    if rungs.empty:
        return {}
    first = rungs["rung_epoch"].min()
    passed = set(tables.tuning.loc[tables.tuning["epochs"] > first, "arm"])
    judged_there = set(rungs.loc[rungs["rung_epoch"] == first, "arm"])
    return {arm: int((rungs["arm"] == arm).sum()) for arm in tables.arms if arm in passed - judged_there}
