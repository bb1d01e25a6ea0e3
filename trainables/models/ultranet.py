"""UltraNet18 of the source system `s2_ultranet18`, with a block of our own design."""

from __future__ import annotations

from torch import Tensor, nn

from trainables.models.resnet_cifar import CifarResNet

LARGE_IMAGE_SIZE = 64
SQUEEZE_RATIO = 16


class UltraBlock(nn.Module):
    """BN, ReLU, conv3×3, BN, ReLU, conv3×3, squeeze-and-excitation; added to the shortcut.

    Our own design, since the source's figure of its UltraBlock is lost: pre-activation (He et al. 2016, "Identity
    Mappings in Deep Residual Networks", figure 4e) with channel attention (Hu et al. 2018, "Squeeze-and-Excitation
    Networks", reduction 16). Where the shape changes, the shortcut is a 1×1 convolution of the output of the first BN
    and ReLU. The branch is dropped for each training image with probability drop_path.
    """

    def __init__(self, in_channels: int, width: int, stride: int, drop_path: float) -> None:
        from torchvision.ops import SqueezeExcitation, StochasticDepth  # slow to import

        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.excitation = SqueezeExcitation(width, width // SQUEEZE_RATIO)
        self.drop_path = StochasticDepth(drop_path, mode="row")
        changes_shape = stride != 1 or in_channels != width
        self.shortcut = nn.Conv2d(in_channels, width, 1, stride=stride, bias=False) if changes_shape else None

    def forward(self, activations: Tensor) -> Tensor:
        activated = self.relu(self.bn1(activations))
        shortcut = activations if self.shortcut is None else self.shortcut(activated)
        branch = self.conv2(self.relu(self.bn2(self.conv1(activated))))
        return shortcut + self.drop_path(self.excitation(branch))


class UltraNet18(CifarResNet):
    """ResNet-18's layout with two UltraBlocks per stage, and a last BN and ReLU before the pooling.

    The stem is a 3×3 convolution, of stride 2 for images of 64 pixels a side or more, so that EuroSAT's 64×64 cost
    no more than CIFAR's 32×32. forward, features and drop_path are as in CifarResNet. Reported in the source, with the
    lost block: 86.20 % on EuroSAT's test images (84.87 % long-tailed, with class-balanced loss and sampler).
    """

    def __init__(
        self, *, num_classes: int, in_channels: int, image_size: int, head: str, drop_path: float = 0.0
    ) -> None:
        stride = 2 if image_size >= LARGE_IMAGE_SIZE else 1
        super().__init__(
            widths=(64, 128, 256, 512),
            num_blocks=(2, 2, 2, 2),
            block=UltraBlock,
            num_classes=num_classes,
            in_channels=in_channels,
            image_size=image_size,
            head=head,
            stem=lambda channels, width: nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
            drop_path=drop_path,
        )
        self.last_activation = nn.Sequential(nn.BatchNorm2d(self.num_features), nn.ReLU(inplace=True))

    def features(self, images: Tensor) -> Tensor:
        return self.last_activation(self.stages(self.stem(images))).mean(dim=(2, 3))
