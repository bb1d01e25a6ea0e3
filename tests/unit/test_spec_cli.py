"""The command line and the spec: what is accepted, what is refused, in which words, and with nothing left behind."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from learner_cases import SPACE, thinned_digits
from study_process import run_here

from study.cli import parse_study
from study.core.commands import command_line
from study.core.errors import StudyError
from study.core.spec import option_name
from study.core.stage import make_stage
from study.tasks.imbalance import ImbalanceSpec
from study.tasks.registry import STUDIES
from study.tasks.resolve import checked, resolved
from study.tasks.spec_file import spec_lines
from trainables.tasks.imbalance import IMBALANCE

STUDY = STUDIES["imbalance"]
TASKS = "baseline, imbalance, jigsaw, cifar100"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def parsed(line, task="imbalance"):
    return parse_study([task, *shlex.split(line)])[1]


def spec_of(line, *, task="imbalance", dataset="digits", num_gpus=0):
    """The spec that a run of these options would save."""
    return resolved(STUDIES[task], parsed(line, task), dataset=dataset, num_gpus=num_gpus)


def command_line_of(line):
    """The options of the command that a run of these would record."""
    return command_line("imbalance", parsed(line)).partition("imbalance ")[2]


def refusal(line, task="imbalance"):
    with pytest.raises(StudyError) as caught:
        checked(STUDIES[task], parsed(line, task))
    return str(caught.value)


# --- presets


QUICK_ARMS = ("none", "copy", "weighted_loss", "class_balanced", "weighted_sampler", "balanced_softmax")


def budget_of(spec):
    return (spec.budget, len(spec.arms), spec.trials_per_arm, spec.max_epochs, spec.reduction_factor, spec.retest_seeds)


def test_the_budget_is_quick_without_a_gpu_and_standard_with_one():
    assert budget_of(spec_of("")) == ("quick", 6, 6, 9, 3, 3)
    assert spec_of("").arms == QUICK_ARMS
    assert budget_of(spec_of("", num_gpus=1)) == ("standard", len(SPACE.arms), 16, 27, 3, 5)


def test_quick_compares_on_a_long_tail_what_the_literature_does():
    tail = (
        "none",
        "weighted_sampler",
        "class_balanced_weighted_sampler",
        "ldam_drw",
        "balanced_softmax",
        "logit_adjustment",
    )
    spec = spec_of("--imbalance exponential")
    assert spec.arms == tail
    assert budget_of(spec) == ("quick", 6, 6, 9, 3, 3)
    assert spec_of("--imbalance step").arms == QUICK_ARMS
    assert spec_of("--imbalance exponential --arms none,copy").arms == ("none", "copy")
    assert spec_of("--imbalance exponential --budget standard").arms == tuple(SPACE.arms)


def test_help_says_what_changes_a_preset():
    _, text, _ = run_here("study.run", "imbalance", "--help")
    assert "  quick with --imbalance exponential:\n    --arms none,weighted_sampler," in text


def test_a_preset_that_is_asked_for_is_taken_whatever_the_machine():
    assert budget_of(spec_of("--budget full")) == ("full", len(SPACE.arms), 48, 81, 3, 10)
    assert budget_of(spec_of("--budget quick", num_gpus=1)) == ("quick", 6, 6, 9, 3, 3)


def test_an_option_overrides_the_preset_and_the_others_stay():
    spec = spec_of("--max-epochs 27 --arms none,focal")
    assert budget_of(spec) == ("quick", 2, 6, 27, 3, 3)
    assert spec.arms == ("none", "focal")


def test_the_preset_s_grace_shrinks_to_short_trials_but_one_that_was_given_does_not():
    assert spec_of("--budget full").grace_epochs == 3
    assert spec_of("--budget full --max-epochs 2").grace_epochs == 2
    with pytest.raises(StudyError, match=r"^--grace-epochs must be at most --max-epochs \(9\), got 20$"):
        spec_of("--grace-epochs 20")


@pytest.mark.parametrize(
    ("options", "rungs"),
    [
        ("--max-epochs 9 --grace-epochs 1 --reduction-factor 3", (1, 3)),
        ("--max-epochs 81 --grace-epochs 3 --reduction-factor 3", (3, 9, 27)),
        ("--max-epochs 10 --grace-epochs 1 --reduction-factor 2", (1, 2, 4, 8)),
        ("--max-epochs 4 --grace-epochs 4", ()),
        ("--max-epochs 1 --grace-epochs 1", ()),
    ],
)
def test_rungs_are_grace_times_powers_of_the_factor_below_the_end(options, rungs):
    spec = spec_of(options)
    assert make_stage(spec, name="tune", task=IMBALANCE, space=SPACE, arms=("none",), groups=()).rungs("none") == rungs


def test_all_arms_are_those_of_the_space_in_its_order():
    assert spec_of("--arms all").arms == tuple(SPACE.arms)
    assert len(spec_of("--arms all").arms) >= 19


def test_a_gap_is_filled_from_the_machine():
    cpu, gpu = spec_of(""), spec_of("", num_gpus=1)
    assert (cpu.cpus_per_trial, cpu.gpus_per_trial) == (1.0, 0.0)
    assert (gpu.cpus_per_trial, gpu.gpus_per_trial) == (1.0, 0.25)
    assert spec_of("--cpus-per-trial 4 --precision float32").numerics.num_threads == 4
    assert spec_of("--precision float32").numerics.precision == "float32"
    assert cpu.dataset == "digits"
    assert cpu.name.startswith("imbalance-digits-2")


# --- time, start, spec files


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("20m", 1200), ("2h", 7200), ("1.5h", 5400), (".5m", 30)]
)
def test_a_time_budget_is_read_in_seconds_minutes_and_hours(text, seconds):
    assert checked(STUDY, parsed(f"--time-budget {text}")).time_budget == seconds


def test_a_start_is_read_knob_by_knob():
    start = checked(STUDY, parsed("--start learning_rate=0.1,schedule=linear")).start
    assert start == {"learning_rate": "0.1", "schedule": "linear"}
    space = SPACE.starting_at({"learning_rate": "0.1", "schedule": "linear", "focal_gamma": "3"}, ("none", "focal"))
    assert space.start_point(space.arms["focal"]) == {
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "linear",
        "batch_size": 32,
        "focal_gamma": 3.0,
    }
    assert "focal_gamma" not in space.start_point(space.arms["none"])


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"learning_rate": "0.5"}, r"^learning_rate must be in \[0.01, 0.3\], got 0.5$"),
        ({"learning_rate": "nan"}, r"^learning_rate must be in \[0.01, 0.3\], got nan$"),
        ({"learning_rate": "fast"}, r"^learning_rate must be a number, got 'fast'$"),
        ({"batch_size": "48"}, r"^batch_size must be one of 16, 32, 64, got '48'$"),
        ({"ldam_scale": "20"}, r"^ldam_scale is no knob of these arms; there are batch_size, focal_gamma"),
    ],
)
def test_a_start_out_of_its_range_or_of_another_arm_is_refused(start, message):
    with pytest.raises(ValueError, match=message):
        SPACE.starting_at(start, ("none", "focal"))


def test_a_toml_file_gives_settings_and_an_option_overrides_them(tmp_path):
    text = 'task = "imbalance"\nmax-epochs = 27\nseed = 5\narms = ["none", "focal"]\n[start]\nlearning_rate = 0.1\n'
    (tmp_path / "study.toml").write_text(text)
    spec = spec_of("--spec study.toml --seed 7")
    assert (spec.max_epochs, spec.seed, spec.arms, spec.trials_per_arm) == (27, 7, ("none", "focal"), 6)
    assert spec.start == {"learning_rate": "0.1"}


def test_ranges_are_given_together_one_by_one_or_as_tables():
    text = (
        '[space]\nmomentum = 0.9\nbatch_size = [16, 32]\nlearning_rate = "0.01..0.1"\n'
        '[space.ldam_drw]\nldam_scale = "5..50"\n'
    )
    Path("study.toml").write_text(text)
    expected = {
        "momentum": "0.9", "batch_size": "16|32", "learning_rate": "0.01..0.1", "ldam_drw.ldam_scale": "5..50",
    }  # fmt: skip
    line = "--space momentum=0.9,'batch_size=16|32' --space learning_rate=0.01..0.1 --space ldam_drw.ldam_scale=5..50"
    for spec in (spec_of("--spec study.toml"), spec_of(line), spec_of(command_line_of("--spec study.toml"))):
        assert spec.space == expected
    assert spec_of("--spec study.toml --space momentum=0.8").space == {"momentum": "0.8"}  # in the table's place
    assert spec_of("").space is None


def test_true_and_false_of_toml_are_texts():
    Path("study.toml").write_text("[space.jigsaw_2x2]\ntile_normalisation = [true, false]\n")
    assert spec_of("--spec study.toml", task="jigsaw").space == {"jigsaw_2x2.tile_normalisation": "True|False"}


@pytest.mark.parametrize("task", STUDIES)
def test_a_printed_spec_is_the_study_without_it_as_it_is_and_with_every_line_set(task):
    study, data = STUDIES[task], thinned_digits()
    spec = spec_of("--arms all --max-epochs 4", task=task)
    stages = study.stages(spec, data)
    lines = spec_lines(study, spec, stages, parsed("--arms all --max-epochs 4", task=task))
    Path("as-it-is.toml").write_text("\n".join(lines))
    Path("all-set.toml").write_text("\n".join(re.sub(r"^#(?=\S)", "", line) for line in lines))
    unchanged, all_set = (spec_of(f"--spec {name}.toml", task=task) for name in ("as-it-is", "all-set"))
    own_name = {"name": spec.name}
    assert unchanged.model_copy(update=own_name) == spec
    assert all_set.model_copy(update={**own_name, "space": None}) == spec
    set_stages = study.stages(all_set, data)
    for stage, set_stage in zip(stages, set_stages, strict=True):
        for arm in stage.arms:
            own, set_by_user = (of.space.branches(of.space.arms[arm]) for of in (stage, set_stage))
            assert set_stage.space.arms[arm].overrides
            assert [trial.params for trial in own] == [trial.params for trial in set_by_user]
            assert [trial.distributions for trial in own] == [trial.distributions for trial in set_by_user]


def test_what_was_given_is_set_in_a_printed_spec_and_the_rest_is_a_comment():
    given = parsed("--max-epochs 4 --space momentum=0.9 --start learning_rate=0.1")
    spec = spec_of("--max-epochs 4 --space momentum=0.9 --start learning_rate=0.1")
    lines = spec_lines(STUDY, spec, STUDY.stages(spec, thinned_digits()), given)
    assert {"max_epochs = 4", 'momentum = "0.9"', 'learning_rate = "0.1"', "#trials_per_arm = 6"} <= set(lines)
    assert '#learning_rate = "0.01..0.3:log"' in lines
    assert not any(line.startswith("#momentum =") for line in lines)


def test_a_run_s_spec_json_gives_its_settings_but_not_its_name_and_numerics(tmp_path):
    line = (
        "--name first --seed 3 --max-epochs 4 --imbalance exponential --start momentum=0.8 --space 'batch_size=16|32'"
    )
    first = spec_of(line)
    (tmp_path / "spec.json").write_text(json.dumps(first.model_dump(mode="json")))
    values = parsed("--spec spec.json --name second")
    second = resolved(STUDY, values, dataset="digits", num_gpus=0)
    assert "numerics" not in values
    assert second.name == "second"
    assert second.model_dump(exclude={"name"}) == first.model_dump(exclude={"name"})


def test_a_run_keeps_the_validation_cut_that_it_was_made_with(tmp_path):
    """Runs from before there was a choice do not name one; a new run made of such a spec.json is a new run."""
    values = spec_of("--name it --seed 3").model_dump(mode="json")
    assert values.pop("validation_cut") == "by_share"
    assert ImbalanceSpec.model_validate(values).validation_cut == "equally"
    (tmp_path / "spec.json").write_text(json.dumps(values | {"validation_cut": "equally"}))
    assert spec_of("--spec spec.json").validation_cut == "by_share"
    assert checked(STUDY, parsed("--spec spec.json")).validation_cut == "by_share"


def test_duplicates_are_dropped_where_that_is_asked_for():
    assert not spec_of("").drop_duplicates
    assert spec_of("--drop-duplicates").drop_duplicates


def test_a_spec_survives_its_json():
    spec = spec_of("--name it --time-budget 2h --start momentum=0.8 --space momentum=0.7..0.9 --arms none,copy")
    assert ImbalanceSpec.model_validate(json.loads(json.dumps(spec.model_dump(mode="json")))) == spec


def test_a_study_of_puzzles_takes_its_label_fractions_from_the_data_set_unless_they_are_given():
    assert spec_of("", task="jigsaw").label_fractions == (0.1, 1.0)
    assert spec_of("", task="jigsaw", dataset="cifar10").label_fractions == (0.01, 0.1, 1.0)
    assert spec_of("--label-fractions 1,0.05", task="jigsaw").label_fractions == (0.05, 1.0)


def test_another_name_of_an_arm_is_the_arm():
    assert spec_of("--arms resnet8blocks,lenet", task="baseline").arms == ("resnet18", "lenet")
    with pytest.raises(StudyError, match="must name each arm once"):
        spec_of("--arms resnet8blocks,resnet18", task="baseline")


def test_a_preset_may_set_the_model_and_an_option_overrides_it():
    assert spec_of("", task="cifar100").model == "resnet8"
    assert spec_of("", task="cifar100", num_gpus=1).model == "resnet18"
    assert spec_of("--model resnet18", task="cifar100").model == "resnet18"
    assert spec_of("", task="cifar100").train_images == 10_000
    assert spec_of("--train-images 50000", task="cifar100").train_images == 50_000
    assert spec_of("", task="cifar100", num_gpus=1).train_images is None


# --- refusals


SPEC_FILES = {
    "unknown.toml": "max_epoch = 3",
    "broken.toml": "max_epochs = = 3",
    "broken.json": '{"max_epochs": 3',
    "list.json": "[1, 2]",
    "other.toml": 'task = "jigsaw"',
    "text.toml": 'max_epochs = "many"',
    "arms.toml": "arms = 3",
    "nan.toml": "imbalance_ratio = nan",
    "binary.toml": "\x00",
}

REFUSALS = [
    ("--max-epochs 0", "--max-epochs must be greater than or equal to 1, got 0"),
    ("--trials-per-arm -1", "--trials-per-arm must be greater than or equal to 1, got -1"),
    ("--retest-seeds 0", "--retest-seeds must be greater than or equal to 1, got 0"),
    ("--max-concurrent 0", "--max-concurrent must be greater than or equal to 1, got 0"),
    ("--max-epochs 2.5", "--max-epochs must be a whole number, got '2.5'"),
    ("--max-epochs many", "--max-epochs must be a whole number, got 'many'"),
    ("--reduction-factor 1", "--reduction-factor must be greater than or equal to 2, got 1"),
    ("--grace-epochs 5 --max-epochs 3", "--grace-epochs must be at most --max-epochs (3), got 5"),
    ("--seed -1", "--seed must be greater than or equal to 0, got -1"),
    ("--seed 4294967296", "--seed must be less than or equal to 4294967295, got 4294967296"),
    ("--imbalance-ratio 0.5", "--imbalance-ratio must be greater than or equal to 1, got 0.5"),
    ("--imbalance-ratio nan", "--imbalance-ratio must be a finite number, got nan"),
    ("--imbalance-ratio inf", "--imbalance-ratio must be a finite number, got inf"),
    ("--imbalance-ratio ten", "--imbalance-ratio must be a number, got 'ten'"),
    ("--cpus-per-trial 0", "--cpus-per-trial must be greater than 0, got 0.0"),
    ("--cpus-per-trial inf", "--cpus-per-trial must be finite, got inf"),
    ("--cpus-per-trial nan", "--cpus-per-trial must be greater than 0, got nan"),
    ("--cpus-per-trial 1e-5", "--cpus-per-trial must be at least 0.0001, got 1e-05"),
    (
        "--checkpoints s3://KEY:SECRET@bucket/runs",
        "--checkpoints must be a URI without a password, which would be kept with the run: credentials are looked for "
        "where the store's own tools keep them",
    ),
    (
        "--checkpoints /mnt/runs",
        "--checkpoints must be the URI of a folder, such as s3://bucket/folder or file:///folder, got '/mnt/runs'",
    ),
    ("--gpus-per-trial 1e-5", "--gpus-per-trial must be at least 0.0001, got 1e-05"),
    ("--gpus-per-trial 1.5", "--gpus-per-trial must be up to 1, or a whole number, got 1.5"),
    ("--gpus-per-trial -1", "--gpus-per-trial must be greater than or equal to 0, got -1.0"),
    ("--time-budget 0", "--time-budget must be greater than 0, got 0.0"),
    ("--time-budget 20x", "--time-budget must be seconds or a number with s, m or h such as 20m, got '20x'"),
    ("--time-budget inf", "--time-budget must be seconds or a number with s, m or h such as 20m, got 'inf'"),
    ("--time-budget -5", "--time-budget must be seconds or a number with s, m or h such as 20m, got '-5'"),
    ("--searcher tpee", "--searcher must be one of tpe, random, gp, cmaes, qmc, grid, got 'tpee'; did you mean 'tpe'?"),
    ("--searcher gq", "--searcher must be one of tpe, random, gp, cmaes, qmc, grid, got 'gq'; did you mean 'gp'?"),
    ("--imbalance stp", "--imbalance must be one of step, exponential, got 'stp'; did you mean 'step'?"),
    ("--budget tiny", "--budget must be one of quick, standard, full, got 'tiny'"),
    (
        "--model resnet19",
        "--model must be one of small_cnn, resnet18, resnet32, ultranet18, got 'resnet19'; did you mean 'resnet18'?",
    ),
    ("--arms none,none", "--arms must name each arm once, got none, none"),
    ("--max-epoch 3", "unknown option '--max-epoch'; did you mean '--max-epochs'?"),
    ("surplus", "unknown option 'surplus'"),
    ("--name ''", "--name must not be empty"),
    ("--name ' '", "--name must not be empty"),
    ("--name a/b", "--name must be a plain folder name without slashes or a leading dot or dash, got 'a/b'"),
    ("--name ../b", "--name must be a plain folder name without slashes or a leading dot or dash, got '../b'"),
    ("--name .hidden", "--name must be a plain folder name without slashes or a leading dot or dash, got '.hidden'"),
    ("--name ..", "--name must be a plain folder name without slashes or a leading dot or dash, got '..'"),
    (f"--name {'x' * 101}", "--name must be at most 100 characters long, got 101"),
    (f"--name {'猫' * 100}", "--name must be at most 200 bytes long, got 300"),
    ("--name", "--name expected one argument"),
    ("--space lr", "--space must be KNOB=RANGE,KNOB=RANGE, got 'lr'"),
    ("--space momentum=1..0.5", "--space momentum=1..0.5 is upside down: the lower end comes first"),
    ("--space momentum=0.5 --space momentum=0.6", "--space has momentum twice"),
    ("--start lr", "--start must be KNOB=VALUE,KNOB=VALUE, got 'lr'"),
    ("--start learning_rate=", "--start must be KNOB=VALUE,KNOB=VALUE, got 'learning_rate='"),
    ("--output-dir list.json", "--output-dir list.json cannot be made: list.json is not a folder"),
    ("--output-dir list.json/in", "--output-dir list.json/in cannot be made: list.json is not a folder"),
    ("--spec missing.toml", "--spec missing.toml cannot be read: No such file or directory"),
    ("--spec .", "--spec . cannot be read: Is a directory"),
    ("--spec unknown.toml", "unknown setting 'max_epoch'; did you mean '--max-epochs'?"),
    ("--spec list.json", "--spec list.json must hold settings by name"),
    ("--spec other.toml", "--spec other.toml is of the task 'jigsaw', not 'imbalance'"),
    ("--spec arms.toml", "--arms must be a valid tuple, got 3"),
    ("--spec nan.toml", "--imbalance-ratio must be a finite number, got nan"),
]


REFUSALS_OF_TASKS = [
    ("baseline", "--padding full", "--padding must be one of same, valid, got 'full'"),
    ("baseline", "--model resnet9", "unknown option '--model'; did you mean '--name'?"),  # its arms are models
    ("imbalance", "--grid 2", "unknown option '--grid'; did you mean '--plugin'?"),
    ("imbalance", "--image-size 15", "--image-size must be greater than or equal to 16, got 15"),
    ("jigsaw", "--grid 1", "--grid must be greater than or equal to 2, got 1"),
    ("jigsaw", "--grid 4", "--grid must be less than or equal to 3, got 4"),
    ("jigsaw", "--label-fractions 0", "--label-fractions must be shares above 0 and up to 1, such as 0.1,1, got 0.0"),
    ("jigsaw", "--label-fractions 10", "--label-fractions must be shares above 0 and up to 1, such as 0.1,1, got 10.0"),
    ("jigsaw", "--label-fractions nan", "--label-fractions must be shares above 0 and up to 1, such as 0.1,1, got nan"),
    ("jigsaw", "--label-fractions 1,1", "--label-fractions must name each share once, got 1.0, 1.0"),
    (
        "jigsaw",
        "--arms jigsaw_10pct",
        "--arms must be all or some of scratch, scratch_equal_epochs, jigsaw, got 'jigsaw_10pct'; "
        "did you mean 'jigsaw'?",
    ),
    (
        "cifar100",
        "--model resnet9",
        "--model must be one of resnet8, resnet20, resnet18, got 'resnet9'; did you mean 'resnet8'?",
    ),
]


@pytest.mark.parametrize(
    ("task", "line", "sentence"), REFUSALS_OF_TASKS, ids=[line for _, line, _ in REFUSALS_OF_TASKS]
)
def test_a_task_refuses_what_it_does_not_understand(task, line, sentence):
    assert refusal(line, task) == sentence


@pytest.fixture
def spec_files(tmp_path):
    for name, text in SPEC_FILES.items():
        (tmp_path / name).write_text(text)


@pytest.mark.usefixtures("spec_files")
@pytest.mark.parametrize(("line", "sentence"), REFUSALS, ids=[line[:40] for line, _ in REFUSALS])
def test_a_bad_input_is_refused_in_one_sentence(tmp_path, line, sentence):
    before = sorted(os.listdir(tmp_path))
    assert refusal(line) == sentence
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.usefixtures("spec_files")
@pytest.mark.parametrize(
    ("line", "beginning"),
    [
        ("--spec broken.toml", "--spec broken.toml is not valid toml: "),
        ("--spec broken.json", "--spec broken.json is not valid json: "),
        ("--spec binary.toml", "--spec binary.toml is not valid toml: "),
        ("--spec text.toml", "--max-epochs must be a valid integer"),
        ("--arms none,focl", "--arms must be all or some of none, copy, "),
        ("--arms all,none", "--arms must be all or some of none, copy, "),
    ],
)
def test_so_is_one_that_a_library_explains(line, beginning):
    sentence = refusal(line)
    assert sentence.startswith(beginning)
    assert "\n" not in sentence


def test_a_misspelt_arm_is_told_the_nearest():
    assert refusal("--arms none,focl").endswith("got 'focl'; did you mean 'focal'?")


def test_a_misspelt_task_is_told_the_nearest():
    with pytest.raises(StudyError, match=rf"^task must be one of {TASKS}, got 'imbalanced'; did you mean 'imbalance'"):
        parse_study(["imbalanced"])
    with pytest.raises(StudyError, match=rf"^the first argument must be a task, one of {TASKS}, got '--seed'$"):
        parse_study(["--seed", "3"])


def test_a_name_that_is_taken_is_refused_and_told_how_to_go_on(tmp_path):
    (tmp_path / "reports" / "taken").mkdir(parents=True)
    assert refusal("--name taken") == (
        "reports/taken exists already: choose another --name, or continue it by python -m study.resume reports/taken"
    )


def test_a_name_of_a_hundred_characters_is_allowed():
    assert checked(STUDY, parsed(f"--name {'x' * 100}")).name == "x" * 100


# --- round trip, help, and the whole way through a process


def test_a_spec_file_s_shares_of_the_labels_are_repeated_in_the_command(tmp_path):
    (tmp_path / "study.toml").write_text("label_fractions = [0.1, 1]\n")
    values = parsed("--spec study.toml", "jigsaw")
    assert command_line("jigsaw", values) == "python -m study.run jigsaw --label-fractions 0.1,1"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--arms none,focal --max-epochs 3 --imbalance-ratio 12.5 --download",
        "--time-budget 20m --start learning_rate=0.1,schedule=linear --searcher gp --seed 4",
        "--name 'two words' --output-dir '/tmp/a b' --data-root data --dataset '/x y/z' --gpus-per-trial 0.5",
    ],
)
def test_a_command_line_gives_the_values_that_it_was_made_of(line):
    values = parsed(line)
    command = command_line(STUDY.name, values)
    words = shlex.split(command)
    assert words[:4] == ["python", "-m", "study.run", "imbalance"]
    assert parse_study(words[3:])[1] == values
    again = checked(STUDY, parse_study(words[3:])[1])
    assert again == checked(STUDY, values)


def test_a_command_line_of_a_whole_spec_gives_that_spec():
    spec = spec_of("--name it --seed 3 --start momentum=0.8,schedule=linear --time-budget 90 --precision float32")
    values = spec.model_dump(
        mode="json", exclude_none=True, exclude={"task", "numerics", "validation_cut", "plugin_sources", "extensions"}
    )
    words = shlex.split(command_line(STUDY.name, values))
    assert resolved(STUDY, parse_study(words[3:])[1], dataset="digits", num_gpus=0) == spec


def run_study(*words, cwd, first_on_path=()):
    command = [sys.executable, "-m", "study.run", *words]
    path = [*first_on_path, *(path for path in sys.path if path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=100)


@pytest.mark.parametrize("task", STUDIES)
def test_help_names_every_setting_of_the_task_and_no_other(capsys, task):
    with pytest.raises(SystemExit) as ended:
        parse_study([task, "--help"])
    assert not ended.value.code
    text = capsys.readouterr().out
    named = set(text.replace(",", " ").split())
    own = {option_name(field) for field in STUDIES[task].spec.model_fields} - {
        "--task",
        "--numerics",
        "--validation-cut",
        "--plugin-sources",
        "--extensions",
        "--checkpoint-folder",
    }
    others = {option_name(field) for study in STUDIES.values() for field in study.spec.model_fields} - own
    assert own <= named
    assert not others & named
    assert all(arm in text for arm in STUDIES[task].arm_names)


@pytest.fixture
def none_slow(tmp_path_factory):
    """A folder that, first on the path, hides the libraries that are slow to import."""
    folder = tmp_path_factory.mktemp("missing")
    for library in ("torch", "torchvision", "ray", "matplotlib", "pandas", "sklearn"):
        (folder / f"{library}.py").write_text("raise ImportError")
    return folder


def test_help_is_all_that_a_process_says_and_leaves_nothing(tmp_path, none_slow):
    result = run_study("imbalance", "--help", cwd=tmp_path, first_on_path=[none_slow])
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: python -m study.run imbalance")
    assert os.listdir(tmp_path) == []


def assert_refused(status, stdout, stderr, folder, part):
    assert status == 2
    assert part in stderr
    assert len(stderr.strip().splitlines()) == 1
    assert stderr.startswith("error: ")
    assert stdout == ""
    assert os.listdir(folder) == []


def test_the_process_ends_with_status_2_one_line_no_traceback_and_nothing_made(tmp_path, none_slow):
    result = run_study("imbalance", "--max-epochs", "0", cwd=tmp_path, first_on_path=[none_slow])
    part = "--max-epochs must be greater than or equal to 1, got 0"
    assert_refused(result.returncode, result.stdout, result.stderr, tmp_path, part)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["imbalence"], "did you mean 'imbalance'?"),
        (["imbalance", "--output-dir", "x" * 300, "--dataset", "digits"], "is too long for a file name"),
        (["imbalance", "--data-root", "nowhere", "--dataset", "cifar10"], "cifar10"),
    ],
    ids=["task", "long path", "no data"],
)
def test_so_it_does_for_other_mistakes_of_which_none_needs_a_process_to_be_seen(tmp_path, words, part):
    assert_refused(*run_here("study.run", *words), tmp_path, part)


def test_a_start_of_one_arm_goes_before_that_of_all():
    values = {"none.momentum": "0.8", "momentum": "0.95", "focal.focal_gamma": "1.5"}
    space = SPACE.starting_at(values, ("none", "focal"))
    assert space.start_point(space.arms["none"])["momentum"] == 0.8
    assert space.start_point(space.arms["focal"])["momentum"] == 0.95
    assert space.start_point(space.arms["focal"])["focal_gamma"] == 1.5
    with pytest.raises(ValueError, match=r"^copy.momentum: the arms are none, focal"):
        SPACE.starting_at({"copy.momentum": "0.9"}, ("none", "focal"))
