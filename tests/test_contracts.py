"""What holds for the project as a whole: clean tools, and tables, arms, knobs and descriptions that fit together."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from learner_cases import SPACE

from study.catalog import STUDIES, chosen_arms
from study.spec import ImbalanceSpec, option_name
from trainables.class_weights import CLASS_WEIGHTINGS
from trainables.data.augmentation import AUGMENTATIONS
from trainables.hparams import ImbalanceHparams
from trainables.losses import LOSS_HEADS, LOSSES
from trainables.samplers import SAMPLERS
from trainables.schedules import SCHEDULES

ROOT = Path(__file__).resolve().parent.parent
ARMS = SPACE.arms
STUDY = STUDIES["imbalance"]
TABLES = {"loss": LOSSES, "class_weighting": CLASS_WEIGHTINGS, "sampler": SAMPLERS}


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "ruff", "check", "."],
        [sys.executable, "-m", "mypy"],
        [shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or "lint-imports"],
    ],
    ids=["ruff", "mypy", "import-linter"],
)
def test_the_tools_have_nothing_to_say(command):
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("arm", ARMS)
def test_every_factor_of_an_arm_is_an_entry_of_its_table(arm):
    factors = ARMS[arm].factors
    assert set(factors) == set(TABLES)
    for factor, name in factors.items():
        assert name in TABLES[factor], f"{factor} {name}"
        assert ARMS[arm].fixed[factor] == name  # what the tables say is what is trained


@pytest.mark.parametrize("factor", TABLES)
def test_every_entry_of_a_table_is_some_arm_s(factor):
    assert {arm.factors[factor] for arm in ARMS.values()} == set(TABLES[factor])


def test_every_loss_with_a_head_of_its_own_is_a_loss():
    assert set(LOSS_HEADS) <= set(LOSSES)


def test_no_two_arms_are_the_same():
    def identity(arm):
        knobs = set(SPACE.knobs(arm)) - set(SPACE.start)
        return (*sorted(arm.factors.items()), *sorted(knobs))

    assert len({identity(arm) for arm in ARMS.values()}) == len(ARMS) == 14


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_says_what_it_does_in_a_line(arm):
    description = ARMS[arm].description
    assert len(description) > 15
    assert "\n" not in description
    assert ARMS[arm].name == arm


@pytest.mark.parametrize("arm", ARMS)
def test_every_knob_is_a_hyperparameter_and_its_whole_range_is_valid(arm):
    knobs = SPACE.knobs(ARMS[arm])
    assert set(knobs) <= set(ImbalanceHparams.model_fields)
    for name, knob in knobs.items():
        for value in getattr(knob, "choices", None) or (knob.low, knob.high):
            ImbalanceHparams(**{name: value})  # raises if not


@pytest.mark.parametrize("arm", ARMS)
def test_the_start_point_names_every_knob_and_nothing_else(arm):
    start = SPACE.start_point(ARMS[arm])
    knobs = SPACE.knobs(ARMS[arm])
    assert set(start) == set(knobs)
    for name, value in start.items():
        assert knobs[name]._contains(knobs[name].to_internal_repr(value)), f"{name} = {value}"


@pytest.mark.parametrize("name", ImbalanceHparams.model_fields)
def test_every_hyperparameter_is_marked_static_or_scalar(name):
    kind = ImbalanceHparams.model_fields[name].json_schema_extra["kind"]
    assert kind in {"static", "scalar"}
    # What is named is static, a number scalar; the size of a batch changes the program.
    annotation = str(ImbalanceHparams.model_fields[name].annotation)
    assert kind == ("scalar" if "float" in annotation else "static")


def test_every_remedy_s_own_knob_is_searched_somewhere():
    own = {name for name, field in ImbalanceHparams.model_fields.items() if field.default is None}
    assert own == {name for arm in ARMS.values() for name in arm.start}


def test_choices_of_the_space_are_entries_of_their_tables():
    assert set(SPACE.knobs(ARMS["none"])["schedule"].choices) <= set(SCHEDULES)
    for name in ("crop", "crop_flip"):
        assert name in AUGMENTATIONS


def test_the_catalog_s_arms_control_and_presets_exist():
    assert STUDY.arm_names == tuple(ARMS)
    assert STUDY.control in ARMS
    assert set(STUDY.presets) == {"quick", "standard", "full"}
    for budget, preset in STUDY.presets.items():
        assert chosen_arms(STUDY, preset["arms"]) == preset["arms"]
        assert STUDY.control in preset["arms"]
        ImbalanceSpec(name="it", budget=budget, **preset)


@pytest.mark.parametrize("name", sorted(set(ImbalanceSpec.model_fields) - {"task", "numerics"}))
def test_every_setting_says_what_it_is(name):
    field = ImbalanceSpec.model_fields[name]
    assert field.description
    assert field.json_schema_extra["group"] in {"data", "imbalance", "budget", "search", "machine", "output"}
    assert option_name(name) == "--" + name.replace("_", "-")
