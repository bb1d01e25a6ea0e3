"""Rendering: figures and tables of a run directory -> one self-contained report.html that holds its pictures."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from study.analysis.tables import Tables, load_tables
from study.page import answers, cautions, class_tables, drops
from study.page import methods as page_methods
from study.page import tables as page_tables
from study.page.audit import audit_section
from study.page.drawing import rendered
from study.page.figures.base import Figure
from study.page.figures.classes import OF_CLASSES
from study.page.figures.numbers import figure_numbers
from study.page.frame import POLICY_MARK, with_contents, with_policy
from study.page.luck import luck_section
from study.page.task import TaskPage
from study.page.text import typeset
from study.page.trials import trials_table
from study.page.worth import worth_section
from trainables.common.files import write_durably

TEMPLATES = jinja2.PackageLoader("study.page", "templates")


@dataclass(frozen=True, kw_only=True)
class PageFigure:
    """A drawn figure, or the reason why it is absent; '' if the page need not mention it."""

    number: int | None
    name: str
    section: str
    title: str
    caption: str
    alt: str
    png: bytes | None
    absent: str
    svg: bytes | None = None
    """See base.Picture."""
    numbers: str | None = None
    """As CSV; None if they are too many for a page."""

    @property
    def data_uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png or b"").decode("ascii")

    @property
    def svg_text(self) -> str:
        """The compressed SVG as text, which page.js unpacks."""
        return base64.b64encode(self.svg or b"").decode("ascii")

    @property
    def width(self) -> int:
        """The width in pixels, from the PNG's header, so that the page does not jump while it loads."""
        return int.from_bytes((self.png or b"")[16:20], "big")

    @property
    def height(self) -> int:
        return int.from_bytes((self.png or b"")[20:24], "big")


def write_page(run_dir: Path, page: TaskPage) -> Path:
    """Draw every figure and write figures/*.png and report.html; a reader sees the old page or the new one.

    Raises ValueError, in one sentence, if run_dir is not a run directory.
    """
    return write_page_of_tables(run_dir, page, load_tables(run_dir))


def write_page_of_tables(run_dir: Path, page: TaskPage, tables: Tables, *, num_processes: int = 1) -> Path:
    """Write the page of tables that have been read already. See write_page and draw_figures."""
    drawn = draw_figures(page.figures, tables, page.words(tables), num_processes=num_processes)
    return write_files(run_dir, drawn, render_page(page, tables, drawn))


def write_files(run_dir: Path, drawn: Sequence[PageFigure], html: str) -> Path:
    """Write figures/*.png and report.html durably, and delete figures that no longer apply."""
    (run_dir / "figures").mkdir(exist_ok=True)
    for figure in drawn:
        path = run_dir / "figures" / f"{figure.name}.png"
        if figure.png is None:
            path.unlink(missing_ok=True)  # drawn at an earlier state of the run
        else:
            write_durably(path, figure.png)
    path = run_dir / "report.html"
    write_durably(path, html.encode("utf-8", errors="backslashreplace"))
    return path


def draw_figures(
    declared: Sequence[Figure], tables: Any, words: Mapping[str, str], *, num_processes: int = 1
) -> list[PageFigure]:
    """Draw each figure from the tables. words: the values of the {names} in titles and captions.

    num_processes: see drawing.rendered.
    """
    applying = {figure.name: figure for figure in declared if figure.applies(tables)}
    found: dict[str, Any] = {}

    def to_draw() -> Iterator[tuple[Figure, Any]]:
        for figure in applying.values():
            if (data := figure.data(tables)) is not None:
                found[figure.name] = data
                yield figure, data

    drawings = list(rendered(to_draw(), num_processes))
    numbers = {name: number for number, name in enumerate(found, start=1)}
    pictures = dict(zip(found, drawings, strict=True))
    drawn: list[PageFigure] = []
    for figure in declared:
        data, picture = found.get(figure.name), pictures.get(figure.name)
        drawn.append(
            PageFigure(
                number=numbers.get(figure.name),
                name=figure.name,
                section=figure.section,
                title=figure.title.format(**words),
                caption=figure.caption.format(**words),
                alt=figure.alt(data) if data is not None else "",
                png=picture.png if picture else None,
                svg=picture.svg if picture else None,
                absent=figure.absent.format(**words) if figure.name in applying else "",
                numbers=figure_numbers(data) if data is not None else None,
            )
        )
    return drawn


def render_page(page: TaskPage, tables: Tables, drawn: Sequence[PageFigure]) -> str:
    summary = tables.summary
    return render_template(
        "report.html.j2",
        drawn,
        title=page.title,
        name=summary["name"],
        headlines=answers.headlines(page, tables),
        remarks=answers.remarks(page, tables),
        data_sentences=answers.data_sentences(page, summary),
        state_sentence=answers.state_sentence(summary["state"]),
        resume_command=summary.get("resume_command") if summary["state"] != "complete" else None,
        first_table=page.first_table(tables),
        arms_table=page_tables.arms_table(page, tables),
        class_key=class_tables.key_table(tables)
        if any(figure.png and figure.name in OF_CLASSES for figure in drawn)
        else None,
        not_retested=page_tables.not_retested(tables),
        descriptions=page_tables.descriptions(summary),
        sections=_sections(page, tables, drawn),
        winners=page_tables.winner_commands(tables),
        winners_table=page_tables.winners_table(tables),
        edges_table=cautions.edges_table(tables),
        edges_unknown=cautions.edges_unknown(tables),
        drop_table=drops.drop_table(tables),
        drop_sentence=drops.drop_sentence(tables),
        importance_table=page_tables.importance_table(tables),
        audit=audit_section(tables),
        worth=worth_section(page, tables),
        luck=luck_section(page, tables),
        budget_warning=page_tables.budget_warning(tables),
        budget_sentences=page_tables.budget_sentences(tables),
        budget_table=page_tables.budget_table(tables),
        trials_table=trials_table(tables),
        pareto_table=page_tables.pareto_table(tables),
        knees_table=page_tables.knees_table(tables),
        failures_table=page_tables.failures_table(tables),
        methods=page_methods.methods(page, tables),
        facts=page_methods.facts(tables),
    )


def _sections(page: TaskPage, tables: Tables, drawn: Sequence[PageFigure]) -> list[dict[str, Any]]:
    """The task's own sections with their tables, but for those that have nothing to show and nothing to excuse."""
    found = []
    for section in page.sections:
        own = [table for table in section.tables(tables) if table is not None]
        figures = [figure for figure in drawn if figure.section == section.name]
        is_filled = bool(own) or any(figure.png for figure in figures)
        if is_filled or any(figure.absent for figure in figures):
            found.append({"section": section, "tables": own, "text": section.text if is_filled else ""})
    return found


def render_template(name: str, drawn: Sequence[PageFigure], /, **content: Any) -> str:
    """Fill in a page's template, which gets the figures by section."""
    by_section: dict[str, list[PageFigure]] = {}
    for figure in drawn:
        by_section.setdefault(figure.section, []).append(figure)
    script, *_ = TEMPLATES.get_source(_environment(), "page.js")
    html = _environment().get_template(name).render(figures=by_section, script=script, policy=POLICY_MARK, **content)
    return with_policy(with_contents(html))


@functools.cache
def _environment() -> jinja2.Environment:
    """What fills in templates, each of which it compiles once."""
    environment = jinja2.Environment(
        loader=TEMPLATES,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = typeset
    environment.filters["command_parts"] = command_parts
    return environment


def command_parts(command: str) -> list[str]:
    """Split a command before each --option, where lines may break. Joined by spaces, the parts are the command."""
    return re.split(r" (?=--)", command)
