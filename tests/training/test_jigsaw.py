"""Puzzles as a task of their own, and the transfer: what is carried over, what stays fresh, which labels are used."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learner_cases import digits, setup_of

from trainables.data.sources import load_dataset
from trainables.data.splits import thin, tuning_data, whole
from trainables.hparams import JigsawHparams, TransferHparams
from trainables.parts.samplers import EpochPlan
from trainables.tasks.jigsaw import (
    PRETEXT_TASK,
    TRANSFER,
    Puzzles,
    begin_with_trunk,
    jittered,
    normalised_tiles,
    passes_per_epoch,
)
from trainables.training.checkpoints import write_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data():
    """1,097 training images of digits."""
    return tuning_data(digits(), thinned=whole, subset_seed=0)


@pytest.fixture(scope="module")
def small():
    """They, of 16 × 16 pixels: an epoch takes a quarter of the time."""
    dataset = load_dataset("digits", data_root=Path("nowhere"), download=False, image_size=16)
    return tuning_data(dataset, thinned=whole, subset_seed=0)


@pytest.fixture(scope="module")
def few(data):
    """200 of them, 20 a class: an epoch takes a moment."""
    counts = np.full(10, 20)
    values = {"train_indices": thin(data.labels, data.train_indices, counts, 0), "class_counts": counts}
    return replace(data, **values, fingerprint="few")


def pretext(data, *, num_epochs=4, seed=1, **hparams):
    given = {"batch_size": 16, "augmentation": "none", "schedule": "one_cycle", "learning_rate": 0.03, **hparams}
    return PRETEXT_TASK.learner(given, data, setup_of(num_epochs=num_epochs, seed=seed))


def transfer(data, *, num_epochs=2, seed=1, start_from=None, **hparams):
    given = {"batch_size": 16, "augmentation": "none", **hparams}
    return TRANSFER.learner(given, data, setup_of(num_epochs=num_epochs, seed=seed), start_from=start_from)


def images(num=3, channels=1, side=4):
    return torch.arange(num * channels * side * side, dtype=torch.float32).reshape(num, channels, side, side)


def test_a_puzzle_is_a_permutation_of_the_image_s_own_tiles():
    puzzles = Puzzles(hparams=JigsawHparams())
    tiles, permutations = puzzles(images(), torch.zeros(3), torch.Generator().manual_seed(0))
    assert tiles.shape == (3, 4, 1, 2, 2)
    # Image 0 is 0..15 row by row: its top left cell holds 0, 1, 4, 5 and its bottom right one 10, 11, 14, 15.
    cells = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert tiles[0].flatten(1).tolist() == [cells[place] for place in permutations[0].tolist()]


def test_every_view_gets_a_fresh_permutation_and_judging_the_same_one():
    puzzles = Puzzles(hparams=JigsawHparams(grid=3))
    generator = torch.Generator().manual_seed(0)
    many = images(num=50, side=9)
    first, second = (puzzles(many, torch.zeros(50), generator)[1] for _ in range(2))
    assert not torch.equal(first, second)
    assert len({tuple(row) for row in first.tolist()}) > 45
    posed = [puzzles.posed(many, torch.Generator().manual_seed(5))[1] for _ in range(2)]
    assert torch.equal(*posed)


def test_a_tile_is_normalised_by_itself():
    tiles = torch.tensor([[1.0, 3.0], [5.0, 7.0]]).reshape(1, 1, 1, 2, 2)  # mean 4, deviation √5
    normalised = normalised_tiles(tiles).flatten().tolist()
    assert normalised == pytest.approx([-3 / math.sqrt(5), -1 / math.sqrt(5), 1 / math.sqrt(5), 3 / math.sqrt(5)])
    assert normalised_tiles(torch.full((1, 1, 1, 2, 2), 9.0)).tolist() == [[[[[0.0, 0.0], [0.0, 0.0]]]]]


def test_colour_jitter_is_one_gain_and_one_shift_a_tile_and_channel():
    tiles = torch.stack([torch.zeros(2, 4, 3, 2, 2), torch.ones(2, 4, 3, 2, 2)])
    shift, both = (jittered(part, 0.2, torch.Generator().manual_seed(1)) for part in tiles)
    assert (shift.flatten(3).std(dim=3) < 1e-6).all()
    assert shift.abs().max() <= 0.2
    gain = both - shift
    assert ((gain >= 0.8) & (gain <= 1.2)).all()
    assert len(gain.flatten(3).mean(dim=3).unique()) > 20  # of 24


def test_puzzles_of_digits_are_learned_and_chance_is_where_it_starts(small):
    """Chance is 1/24 exact and 1/4 of the tiles; digits leave some tiles alike, so no net gets all."""
    learner = pretext(small, num_epochs=5)
    before = PRETEXT_TASK.validate(learner, small)
    for _ in range(5):
        learner.train_epoch()
    after = PRETEXT_TASK.validate(learner, small)
    assert before["exact_accuracy"] < 0.2
    assert after["exact_accuracy"] > 0.5
    assert after["tile_accuracy"] > 0.6
    assert after["loss"] < before["loss"]
    assert set(after) == {
        "exact_accuracy", "tile_accuracy", "exact_accuracy_argmax", "tile_accuracy_argmax", "confidence",
        "invalid_argmax", "loss",
    }  # fmt: skip


def test_the_pretext_is_given_no_label(few):
    """Any labels whatever give the same weights."""
    shuffled = vars(few) | {"labels": np.roll(few.labels, 7), "fingerprint": "rolled"}
    learners = [pretext(few), pretext(type(few)(**shuffled))]
    for learner in learners:
        learner.train_epoch()
    assert learners[0].weights_sha256() == learners[1].weights_sha256()


@pytest.mark.parametrize("grid", [2, 3])
def test_the_pretext_goes_on_bit_for_bit(few, grid):
    options = {"grid": grid, "gap": 1, "color_jitter": 0.2, "puzzle_loss": "bce", "augmentation": "crop"}
    whole_way, first, second = (pretext(few, num_epochs=2, **options) for _ in range(3))
    for _ in range(2):
        whole_way.train_epoch()
    first.train_epoch()
    second.load_state_dict(first.state_dict())
    second.train_epoch()
    assert second.weights_sha256() == whole_way.weights_sha256()


def test_convolutions_and_fc1_are_carried_over_and_the_rest_is_fresh(few):
    source, target, fresh = pretext(few), transfer(few), transfer(few)
    source.train_epoch()
    begin_with_trunk(target, source.state_dict(), TransferHparams())
    weights, carried, untouched = (learner.model.state_dict() for learner in (source, target, fresh))
    for name in carried:
        layer = name.partition(".")[0]
        if layer in {"conv1", "conv2", "conv3", "fc1"}:
            assert torch.equal(carried[name], weights[name]), name
        elif layer == "head" or name in {"batch_norm.weight", "batch_norm.bias"}:
            assert torch.equal(carried[name], untouched[name]), name


def test_batch_norm_s_statistics_are_those_of_the_carried_trunk(small):
    """The mean over the training images of what conv3 gives, worked out here layer by layer."""
    source, target = pretext(small), transfer(small)
    source.train_epoch()
    begin_with_trunk(target, source.state_dict(), TransferHparams())
    model, batches = target.model, target.batches
    with torch.no_grad():
        pixels = batches.normalised(batches.images[batches.train_indices])
        for conv in (model.conv1, model.conv2, model.conv3):
            pixels = torch.relu(torch.max_pool2d(conv(pixels), 2))
    assert len(batches.train_indices) < 2048  # so that every image counts
    of_images = pixels.mean(dim=(0, 2, 3))
    # update_bn averages over batches of 1,000 and 97 images alike.
    halves = torch.stack([pixels[:1000].mean(dim=(0, 2, 3)), pixels[1000:].mean(dim=(0, 2, 3))]).mean(0)
    assert torch.allclose(model.batch_norm.running_mean, halves, atol=1e-4)
    assert (of_images - halves).abs().max() < 0.2


def test_of_a_three_by_three_pretext_the_convolutions_alone_fit(few):
    hparams = {"carries_fc1": False, "trunk_learning_rate_ratio": 0.1}
    source, target, fresh = pretext(few, grid=3), transfer(few, **hparams), transfer(few)
    begin_with_trunk(target, source.state_dict(), TransferHparams(**hparams))
    assert torch.equal(target.model.conv3.weight, source.model.conv3.weight)
    assert torch.equal(target.model.fc1.weight, fresh.model.fc1.weight)
    # What is fresh learns at the head's rate.
    scales = {p: group["lr_scale"] for group in target.optimizer.param_groups for p in group["params"]}
    assert (scales[target.model.conv3.weight], scales[target.model.fc1.weight]) == (0.1, 1.0)
    message = r"fc1.weight is \[64, 256\] and must be \[64, 1024\]"
    with pytest.raises(ValueError, match=message):
        begin_with_trunk(transfer(few), source.state_dict(), TransferHparams())


def test_a_checkpoint_of_another_architecture_is_refused_with_the_layers_that_differ(data):
    state = pretext(data).state_dict()
    state["model"]["conv2.weight"] = torch.zeros(64, 32, 5, 5)
    del state["model"]["conv3.bias"]
    message = r"conv2.weight is \[64, 32, 5, 5\] and must be \[64, 32, 3, 3\]; conv3.bias is missing and must be \[64\]"
    with pytest.raises(ValueError, match=message):
        begin_with_trunk(transfer(data), state, TransferHparams())


def test_a_classifier_begins_with_puzzles_that_lie_elsewhere(few):
    source = pretext(few, seed=2)
    write_checkpoint("mock:///puzzles", {"learner": source.state_dict()}, epoch=1)
    target = transfer(few, start_from="mock:///puzzles")
    assert torch.equal(target.model.conv3.weight, source.model.conv3.weight)
    assert not torch.equal(target.model.conv3.weight, transfer(few).model.conv3.weight)


def test_a_folder_without_an_intact_checkpoint_is_refused(data, tmp_path):
    with pytest.raises(ValueError, match="there is no intact checkpoint in"):
        transfer(data, start_from=str(tmp_path))


def test_the_trunk_s_rate_is_a_share_of_the_head_s(few):
    learner = transfer(few, trunk_learning_rate_ratio=0.1, learning_rate=0.2)
    learner.train_epoch()
    rates = {}
    for group in learner.optimizer.param_groups:
        for parameter in group["params"]:
            rates[parameter] = group["lr"]
    names = {name: rates[parameter] for name, parameter in learner.model.named_parameters()}
    for name, rate in names.items():
        share = 0.1 if name.partition(".")[0] in {"conv1", "conv2", "conv3", "fc1"} else 1.0
        assert rate == pytest.approx(share * names["head.weight"]), name


@pytest.mark.parametrize(("fraction", "passes"), [(1.0, 1), (0.5, 1), (0.25, 2), (0.1, 3), (0.01, 10)])
def test_a_small_share_of_the_labels_is_gone_over_more_often(data, fraction, passes):
    """Passes are 1 / √fraction, rounded: 1, 1.41, 2, 3.16, 10."""
    assert passes_per_epoch(fraction) == passes
    if fraction < 0.1:
        return
    learner = transfer(data, label_fraction=fraction)
    plan: EpochPlan = learner.batches.epoch_plan(1)
    counts = torch.bincount(plan.positions, minlength=len(learner.batches.train_indices))
    assert counts.tolist() == [passes] * len(learner.batches.train_indices)


def test_a_share_of_the_labels_is_the_same_images_in_every_arm_and_trial(data):
    first, second = (transfer(data, label_fraction=0.1, seed=seed) for seed in (1, 2))
    warm = transfer(data, label_fraction=0.1, seed=3, trunk_learning_rate_ratio=0.5)
    indices = first.batches.train_indices
    assert torch.equal(indices, second.batches.train_indices)
    assert torch.equal(indices, warm.batches.train_indices)
    assert set(indices.tolist()) <= set(data.train_indices.tolist())
    # 10 % of 102 to 113 images a class, rounded down
    counts = np.bincount(data.labels[indices.numpy()], minlength=10)
    assert counts.tolist() == [count // 10 for count in data.class_counts]


def test_a_share_that_leaves_a_class_empty_is_refused(data):
    with pytest.raises(ValueError, match=r"label fraction 0.001 leaves class '\d' without an image"):
        transfer(data, label_fraction=0.001)
