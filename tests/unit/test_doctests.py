"""The hand-worked examples in docstrings."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = (
    "study.analysis.intervals",
    "study.engine.forecast",
    "study.engine.scheduler",
    "study.probes.preflight",
    "trainables.data.splits",
    "trainables.parts.class_weights",
    "trainables.parts.losses",
    "trainables.parts.schedules",
    "trainables.training.metrics",
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_hold(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0
