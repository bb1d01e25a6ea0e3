"""No test of the data layer writes to the user's cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.data import cifar, eurosat


@pytest.fixture(autouse=True)
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "user-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache


@pytest.fixture
def place(user_cache: Path) -> Path:
    """Where decoded copies are kept."""
    return user_cache / "ray-tune-study" / "decoded"


@pytest.fixture
def parts_of_known_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few files in the format of a data set known by name are taken for it; otherwise it must be whole."""
    for source in (cifar, eurosat):
        monkeypatch.setattr(source, "require_whole", lambda decoded, name, where: None)
