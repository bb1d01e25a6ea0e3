"""Extension: what a study was given more of after it had begun; its settings and its ledger have every one of them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from study.core.text import listed, plural


class Extension(BaseModel):
    """Settings that grew, by name, before and after. time: when, ISO 8601; command: what asked for it.

    num_retests: the retests that were recorded by then, which who asked may have seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: str
    command: str
    num_retests: int
    before: dict[str, Any]
    after: dict[str, Any]

    @model_validator(mode="after")
    def _of_settings_that_may_grow(self) -> Extension:
        for values in (self.before, self.after):
            arms, numbers = values.get("arms", []), [value for name, value in values.items() if name != "arms"]
            if not isinstance(arms, list) or not all(isinstance(arm, str) for arm in arms):
                raise ValueError("arms must be a list of names")
            if not all(isinstance(number, int) for number in numbers):
                raise ValueError("what grows but for arms must be a number")
        if self.before.keys() != self.after.keys():
            raise ValueError("before and after must be of the same settings")
        return self

    @property
    def added(self) -> list[str]:
        """What was added: '4 trials an arm', '2 retest seeds', 'the arms focal and copy'."""
        more = {name: self.after[name] - self.before[name] for name in self.after if name != "arms"}
        arms = [arm for arm in self.after.get("arms", []) if arm not in self.before["arms"]]
        return [
            *([f"{plural(more['trials_per_arm'], 'trial')} an arm"] if "trials_per_arm" in more else []),
            *([plural(more["retest_seeds"], "retest seed")] if "retest_seeds" in more else []),
            *([f"the arm{'s' * (len(arms) > 1)} {listed(arms)}"] if arms else []),
        ]
