"""What somebody else's files may hold: nothing of it is run, written elsewhere, or taken for a part of the page.

Pickles in checkpoints and data sets have their tests beside those of their readers.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_run import write_run
from study_cases import asked

from study.analysis.summary import require_summary
from study.analysis.tables import load_tables
from study.core.errors import StudyError
from study.core.ledger import ASKED, RETEST, Event, Ledger, reopened
from study.exports.tensorboard import write_tensorboard
from study.records.tables import TRIALS, with_missing_columns

OUTSIDE = ("../../x", "..", ".", "/x", "x/y", "x\\y", "x\n", "", ".x", "-x", "x\0", "é", "x" + "\u202e")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    run_dir = write_run(tmp_path_factory.mktemp("someone") / "run", arms=("none", "focal"))
    (run_dir / "checksums.json").unlink(missing_ok=True)  # whoever changes a table can change what is said of it
    return run_dir


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("column", ["trial_id", "arm", "stage"])
def test_a_table_whose_names_are_no_names_is_refused(run_dir, tmp_path, column, name):
    """study.export would make folders of them."""
    path, whole = run_dir / "trials.parquet", pq.read_table(run_dir / "trials.parquet")
    place = whole.schema.get_field_index(column)
    values = pa.array([name, *whole[column].to_pylist()[1:]])
    pq.write_table(whole.set_column(place, whole.schema.field(column), values), path)
    try:
        with pytest.raises(ValueError, match=r"trials\.parquet .*a name must be of letters, digits"):
            write_tensorboard(load_tables(run_dir), tmp_path / "board")
    finally:
        pq.write_table(whole, path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", filter(None, OUTSIDE))
@pytest.mark.parametrize("place", ["trial", "payload", "arm"])
def test_a_ledger_whose_names_are_no_names_is_refused(tmp_path, place, name):
    """study.resume would remove folders of them."""
    event = {
        "trial": Event(kind=ASKED, trial_id=name, payload=asked("none-0000").payload),
        "payload": Event(kind=RETEST, payload={"arm": "none", "trial_id": name, "seed": 1}),
        "arm": Event(kind=ASKED, trial_id="none-0000", payload={**asked("none-0000").payload, "arm": name}),
    }[place]
    with Ledger(tmp_path) as ledger:
        ledger.append(event)
    with pytest.raises(StudyError, match=r"does not know, number 1 .* a name must be of letters, digits"):
        reopened(tmp_path)
    assert not (tmp_path / "ledger.db.damaged").exists()  # no damage, of which something could be restored


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("objective", pa.array(["high"]), "objective is of the type string, not double"),
        ("epochs", pa.array([[1]]), r"epochs is of the type list<.*>, not int64"),
        ("arm", pa.array([None], pa.string()), "arm lacks values"),
        ("trial_id", pa.array([b"\xff"]), "trial_id is of the type binary, not string"),
    ],
)
def test_a_table_whose_columns_are_not_what_they_are_to_be_is_refused(run_dir, column, values, says):
    table = pq.read_table(run_dir / "trials.parquet").slice(0, 1)
    table = table.set_column(table.schema.get_field_index(column), column, values)
    with pytest.raises(ValueError, match=says):
        with_missing_columns(table, TRIALS)


def test_numbers_of_a_type_that_holds_them_too_are_read(run_dir):
    """As a table that passed through another program may have them."""
    table = pq.read_table(run_dir / "trials.parquet")
    narrow = table.set_column(table.schema.get_field_index("epochs"), "epochs", table["epochs"].cast(pa.int16()))
    assert with_missing_columns(narrow, TRIALS)["epochs"].equals(table["epochs"])


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("dataset", [], "dataset: Input should be"),
        ("groups", [], "groups: "),
        ("groups", [{"title": "", "arms": ["none"]}], "groups.0.control: Field required"),
        ("stages", [], "it has no stage tune"),
        ("winners", {"none": {"trial_id": 1, "config": {}}}, "winners.none.trial_id: "),
        ("versions", {"ray": ["2"]}, "versions.ray: "),
        ("taus", "all", "taus: "),
    ],
)
def test_a_summary_that_is_not_what_it_is_to_be_is_refused(run_dir, name, value, says):
    summary = json.loads((run_dir / "summary.json").read_text())
    with pytest.raises(ValueError, match=f"^is of no use: {re.escape(says)}"):
        require_summary({**summary, name: value})


def test_a_summary_that_judges_by_what_no_table_has_is_refused(run_dir):
    path = run_dir / "summary.json"
    whole = path.read_text()
    path.write_text(json.dumps({**json.loads(whole), "score": "luck"}))
    try:
        with pytest.raises(ValueError, match=r"judges by 'luck', which retests\.parquet lacks"):
            load_tables(run_dir)
    finally:
        path.write_text(whole)
