"""Learning-rate schedules, against numbers worked by hand and torch's own."""

import itertools

import pytest
import torch

from trainables.schedules import SCHEDULES


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
    ],
)
def test_multipliers_by_hand(name, progress, expected):
    assert SCHEDULES[name](progress) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_starts_at_one_and_falls_but_stays_positive(name):
    multipliers = [SCHEDULES[name](step / 1000) for step in range(1000)] + [SCHEDULES[name](1 - 1e-12)]
    assert multipliers[0] == 1
    assert all(later <= earlier for earlier, later in itertools.pairwise(multipliers))
    assert min(multipliers) > 0


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
