"""What a plugin, a user's own file, registers arms with: examples/my_parts.py does."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces import baseline, cifar100, imbalance
from search_spaces.space import Arm
from trainables.common.nearest import nearest
from trainables.common.plugins import PluginError, register

TABLES: dict[str, dict[str, Arm]] = {
    "baseline": baseline.ARMS,
    "imbalance": imbalance.ARMS,
    "cifar100": cifar100.ARMS,
}
"""task -> the table of its arms."""
SHORTEST, LONGEST = 13, 120  # of a description, in characters


def arm(task: str) -> Callable[[Callable[[], Arm]], Callable[[], Arm]]:
    """An arm of the task: a function that returns it. imbalance.remedy and baseline.model_arm make such.

    In `cifar100`, an arm that fixes no model has the study's.
    """

    def registered(make: Callable[[], Arm]) -> Callable[[], Arm]:
        if task not in TABLES:
            raise PluginError(f"arms can be added to {', '.join(TABLES)}, got {task!r}{nearest(task, TABLES)}")
        made = make()
        if not isinstance(made, Arm):
            raise PluginError(f"{getattr(make, '__name__', 'an arm')} must return an Arm, got {type(made).__name__}")
        wanted = next(iter(TABLES[task].values())).factors.keys()
        if made.factors.keys() != wanted:
            raise PluginError(
                f"the arm {made.name!r} must have the factors of the others, {', '.join(wanted)}, got "
                f"{', '.join(made.factors) or 'none'}"
            )
        if not SHORTEST <= len(made.description) <= LONGEST or "\n" in made.description:
            raise PluginError(
                f"the description of the arm {made.name!r} must be a line of {SHORTEST} to {LONGEST} characters, got "
                f"{len(made.description)}"
            )
        register("arm", TABLES[task], made.name, made)
        return make

    return registered
