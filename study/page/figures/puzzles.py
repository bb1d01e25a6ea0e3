"""Figures of the pretext: puzzles before, shuffled and solved, Sinkhorn matrices, and the trials' curves."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import matplotlib.image
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from study.analysis import puzzles
from study.analysis.puzzles import PUZZLE_METRICS
from study.analysis.tables import Tables, row_tuples
from study.page.figures.base import BLACK, VERMILLION, WIDTH, Figure, heat_map, legend, set_title
from study.page.figures.tuning import Curves, curve_panel, curves, draw_curves
from study.tasks.jigsaw import PRETEXT

_NUM_COLUMNS = 2  # puzzles side by side


@dataclass(frozen=True, kw_only=True)
class Puzzle:
    """A puzzle and its solution. tiles: [n, s, s, channels] or [n, s, s], 0-1, in their true places.

    permutation[i]: the tile at place i of the shuffled puzzle; predicted[i]: the true place that the net gives to that
    tile; sinkhorn: [n, n], whose row i is about that tile.
    """

    number: int
    grid: int
    tiles: np.ndarray
    permutation: np.ndarray
    predicted: np.ndarray
    sinkhorn: np.ndarray

    @property
    def shuffled(self) -> np.ndarray:
        """The tiles in shuffled order, as the net saw them."""
        return self.tiles[self.permutation]

    @property
    def solved(self) -> np.ndarray:
        """The tiles where the net puts them."""
        placed = np.empty_like(self.tiles)
        placed[self.predicted] = self.shuffled
        return placed

    @property
    def wrong_places(self) -> list[int]:
        """The places of the solution that hold a wrong tile."""
        return sorted(int(place) for place in self.predicted[self.predicted != self.permutation])


def puzzles_data(tables: Tables) -> list[Puzzle] | None:
    if tables.puzzles is None or tables.puzzles.empty:
        return None
    return [_puzzle(row) for row in row_tuples(tables.puzzles.sort_values("number"))]


def _puzzle(row: Any) -> Puzzle:
    image = matplotlib.image.imread(io.BytesIO(row.image_png), format="png")
    grid = int(row.grid)
    return Puzzle(
        number=int(row.number),
        grid=grid,
        tiles=cut(image, grid),
        permutation=np.array(row.permutation, dtype=int),
        predicted=np.array(row.predicted, dtype=int),
        sinkhorn=np.array([list(scores) for scores in row.sinkhorn], dtype=float),
    )


def cut(image: np.ndarray, grid: int) -> np.ndarray:
    """Cut [H, W, ...] into [grid², s, s, ...], s = H // grid, row by row, from the centred window of (s · grid)²."""
    side = image.shape[0] // grid
    top = (image.shape[0] - side * grid) // 2
    window = image[top : top + side * grid, top : top + side * grid]
    rows = window.reshape(grid, side, grid, side, *image.shape[2:])
    return rows.swapaxes(1, 2).reshape(grid * grid, side, side, *image.shape[2:])


def joined(tiles: np.ndarray, grid: int) -> np.ndarray:
    """Join tiles to an image, the inverse of cut."""
    side = tiles.shape[1]
    rows = tiles.reshape(grid, grid, side, side, *tiles.shape[3:]).swapaxes(1, 2)
    return rows.reshape(grid * side, grid * side, *tiles.shape[3:])


def draw_puzzles(data: list[Puzzle]) -> Canvas:
    num_rows = -(-len(data) // _NUM_COLUMNS)
    canvas = Canvas(figsize=(WIDTH, 1.14 * num_rows + 0.3), layout="constrained")
    # A narrow empty column keeps the puzzles of a row apart.
    widths = [1, 1, 1, 0.25] * _NUM_COLUMNS
    axes = canvas.subplots(num_rows, len(widths) - 1, squeeze=False, width_ratios=widths[:-1])
    for ax in axes.flat:
        ax.set_axis_off()
    for position, puzzle in enumerate(data):
        row, first = position // _NUM_COLUMNS, 4 * (position % _NUM_COLUMNS)
        stages = ((puzzle.tiles, "before"), (puzzle.shuffled, "shuffled"), (puzzle.solved, "solved"))
        for ax, (tiles, title) in zip(axes[row, first : first + 3], stages, strict=True):
            ax.imshow(joined(tiles, puzzle.grid), cmap="gray", interpolation="nearest")
            if row == 0:
                ax.set_title(title, fontsize=8.5)
        _outline(axes[row, first + 2], puzzle)
        _draw_seams(axes[row, first + 1], puzzle)
    return canvas


def _draw_seams(ax: Axes, puzzle: Puzzle) -> None:
    side = puzzle.tiles.shape[1]
    for seam in range(1, puzzle.grid):
        ax.axhline(seam * side - 0.5, color="white", linewidth=1.2)
        ax.axvline(seam * side - 0.5, color="white", linewidth=1.2)


def _outline(ax: Axes, puzzle: Puzzle) -> None:
    side = puzzle.tiles.shape[1]
    for place in puzzle.wrong_places:
        row, column = divmod(place, puzzle.grid)
        corner = (column * side - 0.5, row * side - 0.5)
        ax.add_patch(
            Rectangle(corner, side, side, fill=False, edgecolor=VERMILLION, linewidth=2.2, clip_on=False, zorder=3)
        )


def sinkhorn_data(tables: Tables) -> list[Puzzle] | None:
    """The first puzzle that was solved and the first that was not, if they exist."""
    if tables.puzzles is None or tables.puzzles.empty:
        return None
    ordered = tables.puzzles.sort_values("number")
    is_solved = np.array([list(row.predicted) == list(row.permutation) for row in row_tuples(ordered)])
    firsts = [ordered[mask].head(1) for mask in (is_solved, ~is_solved)]
    return [_puzzle(row) for frame in firsts for row in row_tuples(frame)]


def draw_sinkhorn(data: list[Puzzle]) -> Canvas:
    canvas = Canvas(figsize=(WIDTH, 3.9), layout="constrained")
    axes = list(canvas.subplots(1, 2, squeeze=False).flat)
    for ax in axes[len(data) :]:
        ax.remove()
    image: Any = None
    for ax, puzzle in zip(axes, data, strict=False):
        num_tiles = len(puzzle.permutation)
        image = heat_map(ax, 100 * puzzle.sinkhorn, True)
        ax.set_aspect("equal")
        for row, (true, given) in enumerate(zip(puzzle.permutation, puzzle.predicted, strict=True)):
            ax.add_patch(Rectangle((true - 0.46, row - 0.46), 0.92, 0.92, zorder=4, **_TRUE_PLACE))
            ax.plot(given + 0.32, row - 0.32, **_GIVEN_PLACE)
        labels = [str(number + 1) for number in range(num_tiles)]
        ax.set_xticks(range(num_tiles), labels)
        ax.set_yticks(range(num_tiles), labels)
        ax.set_xlabel("True place")
        outcome = "solved" if not puzzle.wrong_places else "not solved"
        set_title(ax, f"Test puzzle {puzzle.number}, {outcome}")
    axes[0].set_ylabel("Place in the shuffled puzzle")
    legend(canvas, [Patch(label="true place", **_TRUE_PLACE), Line2D([], [], label="place given", **_GIVEN_PLACE)])
    bar = canvas.colorbar(image, ax=axes[: len(data)], label="Sinkhorn matrix (%)", aspect=18, fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    return canvas


# Visible on pale and on dark cells.
_TRUE_PLACE: dict[str, Any] = {"fill": False, "edgecolor": VERMILLION, "linewidth": 2.2}
_GIVEN_PLACE: dict[str, Any] = {
    "marker": "o", "linestyle": "", "color": BLACK, "markersize": 6, "markeredgecolor": "white", "zorder": 5,
}  # fmt: skip
# Metric -> its words in the titles of panels.
_CURVE_TITLES = {"exact_accuracy": "puzzles solved exactly", "tile_accuracy": "tiles in place"}


def pretext_curves_data(tables: Tables) -> Curves | None:
    found = [
        curve_panel(
            tables, PRETEXT, arm, f"val_{metric.name}",
            title=f"{arm}: {_CURVE_TITLES[metric.name]}", chance=metric.chance(puzzles.num_tiles(tables, arm)),
        )
        for arm in puzzles.pretext_arms(tables)
        for metric in PUZZLE_METRICS
        if metric.name in _CURVE_TITLES
    ]  # fmt: skip
    return curves(found, ylabel="Validation (%)", num_columns=len(_CURVE_TITLES))


PUZZLES = Figure(
    name="puzzles",
    section="pretext",
    title="Puzzles before, shuffled and solved",
    caption="Puzzles evenly spaced over the test split, none picked, solved by the puzzle net of the first retest "
    "seed, tiles placed by optimal assignment. Outlined: tiles put in a wrong place. Tiles are shown whole, also where "
    "a gap kept their edges from the net.",
    alt=lambda data: (
        f"{len(data)} test puzzles: the image, its tiles shuffled, and the net's solution, of which "
        f"{sum(not puzzle.wrong_places for puzzle in data)} are right."
    ),
    absent="the puzzle net has not been retested",
    data=puzzles_data,
    draw=draw_puzzles,
)
SINKHORN = Figure(
    name="sinkhorn",
    section="pretext",
    title="What the puzzle net is sure of: Sinkhorn matrices",
    caption="Rows sum to 100 %, columns nearly. Row i says where the tile at place i of the shuffled puzzle belongs; "
    "places are numbered row by row from the top left. Of the puzzles above, the first that was solved and the first "
    "that was not, where there is one.",
    alt=lambda data: (
        "Heat maps of Sinkhorn matrices: "
        + "; ".join(
            f"puzzle {puzzle.number}, true places {', '.join(str(place + 1) for place in puzzle.permutation)}, "
            f"given {', '.join(str(place + 1) for place in puzzle.predicted)}"
            for puzzle in data
        )
        + "."
    ),
    absent="the puzzle net has not been retested",
    data=sinkhorn_data,
    draw=draw_sinkhorn,
)
PRETEXT_CURVES = Figure(
    name="pretext_curves",
    section="pretext",
    title="Learning to solve puzzles",
    caption="One line a trial of the pretext, on validation puzzles, tiles placed by optimal assignment. × marks where "
    "early stopping ended one, vertical lines the rungs. Chance: 1/n! of puzzles and 1/n of tiles, n the tiles of "
    "a puzzle.",
    alt=lambda data: f"Validation of the pretext's trials over epochs: {', '.join(p.title for p in data.panels)}.",
    absent="no trial of the pretext has finished an epoch",
    data=pretext_curves_data,
    draw=draw_curves,
)
