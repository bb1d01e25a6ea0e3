"""Models: shapes, parameter counts worked by hand, what each must be able to learn."""

from functools import partial

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from trainables.models import MODELS, build_model, models_taking
from trainables.models.heads import HEADS, CosineLinear
from trainables.models.jigsaw_net import JigsawNet
from trainables.models.residual_block import ResidualBlock
from trainables.models.resnet_cifar import PaddedShortcut, projected_shortcut
from trainables.models.ultranet import UltraBlock
from trainables.parts.contracts import check_model
from trainables.puzzles import cut_tiles, log_sinkhorn, puzzle_metrics, random_permutations, row_nll, shuffle_tiles

# For 10 classes, 3 channels, 32×32, head "linear". A convolution without bias has in · out · 9 parameters, a
# BatchNorm 2 a channel.
NUM_PARAMETERS = {
    # conv1 3·6·25 + 6, conv2 6·16·25 + 16, FC 400·120 + 120, 120·84 + 84, 84·10 + 10
    "lenet": 456 + 2_416 + 48_120 + 10_164 + 850,  # 62,006, the tutorial's
    # conv1 3·32·9 + 32, conv2 32·64·9 + 64, conv3 64·64·9 + 64, BatchNorm 2·64,
    # FC1 1024·64 + 64, FC2 64·10 + 10
    "small_cnn": 896 + 18_496 + 36_928 + 128 + 65_600 + 650,
    # stem 3·64·9 + 128; stage 1: 2 · (64·64·9 + 128); stage 2: 64·128·9 + 128·128·9 + 2 · 256 and the 1×1
    # shortcut's 64·128 + 256; stages 3 and 4 likewise with twice the width; FC 512·10 + 10
    "resnet9": 1_856 + 73_984 + 230_144 + 919_040 + 3_673_088 + 5_130,
    # stem 3·64·9 + 128; stage 1: 4 · (64·64·9 + 128); stage 2: 64·128·9 + 3 · 128·128·9 + 4 · 256 and the 1×1
    # shortcut's 64·128 + 256; stages 3 and 4 likewise with twice the width; FC 512·10 + 10
    "resnet18": 1_856 + 147_968 + 525_568 + 2_099_712 + 8_393_728 + 5_130,  # 11,173,962
    # as resnet18 with 6 · (64·64·9 + 128) in stage 1, and in stages 2, 3 and 4 another 4, 8 and 2 convolutions of
    # the stage's width with their BatchNorms: 4 · (128·128·9 + 256), 8 · (256·256·9 + 512), 2 · (512·512·9 + 1024)
    "resnet34": 11_173_962 + 73_984 + 590_848 + 4_722_688 + 4_720_640,  # 21,282,122, as in kuangliu's pytorch-cifar
    # stem 3·16·9 + 32; stage 1: 2 · (16·16·9 + 32); stage 2: 16·32·9 + 32·32·9 + 2 · 64;
    # stage 3: 32·64·9 + 64·64·9 + 2 · 128; FC 64·10 + 10
    "resnet8": 464 + 4_672 + 13_952 + 55_552 + 650,
    # as resnet8 with 4, 4 and 4 convolutions
    "resnet14": 464 + 9_344 + 32_512 + 129_536 + 650,
    # stem 3·16·9 + 32; stage 1: 6 · (16·16·9 + 32); stage 2: 16·32·9 + 5 · 32·32·9 + 6 · 64;
    # stage 3: 32·64·9 + 5 · 64·64·9 + 6 · 128; FC 64·10 + 10
    "resnet20": 464 + 14_016 + 51_072 + 203_520 + 650,  # 269,722: the 0.27 million of He et al. 2016, table 6
    # stem 3·16·9 + 32; stage 1: 10 · (16·16·9 + 32); stage 2: 16·32·9 + 9 · 32·32·9 + 10 · 64;
    # stage 3: 32·64·9 + 9 · 64·64·9 + 10 · 128; FC 64·10 + 10; shortcuts have none
    "resnet32": 464 + 23_360 + 88_192 + 351_488 + 650,  # 464,154: the 0.46 million of He et al. 2016, table 6
    # stem 3·64·9; a block of n to m channels: BatchNorms 2n + 2m, convolutions 9nm + 9m², squeeze-and-excitation
    # 2 · m · m/16 + m/16 + m, and where n is not m the shortcut's nm; the last BatchNorm 2·512; FC 512·10 + 10.
    # 64→64 and 64→64, 64→128 and 128→128, 128→256 and 256→256, 256→512 and 512→512:
    "ultranet18": 1_728
    + 2 * 74_564
    + (231_944 + 297_608)
    + (926_736 + 1_189_136)
    + (3_704_864 + 4_753_952)
    + 1_024
    + 5_130,
}
OVERFIT_STEPS = {
    "lenet": 60,
    "small_cnn": 30,
    "resnet9": 10,
    "resnet18": 6,
    "resnet34": 6,
    "resnet8": 40,
    "resnet14": 25,
    "resnet20": 20,
    "resnet32": 20,
    "ultranet18": 6,
}
ALIASES = {"resnet8blocks": "resnet18"}
DISTINCT = [name for name in MODELS if name not in ALIASES]


def model_of(name, **settings):
    torch.manual_seed(0)
    return build_model(name, **{"num_classes": 10, "in_channels": 3, "image_size": 16, "head": "linear"} | settings)


def num_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def same_weights(first, second):
    first, second = first.state_dict(), second.state_dict()
    return list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", DISTINCT)
def test_parameter_counts_worked_by_hand(name):
    assert num_parameters(model_of(name, image_size=32)) == NUM_PARAMETERS[name]


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_is_the_same_model(alias):
    assert MODELS[alias] is MODELS[ALIASES[alias]]


@pytest.mark.parametrize(
    ("num_classes", "in_channels", "image_size", "head"),
    [
        (10, 3, 32, "linear"),
        (2, 1, 16, "cosine"),
        (100, 3, 17, "cosine"),
        (100, 1, 30, "linear"),
        (100, 3, 64, "linear"),
    ],
)
@pytest.mark.parametrize("name", DISTINCT)
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


@pytest.mark.parametrize("name", DISTINCT)
def test_every_model_overfits_16_images_with_random_labels(name):
    model = model_of(name)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(16, 3, 16, 16, generator=generator)
    targets = torch.randint(10, (16,), generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(OVERFIT_STEPS[name] + 1):
        logits = model(images)
        loss = F.cross_entropy(logits, targets)
        if loss < 0.05 and (logits.argmax(dim=1) == targets).all():  # ln 10 = 2.3 at the start
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pytest.fail(
        f"after {OVERFIT_STEPS[name]} steps {(logits.argmax(dim=1) == targets).sum()} of 16, at a loss of {loss}"
    )


@pytest.mark.parametrize("name", DISTINCT)
def test_every_parameter_of_every_model_gets_a_gradient(name):
    check_model(partial(build_model, name), image_size=16)
    model = model_of(name)
    model(torch.randn(4, 3, 16, 16)).square().sum().backward()
    assert [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()] == []


@pytest.mark.parametrize("name", DISTINCT)
def test_every_model_gives_the_same_in_both_memory_formats(name):
    model = model_of(name).eval()
    images = torch.randn(2, 3, 16, 16)
    expected = model(images)
    last = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        last(images.contiguous(memory_format=torch.channels_last)), expected, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("name", DISTINCT)
def test_every_model_is_a_function_of_the_seed(name):
    assert same_weights(model_of(name), model_of(name))


def test_lenet_is_the_tutorials_network_layer_by_layer():
    model = model_of("lenet", image_size=32)
    source = nn.Sequential(
        *(model.conv1, nn.ReLU(), nn.MaxPool2d(2)),
        *(model.conv2, nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), model.fc1, nn.ReLU(), model.fc2, nn.ReLU(), model.head),
    )
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(model(images), source(images))


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


def test_valid_padding_takes_two_pixels_from_each_convolution():
    # 32 -> 30, 15 -> 13, 6 -> 4, 2: FC1 sees 64 · 2²; conv1 and FC1 of 22 pixels: 20, 10 -> 8, 4 -> 2, 1.
    model = model_of("small_cnn", image_size=32, padding="valid")
    assert num_parameters(model) == 896 + 18_496 + 36_928 + 128 + (256 * 64 + 64) + 650
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert model_of("small_cnn", image_size=22, padding="valid").fc1.in_features == 64


def test_dropout_leaves_out_features_before_the_head_in_training_alone():
    plain, model = model_of("small_cnn"), model_of("small_cnn", dropout=0.5)
    assert same_weights(plain, model)
    images = torch.randn(400, 3, 16, 16)
    torch.testing.assert_close(model.eval()(images), plain.eval()(images))
    seen = []
    model.head.register_forward_pre_hook(lambda head, inputs: seen.append(inputs[0]))
    model.dropout.train()
    model(images)
    features = model.features(images)
    kept = seen[0] != 0
    torch.testing.assert_close(seen[0], 2 * features * kept)
    assert kept[features != 0].float().mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("name", ["resnet9", "resnet18", "resnet34"])
def test_wide_resnets_are_those_of_torchvision_with_a_small_stem(name):
    model = model_of(name)
    num_blocks = {"resnet9": [1, 1, 1, 1], "resnet18": [2, 2, 2, 2], "resnet34": [3, 4, 6, 3]}[name]
    oracle = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, num_blocks, num_classes=10)
    oracle.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    if name != "resnet9":
        oracle.maxpool = nn.Identity()
    ours, theirs = model.state_dict(), oracle.state_dict()
    oracle.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))
    images = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(model(images), oracle(images))


@pytest.mark.parametrize(("name", "depth"), [("resnet8", 8), ("resnet14", 14), ("resnet20", 20), ("resnet32", 32)])
def test_thin_resnets_halve_the_image_twice(name, depth):
    model = model_of(name, image_size=32).eval()
    assert model.stages(model.stem(torch.randn(1, 3, 32, 32))).shape == (1, 64, 8, 8)
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) + 1 == depth


@pytest.mark.parametrize(("image_size", "side"), [(32, 4), (63, 8), (64, 4)])
def test_ultranet_halves_large_images_at_once(image_size, side):
    model = model_of("ultranet18", image_size=image_size).eval()
    images = torch.randn(1, 3, image_size, image_size)
    assert model.stages(model.stem(images)).shape == (1, 512, side, side)
    assert model.features(images).min() >= 0


@pytest.mark.parametrize(("in_channels", "stride"), [(32, 1), (16, 2)])
def test_ultra_block_step_by_step(in_channels, stride):
    torch.manual_seed(0)
    block = UltraBlock(in_channels, 32, stride, 0.0)
    activations = torch.randn(2, in_channels, 8, 8)
    activated = block.bn1(activations).clamp(min=0)
    branch = F.conv2d(activated, block.conv1.weight, stride=stride, padding=1)
    branch = F.conv2d(block.bn2(branch).clamp(min=0), block.conv2.weight, padding=1)
    squeezed = block.excitation.fc1(branch.mean(dim=(2, 3), keepdim=True)).clamp(min=0)
    assert squeezed.shape == (2, 2, 1, 1)
    branch = branch * block.excitation.fc2(squeezed).sigmoid()
    shortcut = activations if stride == 1 else F.conv2d(activated, block.shortcut.weight, stride=stride)
    torch.testing.assert_close(block(activations), shortcut + branch)


@pytest.mark.parametrize("name", models_taking("drop_path"))
def test_drop_path_rises_linearly_and_changes_no_weight(name):
    model = model_of(name, drop_path=0.2)
    probabilities = [block.drop_path.p for stage in model.stages for block in stage]
    last = len(probabilities) - 1
    assert probabilities == pytest.approx([0.2 * depth / last for depth in range(last + 1)])
    plain = model_of(name)
    assert {block.drop_path.p for stage in plain.stages for block in stage} == {0.0}
    assert same_weights(plain, model)


def test_models_that_take_drop_path_are_the_resnets():
    assert set(models_taking("drop_path")) == {*MODELS} - {"lenet", "small_cnn"}


@pytest.mark.parametrize(
    "block",
    [ResidualBlock(16, 16, 1, 0.25, shortcut=projected_shortcut), UltraBlock(16, 16, 1, 0.25)],
    ids=["residual", "ultra"],
)
def test_a_dropped_path_leaves_an_image_its_shortcut(block):
    torch.manual_seed(0)
    activations = torch.rand(400, 16, 4, 4)  # not negative: ResidualBlock's last ReLU changes nothing
    block.eval()
    with torch.no_grad():
        if isinstance(block, ResidualBlock):
            block.bn2.bias.fill_(5.0)  # nor here
        branch = block(activations) - activations
        block.drop_path.train()
        trained = block(activations) - activations
    kept = trained.flatten(1).any(dim=1)
    assert kept.float().mean() == pytest.approx(0.75, abs=0.06)
    # What is kept is enlarged, so that its mean is that of the evaluation.
    torch.testing.assert_close(trained[kept], branch[kept] / 0.75)


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
        ("resnet_18", {}, "model must be one of .*, got 'resnet_18'; did you mean 'resnet18'\\?"),
        ("small_cnn", {"head": "cosin"}, "head must be one of .*, got 'cosin'; did you mean 'cosine'\\?"),
        ("small_cnn", {"num_classes": 1}, "num_classes must be at least 2, got 1"),
        ("small_cnn", {"in_channels": 4}, "in_channels must be 1 or 3, got 4"),
        ("small_cnn", {"image_size": 8}, "image_size must be at least 16, got 8"),
        ("small_cnn", {"padding": "vald"}, "padding must be one of same, valid, got 'vald'; did you mean 'valid'\\?"),
        (
            "small_cnn",
            {"padding": "valid", "image_size": 21},
            "padding 'valid' needs an image_size of at least 22, got 21",
        ),
        ("small_cnn", {"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ("resnet20", {"drop_path": -0.1}, r"drop_path must be in \[0, 1\), got -0.1"),
        ("resnet9", {"padding": "same"}, "model resnet9 takes no padding; the models that do: small_cnn"),
        ("lenet", {"dropout": 0.0}, "model lenet takes no dropout; the models that do: small_cnn"),
        ("small_cnn", {"drop_path": 0.1}, "model small_cnn takes no drop_path; the models that do: resnet9, resnet18"),
    ],
)
def test_impossible_models_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        model_of(name, **settings)


# --- JigsawNet ------------------------------------------------------------------------------------------------------


def jigsaw_net_of(**settings):
    torch.manual_seed(0)
    return JigsawNet(**{"grid": 2, "in_channels": 3, "image_size": 32} | settings)


def test_jigsaw_net_has_the_parameters_of_the_source():
    # conv1, conv2, conv3, BatchNorm, FC1 as SmallCnn; FC 64·256 + 256, 1024·256 + 256, 256·16 + 16
    encoder = 896 + 18_496 + 36_928 + 128 + 65_600
    assert num_parameters(jigsaw_net_of()) == encoder + 16_640 + 262_400 + 4_112
    # Tiles of 10 pixels: 10 -> 5 -> 2, so FC1 has 256·64 + 64; FC 2304·256 + 256, 256·81 + 81
    encoder = 896 + 18_496 + 36_928 + 128 + 16_448
    assert num_parameters(jigsaw_net_of(grid=3)) == encoder + 16_640 + 590_080 + 20_817


@pytest.mark.parametrize(("in_channels", "image_size"), [(3, 32), (1, 16), (3, 30), (3, 64)])
def test_the_encoder_of_2x2_tiles_has_the_layers_of_small_cnn(in_channels, image_size):
    small_cnn = model_of("small_cnn", in_channels=in_channels, image_size=image_size)
    trunk = {key: value.shape for key, value in small_cnn.state_dict().items() if not key.startswith("head")}
    jigsaw_net = jigsaw_net_of(in_channels=in_channels, image_size=image_size)
    encoder = {key: value.shape for key, value in jigsaw_net.state_dict().items() if key in trunk}
    assert encoder == trunk


@pytest.mark.parametrize(("grid", "in_channels", "image_size"), [(2, 3, 32), (3, 3, 32), (2, 1, 17), (4, 1, 16)])
def test_jigsaw_net_scores_each_tile_for_each_place(grid, in_channels, image_size):
    model = jigsaw_net_of(grid=grid, in_channels=in_channels, image_size=image_size).eval()
    tiles = torch.randn(3, grid**2, in_channels, image_size // grid, image_size // grid)
    scores = model(tiles)
    assert scores.shape == (3, grid**2, grid**2)
    # A puzzle's scores are its own.
    torch.testing.assert_close(model(tiles[1:2]), scores[1:2])


def test_jigsaw_net_is_the_source_network_layer_by_layer():
    model = jigsaw_net_of().eval()
    model.batch_norm.running_mean.uniform_()
    tile_net = nn.Sequential(
        *(model.conv1, nn.ReLU(), nn.MaxPool2d(2)),
        *(model.conv2, nn.ReLU(), nn.MaxPool2d(2)),
        *(model.conv3, nn.ReLU(), model.batch_norm, nn.Flatten()),
        *(model.fc1, nn.ReLU(), model.fc2, nn.ReLU()),
    )
    puzzle_net = nn.Sequential(model.fc3, nn.ReLU(), model.fc4)
    tiles = torch.randn(5, 4, 3, 16, 16)
    features = torch.cat([tile_net(tiles[:, position]) for position in range(4)], dim=1)
    torch.testing.assert_close(model(tiles), puzzle_net(features).reshape(5, 4, 4))


@pytest.mark.parametrize("grid", [2, 3])
def test_jigsaw_net_overfits_32_puzzles(grid):
    model = jigsaw_net_of(grid=grid)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(32, 3, 32, 32, generator=generator)
    permutations = random_permutations(32, grid**2, generator)
    puzzles = shuffle_tiles(cut_tiles(images, grid=grid, gap=0, generator=None), permutations)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(30):
        log_y = log_sinkhorn(model(puzzles), temperature=1.0, num_iterations=20)
        loss = row_nll(log_y, permutations)
        exact = puzzle_metrics(log_y, permutations)["exact_accuracy"]
        if loss < 0.05 and exact == 1:  # ln 4 = 1.4 or ln 9 = 2.2 at the start
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pytest.fail(f"after 30 steps {exact:.0%} are exact, at a loss of {loss}")


@pytest.mark.parametrize(("grid", "image_size", "limit"), [(1, 32, 8), (9, 32, 8), (5, 16, 4)])
def test_impossible_grids_are_refused(grid, image_size, limit):
    with pytest.raises(
        ValueError, match=rf"grid must be in \[2, {limit}\] for images of {image_size} pixels.*got {grid}"
    ):
        jigsaw_net_of(grid=grid, image_size=image_size)
