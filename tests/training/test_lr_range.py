"""The learning-rate range test: on a quadratic with a known edge of stability, on digits, from the command line."""

import json
import math
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from learner_cases import few_digits, learner_of

from study import lr_range as verb
from study.cli import parse_study, parse_verb
from study.core.commands import command_line
from study.core.errors import StudyError
from study.core.spec import option_name, validated
from study.probes.lr_range_figures import draw_lr_range, lr_range_data
from study.reproduction import runs
from study.tasks.imbalance import ImbalanceSpec
from study.tasks.registry import STUDIES
from study.tasks.resolve import checked, resolved
from study.tasks.study import load_data
from trainables.common.numerics import Numerics
from trainables.data.sources import load_dataset
from trainables.parts.samplers import shuffled_plan
from trainables.probes.lr_range import LrRange, LrRangeSettings, lr_range, smoothed, steepest_descent, tenth_of_minimum
from trainables.training.learner import Batches, Learner

STUDY = STUDIES["imbalance"]


# --- a quadratic: gradient descent on a/2 · x² multiplies x by 1 - a · learning_rate, and so diverges above 2/a


class Point(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.x = torch.nn.Parameter(torch.ones(1))

    def forward(self, images):
        return self.x


class RecordingSgd(torch.optim.SGD):
    """Keeps the rate of each group in each step that it takes."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.rates = []

    def step(self, closure=None):
        self.rates.append([group["lr"] for group in self.param_groups])
        return super().step(closure)


def quadratic(curvature, *, optimizer=None):
    """12 images that do not matter, in batches of 2: 6 steps an epoch."""
    model = Point()
    batches = Batches(
        images=torch.zeros(12, 16, 16, 1, dtype=torch.uint8),
        labels=torch.zeros(12, dtype=torch.int64),
        train_indices=torch.arange(12),
        plan=lambda epoch, generator: shuffled_plan(12, 2, generator),
        augment=lambda images, generator: images,
        mean=torch.zeros(1),
        std=torch.ones(1),
        seed=0,
    )
    return Learner(
        model=model,
        loss=lambda x, targets, epoch: 0.5 * curvature * x.square().sum(),
        optimizer=optimizer(model) if optimizer else torch.optim.SGD(model.parameters(), lr=123.0),
        learning_rate=lambda progress: 1.0,
        batches=batches,
        num_epochs=1,
        numerics=Numerics(),
    )


def unsmoothed(**values):
    return LrRangeSettings(**{"smoothing": 0.0, **values})


@pytest.mark.parametrize("first_above", [1.6, 2.5, 3.9])
@pytest.mark.parametrize("curvature", [0.5, 8.0, 300.0])
def test_the_divergence_is_found_within_a_step_s_factor_of_the_edge(curvature, first_above):
    """Rates 4 times apart, one of them first_above × 2/a: there a step multiplies the loss by (1 - 2 first_above)²."""
    edge, factor = 2 / curvature, 4
    settings = unsmoothed(
        min_lr=first_above * edge / factor**8, max_lr=first_above * edge * factor**3, num_steps=8 + 3 + 1
    )
    result = lr_range(quadratic(curvature), settings)
    # The loss of step 10 is the first to feel the rate of step 9, the first above the edge.
    assert result.divergence_step == 10 == len(result.losses)
    assert edge < result.learning_rates[result.divergence_step - 2] <= factor * edge
    assert result.steepest_descent < edge
    assert result.tenth_of_minimum < edge


@pytest.mark.parametrize("schedule", ["exponential", "linear"])
def test_on_a_fine_grid_the_loss_is_lowest_at_the_first_rate_above_the_edge(schedule):
    edge = 2 / 8.0
    settings = unsmoothed(schedule=schedule, min_lr=edge / 50, max_lr=edge * 4, num_steps=29)
    result = lr_range(quadratic(8.0), settings)
    lowest = int(np.argmin(result.losses))
    assert result.learning_rates[lowest - 1] <= edge < result.learning_rates[lowest]
    assert lowest < result.divergence_step - 1 < 29
    assert result.steepest_descent < edge
    assert result.tenth_of_minimum == pytest.approx(result.learning_rates[lowest] / 10)


def test_each_loss_is_that_of_its_own_step_and_each_rate_the_one_it_was_made_with():
    """x goes 1 -> 1 - 2·0.1 = 0.8 -> 0.8 · (1 - 2·0.2) = 0.48 -> ...; the losses are x² of before each step."""
    result = lr_range(quadratic(2.0), unsmoothed(schedule="linear", min_lr=0.1, max_lr=1.0, num_steps=10))
    assert result.learning_rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert result.losses[:4] == pytest.approx([1.0, 0.64, 0.2304, 0.036864], rel=1e-5)
    assert result.losses[4] == pytest.approx((0.48 * 0.4 * 0.2) ** 2, rel=1e-4)


@pytest.mark.parametrize("schedule", ["exponential", "linear"])
def test_the_rate_that_is_logged_is_the_rate_that_the_optimiser_used(schedule):
    """A group with an lr_scale of a quarter uses a quarter of it. 25 steps go over 5 epochs of 6."""
    recorded = []

    def optimizer(model):
        unused = torch.nn.Parameter(torch.zeros(1))
        groups = [{"params": [model.x]}, {"params": [unused], "lr_scale": 0.25}]
        recorded.append(RecordingSgd(groups, lr=123.0))
        return recorded[0]

    settings = LrRangeSettings(schedule=schedule, min_lr=1e-4, max_lr=0.1, num_steps=25)
    result = lr_range(quadratic(1.0, optimizer=optimizer), settings)
    assert recorded[0].rates == [[rate, 0.25 * rate] for rate in result.learning_rates]
    assert (len(result.losses), result.divergence_step) == (25, None)
    assert (result.learning_rates[0], result.learning_rates[-1]) == (1e-4, pytest.approx(0.1, rel=1e-12))
    steps = np.diff(result.learning_rates if schedule == "linear" else np.log(result.learning_rates))
    assert steps == pytest.approx(steps[0])
    assert [group["lr"] for group in recorded[0].param_groups] == [123.0, 123.0]


def test_a_loss_that_is_not_finite_ends_the_test():
    result = lr_range(quadratic(1e30), LrRangeSettings(min_lr=1e-3, max_lr=10, num_steps=20))
    assert result.divergence_step == 2
    assert not math.isfinite(result.losses[-1])
    assert (result.steepest_descent, result.tenth_of_minimum) == (None, None)


# --- smoothing and suggestions, by hand


def test_smoothing_by_hand():
    """0.5: averages from 0 are 2, 3, 2.5, 3.75; the weights they have so far 1/2, 3/4, 7/8, 15/16."""
    pairs = list(smoothed([4.0, 4.0, 2.0, 5.0], 0.5))
    assert [loss for loss, _ in pairs] == [4.0, 4.0, 2.0, 5.0]
    assert [value for _, value in pairs] == pytest.approx([4.0, 4.0, 20 / 7, 4.0])
    assert [value for _, value in smoothed([3.0, 1.0], 0.0)] == [3.0, 1.0]


def test_the_steepest_descent_is_where_the_loss_falls_fastest_over_the_logarithm():
    """Rates an octave apart. A drop of 1, then 6, then 1: steepest between the 32nd and 64th."""
    rates = [2.0**k for k in range(12)]
    losses = [10, 10, 10, 10, 9, 9, 3, 2.5, 2, 2, 2, 9.0]
    assert steepest_descent(rates, losses) in {2.0**5, 2.0**6}
    assert tenth_of_minimum(rates, losses) == 2.0**8 / 10


def test_neither_the_first_few_steps_nor_a_fall_after_a_spike_is_suggested():
    rates = list(np.geomspace(1e-4, 1, 40))
    losses = [50.0, 20.0, *np.linspace(9, 5, 20), *np.linspace(5, 6, 8), 40.0, 6.0, *np.linspace(6, 7, 8)]
    assert rates[8] <= steepest_descent(rates, losses) <= rates[21]
    assert tenth_of_minimum(rates, losses) == pytest.approx(rates[21] / 10)


def test_a_loss_that_never_falls_suggests_nothing():
    rates = list(np.geomspace(1e-4, 1, 20))
    assert steepest_descent(rates, list(np.linspace(1, 2, 20))) is None
    assert tenth_of_minimum(rates, list(np.linspace(1, 2, 20))) is None
    assert steepest_descent(rates[:1], [1.0]) is None
    assert steepest_descent(rates[:2], [math.nan, math.nan]) is None


def test_the_test_stops_above_four_times_the_lowest_smoothed_loss_and_not_before():
    """Unsmoothed: 4 × 0.25 = 1 is not above it, 1.1 is."""
    losses = iter([1.0, 0.25, 1.0, 0.5, 1.1, 9.0, 9.0, 9.0, 9.0, 9.0])
    learner = quadratic(1.0)
    learner._loss = lambda x, targets, epoch: 0 * x.sum() + next(losses)
    result = lr_range(learner, unsmoothed(num_steps=10))
    assert result.divergence_step == 5
    assert result.losses == pytest.approx([1.0, 0.25, 1.0, 0.5, 1.1])


# --- a real learner


def bits_of(learner):
    """All that a checkpoint of it would hold."""
    return json.dumps(learner.state_dict(), default=lambda tensor: tensor.numpy().tobytes().hex())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_all_is_put_back_bit_for_bit(optimizer):
    """Before training and after an epoch of it, with momentum; the training that follows is as without the test."""
    learner = learner_of("none", few_digits(), num_epochs=3, optimizer=optimizer)
    other = learner_of("none", few_digits(), num_epochs=3, optimizer=optimizer)
    for _ in range(2):
        learner.model.eval()
        torch.manual_seed(5)
        before, state = learner.weights_sha256(), bits_of(learner)
        result = lr_range(learner, LrRangeSettings(min_lr=1e-4, max_lr=1.0, num_steps=10))
        assert result.losses[0] != result.losses[-1]  # it did train
        assert learner.weights_sha256() == before
        assert bits_of(learner) == state
        assert not any(module.training for module in learner.model.modules())
        assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(5)))
        assert learner.epoch == other.epoch
        learner.train_epoch()
        other.train_epoch()
        assert learner.weights_sha256() == other.weights_sha256()


def test_it_is_put_back_where_a_step_fails_and_where_the_head_starts():
    """crt freezes the trunk from epoch 4 of 5 on and gives the head fresh weights."""
    learner = learner_of("crt", few_digits(), num_epochs=5, head_start=0.6)
    for _ in range(3):
        learner.train_epoch()
    before, trained = learner.weights_sha256(), [p.requires_grad for p in learner.model.parameters()]
    lr_range(learner, LrRangeSettings(num_steps=10))
    assert learner.weights_sha256() == before
    assert [p.requires_grad for p in learner.model.parameters()] == trained
    assert all(trained)
    learner._loss = lambda logits, targets, epoch: torch.ones(()) / 0 + "no loss"
    with pytest.raises(TypeError):
        lr_range(learner, LrRangeSettings(num_steps=10))
    assert learner.weights_sha256() == before
    assert all(p.requires_grad for p in learner.model.parameters())


def test_the_first_epoch_s_batches_are_those_that_the_learner_would_draw():
    seen = []
    learner = learner_of("mixup_drw", few_digits(), num_epochs=3)
    learner.model.register_forward_pre_hook(lambda model, inputs: seen.append(inputs[0].clone()))
    result = lr_range(learner, LrRangeSettings(num_steps=10))
    tested = list(seen)
    seen.clear()
    learner.train_epoch()
    assert len(seen) == 4
    assert all(torch.equal(a, b) for a, b in zip(tested[:4], seen, strict=True))
    assert not torch.equal(tested[4], tested[0])  # another order in the second pass
    assert len(result.losses) == 10


@pytest.mark.parametrize("arm", ["flag_downweight", "ldam_drw", "weighted_loss"])
def test_at_one_rate_it_trains_as_the_learner_does(arm):
    """Losses, augmentation, loss scales and class weights: the mean of an epoch's losses is the learner's."""
    learner = learner_of(arm, few_digits(), num_epochs=3, learning_rate=0.05, schedule="constant", batch_size=8)
    num_steps = len(learner.batches.epoch_plan(1).batch_sizes)
    result = lr_range(learner, unsmoothed(min_lr=0.05, max_lr=0.05 * (1 + 1e-9), num_steps=num_steps))
    assert np.mean(result.losses) == pytest.approx(learner.train_epoch().train_loss, rel=1e-5)


def test_what_begins_late_stays_out_of_a_long_test():
    """deferred_sampling draws balanced batches from epoch 3 of 3 on; 40 steps are ten passes."""
    learner = learner_of("deferred_sampling", few_digits(), num_epochs=3, reweight_start=0.6)
    phases, orders = [], set()
    plan = learner.batches.plan

    def recording(epoch, generator):
        found = plan(epoch, generator)
        phases.append(epoch)
        orders.add(tuple(found.positions.tolist()))
        return found

    object.__setattr__(learner.batches, "plan", recording)
    lr_range(learner, LrRangeSettings(num_steps=40, max_lr=1e-3))
    assert len(orders) == 10  # each pass its own
    assert phases == [1] * 10


# --- the verb


FAST = "--dataset digits --precision float32"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(line, task="imbalance"):
    return verb.main([task, *shlex.split(f"{FAST} {line}")])


def refusal(line, task="imbalance"):
    with pytest.raises(StudyError) as caught:
        run(line, task)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder of the verb, 30 steps of `focal` on digits, and what it printed."""
    out = tmp_path_factory.mktemp("tests of rates")
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("builtins.print", lambda *words, **how: lines.append(" ".join(map(str, words))))
        steps = "--arm focal --start momentum=0.8 --num-steps 30 --min-lr 0.01 --max-lr 2"
        assert run(f"{steps} --name it --output-dir {shlex.quote(str(out))}") == 0
    return out / "it", lines


def facts_of(folder):
    return json.loads((folder / "lr_range.json").read_text())


def test_the_verb_writes_a_table_facts_and_a_figure(written):
    folder, _ = written
    assert sorted(path.name for path in folder.iterdir()) == ["lr_range.json", "lr_range.parquet", "lr_range.png"]
    table, facts = pq.read_table(folder / "lr_range.parquet").to_pydict(), facts_of(folder)
    assert list(table) == ["step", "learning_rate", "loss", "smoothed_loss"]
    assert table["step"] == list(range(1, facts["num_steps_taken"] + 1))
    assert table["learning_rate"] == pytest.approx(np.geomspace(0.01, 2, 30)[: len(table["step"])])
    assert table["smoothed_loss"] == pytest.approx([value for _, value in smoothed(table["loss"], 0.9)])
    assert (facts["task"], facts["stage"], facts["arm"], facts["seed"]) == ("imbalance", "tune", "focal", 0)
    assert facts["settings"]["num_steps"] == 30
    assert facts["config"]["loss"] == "focal"
    assert facts["config"]["momentum"] == 0.8
    assert facts["suggestions"] == {
        "steepest_descent": steepest_descent(table["learning_rate"], table["smoothed_loss"]),
        "tenth_of_minimum": tenth_of_minimum(table["learning_rate"], table["smoothed_loss"]),
    }
    assert facts["divergence_step"] in {None, facts["num_steps_taken"]}
    assert facts["hardware"]["cpu"]
    assert {"commit", "versions", "dataset", "numerics", "command"} <= set(facts)
    assert (folder / "lr_range.png").read_bytes().startswith(b"\x89PNG")
    assert facts["command"].startswith("python -m study.lr_range imbalance --dataset digits --precision float32 ")


def test_its_command_repeats_it(written):
    folder, _ = written
    words = shlex.split(facts_of(folder)["command"])
    study, values, own = parse_verb(verb.VERB, words[3:])
    assert own == {"arm": "focal", "num_steps": 30, "min_lr": 0.01, "max_lr": 2.0}
    assert values["start"] == ["momentum=0.8"]
    assert study is STUDY


def test_it_prints_commands_that_start_a_study_there(written):
    folder, lines = written
    rate = f"{facts_of(folder)['suggestions']['steepest_descent']:.4g}"
    assert f"steepest descent: {rate}" in lines
    commands = [shlex.split(line) for line in lines if line.startswith("  python -m study.run ")]
    by_hand, by_folder, by_tenth = (validated(ImbalanceSpec, parse_study(words[3:])[1]) for words in commands)
    assert by_hand.start == {"momentum": "0.8", "learning_rate": rate}
    assert by_folder.start_from_lr_range == folder
    assert "learning_rate" in by_tenth.start
    for spec in (by_hand, by_folder, by_tenth):
        assert (spec.dataset, spec.precision, spec.name) == ("digits", "float32", None)


def test_a_suggestion_outside_the_searched_range_is_said_with_the_nearest_start(capsys):
    """Up to a rate of 0.005; the study searches 0.01 to 0.3."""
    run("--num-steps 20 --min-lr 0.0005 --max-lr 0.005 --name low")
    said = capsys.readouterr().out
    assert "outside of 0.01 to 0.3, which a study searches; nearest to it:" in said
    assert "--start learning_rate=0.01\n" in said
    assert "--start-from-lr-range" not in said
    values = parse_study(["imbalance", "--start-from-lr-range", "reports/low"])[1]
    spec = resolved(STUDY, values, dataset="digits", num_gpus=0)
    rate = f"{facts_of(Path('reports/low'))['suggestions']['steepest_descent']:.4g}"
    with pytest.raises(StudyError) as caught:
        STUDY.stages(spec, load_data(STUDY, spec)[1])
    assert str(caught.value) == (
        f"--start-from-lr-range reports/low: learning_rate must be in [0.01, 0.3], got {rate}; "
        "give one that is by --start learning_rate=VALUE"
    )


def test_the_default_arm_is_the_control_and_the_default_name_says_what_it_is():
    assert run("--num-steps 10 --imbalance-ratio 100") == 0
    (folder,) = Path("reports").iterdir()
    assert folder.name.startswith("lr-range-imbalance-digits-2")
    facts = facts_of(folder)
    assert facts["arm"] == "none"
    assert min(facts["dataset"]["class_counts"]) < max(facts["dataset"]["class_counts"]) / 50


def test_the_puzzles_are_an_arm_whose_rate_is_their_own(written):
    assert run("--arm jigsaw_2x2 --num-steps 10 --name puzzles", "jigsaw") == 0
    folder = Path("reports/puzzles")
    facts = facts_of(folder)
    assert facts["stage"] == "pretext"
    facts["suggestions"]["steepest_descent"] = 0.02
    (folder / "lr_range.json").write_text(json.dumps(facts))
    values = {"start_from_lr_range": folder, "start": "learning_rate=0.1"}
    spec = resolved(STUDIES["jigsaw"], values, dataset="digits", num_gpus=0)
    assert spec.start == {"jigsaw_2x2.learning_rate": "0.02", "learning_rate": "0.1"}


REFUSALS = [
    ("--num-steps 9", "--num-steps must be at least 10, got 9"),
    ("--num-steps x", "--num-steps must be a whole number, got 'x'"),
    ("--min-lr 0", "--min-lr must be above 0 and finite, got 0.0"),
    ("--min-lr nan", "--min-lr must be above 0 and finite, got nan"),
    ("--min-lr 1 --max-lr 0.1", "--max-lr must be above --min-lr (1) and finite, got 0.1"),
    ("--min-lr 1 --max-lr 1", "--max-lr must be above --min-lr (1) and finite, got 1"),
    ("--max-lr inf", "--max-lr must be above --min-lr (1e-06) and finite, got inf"),
    ("--smoothing 1", "--smoothing must be in [0, 1), got 1"),
    ("--schedule cosine", "--schedule must be one of exponential, linear, got 'cosine'"),
    ("--trials-per-arm 3", "unknown option '--trials-per-arm'"),
    ("--num-step 30", "unknown option '--num-step'; did you mean '--num-steps'?"),
    ("--imbalance-ratio 0.5", "--imbalance-ratio must be greater than or equal to 1, got 0.5"),
    ("--name taken", "reports/taken exists already: choose another --name"),
    ("--start learning_rat=1", "--start: learning_rat is no knob of these arms; there are "),
]


@pytest.mark.parametrize(("line", "sentence"), REFUSALS, ids=[line for line, _ in REFUSALS])
def test_a_bad_input_is_refused_in_one_sentence(line, sentence):
    Path("reports/taken").mkdir(parents=True)
    said = refusal(line)
    assert said.startswith(sentence) if sentence.endswith(("are ", "option '--trials-per-arm'")) else said == sentence
    assert [path.name for path in Path("reports").iterdir()] == ["taken"]


def test_an_unknown_arm_is_told_the_nearest():
    sentence = refusal("--arm focl")
    assert sentence.startswith("--arm must be one of none, copy, ")
    assert sentence.endswith("got 'focl'; did you mean 'focal'?")


def test_an_arm_that_begins_with_solved_puzzles_needs_them():
    assert refusal("--arm jigsaw_10pct", "jigsaw") == (
        "--arm jigsaw_10pct begins with weights that solved puzzles: give them by --pretext-checkpoint DIR"
    )


@pytest.mark.parametrize("task", STUDIES)
def test_help_names_the_task_s_own_options_and_no_budget(capsys, task):
    with pytest.raises(SystemExit) as ended:
        verb.main([task, "--help"])
    assert not ended.value.code
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python -m study.lr_range {task}")
    named = set(text.replace(",", " ").split())
    own = {"--arm", "--schedule", "--num-steps", "--min-lr", "--max-lr", "--smoothing"}
    assert own | {"--dataset", "--data-root", "--download", "--image-size", "--name", "--output-dir", "--seed"} <= named
    topic = {
        option_name(name)
        for name, field in STUDIES[task].spec.model_fields.items()
        if name in {"model", "padding", "grid", "label_fractions"} or name.startswith("imbalance")
    }
    assert topic <= named
    usage = set(re.findall(r"--[a-z-]+", text.partition("\n\n")[0]))
    assert not usage & {"--trials-per-arm", "--max-epochs", "--searcher", "--start-from-lr-range", "--arms"}


# --- a study that starts there


def suggestion(folder, rate, **values):
    folder.mkdir()
    facts = {"task": "imbalance", "stage": "tune", "arm": "none", "suggestions": {"steepest_descent": rate}}
    (folder / "lr_range.json").write_text(json.dumps({**facts, **values}))
    return folder


def spec_of(line):
    return resolved(STUDY, parse_study(["imbalance", *shlex.split(line)])[1], dataset="digits", num_gpus=0)


def test_every_arm_starts_at_the_suggestion_and_the_spec_needs_the_folder_no_more(tmp_path):
    folder = suggestion(tmp_path / "test", 0.04321987)
    spec = spec_of("--start-from-lr-range test --start momentum=0.8 --arms none,focal --dataset digits")
    assert spec.start == {"momentum": "0.8", "learning_rate": "0.04322"}
    (folder / "lr_range.json").unlink()
    # As resume reads it, and as --spec does for a new run.
    saved = tmp_path / "spec.json"
    saved.write_text(json.dumps(spec.model_dump(mode="json")))
    assert validated(ImbalanceSpec, json.loads(saved.read_text())) == spec
    again = spec_of("--spec spec.json")
    assert again.start == spec.start
    (stage,) = STUDY.stages(spec, load_data(STUDY, spec)[1])
    for arm in ("none", "focal"):
        assert stage.space.start_hparams(stage.space.arms[arm])["learning_rate"] == 0.04322


def test_a_learning_rate_by_hand_goes_before_the_suggestion(tmp_path):
    suggestion(tmp_path / "test", 0.04)
    spec = spec_of("--start-from-lr-range test --start learning_rate=0.1")
    assert spec.start == {"learning_rate": "0.1"}
    assert spec.start_from_lr_range is None
    one = spec_of("--start-from-lr-range test --start focal.learning_rate=0.1")
    assert one.start == {"focal.learning_rate": "0.1", "learning_rate": "0.04"}


def test_without_the_option_nothing_changes():
    assert spec_of("").start is None
    assert spec_of("").start_from_lr_range is None


def test_the_option_is_kept_in_the_command():
    values = parse_study(["imbalance", "--start-from-lr-range", "a b"])[1]
    assert command_line(STUDY.name, values) == "python -m study.run imbalance --start-from-lr-range 'a b'"


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (None, "--start-from-lr-range test is not a folder that study.lr_range wrote (it lacks lr_range.json)"),
        ("{", "--start-from-lr-range: test/lr_range.json is damaged"),
        ("[]", "--start-from-lr-range: test/lr_range.json is damaged"),
        ({"suggestions": {}}, "--start-from-lr-range: test/lr_range.json is damaged"),
        ({"suggestions": {"steepest_descent": "0.1"}}, "--start-from-lr-range: test/lr_range.json is damaged"),
        ({"suggestions": {"steepest_descent": -0.1}}, "--start-from-lr-range: test/lr_range.json is damaged"),
        (
            {"suggestions": {"steepest_descent": None}},
            "--start-from-lr-range test suggests no learning rate: the loss never fell there",
        ),
        ({"task": "baseline"}, "--start-from-lr-range test is of the task 'baseline', not 'imbalance'"),
    ],
)
def test_a_folder_that_suggests_nothing_is_refused_before_the_data_are_touched(tmp_path, written, sentence):
    if isinstance(written, dict):
        suggestion(tmp_path / "test", 0.1, **written)
    elif written is not None:
        suggestion(tmp_path / "test", 0.1)
        (tmp_path / "test" / "lr_range.json").write_text(written)
    with pytest.raises(StudyError) as caught:
        checked(STUDY, parse_study(["imbalance", "--start-from-lr-range", "test"])[1])
    assert str(caught.value) == sentence


# --- the figure's data


def test_the_figure_points_at_both_suggestions_and_leaves_the_runaway_out_of_its_axis():
    result = LrRange(
        settings=LrRangeSettings(num_steps=10, min_lr=1e-3, max_lr=1.0),
        learning_rates=(0.001, 0.01, 0.1, 0.5),
        losses=(3.0, 2.0, 1.0, math.inf),
        smoothed_losses=(3.0, 2.0, 1.5, math.inf),
        divergence_step=4,
        steepest_descent=0.01,
        tenth_of_minimum=0.055,
    )
    curve = lr_range_data(result, "a title", searched=(0.01, 0.3))
    assert [(mark.learning_rate, mark.loss) for mark in curve.marks] == [(0.01, 2.0), (0.055, pytest.approx(1.75))]
    assert [mark.label for mark in curve.marks] == ["steepest descent 0.01", "a tenth of the minimum's 0.055"]
    assert curve.diverged_at == 0.5
    assert 3.0 < curve.top < 4.0
    assert 0.5 < curve.bottom < 1.0
    assert curve.is_logarithmic


# --- a recipe


def test_a_recipe_s_own_net_is_tested_beside_the_rate_that_it_trains_at(tmp_path, capsys):
    argv = ["s4_lenet_2ep", "--dataset", "digits", "--num-steps", "40", "--name", "test", "--output-dir", str(tmp_path)]
    assert verb.main(argv) == 0
    facts = json.loads((tmp_path / "test" / "lr_range.json").read_text())
    assert (facts["recipe"], facts["chosen"], facts["config"]["model"]) == ("s4_lenet_2ep", 1e-3, "lenet")
    assert facts["config"]["batch_size"] == 4
    said = capsys.readouterr().out
    rate = facts["suggestions"]["steepest_descent"]
    assert rate is not None
    assert f"steepest descent: {rate:.4g}, {rate / 1e-3:.2g} times the recipe's 0.001" in said
    assert f"figure: {tmp_path / 'test' / 'lr_range.png'}" in said
    steps = pq.read_table(tmp_path / "test" / "lr_range.parquet").to_pylist()
    assert len(steps) == facts["num_steps_taken"]


def test_a_recipe_s_data_are_loaded_as_every_option_of_data_says(tmp_path, monkeypatch):
    asked = {}

    def load(name, **options):
        asked.update(options, name=name)
        return load_dataset(name, **options)

    monkeypatch.setattr(runs, "load_dataset", load)
    folder = tmp_path / "copies"
    words = ["--num-steps", "10", "--image-size", "32", "--drop-duplicates", "--cache-dir", str(folder)]
    argv = ["s4_lenet_2ep", "--dataset", "digits", *words, "--name", "test", "--output-dir", str(tmp_path)]
    assert verb.main(argv) == 0
    assert (asked["name"], asked["image_size"], asked["drop_duplicates"]) == ("digits", 32, True)
    assert asked["cache_dir"] == folder


def test_the_recipe_s_rate_is_a_marked_line_and_nothing_is_shaded():
    result = lr_range(quadratic(8.0), unsmoothed(min_lr=1e-3, max_lr=0.5, num_steps=20))
    ax = draw_lr_range(lr_range_data(result, "a title", chosen=5e-3)).axes[0]
    assert [line.get_xdata()[0] for line in ax.lines if line.get_label() == "of the recipe: 0.005"] == [5e-3]
    assert [text for text in ax.get_legend_handles_labels()[1] if text.startswith("searched")] == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["s4_resnet9"], "there is no recipe 's4_resnet9'; did you mean 's4_resnet9_"),
        (["s4_lenet_2ep", "--arm", "none"], "unknown option '--arm'"),
        (["s1_jigsaw_init", "--dataset", "digits"], "s1_jigsaw_init begins with the weights of s1_jigsaw2x2"),
        (["s4_lenet_2ep", "--num-steps", "3"], "--num-steps must be at least 10, got 3"),
    ],
)
def test_bad_input_of_a_recipe_is_one_sentence(argv, message):
    with pytest.raises(StudyError) as caught:
        verb.main(argv)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
