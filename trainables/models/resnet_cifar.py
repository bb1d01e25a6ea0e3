"""ResNets for small images: a 3×3 stem of stride 1, no max-pooling, torchvision's BasicBlock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from trainables.models.heads import HEADS

Shortcut = Callable[[int, int, int], nn.Module]
"""(in_channels, out_channels, stride) -> the shortcut of a block that changes the shape."""


class PaddedShortcut(nn.Module):
    """He et al. 2016, option A: every stride-th pixel, zeros for the new channels, half in front."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (out_channels - in_channels) // 2
        self.after = out_channels - in_channels - self.before

    def forward(self, activations: Tensor) -> Tensor:
        subsampled = activations[:, :, :: self.stride, :: self.stride]
        return F.pad(subsampled, (0, 0, 0, 0, self.before, self.after))


def projected_shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """He et al. 2016, option B: a 1×1 convolution and BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
    )


class CifarResNet(nn.Module):
    """Stages of BasicBlocks, each after the first at half the size, then average pooling and the head.

    widths and num_blocks have an entry a stage. forward: float32[B, in_channels, S, S] -> float32[B,
    num_classes]; features: the same -> float32[B, widths[-1]]. image_size is not used: the pooling is global.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        num_blocks: Sequence[int],
        shortcut: Shortcut,
        num_classes: int,
        in_channels: int,
        image_size: int,
        head: str,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        stage_inputs = (widths[0], *widths[:-1])
        self.stages = nn.Sequential(
            *(
                _stage(before, width, blocks, 1 if stage == 0 else 2, shortcut)
                for stage, (before, width, blocks) in enumerate(zip(stage_inputs, widths, num_blocks, strict=True))
            )
        )
        # As in torchvision; before the head is made, which has its own initialisation.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.head = HEADS[head](widths[-1], num_classes)

    def features(self, images: Tensor) -> Tensor:
        return self.stages(self.stem(images)).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def _stage(in_channels: int, width: int, num_blocks: int, stride: int, shortcut: Shortcut) -> nn.Sequential:
    changes_shape = stride != 1 or in_channels != width
    first = BasicBlock(in_channels, width, stride, shortcut(in_channels, width, stride) if changes_shape else None)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(num_blocks - 1)))


resnet18 = partial(CifarResNet, widths=(64, 128, 256, 512), num_blocks=(2, 2, 2, 2), shortcut=projected_shortcut)
"""ResNet-18 with a CIFAR stem: the eight blocks of the source `s0_base` (reported: 79.16 % on CIFAR-10)."""

resnet32 = partial(CifarResNet, widths=(16, 32, 64), num_blocks=(5, 5, 5), shortcut=PaddedShortcut)
"""He et al. 2016, section 4.2, n = 5: the network of the LDAM paper (Cao et al. 2019), with its option A."""
