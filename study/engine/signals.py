"""Handling of Ctrl-C, SIGTERM and a lost terminal (SIGHUP) while a study runs."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

owns_process = False
"""Whether the process is a verb's, which may end it; a notebook's, or a user's program, goes on."""
was_terminated = False
"""Whether SIGTERM has come to a handler."""
INTERRUPTED, TERMINATED = 130, 143  # the exit statuses of what a signal ended: 128 and its number

Handler = Callable[[int, FrameType | None], None]
_HANG_UP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none


def interrupted_status() -> int:
    """The exit status of what Ctrl-C, SIGTERM or the loss of the terminal has ended."""
    return TERMINATED if was_terminated else INTERRUPTED


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """A signal handler that raises KeyboardInterrupt."""
    raise KeyboardInterrupt


@contextlib.contextmanager
def signals_to(handler: Handler) -> Iterator[None]:
    """Send Ctrl-C, SIGTERM and the loss of the terminal to the handler while the block lasts.

    The loss of the terminal comes once, and never where it is ignored, as under nohup.
    """
    handlers: dict[int, Handler] = {signal.SIGINT: handler, signal.SIGTERM: _noted(handler)}
    if _HANG_UP is not None and signal.getsignal(_HANG_UP) is not signal.SIG_IGN:
        handlers[_HANG_UP] = _once(handler)
    try:
        previous = {number: signal.signal(number, of_number) for number, of_number in handlers.items()}
    except ValueError:  # not the main thread, where signals cannot be handled
        yield
        return
    try:
        yield
    finally:
        for number, old in previous.items():
            if number == _HANG_UP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # it has come, and is ignored from now on
            signal.signal(number, old)


@contextlib.contextmanager
def hang_ups_ignored() -> Iterator[None]:
    """Ignore the loss of the terminal while the block lasts; so will the processes that are started in it."""
    if _HANG_UP is None:
        yield
        return
    try:
        previous = signal.signal(_HANG_UP, signal.SIG_IGN)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(_HANG_UP, previous)


def _noted(handler: Handler) -> Handler:
    def handle(number: int, frame: FrameType | None) -> None:
        global was_terminated
        was_terminated = True
        handler(number, frame)

    return handle


def _once(handler: Handler) -> Handler:
    """The handler for a signal that is ignored afterwards: shell and kernel both tell of a terminal that goes."""

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        handler(number, frame)

    return handle
