"""STUDIES: the studies that study.run knows, by task."""

from __future__ import annotations

from collections.abc import Mapping

from study.core.errors import StudyError, nearest
from study.tasks.baseline import BASELINE
from study.tasks.cifar100 import CIFAR100
from study.tasks.imbalance import IMBALANCE
from study.tasks.jigsaw import JIGSAW
from study.tasks.study import Study

STUDIES: Mapping[str, Study] = {study.name: study for study in (BASELINE, IMBALANCE, JIGSAW, CIFAR100)}


def find_study(name: str) -> Study:
    """The study of that name. Raises StudyError, with the nearest name, if there is none."""
    if name not in STUDIES:
        raise StudyError(f"task must be one of {', '.join(STUDIES)}, got {name!r}{nearest(name, STUDIES)}")
    return STUDIES[name]
