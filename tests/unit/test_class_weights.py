"""Class weights, against numbers worked by hand."""

import pytest
import torch

from trainables.hparams import ImbalanceHparams
from trainables.parts.class_weights import (
    CLASS_WEIGHTINGS,
    class_balanced_weights,
    inverse_weights,
    tail_classes,
    tail_weights,
    uniform_weights,
)
from trainables.parts.contracts import check_class_weighting

VALUES = {"class_weight_gamma": 0.5, "class_weight_beta": 0.999, "tail_class_weight": 1.1}
KNOBS = {
    "inverse": "class_weight_gamma",
    "class_balanced": "class_weight_beta",
    "tail": "tail_class_weight",
}


def counts(*values: int) -> torch.Tensor:
    return torch.tensor(values)


@pytest.mark.parametrize(
    ("class_counts", "expected"),
    [
        (counts(500, 500, 5000, 5000), [True, True, False, False]),
        (counts(5000, 5000, 500, 500), [False, False, True, True]),
        (counts(7, 7, 7, 7, 7), [True, True, False, False, False]),  # ties: the lower index; 5 // 2 = 2
        (counts(3, 9, 1, 9, 2), [False, False, True, False, True]),
    ],
)
def test_tail_classes_are_the_half_with_the_fewest_images(class_counts, expected):
    assert tail_classes(class_counts).tolist() == expected


def test_inverse_weights_by_hand():
    # 1/100 : 1/300 = 3 : 1, mean 2 -> 1.5, 0.5
    torch.testing.assert_close(inverse_weights(counts(100, 300), 1.0), torch.tensor([1.5, 0.5]))
    # 1/√1 : 1/√4 = 2 : 1, mean 1.5 -> 4/3, 2/3
    torch.testing.assert_close(inverse_weights(counts(1, 4), 0.5), torch.tensor([4 / 3, 2 / 3]))


def test_weights_are_uniform_when_gamma_is_zero():
    assert inverse_weights(counts(1, 10, 5000), 0.0).tolist() == [1, 1, 1]


def test_weights_are_uniform_when_beta_is_zero():
    assert class_balanced_weights(counts(1, 10, 5000), 0.0).tolist() == [1, 1, 1]


def test_class_balanced_weights_by_hand():
    # β = 1/2: 1/(1 - 1/2) = 2 and 1/(1 - 1/4) = 4/3, mean 5/3 -> 6/5, 4/5
    torch.testing.assert_close(class_balanced_weights(counts(1, 2), 0.5), torch.tensor([1.2, 0.8]))


def test_class_balanced_weights_keep_their_digits_near_beta_one():
    # 1 - (1-ε)^n = nε - n(n-1)/2 ε² + ..., ε = 1e-5: n=1: 1e-5; n=2: 2e-5 - 1e-10; ratio 2 - 1e-5.
    ratio = 2 - 1e-5
    expected = torch.tensor([2 * ratio / (ratio + 1), 2 / (ratio + 1)])
    torch.testing.assert_close(class_balanced_weights(counts(1, 2), 0.99999), expected, rtol=3e-7, atol=0)
    # ε = 1e-14, where 1 - β**n is 0 in float32: the limit is 1/n.
    torch.testing.assert_close(class_balanced_weights(counts(3, 10), 1 - 1e-14), torch.tensor([20 / 13, 6 / 13]))


def test_class_balanced_weights_below_099_do_nothing_at_500_against_5000():
    # REFERENCE section 2: .99^500 = 0.0066, so the weights differ by less than 1 %.
    assert class_balanced_weights(counts(500, 5000), 0.99).sub(1).abs().max() < 0.01


def test_tail_weights_by_hand():
    # 3, 1, mean 2 -> 1.5, 0.5
    torch.testing.assert_close(tail_weights(counts(900, 10), 3.0), torch.tensor([0.5, 1.5]))


def test_uniform_weights_are_one():
    assert uniform_weights(counts(2, 50)).tolist() == [1, 1]


@pytest.mark.parametrize("name", CLASS_WEIGHTINGS)
def test_every_weighting_gives_positive_float32_with_mean_one(name):
    check_class_weighting(CLASS_WEIGHTINGS[name])
    weights = CLASS_WEIGHTINGS[name].weights(counts(5000, 12, 300, 1, 77), VALUES)
    assert weights.dtype == torch.float32
    assert weights.shape == (5,)
    assert (weights > 0).all()
    assert weights.mean().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", CLASS_WEIGHTINGS)
def test_no_weighting_favours_the_class_with_more_images(name):
    weights = CLASS_WEIGHTINGS[name].weights(counts(4000, 40), VALUES)
    assert weights[1] >= weights[0]
    assert (name == "uniform") == bool(weights[1] == weights[0])


@pytest.mark.parametrize("name", CLASS_WEIGHTINGS)
def test_every_weighting_follows_the_counts_and_not_the_order_of_classes(name):
    # Renaming classes renames weights.
    weights = CLASS_WEIGHTINGS[name].weights(counts(4000, 40, 400, 4), VALUES)
    renamed = CLASS_WEIGHTINGS[name].weights(counts(4, 400, 40, 4000), VALUES)
    torch.testing.assert_close(renamed, weights.flip(0))


@pytest.mark.parametrize("name", CLASS_WEIGHTINGS)
def test_every_weighting_refuses_an_empty_class(name):
    with pytest.raises(ValueError, match="at least 1 image"):
        CLASS_WEIGHTINGS[name].weights(counts(10, 0, 5), VALUES)


@pytest.mark.parametrize("name", CLASS_WEIGHTINGS)
def test_every_weighting_names_the_knob_it_lacks(name):
    if name not in KNOBS:
        CLASS_WEIGHTINGS[name].weights(counts(3, 4), dict(ImbalanceHparams(class_weighting=name)))
        return
    with pytest.raises(ValueError, match=f"class_weighting '{name}' needs {KNOBS[name]}, got None"):
        ImbalanceHparams(class_weighting=name)


@pytest.mark.parametrize(
    ("weights_of", "value"),
    [
        (inverse_weights, -0.1),
        (inverse_weights, float("nan")),
        (class_balanced_weights, 1.0),
        (class_balanced_weights, -0.1),
        (class_balanced_weights, float("nan")),
        (tail_weights, 0.0),
        (tail_weights, float("inf")),
    ],
)
def test_bad_knobs_are_refused_with_their_value(weights_of, value):
    with pytest.raises(ValueError, match=f"got {value}"):
        weights_of(counts(5, 10), value)
