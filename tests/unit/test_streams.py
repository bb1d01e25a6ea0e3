"""What the console says is never fatal: whatever refuses it, whatever its encoding."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_tune import SPEC, STAGE
from study_cases import asked, make_stage

from study.cli import run_main
from study.core.ledger import Book, Ledger
from study.core.streams import make_unfailing
from study.engine import signals, tuning
from study.engine.console import StudyConsole
from trainables.common.numerics import Numerics
from trainables.common.places import LocalPlace


def status_of(main) -> int:
    """The exit status of a verb whose streams are sys.stdout and sys.stderr, after all is flushed as at the end."""
    with pytest.raises(SystemExit) as ended:
        run_main(main)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return ended.value.code


def writes_to(descriptor: int, encoding: str = "utf-8") -> io.TextIOWrapper:
    """A stream as Python makes sys.stdout of a pipe or file."""
    return io.TextIOWrapper(open(descriptor, "wb"), encoding=encoding, errors="strict")


def writes_unbuffered_to(descriptor: int, encoding: str = "utf-8") -> io.TextIOWrapper:
    """As under PYTHONUNBUFFERED."""
    raw = io.FileIO(descriptor, "w")
    return io.TextIOWrapper(raw, encoding=encoding, errors="strict", write_through=True)  # type: ignore[arg-type]


def closed_pipe() -> io.TextIOWrapper:
    reader, writer = os.pipe()
    os.close(reader)
    return writes_to(writer)


def closed_unbuffered_pipe() -> io.TextIOWrapper:
    reader, writer = os.pipe()
    os.close(reader)
    return writes_unbuffered_to(writer)


def full_disk() -> io.TextIOWrapper:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    return writes_to(os.open("/dev/full", os.O_WRONLY))


def full_pipe_that_does_not_wait() -> io.TextIOWrapper:
    _, writer = os.pipe()
    os.set_blocking(writer, False)
    return writes_to(writer)


def closed_stream() -> io.TextIOWrapper:
    stream = writes_to(os.open(os.devnull, os.O_WRONLY))
    stream.buffer.raw.close()
    return stream


@pytest.fixture(autouse=True)
def streams(monkeypatch):
    """make_unfailing replaces them."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)


@pytest.mark.parametrize("broken", [closed_pipe, closed_unbuffered_pipe, full_disk, full_pipe_that_does_not_wait])
def test_a_verb_that_nobody_hears_ends_as_it_would(monkeypatch, broken):
    said = []

    def main(argv) -> int:
        console = StudyConsole()
        for number in range(50):
            console.say("x" * 5000)
            print("x" * 5000, file=sys.stderr, flush=True)
            said.append(number)
        return 0

    monkeypatch.setattr(sys, "stdout", broken())
    monkeypatch.setattr(sys, "stderr", broken())
    assert status_of(main) == 0
    assert len(said) == 50


def test_neither_closed_descriptors_nor_missing_streams_are_fatal(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)  # as Python says that the shell closed it
    monkeypatch.setattr(sys, "stderr", closed_stream())

    def main(argv) -> int:
        StudyConsole().say("a line")
        print("a line", file=sys.stderr)
        return 0

    assert status_of(main) == 0


def test_what_was_said_before_a_pipe_was_closed_has_arrived(monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdout", writes_to(writer))
    make_unfailing()
    StudyConsole().say("data: digits")
    assert os.read(reader, 100) == b"data: digits\n"  # at once: a reader of a pipe follows the study


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "3 trials - 2 x 2: caf\\xe9 \\u732b \\udcff"),
        ("cp1252", "3 trials · 2 × 2: café \\u732b \\udcff"),
        ("utf-8", "3 trials · 2 × 2: café 猫 \\udcff"),
    ],
)
@pytest.mark.parametrize("stream", [writes_to, writes_unbuffered_to])
def test_what_an_encoding_lacks_is_shown_in_its_plain_form_or_by_its_code(monkeypatch, stream, encoding, shown):
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdout", stream(writer, encoding))
    make_unfailing()
    StudyConsole().say("3 trials · 2 × 2: café 猫 \udcff")
    print("3 trials · 2 × 2: café 猫 \udcff")
    assert os.read(reader, 1000).decode(encoding).splitlines() == [shown, shown]


@pytest.mark.parametrize("columns", ["0", "1"])
def test_no_width_of_the_console_loses_a_line(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdout", writes_to(writer))
    make_unfailing()
    StudyConsole().say("data: digits")
    print("end")
    assert os.read(reader, 100) == b"data: digits\nend\n"


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_nothing_draws_a_live_table_in_a_pipe(monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdout", writes_to(writer))
    make_unfailing()
    book = Book()
    book.apply(asked("none-0000"))
    console = StudyConsole()
    with console.tuning(make_stage(), book, slots=1):
        console.trial_changed(book.trials["none-0000"])
        console.say("a line " * 40)
    begins, *lines = os.read(reader, 10_000).decode().splitlines()
    assert begins == "tuning begins: a worker takes some seconds to start, then come the first epochs"
    assert lines == ["a line " * 40]  # in one piece, and nothing else


# --- signals


@pytest.fixture
def hang_up():
    """SIGHUP as a terminal's processes have it; a handler stays in its place only while a test lasts."""
    if not hasattr(signal, "SIGHUP"):
        pytest.skip("no SIGHUP here")
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield signal.SIGHUP
    signal.signal(signal.SIGHUP, previous)


def test_a_lost_terminal_interrupts_a_study_once(hang_up):
    came = []
    with signals.signals_to(lambda number, frame: came.append(number)):
        os.kill(os.getpid(), hang_up)
        os.kill(os.getpid(), hang_up)  # the shell and the kernel both send it
        with signals.signals_to(signals.raise_interrupt):
            os.kill(os.getpid(), hang_up)
    assert came == [hang_up]
    os.kill(os.getpid(), hang_up)  # and what is left, such as writing the page, is not ended by it


def test_a_study_under_nohup_does_not_hear_of_it(hang_up):
    signal.signal(hang_up, signal.SIG_IGN)
    with signals.signals_to(signals.raise_interrupt):
        os.kill(os.getpid(), hang_up)
    assert signal.getsignal(hang_up) is signal.SIG_IGN


@pytest.mark.usefixtures("hang_up")
@pytest.mark.parametrize(("name", "status"), [("SIGHUP", 130), ("SIGTERM", 143), ("SIGINT", 130)])
def test_a_verb_that_is_told_to_end_ends_as_after_ctrl_c(name, status):
    before = signal.getsignal(signal.SIGTERM)

    def main(argv) -> int:
        os.kill(os.getpid(), getattr(signal, name))
        return 0

    assert status_of(main) == status
    assert signal.getsignal(signal.SIGTERM) is before


def test_signals_are_handled_where_there_is_no_sighup(monkeypatch):
    monkeypatch.setattr(signals, "_HANG_UP", None)
    with signals.hang_ups_ignored(), signals.signals_to(signals.raise_interrupt), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_the_first_interrupt_is_answered_at_once_though_the_epochs_in_flight_take_long(tmp_path, monkeypatch):
    """Ray Tune comes back to the study only when one of them is done."""
    answered = threading.Event()

    def fit() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        assert answered.wait(10), "nothing was said while Ray Tune waited"

    monkeypatch.setattr(tuning, "_tuner", lambda *_: SimpleNamespace(fit=fit))
    spec = SPEC.model_copy(update={"numerics": Numerics(precision="float32", num_threads=1)})
    with Ledger(tmp_path) as ledger:
        interrupted = tuning.tune_arms(
            spec=spec, stage=STAGE, data=None, ledger=ledger, run_dir=tmp_path,
            checkpoints=LocalPlace(tmp_path / "checkpoints"), slots=1, deadline=None,
            on_event=lambda trial: None, on_interrupt=answered.set,
        )  # fmt: skip
    assert interrupted


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("words", [["-m", "study.run"], ["ray-study", "run"]])
def test_ctrl_c_while_a_verb_is_imported_leaves_no_traceback(tmp_path, words):
    """In the place of a library that every verb imports: one during whose import Ctrl-C comes."""
    (tmp_path / "filelock.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)"
    )
    (tmp_path / "ray-study").write_text("from study.__main__ import script; script()")  # as an installed one
    command = [sys.executable, *(str(tmp_path / word) if word == "ray-study" else word for word in words)]
    with_it = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).resolve().parents[2])])}
    ended = subprocess.run(
        command, cwd=tmp_path, env=with_it, capture_output=True, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run under nohup ignores it
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")
