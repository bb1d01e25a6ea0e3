"""ReproductionSpec: what study.reproduce is told."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from study.core.spec import REPRODUCE, Count, RunSpec, UserPath, option

OWN_DATASET = "own"


class ReproductionSpec(RunSpec):
    """A reproduction: which recipes, on how many seeds, at which scale, and what their numbers are set beside.

    scale: of a run, a recipe or a source (s0 to s4) by name, and of "all" others.
    """

    task: Literal["reproduce"] = REPRODUCE
    recipes: tuple[str, ...] = ()  # the command's own arguments
    dataset: str = option(
        OWN_DATASET,
        "data",
        "own: each recipe's own; else a name or PATH to take in its place, such as digits: its numbers do not compare "
        "with the reports'",
        scope="training",
    )
    seeds: Count = option(3, "budget", "how often each run is trained, every time from fresh weights", unit="seeds")
    scale: dict[str, float] = option(
        {"all": 1.0},
        "budget",
        "share of the epochs and of the images of each class: a number, or 1,s0=0.1 for one and a source, recipe or "
        "run otherwise; never below one epoch and 20 images a class before thinning",
        metavar="SHARE",
    )
    variants: bool = option(True, "budget", "also train the corrected recipes and the cells of the ablations")
    tuned: tuple[UserPath, ...] = option(
        (), "budget", "run directories of studies whose tuned arms stand beside the recipes", metavar="RUN,RUN"
    )

    reuse: tuple[UserPath, ...] = option(
        (),
        "budget",
        "run directories of earlier reproductions: what they trained is taken over where training, seed and images are "
        "the same, and the page says from where",
        metavar="RUN,RUN",
    )

    @field_validator("scale", mode="before")
    @classmethod
    def _split_scale(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [part.strip().rpartition("=") for part in value.split(",")]
        names = [name or "all" for name, _, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError(f"must give one share for each name, got {value!r}")
        return {name: share for name, (_, _, share) in zip(names, pairs, strict=True)}

    @field_validator("scale")
    @classmethod
    def _true_scale(cls, value: dict[str, float]) -> dict[str, float]:
        if not all(0 < share <= 1 for share in value.values()):
            raise ValueError(f"must be shares above 0 and up to 1, got {', '.join(map(str, value.values()))}")
        return {"all": 1.0, **value}

    @field_validator("tuned", "reuse", mode="before")
    @classmethod
    def _split_folders(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value
