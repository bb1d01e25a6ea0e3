"""How the tests share two cores: a file stays in one process, and those that take longest begin first."""

from __future__ import annotations

import pytest
import torch

LONGEST = ("test_resume.py", "test_ray_facts.py", "test_end_to_end.py", "test_learner.py")

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
