"""Models: shapes, parameter counts worked by hand, what each must be able to learn."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from trainables.models import MODELS, build_model
from trainables.models.heads import HEADS, CosineLinear
from trainables.models.resnet_cifar import PaddedShortcut

# For 10 classes, 3 channels, 32×32, head "linear". A convolution without bias has in · out · 9 parameters, a
# BatchNorm 2 a channel.
NUM_PARAMETERS = {
    # conv1 3·32·9 + 32, conv2 32·64·9 + 64, conv3 64·64·9 + 64, BatchNorm 2·64,
    # FC1 1024·64 + 64, FC2 64·10 + 10
    "small_cnn": 896 + 18_496 + 36_928 + 128 + 65_600 + 650,
    # stem 3·64·9 + 128; stage 1: 4 · (64·64·9 + 128); stage 2: 64·128·9 + 3 · 128·128·9 + 4 · 256 and the 1×1
    # shortcut's 64·128 + 256; stages 3 and 4 likewise with twice the width; FC 512·10 + 10
    "resnet18": 1_856 + 147_968 + 525_568 + 2_099_712 + 8_393_728 + 5_130,  # 11,173,962
    # stem 3·16·9 + 32; stage 1: 10 · (16·16·9 + 32); stage 2: 16·32·9 + 9 · 32·32·9 + 10 · 64;
    # stage 3: 32·64·9 + 9 · 64·64·9 + 10 · 128; FC 64·10 + 10; shortcuts have none
    "resnet32": 464 + 23_360 + 88_192 + 351_488 + 650,  # 464,154: the 0.46 million of He et al. 2016, table 6
}
OVERFIT_STEPS = {"small_cnn": 40, "resnet18": 10, "resnet32": 30}


def model_of(name, **settings):
    torch.manual_seed(0)
    return build_model(
        name, **{"num_classes": 10, "in_channels": 3, "image_size": 16, "head": "linear"} | settings
    )


@pytest.mark.parametrize("name", MODELS)
def test_parameter_counts_worked_by_hand(name):
    model = model_of(name, image_size=32)
    assert sum(parameter.numel() for parameter in model.parameters()) == NUM_PARAMETERS[name]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("num_classes", "in_channels", "image_size"), [(10, 3, 32), (2, 1, 16), (100, 3, 17), (7, 1, 30)]
)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_maps_images_to_one_logit_a_class(name, num_classes, in_channels, image_size, head):
    model = model_of(name, num_classes=num_classes, in_channels=in_channels, image_size=image_size, head=head)
    images = torch.randn(2, in_channels, image_size, image_size)
    logits = model(images)
    assert logits.shape == (2, num_classes)
    assert logits.dtype == torch.float32
    assert isinstance(model.head, HEADS[head])
    model.eval()
    torch.testing.assert_close(model.head(model.features(images)), model(images))
    if head == "cosine":
        assert logits.abs().max() <= 1 + 1e-6


@pytest.mark.parametrize("name", MODELS)
def test_every_model_overfits_32_images_with_random_labels(name):
    model = model_of(name)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(32, 3, 16, 16, generator=generator)
    targets = torch.randint(10, (32,), generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(OVERFIT_STEPS[name]):
        optimizer.zero_grad()
        F.cross_entropy(model(images), targets).backward()
        optimizer.step()
    logits = model(images)
    assert (logits.argmax(dim=1) == targets).all()
    assert F.cross_entropy(logits, targets) < 0.5  # ln 10 = 2.3 at the start


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_of_every_model_gets_a_gradient(name):
    model = model_of(name)
    model(torch.randn(4, 3, 16, 16)).square().sum().backward()
    assert [
        key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()
    ] == []


@pytest.mark.parametrize("name", MODELS)
def test_every_model_gives_the_same_in_both_memory_formats(name):
    model = model_of(name).eval()
    images = torch.randn(2, 3, 16, 16)
    expected = model(images)
    last = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        last(images.contiguous(memory_format=torch.channels_last)), expected, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_a_function_of_the_seed(name):
    first, second = (list(model_of(name).parameters()) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_small_cnn_is_the_source_network_layer_by_layer():
    model = model_of("small_cnn", image_size=32).eval()
    model.batch_norm.running_mean.uniform_()
    source = nn.Sequential(  # as REFERENCE section 1 lists it, with ReLU directly after the convolutions
        *(model.conv1, nn.ReLU(), nn.MaxPool2d(2)),
        *(model.conv2, nn.ReLU(), nn.MaxPool2d(2)),
        *(model.conv3, nn.ReLU(), nn.MaxPool2d(2)),
        *(model.batch_norm, nn.Flatten(), model.fc1, nn.ReLU(), model.head),
    )
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(model(images), source(images))


def test_resnet18_is_that_of_torchvision_with_a_cifar_stem():
    model = model_of("resnet18").eval()
    oracle = torchvision.models.resnet18(num_classes=10)
    oracle.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    oracle.maxpool = nn.Identity()
    ours, theirs = model.state_dict(), oracle.state_dict()
    oracle.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(model(images), oracle.eval()(images))


def test_resnet32_halves_the_image_twice():
    model = model_of("resnet32", image_size=32).eval()
    assert model.stages(model.stem(torch.randn(1, 3, 32, 32))).shape == (1, 64, 8, 8)
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) + 1 == 32


def test_padded_shortcut_by_hand():
    activations = torch.arange(32.0).reshape(1, 2, 4, 4)
    shortcut = PaddedShortcut(2, 4, 2)(activations)
    assert not shortcut[0, [0, 3]].any()
    assert shortcut[0, 1].tolist() == [[0, 2], [8, 10]]
    assert shortcut[0, 2].tolist() == [[16, 18], [24, 26]]


def test_cosine_head_by_hand():
    head = CosineLinear(2, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0, 0.0], [3.0, 4.0], [-30.0, -40.0]]))
    # The angle of (6, 8) with (1, 0) has cosine 6/10.
    torch.testing.assert_close(
        head(torch.tensor([[6.0, 8.0], [0.0, 0.0]])), torch.tensor([[0.6, 1.0, -1.0], [0.0, 0.0, 0.0]])
    )


def test_cosine_head_keeps_float32_under_autocast():
    head = CosineLinear(64, 10)
    features = torch.randn(4, 64)
    with torch.autocast("cpu", torch.bfloat16):
        cosines = head(features)
    assert torch.equal(cosines, head(features))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet_18", {}, "model must be one of .*, got 'resnet_18'; nearest: resnet18"),
        ("small_cnn", {"head": "cosin"}, "head must be one of .*, got 'cosin'; nearest: cosine"),
        ("small_cnn", {"num_classes": 1}, "num_classes must be at least 2, got 1"),
        ("small_cnn", {"in_channels": 4}, "in_channels must be 1 or 3, got 4"),
        ("small_cnn", {"image_size": 8}, "image_size must be at least 16, got 8"),
    ],
)
def test_impossible_models_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        model_of(name, **settings)
