"""The nodes of a cluster: which are gone, and when none answers any more."""

from __future__ import annotations

import threading

import pytest
import ray

from study.engine import cluster, nodes
from study.engine.cluster import Cluster
from study.engine.nodes import SILENCE_SECONDS, Nodes, lines_of_the_lost, living


def node(name: str, *, alive: bool = True, **resources: float) -> nodes.Node:
    return {"NodeID": name, "Alive": alive, "NodeManagerAddress": f"10.0.0.{name}", "Resources": resources}


def test_of_three_nodes_the_one_that_died_is_named_with_what_it_gave():
    before = living([node("1", CPU=2.0), node("2", CPU=8.0, GPU=1.0), node("3", alive=False)])
    after = living([node("1", CPU=2.0), node("2", alive=False), node("4", CPU=1.0)])
    [line] = lines_of_the_lost(before, after)
    assert line.startswith("note: a node is gone (10.0.0.2, with 8 CPUs and 1 GPU), 2 nodes left; ")
    assert lines_of_the_lost(after, after) == []
    assert lines_of_the_lost({}, after) == []  # the first look


@pytest.fixture
def said_by(monkeypatch):
    """A joined cluster whose ray.nodes() answers with what is in the list, once each, and then hangs."""
    answers, hangs, is_asked = [], threading.Event(), threading.Event()

    def answer():
        if answers:
            return answers.pop(0)
        is_asked.set()
        hangs.wait(10)
        raise ConnectionError("no control store")

    monkeypatch.setattr(ray, "nodes", answer)
    monkeypatch.setattr(nodes, "LOOK_SECONDS", 0.0)
    yield answers, is_asked
    hangs.set()


def test_a_lost_node_is_said_once_and_a_cluster_that_hangs_is_a_loss(said_by, monkeypatch):
    answers, is_asked = said_by
    answers += [[node("1"), node("2", CPU=1.0)], [node("1"), node("2", alive=False)], [node("1")]]
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(cluster, "WATCH_SECONDS", 0.001)
    monkeypatch.setattr(cluster.signals, "owns_process", False)
    ended, interrupted, lines = [], threading.Event(), []
    monkeypatch.setattr(cluster._thread, "interrupt_main", interrupted.set)
    monkeypatch.setattr(Nodes, "waited", lambda self, seconds, waited=Nodes.waited: waited(self, 1.0))
    joined = Cluster(cpus=2, gpus=0)
    joined.on_loss = lambda lost: ended.append(lost) or 3
    joined.start(lines.append)
    assert is_asked.wait(10)
    assert interrupted.wait(10)
    joined.close()
    assert ended == ["the Ray cluster gave no answer for 30 s"]
    assert len(lines) == 1
    assert "10.0.0.2, with 1 CPU" in lines[0]


def test_time_in_which_the_process_was_stopped_does_not_count():
    watched = Nodes(print)
    watched.waited(SILENCE_SECONDS)
    assert not watched.are_silent
    watched.waited(1.0)
    assert watched.are_silent
