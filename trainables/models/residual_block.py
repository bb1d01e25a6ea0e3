"""torchvision's BasicBlock with stochastic depth, apart because the import of torchvision takes seconds."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.ops import StochasticDepth


class ResidualBlock(BasicBlock):
    """torchvision's BasicBlock with stochastic depth: the branch is dropped per training image, at rate drop_path."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        drop_path: float,
        *,
        shortcut: Callable[[int, int, int], nn.Module],
    ) -> None:
        changes_shape = stride != 1 or in_channels != width
        super().__init__(in_channels, width, stride, shortcut(in_channels, width, stride) if changes_shape else None)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, activations: Tensor) -> Tensor:
        shortcut = activations if self.downsample is None else self.downsample(activations)
        branch = self.relu(self.bn1(self.conv1(activations)))
        branch = self.drop_path(self.bn2(self.conv2(branch)))
        branch += shortcut
        return self.relu(branch)
