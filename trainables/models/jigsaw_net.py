"""The puzzle network of the source system `s1_jigsaw2x2`."""

from __future__ import annotations

from torch import Tensor, nn

MIN_TILE_SIZE = 4
TILE_FEATURES = 256


class JigsawNet(nn.Module):
    """A shared tile encoder, FC 64→256 for each tile, the n = grid² tiles concatenated, FC n·256→256→n².

    The encoder is SmallCnn's, layer names included, with one pooling fewer: conv3×3×32, maxpool, conv3×3×64,
    maxpool, conv3×3×64, BatchNorm, FC→64, ReLU after the convolutions and FC layers. With 2×2 tiles its fc1
    has the same shape as SmallCnn's for the whole image (32×32 pixels: 1024→64), so conv1 to conv3 and fc1 can be
    carried over; with 3×3 tiles only the convolutions fit.

    forward: tiles float32[B, n, in_channels, s, s], s = image_size // grid -> scores float32[B, n, n], rows
    for positions in the puzzle, columns for true places, to be given to puzzles.log_sinkhorn. Raises ValueError if grid
    is below 2 or tiles are smaller than 4 pixels a side. Reported in the source, 2×2 on CIFAR-10, 10 epochs,
    row-argmax: 79.18 % of tiles, 65.93 % of puzzles (one fixed permutation per image).
    """

    def __init__(self, *, grid: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        if not 2 <= grid <= image_size // MIN_TILE_SIZE:
            raise ValueError(
                f"grid must be in [2, {image_size // MIN_TILE_SIZE}] for images of {image_size} pixels a side "
                f"(tiles of at least {MIN_TILE_SIZE}), got {grid}"
            )
        num_tiles = grid**2
        self.conv1 = nn.Conv2d(in_channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU(inplace=True)
        self.batch_norm = nn.BatchNorm2d(64)
        self.fc1 = nn.Linear(64 * (image_size // grid // 4) ** 2, 64)
        self.fc2 = nn.Linear(64, TILE_FEATURES)
        self.fc3 = nn.Linear(num_tiles * TILE_FEATURES, 256)
        self.fc4 = nn.Linear(256, num_tiles**2)

    def encode(self, tiles: Tensor) -> Tensor:
        """float32[N, in_channels, s, s] -> float32[N, 64]."""
        activations = self.relu(self.pool(self.conv1(tiles)))
        activations = self.relu(self.pool(self.conv2(activations)))
        activations = self.relu(self.conv3(activations))
        return self.relu(self.fc1(self.batch_norm(activations).flatten(start_dim=1)))

    def forward(self, tiles: Tensor) -> Tensor:
        num_puzzles, num_tiles = tiles.shape[:2]
        features = self.relu(self.fc2(self.encode(tiles.flatten(0, 1))))
        features = self.relu(self.fc3(features.reshape(num_puzzles, -1)))
        return self.fc4(features).unflatten(1, (num_tiles, num_tiles))
