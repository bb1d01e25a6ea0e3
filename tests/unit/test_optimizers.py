"""Optimisers: their first step by hand, and what decays and at which rate."""

import pytest
import torch
from torch import nn

from trainables.parts.contracts import check_optimizer
from trainables.parts.optimizers import OPTIMIZERS, decay_groups


def steps(name, *, momentum, num_steps=1, gradient=2.0, weight_decay=0.0):
    """A weight that starts at 1 and always gets the same gradient, at learning rate 0.1."""
    weight = nn.Parameter(torch.ones(1))
    optimizer = OPTIMIZERS[name]([{"params": [weight], "weight_decay": weight_decay}], 0.1, momentum)
    for _ in range(num_steps):
        weight.grad = torch.full((1,), gradient)
        optimizer.step()
    return weight.item()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sgd", 1 - 0.1 * (2 + 0.9 * 2)),  # Nesterov: the gradient and 0.9 of the momentum, which is the gradient
        ("adam", 0.9),  # a first step is the learning rate, whatever the gradient
        ("adamw", 0.9),
        ("rmsprop", 1 - 0.1 / 0.1),  # the running square is (1 - 0.99) of the gradient's: 2 / √(0.01 · 4) = 10
    ],
)
def test_a_first_step_by_hand(name, expected):
    check_optimizer(OPTIMIZERS[name])
    assert steps(name, momentum=0.9) == pytest.approx(expected, abs=1e-5)


def test_sgd_without_momentum_is_plain():
    assert steps("sgd", momentum=0.0, num_steps=3) == pytest.approx(1 - 3 * 0.2)


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize(("beta", "expected"), [(0.5, 0.1 / 3), (0.9, 0.1 / 19)])
def test_momentum_is_beta_1_of_adam(name, beta, expected):
    """After gradients 2 and -2 the mean is 2 (β - 1) (1 - β) / (1 - β²) = -2 (1 - β) / (1 + β), its scale 2."""
    weight = nn.Parameter(torch.zeros(1))
    optimizer = OPTIMIZERS[name]([{"params": [weight], "weight_decay": 0.0}], 0.1, beta)
    for gradient in (2.0, -2.0):
        before = weight.item()
        weight.grad = torch.full((1,), gradient)
        optimizer.step()
    assert weight.item() - before == pytest.approx(expected, abs=1e-5)


def test_rmsprop_has_a_momentum():
    # Steps of 1 and of 2 / √(0.0199 · 4) = 7.0888 times 0.1, plus half the step before.
    assert steps("rmsprop", momentum=0.5, num_steps=2) == pytest.approx(1 - 1 - (0.70888 + 0.5), abs=1e-4)


def test_adamw_takes_its_decay_of_the_weight_itself():
    """No gradient, weight 1: AdamW shrinks it by 0.1 · 0.5; Adam's decay is a gradient, whose first step is 0.1."""
    assert steps("adamw", momentum=0.9, gradient=0.0, weight_decay=0.5) == pytest.approx(0.95)
    assert steps("adam", momentum=0.9, gradient=0.0, weight_decay=0.5) == pytest.approx(0.9)
    assert steps("sgd", momentum=0.0, gradient=0.0, weight_decay=0.5) == pytest.approx(0.95)


def a_model():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def test_normalisation_and_biases_do_not_decay_and_every_parameter_is_in_one_group():
    model = a_model()
    conv, norm, _, linear = model
    decayed, plain = decay_groups(model, weight_decay=0.25)
    assert decayed["weight_decay"] == 0.25
    assert plain["weight_decay"] == 0.0
    assert {id(p) for p in decayed["params"]} == {id(conv.weight), id(linear.weight)}
    assert {id(p) for p in plain["params"]} == {id(conv.bias), id(norm.weight), id(norm.bias), id(linear.bias)}
    assert decayed["lr_scale"] == plain["lr_scale"] == 1.0


def test_a_layer_can_have_a_learning_rate_of_its_own():
    model = a_model()
    conv, norm, _, linear = model
    groups = decay_groups(model, weight_decay=0.25, lr_scales={"0": 0.1, "1": 0.1})
    by_kind = {(g["lr_scale"], g["weight_decay"]): {id(p) for p in g["params"]} for g in groups}
    assert by_kind == {
        (0.1, 0.25): {id(conv.weight)},
        (0.1, 0.0): {id(conv.bias), id(norm.weight), id(norm.bias)},
        (1.0, 0.25): {id(linear.weight)},
        (1.0, 0.0): {id(linear.bias)},
    }


def test_a_learning_rate_for_a_layer_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="the model has no layer fc9"):
        decay_groups(a_model(), weight_decay=0.0, lr_scales={"0": 0.1, "fc9": 0.1})
