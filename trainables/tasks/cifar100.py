"""The cifar100 task, from memorising to generalising: a classifier that is also judged by top-5 and superclass."""

from __future__ import annotations

from functools import partial

from trainables.hparams import Cifar100Hparams
from trainables.training.build import build_classifier
from trainables.training.evaluation import (
    follow_classifier,
    judge_classifier,
    top_five_and_superclass,
    validate_classifier,
)
from trainables.training.task import Task

CIFAR100 = Task(
    name="cifar100",
    hparams=Cifar100Hparams,
    build_learner=build_classifier,
    validate=validate_classifier,
    test=partial(judge_classifier, further=(top_five_and_superclass,)),
    metric="val_accuracy",
    mode="max",
    score="test_accuracy",
    follow=follow_classifier,
)
