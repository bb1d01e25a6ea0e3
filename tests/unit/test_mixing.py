"""Mixing: pixels and labels by hand, torchvision as the oracle, and nothing random but the generator."""

import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import v2

from trainables.hparams import ClassifierHparams
from trainables.parts.contracts import check_mixing
from trainables.parts.mixing import MIXINGS, Prepare, remix_label_share

COUNTS = torch.tensor([300, 100, 99])
MIXES = [name for name in MIXINGS if name != "none"]
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def images_of(labels):
    """Each image full of its place in the batch."""
    return torch.arange(len(labels)).float()[:, None, None, None].expand(-1, 2, 8, 8).contiguous()


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def prepare_of(name: str, alpha: float | None) -> Prepare:
    return MIXINGS[name].prepare(COUNTS, {"mixing_alpha": alpha})


def mixed(name, *, alpha=0.8, seed=3):
    return prepare_of(name, alpha)(images_of(LABELS), LABELS, seeded(seed))


@pytest.mark.parametrize(("name", "oracle"), [("mixup", v2.MixUp), ("cutmix", v2.CutMix)])
def test_mixup_and_cutmix_are_those_of_torchvision(name, oracle):
    torch.manual_seed(3)
    images, targets = oracle(alpha=0.8, num_classes=3)(images_of(LABELS), LABELS)
    ours = mixed(name)
    assert torch.equal(ours[0], images)
    assert torch.equal(ours[1], targets)


def test_none_leaves_the_batch_alone():
    images, labels = images_of(LABELS), LABELS
    assert prepare_of("none", None)(images, labels, seeded())[0] is images
    assert prepare_of("none", None)(images, labels, seeded())[1] is labels


@pytest.mark.parametrize("name", MIXES)
def test_targets_are_shares_of_the_classes_of_an_image_and_of_the_one_before_it(name):
    check_mixing(MIXINGS[name])
    for seed in range(10):
        images, targets = mixed(name, seed=seed)
        assert images.shape == (6, 2, 8, 8)
        assert targets.dtype == torch.float32
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(6))
        both = F.one_hot(LABELS, 3) + F.one_hot(LABELS.roll(1), 3)
        assert (targets[both == 0] == 0).all()
        assert targets.min() >= 0


@pytest.mark.parametrize("name", MIXES)
def test_a_batch_follows_its_generator_which_goes_on_and_no_other(name):
    prepare = prepare_of(name, 0.8)
    generator = seeded()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second = (prepare(images_of(LABELS), LABELS, generator)[1] for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(prepare(images_of(LABELS), LABELS, seeded())[1], first)


@pytest.mark.parametrize("name", MIXES)
def test_mixing_without_an_alpha_is_refused(name):
    with pytest.raises(ValueError, match=f"mixing '{name}' needs mixing_alpha, got None"):
        ClassifierHparams(mixing=name)


@pytest.mark.parametrize(
    ("share", "count", "partner", "expected"),
    [
        (0.4, 300, 100, 0.0),  # three times as many and less than half of the pixels: the label is the rare one's
        (0.4, 299, 100, 0.4),  # less than three times
        (0.6, 300, 100, 0.6),  # most of the pixels
        (0.5, 300, 100, 0.5),  # half of them is not less than half
        (0.6, 100, 300, 1.0),  # the same from the rare one's side
        (0.4, 100, 300, 0.4),
        (0.2, 100, 100, 0.2),
    ],
)
def test_remix_s_label_share_by_hand(share, count, partner, expected):
    shares = remix_label_share(share, torch.tensor([count]), torch.tensor([partner]))
    assert shares.tolist() == pytest.approx([expected])


def test_remix_mixes_pixels_as_mixup_does_and_gives_rare_classes_the_label():
    """Labels 0, 1, 2 with 300, 100, 99 images, each paired with the one before it: 0 with 2, 1 with 0, 2 with 1."""
    seen = set()
    for seed in range(20):
        images, targets = mixed("remix", seed=seed)
        mixup_images, mixup_targets = mixed("mixup", seed=seed)
        torch.testing.assert_close(images, mixup_images)
        share = mixup_targets[0, 0].item()  # λ
        if share < 0.5:
            seen.add("below")
            expected = [[0, 0, 1], [1 - share, share, 0], [0, 1 - share, share]]
        else:
            seen.add("above")
            expected = [[share, 0, 1 - share], [0, 1, 0], [0, 1 - share, share]]
        torch.testing.assert_close(targets, torch.tensor(expected * 2, dtype=torch.float32))
    assert seen == {"below", "above"}
