"""The small convolutional network of the source system `s1_cnn`."""

from __future__ import annotations

from torch import Tensor, nn

from trainables.models.heads import HEADS

PADDINGS = {"same": 0, "valid": 2}
"""padding -> the number of pixels by which a 3×3 convolution shrinks each side of an image."""


class SmallCnn(nn.Module):
    """conv3×3×32, maxpool, conv3×3×64, maxpool, conv3×3×64, maxpool, BatchNorm, FC 1024→64→num_classes.

    ReLU after the convolutions and the first FC layer; dropout before the head. 1024 is for 32×32 images and
    padding "same": in general 64 (image_size // 8)². With "valid" it is 256, and images below 22 pixels a side raise
    ValueError. forward: float32[B, in_channels, image_size, image_size] -> float32[B, num_classes]; features: the
    same -> float32[B, 64]. Reported in the source: 72.59 % on CIFAR-10, 20 epochs (best epoch on test).
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        image_size: int,
        head: str,
        padding: str = "same",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        side = image_size
        for _ in range(3):
            side = (side - PADDINGS[padding]) // 2
        if side < 1:
            raise ValueError(f"padding 'valid' needs an image_size of at least 22, got {image_size}")
        self.conv1 = nn.Conv2d(in_channels, 32, 3, padding=padding)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=padding)
        self.conv3 = nn.Conv2d(64, 64, 3, padding=padding)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU(inplace=True)
        self.batch_norm = nn.BatchNorm2d(64)
        self.fc1 = nn.Linear(64 * side**2, 64)
        self.dropout = nn.Dropout(dropout)
        self.head = HEADS[head](64, num_classes)

    def features(self, images: Tensor) -> Tensor:
        activations = images
        for conv in (self.conv1, self.conv2, self.conv3):
            # MaxPool before ReLU: both are monotone, so the result is the same, for a quarter of the ReLU's work.
            activations = self.relu(self.pool(conv(activations)))
        return self.relu(self.fc1(self.batch_norm(activations).flatten(start_dim=1)))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(images)))
