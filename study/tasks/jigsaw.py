"""The jigsaw study: does solving puzzles first help, and when? Two stages: the puzzles, then the transfer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator

from search_spaces import jigsaw as space
from study.core.errors import StudyError
from study.core.ledger import Book, TrialRecord
from study.core.search import Search
from study.core.spec import Count, StudySpec, UserPath, option
from study.core.stage import TUNE, Group, Stage, make_stage
from study.tasks.study import Study, budget, in_force
from trainables.data.types import TuningData
from trainables.training.checkpoints import read_newest_checkpoint

PRETEXT = "pretext"
"""The name of the stage that trains on puzzles."""
_EMBEDDED = frozenset({"digits", "digit-pairs"})


class JigsawSpec(StudySpec):
    """The settings of the jigsaw study. A value of arms is an initialisation: it stands for one arm per label share."""

    task: Literal["jigsaw"] = "jigsaw"
    grid: int = option(
        2,
        "jigsaw",
        "2 or 3 tiles a side; of an image that it does not divide, the largest window that it does",
        ge=2,
        le=3,
        scope="training",
        is_repeated=True,
    )
    pretext_trials: Count | None = option(None, "jigsaw", "configurations tried for the puzzles", unit="trials")
    pretext_epochs: Count | None = option(
        None,
        "jigsaw",
        "length of the puzzles' training, and what scratch_equal_epochs trains longer",
        unit="epochs",
        is_repeated=True,
    )
    pretext_checkpoint: UserPath | None = option(
        None,
        "jigsaw",
        "a folder of checkpoints to begin with, in place of puzzles solved here; --pretext-epochs is then its own",
        metavar="DIR",
        scope="training",
        is_repeated=True,
    )
    label_fractions: tuple[float, ...] | None = option(
        None,
        "jigsaw",
        "shares of the labels to train on; default 0.01,0.1,1, and 0.1,1 on the embedded data",
        metavar="F,F",
        scope="training",
        is_repeated=True,
    )

    @field_validator("label_fractions", mode="before")
    @classmethod
    def _split_fractions(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("label_fractions")
    @classmethod
    def _true_fractions(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is None:
            return None
        if not value or not all(0 < fraction <= 1 for fraction in value):
            raise ValueError(f"must be shares above 0 and up to 1, such as 0.1,1, got {', '.join(map(str, value))}")
        if len({f"{100 * fraction:g}" for fraction in value}) < len(value):  # the form in which arms are named
            raise ValueError(f"must name each share once, got {', '.join(map(str, value))}")
        return tuple(sorted(value))


def _stages(spec: JigsawSpec, data: TuningData) -> tuple[Stage, ...]:
    """The puzzles, unless a checkpoint is given, then the transfer.

    --start and --space are about the transfer, or name an arm.
    """
    from trainables.tasks.jigsaw import PRETEXT_TASK, TRANSFER  # slow to import: torch

    assert spec.label_fractions
    assert spec.pretext_epochs
    assert spec.pretext_trials
    puzzles = space.pretext_arm(spec.grid)
    start, other_start = _divided(spec.start or {}, puzzles)
    ranges, other_ranges = _divided(spec.space or {}, puzzles)
    flip = data.flip_keeps_label
    transfer_space = space.transfer_space(
        num_train=data.num_train,
        grid=spec.grid,
        initialisations=spec.arms or (),
        fractions=spec.label_fractions,
        flip=flip,
    )
    groups = tuple(
        Group(
            title=f"{100 * fraction:g} % of the labels",
            control=space.arm_name("scratch", fraction),
            arms=tuple(space.arm_name(name, fraction) for name in spec.arms or ()),
        )
        for fraction in spec.label_fractions
    )
    arms = tuple(arm for group in groups for arm in group.arms)
    warm = frozenset(arm for arm in arms if transfer_space.arms[arm].factors["initialisation"] == "jigsaw")
    equal = {
        arm: spec.pretext_epochs
        for arm in arms
        if transfer_space.arms[arm].factors["initialisation"] == "scratch_equal_epochs"
    }
    pretext = None
    if warm and spec.pretext_checkpoint is None:
        puzzle_space = space.pretext_space(num_train=data.num_train, grid=spec.grid, flip=flip)
        pretext = make_stage(
            spec,
            name=PRETEXT,
            task=PRETEXT_TASK,
            space=in_force(spec, puzzle_space, (puzzles,), start=start, ranges=ranges),
            arms=(puzzles,),
            groups=(),
            trials_per_arm=spec.pretext_trials,
            max_epochs=spec.pretext_epochs,
        )
    transfer = make_stage(
        spec,
        name=TUNE,
        task=TRANSFER,
        space=in_force(spec, transfer_space, arms, start=other_start, ranges=other_ranges if pretext else spec.space),
        arms=arms,
        groups=groups,
        extra_epochs=equal,
        warm_arms=warm,
        before=pretext,
        start_from=str(spec.pretext_checkpoint.resolve()) if spec.pretext_checkpoint else None,
    )
    return (transfer,) if pretext is None else (pretext, transfer)


def _divided(settings: Mapping[str, str], arm: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Settings of knobs: those that name the arm, and the others."""
    of_arm = {name: value for name, value in settings.items() if name.startswith(f"{arm}.")}
    return of_arm, {name: value for name, value in settings.items() if name not in of_arm}


def _defaults(spec: JigsawSpec, dataset: str) -> Mapping[str, Any]:
    # A hundredth of the embedded data would be a few images per class.
    fractions = spec.label_fractions or ((0.1, 1.0) if dataset in _EMBEDDED else (0.01, 0.1, 1.0))
    return {"label_fractions": fractions, **_epochs_of_checkpoint(spec.pretext_checkpoint)}


def _epochs_of_checkpoint(folder: Path | None) -> Mapping[str, Any]:
    """pretext_epochs of a given checkpoint, by which scratch_equal_epochs trains longer; {} without one."""
    if folder is None:
        return {}
    state = read_newest_checkpoint(folder)
    if state is None:
        raise StudyError(f"--pretext-checkpoint: there is no intact checkpoint in {folder}")
    return {"pretext_epochs": state["learner"]["epoch"]}


def _setting(spec: JigsawSpec) -> Mapping[str, Any]:
    from trainables.tasks.jigsaw import passes_per_epoch

    return {
        "grid": spec.grid,
        "label_fractions": list(spec.label_fractions or ()),
        "pretext_epochs": spec.pretext_epochs,
        "pretext_arm": space.pretext_arm(spec.grid),
        "pretext_checkpoint": str(spec.pretext_checkpoint) if spec.pretext_checkpoint else None,
        "passes_per_epoch": {f"{fraction:g}": passes_per_epoch(fraction) for fraction in spec.label_fractions or ()},
    }


def _alone(stage: Stage, trial: TrialRecord, book: Book) -> Mapping[str, Any]:
    """The Study.alone of jigsaw. A value of --arms is an initialisation: it stands for one arm per label share."""
    factors = stage.space.arms[trial.arm].factors
    start = {f"{trial.arm}.{knob}": value for knob, value in trial.params.items()}
    settings: dict[str, Any] = {"pretext_trials": 1}
    if "label_fraction" in factors:
        settings["label_fractions"] = [factors["label_fraction"]]
    if trial.arm in stage.warm_arms and stage.before is not None:
        for before in stage.before.winners(book, Search(number=trial.search)).values():
            start |= {f"{before.arm}.{knob}": value for knob, value in before.params.items()}
    return {**settings, "arms": [factors.get("initialisation", "jigsaw")], "start": start}


JIGSAW = Study(
    name="jigsaw",
    question="does solving puzzles first help, and when?",
    spec=JigsawSpec,
    arm_names=space.INITIALISATIONS,
    default_dataset="cifar10",
    presets={
        "quick": budget(space.INITIALISATIONS, 5, 9, 3, 3, pretext_trials=6, pretext_epochs=9),
        "standard": budget(space.INITIALISATIONS, 16, 27, 3, 5, pretext_trials=16, pretext_epochs=27),
        "full": budget(space.INITIALISATIONS, 32, 81, 3, 10, pretext_trials=32, pretext_epochs=81),
    },
    stages=_stages,
    setting=_setting,
    defaults=_defaults,
    alone=_alone,
)
