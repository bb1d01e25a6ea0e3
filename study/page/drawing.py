"""Pictures drawn side by side, each in a forked process, while the numbers of the next figure are computed."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from study.page.figures import base
from study.page.figures.base import Figure, Picture
from trainables.common.machine import usable_cpus

MOST_PROCESSES = 4  # more would save little, and each takes memory


def side_by_side() -> int:
    """How many pictures a process draws at once that has no threads of its own: only such a process may be forked."""
    return min(usable_cpus(), MOST_PROCESSES) if "fork" in multiprocessing.get_all_start_methods() else 1


def rendered(figures: Iterable[tuple[Figure, Any]], num_processes: int) -> Iterator[Picture]:
    """The figures of these data as pictures, in order, whatever num_processes is. 1: drawn by this process."""
    if num_processes == 1:
        yield from (base.render(figure, data) for figure, data in figures)
        return
    drawn: deque[Callable[[], Picture]] = deque()
    for figure, data in figures:
        if len(drawn) == 2 * num_processes:  # some wait to be taken while this process computes
            yield drawn.popleft()()
        drawn.append(_begun(figure, data))
    while drawn:
        yield drawn.popleft()()


def _begun(figure: Figure, data: Any) -> Callable[[], Picture]:
    """Begin to draw in a process of its own, which has the data without a copy. Returns what waits for the picture."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_draw, args=(figure, data, receiver, sender), daemon=True)
    process.start()
    sender.close()
    return lambda: _received(figure, data, process, receiver)


def _draw(figure: Figure, data: Any, receiver: Connection, sender: Connection) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # an interrupted parent says so, for all of them
    receiver.close()  # so that a dead parent is noticed
    with contextlib.suppress(Exception):  # the parent draws it again, and raises what is raised
        picture = base.render(figure, data)
        sender.send_bytes(picture.png)
        sender.send_bytes(picture.svg or b"")


def _received(figure: Figure, data: Any, process: BaseProcess, receiver: Connection) -> Picture:
    with receiver:
        try:
            picture = Picture(png=receiver.recv_bytes(), svg=receiver.recv_bytes() or None)
        except (EOFError, OSError):  # it failed, or was killed for its memory
            picture = base.render(figure, data)
    process.join()
    return picture
