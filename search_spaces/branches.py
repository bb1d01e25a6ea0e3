"""Knobs whose range hangs on a choice, read off trials in which every choice is made at least once."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.distributions import CategoricalDistribution

from search_spaces.declarations import StartTrial


def decisive_choice(name: str, branches: Sequence[StartTrial]) -> str | None:
    """The first choice whose value tells which of its ranges a knob has; None for a knob of one range, or if none."""
    having = [branch for branch in branches if name in branch.distributions]
    if len({branch.distributions[name] for branch in having}) < 2:
        return None
    for choice, distribution in having[0].distributions.items():
        if not isinstance(distribution, CategoricalDistribution) or choice == name:
            continue
        if any(choice not in branch.params for branch in having):
            continue
        pairs = {(branch.params[choice], branch.distributions[name]) for branch in having}
        if len(pairs) == len({value for value, _ in pairs}):
            return choice
    return None
