"""The tiers of the tests, and how they share two cores: files stay in one process, the longest first, timed ones alone.

tests/unit and tests/page are the fast tier; tests/training trains, tests/cluster starts Ray and whole studies.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import platformdirs
import pytest
from faults import PROPERTY, Faults
from xdist.scheduler import LoadFileScheduling

try:
    import fcntl
except ImportError:  # Windows: there, run timed tests with -n 0
    fcntl = None  # type: ignore[assignment]

TESTS = Path(__file__).resolve().parent
TIERS = ("training", "cluster")  # folders whose tests bear their name as a marker
# xdist's own way to say this, xdist_group, has no effect with pytest 9.2: xdist 3.8 writes it into an attribute of old.
ONE_STUDY = ("test_resume.py", "test_end_to_end.py")
LONGEST = (
    "test_resume.py", "test_studies.py", "test_early_stopping_audit.py",
    "test_reproduce.py", "test_ray_facts.py", "test_fifth_task.py",
    "test_recipes.py", "test_models.py", "test_learner.py", "test_inspect.py", "test_contracts.py", "test_figures.py",
    "test_spec_cli.py", "test_page.py",
)  # fmt: skip

# Ray's workers are to yield to whatever else a machine does; here that is the other process's tests, all the time.
os.environ.setdefault("RAY_worker_niceness", "0")


class FilesOfOneStudy(LoadFileScheduling):
    """A file's tests go to one process, and so do those of the files that look at the same study."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "one study" if file.endswith(ONE_STUDY) else file


def pytest_configure(config: pytest.Config) -> None:
    """No test writes into the user's cache; only matplotlib's list of fonts, which takes seconds to make, is shared."""
    is_worker = hasattr(config, "workerinput")  # a process of xdist, which has the environment of the first one
    if is_worker or not config.option.numprocesses:  # else this process has no tests, and torch takes it seconds
        import torch

        torch.set_num_threads(1)
    if is_worker:
        return
    cache = Path(tempfile.mkdtemp(prefix="ray-tune-study-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(cache, ignore_errors=True))
    os.environ.setdefault("MPLCONFIGDIR", str(platformdirs.user_cache_path("matplotlib", appauthor=False)))
    os.environ["XDG_CACHE_HOME"] = str(cache)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesOfOneStudy:
    return FilesOfOneStudy(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        tier = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        if tier in TIERS:
            item.add_marker(tier)
    order = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (not _is_alone(item), order.get(item.path.name, len(LONGEST))))


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> Iterator[Faults]:
    """The faults that a test makes: all under -m faults, else a few."""
    made = Faults(every="faults" in request.config.option.markexpr)
    yield made
    request.node.user_properties.append((PROPERTY, [made.injected, made.survived]))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many faults were made, and how many were survived."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    counts = [
        value
        for report in reports
        if getattr(report, "when", None) == "teardown"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if counts:
        injected, survived = (sum(column) for column in zip(*counts, strict=True))
        terminalreporter.write_line(f"faults: {injected} injected, {survived} survived")


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outside the time-out: waiting is not the test's time
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Tests marked alone hold a lock that the other process's tests share, and let no new one begin meanwhile."""
    if fcntl is None:
        return (yield)
    with _lock("turnstile") as turnstile, _lock("tests") as tests:
        fcntl.flock(turnstile, fcntl.LOCK_EX)
        fcntl.flock(tests, fcntl.LOCK_EX if _is_alone(item) else fcntl.LOCK_SH)
        fcntl.flock(turnstile, fcntl.LOCK_UN)
        return (yield)


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def _lock(name: str) -> IO[Any]:
    return open(Path(tempfile.gettempdir()) / f"ray-tune-study-{name}.lock", "w")
