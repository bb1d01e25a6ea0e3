"""Settings, run directories and plugins that hypothesis makes up are read, or refused in one sentence."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fake_run import write_run
from fuzzing import JSON_VALUES, RefusedError, altered, damaged, fuzz
from hypothesis import strategies as st
from study_cases import asked, epoch_events

from study.analysis.tables import load_tables
from study.cli import parse_study
from study.core import ledger as ledgers
from study.core.ledger import SESSION, Event, Ledger, reopened
from study.core.ledger_files import checked_rows, create_table, insert, link
from study.core.plugins import use_given
from study.tasks.registry import STUDIES
from study.tasks.resolve import checked
from trainables.training.checkpoints import read_newest_checkpoint, write_checkpoint

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]

STUDY = STUDIES["baseline"]  # whose ranges hang on a choice
PROJECT = Path(__file__).resolve().parents[2]


# --- settings


def spec_read_from(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    checked(STUDY, parse_study([STUDY.name, "--spec", str(path)])[1])


TOML = b"""\
arms = ["lenet", "resnet9"]  # or all
trials_per_arm = 3
time_budget = "20m"
objective = 'score'
download = false
[space]
momentum = 0.9
"learning_rate@adam" = "1e-4..1e-2:log"
[space.lenet]
batch_size = [32, 64]
[start]
learning_rate = 1e-3
"""


def test_a_spec_file_of_toml(tmp_path, faults):
    fuzz(faults, damaged(TOML) | st.binary(max_size=60), lambda content: spec_read_from(tmp_path / "it.toml", content))


def test_a_spec_file_of_json(tmp_path, faults):
    spec = STUDY.spec(arms=("lenet",), space={"learning_rate@adam": "1e-4..1e-2"}, start={"momentum": "0.9"})
    values = spec.model_dump(mode="json")
    cases = altered(values).map(json.dumps).map(str.encode) | damaged(json.dumps(values).encode())
    fuzz(faults, cases, lambda content: spec_read_from(tmp_path / "it.json", content))


WORDS = st.sampled_from(
    ["learning_rate", "momentum", "optimizer", "lenet", "adam", "sgd", "batch_size", "padding", "=", "..", "@", ".",
     "|", ":log", ":linear", ",", "1e-4", "1e-1", "0.9", "64", "-1", "0", "nan", "inf", "1e999", "true", "none", " "]
)  # fmt: skip
PHRASES = st.lists(WORDS | st.text(max_size=3), max_size=9).map("".join)
PAIRS = st.tuples(WORDS, st.just("="), PHRASES).map("".join)


@pytest.mark.parametrize("name", ["space", "start"])
def test_ranges_and_starts(faults, name):
    def check(text: str) -> None:
        checked(STUDY, parse_study([STUDY.name, f"--{name}={text}"])[1])

    fuzz(faults, PHRASES | PAIRS, check)


def test_other_options(faults):
    """Of every option that takes a value."""
    names = sorted(set(STUDY.spec.model_fields) - {"task", "plugin"})

    def check(case: tuple[str, str]) -> None:
        name, text = case
        if "\0" not in text:
            checked(STUDY, parse_study([STUDY.name, f"--{name.replace('_', '-')}={text}"])[1])

    fuzz(faults, st.tuples(st.sampled_from(names), PHRASES | st.text(max_size=20)), check)


# --- a run directory


@pytest.fixture(scope="module")
def ledger_bytes(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    with Ledger(folder) as ledger:
        ledger.append(Event(kind=SESSION, payload={"command": "first"}), asked("none-0000"))
        for epoch in range(1, 4):
            ledger.append(*epoch_events("none-0000", epoch, 0.5))
    with contextlib.closing(sqlite3.connect(folder / "ledger.db")) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    return (folder / "ledger.db").read_bytes()


def new_folder(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def test_the_bytes_of_a_ledger(tmp_path, faults, ledger_bytes):
    def check(content: bytes) -> None:
        folder = new_folder(tmp_path / "run")
        (folder / "ledger.db").write_bytes(content)
        reopened(folder).__exit__()

    fuzz(faults, damaged(ledger_bytes) | st.binary(max_size=200), check)


KINDS = sorted({value for name, value in vars(ledgers).items() if name.isupper() and isinstance(value, str)})


def test_events_that_nobody_wrote(tmp_path, faults, ledger_bytes):
    """Chained as they should be: whoever makes them up can do that."""
    (tmp_path / "ledger.db").write_bytes(ledger_bytes)
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        known = [row for row, _ in checked_rows(connection)]
    payloads = JSON_VALUES | st.sampled_from(known).flatmap(lambda row: altered(json.loads(row[-1])))
    made_up = st.tuples(st.sampled_from(KINDS), st.none() | st.just("none-0000") | st.text(max_size=4), payloads)

    def check(events: list[tuple[str, str | None, Any]]) -> None:
        folder = new_folder(tmp_path / "run")
        rows, head = [], ""
        texts = [(*row[2:4], row[4]) for row in known] + [
            (kind, trial, json.dumps(value)) for kind, trial, value in events
        ]
        for seq, (kind, trial, payload) in enumerate(texts, start=1):
            row = (seq, 0.0, kind, trial, payload)
            head = link(head, row)
            rows.append((row, head))
        with contextlib.closing(sqlite3.connect(folder / "ledger.db", isolation_level=None)) as connection:
            create_table(connection)
            insert(connection, rows)
        reopened(folder).__exit__()

    fuzz(faults, st.lists(made_up, min_size=1, max_size=2), check, few=5)


@pytest.mark.filterwarnings("ignore")  # of pickle's protocols
@pytest.mark.parametrize("form", ["zip", "pickle"])
def test_the_bytes_of_a_checkpoint(tmp_path, faults, form):
    """With the right checksum: whoever makes them up can do that."""
    name, _ = write_checkpoint(tmp_path, {"epoch": 3, "weight": torch.arange(3.0), "more": {"a": [1, "x"]}}, epoch=3)
    path = tmp_path / name
    if form == "pickle":
        torch.save({"epoch": 3, "weight": torch.arange(3.0)}, path, _use_new_zipfile_serialization=False)

    def check(content: bytes) -> None:
        path.write_bytes(content)
        path.with_suffix(".sha256").write_text(hashlib.sha256(content).hexdigest())
        state = read_newest_checkpoint(tmp_path)
        assert state is None or isinstance(state, dict)

    fuzz(faults, damaged(path.read_bytes()), check)


@pytest.fixture(scope="module")
def fake_run(tmp_path_factory) -> Path:
    run_dir = write_run(tmp_path_factory.mktemp("fake") / "run", arms=("none", "focal"), num_trials=2)
    (run_dir / "checksums.json").unlink(missing_ok=True)  # else all that is changed is known by it
    return run_dir


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[None]:
    whole = path.read_bytes()
    try:
        yield
    finally:
        path.write_bytes(whole)


def read_tables(run_dir: Path) -> None:
    try:
        load_tables(run_dir)
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        raise RefusedError(str(error)) from None


def test_the_bytes_of_a_table(fake_run, faults):
    path = fake_run / "rungs.parquet"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        read_tables(fake_run)

    with replaced(path):
        fuzz(faults, damaged(path.read_bytes()) | st.binary(max_size=60), check)


COLUMNS = st.sampled_from(
    [pa.array([1]), pa.array(["x"]), pa.array([1.5]), pa.array([None]), pa.array([b"\xff"]), pa.array([[1]]),
     pa.array([{"a": 1}]), pa.array([True]), pa.array(["2020"]).dictionary_encode(), pa.array([2**62])]
)  # fmt: skip


def test_the_columns_of_a_table(fake_run, faults):
    path = fake_run / "trials.parquet"
    whole = pq.read_table(path)

    def check(case: tuple[str, pa.Array, str]) -> None:
        name, values, new_name = case
        place = whole.schema.get_field_index(name)
        pq.write_table(whole.slice(0, 1).set_column(place, new_name or name, values), path)
        read_tables(fake_run)

    names = st.sampled_from(whole.column_names)
    with replaced(path):
        fuzz(faults, st.tuples(names, COLUMNS, st.just("") | names), check)


def test_a_summary(fake_run, faults):
    path = fake_run / "summary.json"
    summary = json.loads(path.read_text())

    def check(content: bytes) -> None:
        path.write_bytes(content)
        read_tables(fake_run)

    with replaced(path):
        fuzz(faults, altered(summary).map(json.dumps).map(str.encode) | damaged(path.read_bytes()), check)


# --- plugins


def test_a_plugin_file(tmp_path, faults):
    """Its text is code, and trusted; what is not sound of it is refused before anything starts."""
    path = tmp_path / "parts.py"
    calls = st.tuples(
        st.sampled_from(["loss", "sampler", "model", "optimizer", "metric", "hyperparameter", "arm", "nothing"]),
        st.text(max_size=4).map(repr)
        | st.sampled_from(["'mine'", "1", "None", "'mine', needs=('x',)", "'m', example=1"]),
        st.sampled_from(["lambda *a, **k: None", "None", "1", "int", "type('C', (), {})"]),
    )
    texts = st.lists(calls, max_size=3).map(
        lambda made: (
            "from trainables.own import *\n" + "\n".join(f"{name}({words})({value})" for name, words, value in made)
        )
    )
    whole = (PROJECT / "examples" / "my_parts.py").read_bytes()

    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            use_given([str(path)])
        finally:
            use_given([])

    fuzz(faults, st.binary(max_size=40) | texts.map(lambda text: text.encode(errors="replace")) | damaged(whole), check)
