"""No test image is ever trained on, no validation image in a tuning trial: on images that are all different."""

import hashlib
from functools import partial

import numpy as np
import pytest
import torch
from learner_cases import SPACE, learner_of

from study.tasks.imbalance import ImbalanceSpec
from study.tasks.registry import STUDIES
from trainables.data.splits import retest_data, thinned_counts, tuning_data
from trainables.data.types import ImageDataset, TestData, TuningData

NUM_CLASSES, TRAIN_PER_CLASS, VAL_PER_CLASS, TEST_PER_CLASS = 4, 44, 4, 6
ARMS = sorted(SPACE.arms)
THINNED = partial(thinned_counts, imbalance="step", ratio=10.0, minority="first")


@pytest.fixture(scope="module")
def dataset():
    """176 + 24 random images of 32x32: no two are alike."""
    generator = np.random.default_rng(0)
    train_labels = generator.permutation(np.repeat(np.arange(NUM_CLASSES), TRAIN_PER_CLASS))
    test_labels = np.repeat(np.arange(NUM_CLASSES), TEST_PER_CLASS)
    images = generator.integers(0, 256, (len(train_labels) + len(test_labels), 32, 32, 3), dtype=np.uint8)
    assert len(hashes(images)) == 200
    return ImageDataset(
        name="noise",
        origin="random numbers",
        train_images=images[:176],
        train_labels=train_labels,
        test_images=images[176:],
        test_labels=test_labels,
        class_names=("a", "b", "c", "d"),
        flip_keeps_label=True,
        num_val_per_class=VAL_PER_CLASS,
        fingerprint="noise",
    )


@pytest.fixture(scope="module")
def tuning(dataset):
    return tuning_data(dataset, thinned=THINNED, subset_seed=0)


@pytest.fixture(scope="module")
def retest(tuning):
    return retest_data(tuning, thinned=THINNED, subset_seed=1000)


def hashes(images):
    return {hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in images}


def drawn(arm, data, *, num_epochs=4):
    """Indices into the pool of all images that num_epochs of the arm draw, with repeats."""
    batches = learner_of(arm, data, num_epochs=num_epochs).batches
    plans = [batches.epoch_plan(epoch) for epoch in range(1, num_epochs + 1)]
    return torch.cat([batches.train_indices[plan.positions] for plan in plans]).numpy()


def shown(arm, data):
    """The images that one epoch hands to the model, by hash: no augmentation, mean 0, deviation 1."""
    learner = learner_of(arm, data, num_epochs=1, augmentation="none")
    images = []
    batches = vars(learner.batches) | {"mean": torch.zeros(3), "std": torch.ones(3)}
    learner.batches = type(learner.batches)(**batches)
    learner.model.register_forward_pre_hook(lambda model, inputs: images.append(inputs[0]))
    learner.train_epoch()
    pixels = torch.cat(images).permute(0, 2, 3, 1)
    scale = 255 if pixels.max() <= 1 else 1
    return hashes((pixels * scale).round().to(torch.uint8).numpy())


def test_validation_is_balanced_and_disjoint_from_training(tuning):
    """4 images of each of 4 classes; of the 40 left, classes 0 and 1 keep a tenth."""
    assert np.bincount(tuning.labels[tuning.val_indices]).tolist() == [4, 4, 4, 4]
    assert np.bincount(tuning.labels[tuning.train_indices]).tolist() == [4, 4, 40, 40]
    assert tuning.class_counts.tolist() == [4, 4, 40, 40]
    assert not set(tuning.train_indices) & set(tuning.val_indices)


def test_validation_is_cut_before_thinning(dataset):
    """However the training set is thinned, the validation set is the same, and rare classes have as much of it."""
    validations = [
        tuning_data(
            dataset,
            subset_seed=seed,
            thinned=partial(thinned_counts, imbalance=imbalance, ratio=ratio, minority=minority),
        ).val_indices
        for seed, imbalance, ratio, minority in [
            (0, "step", 1.0, "first"),
            (0, "step", 40.0, "first"),
            (3, "step", 10.0, "last"),
            (7, "exponential", 20.0, "last"),
        ]
    ]
    assert all(np.array_equal(validations[0], others) for others in validations[1:])


@pytest.mark.parametrize("arm", ARMS)
def test_no_arm_draws_a_validation_image_in_tuning(tuning, arm):
    indices = drawn(arm, tuning)
    assert len(indices) == 4 * 88
    assert set(indices) <= set(tuning.train_indices)
    assert not set(indices) & set(tuning.val_indices)


@pytest.mark.parametrize("arm", [arm for arm in ARMS if not {"augment", "mixup", "remix"} & set(arm.split("_"))])
def test_what_the_model_is_shown_are_training_images_bit_for_bit(tuning, dataset, arm):
    """The augmented versions of augment_copies have other bytes; their indices are looked at above."""
    images = shown(arm, tuning)
    assert images
    assert images <= hashes(tuning.images[tuning.train_indices])
    assert not images & hashes(tuning.images[tuning.val_indices])
    assert not images & hashes(dataset.test_images)


def test_the_statistics_that_normalise_are_of_the_training_images_alone(tuning):
    batches = learner_of("none", tuning, num_epochs=1).batches
    pixels = tuning.images[tuning.train_indices].reshape(-1, 3).astype(np.float64)
    of_training = pixels.mean(0)
    of_pool = tuning.images.reshape(-1, 3).astype(np.float64).mean(0)
    scale = 1 if batches.mean.max() > 1 else 255
    assert (batches.mean * scale).numpy() == pytest.approx(of_training, rel=1e-5)
    assert np.abs(of_training - of_pool).max() > 0.01  # else this test could not tell them apart


def test_tuning_data_hold_no_test_image(tuning, retest, dataset):
    test_images = hashes(dataset.test_images)
    for data in (tuning, retest):
        arrays = {name: value for name, value in vars(data).items() if isinstance(value, np.ndarray)}
        assert set(arrays) == {"images", "labels", "train_indices", "val_indices", "class_counts"}
        assert len(data.images) == 176
        assert not hashes(data.images) & test_images
    assert not {name for name in TuningData.__dataclass_fields__ if "test" in name}
    assert set(TestData.__dataclass_fields__) == {"images", "labels"}


def test_the_retest_joins_train_and_validation_and_thins_anew(retest, tuning, dataset):
    """44 a class, train and validation joined: classes 0 and 1 keep 4.4, that is 4."""
    assert retest.class_counts.tolist() == [4, 4, 44, 44]
    assert np.bincount(retest.labels[retest.train_indices]).tolist() == [4, 4, 44, 44]
    assert len(retest.val_indices) == 0
    # Classes 2 and 3 whole: so all of their validation images are among what is trained on.
    frequent = {int(index) for index in tuning.val_indices if tuning.labels[index] >= 2}
    assert len(frequent) == 8
    assert frequent <= set(retest.train_indices.tolist())


@pytest.mark.parametrize("arm", ARMS)
def test_the_retest_draws_its_training_images_and_no_test_image(retest, dataset, arm):
    indices = drawn(arm, retest)
    assert len(indices) == 4 * 96
    assert set(indices) <= set(retest.train_indices)
    assert not hashes(retest.images[np.unique(indices)]) & hashes(dataset.test_images)


def test_a_retest_seed_has_one_subset_whatever_the_arm_and_another_seed_another(tuning):
    """The subset is asked for by seed alone: study/retest.py has no arm to give."""
    thinned = STUDIES["imbalance"].thinned(ImbalanceSpec(imbalance_ratio=10.0))
    first, again, other = (retest_data(tuning, thinned=thinned, subset_seed=seed) for seed in (1000, 1000, 1001))
    assert np.array_equal(first.train_indices, again.train_indices)
    assert first.fingerprint == again.fingerprint
    assert not np.array_equal(first.train_indices, other.train_indices)
    assert first.class_counts.tolist() == other.class_counts.tolist()
    trained_on = {arm: learner_of(arm, first, num_epochs=1).batches.train_indices for arm in ARMS}
    assert all(np.array_equal(indices, first.train_indices) for indices in trained_on.values())


def test_a_retest_does_not_thin_to_what_validation_was(retest, tuning):
    """Were both drawn from one stream, the rare classes' images would be the validation set's."""
    rare = {int(index) for index in retest.train_indices if retest.labels[index] < 2}
    validation = {int(index) for index in tuning.val_indices if tuning.labels[index] < 2}
    assert rare != validation
    same_seed = retest_data(tuning, thinned=THINNED, subset_seed=0)
    assert {int(index) for index in same_seed.train_indices if same_seed.labels[index] < 2} != validation
