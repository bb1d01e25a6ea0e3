"""Figures of an inspection: feature maps, first-layer filters, confusions, t-SNE of the features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from study.page.figures.base import BLACK, GREY, PALE, WIDTH, heat_map
from study.page.figures.labels import MAX_LABELLED_CLASSES, by_index, class_labels, plain
from trainables.probes.inspection import scaled_by_filter

MAX_MAPS = 64
MAX_PERPLEXITY = 30.0  # scikit-learn's default
MIN_TSNE_IMAGES = 5
SEED = 0
_SHAPES = "osD^v"  # repeats the colours; among twenty groups, colour and shape tell all apart
_MARGIN, _IMAGE, _HEADING = 0.1, 1.15, 0.36  # inches: the border, the image's side, the space above a layer's maps
_FILLED = 0.92  # share of a cell's side


@dataclass(frozen=True, kw_only=True)
class LayerMaps:
    """A layer's maps: float[n, h, w], the first of num_maps, each divided by its largest absolute value: -1 to 1.

    Maps of a single pixel, which would all be -1, 0 or 1, are divided by the largest of all maps.
    """

    layer: str
    num_maps: int
    maps: np.ndarray

    def title(self, grid: int) -> str:
        shown = len(self.maps)
        which = f"{shown} maps" if shown == self.num_maps else f"the first {shown} of {self.num_maps} maps"
        height, width = (side // grid for side in self.maps.shape[1:])
        scale = ", all on one scale" if self.maps[0].size == 1 else ""
        return f"{self.layer}: {which} of {height} × {width}{' a tile' if grid > 1 else ''}{scale}"


@dataclass(frozen=True, kw_only=True)
class FeatureMaps:
    """An image and its maps. image: uint8[H, W, C]; grid: tiles per side (1: not cut); notes: lines beside it."""

    title: str
    image: np.ndarray
    notes: tuple[str, ...]
    grid: int
    layers: tuple[LayerMaps, ...]


def feature_maps_data(
    *, title: str, image: np.ndarray, notes: Sequence[str], grid: int, outputs: dict[str, np.ndarray]
) -> FeatureMaps:
    """Scale the outputs: by layer, float[1, C, h, w], or float[grid², C, h, w] of tiles, which are joined."""
    layers = []
    for layer, output in outputs.items():
        tiles = output[:, :MAX_MAPS]
        height, width = tiles.shape[2:]
        rows = tiles.reshape(grid, grid, -1, height, width).transpose(2, 0, 3, 1, 4)
        maps = rows.reshape(-1, grid * height, grid * width)
        largest = np.abs(maps).max(axis=(1, 2) if maps[0].size > 1 else None, keepdims=True)
        maps = np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)
        layers.append(LayerMaps(layer=layer, num_maps=output.shape[1], maps=maps))
    return FeatureMaps(title=title, image=image, notes=tuple(notes), grid=grid, layers=tuple(layers))


def draw_feature_maps(data: FeatureMaps) -> Canvas:
    widths = [_num_columns(len(layer.maps)) for layer in data.layers]
    heights = [_mosaic_height(len(layer.maps), columns) for layer, columns in zip(data.layers, widths, strict=True)]
    total = _IMAGE + 0.35 + sum(height + _HEADING for height in heights)
    canvas = Canvas(figsize=(WIDTH, total))
    top = total - 0.1
    _draw_image(canvas.add_axes(_box(_MARGIN, top - _IMAGE, _IMAGE, _IMAGE, total)), data)
    lines = (*data.notes, "Each map has its own scale: red above 0, blue below, white 0; all white: no response.")
    _write(canvas, _IMAGE + 0.28, top - 0.02, total, data.title, weight="bold", size=10)
    for number, line in enumerate(lines):
        _write(canvas, _IMAGE + 0.28, top - 0.3 - 0.19 * number, total, line)
    top -= _IMAGE + 0.1
    for layer, columns, height in zip(data.layers, widths, heights, strict=True):
        _write(canvas, _MARGIN, top - 0.16, total, layer.title(data.grid), weight="bold")
        top -= height + _HEADING
        ax = canvas.add_axes(_box(_MARGIN, top, WIDTH - 2 * _MARGIN, height, total))
        _draw_mosaic(ax, layer.maps, columns, data.grid, cmap="RdBu_r", vmin=-1, vmax=1)
    return canvas


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Filters to draw: float[n, k, k, 3] or, in grey, float[n, k, k], from 0 to 1."""

    title: str
    note: str
    filters: np.ndarray


def filters_data(*, title: str, layer: str, weights: Tensor, has_grey_images: bool) -> Filters:
    """Scale the first MAX_MAPS of weights, float[n, C, k, k], in colour if C is 3, else in grey.

    If the images are grey, they are drawn in grey too, because only a filter's sum over its channels matters.
    """
    num_filters, channels, height, width = weights.shape
    is_colour = channels == 3 and not has_grey_images
    filters = scaled_by_filter(weights[:MAX_MAPS] if is_colour else weights[:MAX_MAPS].sum(dim=1, keepdim=True))
    which = str(num_filters) if len(filters) == num_filters else f"the first {len(filters)} of {num_filters}"
    note = "Each filter has its own scale, black to white"
    if is_colour:
        note = "Each filter has its own scale; red, green and blue are the channels of the image"
    elif channels > 1:
        note += f"; the sum over the {channels} channels"
        note += ", since the images are grey" if has_grey_images else ""
    return Filters(
        title=f"{title}: {which} filters of {layer}, {height} × {width} pixels",
        note=f"{note}.",
        filters=(filters.permute(0, 2, 3, 1) if is_colour else filters[:, 0]).numpy(),
    )


def draw_filters(data: Filters) -> Canvas:
    columns = _num_columns(len(data.filters))
    height = _mosaic_height(len(data.filters), columns)
    total = height + 0.68
    canvas = Canvas(figsize=(WIDTH, total))
    _write(canvas, _MARGIN, total - 0.1, total, data.title, weight="bold", size=10)
    _write(canvas, _MARGIN, total - 0.34, total, data.note)
    ax = canvas.add_axes(_box(_MARGIN, 0.1, WIDTH - 2 * _MARGIN, height, total))
    _draw_mosaic(ax, data.filters, columns, 1, cmap="gray", vmin=0, vmax=1)
    return canvas


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """A confusion matrix: float[C, C], % of the true class (rows sum to 100, rows without images are 0)."""

    title: str
    matrix: np.ndarray
    class_names: tuple[str, ...]


def confusion_data(*, title: str, counts: np.ndarray, class_names: Sequence[str]) -> Confusion:
    """The confusion matrix of counts, int[C, C], one row per true class."""
    of_class = counts.sum(axis=1, keepdims=True)
    matrix = np.divide(100.0 * counts, of_class, out=np.zeros(counts.shape), where=of_class > 0)
    return Confusion(title=title, matrix=matrix, class_names=tuple(class_names))


def draw_confusion(data: Confusion) -> Canvas:
    num_classes = len(data.class_names)
    names = class_labels(data.class_names, 16)
    canvas = Canvas(figsize=(WIDTH, 6.2), layout="constrained")
    ax = canvas.subplots()
    image = heat_map(ax, data.matrix, num_classes <= MAX_LABELLED_CLASSES, 8.5 if num_classes <= 12 else 6)
    ax.set_aspect("equal")
    ax.set_title(plain(data.title, 90), loc="left", fontweight="bold", fontsize=10)
    ax.set_xlabel(f"Predicted class{by_index(data.class_names)}")
    ax.set_ylabel(f"True class{by_index(data.class_names)}")
    if names is not None:
        slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        ax.set_xticks(range(num_classes), names, **(slanted if max(map(len, names)) > 4 else {}))
        ax.set_yticks(range(num_classes), names)
    bar = canvas.colorbar(image, ax=ax, label="Share of the true class (%)", pad=0.02, aspect=30, shrink=0.8)
    bar.outline.set_visible(False)
    return canvas


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """An embedding. points: float[n, 2]; groups: int[n], the colours; names: of the groups, None without a legend."""

    title: str
    note: str
    perplexity: float
    points: np.ndarray
    groups: np.ndarray
    names: tuple[str, ...] | None


def embedding_data(
    *,
    title: str,
    features: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    superclass_of: Sequence[int] | None,
    superclass_names: Sequence[str] | None,
) -> Embedding:
    """t-SNE (van der Maaten and Hinton 2008) of float[n, D] features, initialised with their principal components.

    Points are coloured by class; with more than MAX_LABELLED_CLASSES classes, by superclass if there are any. There is
    a legend for at most so many. The perplexity, about the number of neighbours of an image, is 30, or a third of the
    number of other images if that is smaller.
    Raises ValueError for fewer than MIN_TSNE_IMAGES images.
    """
    from sklearn.manifold import TSNE  # slow to import

    if len(features) < MIN_TSNE_IMAGES:
        raise ValueError(f"t-SNE needs at least {MIN_TSNE_IMAGES} images, got {len(features)}")
    perplexity = min(MAX_PERPLEXITY, (len(features) - 1) / 3)
    points = TSNE(init="pca", perplexity=perplexity, random_state=SEED).fit_transform(features.astype(np.float32))
    groups, names, by = labels, tuple(class_names), "class"
    if len(class_names) > MAX_LABELLED_CLASSES and superclass_of is not None and superclass_names is not None:
        groups, names, by = np.asarray(superclass_of)[labels], tuple(superclass_names), "superclass"
    return Embedding(
        title=title,
        note=f"Coloured by {by}; perplexity {perplexity:.3g}. Near is alike; how far apart groups lie means little.",
        perplexity=perplexity,
        points=points,
        groups=groups,
        names=names if len(names) <= MAX_LABELLED_CLASSES else None,
    )


def draw_embedding(data: Embedding) -> Canvas:
    # The height follows the points, with one scale for both axes.
    across, along = np.ptp(data.points, axis=0)
    canvas = Canvas(figsize=(WIDTH, 0.6 + min(max(6.0 * along / max(across, 1e-9), 3.0), 6.5)), layout="constrained")
    ax = canvas.subplots()
    size = 26 if len(data.points) <= 300 else 14 if len(data.points) <= 1500 else 7
    if data.names is None:
        ax.scatter(data.points[:, 0], data.points[:, 1], c=data.groups, cmap="hsv", s=size, linewidth=0, alpha=0.85)
    else:
        colours = mpl.color_sequences["tab10" if len(data.names) <= 10 else "tab20"]
        marks = [(colours[group], _SHAPES[group % len(_SHAPES)]) for group in range(len(data.names))]
        for group, (colour, shape) in enumerate(marks):
            points = data.points[data.groups == group]
            ax.scatter(points[:, 0], points[:, 1], color=colour, marker=shape, s=size, linewidth=0, alpha=0.85)
        handles = [
            Line2D([], [], linestyle="", color=colour, marker=shape, markersize=6, label=name)
            for name, (colour, shape) in zip(class_labels(data.names, 22) or data.names, marks, strict=True)
        ]
        canvas.legend(handles=handles, loc="outside right center", fontsize=9, labelspacing=0.7, handletextpad=0.3)
    ax.set_title(plain(data.title, 90), loc="left", fontweight="bold", fontsize=10, pad=22)
    ax.text(0, 1.015, data.note, transform=ax.transAxes, va="bottom", color=BLACK)
    ax.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    for spine in ax.spines.values():
        spine.set(visible=True, color=PALE)
    return canvas


def _num_columns(num_maps: int) -> int:
    return 8 if num_maps <= 32 else 16


def _mosaic_height(num_pictures: int, columns: int) -> float:
    return math.ceil(num_pictures / columns) * (WIDTH - 2 * _MARGIN) / columns


def _box(left: float, bottom: float, width: float, height: float, total: float) -> tuple[float, float, float, float]:
    """Convert an axes' place from inches to shares of the figure. total: the figure's height."""
    return left / WIDTH, bottom / total, width / WIDTH, height / total


def _write(canvas: Canvas, left: float, top: float, total: float, text: str, **options: Any) -> None:
    canvas.text(left / WIDTH, top / total, plain(text, 105), va="top", **options)


def _draw_image(ax: Axes, data: FeatureMaps) -> None:
    ax.imshow(data.image.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=True, color=PALE)
    side = data.image.shape[0] // data.grid
    first = (data.image.shape[0] - side * data.grid) // 2
    for seam in range(data.grid + 1) if data.grid > 1 else ():
        for line in (ax.axhline, ax.axvline):
            line(first + seam * side - 0.5, color="white", linewidth=1.2)


def _draw_mosaic(ax: Axes, pictures: np.ndarray, columns: int, grid: int, **options: Any) -> None:
    """Draw pictures, [n, h, w] or [n, h, w, 3], row by row in cells of one size. grid: tiles per side of each."""
    num_rows = math.ceil(len(pictures) / columns)
    height, width = pictures.shape[1:3]
    half_width, half_height = _FILLED / 2 * width / max(height, width), _FILLED / 2 * height / max(height, width)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        x, y = column + 0.5, num_rows - row - 0.5
        left, right, bottom, top = extent = (x - half_width, x + half_width, y - half_height, y + half_height)
        ax.imshow(picture, extent=extent, interpolation="nearest", **options)
        for seam in range(1, grid):
            share = 2 * seam / grid
            ax.hlines(bottom + share * half_height, left, right, color=GREY, linewidth=0.4)
            ax.vlines(left + share * half_width, bottom, top, color=GREY, linewidth=0.4)
        ax.add_patch(Rectangle((left, bottom), right - left, top - bottom, fill=False, edgecolor=PALE, linewidth=0.6))
    ax.set(xlim=(0, columns), ylim=(0, num_rows), aspect="equal", anchor="NW")
    ax.set_axis_off()
