"""The learner in every arm of the imbalance study: it learns, it differs from no remedy, it goes on bit for bit."""

import json
import os
import subprocess
import sys

import pytest
import torch
from learner_cases import few_digits, learner_of, setup_of, thinned_digits

from search_spaces.imbalance import ARMS
from trainables.common.seeds import derive_seed
from trainables.parts.optimizers import OPTIMIZERS, decay_groups
from trainables.parts.schedules import SCHEDULES
from trainables.tasks.imbalance import head_retraining
from trainables.training.checkpoints import read_newest_checkpoint, write_checkpoint
from trainables.training.evaluation import validate_classifier
from trainables.training.learner import NonFiniteLossError

ARM_NAMES = list(ARMS)
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
    validation = validate_classifier(trained_learner(arm), thinned_digits())
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
    # infer is what the network says, before the adjustment: in evaluation mode, so of its running statistics.
    inputs = adjusted.batches.normalised(images[val_indices()])
    adjusted.model.train()
    torch.testing.assert_close(adjusted.infer(inputs), plain_logits)
    rare_before, rare_after = (int((z.argmax(1) < 5).sum()) for z in (plain_logits, adjusted_logits))
    assert rare_after > rare_before


@pytest.mark.parametrize("arm", ARM_NAMES)
def test_a_restored_trial_goes_on_bit_for_bit(tmp_path, arm):
    """4 epochs at a stretch; 2, a checkpoint, a trial of another arm in the same process, and 2 more."""
    uninterrupted = trained(learner_of(arm, few_digits(), num_epochs=4), 4)
    first = trained(learner_of(arm, few_digits(), num_epochs=4), 2)
    write_checkpoint(tmp_path, first.state_dict(), epoch=2)
    other = ARM_NAMES[(ARM_NAMES.index(arm) + 1) % len(ARM_NAMES)]
    trained(learner_of(other, few_digits(), num_epochs=4, seed=99, learning_rate=0.2, batch_size=64), 1)

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
from trainables.training.checkpoints import read_newest_checkpoint
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


@pytest.mark.parametrize("arm", ["ldam_drw", "mixup_drw", "remix_drw"])
def test_deferred_reweighting_begins_at_its_epoch_and_not_before(arm):
    """reweight_start 0.6 of 5 epochs: 1-3 as with even weights, 4 and 5 re-weighted."""
    hashes = {}
    for beta in (0.99, 0.99999):
        learner = learner_of(arm, few_digits(), num_epochs=5, class_weight_beta=beta, reweight_start=0.6)
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


# --- classifier re-training (crt): 3 epochs of the trunk, 2 of the head


def crt(num_epochs=5, **knobs):
    return learner_of("crt", few_digits(), num_epochs=num_epochs, head_start=0.6, **knobs)


def parts_of(learner):
    """(trunk, head): copies of their weights and statistics."""
    state = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    head = {name: state.pop(name) for name in list(state) if name.startswith("head.")}
    return state, head


def same(before, after):
    return {name for name in before if torch.equal(before[name], after[name])}


def test_crt_trains_as_none_until_its_head_starts():
    none = learner_of("none", few_digits(), num_epochs=5, schedule="constant")
    assert trained(crt(schedule="constant"), 3).weights_sha256() == trained(none, 3).weights_sha256()


def test_crt_freezes_the_trunk_with_its_statistics_and_trains_the_head():
    """A weight decay that would halve a kernel in an epoch, so that what decays is seen to move."""
    learner = trained(crt(weight_decay=2.0, learning_rate=0.05), 3)
    trunk, head = parts_of(learner)
    assert "batch_norm.running_mean" in trunk
    for _ in range(2):
        learner.train_epoch()
        new_trunk, new_head = parts_of(learner)
        assert same(trunk, new_trunk) == set(trunk)
        assert same(head, new_head) == set()
        head = new_head


def test_crt_s_head_starts_anew_once_from_weights_of_the_seed():
    """At a learning rate of next to nothing the head stays where it starts: not where it was before."""
    learner = trained(crt(learning_rate=1e-30, seed=7), 3)
    torch.manual_seed(derive_seed(7, "head"))
    fresh = torch.nn.Linear(64, 10)
    assert not torch.equal(learner.model.head.weight, fresh.weight)
    for _ in range(2):
        learner.train_epoch()
        torch.testing.assert_close(learner.model.head.weight, fresh.weight, rtol=0, atol=0)
        torch.testing.assert_close(learner.model.head.bias, fresh.bias, rtol=0, atol=0)


def test_crt_s_second_epoch_of_the_head_goes_on_from_the_first():
    model = torch.nn.Module()
    model.trunk = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout())
    model.head = torch.nn.Linear(3, 2)
    optimizer = OPTIMIZERS["sgd"](decay_groups(model, 0.1), 0.1, 0.9)

    def step():
        model.train()
        model.head(model.trunk(torch.randn(8, 4))).sum().backward()
        optimizer.step()

    step()
    phases = head_retraining(1, setup_of(num_epochs=3, seed=0))(model, optimizer, SCHEDULES["linear"])
    begin_epoch = phases.begin_epoch
    begin_epoch(1)
    assert model.head.weight in optimizer.state
    assert all(parameter.requires_grad for parameter in model.parameters())
    begin_epoch(2)
    assert model.head.weight not in optimizer.state  # no momentum of the old head
    assert model.trunk[0].weight in optimizer.state
    assert [parameter.requires_grad for parameter in model.parameters()] == [False] * 4 + [True] * 2
    assert [module.training for module in model.trunk] == [False] * 3
    assert model.head.training
    optimizer.zero_grad()
    step()
    trained_head = model.head.weight.clone()
    begin_epoch(3)
    assert torch.equal(model.head.weight, trained_head)
    assert model.head.weight in optimizer.state
    assert not model.trunk.training


def test_a_head_start_given_with_another_sampler_retrains_no_head():
    plain = trained(learner_of("none", few_digits(), num_epochs=3), 3)
    given = trained(learner_of("none", few_digits(), num_epochs=3, head_start=0.4), 3)
    assert given.weights_sha256() == plain.weights_sha256()
    assert all(parameter.requires_grad for parameter in given.model.parameters())


def test_ldam_s_scale_makes_logits_of_cosines_and_leaves_another_loss_alone():
    data = few_digits()
    indices = torch.from_numpy(data.val_indices[:20].copy())

    def logits(arm, **knobs):
        learner = learner_of(arm, data, num_epochs=1, **knobs)
        return learner.predict(learner.batches.images, indices)

    assert torch.equal(logits("focal", ldam_scale=30.0), logits("focal"))
    torch.testing.assert_close(logits("ldam_drw", ldam_scale=20.0), 2 * logits("ldam_drw", ldam_scale=10.0))
    assert logits("ldam_drw", ldam_scale=1.0).abs().max() <= 1 + 1e-6


def test_crt_restarts_the_learning_rate_with_its_schedule():
    """Four batches an epoch. Linear over 12 steps, then over 8: an epoch's last step is 1/12 or 1/8 from its end."""
    learner = crt(learning_rate=0.1, schedule="linear")
    rates = [learner.train_epoch().learning_rate for _ in range(5)]
    assert rates == pytest.approx([0.1 * 9 / 12, 0.1 * 5 / 12, 0.1 * 1 / 12, 0.1 * 5 / 8, 0.1 * 1 / 8])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("stop_after", [3, 4])
def test_crt_goes_on_bit_for_bit_where_its_head_starts_and_after_it(tmp_path, stop_after, optimizer):
    knobs = {"optimizer": optimizer, "learning_rate": 0.01}
    uninterrupted = trained(crt(**knobs), 5)
    write_checkpoint(tmp_path, trained(crt(**knobs), stop_after).state_dict(), epoch=stop_after)
    restored = crt(**knobs)
    restored.load_state_dict(read_newest_checkpoint(tmp_path))
    assert trained(restored, 5 - stop_after).weights_sha256() == uninterrupted.weights_sha256()
