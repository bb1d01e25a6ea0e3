"""Jigsaw puzzles: cutting and shuffling tiles, the Sinkhorn operator, losses, decoding and metrics; tensors only.

A puzzle is a permutation of an image's n = grid² tiles, numbered row by row: position i of the puzzle shows tile
permutations[b, i], so the permutation matrix P has P[b, i, permutations[b, i]] = 1. Rows are positions in the
puzzle, columns are true places. Y, the Sinkhorn operator's output, is the network's estimate of P. All tensors of a
call are on one device; random numbers are drawn on the CPU and then moved.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

# Upper bound of log Y where 1 - Y is needed: closer to 0, float32 has no digits left, and log 0 is infinite.
MAX_LOG_Y = -1e-6


def random_permutations(num_puzzles: int, num_tiles: int, generator: torch.Generator) -> Tensor:
    """Uniform, independent permutations: int64[num_puzzles, num_tiles] on the CPU. generator: on the CPU."""
    return torch.rand(num_puzzles, num_tiles, generator=generator).argsort(dim=1)


@cache
def all_permutations(num_tiles: int) -> Tensor:
    """All permutations in lexicographic order: int64[num_tiles!, num_tiles] on the CPU; 9 tiles have 362,880."""
    return torch.tensor(list(itertools.permutations(range(num_tiles))))


def cut_tiles(images: Tensor, *, grid: int, gap: int, generator: torch.Generator | None) -> Tensor:
    """Cut each square image into grid² tiles, row by row: [B, grid², C, s, s] with s = H // grid.

    images: floating [B, C, H, H]. If grid does not divide H, a window of (s · grid)² pixels is used, at a random
    position with a generator (on the CPU), else centred. With gap > 0 each tile is a crop of its cell of s - gap
    pixels a side, again random or centred, surrounded by zeros, so that neighbouring edges do not give the place away
    (Noroozi and Favaro 2016, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles").
    Raises ValueError if grid is below 2 or above H, or gap outside [0, s).
    """
    size = images.shape[-1]
    if not 2 <= grid <= size:
        raise ValueError(f"grid must be in [2, {size}] for images of {size} pixels a side, got {grid}")
    side = size // grid
    if not 0 <= gap < side:
        raise ValueError(f"gap must be in [0, {side}) for tiles of {side} pixels a side, got {gap}")
    window = _crops(images, side * grid, generator)
    cells = window.unflatten(3, (grid, side)).unflatten(2, (grid, side))  # [B, C, row, s, column, s]
    tiles = cells.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    if gap == 0:
        return tiles
    cropped = _crops(tiles.flatten(0, 1), side - gap, generator)
    before, after = gap // 2, gap - gap // 2
    return F.pad(cropped, (before, after, before, after)).unflatten(0, tiles.shape[:2])


def _crops(images: Tensor, size: int, generator: torch.Generator | None) -> Tensor:
    """Crop each image to size² pixels, at random or centred: [B, C, size, size]. images: [B, C, H, H]."""
    slack = images.shape[-1] - size
    if slack == 0:
        return images
    shape = (len(images), 2)
    if generator is None:
        offsets = torch.full(shape, slack // 2)
    else:
        offsets = torch.randint(slack + 1, shape, generator=generator)
    pixels = (offsets[:, :, None] + torch.arange(size)).to(images.device, non_blocking=True)
    rows, columns = pixels.unbind(dim=1)
    numbers = torch.arange(len(images), device=images.device)
    crops = images[numbers[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # [B, size, size, C]
    return crops.permute(0, 3, 1, 2)


def shuffle_tiles(tiles: Tensor, permutations: Tensor) -> Tensor:
    """puzzle[b, i] = tiles[b, permutations[b, i]]; permutations.argsort(dim=1) undoes it.

    tiles: [B, n, ...]; permutations: int64[B, n]; returns the shape of tiles.
    """
    return tiles[torch.arange(len(tiles), device=tiles.device)[:, None], permutations]


def log_sinkhorn(scores: Tensor, *, temperature: float, num_iterations: int) -> Tensor:
    """log Y, Y nearly doubly stochastic: exp(scores / temperature), columns and rows normalised in turn.

    Mena et al. 2018, "Learning Latent Permutations with Gumbel-Sinkhorn Networks", eq. 2, in log space.
    scores: floating [B, n, n]; returns float32[B, n, n], also under autocast. Raises ValueError if temperature is not
    above 0 or num_iterations below 1.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if num_iterations < 1:
        raise ValueError(f"num_iterations must be at least 1, got {num_iterations}")
    log_y = scores.float() / temperature
    for _ in range(num_iterations):
        log_y = log_y - log_y.logsumexp(dim=1, keepdim=True)
        # Rows last, so that each is exactly a distribution over true places, and row_nll a cross-entropy.
        log_y = log_y - log_y.logsumexp(dim=2, keepdim=True)
    return log_y


def bce_loss(log_y: Tensor, permutations: Tensor) -> Tensor:
    """Mean binary cross-entropy of Y's n² entries against the permutation matrix, in nats: the source's loss.

    It is computed from log Y, because an entry that rounds to 0 or 1 as Y would lose its gradient.
    log_y: float32[B, n, n]; permutations: int64[B, n]; returns a 0-dim tensor.
    """
    is_true = F.one_hot(permutations, log_y.shape[2]).bool()
    log_not_y = (-log_y.clamp(max=MAX_LOG_Y).expm1()).log()
    return -torch.where(is_true, log_y, log_not_y).mean()


def row_nll(log_y: Tensor, permutations: Tensor) -> Tensor:
    """Mean of -log Y at the true places, in nats; log n if Y is uniform.

    log_y: float32[B, n, n]; permutations: int64[B, n]; returns a 0-dim tensor.
    """
    return -_at_true_places(log_y, permutations).mean()


PUZZLE_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"bce": bce_loss, "row_nll": row_nll}
"""puzzle_loss -> (log_y float32[B, n, n], permutations int64[B, n]) -> 0-dim loss."""


def assign(log_y: Tensor) -> Tensor:
    """The permutation that maximises Π_i Y[i, permutation[i]], one tile per place: int64[B, n].

    log_y: floating [B, n, n].
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and wanted for puzzles alone

    # NaN counts as 0: a diverged network solves puzzles by chance, which is a result, whereas scipy would raise.
    matrices = log_y.detach().double().nan_to_num(nan=0.0).cpu().numpy()
    places = [linear_sum_assignment(matrix, maximize=True)[1] for matrix in matrices]
    return torch.from_numpy(np.array(places, dtype=np.int64).reshape(log_y.shape[:2])).to(log_y.device)


def puzzle_metrics(log_y: Tensor, permutations: Tensor) -> dict[str, float]:
    """Metrics of solved puzzles, each 0-1, computed in float64.

    exact_accuracy and tile_accuracy: share of puzzles and of tiles that `assign` puts right; *_argmax: the same by each
    row's largest entry; invalid_argmax: share of puzzles in which those entries use a place twice; confidence: mean of
    Y at the true places. log_y: floating [B, n, n], B at least 1; permutations: int64[B, n].
    """
    argmax = log_y.argmax(dim=2)
    used = argmax.sort(dim=1).values
    shares = {
        **_accuracies(assign(log_y) == permutations, suffix=""),
        **_accuracies(argmax == permutations, suffix="_argmax"),
        "confidence": _at_true_places(log_y.detach().double().exp(), permutations),
        "invalid_argmax": (used[:, 1:] == used[:, :-1]).any(dim=1),
    }
    return {name: share.double().mean().item() for name, share in shares.items()}


def _accuracies(is_right: Tensor, *, suffix: str) -> dict[str, Tensor]:
    return {f"exact_accuracy{suffix}": is_right.all(dim=1), f"tile_accuracy{suffix}": is_right}


def _at_true_places(matrices: Tensor, permutations: Tensor) -> Tensor:
    """matrices[b, i, permutations[b, i]]: [B, n]."""
    return matrices.gather(2, permutations[:, :, None]).squeeze(2)
