"""Where a session's Ray is: said when a run begins, and otherwise whenever it goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from study_cases import asked as trial_asked
from study_cases import epoch_events
from study_process import run_here

from study.analysis.compare import NOT_SETTINGS
from study.core.errors import StudyError
from study.core.ledger import SESSION, SESSION_END, Event, Ledger, finished
from study.core.run_dir import new_run
from study.core.spec import SESSION_SETTINGS, RunSpec, placed, validated
from study.engine import cluster as clusters
from study.engine import study_session
from study.engine.cluster import Cluster, cluster_of
from study.engine.study_session import StudySession
from study.reproduction import session as reproduction_session
from study.reproduction.session import ReproductionSession
from study.reproduction.spec import ReproductionSpec
from study.tasks.fork import fork_values
from study.tasks.registry import STUDIES
from study.tasks.resolve import resolved

ONE, OTHER = "10.0.0.1:6379", "10.0.0.2:6379"
IMBALANCE = STUDIES["imbalance"]


def spec_of(**settings: Any) -> RunSpec:
    return RunSpec(task="imbalance", name="it", **settings)


def place(spec: RunSpec) -> tuple[str | None, bool, bool]:
    return spec.address, spec.insecure_cluster, spec.dashboard


def test_local_is_this_machine() -> None:
    assert spec_of(address="local") == spec_of()


@pytest.mark.parametrize(
    ("sessions", "given", "found"),
    [
        ([], {}, (ONE, True, True)),
        ([{"command": "of before this was recorded"}], {}, (ONE, True, True)),
        ([], {"address": OTHER}, (OTHER, False, True)),  # that anybody may use ONE says nothing of OTHER
        ([], {"address": OTHER, "insecure_cluster": True}, (OTHER, True, True)),
        ([], {"address": ONE}, (ONE, True, True)),
        ([], {"address": "auto"}, ("auto", False, True)),
        ([], {"address": "local", "dashboard": False}, (None, False, False)),
        ([{"address": OTHER, "insecure_cluster": False, "dashboard": False}], {}, (OTHER, False, False)),
        ([{"address": OTHER}, {"address": None, "insecure_cluster": False}], {}, (None, False, True)),
        ([{"address": OTHER}], {"address": ONE}, (ONE, False, True)),
        ([], {"address": None, "trials_per_arm": 7}, (ONE, True, True)),  # from Python: not given
    ],
)
def test_a_session_is_where_it_is_said_to_be_else_where_the_last_one_was(
    sessions: list[dict[str, Any]], given: dict[str, Any], found: tuple[str | None, bool, bool]
) -> None:
    assert place(placed(spec_of(address=ONE, insecure_cluster=True), sessions, given)) == found


def test_what_is_no_address_is_one_sentence() -> None:
    with pytest.raises(StudyError, match=r"^--address must be a valid string, got 5$"):
        placed(spec_of(), [{"address": 5}], {})


def test_a_comparison_does_not_take_it_for_a_setting_of_the_study() -> None:
    assert set(SESSION_SETTINGS) <= NOT_SETTINGS


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, bool]]:
    """The clusters that sessions asked for; none is joined, and sessions only begin."""
    found: list[tuple[str | None, bool]] = []

    @contextlib.contextmanager
    def connected(address: str | None, *, dashboard: bool, insecure: bool) -> Iterator[Cluster]:
        found.append((address, insecure))
        yield Cluster(cpus=1, gpus=0)

    def conduct(self: Any, *, cluster: Cluster, command: str, slots: int, **_: Any) -> int:
        self._open(cluster, command)
        return 0

    monkeypatch.setattr(clusters, "connected", connected)
    for kind in (StudySession, ReproductionSession):
        monkeypatch.setattr(kind, "conduct", conduct)
    return found


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    sizes = {"image_size": 16, "arms": ("none",), "trials_per_arm": 1, "max_epochs": 1, "retest_seeds": 1}
    return {"dataset": "digits", "output_dir": str(folder), "name": "it", **sizes, **more}


def test_a_study_goes_on_at_another_address_and_stays_there(
    asked: list[tuple[str | None, bool]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(study_session, "require_trainable", lambda *what: None)  # tested elsewhere, and slow
    given = settings(tmp_path, address=ONE, insecure_cluster=True)
    with new_run(resolved(IMBALANCE, given, dataset="digits", num_gpus=0), ("it",)) as (spec, ledger):
        with cluster_of(spec) as found:
            place = dict(found.place)
        facts = {"dataset": {"fingerprint": None}, "versions": {}}
        ledger.append(Event(kind=SESSION, payload={"command": "first", **facts, **place}))
    monkeypatch.setattr(study_session, "require_same_data", lambda *what: None)
    written = (tmp_path / "it" / "spec.json").read_bytes()
    for more in (["--address", OTHER], [], ["--address=local", "--no-dashboard"]):
        status, _, stderr = run_here("study.resume", str(tmp_path / "it"), *more)
        assert (status, stderr) == (0, "")
    assert asked == [(ONE, True), (OTHER, False), (OTHER, False), (None, False)]
    assert (tmp_path / "it" / "spec.json").read_bytes() == written
    with Ledger(tmp_path / "it") as ledger:
        sessions = ledger.book.sessions
    assert [(one["address"], one["insecure_cluster"]) for one in sessions] == asked
    assert [one["dashboard"] for one in sessions] == [True, True, True, False]
    assert sessions[1]["command"].endswith(f"it --address {OTHER}")


def test_an_audit_may_be_elsewhere_too(
    asked: list[tuple[str | None, bool]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = settings(tmp_path, address=ONE, insecure_cluster=True)
    with new_run(resolved(IMBALANCE, given, dataset="digits", num_gpus=0), ("it",)) as (_, ledger):
        ledger.append(Event(kind=SESSION, payload={"command": "first"}))
        for trial_id, status in (("none-0000", "completed"), ("none-0001", "stopped")):
            ledger.append(trial_asked(trial_id), *epoch_events(trial_id, 1, 0.5), finished(trial_id, status))
        ledger.append(Event(kind=SESSION_END, payload={"state": "complete"}))
    monkeypatch.setattr(study_session, "require_same_data", lambda *what: None)
    assert run_here("study.audit", str(tmp_path / "it"), "--trials", "2", "--address", OTHER) == (0, "", "")
    assert asked == [(OTHER, False)]
    with Ledger(tmp_path / "it") as ledger:
        assert ledger.book.sessions[-1]["command"].endswith(f"it --trials 2 --address {OTHER}")


def test_a_reproduction_goes_on_at_another_address(
    asked: list[tuple[str | None, bool]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reproduction_session, "_runs_and_data", lambda spec: ([], {}))
    given = {"recipes": ("s0",), "dataset": "digits", "scale": {"all": 0.01}, "seeds": 1, "variants": False}
    numerics = {"precision": "float32", "num_threads": 1}
    machine = {"numerics": numerics, "cpus_per_trial": 1, "gpus_per_trial": 0}
    spec = validated(ReproductionSpec, {**given, **machine, "output_dir": tmp_path, "address": ONE})
    with new_run(spec, ("it",)) as (_, ledger):
        ledger.append(Event(kind=SESSION, payload={"command": "first", "datasets": {}}))
    status, _, stderr = run_here("study.resume", str(tmp_path / "it"), "--address", OTHER)
    assert (status, stderr, asked) == (0, "", [(OTHER, False)])
    status, _, stderr = run_here("study.resume", str(tmp_path / "it"), "--address", OTHER, "--max-epochs", "3")
    assert (status, "study.resume takes none but --address" in stderr) == (2, True)


def test_a_fork_takes_the_address_over_and_the_trust_with_it(tmp_path: Path) -> None:
    given = settings(tmp_path, address=ONE, insecure_cluster=True)
    with new_run(resolved(IMBALANCE, given, dataset="digits", num_gpus=0), ("it",)) as (_, ledger):
        ledger.append(Event(kind=SESSION, payload={"command": "first"}))
    assert fork_values(tmp_path / "it", IMBALANCE, {})["insecure_cluster"]
    assert "insecure_cluster" not in fork_values(tmp_path / "it", IMBALANCE, {"address": OTHER})
