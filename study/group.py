"""What the tables are grouped by: the names of stages, and the arms that answer one question. Imports nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

StageName = Literal["tune", "pretext"]
TUNE: StageName = "tune"  # every study's main stage: the page's tables and verdicts are of it
PRETEXT: StageName = "pretext"
RETESTS: dict[StageName, str] = {TUNE: "retest", PRETEXT: "pretext_retest"}
"""stage -> the stage column of its retests."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Arms that answer one question. control: what the others are judged against; title: '' where it is alone."""

    title: str
    control: str | None
    arms: tuple[str, ...]
