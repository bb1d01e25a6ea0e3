"""ResNets for small images: a 3×3 stem of stride 1, torchvision's BasicBlock, stochastic depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.models.heads import HEADS

Stem = Callable[[int, int], nn.Module]
"""(in_channels, width) -> the layers before the first stage."""

Block = Callable[[int, int, int, float], nn.Module]
"""(in_channels, width, stride, drop_path) -> a residual block."""

Shortcut = Callable[[int, int, int], nn.Module]
"""(in_channels, out_channels, stride) -> the shortcut of a block that changes the shape."""


class PaddedShortcut(nn.Module):
    """He et al. 2016, option A: every stride-th pixel, zeros for the new channels, half of them before the old ones."""

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


def residual_block(in_channels: int, width: int, stride: int, drop_path: float, *, shortcut: Shortcut) -> nn.Module:
    from trainables.models.residual_block import ResidualBlock  # slow to import: torchvision

    return ResidualBlock(in_channels, width, stride, drop_path, shortcut=shortcut)


def conv_stem(in_channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )


def pooled_stem(in_channels: int, width: int) -> nn.Sequential:
    return conv_stem(in_channels, width).append(nn.MaxPool2d(3, stride=2, padding=1))


class CifarResNet(nn.Module):
    """Stages of residual blocks, each after the first at half the resolution, then average pooling and the head.

    widths and num_blocks have one entry per stage. drop_path: stochastic depth (Huang et al. 2016), the probability
    rising linearly from 0 in the first block to drop_path in the last. forward: float32[B, in_channels, S, S] ->
    float32[B, num_classes]; features: the same -> float32[B, widths[-1]]. image_size is not used: the pooling is
    global.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        num_blocks: Sequence[int],
        block: Block,
        num_classes: int,
        in_channels: int,
        image_size: int,
        head: str,
        stem: Stem = conv_stem,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.stem = stem(in_channels, widths[0])
        stage_inputs = (widths[0], *widths[:-1])
        drop_paths = torch.linspace(0, drop_path, sum(num_blocks), dtype=torch.float64).split(list(num_blocks))
        self.stages = nn.Sequential(
            *(
                _stage(before, width, 1 if stage == 0 else 2, block, rates.tolist())
                for stage, (before, width, rates) in enumerate(zip(stage_inputs, widths, drop_paths, strict=True))
            )
        )
        # As in torchvision. Done before the head is made, which keeps its own initialisation.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.num_features = widths[-1]
        self.head = HEADS[head](self.num_features, num_classes)

    def features(self, images: Tensor) -> Tensor:
        return self.stages(self.stem(images)).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def _stage(in_channels: int, width: int, stride: int, block: Block, drop_paths: Sequence[float]) -> nn.Sequential:
    first = block(in_channels, width, stride, drop_paths[0])
    return nn.Sequential(first, *(block(width, width, 1, drop_path) for drop_path in drop_paths[1:]))


_resnet = partial(CifarResNet, widths=(64, 128, 256, 512), block=partial(residual_block, shortcut=projected_shortcut))
_thin_resnet = partial(CifarResNet, widths=(16, 32, 64), block=partial(residual_block, shortcut=PaddedShortcut))

resnet9 = partial(_resnet, num_blocks=(1, 1, 1, 1), stem=pooled_stem)
"""torchvision's ResNet, one block per stage, a 3×3 stem of stride 1, max-pooling kept: the source's `s4_resnet9`.

Reported on CIFAR-10, 24 epochs: 82 % without augmentation, 88 % with crop and flip.
"""

resnet18 = partial(_resnet, num_blocks=(2, 2, 2, 2))
"""ResNet-18 with a CIFAR stem: the eight blocks of the source `s0_base` (reported: 79.16 % on CIFAR-10).

Published, after 200 epochs with crop and flip, SGD at 0.1: 95.28 % on CIFAR-10, 77.54 % on CIFAR-100 (code of DeVries
and Taylor 2017, "Cutout").
"""

resnet34 = partial(_resnet, num_blocks=(3, 4, 6, 3))
"""ResNet-34 (He et al. 2016, table 1) with a CIFAR stem: 76.76 % on CIFAR-100 in pytorch-cifar100's table.

That is after 200 epochs with crop, flip and rotation, SGD at 0.1, the best epoch on test.
"""

resnet8 = partial(_thin_resnet, num_blocks=(1, 1, 1))
"""He et al. 2016, section 4.2, with n = 1 and option A: not in their table; a third of ResNet-20's work an image."""

resnet14 = partial(_thin_resnet, num_blocks=(2, 2, 2))
"""He et al. 2016, section 4.2, with n = 2 and option A: not in their table."""

resnet20 = partial(_thin_resnet, num_blocks=(3, 3, 3))
"""ResNet-20 (He et al. 2016, section 4.2, n = 3) with its option A: 91.25 % on CIFAR-10 in table 6."""

resnet32 = partial(_thin_resnet, num_blocks=(5, 5, 5))
"""ResNet-32 (He et al. 2016, section 4.2, n = 5) with its option A: 92.49 % on CIFAR-10 in table 6.

It is the network of the LDAM paper (Cao et al. 2019).
"""
