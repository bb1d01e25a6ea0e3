"""The words of each task: every task has them, and they say what its setting is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fake_run import FAKES, edit_summary, write_run

from study.analysis.tables import Tables, load_tables
from study.core.text import listed
from study.page import answers
from study.page import tables as page_tables
from study.page.methods import methods
from study.page.tasks.registry import PAGES, find_page
from study.page.words import axis_label
from study.records import tables as records
from study.tasks.registry import STUDIES


def run(path: Path, task: str, **summary: Any) -> Tables:
    run_dir = write_run(path / "run", task=task)
    edit_summary(run_dir, **summary)
    return load_tables(run_dir)


def condition(tables: Tables) -> str:
    return find_page(tables.task).condition(tables.summary)


def test_every_task_has_a_page() -> None:
    assert set(PAGES) == set(STUDIES) == set(FAKES)


def test_metrics_of_the_arms_table_have_columns() -> None:
    for page in PAGES.values():
        assert set(page.metrics) <= set(page_tables.METRIC_COLUMNS)


def test_a_task_without_words_is_named() -> None:
    with pytest.raises(ValueError, match="task must be one of baseline, imbalance, jigsaw, cifar100, got 'chess'"):
        find_page("chess")


@pytest.mark.parametrize(
    ("kind", "classes", "names", "text"),
    [
        ("step", "first", ("cat", "dog", "emu", "fox"), "The classes cut to 1/10 are cat and dog."),
        ("step", "last", ("cat", "dog", "emu", "fox"), "The classes cut to 1/10 are emu and fox."),
        ("step", "first", ("cat", "dog", "emu"), "The class cut to 1/10 is cat."),
        ("step", "last", tuple(map(str, range(12))), "The classes cut to 1/10 are 6, 7, 8, 9, 10 and 11."),
        ("step", "first", tuple(map(str, range(102))), "The 51 classes cut to 1/10 are, in their order, 0 to 50."),
    ],
)
def test_the_page_of_imbalance_names_the_classes_that_were_cut(
    tmp_path: Path, kind: str, classes: str, names: tuple[str, ...], text: str
) -> None:
    tables = run(tmp_path, "imbalance", setting={"kind": kind, "ratio": 10.0, "classes": classes})
    summary = {**tables.summary, "dataset": {**tables.summary["dataset"], "class_names": names}}
    assert answers.data_sentences(find_page("imbalance"), summary)[1:] == [text]


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (
            (40, 9, 400),  # the classes' own sizes differ: the last one is not the most frequent for certain
            "The rarest class (9 training images) is dog, the most frequent class (400 training images) is emu.",
        ),
        (
            (1, 1, 400),
            "The rarest classes (1 training image each) are cat and dog, the most frequent class (400 training "
            "images) is emu.",
        ),
    ],
)
def test_the_page_of_a_long_tail_names_its_ends_by_their_counts(
    tmp_path: Path, counts: tuple[int, ...], text: str
) -> None:
    tables = run(tmp_path, "imbalance", setting={"kind": "exponential", "ratio": 10.0, "classes": "first"})
    dataset = {**tables.summary["dataset"], "class_names": ("cat", "dog", "emu"), "class_counts": counts}
    sentences = answers.data_sentences(find_page("imbalance"), {**tables.summary, "dataset": dataset})
    assert sentences[1:] == [text]


def test_where_nothing_was_cut_no_class_is_named(tmp_path: Path) -> None:
    tables = run(tmp_path, "imbalance", setting={"kind": "step", "ratio": 1.0, "classes": "first"})
    assert len(answers.data_sentences(find_page("imbalance"), tables.summary)) == 1


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"kind": "step", "ratio": 100.0, "classes": "last"}, "with the last five classes cut to 1/100"),
        (
            {"kind": "exponential", "ratio": 50, "classes": "last"},
            "falling exponentially to 1/50 (last class rarest)",
        ),
        ({"kind": "step", "ratio": 1.0, "classes": "first"}, "On CIFAR-10, all classes kept whole"),
    ],
)
def test_condition_of_imbalance_says_how_the_set_was_thinned(
    tmp_path: Path, setting: dict[str, Any], text: str
) -> None:
    assert text in condition(run(tmp_path, "imbalance", setting=setting))


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("baseline", "On CIFAR-10"),
        ("cifar100", "On pairs of scikit-learn's digits with resnet20"),
        ("jigsaw", "On CIFAR-10"),
    ],
)
def test_condition_of_the_other_tasks(tmp_path: Path, task: str, text: str) -> None:
    assert condition(run(tmp_path, task)) == text


def test_a_study_on_fewer_images_says_so_wherever_it_names_its_data(tmp_path: Path) -> None:
    run(tmp_path, "cifar100")
    edit_summary(tmp_path / "run", **drawn(load_tables(tmp_path / "run"), most=1000, available=4500))
    tables = load_tables(tmp_path / "run")
    assert condition(tables) == "On 1,000 training images of pairs of scikit-learn's digits with resnet20"
    words = " ".join(methods(PAGES["cifar100"], tables))
    assert "Of the 4,500 training images that were left, 1,000 were drawn, in the proportions" in words
    assert "initialisation and order (again 1,000 images, drawn by the seed); the same seeds" in words
    (note,) = PAGES["cifar100"].notes(tables)
    assert "on 1,000 training images of pairs of scikit-learn's digits for at most" in note


def test_a_study_that_has_no_more_images_than_it_may_take_says_nothing_of_them(tmp_path: Path) -> None:
    run(tmp_path, "cifar100")
    edit_summary(tmp_path / "run", **drawn(load_tables(tmp_path / "run"), most=4500, available=4500))
    tables = load_tables(tmp_path / "run")
    assert condition(tables) == "On pairs of scikit-learn's digits with resnet20"
    assert "drawn" not in " ".join(methods(PAGES["cifar100"], tables))


def drawn(tables: Tables, *, most: int, available: int) -> dict[str, Any]:
    return {
        "budget": {**tables.summary["budget"], "train_images": most},
        "dataset": {**tables.summary["dataset"], "num_available": available},
    }


def test_metric_names_stand_in_labels(tmp_path: Path) -> None:
    assert axis_label("test_balanced_accuracy") == "Test balanced accuracy (%)"
    words = PAGES["baseline"].words(run(tmp_path, "baseline"))
    assert (words["score"], words["objective"]) == ("test accuracy", "validation accuracy")
    assert words["challenger"] == "other model"


# --- the published CIFAR-100 results


def published_note(tmp_path: Path, *, dataset: str, model: str, max_epochs: int) -> str:
    tables = run(tmp_path, "cifar100")
    stage = {**tables.summary["stages"][0], "max_epochs": max_epochs}
    changed = {
        "dataset": {**tables.summary["dataset"], "name": dataset},
        "setting": {"model": model, "deeper": "resnet34"},
        "stages": [stage],
    }
    edit_summary(tmp_path / "run", **changed)
    (note,) = PAGES["cifar100"].notes(load_tables(tmp_path / "run"))
    return note


def test_the_published_setting_is_called_so(tmp_path: Path) -> None:
    note = published_note(tmp_path, dataset="cifar100", model="resnet18", max_epochs=200)
    assert "75.6 % with the plain recipe, 77.5 % tuned" in note
    assert "this study ran that setting" in note
    assert "Not run here" not in note


@pytest.mark.parametrize(
    ("dataset", "model", "max_epochs", "instead"),
    [
        ("digit-pairs", "resnet18", 200, "resnet18 (deeper: resnet34) on pairs of scikit-learn's digits"),
        ("cifar100", "resnet20", 200, "resnet20 (deeper: resnet34) on CIFAR-100 for at most 200 epochs"),
        ("cifar100", "resnet18", 199, "on CIFAR-100 for at most 199 epochs"),
    ],
)
def test_any_other_setting_says_plainly_what_ran_instead(
    tmp_path: Path, dataset: str, model: str, max_epochs: int, instead: str
) -> None:
    note = published_note(tmp_path, dataset=dataset, model=model, max_epochs=max_epochs)
    assert note.startswith("Not run here.")
    assert instead in note


def test_methods_say_what_the_user_set_of_the_space_and_nothing_where_it_is_the_tasks_own(tmp_path: Path) -> None:
    page = PAGES["imbalance"]
    tables = run(tmp_path, "imbalance")
    own = methods(page, tables)
    arms = list(tables.arms)
    edit_summary(
        tmp_path / "run",
        ranges_set=[
            {"entry": "momentum=0.9", "arms": arms},
            {"entry": "ldam_drw.ldam_scale=5..50", "arms": ["ldam_drw"]},
        ],
    )
    said, *rest = methods(page, load_tables(tmp_path / "run"))
    assert said == (
        "Space. The task's own, but for what was set: momentum=0.9 (all arms); ldam_drw.ldam_scale=5..50 (ldam_drw)."
    )
    assert rest == own


def test_methods_and_the_table_of_arms_have_what_a_user_s_plugin_added(tmp_path: Path) -> None:
    page = PAGES["imbalance"]
    tables = run(tmp_path, "imbalance")
    rest, columns = methods(page, tables), page_tables.arms_table(page, tables).columns
    parts = ["loss gce", "arm gce", "metric kappa"]
    edit_summary(tmp_path / "run", plugins=[{"file": "mine.py", "sha256": "ab" * 32, "parts": parts}])
    path = tmp_path / "run" / "retests.parquet"
    rows = records.read_table(path).to_pylist()
    own = records.with_columns(records.RETESTS, {"metric/kappa": pa.float64()})
    records.write_table(path, [{**row, "metric/kappa": 0.25} for row in rows], own)
    tables = load_tables(tmp_path / "run")
    assert methods(page, tables) == [
        f"Own parts. mine.py (SHA-256 {'ab' * 32}) adds {listed(parts)}; the run keeps a copy of it.",
        *rest,
    ]
    table = page_tables.arms_table(page, tables)
    position = table.columns.index("kappa")
    assert {row[position] for row in table.rows} == {"0.25"}
    assert tuple(column for column in table.columns if column != "kappa") == columns


def test_methods_of_jigsaw_give_each_arms_epochs_and_passes(tmp_path: Path) -> None:
    notes = " ".join(PAGES["jigsaw"].notes(run(tmp_path, "jigsaw")))
    assert "scratch_10pct 9, scratch_equal_epochs_10pct 15, jigsaw_10pct 9" in notes
    assert "10 % of the labels, 3 passes; 100 % of the labels, 1 pass" in notes
    assert "of which no label was used" in notes
