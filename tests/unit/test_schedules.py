"""Learning-rate schedules, against numbers worked by hand and torch's own."""

import itertools

import pytest
import torch

from trainables.hparams import Hparams
from trainables.parts.contracts import check_schedule
from trainables.parts.schedules import SCHEDULES, last_epoch_before, restarted, warmed_up


@pytest.mark.parametrize(
    ("name", "progress", "expected"),
    [
        ("constant", 0.99, 1.0),
        ("linear", 0.0, 1.0),
        ("linear", 0.25, 0.75),
        ("cosine", 0.0, 1.0),
        ("cosine", 1 / 3, 0.75),  # (1 + cos 60°) / 2
        ("cosine", 0.5, 0.5),
        ("multi_step", 0.59, 1.0),
        ("multi_step", 0.6, 0.1),
        ("multi_step", 0.79, 0.1),
        ("multi_step", 0.8, 0.01),
        ("one_cycle", 0.0, 0.04),  # 1/25
        ("one_cycle", 0.15, 0.52),  # half-way up: (1 + 1/25) / 2
        ("one_cycle", 0.3, 1.0),
        ("one_cycle", 0.65, 0.500002),  # half-way down: (1 + 4e-6) / 2
        ("one_cycle", 1.0, 4e-6),  # 1/25e4
    ],
)
def test_multipliers_by_hand(name, progress, expected):
    assert SCHEDULES[name](progress) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", sorted(set(SCHEDULES) - {"one_cycle"}))
def test_every_schedule_starts_at_one_and_falls_but_stays_positive(name):
    check_schedule(SCHEDULES[name])
    multipliers = [SCHEDULES[name](step / 1000) for step in range(1000)] + [SCHEDULES[name](1 - 1e-12)]
    assert multipliers[0] == 1
    assert all(later <= earlier for earlier, later in itertools.pairwise(multipliers))
    assert min(multipliers) > 0


def test_one_cycle_rises_then_falls_and_stays_positive():
    check_schedule(SCHEDULES["one_cycle"])
    multipliers = [SCHEDULES["one_cycle"](step / 1000) for step in range(1001)]
    assert all(later > earlier for earlier, later in itertools.pairwise(multipliers[:301]))
    assert all(later < earlier for earlier, later in itertools.pairwise(multipliers[300:]))
    assert min(multipliers) > 0


def test_one_cycle_is_that_of_torch():
    """torch reaches the peak a step early and the end at its last step: 1e-3 is more than 20,000 steps make of it."""
    num_steps = 20_000
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.3, total_steps=num_steps)
    optimizer.step()
    for step in range(num_steps - 1):
        assert 0.3 * SCHEDULES["one_cycle"](step / num_steps) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-3)
        scheduler.step()


def test_a_warm_up_rises_in_a_line_and_then_the_schedule_takes_the_rest():
    """From 1/25 to 1 in a fifth of training; three fifths are half of the rest."""
    schedule = warmed_up(SCHEDULES["linear"], 0.2)
    expected = {0.0: 0.04, 0.1: 0.52, 0.2: 1.0, 0.6: 0.5, 0.9: 0.125}
    assert {progress: schedule(progress) for progress in expected} == pytest.approx(expected)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_without_warm_up_is_itself(name):
    schedule = warmed_up(SCHEDULES[name], 0.0)
    assert [schedule(step / 50) for step in range(50)] == [SCHEDULES[name](step / 50) for step in range(50)]


@pytest.mark.parametrize("warmup", [-0.1, 1.0])
def test_a_warm_up_of_all_or_less_than_nothing_is_refused(warmup):
    with pytest.raises(ValueError, match=rf"warmup must be in \[0, 1\), got {warmup}"):
        warmed_up(SCHEDULES["cosine"], warmup)


def test_a_restarted_schedule_runs_twice():
    schedule = restarted(SCHEDULES["linear"], 0.75)
    expected = {0.0: 1.0, 0.375: 0.5, 0.75: 1.0, 0.875: 0.5}
    assert {progress: schedule(progress) for progress in expected} == pytest.approx(expected)
    assert restarted(SCHEDULES["linear"], 0.0)(0.25) == 0.75


def test_a_warm_up_takes_its_share_of_training():
    schedule = warmed_up(SCHEDULES["linear"], 0.5)
    assert [schedule(0.25), schedule(0.75)] == pytest.approx([0.52, 0.5])


def test_one_cycle_takes_no_second_warm_up():
    with pytest.raises(ValueError, match=r"'one_cycle' has a warm-up of its own: warmup must be 0, got 0\.1"):
        Hparams(schedule="one_cycle", warmup=0.1)


@pytest.mark.parametrize(
    ("start", "num_epochs", "last"), [(0.0, 5, 0), (0.6, 5, 3), (0.8, 9, 7), (0.95, 9, 8), (1.0, 9, 8), (0.9, 1, 0)]
)
def test_a_late_phase_leaves_its_share_before_it_and_has_an_epoch_at_least(start, num_epochs, last):
    assert last_epoch_before(start, num_epochs) == last


def test_cosine_is_that_of_torch():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for step in range(20):
        assert 0.3 * SCHEDULES["cosine"](step / 20) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_milestones_of_ten_epochs_are_the_seventh_and_the_ninth():
    rates = [SCHEDULES["multi_step"](epoch / 10) for epoch in range(10)]
    assert rates == pytest.approx([1, 1, 1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
