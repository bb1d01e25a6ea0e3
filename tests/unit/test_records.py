"""The tables: what a hand-made book becomes, and that neither a crash nor a flipped byte goes unnoticed."""

import os

import pyarrow.parquet as pq
import pytest
from study_cases import METRIC, asked, epoch_events, make_stage

from study.core.checksums import read_checked
from study.core.ledger import EXTENDED, RETEST, RUNG, Book, Event, finished
from study.records import tables as records
from study.records.tables import RETESTS, column_type, read_table, write_table
from study.records.writer import RecordWriter, write_records

FACTORS = {
    "none": {"loss": "cross_entropy", "class_weighting": "uniform", "sampler": "shuffle"},
    "focal": {"loss": "focal", "class_weighting": "uniform", "sampler": "shuffle"},
}
TABLES = ["epochs.parquet", "retests.parquet", "rungs.parquet", "trials.parquet"]


def rung(trial_id, value, cutoff, num_peers, decision):
    payload = {"rung_epoch": 1, "value": value, "cutoff": cutoff, "num_peers": num_peers, "decision": decision}
    return Event(kind=RUNG, trial_id=trial_id, payload=payload)


def retested(seed):
    row = {
        "arm": "none",
        "trial_id": "none-0000",
        "seed": seed,
        "num_train": 300,
        "class_counts": [200, 100],
        "test_balanced_accuracy": 0.5,
        "test_accuracy": 0.625,
        "test_macro_f1": 0.5,
        "test_worst_class_recall": 0.25,
        "test_nll": 1.5,
        "test_ece": 0.125,
        "per_class_recall": [0.25, 0.75],
        "confusion_matrix": [[1, 3], [1, 3]],
        "train_indices_sha256": "ab" * 32,
        "weights_sha256": "cd" * 32,
        "train_seconds": 3.0,
    }
    epochs = [
        {"epoch": 1, "images": 300, "train_loss": 2.0, "learning_rate": 0.1, "train_seconds": 3.0},
    ]
    return Event(kind=RETEST, payload={**row, "epochs": epochs})


@pytest.fixture
def book():
    """none-0000 completed 2 epochs, focal-0000 was stopped, none-0001 failed, focal-0001 is at epoch 1."""
    shared = {"learning_rate": 0.05, "batch_size": 32}
    events = [
        asked("none-0000", hparams={**FACTORS["none"], **shared}),
        asked("focal-0000", hparams={**FACTORS["focal"], **shared, "focal_gamma": 2.0}),
        *epoch_events("none-0000", 1, 0.25),
        rung("none-0000", 0.25, None, 0, "continue"),
        *epoch_events("focal-0000", 1, 0.125),
        rung("focal-0000", 0.125, 0.5, 1, "stop"),
        finished("focal-0000", "stopped"),
        *epoch_events("none-0000", 2, 0.75),
        finished("none-0000", "completed"),
        asked("none-0001", hparams={**FACTORS["none"], **shared}, seed=12),
        finished("none-0001", "failed", "the loss was nan"),
        asked("focal-0001", hparams={**FACTORS["focal"], **shared, "focal_gamma": 3.0}, seed=12),
        *epoch_events("focal-0001", 1, 0.5),
        retested(1001),
        retested(1000),
    ]
    book = Book()
    for event in events:
        book.apply(event)
    return book


def write(run_dir, book, *, active=False):
    write_records(run_dir, book, stages=(make_stage(arms=("none", "focal")),), active=active)


def rows_of(run_dir, name):
    return read_table(run_dir / f"{name}.parquet").to_pylist()


def test_a_trial_is_a_row_with_its_sums_and_its_last_value(tmp_path, book):
    """An epoch of these draws 100 images and trains 2 s."""
    write(tmp_path, book)
    rows = {row["trial_id"]: row for row in rows_of(tmp_path, "trials")}
    assert list(rows) == ["none-0000", "focal-0000", "none-0001", "focal-0001"]
    columns = ("arm", "number", "status", "message", "epochs", "images", "seed", "objective", "train_seconds")
    assert [tuple(row[name] for name in columns) for row in rows.values()] == [
        ("none", 0, "completed", None, 2, 200, 11, 0.75, 4.0),
        ("focal", 0, "stopped", None, 1, 100, 11, 0.125, 2.0),
        ("none", 1, "failed", "the loss was nan", 0, 0, 12, None, 0.0),
        ("focal", 1, "interrupted", None, 1, 100, 12, 0.5, 2.0),
    ]
    assert {row["stage"] for row in rows.values()} == {"tune"}


def test_an_unfinished_trial_is_running_while_a_process_is_at_work(tmp_path, book):
    write(tmp_path, book, active=True)
    assert rows_of(tmp_path, "trials")[3]["status"] == "running"


def test_a_knob_that_an_arm_does_not_have_is_null(tmp_path, book):
    write(tmp_path, book)
    rows = rows_of(tmp_path, "trials")
    assert [row["config/focal_gamma"] for row in rows] == [None, 2.0, None, 3.0]
    assert [row["config/learning_rate"] for row in rows] == [0.05] * 4
    assert [row["config/batch_size"] for row in rows] == [32] * 4


def test_factors_have_columns_of_their_own_and_not_two(tmp_path, book):
    write(tmp_path, book)
    table = read_table(tmp_path / "trials.parquet")
    assert table["factor/loss"].to_pylist() == ["cross_entropy", "focal", "cross_entropy", "focal"]
    assert [name for name in table.column_names if "/" in name] == [
        "config/batch_size",
        "config/focal_gamma",
        "config/learning_rate",
        "factor/class_weighting",
        "factor/loss",
        "factor/mixing",
        "factor/sampler",
    ]
    assert str(table.schema.field("config/batch_size").type) == "int64"
    assert str(table.schema.field("config/focal_gamma").type) == "double"


def test_an_epoch_is_a_row_those_of_the_retest_too(tmp_path, book):
    write(tmp_path, book)
    rows = rows_of(tmp_path, "epochs")
    assert [(row["trial_id"], row["stage"], row["epoch"], row[METRIC]) for row in rows] == [
        ("none-0000", "tune", 1, 0.25),
        ("none-0000", "tune", 2, 0.75),
        ("focal-0000", "tune", 1, 0.125),
        ("focal-0001", "tune", 1, 0.5),
        ("none-0000-seed-1000", "retest", 1, None),
        ("none-0000-seed-1001", "retest", 1, None),
    ]


def test_the_retests_of_what_won_before_are_marked_and_come_last(tmp_path, book):
    for event in (asked("none-0002"), *epoch_events("none-0002", 1, 0.875), finished("none-0002", "completed")):
        book.apply(event)
    payload = {**retested(1000).payload, "trial_id": "none-0002"}
    book.apply(Event(kind=RETEST, payload=payload))
    write(tmp_path, book)
    assert [(row["trial_id"], row["seed"], row["role"]) for row in rows_of(tmp_path, "retests")] == [
        ("none-0002", 1000, "winner"),
        ("none-0000", 1000, "former"),
        ("none-0000", 1001, "former"),
    ]
    assert [row["trial_id"] for row in rows_of(tmp_path, "epochs") if row["stage"] == "retest"] == [
        "none-0002-seed-1000", "none-0000-seed-1000", "none-0000-seed-1001",
    ]  # fmt: skip


def test_a_trial_says_how_often_the_study_had_been_extended_before(tmp_path, book):
    grown = {"before": {"trials_per_arm": 2}, "after": {"trials_per_arm": 3}}
    extended = Event(kind=EXTENDED, payload={"time": "2026-11-30", "command": "it", "num_retests": 2, **grown})
    for event in (extended, asked("none-0002"), extended, asked("none-0003")):
        book.apply(event)
    write(tmp_path, book)
    assert [row["extension"] for row in rows_of(tmp_path, "trials")] == [0, 0, 0, 0, 1, 2]


def test_a_decision_is_a_row(tmp_path, book):
    write(tmp_path, book)
    columns = ("trial_id", "arm", "rung_epoch", "value", "cutoff", "num_peers", "decision")
    assert [tuple(row[name] for name in columns) for row in rows_of(tmp_path, "rungs")] == [
        ("none-0000", "none", 1, 0.25, None, 0, "continue"),
        ("focal-0000", "focal", 1, 0.125, 0.5, 1, "stop"),
    ]


def test_retests_are_in_the_order_of_arms_and_seeds(tmp_path, book):
    write(tmp_path, book)
    rows = rows_of(tmp_path, "retests")
    assert [(row["arm"], row["seed"]) for row in rows] == [("none", 1000), ("none", 1001)]
    assert rows[0]["confusion_matrix"] == [[1, 3], [1, 3]]
    assert rows[0]["class_counts"] == [200, 100]


def test_an_own_metric_has_a_column_and_other_runs_have_none(tmp_path, book):
    write(tmp_path, book)
    assert read_table(tmp_path / "retests.parquet").schema.names == RETESTS.names
    event = retested(1002)
    book.apply(Event(kind=RETEST, payload={**event.payload, "metric/kappa": 0.5}))
    write(tmp_path, book)
    assert [row["metric/kappa"] for row in rows_of(tmp_path, "retests")] == [None, None, 0.5]


def test_an_empty_book_gives_four_empty_tables(tmp_path):
    write(tmp_path, Book())
    assert sorted(os.listdir(tmp_path)) == ["checksums.json", *TABLES]
    assert all(read_table(tmp_path / name).num_rows == 0 for name in TABLES)


def test_numbers_come_back_bit_for_bit_and_units_are_named(tmp_path):
    value = 0.1 + 0.2
    book = Book()
    for event in (asked("none-0000", hparams={"learning_rate": value}), *epoch_events("none-0000", 1, value)):
        book.apply(event)
    write(tmp_path, book)
    table = read_table(tmp_path / "trials.parquet")
    assert table["objective"].to_pylist() == [value]
    assert table["config/learning_rate"].to_pylist() == [value]
    assert table.schema.field("train_seconds").metadata == {b"unit": b"s"}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 2], "int64"),
        ([1, 0.5], "double"),
        ([True, None], "bool"),
        ([True, 1], "string"),
        (["a", None], "string"),
        ([None, None], "string"),
        ([1, "a"], "string"),
    ],
)
def test_a_column_has_the_narrowest_type_that_holds_its_values(values, kind):
    assert str(column_type(values)) == kind


def test_every_flipped_byte_of_a_page_is_noticed(tmp_path):
    """Of a page's 4,000 bytes of data, checked every 97th."""
    path = tmp_path / "rungs.parquet"
    rows = [
        {
            "trial_id": "none-0000",
            "stage": "tune",
            "arm": "none",
            "rung_epoch": 1,
            "value": number / 7,
            "cutoff": None,
            "num_peers": 0,
            "decision": "continue",
        }
        for number in range(500)
    ]
    write_table(path, rows, records.RUNGS)
    content = path.read_bytes()
    column = pq.ParquetFile(path).metadata.row_group(0).column(4)
    assert column.path_in_schema == "value"
    start = column.dictionary_page_offset or column.data_page_offset
    first, last = start + 100, start + column.total_compressed_size - 100
    assert last - first > 2000
    for position in range(first, last, 97):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(OSError, match=r"(?i)crc|checksum"):
            read_table(path)
    path.write_bytes(content)
    assert read_table(path).num_rows == 500


@pytest.mark.parametrize("broken", ["replace", "fsync", "write_table"])
def test_a_crash_while_writing_leaves_the_old_table_whole_and_nothing_beside_it(tmp_path, book, monkeypatch, broken):
    write(tmp_path, book)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}

    def crash(*arguments, **options):
        raise OSError(28, "No space left on device")

    book.apply(finished("focal-0001", "completed"))  # so that trials.parquet would change
    monkeypatch.setattr(pq if broken == "write_table" else os, broken, crash)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, book)
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["checksums.json", *TABLES]
    assert {name: read_checked(tmp_path / name) for name in TABLES} == {name: before[name] for name in TABLES}
    write(tmp_path, book)
    assert rows_of(tmp_path, "trials")[3]["status"] == "completed"


def test_tables_written_again_and_again_are_those_that_are_written_once(tmp_path):
    """Columns come and change type on the way, trials end out of order, and the stage before grows after the other."""
    book = Book()
    stages = [make_stage(name="before", arms=("none",)), make_stage(arms=("focal",))]
    writer = RecordWriter(tmp_path / "again", stages)
    (tmp_path / "again").mkdir()
    steps = [
        [asked("none-0000", hparams={"momentum": None}), asked("none-0001", hparams={"batch_size": 32})],
        [*epoch_events("none-0001", 1, 0.5), finished("none-0001", "completed")],
        [
            *epoch_events("none-0000", 1, 0.25),
            rung("none-0000", 0.25, 0.5, 1, "stop"),
            finished("none-0000", "stopped"),
        ],
        [asked("focal-0000", hparams={"batch_size": 32, "focal_gamma": 2}), finished("focal-0000", "failed", "nan")],
        [asked("focal-0001", hparams={"focal_gamma": 2.5}), *epoch_events("focal-0001", 1, 0.75)],
        [asked("none-0002", hparams={"momentum": 0.5}), finished("none-0002", "failed", "nan")],
        [finished("focal-0001", "completed"), retested(1000)],
        [],
    ]
    for number, events in enumerate(steps):
        for event in events:
            book.apply(event)
        writer.write(book, active=True)
        once = tmp_path / f"once-{number}"
        once.mkdir()
        write_records(once, book, stages=stages, active=True)
        for path in once.glob("*.parquet"):
            assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), (number, path.name)
    assert [row["trial_id"] for row in rows_of(once, "trials")] == [
        "none-0000", "none-0001", "none-0002", "focal-0000", "focal-0001",
    ]  # fmt: skip
