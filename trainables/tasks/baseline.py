"""The baseline task: a model and an optimiser on the unchanged data."""

from __future__ import annotations

from trainables.hparams import BaselineHparams
from trainables.training.build import build_classifier
from trainables.training.evaluation import judge_classifier, validate_classifier
from trainables.training.task import Task

BASELINE = Task(
    name="baseline",
    hparams=BaselineHparams,
    build_learner=build_classifier,
    validate=validate_classifier,
    test=judge_classifier,
    metric="val_accuracy",
    mode="max",
    score="test_accuracy",
)
