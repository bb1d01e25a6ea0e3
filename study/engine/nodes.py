"""The nodes of a cluster that a study has joined: which of them are gone, and whether any still answers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from study.core.text import listed, plural

LOOK_SECONDS = 2.0
SILENCE_SECONDS = 30.0  # after 60, Ray ends the process without a word of ours

Node = Mapping[str, Any]
"""One of ray.nodes()."""


class Nodes:
    """Looks at the nodes in a thread of its own, which hangs when the cluster's control store is gone.

    say is told of each that is lost; Ray moves what it trained to others by itself.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._unanswered = 0.0
        self._is_over = threading.Event()

    def watch(self) -> None:
        threading.Thread(target=self._look_on, name="nodes", daemon=True).start()

    def unwatch(self) -> None:
        self._is_over.set()

    def waited(self, seconds: float) -> None:
        """Count seconds in which this process ran: a clock would count those, too, in which it was stopped."""
        self._unanswered += seconds

    @property
    def are_silent(self) -> bool:
        return self._unanswered > SILENCE_SECONDS

    def _look_on(self) -> None:
        alive: Mapping[str, Node] = {}
        while not self._is_over.wait(LOOK_SECONDS):
            with contextlib.suppress(Exception):  # no answer; the next one may come
                before, alive = alive, living(ray.nodes())
                self._unanswered = 0.0
                for line in lines_of_the_lost(before, alive):
                    self._say(line)


def living(nodes: Sequence[Node]) -> dict[str, Node]:
    """Those of ray.nodes() that are alive, by their NodeIDs."""
    return {node["NodeID"]: node for node in nodes if node["Alive"]}


def lines_of_the_lost(before: Mapping[str, Node], after: Mapping[str, Node]) -> list[str]:
    """A line for each node that lived before and not after."""
    return [
        f"note: a node is gone ({node['NodeManagerAddress']}{_resources(node)}), {plural(len(after), 'node')} left; "
        "what it trained goes on elsewhere, from the last checkpoint where all nodes see the run directory"
        for name, node in before.items()
        if name not in after
    ]


def _resources(node: Node) -> str:
    counts = [(int(node["Resources"].get(kind, 0)), kind) for kind in ("CPU", "GPU")]
    words = [plural(count, kind) for count, kind in counts if count]
    return f", with {listed(words)}" if words else ""
