"""Studies on a cluster of which a node dies, all nodes do, one after the other, or nothing is left."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from study_process import (
    SETTINGS,
    StudyProcess,
    epochs_so_far,
    finished_trials,
    ledger_events,
    of_kind,
    read_summary,
    started,
    trials_in_their_middle,
)

from study.engine.cluster import without_idle_processes

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

PLUGIN = Path(__file__).resolve().parents[2] / "examples" / "my_parts.py"
LONG = (
    "--trials-per-arm", "2", "--max-epochs", "12", "--grace-epochs", "6",
    "--train-images", "300",
)  # fmt: skip
OTHERS = ("--arms", "none,focal")


@contextlib.contextmanager
def cluster_with(*cpus: int, head: int = 0) -> Iterator[tuple[Cluster, list]]:
    """A cluster whose head has so many CPUs to train with, and its other nodes, which have so many each."""
    ray.shutdown()  # of the module before
    with without_idle_processes(dashboard=False):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": head, "include_dashboard": False})
    try:
        yield cluster, [cluster.add_node(num_cpus=number) for number in cpus]
    finally:
        cluster.shutdown()


def at(cluster: Cluster, run_dir: Path) -> tuple[str, ...]:
    place = ("--output-dir", str(run_dir.parent), "--name", run_dir.name)
    return ("--address", cluster.address, "--insecure-cluster", *place)


def assert_nothing_lost(run_dir: Path) -> None:
    """All four trials and retests are there."""
    events = ledger_events(run_dir)
    assert set(finished_trials(events).values()) <= {"completed", "stopped"}
    assert len(finished_trials(events)) == len(of_kind(events, "finished")) == 4
    assert max(Counter(epochs_so_far(events)).values()) == 1  # from its checkpoint: no epoch is lost, none is twice
    retests = [(event["arm"], event["seed"]) for event in of_kind(events, "retest")]
    assert len(retests) == len(set(retests)) == 4
    assert read_summary(run_dir)["state"] == "complete"


def goes_on(study: StudyProcess, run_dir: Path) -> None:
    """Wait until an epoch is recorded that is not yet there."""
    known = len(epochs_so_far(ledger_events(run_dir)))
    study.wait_until(lambda: len(epochs_so_far(ledger_events(run_dir))) > known, "it goes on elsewhere")


def retests_in_their_middle(run_dir: Path) -> bool:
    """Whether a retest has a checkpoint; its folder is removed when it is over."""
    return any(run_dir.glob("checkpoints/retest-*/epoch-*.pt"))


@pytest.mark.timeout(300)
def test_a_node_that_dies_costs_a_line_and_its_trials_go_on_elsewhere(tmp_path, faults):
    run_dir = tmp_path / "two"
    own = ("--arms", "none,gce", "--plugin", str(PLUGIN))
    with (
        cluster_with(1, head=1) as (cluster, (second,)),
        started("study.run", "imbalance", *SETTINGS, *LONG, *own, *at(cluster, run_dir)) as study,
    ):
        study.wait_until(lambda: len(trials_in_their_middle(ledger_events(run_dir))) == 2, "both nodes train")
        cut = ledger_events(run_dir)
        for node in faults.each([second]):
            cluster.remove_node(node, allow_graceful=False)
            assert study.wait() == 0, study.stdout + study.stderr
        said, complained = study.stdout, study.stderr
    assert complained == ""
    assert "2 at a time" in said
    [line] = [line for line in said.splitlines() if "is gone" in line]
    assert line.startswith("note: a node is gone (")
    assert "with 1 CPU), 1 node left" in line
    assert "raylet" not in said  # Ray's own words: a hundred lines
    assert ledger_events(run_dir)[: len(cut)] == cut
    assert_nothing_lost(run_dir)
    assert [plugin["file"] for plugin in read_summary(run_dir)["plugins"]] == ["my_parts.py"]


def test_of_three_nodes_all_that_train_die_and_others_take_over_in_the_retest_too(tmp_path, faults):
    faults.only_if_every("minutes")
    run_dir = tmp_path / "three"
    kills = faults.each(["the first node", "the last one that trains", "a node that retests"], few=3)
    with (
        cluster_with(1, 1) as (cluster, (first, second)),
        started("study.run", "imbalance", *SETTINGS, *LONG, *OTHERS, *at(cluster, run_dir)) as study,
    ):
        study.wait_until(lambda: len(trials_in_their_middle(ledger_events(run_dir))) == 2, "both nodes train")
        next(kills)
        cluster.remove_node(first, allow_graceful=False)
        goes_on(study, run_dir)
        study.wait_until(lambda: bool(trials_in_their_middle(ledger_events(run_dir))), "a trial is in its middle")
        next(kills)
        before = ledger_events(run_dir)
        cluster.remove_node(second, allow_graceful=False)
        third = cluster.add_node(num_cpus=2)
        goes_on(study, run_dir)
        assert ledger_events(run_dir)[: len(before)] == before
        study.wait_until(lambda: retests_in_their_middle(run_dir), "a retest is in its middle")
        next(kills)
        before = ledger_events(run_dir)
        cluster.add_node(num_cpus=1)
        cluster.remove_node(third, allow_graceful=False)
        assert study.wait() == 0, study.stdout + study.stderr
        assert next(kills, None) is None
        said, complained = study.stdout, study.stderr
    assert complained == ""
    assert ledger_events(run_dir)[: len(before)] == before
    lines = [line for line in said.splitlines() if "is gone" in line]
    gone = [line.partition(", with ")[2].partition(")")[0] for line in lines]
    assert gone[:2] == ["1 CPU", "1 CPU"]
    assert gone[2:] in ([], ["2 CPUs"])  # Ray's control store may learn of it after the last retest
    assert "raylet" not in said  # Ray's own words: a hundred lines
    assert_nothing_lost(run_dir)


def test_a_study_whose_cluster_is_gone_goes_on_on_this_machine(tmp_path, faults):
    faults.only_if_every("minutes")
    run_dir = tmp_path / "outlives"
    with cluster_with(2) as (cluster, _):
        with started("study.run", "imbalance", *SETTINGS, *LONG, *OTHERS, *at(cluster, run_dir)) as study:
            study.wait_until(lambda: bool(trials_in_their_middle(ledger_events(run_dir))), "it trains")
            study.interrupt()
            assert study.wait() == 130, study.stdout + study.stderr
        address = cluster.address
    cut = ledger_events(run_dir)
    for place in faults.each(["local"]):
        with started("study.resume", str(run_dir), "--address", place, "--no-dashboard") as study:
            assert study.wait() == 0, study.stdout + study.stderr
            assert study.stderr == ""
    assert ledger_events(run_dir)[: len(cut)] == cut
    assert [session["address"] for session in of_kind(ledger_events(run_dir), "session")] == [address, None]
    assert_nothing_lost(run_dir)
