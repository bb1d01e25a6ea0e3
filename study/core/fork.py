"""Fork: what a study begins with of another one's trials, as its ledger has it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from study.core.text import listed, plural


class _Recorded(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OldTrial(_Recorded):
    """A trial of the other study as one of an arm of this one. params: the knobs that this arm's space asks for.

    status, values: how it ended, and its objective after each epoch, 0-1 or a loss.
    """

    trial_id: str
    params: dict[str, Any]
    status: Literal["completed", "stopped"]
    values: tuple[float, ...]


class Inherited(_Recorded):
    """What an arm begins with of the other study's trials.

    observed: those that its sampler is told as if they were its own; why_not: why none is. tried_first: those whose
    configurations are trained before any that is proposed. left_out: the number of the others, by reason.
    """

    observed: tuple[OldTrial, ...] = ()
    why_not: str | None = None
    tried_first: tuple[OldTrial, ...] = ()
    left_out: dict[str, int] = {}

    def __str__(self) -> str:
        """'8 observations, 2 configurations tried first and 3 trials left out (momentum outside its range 3)'."""
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in self.left_out.items())
        parts = [
            plural(len(self.observed), "observation"),
            *([f"{plural(len(self.tried_first), 'configuration')} tried first"] if self.tried_first else []),
            *([f"{plural(sum(self.left_out.values()), 'trial')} left out ({reasons})"] if reasons else []),
        ]
        return f"{listed(parts)}{f'; no observation, because of {self.why_not}' if self.why_not else ''}"


class Fork(_Recorded):
    """run: the other study's directory. num_retests: those that it had on the test images of this study."""

    run: str
    num_retests: int
    arms: dict[str, Inherited]

    @property
    def alike(self) -> list[tuple[list[str], str]]:
        """(arms that begin with as much, what that is in words)."""
        found: dict[str, list[str]] = {}
        for arm, inherited in self.arms.items():
            found.setdefault(str(inherited), []).append(arm)
        return [(arms, text) for text, arms in found.items()]
