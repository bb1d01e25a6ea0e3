"""Files of a run that are whole and of the right form, and say what cannot be: every reader takes or refuses them.

Every field of summary.json and spec.json and every column of every table is left out, emptied, of another type,
negative, too large, named after nobody, or there twice. A few are tried each time, `-m faults` tries more;
FUZZ_EXAMPLES=5000 (see fuzzing.py) tries so many, others each time, and all that is taken goes through a page,
comparisons and exports.
"""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_reproduction import write_reproduction
from fake_run import edit_summary, write_run
from faults import Faults
from fuzzing import EXAMPLES

from study.analysis.compare import load_comparison
from study.analysis.tables import load_tables
from study.core.errors import StudyError
from study.core.run_dir import settings_of
from study.exports.trainings import trainings
from study.page import compare, render
from study.page.figures.base import Picture
from study.page.tasks.registry import find_page
from study.reproduction import page as reproduction_page
from study.reproduction.recipes import RECIPES
from study.reproduction.results import load_reproduction
from study.reproduction.reuse import load_earlier
from study.reproduction.tuned import load_studies, tuned_beside
from study.tasks.fork import fork_values
from study.tasks.registry import STUDIES
from study.tasks.resolve import read_spec, resolved

FEW, MANY = 30, 150
FEW_WHOLE = 1
"""So many of those that are taken are read to the end of a page."""

Case = tuple[str, str, Callable[[], bytes]]
"""(file, what is wrong with it, what makes its content)"""


# --- what is wrong


def other_values(value: Any) -> Iterator[tuple[str, Any]]:
    """What may stand in a JSON value's place, by what is wrong with it."""
    yield "null", None
    if isinstance(value, bool):
        yield "text", "x"
    elif isinstance(value, int | float):
        yield from (("negative", -1), ("zero", 0), ("half", 0.5), ("large", 10**30), ("NaN", math.nan), ("text", "5"))
    elif isinstance(value, str):
        yield from (("nobody", "nobody"), ("empty", ""), ("number", 5), ("list", []))
    elif isinstance(value, list):
        yield from (("empty", []), ("table", {}), ("text", "nobody"))
        if value:
            yield from (("twice", [*value, value[-1]]), ("fewer", value[:-1]), ("nobody in it", [*value, "nobody"]))
    elif isinstance(value, dict):
        yield from (("empty", {}), ("list", []))
        if value:
            yield "nobody in it", {**value, "nobody": next(iter(value.values()))}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there is something in a JSON value; of lists, at the first and last place."""
    keys: Any = value if isinstance(value, dict) else []
    if isinstance(value, list) and value:
        keys = sorted({0, len(value) - 1})
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


def of_json(path: Path) -> Iterator[Case]:
    whole = json.loads(path.read_text())
    for place in places(whole):
        found: Any = whole
        for key in place:
            found = found[key]
        for what, value in (("left out", None), *other_values(found)):
            yield path.name, f"{'.'.join(map(str, place))} {what}", partial(_changed, whole, place, what, value)


def _changed(whole: Any, place: tuple[Any, ...], what: str, value: Any) -> bytes:
    changed = inner = copy.deepcopy(whole)
    *above, last = place
    for key in above:
        inner = inner[key]
    if what == "left out":
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(changed).encode()


def odd_values(kind: pa.DataType, values: list[Any]) -> list[Any]:
    if pa.types.is_integer(kind):
        return [-1, 0, 10**15 + 1, 2**62]
    if pa.types.is_floating(kind):
        return [-1.0, 0.0, math.nan, math.inf, 1e300]
    if pa.types.is_string(kind):
        return ["nobody", ""]
    first = next((value for value in values if value), None)
    return [[], first[:-1], [*first, first[-1]]] if isinstance(first, list) else []


def of_table(path: Path) -> Iterator[Case]:
    whole = pq.read_table(path)
    halves = whole.slice(0, whole.num_rows // 2), whole.slice(1)
    made: list[tuple[str, Callable[[], pa.Table]]] = [
        ("no rows", partial(whole.slice, 0, 0)),
        ("the first row twice", lambda: pa.concat_tables([whole, whole.slice(0, 1)])),
        ("all rows twice", lambda: pa.concat_tables([whole, whole])),
        *((f"{half.num_rows} rows", lambda half=half: half) for half in halves),
    ]
    for place, field in enumerate(whole.schema):
        values = whole[field.name].to_pylist()

        def column(values: list[Any], kind: pa.DataType = field.type, place: int = place) -> pa.Table:
            return whole.set_column(place, whole.schema.field(place).name, pa.array(values, kind))

        texts = [None if value is None else str(value) for value in values]
        made += [
            (f"{field.name} left out", partial(whole.remove_column, place)),
            (f"{field.name} null", partial(column, [None] * len(values))),
            (f"{field.name} first null", partial(column, [None, *values[1:]])),
            (f"{field.name} text", partial(column, texts, pa.string())),
        ]
        for odd in odd_values(field.type, values):
            made += [
                (f"{field.name} first {odd!s:.20}", partial(column, [odd, *values[1:]])),
                (f"{field.name} all {odd!s:.20}", partial(column, [odd] * len(values))),
            ]
    for what, make in made:
        yield path.name, what, partial(_written, make)


def _written(make: Callable[[], pa.Table]) -> bytes:
    with pa.BufferOutputStream() as buffer:
        pq.write_table(make(), buffer)
        return buffer.getvalue().to_pybytes()


# --- who reads it


def read_study(run_dir: Path, other: Path) -> None:
    """What report, export, compare, study.reproduce --tuned and Python read of a study."""
    tables = load_tables(run_dir)
    page = find_page(tables.task)
    drawn = render.draw_figures(page.figures, tables, page.words(tables))
    render.render_page(page, tables, drawn)
    list(trainings(tables))
    for recipe in RECIPES.values():
        tuned_beside(recipe, load_studies([run_dir]))
    for runs in ([run_dir, other], [other, run_dir]):
        comparison = load_comparison(runs)
        compared = render.draw_figures(compare.FIGURES, comparison, {"score": "score", "first": "first"})
        compare.render_page(comparison, page, compared)


def read_reproduction(run_dir: Path, other: Path) -> None:
    """What report and study.reproduce --reuse read of a reproduction."""
    reproduction = load_reproduction(run_dir)
    drawn = render.draw_figures(reproduction_page.figures_of(reproduction), reproduction, {})
    reproduction_page.render_page(reproduction, drawn)
    for earlier in load_earlier([run_dir]):
        for name, seed in earlier.rows:
            earlier.trained(name, seed)


def is_refused(read: Callable[[], object]) -> bool:
    """Whether it is refused as a user's error is: in one line, not by what Python raises by itself."""
    try:
        read()
    except ValueError as error:
        if type(error) not in {ValueError, StudyError} or len(str(error).splitlines()) != 1:
            raise
        return True
    return False


def try_all(
    faults: Faults,
    cases: Callable[[], Iterator[Case]],
    run_dir: Path,
    load: Callable[[Path], object],
    read: Callable[[], object],
) -> None:
    """load what is wrong, and read some of what is taken to its end."""
    found = list(cases())
    number = int(EXAMPLES) if EXAMPLES else MANY if faults.every else FEW
    chosen = random.Random(None if EXAMPLES else 0).sample(found, min(number, len(found)))
    to_read = number if EXAMPLES else number // FEW * FEW_WHOLE
    for name, what, make in chosen:
        whole = (run_dir / name).read_bytes()
        faults.injected += 1
        try:
            (run_dir / name).write_bytes(make())
            if not is_refused(partial(load, run_dir)) and to_read:
                to_read -= 1
                is_refused(read)
        except Exception as error:
            error.add_note(f"{name}: {what}")
            raise
        finally:
            (run_dir / name).write_bytes(whole)
        faults.survived += 1


@pytest.fixture(autouse=True)
def nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures' numbers are computed, as for a page; Matplotlib is tested elsewhere, and slow."""
    picture = Picture(png=bytes(40), svg=None)
    monkeypatch.setattr(render, "rendered", lambda figures, num_processes: [picture for _ in figures])


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("other") / "other", arms=("none", "focal"), num_trials=2)


KINDS: Mapping[str, Mapping[str, Any]] = {
    "imbalance": {"arms": ("none", "focal"), "num_trials": 2, "failed": ("focal-0001",)},
    "searches": {"arms": ("none", "focal"), "num_trials": 2, "searches": 2, "control_trials": 1},
    "cifar100": {"task": "cifar100", "arms": ("plain", "both"), "control": "plain", "num_trials": 2},
    "jigsaw": {"task": "jigsaw", "num_trials": 1},
}

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_that_says_what_cannot_be(tmp_path: Path, faults: Faults, kind: str, other: Path) -> None:
    run_dir = write_run(tmp_path / "run", **KINDS[kind])

    def cases() -> Iterator[Case]:
        yield from of_json(run_dir / "summary.json")
        for path in sorted(run_dir.glob("*.parquet")):
            yield from of_table(path)

    try_all(faults, cases, run_dir, load_tables, partial(read_study, run_dir, other))


def test_a_reproduction_that_says_what_cannot_be(tmp_path: Path, faults: Faults) -> None:
    run_dir = write_reproduction(tmp_path / "run", num_seeds=1, num_epochs=2, runs=("s0_base", "s1_cnn"))

    def cases() -> Iterator[Case]:
        yield from of_json(run_dir / "summary.json")
        for name in ("runs", "epochs"):
            yield from of_table(run_dir / f"{name}.parquet")

    try_all(faults, cases, run_dir, load_reproduction, partial(read_reproduction, run_dir, run_dir))


def test_settings_that_cannot_be(tmp_path: Path, faults: Faults, other: Path) -> None:
    run_dir = write_run(tmp_path / "run", arms=("none", "focal"), num_trials=2)
    given = {"arms": ("none", "focal"), "dataset": "digits", "output_dir": str(tmp_path), "name": "run"}
    spec = resolved(STUDIES["imbalance"], given, dataset="digits", num_gpus=0)
    (run_dir / "spec.json").write_text(spec.model_dump_json())
    (run_dir / "ledger.db").touch()

    def read() -> None:
        fork_values(run_dir, STUDIES["imbalance"], {})
        read_spec(run_dir)
        read_study(run_dir, other)

    try_all(faults, partial(of_json, run_dir / "spec.json"), run_dir, settings_of, read)


# --- what is refused, by name


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", arms=("none", "focal"), num_trials=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ["none", "focal", "copy"]}, "its arms are not those of groups"),
        ({"winners": {}, "not_retested": {"copy": "why"}}, "not_retested has 'copy', which is no arm of it"),
        ({"taus": [0.5, 1.0]}, "taus do not rise, or lack 0"),
        ({"extensions": [{"time": "", "command": "", "num_retests": 0, "before": {}, "after": {"arms": []}}]},
         "extensions.0: Value error, before and after must be of the same settings"),
    ],
)  # fmt: skip
def test_a_summary_that_contradicts_itself_is_refused(run_dir: Path, changes: dict[str, Any], message: str) -> None:
    edit_summary(run_dir, **changes)
    with pytest.raises(ValueError, match=rf"summary\.json is of no use: {message}$"):
        load_tables(run_dir)


def test_a_winner_that_is_no_trial_and_classes_of_another_number_are_refused(run_dir: Path) -> None:
    summary = json.loads((run_dir / "summary.json").read_text())
    winners = {**summary["winners"], "none": {**summary["winners"]["none"], "trial_id": "none-9999"}}
    edit_summary(run_dir, winners=winners)
    with pytest.raises(ValueError, match=r"summary\.json is of no use: 'none-9999' is no trial of none in trials"):
        load_tables(run_dir)
    edit_summary(run_dir, **summary)
    dataset = {**summary["dataset"], "num_classes": 3}
    edit_summary(run_dir, dataset=dataset)
    with pytest.raises(ValueError, match=r"dataset\.class_names is of 10 classes, not of 3$"):
        load_tables(run_dir)
    of_three = {**dataset, "class_names": ["a", "b", "c"], "class_counts": [1, 2, 3]}
    edit_summary(run_dir, dataset=of_three)
    with pytest.raises(ValueError, match=r"retests\.parquet is of no use: per_class_recall is not of 3 values"):
        load_tables(run_dir)


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("epochs", {"epoch": -1}, "epoch has -1, and is from 1"),
        ("epochs", {"train_seconds": -1.0}, "train_seconds has -1, and is from 0"),
        ("retests", {"test_accuracy": 1.5}, "test_accuracy has 1.5, and is from 0 to 1"),
        ("trials", {"status": "nobody"}, "status has 'nobody', and is one of completed, stopped, failed, running, in"),
        ("trials", {"trial_id": "focal-0001"}, "it has trial_id focal-0001 twice"),
        ("rungs", {"trial_id": "none-7777"}, "its none-7777 is no trial of none in trials.parquet"),
        ("trials", {"arm": "copy"}, "it has the arm copy in the stage tune, which summary.json lacks"),
    ],
)
def test_a_table_that_contradicts_itself_or_another_is_refused(
    run_dir: Path, table: str, change: dict[str, Any], message: str
) -> None:
    path = run_dir / f"{table}.parquet"
    whole = pq.read_table(path)
    first, *rest = whole.to_pylist()
    pq.write_table(pa.Table.from_pylist([{**first, **change}, *rest], schema=whole.schema), path)
    with pytest.raises(ValueError, match=rf"run/{table}\.parquet is of no use: {message}"):
        load_tables(run_dir)


def test_what_lies_beyond_its_bounds_by_rounding_is_taken(run_dir: Path) -> None:
    for table, change in (("epochs", {"learning_rate": -1e-9}), ("retests", {"test_accuracy": 1 + 1e-7})):
        path = run_dir / f"{table}.parquet"
        whole = pq.read_table(path)
        first, *rest = whole.to_pylist()
        pq.write_table(pa.Table.from_pylist([{**first, **change}, *rest], schema=whole.schema), path)
    load_tables(run_dir)


def test_a_table_that_a_kill_left_ahead_of_the_others_is_no_contradiction(run_dir: Path) -> None:
    """Trials are written first: there may be some of which no other table says anything yet."""
    whole = pq.read_table(run_dir / "epochs.parquet")
    pq.write_table(whole.slice(0, 1), run_dir / "epochs.parquet")
    pq.write_table(pq.read_table(run_dir / "rungs.parquet").slice(0, 0), run_dir / "rungs.parquet")
    load_tables(run_dir)
