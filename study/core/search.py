"""Search: which of an arm's searches a trial belongs to. An arm has one, unless a control or more are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Control = Literal["random"]


@dataclass(frozen=True, kw_only=True)
class Search:
    """One search of an arm, with a sampler, rungs and a winner of its own.

    number: from 1, of searches of equal budgets. control: how configurations are proposed in the control of the search
    of that number; None: it is the arm's own search. The plain one, Search(), is what every arm has.
    """

    number: int = 1
    control: Control | None = None

    @property
    def recorded(self) -> dict[str, Any]:
        """What the ledger has of it: nothing of the plain one."""
        number = {} if self.number == 1 else {"search": self.number}
        return {**number, **({"control": self.control} if self.control else {})}

    @property
    def words(self) -> tuple[str, ...]:
        """What seeds and names have of it: nothing of the plain one."""
        number = () if self.number == 1 else (f"s{self.number}",)
        return (*number, *((self.control,) if self.control else ()))


PLAIN = Search()
"""The first of an arm's own searches, which every arm has."""


def searches_of(num_searches: int, control: Control | None) -> tuple[Search, ...]:
    """The searches of each arm, in the order in which they take turns."""
    kinds: Sequence[Control | None] = (None,) if control is None else (None, control)
    return tuple(Search(number=number, control=kind) for kind in kinds for number in range(1, num_searches + 1))
