"""What all classifiers share: their hyperparameters reach the model, the optimiser and the batches."""

import pytest
import torch
from learner_cases import few_digits, setup_of, thinned_digits

from trainables.hparams import ClassifierHparams, Hparams, ImbalanceHparams
from trainables.training.build import Phases, build_classifier, build_learner_of, smoothed_cross_entropy
from trainables.training.checkpoints import read_newest_checkpoint, write_checkpoint
from trainables.training.evaluation import validate_classifier


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def classifier(data=None, *, num_epochs=4, seed=1, options=None, **hparams):
    hparams = {"batch_size": 32, "augmentation": "crop", "learning_rate": 0.01} | hparams
    return build_classifier(
        ClassifierHparams(**hparams),
        data or few_digits(32),
        setup_of(num_epochs=num_epochs, seed=seed),
        **options or {},
    )


def trained(learner, num_epochs):
    for _ in range(num_epochs):
        learner.train_epoch()
    return learner


VARIANTS = {
    "plain": {},
    "adam": {"optimizer": "adam"},
    "adamw": {"optimizer": "adamw"},
    "rmsprop": {"optimizer": "rmsprop"},
    "one_cycle": {"schedule": "one_cycle"},
    "warmup": {"warmup": 0.5},
    "label_smoothing": {"label_smoothing": 0.1},
    "cutout": {"augmentation": "crop_cutout", "cutout_length": 8},
    "larger cutout": {"augmentation": "crop_cutout", "cutout_length": 12},
    "randaugment": {"augmentation": "crop_randaugment", "randaugment_num_ops": 1, "randaugment_magnitude": 9},
    "mixup": {"mixing": "mixup", "mixing_alpha": 0.2},
    "cutmix": {"mixing": "cutmix", "mixing_alpha": 1.0},
    "remix": {"mixing": "remix", "mixing_alpha": 1.0},
    "dropout": {"dropout": 0.3},
    "padding": {"padding": "valid"},
}


def test_every_hyperparameter_changes_what_is_trained():
    hashes = {name: trained(classifier(**knobs), 2).weights_sha256() for name, knobs in VARIANTS.items()}
    assert len(set(hashes.values())) == len(VARIANTS)


@pytest.mark.parametrize(
    "knobs",
    [
        {
            "optimizer": "adamw",
            "schedule": "one_cycle",
            "dropout": 0.3,
            "augmentation": "crop_randaugment",
            "randaugment_num_ops": 2,
            "randaugment_magnitude": 9,
        },
        {"optimizer": "rmsprop", "warmup": 0.3, "augmentation": "resized_crop", "mixing": "mixup", "mixing_alpha": 0.2},
        {"optimizer": "adam", "augmentation": "crop_cutout", "cutout_length": 8, "mixing": "cutmix", "mixing_alpha": 1},
        {"model": "resnet20", "drop_path": 0.2, "label_smoothing": 0.1, "mixing": "remix", "mixing_alpha": 1.0},
    ],
    ids=["adamw", "rmsprop", "adam", "drop_path"],
)
def test_a_restored_trial_goes_on_bit_for_bit(tmp_path, knobs):
    small = few_digits()
    uninterrupted = trained(classifier(small, num_epochs=3, **knobs), 3)
    first = trained(classifier(small, num_epochs=3, **knobs), 1)
    write_checkpoint(tmp_path, first.state_dict(), epoch=1)
    trained(classifier(small, seed=9), 1)  # another trial in the same process
    restored = classifier(small, num_epochs=3, **knobs)
    restored.load_state_dict(read_newest_checkpoint(tmp_path))
    assert restored.weights_sha256() == first.weights_sha256()
    assert trained(restored, 2).weights_sha256() == uninterrupted.weights_sha256()
    other = trained(classifier(small, seed=2, num_epochs=3, **knobs), 3)
    assert other.weights_sha256() != uninterrupted.weights_sha256()


@pytest.mark.parametrize(
    ("model", "optimizer", "learning_rate"),
    [("lenet", "adam", 3e-3), ("lenet", "rmsprop", 3e-4), ("small_cnn", "adamw", 3e-3), ("small_cnn", "sgd", 0.05)],
)
def test_every_optimizer_learns_three_times_chance_in_five_epochs(model, optimizer, learning_rate):
    knobs = {"model": model, "optimizer": optimizer, "learning_rate": learning_rate}
    learner = trained(classifier(thinned_digits(), num_epochs=5, **knobs), 5)
    assert validate_classifier(learner, thinned_digits())["balanced_accuracy"] >= 0.3


def test_the_images_to_train_on_can_be_chosen_and_each_is_drawn_once():
    chosen = few_digits(32).train_indices[::3]
    learner = classifier(options={"train_indices": chosen})
    plan = learner.batches.epoch_plan(1)
    assert learner.batches.train_indices[plan.positions].sort().values.tolist() == chosen.tolist()
    assert not torch.equal(plan.positions, learner.batches.epoch_plan(2).positions)
    assert learner.train_epoch().images == 34


def test_a_plan_of_the_caller_s_is_told_the_epoch():
    told = []
    default = classifier()

    def plan(epoch, generator):
        told.append(epoch)
        return default.batches.plan(epoch, generator)

    learner = classifier(options={"plan": plan})
    assert trained(learner, 2).weights_sha256() == trained(default, 2).weights_sha256()
    assert told == [1, 2]


def test_a_layer_whose_learning_rate_is_scaled_to_nothing_stays():
    learner = classifier(options={"lr_scales": {"conv1": 0.0}})
    before = {name: tensor.clone() for name, tensor in learner.model.named_parameters()}
    learner.train_epoch()
    stays = {name for name, tensor in learner.model.named_parameters() if torch.equal(tensor, before[name])}
    assert stays == {"conv1.weight", "conv1.bias"}


def test_the_learning_rate_warms_up():
    """Four batches an epoch, half of two epochs: the last step of the first is 3/4 up from 1/25."""
    learner = classifier(num_epochs=2, learning_rate=0.1, schedule="linear", warmup=0.5)
    assert learner.train_epoch().learning_rate == pytest.approx(0.1 * (0.04 + 0.96 * 0.75))
    assert learner.train_epoch().learning_rate == pytest.approx(0.1 * 0.25)


def test_begin_epoch_is_called_in_training_mode_in_every_epoch_after_a_resume_too():
    seen = []

    def make(model, optimizer, schedule):
        assert isinstance(optimizer, torch.optim.SGD)
        return Phases(schedule=schedule, begin_epoch=lambda epoch: seen.append((epoch, model.training)))

    learner = trained(classifier(options={"phases": make}), 2)
    restored = classifier(options={"phases": make})
    restored.load_state_dict(learner.state_dict())
    restored.infer(torch.zeros(2, 3, 32, 32))  # leaves the model in evaluation mode
    restored.train_epoch()
    assert seen == [(1, True), (2, True), (3, True)]


def test_mixed_images_reach_the_model_with_shares_of_two_classes():
    learner = classifier(mixing="mixup", mixing_alpha=1.0)
    batches = learner.batches
    inputs, targets, scale = next(batches.draw(batches.epoch_plan(1), 1))
    assert inputs.shape == (32, 3, 32, 32)
    assert targets.shape == (32, 10)
    assert ((targets > 0).sum(dim=1) <= 2).all()
    assert ((targets > 0).sum(dim=1) == 2).any()
    assert scale == 1.0


def test_smoothed_cross_entropy_by_hand():
    """p = (1/4, 3/4), ε 0.2: (.9, .1) and, of a half-and-half image, (.5, .5) as before."""
    loss = smoothed_cross_entropy(0.2)
    logits = torch.tensor([[0.25, 0.75]]).log()
    log_4, log_4_3 = 1.386294, 0.287682
    assert loss(logits, torch.tensor([0]), 1).item() == pytest.approx(0.9 * log_4 + 0.1 * log_4_3, abs=1e-5)
    mixed = torch.tensor([[0.5, 0.5]])
    assert loss(logits, mixed, 1).item() == pytest.approx(0.5 * log_4 + 0.5 * log_4_3, abs=1e-5)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"model": "resnet20", "padding": "same"}, "model resnet20 takes no padding"),
        ({"drop_path": 0.1}, "model small_cnn takes no drop_path"),
        ({"augmentation": "crop_cutout"}, "augmentation 'crop_cutout' needs cutout_length, got None"),
        ({"mixing": "mixup"}, "mixing 'mixup' needs mixing_alpha, got None"),
    ],
)
def test_a_knob_that_is_missing_or_not_understood_is_named(knobs, message):
    with pytest.raises(ValueError, match=message):
        classifier(**knobs)


def test_only_cross_entropy_takes_soft_targets():
    for soft in ({"mixing": "mixup", "mixing_alpha": 0.5}, {"label_smoothing": 0.1}):
        with pytest.raises(ValueError, match="loss 'focal' takes no soft targets"):
            ImbalanceHparams(loss="focal", focal_gamma=2.0, **soft)
        ImbalanceHparams(loss="cross_entropy", **soft)


def test_a_learner_can_be_made_of_any_model_loss_and_preparation():
    """A task that is no classification: half of each image is to be told from its mean."""
    learner = build_learner_of(
        lambda in_channels, image_size: torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(in_channels * image_size, 1)
        ),
        Hparams(learning_rate=1e-3, augmentation="none", batch_size=32),
        few_digits(32),
        setup_of(num_epochs=2),
        loss=lambda outputs, targets, epoch: (outputs[:, 0] - targets).square().mean(),
        prepare=lambda images, labels, generator: (images[:, :, 0], images.mean(dim=(1, 2, 3))),
    )
    first, second = learner.train_epoch(), learner.train_epoch()
    assert second.train_loss < first.train_loss
    assert learner.infer(torch.zeros(5, 3, 32)).shape == (5, 1)
