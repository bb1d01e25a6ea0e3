"""How a classifier is judged beyond its accuracy, on numbers that can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from learner_cases import few_digits, learner_of, setup_of, start_hparams

from trainables.data.types import TestData
from trainables.tasks.imbalance import IMBALANCE
from trainables.training.evaluation import (
    TAUS,
    follow_classifier,
    judge_classifier,
    sweep_on_test,
    top_five_and_superclass,
)
from trainables.training.retest import train_and_test


def data_of(class_counts, superclass_of=None):
    """As much of a study's data as judging looks at."""
    counts = np.array(class_counts)
    names = tuple(map(str, range(len(counts))))
    return replace(few_digits(), class_counts=counts, class_names=names, superclass_of=superclass_of)


def test_top_five_counts_an_image_whose_class_is_not_the_last_of_six():
    """Logits fall from class 0 to class 5: of six images, one a class, all but that of class 5 are in the top five."""
    logits = torch.arange(6.0, 0.0, -1.0).expand(6, 6)
    judged = top_five_and_superclass(logits, torch.arange(6), data_of([10] * 6))
    assert judged["test_top5_accuracy"] == pytest.approx(5 / 6)
    assert judged["test_superclass_accuracy"] is None


def test_five_classes_have_no_top_five():
    judged = top_five_and_superclass(torch.eye(5), torch.arange(5), data_of([10] * 5))
    assert judged["test_top5_accuracy"] is None


def test_an_image_counts_for_its_superclass_where_the_predicted_class_belongs_to_it():
    """Predictions 0, 0, 0, 3 of classes 0, 1, 2, 3 in superclasses 0, 0, 1, 1: only the third is of another one."""
    logits = torch.tensor([[2.0, 1, 0, 0], [2, 1, 0, 0], [2, 1, 0, 0], [0, 0, 1, 2]])
    judged = top_five_and_superclass(logits, torch.arange(4), data_of([10] * 4, superclass_of=(0, 0, 1, 1)))
    assert judged["test_superclass_accuracy"] == pytest.approx(3 / 4)


def test_the_sweep_over_tau_lifts_the_rare_class_until_it_takes_the_frequent_one_s_images():
    """Priors 0.9 and 0.1: tau adds tau log 9 = 2.197 tau to the rare class's lead.

    The rare image is 1.5 behind, the frequent one 3 ahead: from tau = 0.7 (1.538) on the first is right, and from 1.4
    (3.076) on the second is wrong.
    """
    logits, targets = torch.tensor([[3.0, 0.0], [1.5, 0.0]]), torch.tensor([0, 1])
    swept = dict(
        zip(TAUS, sweep_on_test(logits, targets, data_of([90, 10]))["test_balanced_accuracy_by_tau"], strict=True)
    )
    assert {tau for tau, value in swept.items() if value == 1.0} == {0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3}
    assert {tau for tau, value in swept.items() if value == 0.5} == {tau for tau in TAUS if tau < 0.7 or tau > 1.3}
    assert (TAUS[0], TAUS[-1], len(TAUS)) == (0.0, 2.0, 21)


def test_what_a_task_asks_further_is_asked_of_the_same_logits_once():
    data, learner = few_digits(), learner_of("none", few_digits(), num_epochs=1)
    test, seen = TestData(images=data.images[:30], labels=data.labels[:30]), []

    def further(logits, targets, given):
        seen.append((logits.argmax(dim=1), targets, given))
        return {"asked": 1}

    judged = judge_classifier(learner, data, test, further=(further,))
    [(predictions, targets, given)] = seen
    assert given is data
    assert targets.tolist() == test.labels.tolist()
    assert judged["test_accuracy"] == pytest.approx((predictions == targets).double().mean().item())
    assert judged["asked"] == 1


def test_a_retest_is_followed_on_training_images_as_they_are_and_on_test_images():
    """An untrained model whose head always says 3: its accuracy is the share of 3s, its loss log of what it gives."""
    data, learner = few_digits(), learner_of("none", few_digits(), num_epochs=1)
    with torch.no_grad():
        learner.model.head.weight.zero_()
        learner.model.head.bias.copy_(torch.nn.functional.one_hot(torch.tensor(3), 10).float() * 2)
    test = TestData(images=data.images[:50], labels=np.array([3] * 20 + [4] * 30))
    followed = follow_classifier(learner, data, test)
    assert followed["train_eval_accuracy"] == pytest.approx(4 / 100)  # classes 0-4 have 4 of 100 training images each
    assert followed["test_accuracy"] == pytest.approx(20 / 50)
    log_sum = np.log(np.exp(2) + 9)
    assert followed["test_loss"] == pytest.approx(log_sum - 2 * 20 / 50)
    assert followed["train_eval_loss"] == pytest.approx(log_sum - 2 * 4 / 100)


def test_a_retest_records_the_training_images_of_each_class(tmp_path):
    """Of 16 × 16 pixels and for one epoch. The arm copies rare images, and copies do not count."""
    data = few_digits()
    test = TestData(images=data.images[:50], labels=data.labels[:50])
    row, _ = train_and_test(
        IMBALANCE, data, test, hparams=start_hparams("copy"), setup=setup_of(num_epochs=1), checkpoint_dir=tmp_path
    )
    assert row["class_counts"] == [4] * 5 + [16] * 5
    assert row["num_train"] == 100
