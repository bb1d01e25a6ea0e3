"""Further retest seeds where they are needed: who goes on, when it ends, and that a resume decides alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from learner_cases import digits
from study_cases import asked

from study.analysis.contenders import needing_seeds
from study.core.errors import StudyError
from study.core.ledger import ASKED, EPOCH, Event, Ledger, finished
from study.core.spec import StudySpec, validated
from study.core.stage import Stage
from study.engine import retest as retests
from study.engine.console import StudyConsole
from study.engine.jobs import Job, Outcome
from study.engine.study_session import StudySession
from study.page.tasks.registry import PAGES
from study.tasks.imbalance import ImbalanceSpec
from study.tasks.registry import STUDIES
from study.tasks.resolve import resolved
from trainables.data.splits import tuning_data, whole
from trainables.training.checkpoints import read_newest_checkpoint, write_checkpoint

NONE = [0.60, 0.61, 0.62]
STEP = 1e-4


def scores(**values: Sequence[float]) -> dict[str, pd.Series]:
    return {arm: pd.Series(dict(enumerate(those)), dtype="float64") for arm, those in values.items()}


def needed(by_arm: dict[str, pd.Series], *, num_looks: int = 1, narrow: float = 0.0) -> tuple[str, ...]:
    return needing_seeds(by_arm, "none", step=STEP, num_looks=num_looks, narrow=narrow)


# --- the winner's weights -------------------------------------------------------------------------------------------


def test_the_model_alone_is_kept_of_the_last_checkpoint_and_nothing_of_one_that_is_damaged(tmp_path: Path) -> None:
    checkpoints, kept = tmp_path / "checkpoints", tmp_path / "weights"
    retests.keep_weights(checkpoints, kept)
    assert not kept.exists()
    for epoch in (1, 2):
        learner = {"epoch": epoch, "model": {"w": torch.full((2,), float(epoch))}, "optimizer": {"momentum": 1}}
        write_checkpoint(checkpoints, {"learner": learner, "result": "[]"}, epoch=epoch)
    retests.keep_weights(checkpoints, kept)
    state = read_newest_checkpoint(kept)
    assert state is not None
    assert set(state) == {"model"}
    assert state["model"]["w"].tolist() == [2.0, 2.0]


# --- who goes on ----------------------------------------------------------------------------------------------------


def test_nobody_goes_on_where_the_best_is_told_from_all() -> None:
    assert needed(scores(none=NONE, a=[0.70, 0.71, 0.72], b=[0.65, 0.66, 0.67])) == ()


def test_the_best_what_may_be_the_best_and_the_control_go_on() -> None:
    # a - b = 0, 0, .005 includes 0; c lies below both by .1 on every seed.
    found = scores(none=NONE, c=[0.60, 0.61, 0.62], b=[0.70, 0.71, 0.715], a=[0.70, 0.71, 0.72])
    assert needed(found) == ("none", "b", "a")


def test_an_interval_that_is_narrow_enough_is_settled() -> None:
    # s = .0028868; three comparisons: t(2, .99167) = 7.6488, so .02550 wide. Two looks: t(2, .99583) = 10.886, .03629.
    found = scores(none=NONE, c=[0.60, 0.61, 0.62], b=[0.70, 0.71, 0.715], a=[0.70, 0.71, 0.72])
    assert needed(found, narrow=0.0256) == ()
    assert needed(found, narrow=0.0254) == ("none", "b", "a")
    assert needed(found, narrow=0.0256, num_looks=2) == ("none", "b", "a")
    assert needed(found, narrow=0.0364, num_looks=2) == ()


def test_the_control_is_told_from_the_best_challenger_also_where_it_is_the_best_itself() -> None:
    assert needed(scores(none=[0.70, 0.71, 0.72], a=[0.70, 0.71, 0.715])) == ("none", "a")
    assert needed(scores(none=[0.70, 0.71, 0.72], a=NONE)) == ()


def test_one_seed_tells_nothing_and_one_arm_needs_nothing() -> None:
    assert needed(scores(none=[0.6], a=[0.9])) == ("none", "a")
    assert needed(scores(none=NONE)) == ()
    assert needed({}) == ()


# --- when it ends ---------------------------------------------------------------------------------------------------


class Worker:
    """In the place of run_jobs: scores by rule, and a loss where one is wanted. done: the trainings, in their order."""

    def __init__(self, score: Callable[[str, int], float], lost: tuple[str, int] | None = None) -> None:
        self.score, self.lost, self.done = score, lost, []

    def __call__(self, jobs: Sequence[Job], *, on_outcome: Callable[[Job, Outcome], None], **_: Any) -> list[str]:
        for job in jobs:
            if job.key == self.lost:
                self.lost = None
                return [f"{job.name}, seed {job.seed}: the worker died"]
            self.done.append(job.key)
            on_outcome(job, ({job.task.score: self.score(*job.key)}, []))
        return []


class Retested:
    """A study that is tuned: its winners are retested by a Worker."""

    def __init__(self, task: str, folder: Path, **values: Any) -> None:
        self.study = STUDIES[task]
        settings = {"dataset": "digits", "max_epochs": 2, "output_dir": str(folder), "name": "it", **values}
        self.spec = resolved(self.study, settings, dataset="digits", num_gpus=0)
        self.data = tuning_data(digits(), thinned=whole, subset_seed=0)
        self.stages = self.study.stages(self.spec, self.data)
        self.ledger = Ledger(folder)
        for stage in self.stages:
            for arm in stage.arms:
                row = {"epoch": 1, "images": 1, "train_seconds": 1.0, stage.task.metric: 0.5}
                trial = f"{arm}-0000"
                self.ledger.append(asked(trial), Event(kind=EPOCH, trial_id=trial, payload=row))
                self.ledger.append(finished(trial, "completed"))

    def run(self, stage: Stage, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> bool:
        monkeypatch.setattr(retests, "run_jobs", worker)
        monkeypatch.setattr(retests.ray, "put", lambda value: value)
        session = StudySession(
            study=self.study,
            page=PAGES[self.study.name],
            spec=self.spec,
            stages=self.stages,
            dataset=digits(),
            data=self.data,
            ledger=self.ledger,
            console=StudyConsole(),
        )
        monkeypatch.setattr(session, "write", lambda state: None)
        return session._retest_stage(stage, 2)


ARMS = ("none", "focal", "copy")


def score(arm: str, seed: int) -> float:
    """copy is .1 below; focal's distance to none is .004 or -.002 on the first five seeds, .004 on all others."""
    noise = {1001: -0.002, 1003: -0.002}.get(seed, 0.004)
    return 0.7 + seed / 1e6 + {"none": 0.0, "focal": noise, "copy": -0.1}[arm]


def keys(arms: Sequence[str], seeds: range) -> set[tuple[str, int]]:
    return {(arm, seed) for arm in arms for seed in seeds}


def test_those_not_told_apart_go_on_to_the_most_seeds(tmp_path, monkeypatch) -> None:
    study = Retested("imbalance", tmp_path, arms=ARMS, retest_seeds=3, retest_until="decide", max_retest_seeds=8)
    assert study.spec.looks == (3, 5, 8)
    worker = Worker(score)
    assert not study.run(study.stages[0], worker, monkeypatch)
    assert set(worker.done) == keys(ARMS, range(1000, 1003)) | keys(("none", "focal"), range(1003, 1008))
    assert len(worker.done) == 3 * 3 + 2 * 5


def test_it_ends_as_soon_as_they_are_told_apart(tmp_path, monkeypatch) -> None:
    study = Retested("imbalance", tmp_path, arms=ARMS, retest_seeds=3, retest_until="decide", max_retest_seeds=8)
    worker = Worker(lambda arm, seed: score(arm, seed) + (0.05 if arm == "focal" else 0))
    assert not study.run(study.stages[0], worker, monkeypatch)
    assert set(worker.done) == keys(ARMS, range(1000, 1003))


def test_without_the_option_the_number_of_seeds_is_fixed(tmp_path, monkeypatch) -> None:
    study = Retested("imbalance", tmp_path, arms=ARMS, retest_seeds=3)
    worker = Worker(score)
    assert not study.run(study.stages[0], worker, monkeypatch)
    assert set(worker.done) == keys(ARMS, range(1000, 1003))


@pytest.mark.parametrize("lost", [("focal", 1001), ("none", 1004)])
def test_a_resume_repeats_what_was_lost_and_decides_alike(tmp_path, monkeypatch, lost) -> None:
    study = Retested("imbalance", tmp_path, arms=ARMS, retest_seeds=3, retest_until="decide", max_retest_seeds=8)
    worker = Worker(score, lost)
    assert study.run(study.stages[0], worker, monkeypatch)
    assert not study.run(study.stages[0], worker, monkeypatch)
    assert sorted(worker.done) == sorted(keys(ARMS, range(1000, 1003)) | keys(("none", "focal"), range(1003, 1008)))


def test_further_seeds_of_a_classifier_that_begins_with_puzzles_have_their_puzzles_first(tmp_path, monkeypatch) -> None:
    study = Retested(
        "jigsaw", tmp_path, label_fractions=(1.0,), retest_seeds=2, retest_until="decide", max_retest_seeds=3
    )
    pretext, transfer = study.stages
    worker = Worker(lambda arm, seed: 0.7 + (seed % 2) * (0.01 if arm.startswith("jigsaw") else 0.0))
    assert not study.run(pretext, worker, monkeypatch)
    assert worker.done == [("jigsaw_2x2", 1000), ("jigsaw_2x2", 1001)]
    assert not study.run(transfer, worker, monkeypatch)
    further = [key for key in worker.done if key[1] == 1002]
    assert further[0] == ("jigsaw_2x2", 1002)
    assert {arm for arm, _ in further} == {"jigsaw_2x2", *transfer.arms}


def test_winner_default_and_control_s_winner_are_retested_on_the_seeds_of_each_search(tmp_path, monkeypatch) -> None:
    values = {"arms": ("none",), "retest_seeds": 2, "searches": 2, "control": "random"}
    study = Retested("imbalance", tmp_path, **values)
    for trial_id, rate, search in (
        ("none-0001", 0.2, {}), ("none-random-0000", 0.3, {"control": "random"}),
        ("none-s2-0000", 0.4, {"search": 2}), ("none-s2-random-0000", 0.5, {"search": 2, "control": "random"}),
    ):  # fmt: skip
        payload = {**asked(trial_id, hparams={"learning_rate": rate}).payload, "arm": "none", **search}
        row = {"epoch": 1, "images": 1, "train_seconds": 1.0, study.stages[0].task.metric: 0.5 + rate}
        study.ledger.append(Event(kind=ASKED, trial_id=trial_id, payload=payload))
        study.ledger.append(Event(kind=EPOCH, trial_id=trial_id, payload=row), finished(trial_id, "completed"))
    worker = Worker(lambda label, seed: 0.7, lost=("none (default)", 1003))
    assert study.run(study.stages[0], worker, monkeypatch)  # interrupted there, and resumed
    assert not study.run(study.stages[0], worker, monkeypatch)
    assert sorted(worker.done) == sorted(
        (label, seed) for label in ("none", "none (default)", "none (random)") for seed in range(1000, 1004)
    )
    assert {key: row.get("search", 1) for key, row in study.ledger.book.retests.items()} == {
        ("none-0001", 1000): 1, ("none-0001", 1001): 1, ("none-s2-0000", 1002): 2, ("none-s2-0000", 1003): 2,
        ("none-0000", 1000): 1, ("none-0000", 1001): 1, ("none-0000", 1002): 2, ("none-0000", 1003): 2,
        ("none-random-0000", 1000): 1, ("none-random-0000", 1001): 1,
        ("none-s2-random-0000", 1002): 2, ("none-s2-random-0000", 1003): 2,
    }  # fmt: skip


def test_what_winners_are_held_against_gets_no_further_seeds(tmp_path, monkeypatch) -> None:
    values = {"arms": ("none", "focal"), "retest_seeds": 3, "retest_until": "decide", "max_retest_seeds": 5}
    study = Retested("imbalance", tmp_path, **values, retest_default=True)
    for arm in ("none", "focal"):
        trial_id, row = f"{arm}-0001", {"epoch": 1, "images": 1, "train_seconds": 1.0, study.stages[0].task.metric: 0.9}
        study.ledger.append(asked(trial_id, hparams={"learning_rate": 0.2}))
        study.ledger.append(Event(kind=EPOCH, trial_id=trial_id, payload=row), finished(trial_id, "completed"))
    worker = Worker(lambda label, seed: score(label.partition(" ")[0], seed))
    assert not study.run(study.stages[0], worker, monkeypatch)
    defaults = [f"{arm} (default)" for arm in ("none", "focal")]
    assert set(worker.done) == keys(("none", "focal"), range(1000, 1005)) | keys(defaults, range(1000, 1003))


# --- the options ----------------------------------------------------------------------------------------------------


def test_points_or_decide_and_no_more_seeds_than_asked_for() -> None:
    def spec(**values: Any) -> StudySpec:
        return validated(ImbalanceSpec, {"retest_seeds": 3, **values})

    assert spec().looks == (3,)
    assert spec(retest_until="decide").looks == (3, 5, 8, 12, 18, 20)
    assert spec(retest_until="0.5", max_retest_seeds=4).looks == (3, 4)
    assert spec(retest_until="0.5").retest_until == 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"retest_until": "soon"}, "--retest-until must be"),
        ({"retest_until": -1}, "--retest-until must be greater than or equal to 0, got -1"),
        ({"retest_until": float("nan")}, "--retest-until must be"),
        ({"max_retest_seeds": 5}, "--max-retest-seeds belongs to --retest-until"),
        ({"retest_until": 1, "retest_seeds": 5, "max_retest_seeds": 4}, r"at least --retest-seeds \(5\), got 4"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        validated(ImbalanceSpec, values)
