"""Search spaces: start points that hold in every branch, ranges that follow choices, and proposals that are valid."""

import json
import math
from types import SimpleNamespace

import optuna
import pytest
from learner_cases import SPACE as IMBALANCE_SPACE
from study_cases import make_stage

from search_spaces import baseline, cifar100
from search_spaces.declarations import Choice, Float, Int, StartTrial
from search_spaces.space import Arm, SearchSpace
from study.engine.searcher import ArmProposer
from trainables.data.augmentation import AUGMENTATIONS, augmenter
from trainables.hparams import BaselineHparams, Cifar100Hparams, ImbalanceHparams
from trainables.models import MODELS
from trainables.parts.mixing import MIXINGS
from trainables.parts.optimizers import OPTIMIZERS
from trainables.parts.schedules import SCHEDULES
from trainables.tasks.baseline import BASELINE

BASELINE_SPACE = baseline.search_space(num_train=45_000, image_size=32, padding="valid", flip=True)
CIFAR100_SPACE = cifar100.search_space(num_train=45_000, image_size=32, model="resnet18", deeper="resnet34", flip=True)
SPACES = {
    "imbalance": (IMBALANCE_SPACE, ImbalanceHparams),
    "baseline": (BASELINE_SPACE, BaselineHparams),
    "cifar100": (CIFAR100_SPACE, Cifar100Hparams),
}
ARMS = [(task, arm) for task, (space, _) in SPACES.items() for arm in space.arms]


def proposals(space, arm, num=60):
    """[(Optuna's parameters, hyperparameters), ...] at random."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(num)]
    return [(trial, space.sample(space.arms[arm], trial)) for trial in trials]


# --- a start point


def branching(trial):
    """A range that follows a choice, a knob that only one branch has, and a choice within it."""
    optimizer = Choice("optimizer", ["sgd", "adam"], start="sgd").suggest(trial)
    rate = {
        "sgd": Float("learning_rate", 0.01, 1.0, log=True, start=0.1),
        "adam": Float("learning_rate", 1e-4, 1e-2, log=True),
    }[optimizer]
    values = {"optimizer": optimizer, "learning_rate": rate.suggest(trial)}
    if optimizer == "adam":
        values["shape"] = trial.suggest_categorical("shape", ["round", "square"])  # Optuna's own call is no less
        if values["shape"] == "square":
            values["side"] = Int("side", 2, 5).suggest(trial)
            values["tilt"] = Float("tilt", 0.0, 0.5, start=0.2).suggest(trial)
    return values


BRANCHING = SearchSpace(
    arms={name: Arm(name=name, description="an arm", factors={}) for name in ("a", "b")},
    suggest=branching,
)


def start_of(space, arm="a"):
    return space.start_point(space.arms[arm])


def test_a_start_point_holds_the_active_knobs_alone():
    assert start_of(BRANCHING) == {"optimizer": "sgd", "learning_rate": 0.1}
    assert set(BRANCHING.knobs(BRANCHING.arms["a"])) == {"optimizer", "learning_rate"}


def test_a_start_value_that_a_choice_puts_out_of_range_moves_to_the_middle():
    """0.1 is no learning rate of adam's, 1e-4 to 1e-2: the middle of the logarithmic range is 1e-3."""
    started = BRANCHING.starting_at({"optimizer": "adam"}, ("a", "b"))
    assert start_of(started) == {"optimizer": "adam", "learning_rate": pytest.approx(1e-3), "shape": "round"}
    assert started.knobs(started.arms["a"])["learning_rate"].high == 1e-2
    # Nor is one that was asked for, and the knob's own start does not come back in its place.
    asked = BRANCHING.starting_at({"learning_rate": "0.5"}, ("a",)).starting_at({"optimizer": "adam"}, ("a",))
    assert start_of(asked)["learning_rate"] == pytest.approx(1e-3)


def test_a_knob_without_a_start_value_starts_in_the_middle():
    """side: 2 to 5, the middle is 3.5, to the even number; tilt has its own start."""
    started = BRANCHING.starting_at({"shape": "square", "optimizer": "adam"}, ("a",))
    start = start_of(started)
    assert (start["side"], start["tilt"]) == (4, 0.2)
    assert start_of(started, "b") == start_of(BRANCHING, "b")  # not one of the arms named


def test_values_are_held_to_the_ranges_of_the_branch_that_the_choices_lead_to():
    values = {"learning_rate": "0.005", "side": "3", "shape": "square", "optimizer": "adam", "b.side": "5"}
    started = BRANCHING.starting_at(values, ("a", "b"))
    expected = {"optimizer": "adam", "learning_rate": 0.005, "shape": "square", "side": 3, "tilt": 0.2}
    assert start_of(started) == expected
    assert start_of(started, "b") == expected | {"side": 5}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": "adam", "learning_rate": "0.1"}, r"^learning_rate must be in \[0.0001, 0.01\], got 0.1$"),
        ({"learning_rate": "0.005"}, r"^learning_rate must be in \[0.01, 1.0\], got 0.005$"),
        ({"shape": "round"}, r"^shape is no knob of these arms; there are learning_rate, optimizer$"),
        ({"a.side": "3"}, r"^side is no knob of a; there are learning_rate, optimizer$"),
        ({"optimizer": "adam", "side": "3"}, r"^side is no knob of these arms; there are learning_rate, opt"),
        ({"optimizer": "lion"}, r"^optimizer must be one of sgd, adam, got 'lion'$"),
    ],
)
def test_a_value_that_does_not_fit_its_branch_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        BRANCHING.starting_at(values, ("a", "b"))


def test_a_start_for_an_arm_with_the_knob_leaves_the_others_alone():
    started = BRANCHING.starting_at({"a.optimizer": "adam", "side": "3", "a.shape": "square"}, ("a", "b"))
    assert start_of(started)["side"] == 3
    assert start_of(started, "b") == start_of(BRANCHING, "b")


def test_a_declared_knob_makes_the_suggest_call_that_it_stands_for():
    calls = []

    class Recorder:
        number = 0

        def __getattr__(self, name):
            return lambda *given, **options: calls.append((name, *given, options))

    Float("rate", 0.1, 1.0, log=True, start=0.5).suggest(Recorder())
    Float("share", 0.0, 1.0).suggest(Recorder())
    Int("side", 2, 5, start=3).suggest(Recorder())
    Choice("beta", (0.9, 0.99), start=0.9, scale="logit").suggest(Recorder())
    assert calls == [
        ("suggest_float", "rate", 0.1, 1.0, {"log": True}),
        ("suggest_float", "share", 0.0, 1.0, {"log": False}),
        ("suggest_int", "side", 2, 5, {"log": False}),
        ("suggest_categorical", "beta", (0.9, 0.99), {}),
    ]


# --- axes


def test_an_axis_spans_all_ranges_of_its_knob_and_knobs_of_every_branch_have_one():
    """learning_rate: sgd's 0.01 to 1 and adam's 0.0001 to 0.01; side and tilt: behind two choices."""
    expected = {
        "optimizer": {"scale": "category"},
        "learning_rate": {"scale": "log", "low": 1e-4, "high": 1.0},
        "shape": {"scale": "category"},
        "side": {"scale": "linear", "low": 2, "high": 5},
        "tilt": {"scale": "linear", "low": 0.0, "high": 0.5},
    }
    assert BRANCHING.axes(BRANCHING.arms["a"]) == expected
    started = BRANCHING.starting_at({"optimizer": "adam", "shape": "square"}, ("a",))
    assert started.axes(started.arms["a"]) == expected


def test_choices_that_are_numbers_have_ends_and_the_scale_that_is_declared():
    assert Choice("size", (16, 64, 32)).axis == {"scale": "linear", "low": 16, "high": 64, "choices": [16, 32, 64]}
    assert Choice("beta", (0.9, 0.99), scale="logit").axis == {
        "scale": "logit", "low": 0.9, "high": 0.99, "choices": [0.9, 0.99],
    }  # fmt: skip
    assert Choice("flag", (False, True)).axis == Choice("name", ("a", "b")).axis == {"scale": "category"}


@pytest.mark.parametrize(("task", "arm"), ARMS)
def test_every_knob_that_is_ever_proposed_has_an_axis_that_holds_it(task, arm):
    space = SPACES[task][0]
    axes = space.axes(space.arms[arm])
    assert json.loads(json.dumps(axes)) == axes
    for trial, _ in proposals(space, arm):
        assert set(trial.params) <= set(axes)
        for name, value in trial.params.items():
            if "low" in axes[name]:
                assert axes[name]["low"] <= value <= axes[name]["high"]
            else:
                assert axes[name] == {"scale": "category"}


def test_the_axes_of_the_baseline_hold_the_ranges_of_all_optimizers():
    """lenet's SGD goes up to 0.3, RMSprop down to 3e-5; AdamW's decay up to 0.5, Adam's down to 1e-6."""
    axes = BASELINE_SPACE.axes(BASELINE_SPACE.arms["lenet"])
    assert axes["learning_rate"] == {"scale": "log", "low": 3e-5, "high": 0.3}
    assert axes["weight_decay"] == {"scale": "log", "low": 1e-6, "high": 0.5}
    assert axes["momentum"] == {"scale": "linear", "low": 0.0, "high": 0.97}
    assert {"cutout_length", "randaugment_num_ops", "warmup"} <= set(axes)
    by_optimizer = BASELINE_SPACE.ranges_by_choice(BASELINE_SPACE.arms["lenet"])
    assert set(by_optimizer) == {"learning_rate", "momentum", "weight_decay"}
    assert by_optimizer["learning_rate"]["choice"] == "optimizer"
    assert by_optimizer["learning_rate"]["ranges"] == {
        "sgd": [0.003, 0.3], "adam": [3e-4, 1e-2], "adamw": [3e-4, 1e-2], "rmsprop": [3e-5, 3e-3],
    }  # fmt: skip
    assert IMBALANCE_SPACE.ranges_by_choice(IMBALANCE_SPACE.arms["focal"]) == {}
    beta = IMBALANCE_SPACE.axes(IMBALANCE_SPACE.arms["class_balanced"])["class_weight_beta"]
    assert beta == {"scale": "logit", "low": 0.99, "high": 0.99999, "choices": [0.99, 0.999, 0.9999, 0.99999]}


# --- every space


class Told(StartTrial):
    """Remembers where each knob is declared to start."""

    def __init__(self, values):
        super().__init__(values)
        self.told = {}

    def take(self, knob):
        self.told[knob.name] = knob.start
        return super().take(knob)


@pytest.mark.parametrize(("task", "arm"), ARMS)
def test_every_arm_starts_where_it_says_and_says_where_every_knob_starts(task, arm):
    space, hparams = SPACES[task]
    trial = Told({})
    space.sample(space.arms[arm], trial)
    start = space.start_point(space.arms[arm])
    assert start == trial.told
    study = optuna.create_study()
    study.enqueue_trial(start)
    hparams(**space.sample(space.arms[arm], study.ask()))  # raises if not valid


@pytest.mark.parametrize(("task", "arm"), ARMS)
def test_whatever_is_proposed_is_valid_and_names_entries_of_the_tables(task, arm):
    space, hparams = SPACES[task]
    for _, proposed in proposals(space, arm):
        assert {"learning_rate", "momentum", "weight_decay"} <= set(proposed)
        valid = hparams(**proposed)
        assert valid.model in MODELS
        assert valid.optimizer in OPTIMIZERS
        assert valid.schedule in SCHEDULES
        assert valid.mixing in MIXINGS
        assert (valid.mixing_alpha is None) == (valid.mixing == "none")
        augmenter(valid.augmentation, dict(valid))
        assert (valid.cutout_length is None) == ("cutout" not in valid.augmentation)
        assert (valid.randaugment_num_ops is None) == ("randaugment" not in valid.augmentation)


@pytest.mark.parametrize(("task", "arm"), ARMS)
def test_every_arm_says_what_it_does_in_a_line(task, arm):
    declared = SPACES[task][0].arms[arm]
    assert declared.name == arm
    assert 15 < len(declared.description) < 121
    assert "\n" not in declared.description


@pytest.mark.parametrize("make", [baseline.search_space, cifar100.search_space], ids=["baseline", "cifar100"])
def test_images_whose_mirror_image_is_of_another_class_are_never_flipped(make):
    options = {"padding": "same"} if make is baseline.search_space else {"model": "resnet20", "deeper": "resnet32"}
    seen = {}
    for flip in (True, False):
        space = make(num_train=1000, image_size=32, flip=flip, **options)
        seen[flip] = {h["augmentation"] for arm in space.arms for _, h in proposals(space, arm)}
    assert not any("flip" in name for name in seen[False])
    assert {name.replace("_flip", "") for name in seen[True]} == seen[False]
    assert seen[True] | seen[False] <= set(AUGMENTATIONS)


@pytest.mark.parametrize(
    ("num_train", "sizes", "start"),
    [(4999, {16, 32, 64}, 32), (5000, {64, 128, 256}, 128), (20_000, {128, 256, 512}, 128)],
)
def test_more_images_come_in_larger_batches(num_train, sizes, start):
    space = baseline.search_space(num_train=num_train, image_size=32, padding="same", flip=True)
    assert set(space.knobs(space.arms["lenet"])["batch_size"].choices) == sizes
    assert space.start_point(space.arms["lenet"])["batch_size"] == start


# --- baseline

RANGES = {  # REFERENCE: a residual network's SGD, a small network's, and the same of the others for both
    ("resnet", "sgd"): ((0.01, 1.0), (0.7, 0.97), (1e-5, 1e-2)),
    ("small", "sgd"): ((0.003, 0.3), (0.7, 0.97), (1e-5, 1e-2)),
    "adam": ((3e-4, 1e-2), (0.7, 0.97), (1e-6, 1e-3)),
    "adamw": ((3e-4, 1e-2), (0.7, 0.97), (1e-3, 0.5)),
    "rmsprop": ((3e-5, 3e-3), (0.0, 0.9), (1e-6, 1e-3)),
}


@pytest.mark.parametrize("arm", BASELINE_SPACE.arms)
def test_every_optimizer_has_its_own_ranges_under_the_same_names(arm):
    size = "small" if arm in {"lenet", "small_cnn"} else "resnet"
    seen = set()
    for trial, proposed in proposals(BASELINE_SPACE, arm):
        optimizer = proposed["optimizer"]
        seen.add(optimizer)
        knobs = [trial.distributions[name] for name in ("learning_rate", "momentum", "weight_decay")]
        expected = RANGES[(size, "sgd") if optimizer == "sgd" else optimizer]
        assert tuple((knob.low, knob.high) for knob in knobs) == expected
        assert [knob.log for knob in knobs] == [True, False, True]
    assert seen == {"sgd", "adam", "adamw", "rmsprop"}


def test_the_baseline_s_arms_are_models_and_small_cnn_alone_has_dropout_and_padding():
    assert list(BASELINE_SPACE.arms) == ["lenet", "small_cnn", "resnet9", "resnet18", "resnet20", "ultranet18"]
    for name, arm in BASELINE_SPACE.arms.items():
        assert arm.factors == {"model": name}
        proposed = proposals(BASELINE_SPACE, name, num=1)[0][1]
        assert proposed["model"] == name
        assert proposed.get("padding") == ("valid" if name == "small_cnn" else None)
        assert ("dropout" in proposed) == (name == "small_cnn")


def test_the_baseline_searches_every_schedule_and_augmentation_it_should():
    seen = [proposed for _, proposed in proposals(BASELINE_SPACE, "resnet9", num=100)]
    assert {p["schedule"] for p in seen} == {"constant", "multi_step", "cosine", "one_cycle"}
    assert all(("warmup" in p) == (p["schedule"] != "one_cycle") for p in seen)
    assert {p["augmentation"] for p in seen} == {
        "none",
        "crop_flip",
        "resized_crop_flip",
        "crop_flip_cutout",
        "crop_flip_randaugment",
    }
    assert {p.get("cutout_length") for p in seen} == {None, 8, 12, 16}
    assert {p.get("randaugment_num_ops") for p in seen} == {None, 1, 2}


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes", "gp", "grid"])
def test_a_replayed_study_proposes_the_same_where_ranges_follow_choices(sampler):
    """A study of an arm, killed before each of its last trials and rebuilt from what was proposed and found."""
    num_trials = 5 if sampler == "gp" else 7  # a proposal of gp costs a hundred times one of the others
    arm = BASELINE_SPACE.arms["small_cnn"]
    stage = make_stage(
        arms=(arm.name,), task=BASELINE, space=BASELINE_SPACE, searcher=sampler, trials_per_arm=num_trials
    )

    def found(number, hparams):
        value = 0.5 - 0.1 * abs(math.log10(hparams["learning_rate"]) + 2)
        epochs = [{"epoch": 1, "val_accuracy": value}]
        return SimpleNamespace(trial_id=str(number), epochs=epochs, status="completed", value=lambda metric: value)

    whole, history = ArmProposer(stage=stage, arm=arm), []
    for number in range(num_trials):
        history.append(whole.ask(number, str(number)))
        whole.tell(found(number, history[-1][1]))
    if sampler != "grid":
        assert len({hparams["optimizer"] for _, hparams in history}) > 1
    for kill in range(4, num_trials, 2):
        rebuilt = ArmProposer(stage=stage, arm=arm)
        for number in range(kill):
            rebuilt.ask(number, str(number), known=history[number][0])
            rebuilt.tell(found(number, history[number][1]))
        assert rebuilt.ask(kill, str(kill)) == history[kill]


# --- cifar100


def knobs_of(arm):
    return set(CIFAR100_SPACE.knobs(CIFAR100_SPACE.arms[arm]))


def test_the_arms_of_cifar100_add_up():
    assert list(CIFAR100_SPACE.arms) == ["memorise", "plain", "augmented", "regularised", "both", "deeper"]
    assert knobs_of("memorise") == {"learning_rate", "momentum"}
    assert knobs_of("plain") == {"learning_rate", "momentum", "weight_decay", "batch_size"}
    augmented = knobs_of("augmented") - knobs_of("plain")
    regularised = knobs_of("regularised") - knobs_of("plain")
    assert augmented == {"augmentation", "randaugment_num_ops", "randaugment_magnitude"}
    assert regularised == {"label_smoothing", "mixing", "mixing_alpha", "drop_path"}
    assert knobs_of("both") == knobs_of("deeper") == knobs_of("plain") | augmented | regularised


def test_memorise_has_nothing_that_helps_to_generalise():
    for _, proposed in proposals(CIFAR100_SPACE, "memorise"):
        hparams = Cifar100Hparams(**proposed)
        assert hparams.augmentation == hparams.mixing == "none"
        assert hparams.weight_decay == hparams.label_smoothing == 0
        assert hparams.drop_path is None
        assert hparams.batch_size == 2048  # 45,000 in steps of 24 are 1,875


@pytest.mark.parametrize(("num_train", "batch_size"), [(45_000, 2048), (1000, 32), (100, 16)])
def test_memorise_takes_about_24_steps_an_epoch(num_train, batch_size):
    space = cifar100.search_space(num_train=num_train, image_size=32, model="resnet20", deeper="resnet32", flip=False)
    assert proposals(space, "memorise", num=1)[0][1]["batch_size"] == batch_size


def test_only_deeper_is_deeper():
    for name, arm in CIFAR100_SPACE.arms.items():
        model = "resnet34" if name == "deeper" else "resnet18"
        assert arm.factors["model"] == model
        assert proposals(CIFAR100_SPACE, name, num=1)[0][1]["model"] == model
    factors = {tuple(arm.factors.items()) for arm in CIFAR100_SPACE.arms.values()}
    assert len(factors) == 6


# --- imbalance


@pytest.mark.parametrize("arm", ["ldam_drw", "deferred_sampling", "mixup_drw", "remix_drw", "crt"])
def test_no_trial_is_stopped_before_its_late_phase_has_had_an_epoch(arm):
    """0.8 of 9 epochs are 7: the late phase is 8 and 9. With 0.6: 5 epochs before it."""
    knob = "head_start" if arm == "crt" else "reweight_start"
    stoppable = IMBALANCE_SPACE.arms[arm].first_stoppable_epoch
    assert IMBALANCE_SPACE.start_point(IMBALANCE_SPACE.arms[arm])[knob] == 0.8
    assert stoppable({knob: 0.8}, 9) == 8
    assert stoppable({knob: 0.6}, 9) == 6


@pytest.mark.parametrize("arm", ["none", "progressive_sampler", "logit_adjustment"])
def test_trials_without_a_late_phase_may_be_stopped_from_the_first_epoch(arm):
    assert IMBALANCE_SPACE.arms[arm].first_stoppable_epoch({}, 9) == 1


@pytest.mark.parametrize(("image_size", "lengths"), [(32, [8, 12, 16]), (16, [4, 6, 8]), (64, [16, 24, 32])])
def test_cutout_hides_as_large_a_part_of_an_image_of_any_size(image_size, lengths):
    space = baseline.search_space(num_train=1000, image_size=image_size, padding="same", flip=False)
    arm = space.starting_at({"augmentation": "crop_cutout"}, ("lenet",)).arms["lenet"]
    assert list(space.knobs(arm)["cutout_length"].choices) == lengths


def test_every_optimiser_is_tried_first_whichever_one_starts():
    for first in ("sgd", "adamw"):
        space = BASELINE_SPACE.starting_at({"optimizer": first}, ("lenet",))
        tried = [point["optimizer"] for point in space.start_points(space.arms["lenet"])]
        assert tried[0] == first
        assert sorted(tried) == ["adam", "adamw", "rmsprop", "sgd"]
