"""A preflight trains: every extreme of a small space, a save and a restore, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from learner_cases import few_digits, setup_of, start_hparams
from study_process import run_here

from study import Imbalance
from trainables.probes import rehearsal as rehearsals
from trainables.probes.rehearsal import Rehearsal, rehearse
from trainables.tasks.imbalance import IMBALANCE
from trainables.training.learner import Learner

SETTINGS = {"dataset": "digits", "image_size": 16, "arms": ("none", "ldam_drw"), "max_epochs": 4, "grace_epochs": 1}
WORDS = ("--dataset", "digits", "--image-size", "16", "--arms", "none", "--max-epochs", "4")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(rehearsals, "STEPS_SECONDS", 0.0)


def rehearsed(folder: Path) -> Rehearsal:
    return rehearse(IMBALANCE, start_hparams("none"), few_digits(), setup_of(num_epochs=3), folder=folder)


def test_a_rehearsal_trains_validates_saves_and_restores(tmp_path):
    found = rehearsed(tmp_path)
    assert found.num_images == few_digits().num_train
    assert min(found.build.wall, found.image.wall, found.val_image.wall, found.save.wall) > 0
    assert found.checkpoint_bytes == (tmp_path / "epoch-0001.pt").stat().st_size
    assert found.checkpoint_bytes == pytest.approx(2 * found.model_bytes, rel=0.1)  # weights and momenta


@pytest.mark.parametrize(
    ("name", "instead", "says"),
    [
        (
            "_outputs",
            lambda self, inputs: self.model(inputs) * torch.nan,
            "the training loss was nan in the first steps",
        ),
        ("load_state_dict", lambda self, state: None, "its weights are not those that were saved"),
    ],
)
def test_numbers_that_are_not_finite_and_weights_that_are_not_restored_are_refused(
    tmp_path, monkeypatch, name, instead, says
):
    monkeypatch.setattr(Learner, name, instead)
    with pytest.raises(ValueError, match=says):
        rehearsed(tmp_path)


def test_a_preflight_tries_the_extremes_of_every_arm_and_leaves_nothing(tmp_path):
    found = Imbalance(**SETTINGS, output_dir=tmp_path).preflight()
    assert found.failures == ()
    assert list(found.arms["arm"]) == ["none", "ldam_drw"]
    assert (found.arms["configurations"] >= 7).all()
    assert (found.arms["longest_epoch_seconds"] >= found.arms["epoch_seconds"] / 2).all()
    assert (found.arms["memory_bytes"] > 50_000_000).all()
    assert found.forecast is not None
    assert found.forecast.seconds.wall > 0
    assert found.forecast.disk_bytes > 5_000_000
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_that_begins_with_puzzles_is_tried_with_the_weights_of_theirs(tmp_path):
    status, stdout, stderr = run_here(
        "study.run", "jigsaw", "--dry-run", "--dataset", "digits", "--image-size", "16", "--arms", "jigsaw",
        "--label-fractions", "1", "--max-epochs", "2", "--pretext-epochs", "2", "--output-dir", str(tmp_path),
    )  # fmt: skip
    assert (status, stderr) == (0, "")
    assert [line.split()[0] for line in stdout.splitlines()[2:4]] == ["jigsaw_2x2", "jigsaw_100pct"]
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_train_is_named_and_the_exit_status_is_1(tmp_path, monkeypatch):
    step = Learner.step

    def refusing(self, inputs, *rest, **options):
        if len(inputs) == 64:
            raise torch.OutOfMemoryError("Tried to allocate 3.00 GiB")
        return step(self, inputs, *rest, **options)

    monkeypatch.setattr(Learner, "step", refusing)
    status, stdout, _ = run_here("study.run", "imbalance", "--dry-run", *WORDS, "--output-dir", str(tmp_path))
    assert status == 1
    named = [line for line in stdout.splitlines() if line.startswith("does not train: none with ")]
    assert named
    assert all("batch_size=64" in line for line in named)
    assert all(line.endswith(": out of memory: Tried to allocate 3.00 GiB") for line in named)
    assert "all of them train" not in stdout
    assert list(tmp_path.iterdir()) == []
