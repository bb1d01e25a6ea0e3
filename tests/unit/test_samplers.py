"""Samplers: what every plan must keep, and what each one draws, counted by hand."""

import pytest
import torch

from trainables.data.augmentation import VIEWS
from trainables.hparams import ImbalanceHparams
from trainables.parts.contracts import check_sampler
from trainables.parts.samplers import SAMPLERS, Epoch, EpochPlan

KNOBS = {
    "augment_copies": "photometric_strength",
    "weighted": "sampler_exponent",
    "flag": "cut_loss_scale",
    "warmup_oversample": "cut_loss_scale",
    "deferred": "reweight_start",
    "decoupled": "head_start",
}
STEP = [50] * 5 + [500] * 5  # the first five of ten classes cut to 1/10


def plan_of(name, counts, *, batch_size=64, seed=0, epoch=4, num_epochs=5, **knobs):
    """Of the fourth of five epochs: the one after reweight_start and head_start 0.6."""
    given = {"sampler_exponent": 0.5, "cut_loss_scale": 0.001, "reweight_start": 0.6, "head_start": 0.6}
    return SAMPLERS[name].function(
        Epoch(
            labels=labels_of(counts),
            class_counts=torch.tensor(counts),
            batch_size=batch_size,
            knobs={"photometric_strength": 0.3, **given, **knobs},
            number=epoch,
            num_epochs=num_epochs,
            generator=torch.Generator().manual_seed(seed),
        )
    )


def labels_of(counts):
    # Shuffled, as in a real data set: a sampler may not rely on sorted labels.
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(99))]


def counts_drawn(plan, counts):
    return torch.bincount(labels_of(counts)[plan.positions], minlength=len(counts)).tolist()


def batches_of(plan, counts):
    """[(labels of a batch, its loss scale), ...]"""
    labels = labels_of(counts)[plan.positions].split(plan.batch_sizes)
    return list(zip(labels, plan.loss_scales.tolist(), strict=True))


COUNTS = {
    "step": STEP,
    "balanced": [30, 30, 30, 30],
    "five_balanced": [30] * 5,  # in batches of 3: 60 full ones ask for 120 head images, and there are 90
    "long_tailed": [100, 46, 22, 10, 5],
    "two_classes": [3, 126],  # 129 images: 2 × 64 + 1
    "one_image_a_class": [1, 1, 1],
    "fewer_than_a_batch": [2, 9],
}


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS.keys())
@pytest.mark.parametrize("batch_size", [2, 3, 64])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_plan_draws_exactly_n_images_in_batches_of_at_least_two(name, batch_size, counts):
    check_sampler(SAMPLERS[name], batch_size=batch_size, counts=counts)
    for seed in range(3):
        plan = plan_of(name, counts, batch_size=batch_size, seed=seed)
        assert plan.positions.dtype == torch.int64
        assert plan.positions.shape == (sum(counts),)
        assert plan.positions.min() >= 0
        assert plan.positions.max() < sum(counts)
        assert sum(plan.batch_sizes) == sum(counts)
        assert min(plan.batch_sizes) >= 2
        assert max(plan.batch_sizes) <= batch_size + 1
        assert plan.loss_scales.dtype == torch.float32
        assert plan.loss_scales.shape == (len(plan.batch_sizes),)
        assert plan.views is None or (plan.views.dtype, len(plan.views)) == (torch.uint8, sum(counts))


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_plan_is_a_function_of_its_generator_alone(name):
    torch.manual_seed(1)
    plan = plan_of(name, STEP, seed=5)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = plan_of(name, STEP, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(plan.positions, again.positions)
    assert plan.batch_sizes == again.batch_sizes
    assert torch.equal(plan.loss_scales, again.loss_scales)
    assert not torch.equal(plan.positions, plan_of(name, STEP, seed=6).positions)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_names_the_knob_it_lacks(name):
    if name not in KNOBS:
        ImbalanceHparams(sampler=name)
        plan_of(name, [3, 9], **dict.fromkeys(KNOBS.values()))
        return
    with pytest.raises(ValueError, match=f"sampler '{name}' needs {KNOBS[name]}, got None"):
        ImbalanceHparams(sampler=name)


@pytest.mark.parametrize(
    ("labels", "counts", "message"),
    [
        ([3, 4], [4, 4], "are not the counts of the 7 labels"),
        ([3, 4], [3, 4, 1], "are not the counts of the 7 labels"),
        ([3, 0, 4], [3, 0, 4], r"every class must have at least 1 image, got class_counts \[3, 0, 4\]"),
    ],
)
def test_an_epoch_refuses_counts_that_are_not_the_labels(labels, counts, message):
    with pytest.raises(ValueError, match=message):
        Epoch(
            labels=labels_of(labels),
            class_counts=torch.tensor(counts),
            batch_size=64,
            knobs={},
            number=1,
            num_epochs=1,
            generator=torch.Generator(),
        )


def test_shuffle_draws_each_image_once_in_batches_of_batch_size():
    plan = plan_of("shuffle", [70, 70], batch_size=64)
    assert plan.positions.sort().values.tolist() == list(range(140))
    assert plan.batch_sizes == (64, 64, 12)
    assert plan.loss_scales.tolist() == [1, 1, 1]


def test_a_last_batch_of_one_image_joins_the_one_before():
    assert plan_of("shuffle", [64, 65], batch_size=64).batch_sizes == (64, 65)


def test_copy_takes_each_minority_image_round_max_over_n_times():
    # 12/3 = 4 copies: the set has 12 + 12 images, of which 15 are drawn: no image more than 4 times, or once.
    drawn = torch.zeros(15)
    for seed in range(400):
        plan = plan_of("copy", [3, 12], batch_size=4, seed=seed)
        times = torch.bincount(plan.positions, minlength=15)
        assert times[labels_of([3, 12]) == 0].max() <= 4
        assert times[labels_of([3, 12]) == 1].max() <= 1
        drawn += times
    # Half of the set is class 0: 7.5 of the 15 drawn. One epoch's deviation is below 2, so 400 epochs' below
    # 0.1.
    assert drawn[labels_of([3, 12]) == 0].sum().item() / 400 == pytest.approx(7.5, abs=0.4)


def test_copy_is_shuffle_when_classes_are_balanced():
    plan = plan_of("copy", [30, 30])
    assert plan.positions.sort().values.tolist() == list(range(60))


def test_fixed_views_come_with_their_strength_and_other_plans_with_none():
    assert plan_of("augment_copies", [3, 9]).photometric_strength == 0.3
    assert plan_of("copy", [3, 9]).photometric_strength is None


def test_augment_copies_draws_five_views_and_tail_pairs_twice_as_often():
    # Set: 5 · (2 · 40 + 160) = 1200 pairs, 1/3 of them of the tail class; 200 are drawn.
    counts = [40, 160]
    tail_share, views = 0.0, torch.zeros(5)
    for seed in range(50):
        plan = plan_of("augment_copies", counts, seed=seed)
        pairs = plan.positions * 5 + plan.views
        is_tail = labels_of(counts)[plan.positions] == 0
        assert torch.bincount(pairs[is_tail]).max() <= 2
        assert torch.bincount(pairs[~is_tail]).max() == 1
        tail_share += is_tail.double().mean().item() / 50
        views += torch.bincount(plan.views.long(), minlength=5)
    assert len(VIEWS) == 5
    # 10,000 draws: deviations .0047 of the share and 40 of each view's count.
    assert tail_share == pytest.approx(1 / 3, abs=0.02)
    assert (views - 2000).abs().max() < 200


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [(1.0, [0.9, 0.1]), (0.5, [0.75, 0.25]), (0.0, [0.5, 0.5])],  # √9 : √1 = 3 : 1
)
def test_weighted_draws_class_j_in_proportion_to_n_to_the_q(exponent, expected):
    drawn = counts_drawn(plan_of("weighted", [9000, 1000], sampler_exponent=exponent), [9000, 1000])
    # The deviation of a share of 10,000 draws is at most .005.
    assert [count / 10_000 for count in drawn] == pytest.approx(expected, abs=0.025)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    # Kang et al. 2020, eq. 3, with t/T = 0, ½ and 1: (.9, .1), the mean of both, (.5, .5).
    [(1, [0.9, 0.1]), (3, [0.7, 0.3]), (5, [0.5, 0.5])],
)
def test_progressive_glides_from_the_data_as_they_are_to_balanced(epoch, expected):
    drawn = counts_drawn(plan_of("progressive", [9000, 1000], epoch=epoch, num_epochs=5), [9000, 1000])
    assert [count / 10_000 for count in drawn] == pytest.approx(expected, abs=0.025)


def test_progressive_draws_the_data_as_they_are_when_there_is_one_epoch():
    drawn = counts_drawn(plan_of("progressive", [9000, 1000], epoch=1, num_epochs=1), [9000, 1000])
    assert [count / 10_000 for count in drawn] == pytest.approx([0.9, 0.1], abs=0.025)


@pytest.mark.parametrize(("name", "knob"), [("deferred", "reweight_start"), ("decoupled", "head_start")])
def test_late_balance_begins_after_its_share_of_the_epochs_and_not_before(name, knob):
    """0.6 of 5 epochs are 3: until then each image once, in the order of shuffle; then classes equally often."""
    other = {"deferred": "head_start", "decoupled": "reweight_start"}[name]
    for epoch in (1, 3):
        plan = plan_of(name, STEP, epoch=epoch, **{knob: 0.6, other: None})
        assert torch.equal(plan.positions, plan_of("shuffle", STEP).positions)
        assert plan.positions.sort().values.tolist() == list(range(2750))
    for epoch in (4, 5):
        drawn = counts_drawn(plan_of(name, STEP, epoch=epoch, **{knob: 0.6, other: None}), STEP)
        # 275 of each class on average, with a deviation of 16.
        assert min(drawn) > 200
        assert max(drawn) < 350
    # The very draws of the weighted sampler with q = 0.
    balanced = plan_of("weighted", STEP, sampler_exponent=0.0)
    assert torch.equal(plan_of(name, STEP, epoch=4).positions, balanced.positions)


def test_flag_parts_a_step_of_a_tenth_into_eight_full_and_71_cut_batches():
    # Full: 32 tail + 32 head. 250 tail images = 7 · 32 + 26: seven batches of 64 and one of 26 + 26.
    # 2500 - 250 head images are left: 70 · 32 + 10.
    batches = batches_of(plan_of("flag", STEP, cut_loss_scale=0.25), STEP)
    full = [labels for labels, scale in batches if scale == 1]
    cut = [labels for labels, scale in batches if scale == 0.25]
    assert sorted(len(labels) for labels in full) == [52] + [64] * 7
    assert sorted(len(labels) for labels in cut) == [10] + [32] * 70
    assert len(batches) == 79
    assert sorted(int((labels < 5).sum()) for labels in full) == [26] + [32] * 7
    assert all((labels >= 5).all() for labels in cut)
    assert len(full) / len(batches) == pytest.approx(0.1, abs=0.005)


def test_flag_has_no_cut_batches_when_classes_are_balanced():
    # 64 tail and 64 head images: two full batches of 32 + 32.
    plan = plan_of("flag", [32, 32, 32, 32])
    assert plan.batch_sizes == (64, 64)
    assert plan.loss_scales.tolist() == [1, 1]


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS.keys())
@pytest.mark.parametrize("batch_size", [2, 3, 64])
def test_flag_draws_each_image_once_and_every_tail_image_in_a_full_batch(counts, batch_size):
    plan = plan_of("flag", counts, batch_size=batch_size, cut_loss_scale=0.25)
    assert plan.positions.sort().values.tolist() == list(range(sum(counts)))
    tail = sorted(range(len(counts)), key=lambda label: (counts[label], label))[: len(counts) // 2]
    for labels, scale in batches_of(plan, counts):
        is_tail = torch.isin(labels, torch.tensor(tail))
        assert (0 < is_tail.sum() < len(labels)) == (scale == 1)


def test_flag_orders_full_and_cut_batches_at_random():
    firsts = [plan_of("flag", STEP, seed=seed).loss_scales[:40].sum().item() for seed in range(20)]
    # 8 full among 79: 4 in the first 40 on average; a fixed order would give one number.
    assert 2 < sum(firsts) / 20 < 6
    assert len(set(firsts)) > 2


# 4 tail and 40 head images in batches of 8: one full batch of 4 + 4, nine cut of 4. If k cut batches come
# before the full one, 4k + 4 head images are merged and the 4 tail images over-sampled to 4k + 4: k + 1
# batches of 8. An epoch is 44 images.
CYCLES = {
    0: [8] + [4] * 9,
    1: [4] + [8] * 2 + [4] * 6,
    2: [4] * 2 + [8] * 3 + [4] * 3,
    3: [4] * 3 + [8] * 4,
    4: [4] * 4 + [8] * 3 + [4],
    5: [4] * 5 + [8] * 3,
    6: [4] * 6 + [8] * 2 + [4],
    7: [4] * 7 + [8] * 2,
    8: [4] * 8 + [8] + [4],
    9: [4] * 9 + [8],
}


def test_warmup_oversample_trains_cut_batches_dimly_then_the_merged_set_balanced():
    seen = set()
    for seed in range(200):
        plan = plan_of("warmup_oversample", [4, 40], batch_size=8, seed=seed, cut_loss_scale=0.25)
        scales = plan.loss_scales.tolist()
        num_cut = scales.index(1.0)
        seen.add(num_cut)
        assert list(plan.batch_sizes) == CYCLES[num_cut]
        num_over = -(-min(8 * num_cut + 8, 44 - 4 * num_cut) // 8)
        assert scales == [0.25] * num_cut + [1.0] * num_over + [0.25] * (len(scales) - num_cut - num_over)
        if num_cut <= 3:  # the set is whole
            recorded = plan.positions[: 4 * num_cut]
            merged = plan.positions[4 * num_cut : 12 * num_cut + 8]
            is_tail = labels_of([4, 40])[merged] == 0
            assert int(is_tail.sum()) == 4 * num_cut + 4
            assert len(merged[is_tail].unique()) == 4  # every tail image stays in
            assert len(merged[~is_tail].unique()) == 4 * num_cut + 4  # each head image once
            assert set(recorded.tolist()) < set(merged[~is_tail].tolist())
    assert seen == set(CYCLES)


def test_warmup_oversample_balances_ten_classes_within_each_cycle():
    batches = batches_of(plan_of("warmup_oversample", STEP), STEP)
    cut = torch.cat([labels for labels, scale in batches if scale < 1])
    assert (cut >= 5).all()
    # All scale-1 batches but those of the last, perhaps truncated, set: each tail class as often as a head
    # class.
    last_cut = max(k for k, (_, scale) in enumerate(batches) if scale < 1)
    over = torch.cat([labels for labels, scale in batches[:last_cut] if scale == 1])
    drawn = torch.bincount(over, minlength=10).double()
    torch.testing.assert_close(drawn[:5], drawn[5:].mean().expand(5), rtol=0.01, atol=0)


def test_a_plan_whose_parts_disagree_is_refused():
    positions = torch.arange(5)
    with pytest.raises(ValueError, match="add up to 4, not to 5"):
        EpochPlan(positions=positions, batch_sizes=(2, 2), loss_scales=torch.ones(2))
    with pytest.raises(ValueError, match="1 loss_scales for 2 batches"):
        EpochPlan(positions=positions, batch_sizes=(2, 3), loss_scales=torch.ones(1))
    with pytest.raises(ValueError, match="4 views for 5 positions"):
        EpochPlan(
            positions=positions,
            batch_sizes=(5,),
            loss_scales=torch.ones(1),
            views=torch.zeros(4, dtype=torch.uint8),
        )
