"""Losses, against numbers worked by hand. ln 2 = 0.6931, ln 3 = 1.0986, ln 4 = 1.3863."""

import math

import pytest
import torch
from learner_cases import SPACE, start_hparams
from torch.nn import functional as F

from trainables.hparams import ImbalanceHparams
from trainables.models.heads import HEADS
from trainables.parts.contracts import check_loss
from trainables.parts.losses import LOSSES, ldam_margins, post_hoc_adjustment, weighted_mean
from trainables.parts.recipe_losses import RECIPE_LOSSES

# A knob has the value at which an arm of its loss starts, where the numbers below do not say otherwise.
STARTS = {
    knob: torch.tensor(float(value))
    for arm in SPACE.arms
    for knob, value in start_hparams(arm).items()
    if knob in LOSSES[SPACE.arms[arm].factors["loss"]].needs
}
SCALARS = STARTS | {
    "label_smoothing": torch.tensor(0.0),
    "focal_gamma": torch.tensor(2.0),
    "ldam_max_margin": torch.tensor(0.5),
    "ldam_scale": torch.tensor(10.0),
    "balanced_softmax_tau": torch.tensor(1.0),
}


class Read(dict):
    """Scalars that note which of them a loss looks at."""

    def __init__(self, scalars):
        super().__init__(scalars)
        self.names = set()

    def __getitem__(self, name):
        self.names.add(name)
        return super().__getitem__(name)


BALANCED = torch.tensor([50, 50])
UNIFORM = torch.ones(2)


def loss_of(name, logits, targets, *, class_weights=UNIFORM, class_counts=BALANCED, **scalars):
    return LOSSES[name].function(
        torch.as_tensor(logits),
        torch.as_tensor(targets),
        class_weights=class_weights,
        class_counts=class_counts,
        scalars=SCALARS | {key: torch.tensor(value) for key, value in scalars.items()},
    )


def random_batch():
    generator = torch.Generator().manual_seed(0)
    # In [-1, 1], as the cosines that ldam is given.
    return torch.rand(12, 2, generator=generator) * 2 - 1, torch.arange(12) % 2


def test_weighted_mean_by_hand():
    # (3·1 + 1·2 + 1·6) / (3 + 1 + 1) = 11/5
    losses = torch.tensor([1.0, 2.0, 6.0])
    weights = torch.tensor([1.0, 3.0])
    assert weighted_mean(losses, torch.tensor([1, 0, 0]), weights).item() == pytest.approx(2.2)


def test_cross_entropy_by_hand():
    # p = (1/4, 3/4): targets 0 and 1 cost ln 4 and ln 4/3.
    logits = [[0.0, math.log(3)]] * 2
    assert loss_of("cross_entropy", logits, [0, 1]).item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)


def test_cross_entropy_is_that_of_torch_with_weights():
    logits, targets = random_batch()
    weights = torch.tensor([0.3, 1.7])
    torch.testing.assert_close(
        loss_of("cross_entropy", logits, targets, class_weights=weights),
        F.cross_entropy(logits, targets, weight=weights),
    )


def test_label_smoothing_by_hand():
    # p = (1/4, 3/4), ε = 0.2: the target 0 becomes (.9, .1), costing .9 ln 4 + .1 ln 4/3.
    loss = loss_of("cross_entropy", [[0.0, math.log(3)]], [0], label_smoothing=0.2)
    assert loss.item() == pytest.approx(0.9 * math.log(4) + 0.1 * math.log(4 / 3))


def test_label_smoothing_is_that_of_torch_with_weights():
    logits, targets = random_batch()
    weights = torch.tensor([0.3, 1.7])
    torch.testing.assert_close(
        loss_of("cross_entropy", logits, targets, class_weights=weights, label_smoothing=0.15),
        F.cross_entropy(logits, targets, weight=weights, label_smoothing=0.15),
    )


@pytest.mark.parametrize("label_smoothing", [0.0, 0.15])
def test_one_hot_targets_give_exactly_the_loss_and_gradient_of_classes(label_smoothing):
    logits, targets = random_batch()
    weights = torch.tensor([0.3, 1.7])
    gradients, losses = [], []
    for given in (targets, F.one_hot(targets, 2).float()):
        leaf = logits.clone().requires_grad_()
        loss = loss_of("cross_entropy", leaf, given, class_weights=weights, label_smoothing=label_smoothing)
        loss.backward()
        losses.append(loss.detach())
        gradients.append(leaf.grad)
    assert torch.equal(*losses)
    assert torch.equal(*gradients)


def test_cross_entropy_of_mixed_targets_weighs_each_share_as_its_class_does():
    # p = (1/4, 3/4), t = (.7, .3), w = (3, 1): (3·.7 ln 4 + 1·.3 ln 4/3) / (3·.7 + 1·.3).
    loss = loss_of("cross_entropy", [[0.0, math.log(3)]], [[0.7, 0.3]], class_weights=torch.tensor([3.0, 1.0]))
    assert loss.item() == pytest.approx((2.1 * math.log(4) + 0.3 * math.log(4 / 3)) / 2.4)


def test_cross_entropy_of_mixed_targets_is_that_of_torch_without_weights():
    logits, _ = random_batch()
    shares = torch.rand(12, 2, generator=torch.Generator().manual_seed(1))
    shares /= shares.sum(dim=1, keepdim=True)
    torch.testing.assert_close(loss_of("cross_entropy", logits, shares), F.cross_entropy(logits, shares))


def test_focal_by_hand():
    # p = (1/4, 3/4), γ = 2: (3/4)² ln 4 and (1/4)² ln 4/3.
    logits = [[0.0, math.log(3)]]
    assert loss_of("focal", logits, [0]).item() == pytest.approx(9 / 16 * math.log(4))
    assert loss_of("focal", logits, [1]).item() == pytest.approx(1 / 16 * math.log(4 / 3))


def test_focal_is_cross_entropy_when_gamma_is_zero():
    logits, targets = random_batch()
    torch.testing.assert_close(loss_of("focal", logits, targets, focal_gamma=0.0), F.cross_entropy(logits, targets))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
def test_focal_has_a_finite_gradient_where_the_model_is_certain(gamma):
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    loss_of("focal", logits, [0, 0], focal_gamma=gamma).backward()
    assert logits.grad.isfinite().all()


def test_ldam_margins_by_hand():
    # 16^¼ = 2, 81^¼ = 3: 1 : 2/3 of the rarest's, which is the largest.
    margins = ldam_margins(torch.tensor([16, 81, 1296]), torch.tensor(0.6))
    torch.testing.assert_close(margins, torch.tensor([0.6, 0.4, 0.2]))


def test_ldam_by_hand():
    # Counts 16, 81, max margin .6: margins .6, .4. Cosines (.9, .1), target 0: s·(.9 - .6 - .1) = 10·.2 = 2
    # ahead.
    counts = torch.tensor([16, 81])
    loss = loss_of("ldam", [[0.9, 0.1]], [0], class_counts=counts, ldam_max_margin=0.6)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)
    # Target 1: s·(.1 - .4 - .9) = -12.
    loss = loss_of("ldam", [[0.9, 0.1]], [1], class_counts=counts, ldam_max_margin=0.6)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(12)), rel=1e-5)


def test_balanced_softmax_by_hand():
    # Equal logits, π = (1/4, 3/4), τ = 1: p = π.
    counts = torch.tensor([25, 75])
    assert loss_of("balanced_softmax", [[0.0, 0.0]], [0], class_counts=counts).item() == pytest.approx(math.log(4))
    # τ = 2: p ∝ (1, 9).
    loss = loss_of("balanced_softmax", [[0.0, 0.0]], [0], class_counts=counts, balanced_softmax_tau=2.0)
    assert loss.item() == pytest.approx(math.log(10))


def test_balanced_softmax_is_cross_entropy_when_tau_is_zero():
    logits, targets = random_batch()
    loss = loss_of("balanced_softmax", logits, targets, class_counts=torch.tensor([1, 99]), balanced_softmax_tau=0.0)
    torch.testing.assert_close(loss, F.cross_entropy(logits, targets))


def test_post_hoc_adjustment_by_hand():
    # π = (1/4, 3/4), τ = 2: z + (2 ln 4, 2 ln 4/3); the rare class wins though its logit is a little lower.
    adjusted = post_hoc_adjustment(torch.tensor([[0.0, 1.0]]), torch.tensor([25, 75]), 2.0)
    torch.testing.assert_close(adjusted, torch.tensor([[2 * math.log(4), 1 + 2 * math.log(4 / 3)]]))
    assert adjusted.argmax().item() == 0


def test_post_hoc_adjustment_leaves_logits_alone_when_tau_is_zero():
    logits, _ = random_batch()
    torch.testing.assert_close(post_hoc_adjustment(logits, torch.tensor([1, 9]), torch.tensor(0.0)), logits)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_a_differentiable_float32_scalar(name):
    check_loss(LOSSES[name])
    logits, targets = random_batch()
    logits.requires_grad_()
    loss = loss_of(name, logits, targets, class_counts=torch.tensor([20, 80]))
    loss.backward()
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert logits.grad.isfinite().all()
    # More of the true class's logit always costs less.
    assert (logits.grad.gather(1, targets[:, None]) < 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_a_weighted_mean_over_images(name):
    # Weights 3 and 1: the same as repeating the images of class 0 three times.
    logits, targets = random_batch()
    repeats = torch.tensor([3, 1])[targets]
    repeated = loss_of(name, logits.repeat_interleave(repeats, 0), targets.repeat_interleave(repeats))
    assert loss_of(name, logits, targets, class_weights=torch.tensor([1.5, 0.5])).item() == pytest.approx(
        repeated.item(), rel=1e-5
    )


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_finite_for_extreme_logits(name):
    logits = torch.tensor([[1e4, -1e4], [1e4, -1e4]])
    assert loss_of(name, logits, [0, 1]).isfinite()


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_names_the_scalar_it_lacks(name):
    logits, targets = random_batch()
    for missing in LOSSES[name].needs:
        given = {key: value.item() for key, value in SCALARS.items()}
        ImbalanceHparams(loss=name, **given)
        with pytest.raises(ValueError, match=missing):
            ImbalanceHparams(loss=name, **given | {missing: None})
    needed = {key: SCALARS[key] for key in LOSSES[name].needs}
    LOSSES[name].function(logits, targets, class_weights=UNIFORM, class_counts=BALANCED, scalars=needed)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_takes_scalars_as_tensors_that_may_differ_between_trials(name):
    # Two trials side by side, one program: vmap over the scalars equals one after the other.
    logits, targets = random_batch()
    both = {key: torch.stack([value, value / 2]) for key, value in SCALARS.items()}

    def run(scalars):
        return LOSSES[name].function(logits, targets, class_weights=UNIFORM, class_counts=BALANCED, scalars=scalars)

    one_by_one = torch.stack([run({key: value[k] for key, value in both.items()}) for k in range(2)])
    torch.testing.assert_close(torch.vmap(run)(both), one_by_one)


def test_the_heads_that_losses_need_exist():
    assert {loss.head for loss in RECIPE_LOSSES.values()} <= set(HEADS)
    assert {name for name, loss in RECIPE_LOSSES.items() if loss.head != "linear"} == {"ldam"}
    assert LOSSES["ldam"].head == "cosine"


def test_what_a_loss_needs_is_what_it_reads():
    logits, targets = random_batch()
    for name, loss in LOSSES.items():
        scalars = Read(SCALARS)
        loss.function(logits, targets, class_weights=UNIFORM, class_counts=BALANCED, scalars=scalars)
        assert scalars.names == set(loss.needs), name
    assert set(LOSSES["ldam"].needs) == {"ldam_max_margin", "ldam_scale"}


def test_cosines_become_logits_at_ldam_s_scale_and_other_outputs_are_logits():
    outputs = torch.tensor([[0.5, -1.0]])
    for name, loss in RECIPE_LOSSES.items():
        expected = [[5.0, -10.0]] if name == "ldam" else [[0.5, -1.0]]
        assert loss.to_logits(outputs, {"ldam_scale": 10.0}).tolist() == expected, name
