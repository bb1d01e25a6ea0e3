"""STUDIES: the one registry. A study is a spec, its stages, the data they are given and its default budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from search_spaces import baseline as baseline_space
from search_spaces import cifar100 as cifar100_space
from search_spaces import imbalance as imbalance_space
from search_spaces import jigsaw as jigsaw_space
from search_spaces.arms import SearchSpace
from search_spaces.knobs import crop
from study.errors import StudyError, nearest
from study.group import PRETEXT, TUNE, Group
from study.lr_range_files import start_refused
from study.spec import BaselineSpec, Cifar100Spec, ImbalanceSpec, JigsawSpec, StudySpec
from study.stage import Stage, make_stage
from trainables.baseline import BASELINE
from trainables.checkpoints import read_newest_checkpoint
from trainables.cifar100 import CIFAR100
from trainables.data.sources import load_dataset, resolve_dataset
from trainables.data.splits import Thinned, thinned_counts, tuning_data, whole
from trainables.data.types import ImageDataset, TuningData
from trainables.imbalance import IMBALANCE
from trainables.jigsaw import PRETEXT_TASK, TRANSFER, passes_per_epoch

_EMBEDDED = frozenset({"digits", "digit-pairs"})


def _no_defaults(spec: Any, dataset: str) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Study:
    """What python -m study.run TASK runs.

    question: what it answers, for --help. arm_names: the values of --arms; aliases: other names for them. models: of
    --model, where the spec has one. presets: what --budget sets; defaults(spec, dataset): what follows from the data
    set that was found. stages(spec, data): the experiments, in order, the one named TUNE last. thinned(spec): class
    counts -> the counts that the training set is thinned to. setting(spec): what the page says of the task's own
    options.
    """

    name: str
    question: str
    spec: type[StudySpec]
    arm_names: tuple[str, ...]
    aliases: Mapping[str, str]
    default_dataset: str
    embedded_dataset: str
    models: tuple[str, ...]
    presets: Mapping[str, Mapping[str, Any]]
    stages: Callable[[Any, TuningData], tuple[Stage, ...]]
    thinned: Callable[[Any], Thinned]
    setting: Callable[[Any], Mapping[str, Any]]
    defaults: Callable[[Any, str], Mapping[str, Any]] = _no_defaults


def _budget(arms: tuple[str, ...], trials: int, epochs: int, grace: int, seeds: int, **own: Any) -> dict[str, Any]:
    return {
        "arms": arms,
        "trials_per_arm": trials,
        "max_epochs": epochs,
        "grace_epochs": grace,
        "reduction_factor": 3,
        "retest_seeds": seeds,
        **own,
    }


def _one_stage(spec: StudySpec, task: Any, space: SearchSpace, control: str) -> tuple[Stage, ...]:
    arms = spec.arms or ()
    group = Group(title="", control=control, arms=arms)
    return (
        make_stage(
            spec, name=TUNE, task=task, space=_starting(spec, space, spec.start, arms), arms=arms, groups=(group,)
        ),
    )


def _starting(
    spec: StudySpec, space: SearchSpace, start: Mapping[str, str] | None, arms: tuple[str, ...]
) -> SearchSpace:
    try:
        return space.starting_at(start, arms) if start else space
    except ValueError as error:
        raise StudyError(start_refused(spec, str(error))) from None


# --- baseline -----------------------------------------------------------------------------------------------

_MODELS = tuple(arm.name for arm in baseline_space.ARMS)


def _baseline_stages(spec: BaselineSpec, data: TuningData) -> tuple[Stage, ...]:
    space = baseline_space.search_space(
        num_train=data.num_train,
        image_size=data.image_size,
        padding=spec.padding,
        flip=data.flip_keeps_label,
    )
    return _one_stage(spec, BASELINE, space, "lenet")


# --- imbalance ----------------------------------------------------------------------------------------------

_REMEDIES = tuple(arm.name for arm in imbalance_space.ARMS)
_QUICK_REMEDIES = ("none", "copy", "weighted_loss", "class_balanced", "weighted_sampler", "balanced_softmax")


def _imbalance_stages(spec: ImbalanceSpec, data: TuningData) -> tuple[Stage, ...]:
    space = imbalance_space.search_space(
        num_train=data.num_train,
        model=spec.model,
        augmentation=crop(data.flip_keeps_label),
    )
    return _one_stage(spec, IMBALANCE, space, "none")


def _imbalanced(spec: ImbalanceSpec) -> Thinned:
    return partial(
        thinned_counts, imbalance=spec.imbalance, ratio=spec.imbalance_ratio, minority=spec.imbalance_classes
    )


# --- jigsaw -------------------------------------------------------------------------------------------------


def _jigsaw_stages(spec: JigsawSpec, data: TuningData) -> tuple[Stage, ...]:
    """The puzzles, unless they are solved already, then the transfer. --start means transfer, or names its arm."""
    assert spec.label_fractions
    assert spec.pretext_epochs
    assert spec.pretext_trials
    puzzles = jigsaw_space.pretext_arm(spec.grid)
    start = spec.start or {}
    of_puzzles = {knob: value for knob, value in start.items() if knob.startswith(f"{puzzles}.")}
    of_transfer = {knob: value for knob, value in start.items() if knob not in of_puzzles}
    flip = data.flip_keeps_label
    transfer_space = jigsaw_space.transfer_space(
        num_train=data.num_train,
        grid=spec.grid,
        initialisations=spec.arms or (),
        fractions=spec.label_fractions,
        flip=flip,
    )
    groups = tuple(
        Group(
            title=f"{100 * fraction:g} % of the labels",
            control=jigsaw_space.arm_name("scratch", fraction),
            arms=tuple(jigsaw_space.arm_name(name, fraction) for name in spec.arms or ()),
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
        space = jigsaw_space.pretext_space(num_train=data.num_train, grid=spec.grid, flip=flip)
        pretext = make_stage(
            spec,
            name=PRETEXT,
            task=PRETEXT_TASK,
            space=_starting(spec, space, of_puzzles, (puzzles,)),
            arms=(puzzles,),
            groups=(),
            trials_per_arm=spec.pretext_trials,
            max_epochs=spec.pretext_epochs,
        )
    transfer = make_stage(
        spec,
        name=TUNE,
        task=TRANSFER,
        space=_starting(spec, transfer_space, of_transfer, arms),
        arms=arms,
        groups=groups,
        extra_epochs=equal,
        warm_arms=warm,
        before=pretext,
        start_from=str(spec.pretext_checkpoint.resolve()) if spec.pretext_checkpoint else None,
    )
    return (transfer,) if pretext is None else (pretext, transfer)


def _jigsaw_defaults(spec: JigsawSpec, dataset: str) -> Mapping[str, Any]:
    # A hundredth of the embedded data would be a few images a class.
    fractions = spec.label_fractions or ((0.1, 1.0) if dataset in _EMBEDDED else (0.01, 0.1, 1.0))
    return {"label_fractions": fractions, **_epochs_of_checkpoint(spec.pretext_checkpoint)}


def _epochs_of_checkpoint(folder: Path | None) -> Mapping[str, Any]:
    """How long puzzles that are solved already took: so much longer scratch_equal_epochs trains."""
    if folder is None:
        return {}
    state = read_newest_checkpoint(folder)
    if state is None:
        raise StudyError(f"--pretext-checkpoint: there is no intact checkpoint in {folder}")
    return {"pretext_epochs": state["learner"]["epoch"]}


def _jigsaw_setting(spec: JigsawSpec) -> Mapping[str, Any]:
    return {
        "grid": spec.grid,
        "label_fractions": list(spec.label_fractions or ()),
        "pretext_epochs": spec.pretext_epochs,
        "pretext_arm": jigsaw_space.pretext_arm(spec.grid),
        "pretext_checkpoint": str(spec.pretext_checkpoint) if spec.pretext_checkpoint else None,
        "passes_per_epoch": {f"{fraction:g}": passes_per_epoch(fraction) for fraction in spec.label_fractions or ()},
    }


# --- cifar100 -----------------------------------------------------------------------------------------------

_DEEPER = {"resnet20": "resnet32", "resnet18": "resnet34"}
_RECIPES = tuple(arm.name for arm in cifar100_space.ARMS)


def _cifar100_stages(spec: Cifar100Spec, data: TuningData) -> tuple[Stage, ...]:
    assert spec.model
    space = cifar100_space.search_space(
        num_train=data.num_train,
        image_size=data.image_size,
        model=spec.model,
        deeper=_DEEPER[spec.model],
        flip=data.flip_keeps_label,
    )
    return _one_stage(spec, CIFAR100, space, "memorise")


STUDIES: Mapping[str, Study] = {
    study.name: study
    for study in (
        Study(
            name="baseline",
            question="which model and optimiser, and how good?",
            spec=BaselineSpec,
            arm_names=_MODELS,
            aliases={"resnet8blocks": "resnet18"},
            default_dataset="cifar10",
            embedded_dataset="digits",
            models=(),
            presets={
                "quick": _budget(("lenet", "small_cnn", "resnet9"), 6, 6, 2, 3),
                "standard": _budget(_MODELS, 16, 27, 3, 5),
                "full": _budget(_MODELS, 48, 81, 3, 10),
            },
            stages=_baseline_stages,
            thinned=lambda spec: whole,
            setting=lambda spec: {"padding": spec.padding},
        ),
        Study(
            name="imbalance",
            question="which remedy for class imbalance works?",
            spec=ImbalanceSpec,
            arm_names=_REMEDIES,
            aliases={},
            default_dataset="cifar10",
            embedded_dataset="digits",
            models=("small_cnn", "resnet18", "resnet32", "ultranet18"),
            presets={
                "quick": _budget(_QUICK_REMEDIES, 6, 9, 3, 3),
                "standard": _budget(_REMEDIES, 16, 27, 3, 5),
                "full": _budget(_REMEDIES, 48, 81, 3, 10),
            },
            stages=_imbalance_stages,
            thinned=_imbalanced,
            setting=lambda spec: {
                "kind": spec.imbalance,
                "ratio": spec.imbalance_ratio,
                "classes": spec.imbalance_classes,
            },
        ),
        Study(
            name="jigsaw",
            question="does solving puzzles first help, and when?",
            spec=JigsawSpec,
            arm_names=jigsaw_space.INITIALISATIONS,
            aliases={},
            default_dataset="cifar10",
            embedded_dataset="digits",
            models=(),
            presets={
                "quick": _budget(jigsaw_space.INITIALISATIONS, 5, 9, 3, 3, pretext_trials=6, pretext_epochs=9),
                "standard": _budget(jigsaw_space.INITIALISATIONS, 16, 27, 3, 5, pretext_trials=16, pretext_epochs=27),
                "full": _budget(jigsaw_space.INITIALISATIONS, 32, 81, 3, 10, pretext_trials=32, pretext_epochs=81),
            },
            stages=_jigsaw_stages,
            thinned=lambda spec: whole,
            setting=_jigsaw_setting,
            defaults=_jigsaw_defaults,
        ),
        Study(
            name="cifar100",
            question="from memorising to generalising: what makes a network generalise?",
            spec=Cifar100Spec,
            arm_names=_RECIPES,
            aliases={},
            default_dataset="cifar100",
            embedded_dataset="digit-pairs",
            models=tuple(_DEEPER),
            presets={
                "quick": _budget(_RECIPES[:5], 3, 8, 2, 3, model="resnet20"),
                "standard": _budget(_RECIPES, 12, 54, 6, 3, model="resnet18"),
                "full": _budget(_RECIPES, 24, 200, 8, 5, model="resnet18"),
            },
            stages=_cifar100_stages,
            thinned=lambda spec: whole,
            setting=lambda spec: {"model": spec.model, "deeper": _DEEPER[spec.model or ""]},
        ),
    )
}


def find_study(name: str) -> Study:
    """Raises StudyError with the nearest name."""
    if name not in STUDIES:
        raise StudyError(f"task must be one of {', '.join(STUDIES)}, got {name!r}{nearest(name, STUDIES)}")
    return STUDIES[name]


def chosen_arms(study: Study, names: tuple[str, ...]) -> tuple[str, ...]:
    """The arms of --arms, 'all' included. Raises StudyError for an unknown, repeated or missing one."""
    if names == ("all",):
        return study.arm_names
    names = tuple(study.aliases.get(name, name) for name in names)
    for name in names:
        if name not in study.arm_names:
            raise StudyError(
                f"--arms must be all or some of {', '.join(study.arm_names)}, got {name!r}"
                f"{nearest(name, study.arm_names)}"
            )
    if len(set(names)) < len(names):
        raise StudyError(f"--arms must name each arm once, got {', '.join(names)}")
    return names


def load_data(study: Study, spec: StudySpec) -> tuple[ImageDataset, TuningData, str]:
    """The data set, what tuning is given of it, and its name or path. Raises StudyError or DataError."""
    options: dict[str, Any] = {
        "data_root": spec.data_root,
        "download": spec.download,
        "default": study.default_dataset,
        "embedded": study.embedded_dataset,
        "image_size": spec.image_size,
    }
    found = resolve_dataset(spec.dataset, **options)
    dataset = load_dataset(spec.dataset, **options)
    try:
        data = tuning_data(dataset, thinned=study.thinned(spec), subset_seed=spec.seed)
    except ValueError as error:
        raise StudyError(f"{dataset.name}: {error}") from None
    return dataset, data, found.name or str(found.path)
