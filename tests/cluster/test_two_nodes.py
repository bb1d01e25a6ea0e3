"""A study on a cluster of two nodes, with parts of its user's own, one of whose nodes dies."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from study_process import (
    SETTINGS,
    epochs_so_far,
    finished_trials,
    ledger_events,
    of_kind,
    read_summary,
    started,
    trials_in_their_middle,
)

from study.engine.cluster import without_idle_processes

PLUGIN = Path(__file__).resolve().parents[2] / "examples" / "my_parts.py"
LONG = (
    "--arms",
    "none,gce",
    "--trials-per-arm",
    "2",
    "--max-epochs",
    "12",
    "--grace-epochs",
    "6",
    "--train-images",
    "300",
)


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_node_that_dies_costs_a_line_and_its_trials_go_on_elsewhere(tmp_path, faults):
    run_dir = tmp_path / "two"
    ray.shutdown()  # of the module before
    with without_idle_processes(dashboard=False):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = cluster.add_node(num_cpus=1)
        place = ("--address", cluster.address, "--insecure-cluster", "--output-dir", str(tmp_path), "--name", "two")
        with started("study.run", "imbalance", *SETTINGS, *LONG, "--plugin", str(PLUGIN), *place) as study:
            study.wait_until(lambda: len(trials_in_their_middle(ledger_events(run_dir))) == 2, "both nodes train")
            cut = ledger_events(run_dir)
            for node in faults.each([second]):
                cluster.remove_node(node, allow_graceful=False)
                assert study.wait() == 0, study.stdout + study.stderr
            said, complained = study.stdout, study.stderr
    finally:
        cluster.shutdown()
    assert complained == ""
    assert "2 at a time" in said
    [line] = [line for line in said.splitlines() if "is gone" in line]
    assert line.startswith("note: a node is gone (")
    assert "with 1 CPU), 1 node left" in line
    assert "raylet" not in said  # Ray's own words: a hundred lines
    events = ledger_events(run_dir)
    assert events[: len(cut)] == cut
    assert set(finished_trials(events).values()) <= {"completed", "stopped"}
    assert len(finished_trials(events)) == 4
    assert max(Counter(epochs_so_far(events)).values()) == 1  # from its checkpoint: no epoch is lost, none is twice
    assert len(of_kind(events, "retest")) == 4
    summary = read_summary(run_dir)
    assert summary["state"] == "complete"
    assert [plugin["file"] for plugin in summary["plugins"]] == ["my_parts.py"]
