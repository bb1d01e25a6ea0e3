"""study.replay: a trial, a retest and a diverged trial trained again, and every edit of a record named at its epoch."""

from __future__ import annotations

import json
import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from inspect_run import add_trained_trial, write_trained_run
from study_cases import edit_ledger
from study_process import assert_one_sentence, run_here

from study.core.errors import StudyError
from study.core.ledger import ASKED, EPOCH, RETEST, SESSION, Event, Ledger, finished
from study.probes.replay import machine_warnings, replay_trial
from study.records.differences import Difference, epoch_differences, first_difference
from study.records.provenance import describe_machine, describe_versions
from study.tasks.resolve import read_spec
from study.tasks.study import load_data
from trainables.data.splits import retest_data, test_data
from trainables.data.types import TuningData
from trainables.training.learner import Learner
from trainables.training.retest import train_and_test
from trainables.training.setup import TrialSetup

TRIAL, NUM_EPOCHS, RETEST_SEED = "none-0000", 3, 1000
RETESTED = f"{TRIAL}-seed-{RETEST_SEED}"
DIVERGED = "none-0002"
MEASURED = "learning_rate, images, train_loss, weights_sha256, val_accuracy, val_balanced_accuracy, val_loss"


# --- what differs, by hand ----------------------------------------------------------------------------------


def test_what_differs_in_an_epoch_is_named_in_the_order_of_cause_and_effect():
    recorded = {"epoch": 2, "val_loss": 1.0, "weights_sha256": "ab" * 32, "train_loss": 0.5, "learning_rate": 0.1}
    again = {"epoch": 2, "val_loss": 0.75, "weights_sha256": "cd" * 32, "train_loss": 0.25, "learning_rate": 0.1}
    found = epoch_differences(recorded, again)
    assert [str(difference) for difference in found] == [
        "train_loss is 0.25 and was recorded as 0.5 (by -0.25)",
        "weights_sha256 is cdcdcdcdcdcd and was recorded as abababababab",
        "val_loss is 0.75 and was recorded as 1.0 (by -0.25)",
    ]
    assert [difference.amount for difference in found] == [-0.25, None, -0.25]


def test_lists_differ_by_their_largest_distance_and_what_was_not_recorded_is_not_compared():
    recorded = {"epoch": 1, "val_by_tau": [0.5, 0.25, 1.0], "weights_sha256": None, "train_seconds": 3.0}
    assert (
        epoch_differences(recorded, {"val_by_tau": [0.5, 0.25, 1.0], "weights_sha256": "a", "train_seconds": 9}) == []
    )
    (found,) = epoch_differences(recorded, {"val_by_tau": [0.5, 0.75, 0.875]})
    assert str(found) == "val_by_tau differs from what was recorded (by up to 0.5)"
    assert math.isnan(epoch_differences(recorded, {"val_by_tau": [0.5]})[0].amount)


def test_a_loss_that_is_not_a_number_equals_itself_alone():
    recorded = {"epoch": 1, "val_loss": math.nan}
    assert epoch_differences(recorded, {"val_loss": math.nan}) == []
    assert len(epoch_differences(recorded, {"val_loss": 1.0})) == 1


def test_the_first_difference_is_of_the_earliest_epoch_that_both_have():
    recorded = [{"epoch": epoch, "train_loss": 1.0 / epoch} for epoch in (1, 2, 3)]
    again = [{"epoch": epoch, "train_loss": loss} for epoch, loss in ((1, 1.0), (2, 0.25), (3, 9.0), (4, 9.0))]
    assert first_difference(recorded, again) == Difference(epoch=2, quantity="train_loss", recorded=0.5, again=0.25)
    assert first_difference(recorded, again[:1]) is None


# --- trained again ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """none-0000 of three epochs and its retest; none-0001 without an epoch; none-0002, which diverged at once."""
    run_dir = tmp_path_factory.mktemp("reports") / "run"
    write_trained_run(
        run_dir, "imbalance", TRIAL, dataset="digits", arms="none", max_epochs=NUM_EPOCHS, image_size=16,
        train_images=300,
    )  # fmt: skip
    study, spec = read_spec(run_dir)
    assert spec.numerics
    dataset, data, _ = load_data(study, spec)
    (stage,) = study.stages(spec, data)
    with Ledger(run_dir) as ledger:
        trial = ledger.book.trials[TRIAL]
        row, epochs = train_and_test(
            stage.task,
            retest_data(data, thinned=study.kept(spec), subset_seed=RETEST_SEED),
            test_data(dataset),
            hparams=trial.hparams,
            setup=TrialSetup(
                num_epochs=NUM_EPOCHS, seed=RETEST_SEED, numerics=spec.numerics, device=torch.device("cpu")
            ),
            checkpoint_dir=run_dir / "checkpoints" / "retest",
        )
        ledger.append(Event(kind=RETEST, payload={"arm": "none", "trial_id": TRIAL, **row, "epochs": epochs}))
        for trial_id in ("none-0001", DIVERGED):
            payload = {"arm": "none", "number": int(trial_id[-1]), "seed": 6, "params": {}}
            hparams = {**trial.hparams, "learning_rate": 1e30}
            ledger.append(Event(kind=ASKED, trial_id=trial_id, payload={**payload, "hparams": hparams}))
        ledger.append(finished(DIVERGED, "failed", _divergence(stage, data, spec.numerics, hparams)))
    return run_dir


def _divergence(stage: Any, data: TuningData, numerics: Any, hparams: dict[str, Any]) -> str:
    """What the worker would have said."""
    setup = TrialSetup(num_epochs=NUM_EPOCHS, seed=6, numerics=numerics, device=torch.device("cpu"))
    with pytest.raises(RuntimeError, match="the training loss was") as caught:
        stage.task.learner(hparams, data, setup).train_epoch()
    return str(caught.value)


@pytest.fixture
def run_dir(trained: Path, tmp_path: Path) -> Path:
    """A copy whose record may be edited."""
    return shutil.copytree(trained, tmp_path / "run")


def edit(run_dir: Path, kind: str, path: str, value: Any, *, epoch: int | None = None) -> None:
    """Set a value in the payloads of these events. path: as SQLite's json_set takes it."""
    which = "" if epoch is None else f" AND json_extract(payload, '$.epoch') = {epoch}"
    statement = f"UPDATE events SET payload = json_set(payload, ?, json(?)) WHERE kind = ?{which}"
    edit_ledger(run_dir, statement, (path, json.dumps(value), kind))


def test_a_trial_trained_again_on_its_machine_differs_in_nothing(trained):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file() and "ledger" not in path.name}
    status, stdout, stderr = run_here("study.replay", str(trained), TRIAL)
    assert (status, stderr) == (0, "")
    assert stdout.splitlines() == [
        *(f"epoch {epoch}: equal" for epoch in (1, 2, 3)),
        f"{TRIAL}: nothing differs in 3 epochs; compared: {MEASURED}",
    ]
    after = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file() and "ledger" not in path.name}
    assert after == before


def test_only_the_first_epochs_are_trained_where_that_is_asked_and_by_the_full_schedule(trained, monkeypatch):
    trained_epochs = []
    train = Learner.train_epoch
    monkeypatch.setattr(Learner, "train_epoch", lambda self: (trained_epochs.append(self.epoch + 1), train(self))[1])
    found = replay_trial(trained, TRIAL, num_epochs=2)
    assert (found.num_epochs, found.differences, trained_epochs) == (2, (), [1, 2])
    assert found.verdict[0].startswith(f"{TRIAL}: nothing differs in 2 epochs;")


@pytest.mark.parametrize(
    ("quantity", "value", "by"),
    [("train_loss", 0.5, True), ("learning_rate", 0.5, True), ("val_accuracy", 0.125, True), ("images", 7, True),
     ("weights_sha256", "ab" * 32, False)],
)  # fmt: skip
def test_an_edited_record_is_named_at_its_epoch_with_both_values(run_dir, quantity, value, by):
    edit(run_dir, EPOCH, f"$.{quantity}", value, epoch=2)
    status, stdout, _ = run_here("study.replay", str(run_dir), TRIAL)
    lines = stdout.splitlines()
    assert status == 1
    assert (lines[0], lines[2]) == ("epoch 1: equal", "epoch 3: equal")
    assert lines[1].startswith(f"epoch 2: {quantity} is ")
    assert ";" not in lines[1]
    assert lines[3].startswith(f"{TRIAL} first differs at epoch 2, in {quantity}: {quantity} is ")
    assert f" and was recorded as {'abababababab' if quantity == 'weights_sha256' else value}" in lines[3]
    assert (" (by " in lines[3]) is by
    assert lines[4].startswith("The weights after epoch 3 are those recorded: the training is the same")


def test_another_seed_differs_from_the_first_epoch_on_and_the_verdict_says_by_how_much(run_dir):
    edit(run_dir, ASKED, "$.seed", 6)
    found = replay_trial(run_dir, TRIAL)
    assert {d.quantity for d in found.differences} >= {"train_loss", "weights_sha256"}
    assert {d.epoch for d in found.differences} == {1, 2, 3}
    assert found.verdict[0].startswith(f"{TRIAL} first differs at epoch 1, in train_loss")
    largest = max((d for d in found.differences if d.quantity == "train_loss"), key=lambda d: abs(d.amount))
    assert found.verdict[1:] == (
        f"The training loss differs by at most {abs(largest.amount):.3g} (epoch {largest.epoch}).",
    )


def test_a_retest_is_trained_again_on_its_own_images_without_the_test_split(run_dir, monkeypatch):
    monkeypatch.setattr("study.probes.replay.load_data", partial(_without_test_images, load_data))
    found = replay_trial(run_dir, RETESTED)
    assert found.differences == ()
    assert found.verdict == (
        f"{RETESTED}: nothing differs in 3 epochs; compared: train_indices_sha256, learning_rate, images, train_loss, "
        "weights_sha256",
    )


def _without_test_images(load: Any, study: Any, spec: Any) -> Any:
    _, data, found = load(study, spec)
    return None, data, found


@pytest.mark.parametrize(
    ("path", "quantity", "epoch"),
    [("$.train_indices_sha256", "train_indices_sha256", 1), ("$.epochs[1].train_loss", "train_loss", 2),
     ("$.weights_sha256", "weights_sha256", 3)],
)  # fmt: skip
def test_an_edited_retest_is_named_at_its_epoch(run_dir, path, quantity, epoch):
    edit(run_dir, RETEST, path, 0.25 if quantity == "train_loss" else "ab" * 32)
    found = replay_trial(run_dir, RETESTED)
    assert [(d.epoch, d.quantity) for d in found.differences] == [(epoch, quantity)]


def test_a_trial_that_diverged_diverges_again_and_another_message_is_a_difference(run_dir):
    found = replay_trial(run_dir, DIVERGED)
    assert (found.num_epochs, found.differences) == (0, ())
    assert found.verdict == (f"{DIVERGED}: nothing differs in 0 epochs, and then it fails as recorded",)
    edit(run_dir, "finished", "$.message", "the training loss was inf at epoch 1, batch 99 of 100")
    edited = replay_trial(run_dir, DIVERGED)
    assert [(d.epoch, d.quantity) for d in edited.differences] == [(1, "failure")]
    assert "batch 99 of 100" in edited.verdict[0]


def test_a_loss_that_is_not_finite_where_the_record_has_one_is_a_difference(run_dir):
    edit(run_dir, ASKED, "$.hparams.learning_rate", 1e30)
    found = replay_trial(run_dir, TRIAL)
    assert found.differences[-1].quantity == "failure"
    assert "the training loss was" in str(found.differences[-1])
    assert found.num_epochs <= NUM_EPOCHS


# --- weights of another stage -------------------------------------------------------------------------------


def test_a_trial_that_began_with_another_stage_s_weights_needs_them(tmp_path):
    run_dir, puzzles, warm = tmp_path / "puzzles", "jigsaw_2x2-0000", "jigsaw_100pct-0000"
    write_trained_run(
        run_dir, "jigsaw", puzzles, stage="pretext", dataset="digits", arms="jigsaw", max_epochs=1, pretext_epochs=2,
        pretext_trials=1, trials_per_arm=1, label_fractions="1", image_size=16, train_images=200,
    )  # fmt: skip
    lent = run_dir / "checkpoints" / puzzles
    add_trained_trial(run_dir, warm, start_from=lent)
    assert replay_trial(run_dir, warm).differences == ()
    newest = lent / "epoch-0002.pt"
    newest.write_bytes(newest.read_bytes()[:-1])  # the checkpoint of epoch 1 is still intact
    with pytest.raises(StudyError, match=r"jigsaw_100pct begins with the weights in .*jigsaw_2x2-0000, whose last"):
        replay_trial(run_dir, warm)
    shutil.rmtree(lent)
    status, stdout, stderr = run_here("study.replay", str(run_dir), warm)
    assert (status, stdout) == (2, "")
    assert_one_sentence(stderr)
    assert "is deleted or damaged: it cannot be trained again" in stderr
    assert replay_trial(run_dir, puzzles).differences == ()  # its own checkpoint is not needed


# --- another machine, bad input -----------------------------------------------------------------------------


def test_other_hardware_and_versions_are_said(run_dir):
    here = {"hardware": describe_machine(cpus=2, gpus=0), "versions": describe_versions()}
    edit(run_dir, SESSION, "$.hardware", {**here["hardware"], "cpu": "Example CPU", "gpus": ["Example GPU"]})
    edit(run_dir, SESSION, "$.versions", {**here["versions"], "torch": "1.0", "no-longer-used": "3"})
    status, _, stderr = run_here("study.replay", str(run_dir), TRIAL, "--epochs", "1")
    assert status == 0
    assert stderr == (
        f"warning: the processor was Example CPU and is {here['hardware']['cpu']}; torch was 1.0 and is "
        f"{here['versions']['torch']}: so the same training may round otherwise\n"
    )
    _, spec = read_spec(run_dir)
    assert machine_warnings([here], spec) == []
    assert machine_warnings([{}], spec) == []  # an old session that did not say


def test_other_data_than_the_run_s_are_refused(run_dir):
    spec = json.loads((run_dir / "spec.json").read_text())
    (run_dir / "spec.json").write_text(json.dumps({**spec, "imbalance_ratio": 5}))
    with pytest.raises(StudyError, match=r"the data are not those that .* began with"):
        replay_trial(run_dir, TRIAL)


BAD_INPUTS = {
    "no run": (["reports/no-such-run", TRIAL], "is not a run directory"),
    "unknown trial": (["RUN", "none-0000x"], "has no trial 'none-0000x'; did you mean 'none-0000'?"),
    "unknown retest": (["RUN", f"{TRIAL}-seed-1001"], f"has no trial '{TRIAL}-seed-1001'; did you mean '{RETESTED}'?"),
    "nothing near": (["RUN", "zzz"], "has no trial 'zzz'; it has none-0000, none-0001, none-0002"),
    "no epoch": (["RUN", "none-0001"], "none-0001 has no recorded epoch to compare with"),
    "too many": (
        ["RUN", TRIAL, "--epochs", "4"],
        "--epochs must be from 1 to 3, as many as were recorded of none-0000",
    ),
    "zero": (["RUN", TRIAL, "--epochs", "0"], "--epochs must be a whole number from 1 on, got '0'"),
    "word": (["RUN", TRIAL, "--epochs", "all"], "--epochs must be a whole number from 1 on, got 'all'"),
    "option": (["RUN", TRIAL, "--epoch", "1"], "unknown option '--epoch'; did you mean '--epochs'?"),
    "no trial": (["RUN"], "TRIAL"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_is_one_sentence(trained, case):
    arguments, message = BAD_INPUTS[case]
    status, stdout, stderr = run_here("study.replay", *(str(trained) if word == "RUN" else word for word in arguments))
    assert (status, stdout) == (2, "")
    assert_one_sentence(stderr)
    assert message in stderr
