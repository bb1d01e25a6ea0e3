"""A task that no file of the packages knows: defined here on all four layers, run to its page, rebuilt, resumed.

It asks how much wrong labels cost: the arm `clean` trains on the labels as they are, `noisy` on some drawn anew.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import ray
from matplotlib.figure import Figure as Canvas
from study_process import ledger_events, read_rows, read_summary

from search_spaces.declarations import Float
from search_spaces.space import Arm, SearchSpace, each_of
from study.analysis.tables import Tables, load_tables
from study.core.run_dir import settings_of
from study.core.spec import StudySpec, option, validated
from study.core.stage import Stage
from study.engine import study_session
from study.engine.console import StudyConsole
from study.page.answers import group_headline, verdict_remarks
from study.page.figures.base import Figure
from study.page.figures.catalogue import RESULTS, TUNING, recall
from study.page.render import write_page
from study.page.table import Table
from study.page.task import Section, TaskPage
from study.tasks.study import Study, budget, one_stage
from trainables.data.types import TuningData
from trainables.hparams import ClassifierHparams
from trainables.training.build import build_classifier
from trainables.training.evaluation import judge_classifier, validate_classifier
from trainables.training.learner import Learner
from trainables.training.setup import TrialSetup
from trainables.training.task import Task

pytestmark = pytest.mark.timeout(600)
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # no worker can import it

# --- trained -------------------------------------------------------------------------------------------------------


class NoiseHparams(ClassifierHparams):
    """wrong_labels: the share of the training labels that are drawn anew."""

    wrong_labels: float = 0.0


def with_wrong_labels(data: TuningData, share: float) -> TuningData:
    generator = np.random.default_rng(0)
    wrong = generator.choice(data.train_indices, size=round(share * data.num_train), replace=False)
    labels = data.labels.copy()
    labels[wrong] = generator.integers(data.num_classes, size=len(wrong))
    return replace(data, labels=labels)


def build_learner(hparams: NoiseHparams, data: TuningData, setup: TrialSetup) -> Learner:
    return build_classifier(hparams, with_wrong_labels(data, hparams.wrong_labels), setup)


NOISE_TASK = Task(
    name="noise",
    hparams=NoiseHparams,
    build_learner=build_learner,
    validate=validate_classifier,
    test=judge_classifier,
    metric="val_accuracy",
    mode="max",
    score="test_accuracy",
)

# --- searched ------------------------------------------------------------------------------------------------------


def noise_space() -> SearchSpace:
    learning_rate = Float("learning_rate", 0.01, 0.1, log=True, start=0.03)
    wrong_labels = Float("wrong_labels", 0.2, 0.8, start=0.5)
    fixed = {"model": "small_cnn", "augmentation": "none", "batch_size": 64}
    arms = (
        Arm(name="clean", description="the labels as they are", factors={"labels": "clean"}, fixed=fixed),
        Arm(
            name="noisy",
            description="a share of the labels drawn anew",
            factors={"labels": "noisy"},
            fixed=fixed,
            suggest=each_of(wrong_labels),
        ),
    )
    return SearchSpace(arms={arm.name: arm for arm in arms}, suggest=each_of(learning_rate))


# --- asked ---------------------------------------------------------------------------------------------------------


class NoiseSpec(StudySpec):
    task: Literal["noise"] = "noise"
    rater: str = option("nobody", "noise", "who drew the labels", scope="training", is_repeated=True)


def stages(spec: NoiseSpec, data: TuningData) -> tuple[Stage, ...]:
    return one_stage(spec, NOISE_TASK, noise_space(), "clean")


ARMS = ("clean", "noisy")
STUDY = Study(
    name="noise",
    question="what do wrong labels cost?",
    spec=NoiseSpec,
    arm_names=ARMS,
    presets={name: budget(ARMS, 2, 2, 1, 2) for name in ("quick", "standard", "full")},
    stages=stages,
    default_dataset="digits",
    setting=lambda spec: {"rater": spec.rater},
)

# --- told ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Costs:
    share: list[float]
    accuracy: list[float]


def costs_data(tables: Tables) -> Costs | None:
    trials = tables.tuning.dropna(subset=["objective"])
    if "config/wrong_labels" not in trials:
        return None
    trials = trials.dropna(subset=["config/wrong_labels"])
    return Costs(share=list(trials["config/wrong_labels"]), accuracy=list(100 * trials["objective"]))


def draw_costs(data: Costs) -> Canvas:
    canvas = Canvas(figsize=(5, 3), layout="constrained")
    ax = canvas.subplots()
    ax.plot(data.share, data.accuracy, "o")
    ax.set_xlabel("Share of wrong labels")
    ax.set_ylabel("Validation accuracy (%)")
    return canvas


COSTS = Figure(
    name="costs",
    section="costs",
    title="{objective} over the share of wrong labels",
    caption="One dot a trial.",
    alt=lambda data: f"{len(data.share)} trials.",
    absent="no {challenger} was tried",
    data=costs_data,
    draw=draw_costs,
)


def rater_table(tables: Tables) -> Table:
    return Table(caption="Who drew them.", columns=("Rater",), rows=((str(tables.summary["setting"]["rater"]),),))


PAGE = TaskPage(
    title="Noise: what do wrong labels cost?",
    headline=group_headline,
    remarks=verdict_remarks,
    figures=(*RESULTS, recall("training images"), COSTS, *TUNING),
    sections=(
        Section(name="costs", title="What they cost", text="As it was tried.", tables=lambda t: [rater_table(t)]),
    ),
    challenger="other rater",
    retest="training and validation images joined",
    shared="same seed",
)


# --- and run -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_dir(one_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    values: Mapping[str, Any] = {
        "output_dir": tmp_path_factory.mktemp("reports"), "name": "fifth", "rater": "a coin", "precision": "float32",
        "image_size": 16,
    }  # fmt: skip
    status, run_dir = study_session.begin(STUDY, PAGE, values, StudyConsole())
    assert status == 0
    return run_dir


def page_text(run_dir: Path) -> str:
    return re.sub(r"data:[^\"')]*", "", (run_dir / "report.html").read_text()).replace("\xa0", " ")


def test_a_task_of_ones_own_is_tuned_retested_and_answered(run_dir: Path) -> None:
    summary = read_summary(run_dir)
    assert (summary["task"], summary["state"], summary["not_retested"]) == ("noise", "complete", {})
    assert summary["arm_factors"] == {"clean": {"labels": "clean"}, "noisy": {"labels": "noisy"}}
    assert summary["knobs"]["noisy"]["wrong_labels"] == {"scale": "linear", "low": 0.2, "high": 0.8}
    assert len(read_rows(run_dir, "trials")) == len(read_rows(run_dir, "retests")) == 4
    assert {row["factor/labels"] for row in read_rows(run_dir, "trials")} == set(ARMS)
    assert all(
        0.2 <= row["config/wrong_labels"] <= 0.8 for row in read_rows(run_dir, "trials") if row["arm"] == "noisy"
    )


def test_its_page_has_its_title_its_section_its_figure_and_its_table(run_dir: Path) -> None:
    text = page_text(run_dir)
    assert "<h1>Noise: what do wrong labels cost?</h1>" in text
    assert ">What they cost</h2>" in text
    assert "validation accuracy over the share of wrong labels" in text
    assert "a coin" in text
    assert (run_dir / "figures" / "costs.png").read_bytes().startswith(b"\x89PNG")
    assert not re.search(r"\bnan\b|\bNone\b", text)


def test_a_winner_s_command_names_its_own_option(run_dir: Path) -> None:
    command = read_summary(run_dir)["winners"]["noisy"]["command"]
    assert command.startswith("python -m study.run noise ")
    assert "--rater 'a coin' " in command
    assert "wrong_labels=" in command


def test_its_page_is_rebuilt_from_the_tables(run_dir: Path) -> None:
    before = (run_dir / "report.html").read_text()
    assert write_page(run_dir, PAGE).read_text() == before
    assert load_tables(run_dir).task == "noise"


def test_it_resumes_and_trains_nothing_twice(run_dir: Path) -> None:
    events = ledger_events(run_dir)
    spec = validated(NoiseSpec, settings_of(run_dir))
    assert study_session.resume(STUDY, PAGE, spec, StudyConsole()) == 0
    assert {event["kind"] for event in ledger_events(run_dir)[len(events) :]} == {"session", "session_end"}
