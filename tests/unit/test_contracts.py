"""What holds for the project as a whole: clean tools, and tables, arms, knobs and descriptions that fit together."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from learner_cases import SPACE, thinned_digits

from search_spaces import baseline, cifar100, jigsaw
from study.core.spec import group_names, option_name, options_of
from study.records import tables as records
from study.tasks.registry import STUDIES
from study.tasks.resolve import resolved
from study.tasks.study import chosen_arms, preset_of
from trainables.data.augmentation import AUGMENTATIONS
from trainables.data.sources import SOURCES
from trainables.hparams import (
    BaselineHparams,
    Cifar100Hparams,
    ClassifierHparams,
    ImbalanceHparams,
    JigsawHparams,
    TransferHparams,
)
from trainables.parts.class_weights import CLASS_WEIGHTINGS
from trainables.parts.losses import LOSSES
from trainables.parts.mixing import MIXINGS
from trainables.parts.samplers import SAMPLERS
from trainables.parts.schedules import SCHEDULES
from trainables.tasks.baseline import BASELINE
from trainables.tasks.cifar100 import CIFAR100
from trainables.tasks.imbalance import IMBALANCE
from trainables.tasks.jigsaw import PRETEXT_TASK, TRANSFER

ROOT = Path(__file__).resolve().parents[2]
ARMS = SPACE.arms
TABLES = {"loss": LOSSES, "class_weighting": CLASS_WEIGHTINGS, "sampler": SAMPLERS, "mixing": MIXINGS}
SPACES = {
    "baseline": (baseline.search_space(num_train=1000, image_size=32, padding="same", flip=True), BaselineHparams),
    "imbalance": (SPACE, ImbalanceHparams),
    "pretext": (jigsaw.pretext_space(num_train=1000, grid=2, flip=True), JigsawHparams),
    "transfer": (
        jigsaw.transfer_space(
            num_train=1000, grid=2, initialisations=jigsaw.INITIALISATIONS, fractions=(0.1, 1.0), flip=True
        ),
        TransferHparams,
    ),
    "cifar100": (
        cifar100.search_space(num_train=1000, image_size=32, model="resnet20", deeper="resnet32", flip=True),
        Cifar100Hparams,
    ),
}
NEEDED = {"mixing_alpha": 0.5, "cutout_length": 8, "randaugment_num_ops": 1, "randaugment_magnitude": 9}
EVERY_ARM = [(space, arm) for space, (found, _) in SPACES.items() for arm in found.arms]
TASKS = {task.name: task for task in (BASELINE, IMBALANCE, PRETEXT_TASK, TRANSFER, CIFAR100)}


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "mypy"],
        [sys.executable, "-m", "ruff", "check", "."],
        [sys.executable, "-m", "ruff", "format", "--check", "."],
        [shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or "lint-imports"],
    ],
    ids=["mypy", "ruff", "format", "import-linter"],
)
@pytest.mark.timeout(400)  # mypy with a cold cache, beside other tests
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
    elsewhere = {"cutmix"}  # searched in cifar100
    assert {arm.factors[factor] for arm in ARMS.values()} == set(TABLES[factor]) - elsewhere


def test_no_two_arms_are_the_same():
    def identity(arm):
        return (*sorted(arm.factors.items()), *sorted(SPACE.own_knobs(arm)))

    assert len({identity(arm) for arm in ARMS.values()}) == len(ARMS)


def test_the_readme_counts_the_remedies_and_names_every_data_set():
    readme = (ROOT / "README.md").read_text()
    words = {18: "eighteen", 19: "nineteen", 20: "twenty", 21: "twenty-one", 22: "twenty-two"}
    assert f"{words[len(ARMS) - 1]} remedies and the control" in readme
    assert [name for name in SOURCES if name not in readme] == []


@pytest.mark.parametrize(("space", "arm"), EVERY_ARM)
def test_every_arm_says_what_it_does_in_a_line(space, arm):
    found = SPACES[space][0].arms[arm]
    assert len(found.description) > 12
    assert "\n" not in found.description
    assert found.name == arm


@pytest.mark.parametrize(("space", "arm"), EVERY_ARM)
def test_every_knob_is_a_hyperparameter_and_its_whole_range_is_valid(space, arm):
    found, hparams = SPACES[space]
    knobs = found.knobs(found.arms[arm])
    assert set(knobs) <= set(hparams.model_fields)
    start = found.start_hparams(found.arms[arm])
    for name, knob in knobs.items():
        for value in getattr(knob, "choices", None) or (knob.low, knob.high):
            if name in start:  # a knob that is off at the start is no hyperparameter there
                # With no more than it cannot do without: what else it goes with is the space's to say.
                entry = hparams.tables().get(name, {}).get(value)
                hparams(**{name: value}, **{needed: NEEDED[needed] for needed in getattr(entry, "needs", ())})


@pytest.mark.parametrize(("space", "arm"), EVERY_ARM)
def test_the_start_of_every_arm_is_valid_names_every_knob_and_lies_in_its_range(space, arm):
    found, hparams = SPACES[space]
    start, knobs = found.start_point(found.arms[arm]), found.knobs(found.arms[arm])
    assert set(start) == set(knobs)
    for name, value in start.items():
        assert knobs[name]._contains(knobs[name].to_internal_repr(value)), f"{name} = {value}"
    hparams(**found.start_hparams(found.arms[arm]))


@pytest.mark.parametrize("space", SPACES)
def test_learning_rate_momentum_and_weight_decay_are_knobs_of_every_space(space):
    found, _ = SPACES[space]
    for name, arm in found.arms.items():
        # memorise is the setup without any regularisation, and weight decay is one: fixed at 0.
        wanted = {"learning_rate", "momentum"} | ({"weight_decay"} if name != "memorise" else set())
        assert wanted <= set(found.knobs(arm)), name
        assert "weight_decay" in found.start_hparams(arm)


def test_every_remedy_s_own_knob_is_searched_somewhere():
    own = set(ImbalanceHparams.model_fields) - set(ClassifierHparams.model_fields) - set(TABLES)
    assert own | {"mixing_alpha"} == {name for arm in ARMS.values() for name in SPACE.own_knobs(arm)}


@pytest.mark.parametrize("task", TASKS)
def test_what_a_task_is_tuned_and_judged_by_are_columns_of_the_tables(task):
    assert TASKS[task].metric in records.EPOCHS.names
    assert TASKS[task].score in records.RETESTS.names


def test_choices_of_the_space_are_entries_of_their_tables():
    assert set(SPACE.knobs(ARMS["none"])["schedule"].choices) <= set(SCHEDULES)
    for name in ("crop", "crop_flip"):
        assert name in AUGMENTATIONS


@pytest.mark.parametrize("task", STUDIES)
def test_the_catalog_s_presets_are_of_its_arms_and_valid(task):
    study = STUDIES[task]
    assert set(study.presets) == {"quick", "standard", "full"}
    assert set(study.aliases.values()) <= set(study.arm_names)
    for budget, preset in study.presets.items():
        assert chosen_arms(study, preset["arms"]) == preset["arms"]
        study.spec(name="it", budget=budget, **preset)
    for amendment in study.amendments:
        spec = study.spec(**{amendment.option: amendment.value})
        for budget in amendment.presets:
            preset = preset_of(study, budget, spec)
            assert preset != study.presets[budget]
            assert chosen_arms(study, preset["arms"]) == preset["arms"]
    assert SOURCES[study.default_dataset]
    assert SOURCES[study.embedded_dataset].lies_under(Path("no-such-folder"))


@pytest.mark.parametrize("task", STUDIES)
def test_the_last_stage_is_the_main_one_and_its_controls_are_among_the_quick_preset_s_arms(task):
    study = STUDIES[task]
    spec = resolved(study, {"seed": 3}, dataset=study.embedded_dataset, num_gpus=0)
    *before, main = study.stages(spec, thinned_digits())
    assert [stage.name for stage in before] == (["pretext"] if task == "jigsaw" else [])
    assert main.name == "tune"
    assert [arm for group in main.groups for arm in group.arms] == list(main.arms)
    assert all(group.control in group.arms for group in main.groups)
    assert {stage.seed for stage in (*before, main)} == {3}


@pytest.mark.parametrize("task", STUDIES)
def test_every_setting_says_what_it_is(task):
    spec = STUDIES[task].spec
    options = options_of(spec)
    assert set(spec.model_fields) - set(options) == {
        "task",
        "numerics",
        "validation_cut",
        "checkpoint_folder",
        "plugin_sources",
        "extensions",
    }
    for name, option in options.items():
        assert spec.model_fields[name].description
        assert option.group in group_names(spec)
        assert option.scope in {"training", "study", "session"}
        assert option_name(name) == "--" + name.replace("_", "-")
