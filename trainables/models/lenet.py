"""The convolutional network of the PyTorch tutorial, after LeNet-5."""

from __future__ import annotations

from torch import Tensor, nn

from trainables.models.heads import HEADS


class LeNet(nn.Module):
    """conv5×5×6, maxpool, conv5×5×16, maxpool, FC 400→120→84→num_classes, ReLU after all but the last; no padding.

    PyTorch's tutorial "Training a Classifier", after LeCun et al. 1998. 400 is for 32×32 images; in general it is
    16 ((image_size - 12) // 4)². forward: float32[B, in_channels, image_size, image_size] -> float32[B, num_classes];
    features: the same -> float32[B, 84]. Reported by the sources `s4_lenet_2ep` and `s4_lenet_4ep` on CIFAR-10, batch
    size 4: 53 % after 2 epochs, 57 % after 4.
    """

    def __init__(self, *, num_classes: int, in_channels: int, image_size: int, head: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU(inplace=True)
        self.fc1 = nn.Linear(16 * ((image_size - 12) // 4) ** 2, 120)
        self.fc2 = nn.Linear(120, 84)
        self.head = HEADS[head](84, num_classes)

    def features(self, images: Tensor) -> Tensor:
        activations = self.relu(self.pool(self.conv1(images)))
        activations = self.relu(self.pool(self.conv2(activations)))
        return self.relu(self.fc2(self.relu(self.fc1(activations.flatten(start_dim=1)))))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))
