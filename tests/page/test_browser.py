"""The page in a real browser: it loads nothing, its tables sort and filter, its figures enlarge and are handed out."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_run import CLASS_NAMES, write_run

from study.analysis.tables import Tables, load_tables
from study.page.tasks.registry import write_page_of

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
PHONE = {"width": 390, "height": 844}
EVIL = "--><script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = write_run(
        tmp_path_factory.mktemp("browser") / "run", arms=("none", "focal"), class_names=[EVIL, *CLASS_NAMES[1:]]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.page.figures.base.DPI", 40)
        write_page_of(run_dir)
    return run_dir


@pytest.fixture(scope="module")
def tables(run_dir: Path) -> Tables:
    return load_tables(run_dir)


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: playwright.Browser, run_dir: Path) -> Iterator[playwright.Page]:
    """The page, opened; the test fails if the console got an error or anything was asked for but the page."""
    opened = browser.new_page()
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto((run_dir / "report.html").as_uri())
    yield opened
    assert said == []
    assert {url.split(":", 1)[0] for url in asked if not url.endswith("report.html")} <= {"data", "blob"}
    opened.close()


def column(page: playwright.Page, place: int) -> list[str]:
    return page.locator(f"table.filtered tbody tr:visible > :nth-child({place})").all_inner_texts()


def test_a_click_on_a_heading_sorts_and_a_third_one_restores_the_order(page: playwright.Page, tables: Tables) -> None:
    page.locator("summary").click()
    header = page.locator("table.filtered thead th", has_text="Validation")
    asked_for = column(page, 5)
    sorted_as = []
    for _ in range(3):
        header.get_by_role("button").click()
        sorted_as.append((header.get_attribute("aria-sort"), column(page, 5)))
    numbers = sorted((float(text) for text in asked_for), reverse=True)
    assert [[float(text) for text in texts] for _, texts in sorted_as[:2]] == [numbers, numbers[::-1]]
    assert sorted_as[2] == (None, asked_for)
    assert [order for order, _ in sorted_as[:2]] == ["descending", "ascending"]
    assert len(asked_for) == len(tables.tuning)


def test_it_sorts_by_keyboard_and_numbers_with_signs_thousands_and_intervals(page: playwright.Page) -> None:
    page.evaluate("""() => {
        const table = document.querySelector("table.filtered");
        const texts = ["−1.5 (−2.0 to −1.0)", "–", "1,200", "+3.1", "0.5 (0.1–0.9)"];
        [...table.tBodies[0].rows].forEach((row, place) => { row.cells[4].textContent = texts[place % 5]; });
    }""")
    page.locator("summary").click()
    header = page.locator("table.filtered thead th", has_text="Validation")
    header.get_by_role("button").focus()
    page.keyboard.press("Enter")
    found = list(dict.fromkeys(column(page, 5)))
    assert found == ["1,200", "+3.1", "0.5 (0.1–0.9)", "−1.5 (−2.0 to −1.0)", "–"]


def test_the_filter_leaves_the_rows_that_hold_all_words(page: playwright.Page, tables: Tables) -> None:
    page.locator("summary").click()
    page.get_by_role("searchbox").fill("focal stopped")
    wanted = tables.tuning[(tables.tuning["arm"] == "focal") & (tables.tuning["status"] == "stopped")]
    assert column(page, 1) == list(wanted["trial_id"])
    assert page.locator("output").inner_text() == f"{len(wanted)} of {len(tables.tuning)} rows"
    page.get_by_role("searchbox").fill("")
    assert len(column(page, 1)) == len(tables.tuning)


def test_a_figure_enlarges_and_closes_by_keyboard(page: playwright.Page) -> None:
    page.locator("#scores").get_by_role("button", name="Enlarge").focus()
    page.keyboard.press("Enter")
    assert page.locator("dialog[open] img").get_attribute("alt") == page.locator("#scores img").get_attribute("alt")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_pictures_and_numbers_are_handed_out(page: playwright.Page, tables: Tables, tmp_path: Path) -> None:
    for label, name in (("Picture as PNG", "scores.png"), ("Numbers as CSV", "scores.csv")):
        with page.expect_download() as download:
            page.locator("#scores").get_by_role("button", name=label).click()
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "scores.csv").read_text(encoding="utf-8")
    assert all(arm in text for arm in tables.arms)
    mean = 100 * tables.main_retests[tables.main_retests["arm"] == "focal"][tables.score].mean()
    assert any(abs(float(number) - mean) < 1e-3 for number in re.findall(r"\d+\.\d+", text))


def test_an_svg_is_handed_out_unpacked_and_runs_nothing(
    page: playwright.Page, browser: playwright.Browser, tmp_path: Path
) -> None:
    with page.expect_download() as download:
        page.locator("#recall").get_by_role("button", name="Picture as SVG").click()
    assert download.value.suggested_filename == "recall.svg"
    download.value.save_as(tmp_path / "recall.svg")
    opened = browser.new_page()
    said: list[str] = []
    opened.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    opened.goto((tmp_path / "recall.svg").as_uri())
    assert opened.evaluate("document.documentElement.tagName") == "svg"
    assert opened.locator("use").count() > 100
    assert opened.locator("script, img").count() == 0
    assert said == []
    opened.close()


def test_the_contents_lead_to_every_section(page: playwright.Page) -> None:
    targets = page.locator("nav.contents a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert targets == [f"#{anchor}" for anchor in page.locator("h2").evaluate_all("titles => titles.map(t => t.id)")]
    page.locator("nav.contents a").last.click()
    assert page.locator(targets[-1]).evaluate("title => title.getBoundingClientRect().top < innerHeight")


def test_a_phone_scrolls_down_alone(page: playwright.Page) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_what_is_pressed_has_a_name_and_pictures_say_what_they_show(page: playwright.Page) -> None:
    assert page.locator("img:not([alt]), figure img[alt='']").count() == 0
    names = page.locator("button").evaluate_all("all => all.map(b => b.getAttribute('aria-label') || b.textContent)")
    assert all(name.strip() for name in names)
