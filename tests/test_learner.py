"""The learner in every arm of the imbalance study: it learns, it differs from no remedy, it goes on bit for bit."""

import json
import os
import subprocess
import sys

import pytest
import torch
from learner_cases import few_digits, learner_of, thinned_digits

from search_spaces.imbalance import ARMS
from trainables.checkpoints import read_newest_checkpoint, write_checkpoint
from trainables.learner import NonFiniteLossError, decay_groups, evaluate

ARM_NAMES = [arm.name for arm in ARMS]
CHANCE = 1 / 10
NUM_EPOCHS = 5


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(learner, num_epochs):
    for _ in range(num_epochs):
        learner.train_epoch()
    return learner


@pytest.fixture(scope="module")
def trained_learner():
    """trained_learner(arm): after 5 epochs of the 601 thinned digits, seed 1, at the arm's start point."""
    learners = {}

    def get(arm):
        if arm not in learners:
            learners[arm] = trained(learner_of(arm, thinned_digits(), num_epochs=NUM_EPOCHS), NUM_EPOCHS)
        return learners[arm]

    return get


def val_indices():
    return torch.from_numpy(thinned_digits().val_indices.copy())


@pytest.mark.parametrize("arm", ARM_NAMES)
def test_every_arm_learns_three_times_chance_in_five_epochs(trained_learner, arm):
    learner = trained_learner(arm)
    batches = learner.batches
    validation = evaluate(learner, batches.images, batches.labels, val_indices(), num_classes=10)
    assert validation["balanced_accuracy"] >= 3 * CHANCE


@pytest.mark.parametrize("arm", [arm for arm in ARM_NAMES if arm not in {"none", "logit_adjustment"}])
def test_a_remedy_trains_other_weights_than_none_with_the_same_seed(trained_learner, arm):
    assert trained_learner(arm).weights_sha256() != trained_learner("none").weights_sha256()


def test_no_two_remedies_train_the_same_weights(trained_learner):
    hashes = [trained_learner(arm).weights_sha256() for arm in ARM_NAMES if arm != "logit_adjustment"]
    assert len(set(hashes)) == len(ARM_NAMES) - 1


def test_logit_adjustment_trains_as_none_does_and_predicts_otherwise(trained_learner):
    """It is post hoc: the log prior leaves the logits after the training, so that rare classes are named more often."""
    adjusted, none = trained_learner("logit_adjustment"), trained_learner("none")
    assert adjusted.weights_sha256() == none.weights_sha256()
    images = adjusted.batches.images
    adjusted_logits, plain_logits = adjusted.predict(images, val_indices()), none.predict(images, val_indices())
    # tau 1, counts 11 of 601 (classes 0-4) and 112 of 601 (class 5): -log π is log(601/11) and log(601/112).
    shift = (adjusted_logits - plain_logits)[0]
    assert (shift[0] - shift[5]).item() == pytest.approx(2.3205, abs=1e-3)  # log(112 / 11)
    rare_before, rare_after = (int((z.argmax(1) < 5).sum()) for z in (plain_logits, adjusted_logits))
    assert rare_after > rare_before


@pytest.mark.parametrize("arm", ARM_NAMES)
def test_a_restored_trial_goes_on_bit_for_bit(tmp_path, arm):
    """4 epochs at a stretch; 2, a checkpoint, a trial of another arm in the same process, and 2 more."""
    uninterrupted = trained(learner_of(arm, few_digits(), num_epochs=4), 4)
    first = trained(learner_of(arm, few_digits(), num_epochs=4), 2)
    write_checkpoint(tmp_path, first.state_dict(), epoch=2)
    other = ARM_NAMES[(ARM_NAMES.index(arm) + 1) % len(ARM_NAMES)]
    trained(learner_of(other, thinned_digits(), num_epochs=4, seed=99, learning_rate=0.2, batch_size=64), 1)

    restored = learner_of(arm, few_digits(), num_epochs=4)
    restored.load_state_dict(read_newest_checkpoint(tmp_path))
    assert restored.epoch == 2
    assert restored.weights_sha256() == first.weights_sha256()
    trained(restored, 2)
    assert restored.weights_sha256() == uninterrupted.weights_sha256()
    assert restored.weights_sha256() != first.weights_sha256()


GO_ON = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from learner_cases import few_digits, learner_of
from trainables.checkpoints import read_newest_checkpoint
hashes = {}
for precision in ("float32", "bfloat16"):
    learner = learner_of("ldam_drw", few_digits(), num_epochs=4, precision=precision)
    learner.load_state_dict(read_newest_checkpoint(Path(sys.argv[1]) / precision))
    learner.train_epoch(), learner.train_epoch()
    hashes[precision] = learner.weights_sha256()
print(json.dumps(hashes))
"""


def test_a_trial_restored_in_a_fresh_process_goes_on_bit_for_bit_in_float32_and_bfloat16(tmp_path):
    expected = {}
    for precision in ("float32", "bfloat16"):
        learner = trained(learner_of("ldam_drw", few_digits(), num_epochs=4, precision=precision), 2)
        write_checkpoint(tmp_path / precision, learner.state_dict(), epoch=2)
        expected[precision] = trained(learner, 2).weights_sha256()
    assert expected["float32"] != expected["bfloat16"]  # else precision would do nothing
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", GO_ON, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert json.loads(result.stdout.splitlines()[-1]) == expected


def test_a_checkpoint_of_another_seed_is_refused():
    state = learner_of("none", few_digits(), num_epochs=2, seed=1).state_dict()
    with pytest.raises(ValueError, match="a checkpoint of seed 1 cannot go on with seed 2"):
        learner_of("none", few_digits(), num_epochs=2, seed=2).load_state_dict(state)


@pytest.mark.parametrize("arm", ARM_NAMES)
def test_an_epoch_shows_the_model_exactly_n_images_in_every_arm(arm):
    learner = learner_of(arm, few_digits(), num_epochs=3)
    sizes = []
    learner.model.register_forward_pre_hook(lambda model, inputs: sizes.append(len(inputs[0])))
    for _ in range(3):
        sizes.clear()
        assert learner.train_epoch().images == 100
        assert sum(sizes) == 100


def test_a_loss_that_is_not_finite_names_its_epoch_and_batch():
    """100 images in batches of 32: four batches. The third of the second epoch meets a NaN."""
    learner = learner_of("none", few_digits(), num_epochs=3)
    learner.train_epoch()
    num_batches = 0

    def spoil(model, inputs, logits):
        nonlocal num_batches
        num_batches += 1
        return logits * float("nan") if num_batches == 3 else logits

    learner.model.register_forward_hook(spoil)
    with pytest.raises(NonFiniteLossError, match=r"was nan at epoch 2, batch 3 of 4$"):
        learner.train_epoch()
    assert learner.epoch == 1


def test_a_learning_rate_beyond_all_reason_ends_in_that_error():
    learner = learner_of("none", few_digits(), num_epochs=5, learning_rate=1e30)
    with pytest.raises(NonFiniteLossError, match=r"the training loss was (nan|inf) at epoch 1, batch \d of 4"):
        trained(learner, 5)


def test_the_learning_rate_follows_the_schedule_step_by_step():
    """Linear from 0.1 to 0 in 2 epochs of 4 batches: their last steps are at progress 3/8 and 7/8."""
    learner = learner_of("none", few_digits(), num_epochs=2, learning_rate=0.1, schedule="linear")
    assert learner.train_epoch().learning_rate == pytest.approx(0.0625)
    assert learner.train_epoch().learning_rate == pytest.approx(0.0125)


def test_normalisation_and_biases_do_not_decay_and_every_parameter_is_in_one_group():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(16, 2)
    )
    conv, norm, _, linear = model
    decayed, plain = decay_groups(model, weight_decay=0.25)
    assert decayed["weight_decay"] == 0.25
    assert plain["weight_decay"] == 0.0
    assert {id(p) for p in decayed["params"]} == {id(conv.weight), id(linear.weight)}
    assert {id(p) for p in plain["params"]} == {id(conv.bias), id(norm.weight), id(norm.bias), id(linear.bias)}


def test_deferred_reweighting_begins_at_its_epoch_and_not_before():
    """reweight_start 0.6 of 5 epochs: 1-3 as with even weights, 4 and 5 re-weighted."""
    hashes = {}
    for beta in (0.99, 0.99999):
        learner = learner_of(
            "ldam_drw", few_digits(), num_epochs=5, class_weight_beta=beta, reweight_start=0.6
        )
        hashes[beta] = [(learner.train_epoch(), learner.weights_sha256())[1] for _ in range(5)]
    same = [a == b for a, b in zip(hashes[0.99], hashes[0.99999], strict=True)]
    assert same == [True, True, True, False, False]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    hashes = [
        trained(learner_of("weighted_sampler", few_digits(), num_epochs=2, seed=seed), 2).weights_sha256()
        for seed in (1, 1, 2)
    ]
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


def test_training_leaves_the_global_random_numbers_as_they_were():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(learner_of("none", few_digits(), num_epochs=1), 1)
    assert torch.equal(torch.rand(3), expected)
