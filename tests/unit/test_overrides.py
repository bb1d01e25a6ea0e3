"""Ranges that a user sets: what they do to a space, which of several counts, and what is refused in which words."""

import optuna
import pytest
from learner_cases import SPACE as IMBALANCE_SPACE
from study_cases import make_stage
from test_search_spaces import BASELINE_SPACE, BRANCHING, CIFAR100_SPACE

from search_spaces.declarations import Choice, Float, Int
from search_spaces.overrides import parsed, range_text
from search_spaces.space import Arm, SearchSpace, each_of
from study.core.errors import StudyError
from study.engine.optuna_names import OptunaNames
from study.engine.searcher import grid_points

PLAIN = SearchSpace(
    arms={
        "a": Arm(name="a", description="", factors={}, suggest=each_of(Float("own", 0, 1))),
        "b": Arm(name="b", description="", factors={}, fixed={"loss": "focal"}),
    },
    suggest=lambda trial: {
        "augmentation": "crop",
        "warmup": 0.05,
        **each_of(
            Float("rate", 0.01, 0.3, log=True, start=0.05),
            Int("side", 2, 5, start=3),
            Choice("size", (16, 32, 64), start=32),
            Choice("flag", (False, True), start=False),
            Choice("schedule", ("cosine", "linear"), start="cosine"),
        )(trial),
    },
)  # fmt: skip
ARMS = ("a", "b")


def knobs(space, arm="a"):
    return {name: range_text(distribution) for name, distribution in space.knobs(space.arms[arm]).items()}


def overridden(**entries):
    return PLAIN.overridden(entries, ARMS)


@pytest.mark.parametrize(
    ("knob", "text", "expected"),
    [
        ("rate", "1e-3..0.5", "0.001..0.5:log"),  # the knob's own scale is kept
        ("rate", "0..0.5:linear", "0.0..0.5"),
        ("rate", "0.05|0.1", "0.05|0.1"),
        ("side", "1..9", "1..9"),
        ("side", "1..9:log", "1..9:log"),
        ("size", "32|128", "32|128"),
        ("size", "16..128:log", "16..128:log"),
        ("schedule", "linear|cosine", "linear|cosine"),
    ],
)
def test_a_knob_is_searched_where_the_user_says_and_starts_where_it_did(knob, text, expected):
    space = overridden(**{knob: text})
    for arm in ARMS:
        assert knobs(space, arm) == knobs(PLAIN, arm) | {knob: expected}
        assert space.start_point(space.arms[arm]) == PLAIN.start_point(PLAIN.arms[arm])
        space.require_starts(space.arms[arm])
    assert knobs(PLAIN)["rate"] == "0.01..0.3:log"  # the space itself is as it was


def test_proposals_and_axes_are_of_the_ranges_in_force():
    space = overridden(rate="1e-4..1e-3:log", side="5")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    rates = [space.sample(space.arms["a"], study.ask())["rate"] for _ in range(30)]
    assert 1e-4 <= min(rates) < max(rates) <= 1e-3
    assert space.axes(space.arms["a"])["rate"] == {"scale": "log", "low": 1e-4, "high": 1e-3}


@pytest.mark.parametrize(("knob", "text", "value"), [("rate", "0.2", 0.2), ("side", "9", 9), ("flag", "true", True)])
def test_a_fixed_knob_is_in_every_configuration_and_no_longer_searched(knob, text, value):
    space = overridden(**{knob: text})
    assert space.start_hparams(space.arms["b"])[knob] == value
    assert knob not in knobs(space, "b")
    with pytest.raises(ValueError, match=f"^{knob} has no start, for {knob}={text} fixes it$"):
        space.starting_at({knob: "1"}, ARMS)


@pytest.mark.parametrize("text", ["true", "True"])
def test_true_is_written_as_in_toml_or_as_in_python(text):
    """The command of a winner has Python's, a spec file TOML's."""
    space = overridden(flag=text)
    assert space.start_hparams(space.arms["a"])["flag"] is True
    started = PLAIN.starting_at({"flag": text}, ARMS)
    assert started.start_hparams(started.arms["a"])["flag"] is True


def test_an_entry_that_names_an_arm_is_about_it_alone_and_comes_before_one_for_all():
    space = PLAIN.overridden({"b.rate": "0.05..0.06", "rate": "0.05..0.2", "own": "0.5"}, ARMS)
    assert (knobs(space, "a")["rate"], knobs(space, "b")["rate"]) == ("0.05..0.2:log", "0.05..0.06:log")
    assert space.start_hparams(space.arms["a"])["own"] == 0.5
    assert "own" not in space.start_hparams(space.arms["b"])  # which never had it


def test_what_a_space_holds_still_can_be_varied_in_all_arms():
    space = overridden(augmentation="none|crop", warmup="0..0.1")
    assert knobs(space, "b") == knobs(PLAIN, "b") | {"augmentation": "none|crop", "warmup": "0.0..0.1"}
    start = space.start_hparams(space.arms["b"])
    assert (start["augmentation"], start["warmup"]) == ("crop", 0.05)


def test_what_one_arm_holds_still_and_others_vary_is_touched_by_its_own_entry_alone():
    """cifar100's arm memorise trains without weight decay, whatever is searched in the others."""
    both = ("memorise", "plain")
    space = CIFAR100_SPACE.overridden({"weight_decay": "1e-4..1e-2"}, both)
    assert space.start_hparams(space.arms["memorise"])["weight_decay"] == 0.0
    assert knobs(space, "plain")["weight_decay"] == "0.0001..0.01:log"
    space = CIFAR100_SPACE.overridden({"memorise.weight_decay": "0..1e-2"}, both)
    assert knobs(space, "memorise")["weight_decay"] == "0.0..0.01"


# --- ranges that hang on a choice


def rate_ranges(entries):
    """optimizer -> the range of learning_rate in the branches of arm a."""
    space = BRANCHING.overridden(entries, ("a",))
    branches = space.branches(space.arms["a"])
    return {
        branch.params.get("optimizer", "fixed"): range_text(branch.distributions["learning_rate"])
        for branch in branches
    }


def test_an_entry_without_a_choice_holds_in_every_branch_and_one_with_it_in_that_branch():
    assert rate_ranges({}) == {"sgd": "0.01..1.0:log", "adam": "0.0001..0.01:log"}
    assert rate_ranges({"learning_rate": "1e-3..0.5"}) == {"sgd": "0.001..0.5:log", "adam": "0.001..0.5:log"}
    assert rate_ranges({"learning_rate@adam": "1e-5..1"}) == {"sgd": "0.01..1.0:log", "adam": "1e-05..1.0:log"}
    both = {"learning_rate@adam": "1e-5..1e-2", "learning_rate": "0.1..0.2"}
    assert rate_ranges(both) == {"sgd": "0.1..0.2:log", "adam": "1e-05..0.01:log"}
    assert rate_ranges({"optimizer": "adam", "learning_rate@adam": "1e-5..1"}) == {"fixed": "1e-05..1.0:log"}


def test_an_arms_own_entry_comes_before_one_of_a_choice_for_all():
    entries = {"a.learning_rate": "0.1..0.2", "a.learning_rate@adam": "0.1..0.3", "learning_rate@sgd": "0.1..0.4"}
    space = BRANCHING.overridden(entries, ("a", "b"))
    assert knobs(space, "a")["learning_rate"] == "0.1..0.2:log"
    assert knobs(space, "b")["learning_rate"] == "0.1..0.4:log"


def test_a_range_for_every_branch_has_one_name_inside_optuna():
    """One range again, so that a sampler learns from the trials of all optimisers."""
    space = BASELINE_SPACE.overridden({"learning_rate": "1e-4..1:log"}, ("lenet",))
    names = OptunaNames(space.branches(space.arms["lenet"])).distributions
    assert [name for name in names if name.startswith("learning_rate")] == ["learning_rate"]
    own = BASELINE_SPACE.overridden({"learning_rate@adam": "1e-4..1:log"}, ("lenet",))
    names = OptunaNames(own.branches(own.arms["lenet"])).distributions
    assert (names["learning_rate[adam]"].low, names["learning_rate[adamw]"].low) == (1e-4, 3e-4)


def test_alternatives_that_were_ruled_out_are_not_tried():
    space = BASELINE_SPACE.overridden({"optimizer": "sgd|adam"}, ("lenet",))
    assert [point["optimizer"] for point in space.start_points(space.arms["lenet"])] == ["sgd", "adam"]


def test_a_grid_of_knobs_that_are_all_fixed_is_the_start():
    space = IMBALANCE_SPACE.overridden({"learning_rate": "0.1"}, ("none",))
    points = grid_points(space, space.arms["none"], 4)
    assert points == [space.start_point(space.arms["none"])] * len(points)


# --- refused


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rate", "0.5..0.1", "rate=0.5..0.1 is upside down: the lower end comes first"),
        ("rate", "0.1..0.1", "rate=0.1..0.1 is no range; rate=0.1 fixes the value"),
        ("rate", "low..high", "rate=low..high must run from one number to another"),
        ("rate", "0..inf", "rate=0..inf must be of finite numbers"),
        ("rate", "0..1:cubic", "rate=0..1:cubic must be LOW..HIGH, LOW..HIGH:log or LOW..HIGH:linear"),
        ("rate", "0.1||0.2", "rate=0.1||0.2 must be LOW..HIGH, LOW..HIGH:log, A|B|C or one value"),
        ("a.", "1", "a.=1 must be [ARM.]KNOB[@CHOICE]=LOW..HIGH, LOW..HIGH:log, A|B|C or one value"),
        ("rate@", "1", "rate@=1 must be [ARM.]KNOB[@CHOICE]=LOW..HIGH, LOW..HIGH:log, A|B|C or one value"),
        ("rate", "0..1", "rate=0..1: a logarithmic range begins above 0; 0 needs :linear"),
        ("rate", "fast", "rate=fast: rate is a number, got 'fast'"),
        ("side", "1..2.5", "side=1..2.5: side is a whole number"),
        ("side", "2|2.5", "side=2|2.5: side is a whole number, got '2.5'"),
        ("size", "16|16", "size=16|16 names a choice twice"),
        ("schedule", "0..1", "schedule=0..1: schedule has no range, it is one of cosine, linear"),
        ("schedule", "linaer", "schedule=linaer: schedule is one of cosine, linear, got 'linaer'; "
         "did you mean 'linear'?"),
        ("loss", "focal", "loss=focal: loss belongs to what an arm is, and is not searched"),
        ("c.rate", "0.1", "c.rate=0.1: the arms are a, b"),
        ("b.own", "0.1", "b.own=0.1: own is no knob of b; there are augmentation, flag, rate, schedule, "
         "side, size, warmup"),
        ("rte", "0.1", "rte=0.1: rte is no knob of these arms; there are augmentation, flag, own, rate, schedule, "
         "side, size, warmup; did you mean 'rate'?"),
        ("rate@cosine", "0.1", "rate@cosine=0.1 would never hold: 'cosine' is not chosen before rate is drawn"),
    ],
)  # fmt: skip
def test_what_does_not_exist_or_fit_is_said_in_one_sentence(name, text, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        PLAIN.overridden({name: text}, ARMS)
    assert str(caught.value) == message


def test_a_start_that_a_range_leaves_out_is_refused_unless_another_is_given():
    space = overridden(rate="0.1..0.2")
    with pytest.raises(ValueError, match=r"^rate=0.1..0.2 leaves out 0.05, where a starts; take it in, or start else"):
        space.require_starts(space.arms["a"])
    started = space.starting_at({"rate": "0.15"}, ARMS)
    started.require_starts(started.arms["a"])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"momentum": "0.5..1"}, "--space momentum=0.5..1 allows 1.0: none cannot be trained: momentum must be less "
         "than 1"),
        ({"momentum": "nan"}, "--space momentum=nan: none cannot be trained: momentum must be less than 1"),
        ({"augmentation": "crop|crop_cutout"}, "--space augmentation=crop|crop_cutout allows crop_cutout: none cannot "
         "be trained: augmentation 'crop_cutout' needs cutout_length, got None"),
    ],
)  # fmt: skip
def test_what_no_training_takes_is_refused_before_the_first(entry, message):
    stage = make_stage(space=IMBALANCE_SPACE.overridden(entry, ("none", "focal")))
    with pytest.raises(StudyError) as caught:
        stage.require_legal_space("none")
    assert str(caught.value) == message


def test_the_two_ends_and_every_choice_are_what_is_checked():
    stage = make_stage(
        space=IMBALANCE_SPACE.overridden({"momentum": "0..0.99", "schedule": "linear"}, ("none", "focal"))
    )
    allowed = [(str(o), value) for o, value, _ in stage.space.extremes(stage.space.arms["none"])]
    assert set(allowed) == {("momentum=0..0.99", 0.0), ("momentum=0..0.99", 0.99), ("schedule=linear", None)}
    stage.require_legal_space("none")


def test_an_override_knows_its_parts():
    (override,) = parsed({"resnet9.learning_rate@0.5": "1e-4..0.1:log"})
    assert (override.arm, override.knob, override.choice) == ("resnet9", "learning_rate", "0.5")


def test_choices_that_have_no_place_on_their_scale_are_drawn_on_a_linear_one():
    assert Choice("weight_decay", (1e-4, 1e-3), scale="log").axis["scale"] == "log"
    assert Choice("weight_decay", (0.0, 1e-4, 1e-3), scale="log").axis["scale"] == "linear"
    assert Choice("class_weight_beta", (0.9, 1.0), scale="logit").axis["scale"] == "linear"
