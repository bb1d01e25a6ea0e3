"""How the tests share two cores: a file stays in one process, and so do the two that share a study."""

from __future__ import annotations

import pytest
import torch

# They take longest, so they begin first; test_resume continues what test_end_to_end ran.
STUDIES = ("test_end_to_end.py", "test_resume.py")
LONG = ("test_ray_facts.py", "test_learner.py")

torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (item.path.name not in STUDIES, item.path.name not in LONG))  # stable
    for item in items:
        group = "studies" if item.path.name in STUDIES else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
