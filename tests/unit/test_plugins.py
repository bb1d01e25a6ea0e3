"""Users' own parts: registered, checked, copied, found again, and refused in one sentence where they break a rule."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import cloudpickle
import pytest
import torch
from learner_cases import setup_of, thinned_digits
from study_process import assert_one_sentence, run_here

from search_spaces.imbalance import ARM_NAMES
from study.api import Imbalance
from study.cli import parse_study
from study.core.commands import command_line
from study.core.errors import StudyError
from study.core.plugins import (
    keep_sources,
    own_part_names,
    require_sound_models,
    require_unchanged,
    sources,
    use_given,
    use_kept,
)
from study.tasks.registry import STUDIES
from study.tasks.resolve import checked, resolved
from study.tasks.spec_file import spec_file
from trainables.common.plugins import own_parts, plugins_in_use, use
from trainables.hparams import ImbalanceHparams
from trainables.models import MODELS, build_model
from trainables.parts.contracts import check_model
from trainables.parts.losses import LOSSES
from trainables.tasks.imbalance import IMBALANCE

EXAMPLE = str(Path(__file__).resolve().parents[2] / "examples" / "my_parts.py")
STUDY = STUDIES["imbalance"]
LOSS = """
from torch.nn import functional as F
from trainables.own import loss
@loss("{name}")
def {name}(logits, targets, *, class_weights, class_counts, scalars):
    return F.cross_entropy(logits, targets)
"""


@pytest.fixture(autouse=True)
def no_plugin_stays() -> Iterator[None]:
    yield
    use(())


def written(folder: Path, text: str, name: str = "parts.py") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def refusal(*given: str) -> str:
    with pytest.raises(StudyError) as refused:
        use_given(given)
    assert (own_parts(), plugins_in_use()) == ((), ())
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- registered


def test_one_file_has_a_part_of_each_kind_beside_the_project_s() -> None:
    use_given([EXAMPLE])
    parts = {part.kind: part.name for part in own_parts()}
    assert parts == {
        "hyperparameter": "weight_floor",
        "loss": "gce",
        "class_weighting": "square_root",
        "sampler": "halves",
        "mixing": "halfway",
        "augmentation": "quarter_turns",
        "model": "two_layers",
        "optimizer": "nadam",
        "schedule": "exponential",
        "dataset": "ones_and_sevens",
        "metric": "mean_confidence",
        "arm": "two_layers",
    }
    assert STUDY.own_arms == ("gce", "square_root")
    assert STUDIES["baseline"].own_arms == ("two_layers",)
    assert STUDY.arm_names == ARM_NAMES
    use_given([])
    assert STUDY.own_arms == ()
    assert {"gce", "two_layers"}.isdisjoint({*LOSSES, *MODELS})


def test_the_plugin_in_the_readme_holds_as_printed(tmp_path: Path) -> None:
    section = (Path(EXAMPLE).parents[1] / "README.md").read_text(encoding="utf-8").split("## Your own parts")[1]
    use_given([written(tmp_path, section.split("```python\n")[1].split("```")[0], "my_parts.py")])
    assert {(part.kind, part.name) for part in own_parts()} == {
        ("hyperparameter", "gce_q"), ("loss", "gce"), ("model", "my_net"), ("arm", "gce"),
    }  # fmt: skip
    check_model(partial(build_model, "my_net"), image_size=16)
    two = torch.tensor([[0.0, 0.0]])  # p = 1/2: (1 - 2^-q) / q
    loss = LOSSES["gce"].function(
        two,
        torch.tensor([1]),
        class_weights=torch.ones(2),
        class_counts=torch.ones(2),
        scalars={"gce_q": torch.tensor(1.0)},
    )
    assert float(loss) == pytest.approx(0.5)


def test_a_file_that_is_only_imported_registers_nothing() -> None:
    namespace: dict[str, object] = {"__name__": "my_parts"}
    exec(compile(Path(EXAMPLE).read_text(), EXAMPLE, "exec"), namespace)
    assert callable(namespace["generalised_cross_entropy"])
    assert "gce" not in LOSSES


def test_an_own_hyperparameter_is_a_field_in_all_but_name() -> None:
    use_given([EXAMPLE])
    task = replace(IMBALANCE, plugins=plugins_in_use())
    hparams = ImbalanceHparams(loss="gce", gce_q=1)
    assert dict(hparams)["gce_q"] == 1.0
    assert isinstance(dict(hparams)["gce_q"], float)
    with pytest.raises(ValueError, match="loss 'gce' needs gce_q, got None"):
        task.validated({"loss": "gce"})
    with pytest.raises(ValueError, match=r"^gce_q must be less than or equal to 1$"):
        task.validated({"loss": "gce", "gce_q": 1.5})
    use_given([])
    with pytest.raises(ValueError, match="gce_q is no hyperparameter of this task"):
        ImbalanceHparams(gce_q=0.5)


def test_own_arms_are_tuned_beside_the_preset_s_and_judged_against_the_control() -> None:
    spec = resolved(STUDY, {"plugin": [EXAMPLE], "name": "it"}, dataset="digits", num_gpus=0)
    assert spec.arms is not None
    assert spec.arms[-2:] == ("gce", "square_root")
    (stage,) = STUDY.stages(spec, thinned_digits())
    assert (stage.groups[0].control, stage.groups[0].arms) == ("none", spec.arms)
    assert stage.space.start_hparams(stage.space.arms["gce"])["gce_q"] == 0.7
    chosen = checked(STUDY, {"plugin": (EXAMPLE,), "arms": "none,gce", "space": {"gce.gce_q": "0.2..0.4"}})
    assert chosen.arms == ("none", "gce")
    with pytest.raises(StudyError, match=r"got 'gcee'; did you mean 'gce'\?$"):
        checked(STUDY, {"plugin": [EXAMPLE], "arms": "gcee"})
    with pytest.raises(StudyError, match=r"^--arms must be all or some of .*, got 'gce'"):
        checked(STUDY, {"arms": "gce"})


def test_an_own_model_is_a_value_of_model() -> None:
    assert checked(STUDY, {"plugin": [EXAMPLE], "model": "two_layers"}).model == "two_layers"
    assert checked(STUDIES["cifar100"], {"plugin": [EXAMPLE], "model": "two_layers"}).model == "two_layers"
    with pytest.raises(ValueError, match="model two_layers takes no head, and 'cosine' is asked for"):
        build_model("two_layers", num_classes=2, in_channels=3, image_size=16, head="cosine")
    with pytest.raises(StudyError, match=r"^--model must be one of small_cnn, .* got 'two_layers'$"):
        checked(STUDY, {"model": "two_layers"})
    spec = resolved(
        STUDIES["cifar100"],
        {"plugin": [EXAMPLE], "model": "two_layers", "arms": ["deeper"]},
        dataset="digits",
        num_gpus=0,
    )
    with pytest.raises(StudyError, match="no deeper network than two_layers is known"):
        STUDIES["cifar100"].stages(spec, thinned_digits())


def test_a_task_takes_its_plugins_to_a_process_that_has_none() -> None:
    spec = resolved(STUDY, {"plugin": [EXAMPLE], "arms": ["gce"], "name": "it"}, dataset="digits", num_gpus=0)
    (stage,) = STUDY.stages(spec, thinned_digits())
    sent = cloudpickle.dumps(stage.task)
    use(())
    learner = cloudpickle.loads(sent).learner({"loss": "gce", "gce_q": 0.5}, thinned_digits(), setup_of(num_epochs=1))
    assert learner.num_epochs == 1
    assert "gce" in LOSSES
    IMBALANCE.validated({})
    assert "gce" not in LOSSES  # of a task without plugins there are none


def test_a_plugin_may_be_named_as_a_module_or_an_entry_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "a_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "names.py").write_text("NAME = 'from_module'\n")
    text = "from .names import NAME\n" + LOSS.format(name="placeholder").replace('"placeholder"', "NAME")
    written(package, text)
    monkeypatch.syspath_prepend(str(tmp_path))
    use_given(["a_package.parts"])
    assert [str(part) for part in own_parts()] == ["loss from_module"]
    [source] = sources()
    assert (source.file, source.package) == ("parts.py", "a_package")
    point = importlib.metadata.EntryPoint("mine", "a_package.parts", "ray_tune_study.plugins")
    found = importlib.metadata.EntryPoints([point])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found)
    use_given(["mine"])
    assert [str(part) for part in own_parts()] == ["loss from_module"]


def test_the_command_names_each_plugin_and_the_spec_file_its_arms(tmp_path: Path) -> None:
    other = written(tmp_path, LOSS.format(name="other"), "with, comma.py")
    command = command_line("imbalance", {"plugin": [EXAMPLE, other], "arms": "none,gce"})
    assert shlex.split(command)[4:] == ["--plugin", EXAMPLE, "--plugin", other, "--arms", "none,gce"]
    text = spec_file(STUDY, {"plugin": [EXAMPLE], "arms": ["none", "gce"], "dataset": "digits"})
    assert f'plugin = ["{EXAMPLE}"]' in text
    assert '#gce_q = "0.1..1.0"' in text


# --- what a run keeps


def test_a_run_keeps_a_copy_and_goes_on_with_it_where_the_original_is_gone(tmp_path: Path) -> None:
    original = written(tmp_path, LOSS.format(name="kept"))
    use_given([original])
    recorded = sources()
    assert recorded[0].sha256 == hashlib.sha256(Path(original).read_bytes()).hexdigest()
    assert own_part_names()[0]["parts"] == ["loss kept"]
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    keep_sources(run_dir)
    assert list(require_unchanged(run_dir, recorded)) == []
    use(())
    Path(original).unlink()
    [note] = require_unchanged(run_dir, recorded)
    assert note == f"plugin: there is no file {original}; the run goes on with its copy, {run_dir}/plugins/parts.py"
    use_kept(run_dir, recorded)
    assert "kept" in LOSSES


def test_a_changed_original_is_refused_with_both_hashes_and_a_changed_copy_too(tmp_path: Path) -> None:
    original = written(tmp_path, LOSS.format(name="before"))
    use_given([original])
    recorded = sources()
    keep_sources(tmp_path)
    written(tmp_path, LOSS.format(name="after"))
    was, now = recorded[0].sha256, hashlib.sha256(Path(original).read_bytes()).hexdigest()
    with pytest.raises(StudyError) as refused:
        list(require_unchanged(tmp_path, recorded))
    assert str(refused.value) == (
        f"--plugin {original} was changed since the run began (SHA-256 {now}, was {was}): put it back, as "
        f"{tmp_path}/plugins/parts.py has it, or begin a new run"
    )
    use_kept(tmp_path, recorded)  # looking back takes the copy
    assert "before" in LOSSES
    copy = tmp_path / "plugins" / "parts.py"
    copy.write_text(LOSS.format(name="after"))
    use(())
    with pytest.raises(StudyError, match=f"is not what the run began with .SHA-256 {now}, was {was}.: it cannot"):
        use_kept(tmp_path, recorded)
    copy.unlink()
    with pytest.raises(StudyError, match="is not what the run began with"):
        use_kept(tmp_path, recorded)
    Path(original).unlink()
    with pytest.raises(StudyError, match=re.escape(f"parts.py: the run's copy {copy} is gone, and there is no file")):
        use_kept(tmp_path, recorded)


# --- refused: files


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    assert refusal(str(tmp_path)) == f"--plugin {tmp_path} is a folder, and a plugin is one file"
    assert refusal("no/such.py") == "--plugin there is no file no/such.py"
    assert refusal("no_such_module") == "--plugin there is no file, entry point or module 'no_such_module'"
    assert refusal("no_such.module") == "--plugin there is no file, entry point or module 'no_such.module'"
    assert refusal("not a name") == "--plugin there is no file, entry point or module 'not a name'"
    assert refusal("math").startswith("--plugin math has no source file of Python")
    path = tmp_path / "latin.py"
    path.write_bytes(b"# caf\xe9\n")
    assert refusal(str(path)) == f"--plugin {path} is not UTF-8: byte 5 is 0xe9"
    assert refusal(EXAMPLE, EXAMPLE) == (
        "--plugin names my_parts.py twice: give each plugin once, with a file name of its own"
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1\ny = x / 0\n", ", line 2: ZeroDivisionError: division by zero"),
        ("def f():\n    raise KeyError\nf()\n", ", line 2: KeyError"),
        ("x = (\n", ", line 1: SyntaxError: '(' was never closed"),
        ("import sys\nsys.exit('enough')\n", ", line 2: SystemExit: enough"),
        (
            "import no_such_package.part\n",
            ", line 1: it needs the package 'no_such_package', which is not installed on",
        ),
        ("from trainables.own import los\n", ", line 1: ImportError: cannot import name 'los'"),
        ("import trainables.oven\n", ", line 1: ModuleNotFoundError: No module named 'trainables.oven'"),
    ],
)
def test_a_file_that_does_not_import_is_refused_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = written(tmp_path, text)
    assert refusal(path).startswith(f"--plugin {path}{complaint}")


# --- refused: names

OWN = "from trainables.own import *\nfrom search_spaces.own import arm\nfrom search_spaces.imbalance import remedy\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            LOSS.format(name="mine") * 2,
            ", line 10: the loss 'mine' is registered already by {path}: choose another name",
        ),
        (LOSS.format(name="focal"), ", line 4: the loss 'focal' is one of the project's own: choose another name"),
        (LOSS.format(name="Mine"), ", line 4: the name of a loss must be small letters, digits and underscores,"),
        (OWN + "model('a.b')(print)\n", ", line 4: the name of a model must be small letters"),
        (OWN + f"schedule('{'a' * 61}')(print)\n", ", line 4: the name of a schedule must be small letters"),
        (OWN + "model('resnet9')(print)\n", ", line 4: the model 'resnet9' is one of the project's own"),
        (
            OWN + "arm('imbalance')(lambda: remedy('focal', 'as the built-in one'))\n",
            ", line 4: the arm 'focal' is one",
        ),
        (
            OWN + "arm('imbalanc')(print)\n",
            ", line 4: arms can be added to baseline, imbalance, cifar100, got 'imbalanc'",
        ),
        (OWN + "arm('imbalance')(lambda: 3)\n", ", line 4: <lambda> must return an Arm, got int"),
        (OWN + "arm('imbalance')(lambda: remedy('mine', 'short'))\n", ", line 4: the description of the arm 'mine'"),
        (
            OWN + "arm('baseline')(lambda: remedy('a', 'as arms of imbalance are'))\n",
            ", line 4: the arm 'a' must have the factors of the others, model, got loss, class_weighting,",
        ),
        (OWN + "hyperparameter('momentum', example=0.5)\n", ", line 4: the hyperparameter 'momentum' is one of the pr"),
        (OWN + "hyperparameter('mine', example=2.0, le=1)\n", ", line 4: ValueError: mine must be less than or equal"),
    ],
)
def test_names_that_may_not_be_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = written(tmp_path, text)
    assert refusal(path).startswith(f"--plugin {path}{complaint.format(path=path)}")


def test_two_plugins_may_not_register_one_name(tmp_path: Path) -> None:
    first, second = (written(tmp_path, LOSS.format(name="mine"), name) for name in ("a.py", "b.py"))
    assert refusal(first, second) == (
        f"--plugin {second}, line 4: the loss 'mine' is registered already by {first}: choose another name"
    )


# --- refused: contracts

HEAD = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\nfrom trainables.own import *\n"
OF_LOSS = "def mine(logits, targets, *, class_weights, class_counts, scalars):\n    "
OF_MODEL = "def mine(*, num_classes, in_channels, image_size):\n    "
FLAT = "nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))"
OF_SAMPLER = (
    "from trainables.parts.samplers import plain_plan\ndef mine(epoch):\n    n = len(epoch.labels)\n"
    "    g = epoch.generator\n    return "
)
OF_MIXING = "def mine(class_counts):\n    return prepare\ndef prepare(images, labels, generator):\n    "


@pytest.mark.parametrize(
    ("kind", "text", "complaint"),
    [
        (
            "loss",
            OF_LOSS + "return F.cross_entropy(logits, targets, reduction='none')",
            "must return a loss as float32",
        ),
        ("loss", OF_LOSS + "return (logits.sum() * 0).log()", "must be finite, got -inf"),
        ("loss", OF_LOSS + "return F.cross_entropy(logits.detach(), targets)", "gives the logits no gradient"),
        ("loss", OF_LOSS + "return F.cross_entropy(logits, targets, reduction='sum')", "must be a mean over images"),
        (
            "loss",
            OF_LOSS + "return F.cross_entropy(logits + torch.rand(()), targets) * torch.rand(())",
            "gives another",
        ),
        (
            "loss",
            OF_LOSS + "class_weights.mul_(2)\n    return F.cross_entropy(logits, targets)",
            "changes its class_wei",
        ),
        ("loss", OF_LOSS + "return scalars['focal_gamma'] * logits.mean()", "reads 'focal_gamma', which is not among"),
        ("loss", OF_LOSS + "return F.cross_entropy(logits.exp(), targets)", "is not finite where the model is certain"),
        ("loss", OF_LOSS + "return logits.no_such()", "fails: AttributeError: "),
        ("class_weighting", "def mine(counts):\n    return 1 / counts", "must give weights with mean 1, got mean"),
        (
            "class_weighting",
            "def mine(counts):\n    return 1 / counts.double()",
            "must return a weight a class as float3",
        ),
        (
            "class_weighting",
            "def mine(counts):\n    return torch.tensor([5.0, 0, 0, 0, 0])",
            "must give positive, finite",
        ),
        (
            "sampler",
            OF_SAMPLER + "plain_plan(torch.arange(n)[1:], epoch.batch_size)",
            "must return positions, as many as",
        ),
        (
            "sampler",
            OF_SAMPLER + "plain_plan(torch.arange(n) + 1, epoch.batch_size)",
            "must draw positions from 0 to 69",
        ),
        (
            "sampler",
            OF_SAMPLER + "plain_plan(torch.randperm(n), epoch.batch_size)",
            "gives another result for the same",
        ),
        ("sampler", OF_SAMPLER + "plain_plan(epoch.labels.zero_(), epoch.batch_size)", "changes its labels in place"),
        ("sampler", OF_SAMPLER + "plain_plan(torch.arange(n), 1)", "must make batches of at least 2 images, got 1"),
        ("sampler", OF_SAMPLER + "n", "must return an EpochPlan, got int"),
        ("sampler", OF_SAMPLER + "epoch.knobs['mine']", "reads 'mine', which is not among what it needs"),
        ("mixing", OF_MIXING + "return images.mul_(2), labels", "changes its images in place, which others use too"),
        (
            "mixing",
            OF_MIXING + "return images, F.one_hot(labels, 5).float() * 2",
            "must give each image shares of the cl",
        ),
        (
            "augmentation",
            "def mine(batch, generator):\n    return batch.float()",
            "must return images as uint8 of shape",
        ),
        (
            "augmentation",
            "def mine(batch, generator):\n    return batch.flip(2).add_(torch.randint(9, ()))",
            "gives anoth",
        ),
        (
            "augmentation",
            "def mine(batch, generator):\n    return batch.transpose(1, 2)",
            "must return images that are con",
        ),
        (
            "optimizer",
            "def mine(groups, lr, momentum):\n    return torch.optim.SGD(groups, lr=0.0)",
            "leaves a parameter",
        ),
        (
            "schedule",
            "def mine(progress):\n    return 1 - 2 * progress",
            "must give a multiplier in (0, 1], got 0.0 at 50",
        ),
    ],
)
def test_a_part_that_breaks_its_contract_is_named_before_ray_starts(
    tmp_path: Path, kind: str, text: str, complaint: str
) -> None:
    path = written(tmp_path, f"{HEAD}{text}\n{kind}('mine')(mine)\n")
    assert refusal(path).startswith(f"--plugin {path}: the {kind} 'mine' {complaint}")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "return " + FLAT.replace("num_classes", "3"),
            "must return a logit a class for images of 3 × 16 × 16 as float32",
        ),
        ("torch.seed()\n    return " + FLAT, "has other weights under the same seed of torch"),
        (
            f"m = {FLAT}\n    m[1].w = nn.Parameter(torch.ones(1))\n    return m",
            "gives no gradient to 1.w: its out",
        ),
        (f"m = {FLAT}\n    return m.requires_grad_(False)", "has no parameter that its outputs depend on"),
        (
            f"m = {FLAT}\n    m.append(nn.BatchNorm1d(10, track_running_stats=False))\n    return m",
            "judges an image",
        ),
        (f"m = {FLAT}\n    m[1].weight.data.fill_(torch.inf)\n    return m", "gives outputs that are not finite"),
        (
            f"m = {FLAT}\n    m.insert(0, nn.ReLU(inplace=True))\n    return m",
            "changes its images in place, which others",
        ),
        ("return nn.Linear(2, 2)", "fails: RuntimeError: "),
        ("return None", "must return an nn.Module, got NoneType"),
    ],
)
def test_a_model_that_breaks_its_contract_on_the_study_s_images_is_named(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = written(tmp_path, f"{HEAD}{OF_MODEL}{text}\nmodel('mine')(mine)\n")
    use_given([path])
    with pytest.raises(StudyError) as refused:
        require_sound_models(thinned_digits())
    assert str(refused.value).startswith(f"--plugin {path}: the model 'mine' {complaint}")


def test_a_model_that_begins_with_a_last_layer_of_zeros_is_sound(tmp_path: Path) -> None:
    text = f"{HEAD}{OF_MODEL}m = {FLAT}\n    m.append(nn.Linear(num_classes, num_classes))\n"
    text += "    nn.init.zeros_(m[2].weight)\n    return m\nmodel('mine')(mine)\n"
    use_given([written(tmp_path, text)])
    require_sound_models(thinned_digits())


def test_a_part_may_only_need_knobs_that_there_are(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEAD}{OF_LOSS}return logits.mean()\nloss('mine', needs=('knob',))(mine)\n")
    assert refusal(path).startswith(
        f"--plugin {path}: the loss 'mine' needs 'knob', which is no knob of a part: declare"
    )


def test_an_arm_that_fixes_what_the_task_sets_is_refused(tmp_path: Path) -> None:
    text = OWN + "from dataclasses import replace\nmine = remedy('mine', 'with another net')\n"
    path = written(tmp_path, text + "arm('imbalance')(lambda: replace(mine, fixed={**mine.fixed, 'model': 'lenet'}))\n")
    spec = resolved(STUDY, {"plugin": path, "name": "it"}, dataset="digits", num_gpus=0)
    with pytest.raises(StudyError, match=r"^--plugin: the arm 'mine' fixes model='lenet', which the task sets"):
        STUDY.stages(spec, thinned_digits())


@pytest.mark.parametrize(
    ("start", "complaint"),
    [
        (0.7, "allows knob=2.0: knob must be less than or equal to 1"),
        (1.5, "cannot be trained where its search starts: knob must be less than or equal to 1"),
    ],
)
def test_an_arm_that_searches_beyond_what_is_possible_is_refused(tmp_path: Path, start: float, complaint: str) -> None:
    text = f"{OWN}from search_spaces.declarations import Float\nfrom search_spaces.space import each_of\n"
    text += "hyperparameter('knob', example=0.5, le=1)\n"
    text += "arm('imbalance')(lambda: remedy('mine', 'searches too far', suggest=each_of(KNOB)))\n"
    text = text.replace("KNOB", f"Float('knob', 0.5, 2.0, start={start})")
    spec = resolved(STUDY, {"plugin": written(tmp_path, text), "name": "it"}, dataset="digits", num_gpus=0)
    with pytest.raises(StudyError) as refused:
        STUDY.stages(spec, thinned_digits())
    assert str(refused.value) == f"--plugin: the arm 'mine' {complaint}"


def test_a_spec_file_and_python_take_plugins_too(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    for given in (f'"{EXAMPLE}"', f'["{EXAMPLE}"]'):
        file.write_text(f"plugin = {given}\narms = ['gce']\n")
        study, values = parse_study(["imbalance", "--spec", str(file)])
        assert checked(study, values).plugin == (EXAMPLE,)
    assert Imbalance(plugin=EXAMPLE, arms=("gce",)).plugin == (EXAMPLE,)
    with pytest.raises(StudyError, match=r"^--plugin there is no file no/such\.py$"):
        Imbalance(plugin="no/such.py").run()


def test_what_is_refused_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, said, complained = run_here("study.run", "imbalance", "--plugin", "none.py", "--dataset", "digits")
    assert (status, said) == (2, "")
    assert_one_sentence(complained)
    assert list(tmp_path.iterdir()) == []
