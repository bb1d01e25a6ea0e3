"""Metrics, against hand-worked numbers and scikit-learn."""

import math
import warnings
from types import SimpleNamespace

import pytest
import sklearn.metrics
import torch

from trainables.training import evaluation
from trainables.training.metrics import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    equal_class_weights,
    expected_calibration_error,
    macro_f1,
    nll,
    per_class_recall,
    worst_class_recall,
)

# Class 0: 3 of 4 right, class 1: 1 of 2, class 2: 0 of 1.
TARGETS = torch.tensor([0, 0, 0, 0, 1, 1, 2])
PREDICTIONS = torch.tensor([0, 0, 0, 1, 1, 2, 0])
CONFUSION = torch.tensor([[3, 1, 0], [0, 1, 1], [1, 0, 0]])


def random_predictions(seed, num_classes=5, num_images=60):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_images, num_classes, generator=generator) * 3
    return logits, torch.randint(num_classes, (num_images,), generator=generator)


def test_confusion_matrix_by_hand_has_a_row_a_true_class():
    confusion = confusion_matrix(PREDICTIONS, TARGETS, 3)
    assert confusion.dtype == torch.int64
    assert confusion.tolist() == CONFUSION.tolist()


def test_confusion_matrix_takes_the_argmax_of_logits():
    logits = torch.nn.functional.one_hot(PREDICTIONS, 3).float()
    assert confusion_matrix(logits, TARGETS, 3).tolist() == CONFUSION.tolist()


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (accuracy, 4 / 7),
        (balanced_accuracy, (3 / 4 + 1 / 2 + 0) / 3),
        (worst_class_recall, 0.0),
        (macro_f1, (6 / 8 + 2 / 4 + 0) / 3),  # class 0: 2·3/(2·3+1+1), class 1: 2·1/(2·1+1+1), class 2: 0
    ],
)
def test_metrics_by_hand(metric, expected):
    value = metric(CONFUSION)
    assert value.dtype == torch.float64
    assert value.shape == ()
    assert value.item() == pytest.approx(expected)


def test_per_class_recall_by_hand():
    torch.testing.assert_close(per_class_recall(CONFUSION), torch.tensor([0.75, 0.5, 0.0], dtype=torch.float64))


def test_a_class_without_images_has_no_recall_and_is_left_out_of_means():
    confusion = torch.tensor([[3, 1, 0], [0, 0, 0], [0, 2, 2]])
    assert per_class_recall(confusion)[1].isnan()
    assert balanced_accuracy(confusion).item() == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert worst_class_recall(confusion).item() == pytest.approx(1 / 2)
    assert worst_class_recall(torch.zeros(2, 2, dtype=torch.int64)).isnan()


@pytest.mark.parametrize("num_images", [7, 60, 500])  # with 7 images, classes are missing
@pytest.mark.parametrize("seed", range(3))
def test_metrics_agree_with_scikit_learn(seed, num_images):
    logits, targets = random_predictions(seed, num_images=num_images)
    predictions = logits.argmax(dim=1)
    confusion = confusion_matrix(logits, targets, 5)
    true, predicted = targets.numpy(), predictions.numpy()
    assert (confusion.numpy() == sklearn.metrics.confusion_matrix(true, predicted, labels=range(5))).all()
    assert accuracy(confusion).item() == pytest.approx(sklearn.metrics.accuracy_score(true, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn says that a class is missing
        expected = sklearn.metrics.balanced_accuracy_score(true, predicted)
    assert balanced_accuracy(confusion).item() == pytest.approx(expected)
    assert macro_f1(confusion).item() == pytest.approx(
        sklearn.metrics.f1_score(true, predicted, average="macro", zero_division=0)
    )
    probabilities = logits.double().softmax(dim=1).numpy()
    assert nll(logits, targets).item() == pytest.approx(sklearn.metrics.log_loss(true, probabilities, labels=range(5)))


def test_nll_by_hand():
    # p = (1/4, 3/4)
    logits = torch.tensor([[0.0, math.log(3)]] * 2)
    value = nll(logits, torch.tensor([0, 1]))
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)


def logits_of(*probabilities_of_class_one):
    p = torch.tensor(probabilities_of_class_one, dtype=torch.float64)
    return torch.stack([1 - p, p], dim=1).log()


def test_calibration_error_by_hand():
    # Two bins of (1/2, 1] with num_bins = 4: (.5, .75] holds confidences .6 (right), .7 (wrong); (.75, 1] .9
    # (right). Bin 1: |1/2 - .65| = .15, of 2/3 of the images; bin 2: |1 - .9| = .1, of 1/3. Together .1 +
    # .1/3.
    logits = logits_of(0.6, 0.7, 0.9)
    error = expected_calibration_error(logits, torch.tensor([1, 0, 1]), num_bins=4)
    assert error.dtype == torch.float64
    assert error.item() == pytest.approx(0.1 + 0.1 / 3)


def test_calibration_error_has_fifteen_bins_unless_told():
    # .61 and .66 share the bin (.6, .667]: one right, one wrong: |1/2 - .635|; .7 alone: |1 - .7|.
    logits = logits_of(0.61, 0.66, 0.70)
    error = expected_calibration_error(logits, torch.tensor([1, 0, 1]))
    assert error.item() == pytest.approx(2 / 3 * 0.135 + 1 / 3 * 0.3)


def test_calibration_error_is_zero_for_certain_and_right_and_one_for_certain_and_wrong():
    logits = torch.tensor([[100.0, -1000.0], [-1000.0, 100.0]])
    assert expected_calibration_error(logits, torch.tensor([0, 1])).item() == pytest.approx(0)
    assert expected_calibration_error(logits, torch.tensor([1, 0])).item() == pytest.approx(1)


def test_impossible_classes_and_bins_are_refused():
    with pytest.raises(ValueError, match=r"targets must be in \[0, 3\), got 0 to 3"):
        confusion_matrix(torch.tensor([0, 1]), torch.tensor([0, 3]), 3)
    with pytest.raises(ValueError, match=r"predictions must be in \[0, 3\), got -1 to 1"):
        confusion_matrix(torch.tensor([-1, 1]), torch.tensor([0, 2]), 3)
    with pytest.raises(ValueError, match="of one length"):
        confusion_matrix(torch.tensor([0, 1, 2]), torch.tensor([0, 2]), 3)
    with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
        expected_calibration_error(torch.zeros(1, 2), torch.tensor([0]), num_bins=0)


def test_images_of_rarer_classes_weigh_more_and_equal_classes_change_no_bit():
    """Rows of 4, 2, 0 and 1 images: accuracy with these weights is the mean of 3/4, 1/2 and 1."""
    confusion = torch.tensor([[3, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
    weights = equal_class_weights(confusion)
    assert weights.tolist() == [1, 2, 0, 4]
    assert accuracy(confusion * weights[:, None]).item() == pytest.approx(balanced_accuracy(confusion).item())
    assert balanced_accuracy(confusion).item() == pytest.approx(0.75)
    logits = torch.randn(999, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(999) % 3
    equal = confusion_matrix(logits, targets, 3)
    assert equal_class_weights(equal).tolist() == [1, 1, 1]
    assert accuracy(equal * equal_class_weights(equal)[:, None]).item() == accuracy(equal).item()
    assert nll(logits, targets, equal_class_weights(equal)).item() == nll(logits, targets).item()


def test_weighted_nll_by_hand():
    """Two images of class 0 at 1/2 and one of class 1, weighing twice, at 3/4."""
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, math.log(3)]])
    value = nll(logits, torch.tensor([0, 0, 1]), torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert value.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_a_validation_score_weighs_classes_equally_whatever_their_number_of_images(monkeypatch):
    """Three of four right in class 0 and none of one in class 1: accuracy 3/8, not 3/5."""
    logits = torch.tensor([[2.0, 0.0]] * 3 + [[0.0, 2.0], [2.0, 0.0]])
    monkeypatch.setattr(evaluation, "_validation", lambda learner, data: (logits, torch.tensor([0, 0, 0, 0, 1])))
    judged = evaluation.validate_classifier(None, SimpleNamespace(num_classes=2))
    assert judged["accuracy"] == judged["balanced_accuracy"] == pytest.approx(3 / 8)
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert judged["loss"] == pytest.approx(((3 * right + wrong) / 4 + wrong) / 2)
