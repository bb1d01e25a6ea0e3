"""The page: figures and tables of a run directory -> one self-contained report.html, PNGs embedded."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from study import analysis, answers, figures, figures_base, page_methods, page_tables, wording
from study.analysis import Tables
from study.figures_base import Figure
from study.number_text import typeset
from study.page_tables import Table
from trainables.files import write_durably


@dataclass(frozen=True, kw_only=True)
class PageFigure:
    """A drawn figure, or the reason why it is absent."""

    number: int | None
    name: str
    section: str
    title: str
    caption: str
    alt: str
    png: bytes | None
    absent: str

    @property
    def data_uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png or b"").decode("ascii")

    @property
    def width(self) -> int:
        """Pixels, from the PNG's header, so that the page does not jump while it loads."""
        return int.from_bytes((self.png or b"")[16:20], "big")

    @property
    def height(self) -> int:
        return int.from_bytes((self.png or b"")[20:24], "big")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page that only some tasks have; its figures, those of the same section, stand before its tables."""

    name: str
    title: str
    text: str
    tables: Callable[[Tables], Sequence[Table | None]]


GENERALISATION = Section(
    name="generalisation",
    title="Memorising or generalising",
    text="A recipe memorises where its training loss goes to zero while its test loss rises; it generalises where both "
    "fall together.",
    tables=lambda tables: [page_tables.hardest_table(tables), page_tables.confused_table(tables)],
)
OPTIMIZERS = Section(
    name="optimizers",
    title="Models and optimisers",
    text="The optimiser is a choice within each model's search, not an arm of its own: what follows was not retested.",
    tables=lambda tables: [page_tables.optimizers_table(tables)],
)
TAU = Section(
    name="tau",
    title="Logit adjustment after training",
    text="It costs no training: the logits of each arm's winner are shifted by −τ log π before the largest is taken, π "
    "the class shares of its training set (Menon et al. 2021, post hoc). An arm that adjusts its logits in the loss "
    "keeps that adjustment, and τ comes on top of it.",
    tables=lambda tables: [page_tables.tau_table(tables)],
)
PRETEXT = Section(
    name="pretext",
    title="The puzzles",
    text="Before the classifier is trained, a net learns to put shuffled tiles of the training images back in place. "
    "What it is worth as a start is judged above; what follows is how well it solves puzzles.",
    tables=page_tables.puzzle_tables,
)
# Sections between the results and the winning configurations, by task.
SECTIONS: Mapping[str, tuple[Section, ...]] = {
    "baseline": (OPTIMIZERS,),
    "imbalance": (TAU,),
    "cifar100": (GENERALISATION,),
    "jigsaw": (PRETEXT,),
}


def write_page(run_dir: Path) -> Path:
    """Draw every figure and write figures/*.png and report.html; a reader sees the old page or the new one.

    Raises ValueError, in one sentence, where run_dir is not a run directory.
    """
    tables = analysis.load_tables(run_dir)
    drawn = draw_figures(figures.figures_of(tables), tables, wording.words(tables))
    return write_files(run_dir, drawn, render_page(tables, drawn))


def write_files(run_dir: Path, drawn: Sequence[PageFigure], html: str) -> Path:
    """Write figures/*.png and report.html durably, and take away the figures that no longer apply."""
    (run_dir / "figures").mkdir(exist_ok=True)
    for figure in drawn:
        path = run_dir / "figures" / f"{figure.name}.png"
        if figure.png is None:
            path.unlink(missing_ok=True)  # of an earlier state of the run
        else:
            write_durably(path, figure.png)
    path = run_dir / "report.html"
    write_durably(path, html.encode("utf-8"))
    return path


def draw_figures(declared: Sequence[Figure], tables: Any, words: Mapping[str, str]) -> list[PageFigure]:
    """Draw each figure from the tables; words: what its title and its captions may name."""
    drawn: list[PageFigure] = []
    number = 0
    for figure in declared:
        data = figure.data(tables)
        number += data is not None
        drawn.append(
            PageFigure(
                number=number if data is not None else None,
                name=figure.name,
                section=figure.section,
                title=figure.title.format(**words),
                caption=figure.caption.format(**words),
                alt=figure.alt(data) if data is not None else "",
                png=figures_base.render(figure, data) if data is not None else None,
                absent=figure.absent.format(**words),
            )
        )
    return drawn


def render_page(tables: Tables, drawn: Sequence[PageFigure]) -> str:
    summary = tables.summary
    return render_template(
        "report.html.j2",
        drawn,
        title=wording.of(summary).title,
        name=summary["name"],
        headlines=answers.headlines(tables),
        remarks=answers.remarks(tables),
        data_sentence=answers.data_sentence(summary),
        state_sentence=answers.state_sentence(summary),
        resume_command=summary.get("resume_command") if summary["state"] != "complete" else None,
        transfer_table=page_tables.transfer_table(tables) if tables.task == "jigsaw" else None,
        arms_table=page_tables.arms_table(tables),
        not_retested=page_tables.not_retested(tables),
        descriptions=page_tables.descriptions(summary),
        sections=[
            {"section": section, "tables": [table for table in section.tables(tables) if table is not None]}
            for section in SECTIONS[tables.task]
        ],
        winners=page_tables.winner_commands(tables),
        winners_table=page_tables.winners_table(tables),
        budget_warning=page_tables.budget_warning(tables),
        budget_sentences=page_tables.budget_sentences(tables),
        budget_table=page_tables.budget_table(tables),
        failures_table=page_tables.failures_table(tables),
        methods=page_methods.methods(tables),
        facts=page_methods.facts(tables),
    )


def render_template(name: str, drawn: Sequence[PageFigure], /, **content: Any) -> str:
    """Fill a page's template, which finds the figures by their section."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("study", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = typeset
    environment.filters["command_parts"] = command_parts
    by_section: dict[str, list[PageFigure]] = {}
    for figure in drawn:
        by_section.setdefault(figure.section, []).append(figure)
    return environment.get_template(name).render(figures=by_section, **content)


def command_parts(command: str) -> list[str]:
    """A command cut before each --option, so that lines break there; joined by spaces it is itself again."""
    return re.split(r" (?=--)", command)
