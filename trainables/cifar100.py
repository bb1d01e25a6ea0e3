"""CIFAR-100, from memorising to generalising: how it is judged beyond its accuracy."""

from __future__ import annotations

from typing import Any

from trainables.classifier import build_classifier
from trainables.data.types import TestData, TuningData
from trainables.evaluation import follow_classifier, test_classifier, top_five_and_superclass, validate_classifier
from trainables.hparams import Cifar100Hparams
from trainables.learner import Learner
from trainables.task import Task


def _test(learner: Learner, data: TuningData, test: TestData) -> dict[str, Any]:
    return {**test_classifier(learner, data, test), **top_five_and_superclass(learner, data, test)}


CIFAR100 = Task(
    name="cifar100",
    hparams=Cifar100Hparams,
    build_learner=build_classifier,
    validate=validate_classifier,
    test=_test,
    metric="val_accuracy",
    mode="max",
    score="test_accuracy",
    follow=follow_classifier,
)
