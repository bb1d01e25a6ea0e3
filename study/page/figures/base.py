"""The base of all figures: their declaration, the style, small multiples, legends, heat maps."""

from __future__ import annotations

import contextlib
import io
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from study.analysis import results
from study.analysis.tables import Tables
from study.page.figures.labels import font_names, plain

DPI = 200
WIDTH = 7.2  # inches; shown about 900 px wide, so that 9 pt looks like 16 px
TITLE_SIZE, LEAST_TITLE_SIZE = 8.5, 6.5  # points
TITLE_EM = 0.65  # the mean width of a bold letter over its size
TITLE_SHARE = 0.85  # of a column's width, the panel's own
# Okabe and Ito's palette. Colour shows a role, never a name (14 arms would need 14 colours); shape repeats it.
BLACK, BLUE, SKY, ORANGE, VERMILLION = "#222222", "#0072B2", "#56B4E9", "#E69F00", "#D55E00"
GREY, PALE = "#8A8A8A", "#D5D5D5"
ROLE_COLORS = {"control": BLACK, "best": VERMILLION, "other": BLUE, "unpaired": ORANGE}
ROLE_MARKERS = {"control": "s", "best": "D", "other": "o", "unpaired": "^"}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.linewidth": 0.7,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "axes.grid": True,
    "grid.color": "#E8E8E8",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",  # letters as outlines, the same where the font is not installed
    "svg.hashsalt": "figure",  # else ids are drawn at random
}
MOST_SVG_CHARACTERS = 250_000
"""Of one figure; thousands of marks are longer, would swell a page, and are as good in pixels."""
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML file may hold, and what a name from outside may."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A plot. data: the numbers, or None if the tables hold none for it; draw(those) computes nothing.

    title, caption and absent may contain names from TaskPage.words, such as {score}. section: its place on the page.
    applies: whether a reader of such a run would look for it; the page does not mention one that does not apply.
    """

    name: str
    section: str
    title: str
    caption: str
    alt: Callable[[Any], str]
    absent: str  # the reason that is shown if data gives None
    data: Callable[[Any], Any]  # takes the Tables of a study, or a Reproduction
    draw: Callable[[Any], Canvas]
    applies: Callable[[Any], bool] = lambda tables: True


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawn figure. svg: compressed by zlib; None if it has more than MOST_SVG_CHARACTERS."""

    png: bytes
    svg: bytes | None


def render(figure: Figure, data: Any) -> Picture:
    """Render the figure of these data."""
    with _laid_out(figure.draw, data) as canvas:
        return Picture(png=_png(canvas), svg=_svg(canvas, title=figure.alt(data)))


def png(draw: Callable[[Any], Canvas], data: Any) -> bytes:
    """Render draw(data) as PNG bytes in the common style; the same data give the same bytes."""
    with _laid_out(draw, data) as canvas:
        return _png(canvas)


@contextlib.contextmanager
def _laid_out(draw: Callable[[Any], Canvas], data: Any) -> Iterator[Canvas]:
    """draw(data) with its layout made, in the common style, which what it is written with needs too."""
    with mpl.rc_context({**STYLE, "font.family": list(font_names())}):
        figure = draw(data)
        figure.dpi = DPI
        FigureCanvasAgg(figure)  # by which the layout measures
        # What savefig does, but for its drawing of all that the layout has measured, which is a tenth of the time.
        if (engine := figure.get_layout_engine()) is not None:
            engine.execute(figure)
            figure.set_layout_engine("none")
        yield figure


def _png(figure: Canvas) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _svg(figure: Canvas, title: str) -> bytes | None:
    """See Picture. title: what a screen reader says of the file."""
    written = _Bounded()
    try:
        FigureCanvasSVG(figure).print_svg(written, metadata={"Title": title, "Creator": None, "Date": None})
    except _TooLongError:
        return None
    return zlib.compress(_NOT_IN_XML.sub("?", written.getvalue()).encode(), 9)


class _TooLongError(Exception):
    """More than MOST_SVG_CHARACTERS were written."""


class _Bounded(io.StringIO):
    """Ends the drawing of a long SVG at once, which would take as long as all others."""

    def write(self, text: str) -> int:
        if self.tell() + len(text) > MOST_SVG_CHARACTERS:
            raise _TooLongError
        return super().write(text)


def panels(num_panels: int, num_columns: int, panel_height: float, **options: Any) -> tuple[Canvas, list[Axes]]:
    """A canvas of small multiples in at most so many columns, and its axes. options: those of plt.subplots."""
    num_columns = min(num_columns, num_panels)
    num_rows = math.ceil(num_panels / num_columns)
    canvas = Canvas(figsize=(WIDTH, panel_height * num_rows + 0.85), layout="constrained")
    axes = list(canvas.subplots(num_rows, num_columns, squeeze=False, **options).flat)
    for position, ax in enumerate(axes[:num_panels]):
        if options.get("sharex") and position + num_columns >= num_panels:
            ax.tick_params(labelbottom=True)
    for ax in axes[num_panels:]:
        ax.remove()
    return canvas, axes[:num_panels]


def legend(canvas: Canvas, handles: Sequence[Any]) -> None:
    canvas.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 5), columnspacing=1.6)


def roles(tables: Tables) -> dict[str, str]:
    """Arm -> its role: control, best (of its group) or other."""
    found = dict.fromkeys(tables.arms, "other")
    for group in tables.groups:
        found.update(dict.fromkeys(results.ranked(tables, group)[:1], "best"))
        if group.control in found:
            found[str(group.control)] = "control"
    return found


def set_title(ax: Axes, text: str) -> None:
    """Set a panel's heading: smaller where the panel is narrow, and cut where that does not help."""
    spec = ax.get_subplotspec()
    room = 72 * WIDTH * TITLE_SHARE / (1 if spec is None else spec.get_gridspec().ncols)  # points
    text = plain(text, int(room / (TITLE_EM * LEAST_TITLE_SIZE)))
    size = min(TITLE_SIZE, room / (TITLE_EM * max(1, len(text))))
    ax.set_title(text, loc="left", fontweight="bold", fontsize=size)


def set_epoch_axis(ax: Axes) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def set_log_ticks(axis: Axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis from low to high: two at least, and no minor ones."""
    subs = (1.0,) if high / low > 30 else (1.0, 3.0) if high / low > 8 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_locator(NullLocator())  # dozens a panel would take most of the time of drawing


def short(value: float) -> str:
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e5):
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    return f"{value:g}"


def heat_map(ax: Axes, values: np.ndarray, has_numbers: bool, font_size: float = 7.5) -> Any:
    image = ax.imshow(values, cmap="Blues", vmin=0, vmax=100, aspect="auto", interpolation="nearest")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if has_numbers:
        for (row, column), value in np.ndenumerate(values):
            ink = "white" if value > 55 else BLACK
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=font_size, color=ink)
    return image
