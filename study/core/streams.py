"""The console that nothing can make fatal: what stdout and stderr refuse is left unsaid, and the work goes on."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from typing import Any, Literal, TextIO

Loudness = Literal["quiet", "usual", "verbose"]
"""What the console says: errors, warnings and the result; progress too; every proposal, epoch and decision too."""

READABLE = "study.readable"
"""The error handler of the console's encoding."""

# What these pages and lines use beyond ASCII; any other character is shown by its code.
_PLAIN = {
    "·": "-", "–": "-", "—": "-", "−": "-", "×": "x", "±": "+/-", "…": "...", "≥": ">=", "≤": "<=", "→": "->",
    "τ": "tau", "β": "beta", "γ": "gamma", "Σ": "sum", "²": "^2", "’": "'", "‘": "'", "“": '"', "”": '"',
    "\N{NO-BREAK SPACE}": " ",
}  # fmt: skip


class _Forgiving(io.RawIOBase):
    """What is below a text stream, without its errors: closed pipe, full disk, lost terminal, not ready."""

    def __init__(self, stream: io.TextIOWrapper, raw: io.RawIOBase) -> None:
        self._stream = stream  # which closes raw once nobody holds it
        self._raw = raw

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed
            written = self._raw.write(data)
            if written:
                return written
        return memoryview(data).nbytes

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return not self._raw.closed and self._raw.isatty()


def make_unfailing() -> None:
    """Let no write to sys.stdout or sys.stderr raise, whatever their encoding and wherever they lead."""
    # A descriptor that the shell closed would be given to the next file that is opened, such as the ledger.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        else:
            setattr(sys, name, unfailing(stream))


def unfailing(stream: TextIO) -> TextIO:
    """A stream to where this one leads, to which no write raises; this one if it is in memory, or is such a one."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    codecs.register_error(READABLE, _readable)
    raw = getattr(stream.buffer, "raw", stream.buffer)  # there is no buffer between under PYTHONUNBUFFERED
    if not isinstance(raw, io.RawIOBase) or isinstance(raw, _Forgiving):  # in memory, or done already
        return stream
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Forgiving(stream, raw)),
        encoding=stream.encoding,
        errors=READABLE,
        line_buffering=True,
        write_through=stream.write_through,
    )


def _readable(error: UnicodeError) -> tuple[str, int]:
    """What stands for the characters that an encoding lacks: their plain form, or their code as in Python's text."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    plain = (_PLAIN.get(character) or character.encode("ascii", "backslashreplace").decode() for character in text)
    return "".join(plain), error.end
