"""Class names on the page: told apart where they are shortened, by their index where they cannot be drawn."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import FAKES, write_run

from study.analysis.tables import load_tables
from study.page.class_tables import key_table
from study.page.figures import classes as figures_classes
from study.page.figures import labels
from study.page.figures.labels import broken, class_labels, is_drawable, plain, told_apart
from study.page.render import draw_figures, render_page
from study.page.tasks.registry import find_page, write_page_of

TOMATOES = (
    "Tomato___Bacterial_spot",
    "Tomato___Early_blight",
    "Tomato___Tomato_Yellow_Leaf_Curl_Virus",
    "Tomato___Tomato_mosaic_virus",
    "Tomato___healthy",
)


@pytest.fixture(autouse=True)
def fonts_of_matplotlib_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The labels are the same whatever fonts the machine has."""
    monkeypatch.setattr(labels, "FALLBACK_FONTS", ())
    for cached in (labels.font_names, labels._characters):
        cached.cache_clear()


def test_names_that_are_told_apart_by_their_beginning_are_cut_at_their_end() -> None:
    names = ("airplane", "a name of thirty characters ..", "cat")
    assert class_labels(names, 16) == ("airplane", "a name of thirt…", "cat")


@pytest.mark.parametrize("width", [14, 16, 22])
def test_names_with_a_shared_beginning_are_told_apart(width: int) -> None:
    found = class_labels(TOMATOES, width)
    assert found is not None
    assert len(set(found)) == 5
    assert max(map(len, found)) <= width
    assert "osa" in found[3]
    assert found[2][:3] == found[3][:3] == "Tom"


def test_names_that_no_part_tells_apart_get_their_index() -> None:
    names = ["x" * 30 + letter + "y" * 30 for letter in "ab"] + ["x" * 30 + "ab" + "y" * 30]
    found = class_labels(names, 12)
    assert found is not None
    assert len(set(found)) == 3
    assert max(map(len, found)) <= 12


def test_labels_of_choices_are_told_apart_and_names_break_at_underscores() -> None:
    found = told_apart(("crop_flip_cutout", "crop_flip_randaugment", "猫$"), 8)
    assert len(set(found)) == 3
    assert max(map(len, found[:2])) <= 8
    assert found[2] == r"?\$"
    assert broken("crop_flip_randaugment", 12) == "crop_flip_\nrandaugment"


def test_a_dollar_sign_is_no_formula() -> None:
    assert class_labels(("$a$", "b"), 16) == (r"\$a\$", "b")


@pytest.mark.parametrize(
    ("name", "is_drawn"),
    [
        ("café", True),
        ("Straße №5 Ωмегa", True),
        ("猫", False),
        ("고양이", False),
        ("แมว", False),
        ("बिल्ली", False),
        ("\N{DOG}\N{ZERO WIDTH JOINER}", False),
        ("قط", False),  # DejaVu has the letters, and Matplotlib would join none and begin at the wrong end
        ("caf\udce9", False),
    ],
)
def test_what_the_fonts_cannot_draw_is_known(name: str, is_drawn: bool) -> None:
    assert is_drawable(name) == is_drawn
    assert class_labels((name, "b"), 16) == ((name, "b") if is_drawn else ("0", "1"))
    assert is_drawable(plain(name))


def test_fonts_of_the_machine_are_asked_for_what_matplotlibs_own_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Matplotlib's other fonts, STIX has mathematical letters that DejaVu lacks."""
    letter = "\N{MATHEMATICAL SCRIPT CAPITAL A}"
    assert not is_drawable(letter)
    monkeypatch.setattr(labels, "FALLBACK_FONTS", ("No Such Font", "STIXGeneral"))
    for cached in (labels.font_names, labels._characters):
        cached.cache_clear()
    assert labels.font_names() == ("DejaVu Sans", "STIXGeneral")
    assert is_drawable(letter)


def test_more_than_twenty_classes_are_by_index_and_the_page_has_the_key(tmp_path: Path) -> None:
    fake = replace(FAKES["cifar100"], superclass_names=None, superclass_of=None)
    run_dir = write_run(tmp_path / "run", task="cifar100", fake=fake, arms=("plain", "both"), control="plain")
    tables = load_tables(run_dir)
    assert class_labels(tables.summary["dataset"]["class_names"], 16) is None
    key = key_table(tables)
    assert key is not None
    assert key.columns == ("Index", "Class") * 4
    assert len(key.rows) == 25
    assert key.rows[1] == ("1", "01", "26", "26", "51", "51", "76", "76")
    page = find_page("cifar100")
    figures = [figure for figure in page.figures if figure.name in figures_classes.OF_CLASSES]
    html = render_page(page, tables, draw_figures(figures, tables, page.words(tables)))
    assert "The classes by their index in the figures above." in html


def test_where_classes_are_shown_by_superclass_the_page_has_no_key(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", task="cifar100", arms=("plain", "both"), control="plain"))
    page = find_page("cifar100")
    figures = [figure for figure in page.figures if figure.section in {"results", "classes"}]
    html = render_page(page, tables, draw_figures(figures, tables, page.words(tables)))
    assert "Figure 4. Confusion of superclasses" in html
    assert "by their index" not in html
    assert "Test recall of each class" not in html


def test_few_classes_with_plain_names_need_no_key(tmp_path: Path) -> None:
    assert key_table(load_tables(write_run(tmp_path / "run", arms=("none", "focal")))) is None


NAMES = ("猫", "बिल्ली", "แมว", "고양이", "\N{DOG FACE}\N{VARIATION SELECTOR-16}", "قط", "caf\udce9", "$x$", "b", "c")


def test_the_page_is_written_whatever_the_classes_are_called(tmp_path: Path) -> None:
    """A name that is not UTF-8 is refused when data are loaded; runs made before may hold one."""
    run_dir = write_run(tmp_path / "run", arms=("none", "focal"), class_names=NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Matplotlib warns of each glyph that it lacks
        html = write_page_of(run_dir).read_text(encoding="utf-8")
    for name in ("猫", "बिल्ली", "แมว", "고양이", "قط", "caf\\udce9"):
        assert name in html
    assert "The classes by their index in the figures above." in html
    tables = load_tables(run_dir)
    for figure in find_page("imbalance").figures:
        if figure.name in figures_classes.OF_CLASSES:
            ax = figure.draw(figure.data(tables)).axes[0]
            assert [label.get_text().split(" ")[0] for label in ax.get_xticklabels()] == list("0123456789")
            assert "by its index" in ax.get_xlabel()
            assert (run_dir / "figures" / f"{figure.name}.png").read_bytes().startswith(b"\x89PNG")
