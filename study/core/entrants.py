"""Entrants: the configurations that are retested on the seeds of a search, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from study.core.ledger import Book, TrialRecord
from study.core.search import PLAIN
from study.core.stage import Stage

Role = Literal["winner", "default", "random", "knee"]
"""The winner of a search, the configuration that its arm starts from, its control's winner, or its front's knee."""
ROLES: tuple[Role, ...] = get_args(Role)
FORMER = "former"
"""In the tables, the role of what was retested and is no entrant any more."""
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A configuration that is retested on the seeds of the search of that number.

    same_as: the role of the entrant before it that has the same hyperparameters there, whose retests are this one's
    too, and whose trial this is: nothing is trained twice. None: it has retests of its own.
    """

    role: Role
    arm: str
    search: int
    trial: TrialRecord
    same_as: Role | None = None

    @property
    def label(self) -> str:
        """'none', 'none (default)'."""
        return self.arm if self.role == "winner" else f"{self.arm} ({self.role})"


def entrants(stage: Stage, book: Book) -> list[Entrant]:
    """The entrants of all searches that have a winner: the winners first, then the roles in their order."""
    own = [search for search in stage.searches if search.control is None]
    winners = {search.number: stage.winners(book, search) for search in own}
    starts = {arm: first for arm in stage.arms for first in book.of_arm(arm, PLAIN)[:1]}
    trials: dict[Role, dict[int, dict[str, TrialRecord]]] = {
        "winner": winners,
        "default": {search.number: starts for search in own if stage.retests_default},
        "random": {search.number: stage.winners(book, search) for search in stage.searches if search.control},
        "knee": {search.number: stage.knees(book, search) for search in own if not stage.stops_early},
    }
    found: dict[tuple[str, int], list[Entrant]] = {}
    for role, by_search in trials.items():
        for number, by_arm in by_search.items():
            for arm in (arm for arm in stage.arms if arm in winners[number] and arm in by_arm):
                before = found.setdefault((arm, number), [])
                entrant = Entrant(role=role, arm=arm, search=number, trial=by_arm[arm])
                same = next((other for other in before if other.trial.hparams == entrant.trial.hparams), None)
                before.append(entrant if same is None else replace(entrant, trial=same.trial, same_as=same.role))
    everyone = [entrant for entrants in found.values() for entrant in entrants]
    return sorted(everyone, key=lambda entrant: (list(trials).index(entrant.role), entrant.search))


def retested_anew(stage: Stage, book: Book) -> list[Entrant]:
    """The entrants that have retests of their own."""
    return [entrant for entrant in entrants(stage, book) if entrant.same_as is None]


def former_retests(stage: Stage, book: Book) -> list[Row]:
    """The retests of what is no entrant any more, as of a winner before the study was extended, by arm and seed."""
    among = retested_anew(stage, book)
    current = {(entrant.trial.trial_id, entrant.search) for entrant in among}
    former = [row for row in book.retests.values() if (row["trial_id"], row.get("search", 1)) not in current]
    return sorted(
        (row for row in former if row["arm"] in stage.arms), key=lambda row: (stage.arms.index(row["arm"]), row["seed"])
    )


def outcomes(rows: Mapping[tuple[str, int], Row], among: Sequence[Entrant]) -> list[tuple[Entrant, Row]]:
    """The entrants' rows of book.retests or book.retest_failures, by entrant and seed.

    Those of an earlier winner are left out; a study that was extended may have some (see former_retests).
    """
    by_trial: dict[tuple[str, int], list[Row]] = {}
    for row in rows.values():
        by_trial.setdefault((row["trial_id"], row.get("search", 1)), []).append(row)
    return [
        (entrant, row)
        for entrant in among
        for row in sorted(by_trial.get((entrant.trial.trial_id, entrant.search), []), key=lambda row: row["seed"])
    ]
