"""Puzzles: cutting, Sinkhorn, losses, decoding and metrics, against numbers worked by hand and brute force."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from trainables.puzzles import (
    PUZZLE_LOSSES,
    assign,
    bce_loss,
    cut_tiles,
    log_sinkhorn,
    puzzle_metrics,
    random_permutations,
    row_nll,
    shuffle_tiles,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_scores(num_puzzles=5, num_tiles=4, seed=0):
    return torch.randn(num_puzzles, num_tiles, num_tiles, generator=generator(seed))


def numbered(size, channels=1):
    """Two images whose pixels count up row by row: pixel (y, x) of the first is y * size + x."""
    return torch.arange(2 * channels * size**2, dtype=torch.float32).reshape(2, channels, size, size)


def joined(tiles, grid):
    """The image whose cells, row by row, are the tiles: the inverse of cut_tiles without gap or window."""
    rows = [torch.cat(list(tiles[:, row * grid : (row + 1) * grid].unbind(1)), dim=3) for row in range(grid)]
    return torch.cat(rows, dim=2)


# --- permutations ---------------------------------------------------------------------------------------------------


def test_each_row_is_a_permutation():
    permutations = random_permutations(50, 9, generator())
    assert permutations.dtype == torch.int64
    assert permutations.sort(dim=1).values.tolist() == [list(range(9))] * 50


def test_permutations_are_uniform():
    drawn = random_permutations(24_000, 4, generator())
    counts = torch.unique(drawn, dim=0, return_counts=True)[1]
    assert len(counts) == math.factorial(4)
    # 1000 expected of each, deviation 31: chi² has 23 degrees of freedom, and 49.7 is its 99.9 % point.
    assert ((counts - 1000) ** 2 / 1000).sum() < 49.7


def test_permutations_are_a_function_of_the_generator():
    first, again, other = (random_permutations(8, 4, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# --- tiles ----------------------------------------------------------------------------------------------------------


def test_tiles_are_cut_row_by_row():
    tiles = cut_tiles(numbered(4), grid=2, gap=0, generator=None)
    assert tiles.shape == (2, 4, 1, 2, 2)
    assert tiles[0, :, 0].tolist() == [[[0, 1], [4, 5]], [[2, 3], [6, 7]], [[8, 9], [12, 13]], [[10, 11], [14, 15]]]
    assert tiles[1, 0, 0].tolist() == [[16, 17], [20, 21]]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("grid", "size"), [(2, 16), (3, 18), (4, 32)])
def test_cut_shuffled_and_unshuffled_tiles_make_the_image(grid, size, channels):
    images = torch.randn(5, channels, size, size, generator=generator())
    permutations = random_permutations(5, grid**2, generator())
    tiles = cut_tiles(images, grid=grid, gap=0, generator=generator())
    puzzles = shuffle_tiles(tiles, permutations)
    assert not torch.equal(joined(puzzles, grid), images)
    assert torch.equal(joined(shuffle_tiles(puzzles, permutations.argsort(dim=1)), grid), images)


def test_position_i_of_a_puzzle_shows_tile_permutation_i():
    tiles = torch.tensor([[10.0, 11.0, 12.0], [20.0, 21.0, 22.0]]).reshape(2, 3, 1, 1, 1)
    puzzles = shuffle_tiles(tiles, torch.tensor([[1, 2, 0], [2, 1, 0]]))
    assert puzzles.flatten(1).tolist() == [[11, 12, 10], [22, 21, 20]]


def test_the_centre_is_cut_where_the_grid_does_not_divide():
    # 5 pixels in 2×2 tiles of 2: a window of 4 from offset (5 - 4) // 2 = 0; 8 in 3×3 tiles of 2: from 1.
    tiles = cut_tiles(numbered(5), grid=2, gap=0, generator=None)
    assert joined(tiles, 2)[0, 0, 0].tolist() == [0, 1, 2, 3]
    tiles = cut_tiles(numbered(8), grid=3, gap=0, generator=None)
    assert joined(tiles, 3)[0, 0, :, 0].tolist() == [9, 17, 25, 33, 41, 49]


def test_with_a_generator_the_window_lies_anywhere_each_image_for_itself():
    images = torch.arange(64.0).reshape(1, 1, 8, 8).expand(400, 3, 8, 8)
    tiles = cut_tiles(images, grid=3, gap=0, generator=generator())  # 6×6 pixels of 8×8: offsets 0 to 2
    assert tiles.shape == (400, 9, 3, 2, 2)
    corners = tiles[:, 0, 0, 0, 0]
    assert corners.unique().tolist() == [0, 1, 2, 8, 9, 10, 16, 17, 18]
    within = torch.arange(6.0)[:, None] * 8 + torch.arange(6.0)  # pixel numbers, from the window's corner
    assert torch.equal(joined(tiles, 3)[:, 2], corners[:, None, None] + within)


def test_a_gap_keeps_the_middle_of_each_cell_in_a_frame_of_zeros():
    tiles = cut_tiles(numbered(8) + 1, grid=2, gap=2, generator=None)
    assert tiles.shape == (2, 4, 1, 4, 4)
    # Cell 1 is columns 4 to 7 of rows 0 to 3; its middle is pixels (1, 5), (1, 6), (2, 5), (2, 6).
    assert tiles[0, 1, 0].tolist() == [[0, 0, 0, 0], [0, 14, 15, 0], [0, 22, 23, 0], [0, 0, 0, 0]]


def test_an_odd_gap_has_its_larger_half_behind():
    tiles = cut_tiles(torch.ones(1, 3, 6, 6), grid=2, gap=1, generator=None)
    assert tiles[0, 3, 2].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_with_a_generator_each_cell_keeps_a_crop_of_its_own():
    images = torch.arange(1.0, 65.0).reshape(1, 1, 8, 8).expand(100, 1, 8, 8)
    tiles = cut_tiles(images, grid=2, gap=2, generator=generator())
    inside = tiles[:, :, 0, 1:3, 1:3]
    assert tiles.sum() == inside.sum()
    corners = inside[:, :, 0, 0]
    assert corners[:, 0].unique().tolist() == [1, 2, 3, 9, 10, 11, 17, 18, 19]
    assert (corners[:, 0] != corners[:, 1] - 4).any()  # tile 1 lies 4 pixels to the right
    offsets = torch.tensor([0.0, 1.0, 8.0, 9.0])
    assert torch.equal(inside.flatten(2), corners[:, :, None] + offsets)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": 1}, r"grid must be in \[2, 16\] for images of 16 pixels a side, got 1"),
        ({"grid": 17}, r"grid must be in \[2, 16\] for images of 16 pixels a side, got 17"),
        ({"gap": 8}, r"gap must be in \[0, 8\) for tiles of 8 pixels a side, got 8"),
        ({"gap": -1}, r"gap must be in \[0, 8\) for tiles of 8 pixels a side, got -1"),
    ],
)
def test_impossible_tiles_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        cut_tiles(numbered(16), **{"grid": 2, "gap": 0, "generator": None} | settings)


# --- Sinkhorn -------------------------------------------------------------------------------------------------------


def test_sinkhorn_by_hand():
    # exp(scores) = [[1, 3], [1, 1]]; columns over (2, 4): [[1/2, 3/4], [1/2, 1/4]];
    # rows over (5/4, 3/4): [[2/5, 3/5], [2/3, 1/3]].
    scores = torch.tensor([[[1.0, 3.0], [1.0, 1.0]]]).log()
    expected = torch.tensor([[[2 / 5, 3 / 5], [2 / 3, 1 / 3]]])
    torch.testing.assert_close(log_sinkhorn(scores, temperature=1.0, num_iterations=1).exp(), expected)
    # Its limit keeps the cross ratio ad/bc = 1/3: p² / (1 - p)² = 1/3 on the diagonal.
    diagonal = 1 / (1 + math.sqrt(3))
    limit = torch.tensor([[[diagonal, 1 - diagonal], [1 - diagonal, diagonal]]])
    torch.testing.assert_close(log_sinkhorn(scores, temperature=1.0, num_iterations=50).exp(), limit)


@pytest.mark.parametrize("num_tiles", [2, 4, 9])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sinkhorn_is_doubly_stochastic(num_tiles, temperature):
    y = log_sinkhorn(random_scores(num_tiles=num_tiles), temperature=temperature, num_iterations=200).exp()
    torch.testing.assert_close(y.sum(dim=1), torch.ones(5, num_tiles), rtol=0, atol=1e-4)
    torch.testing.assert_close(y.sum(dim=2), torch.ones(5, num_tiles), rtol=0, atol=1e-6)


def test_rows_are_distributions_after_a_single_iteration():
    y = log_sinkhorn(random_scores(), temperature=0.1, num_iterations=1).exp()
    torch.testing.assert_close(y.sum(dim=2), torch.ones(5, 4))


def test_temperature_divides_the_scores():
    cold = log_sinkhorn(random_scores(), temperature=0.25, num_iterations=5)
    torch.testing.assert_close(cold, log_sinkhorn(4 * random_scores(), temperature=1.0, num_iterations=5))


def test_a_cold_sinkhorn_is_the_best_permutation():
    y = log_sinkhorn(random_scores(), temperature=0.01, num_iterations=200).exp()
    torch.testing.assert_close(y, F.one_hot(assign(random_scores()), 4).float(), atol=0.01, rtol=0)


def test_sinkhorn_stands_huge_scores():
    log_y = log_sinkhorn(1e4 * random_scores(), temperature=0.1, num_iterations=20)
    assert log_y.isfinite().all()


def test_sinkhorn_is_float32_under_autocast():
    expected = log_sinkhorn(random_scores(), temperature=1.0, num_iterations=5)
    with torch.autocast("cpu", torch.bfloat16):
        log_y = log_sinkhorn(random_scores(), temperature=1.0, num_iterations=5)
        rounded = log_sinkhorn(random_scores().bfloat16(), temperature=1.0, num_iterations=5)
    assert torch.equal(log_y, expected)
    assert rounded.dtype == torch.float32
    assert (rounded.exp().sum(dim=2) - 1).abs().max() < 1e-5  # bfloat16 has no more than three digits


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"temperature": math.nan}, "temperature must be above 0, got nan"),
        ({"num_iterations": 0}, "num_iterations must be at least 1, got 0"),
    ],
)
def test_impossible_sinkhorns_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        log_sinkhorn(random_scores(), **{"temperature": 1.0, "num_iterations": 5} | settings)


# --- losses ---------------------------------------------------------------------------------------------------------

# Y = [[3/4, 1/4], [1/4, 3/4]] for both puzzles, of which only the first is the identity.
HALF_SURE = torch.tensor([[[0.75, 0.25], [0.25, 0.75]]] * 2).log()
TWO_PUZZLES = torch.tensor([[0, 1], [1, 0]])


def test_row_nll_by_hand():
    # -log 3/4 twice, -log 1/4 twice
    expected = (math.log(4 / 3) + math.log(4)) / 2
    assert row_nll(HALF_SURE, TWO_PUZZLES).item() == pytest.approx(expected)


def test_bce_by_hand():
    # The first puzzle: the true entries are 3/4 and the others' complement too; the second: all 1/4.
    expected = (math.log(4 / 3) + math.log(4)) / 2
    assert bce_loss(HALF_SURE, TWO_PUZZLES).item() == pytest.approx(expected)
    # Where the rows are not symmetric: true 1/2 and 1/3; complements 1/2 and 1/3.
    log_y = torch.tensor([[[1 / 2, 1 / 2], [2 / 3, 1 / 3]]]).log()
    expected = (2 * math.log(2) + 2 * math.log(3)) / 4
    assert bce_loss(log_y, torch.tensor([[0, 1]])).item() == pytest.approx(expected)


def test_losses_follow_their_slow_formulas():
    log_y = log_sinkhorn(random_scores(num_tiles=9), temperature=0.5, num_iterations=5)
    permutations = random_permutations(5, 9, generator())
    y = log_y.double().exp()
    entries = [(y[b, i, j].item(), int(permutations[b, i]) == j) for b in range(5) for i in range(9) for j in range(9)]
    bce = -sum(math.log(value if is_true else 1 - value) for value, is_true in entries) / len(entries)
    nll = -sum(math.log(value) for value, is_true in entries if is_true) / (5 * 9)
    assert bce_loss(log_y, permutations).item() == pytest.approx(bce, rel=1e-5)
    assert row_nll(log_y, permutations).item() == pytest.approx(nll, rel=1e-5)


def test_bce_is_that_of_torch():
    log_y = log_sinkhorn(random_scores(), temperature=1.0, num_iterations=20)
    permutations = random_permutations(5, 4, generator())
    expected = F.binary_cross_entropy(log_y.exp(), F.one_hot(permutations, 4).float())
    torch.testing.assert_close(bce_loss(log_y, permutations), expected)


@pytest.mark.parametrize("name", PUZZLE_LOSSES)
@pytest.mark.parametrize("is_right", [True, False])
def test_losses_and_gradients_stay_finite_where_y_is_a_permutation_matrix(name, is_right):
    scores = (1000 * torch.eye(4).repeat(3, 1, 1)).requires_grad_()
    permutations = torch.arange(4).repeat(3, 1) if is_right else torch.arange(4).flip(0).repeat(3, 1)
    loss = PUZZLE_LOSSES[name](log_sinkhorn(scores, temperature=0.1, num_iterations=20), permutations)
    loss.backward()
    assert loss.isfinite()
    assert scores.grad.isfinite().all()
    if is_right:
        assert loss < 1e-5
    else:
        assert loss > 100
        assert scores.grad.abs().max() > 0  # a network that is wrong and sure of it can still learn


@pytest.mark.parametrize("name", PUZZLE_LOSSES)
def test_descent_on_the_scores_solves_the_puzzles(name):
    permutations = random_permutations(5, 4, generator())
    scores = random_scores().requires_grad_()
    for _ in range(50):
        loss = PUZZLE_LOSSES[name](log_sinkhorn(scores, temperature=1.0, num_iterations=10), permutations)
        (gradient,) = torch.autograd.grad(loss, scores)
        scores = (scores - 10 * gradient).detach().requires_grad_()
    assert loss < 0.05
    assert torch.equal(assign(scores), permutations)


# --- decoding and metrics -------------------------------------------------------------------------------------------


def test_assignment_is_the_best_of_all_permutations():
    log_y = log_sinkhorn(random_scores(50), temperature=1.0, num_iterations=3)
    everything = torch.tensor(list(itertools.permutations(range(4))))  # [24, 4]
    totals = torch.stack([log_y[:, range(4), places].sum(dim=1) for places in everything.tolist()], dim=1)
    assigned = assign(log_y)
    assert assigned.dtype == torch.int64
    assert torch.equal(assigned, everything[totals.argmax(dim=1)])
    assert not torch.equal(assigned, log_y.argmax(dim=2))


def test_assignment_gives_each_place_once_where_argmax_does_not():
    # Both rows prefer place 0; (0, 1) has .6 · .1 = .06, (1, 0) has .4 · .9 = .36.
    log_y = torch.tensor([[[0.6, 0.4], [0.9, 0.1]]]).log()
    assert assign(log_y).tolist() == [[1, 0]]


def test_metrics_by_hand():
    y = torch.tensor(
        [
            [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]],  # right
            [[0.6, 0.3, 0.1], [0.7, 0.1, 0.2], [0.1, 0.4, 0.5]],  # argmax 0 0 2; best 1 0 2: .3 · .7 · .5
            [[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]],  # says 1 0 2, is 0 1 2: one tile of three
            [[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]],  # says 1 2 0, is 0 1 2: none
        ]
    )
    permutations = torch.tensor([[0, 1, 2], [1, 0, 2], [0, 1, 2], [0, 1, 2]])
    confidence = (3 * 0.8 + (0.3 + 0.7 + 0.5) + (0.1 + 0.1 + 0.8) + 3 * 0.1) / 12
    assert puzzle_metrics(y.log(), permutations) == {
        "exact_accuracy": pytest.approx(2 / 4),
        "tile_accuracy": pytest.approx((3 + 3 + 1 + 0) / 12),
        "exact_accuracy_argmax": pytest.approx(1 / 4),
        "tile_accuracy_argmax": pytest.approx((3 + 2 + 1 + 0) / 12),
        "confidence": pytest.approx(confidence),
        "invalid_argmax": pytest.approx(1 / 4),
    }


def test_an_uninformed_network_solves_a_puzzle_in_24_and_a_tile_in_4():
    permutations = random_permutations(20_000, 4, generator(1))
    found = puzzle_metrics(1e-3 * random_scores(20_000, seed=2), permutations)
    assert found["exact_accuracy"] == pytest.approx(1 / 24, abs=0.006)
    assert found["tile_accuracy"] == pytest.approx(1 / 4, abs=0.01)
    # Four free choices of four repeat one unless they happen to be one of 4! of 4^4.
    assert found["invalid_argmax"] == pytest.approx(1 - 24 / 256, abs=0.01)


def test_a_diverged_network_is_judged_not_refused():
    log_y = torch.full((6, 4, 4), math.nan)
    found = puzzle_metrics(log_y, random_permutations(6, 4, generator()))
    assert math.isnan(found["confidence"])
    assert 0 <= found["exact_accuracy"] <= 1
