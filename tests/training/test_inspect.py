"""study.inspect: the hooks by hand, the pictures' data, and the verb on a run directory made here without Ray."""

from __future__ import annotations

import importlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from inspect_run import write_trained_run
from learner_cases import digits
from PIL import Image
from study_cases import edit_ledger
from study_process import PROJECT, assert_one_sentence, run_here
from torch import nn

from study import inspect
from study.core.errors import StudyError
from study.core.ledger import ASKED, Event, Ledger, finished
from study.page.figures.base import png
from study.probes import inspection_figures as figures
from study.probes.inspection import chosen_image, inspect_trial
from trainables.data.images import EncodedImage
from trainables.data.splits import tuning_data, whole
from trainables.data.types import DataError
from trainables.models import MODELS, build_model
from trainables.models.jigsaw_net import JigsawNet
from trainables.probes.inspection import (
    feature_maps,
    first_filters,
    layer_outputs,
    map_layers,
    penultimate_features,
    scaled_by_filter,
    telling_layers,
)

TRIAL, PUZZLES = "none-0000", "jigsaw_2x2-0000"


class TinyNet(nn.Module):
    """conv 1x1 with weights 2 and -1, an in-place ReLU used twice, the mean over the pixels, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(2, 1, 1)
        self.head = nn.Linear(1, 2)
        with torch.no_grad():
            self.conv1.weight.copy_(torch.tensor([2.0, -1.0]).view(2, 1, 1, 1))
            self.conv2.weight.copy_(torch.tensor([1.0, 10.0]).view(1, 2, 1, 1))
            self.conv2.bias.fill_(-5.0)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.relu(self.conv2(self.relu(self.conv1(images)))).mean(dim=(2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


IMAGE = torch.tensor([[[[1.0, -1.0], [3.0, 0.0]]]])


# --- hooks --------------------------------------------------------------------------------------------------


def test_feature_maps_are_what_a_layer_puts_out_before_an_in_place_relu_changes_it():
    maps = feature_maps(TinyNet(), IMAGE, ("conv2", "conv1"))
    assert list(maps) == ["conv2", "conv1"]
    assert maps["conv1"].tolist() == [[[[2, -2], [6, 0]], [[-1, 1], [-3, 0]]]]
    # relu: [2 0 6 0] and [0 1 0 0]; 1 x first + 10 x second - 5
    assert maps["conv2"].tolist() == [[[[-3, 5], [1, -5]]]]


def test_a_module_that_is_used_twice_has_its_uses_numbered():
    maps = feature_maps(TinyNet(), IMAGE, ("relu:1", "relu:2"))
    assert maps["relu:1"].tolist() == [[[[2, 0], [6, 0]], [[0, 1], [0, 0]]]]
    assert maps["relu:2"].tolist() == [[[[0, 5], [1, 0]]]]
    assert map_layers(TinyNet(), IMAGE) == ("conv1", "relu:1", "conv2", "relu:2")


def test_an_unknown_layer_lists_the_layers_and_no_hook_is_left():
    model = TinyNet()
    with pytest.raises(ValueError, match=r"no layer 'head' .* conv1, relu:1, conv2, relu:2$"):
        feature_maps(model, IMAGE, ("head",))
    assert not any(module._forward_hooks for module in model.modules())


def test_penultimate_features_are_what_the_head_is_given():
    features = penultimate_features(TinyNet().train(), IMAGE.repeat(300, 1, 1, 1))  # more than a batch
    assert features.shape == (300, 1)
    assert features.unique().tolist() == [1.5]  # (0 + 5 + 1 + 0) / 4


def test_filters_are_scaled_each_by_itself_over_its_channels():
    name, weights = first_filters(TinyNet())
    assert (name, weights.flatten().tolist()) == ("conv1", [2, -1])
    filters = torch.tensor([[[[-1.0, 0.0]], [[1.0, 3.0]]], [[[7.0, 7.0]], [[7.0, 7.0]]]])  # two of 2 channels, 1 x 2
    assert scaled_by_filter(filters).tolist() == [[[[0, 0.25]], [[0.5, 1]]], [[[0.5, 0.5]], [[0.5, 0.5]]]]


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        ("lenet", ("conv1", "conv2")),
        ("small_cnn", ("conv1", "conv3")),
        ("resnet9", ("stem.0", "stages.3")),
        ("resnet20", ("stem.0", "stages.2")),
        ("ultranet18", ("stem", "stages.3")),
    ],
)
def test_the_telling_layers_are_the_first_convolution_and_the_last_stage(model, layers):
    built = build_model(model, num_classes=3, in_channels=3, image_size=16)
    assert telling_layers(built) == layers
    assert list(feature_maps(built, torch.zeros(1, 3, 16, 16), layers)) == list(layers)


def test_every_model_has_telling_layers_with_maps_and_features():
    images = torch.zeros(1, 1, 16, 16)
    for name in MODELS:
        model = build_model(name, num_classes=3, in_channels=1, image_size=16)
        maps = feature_maps(model, images, telling_layers(model))
        assert all(output.ndim == 4 and len(output) == 1 for output in maps.values()), name
        assert penultimate_features(model, images).shape == (1, model.head.weight.shape[1]), name
    puzzles = JigsawNet(grid=2, in_channels=1, image_size=16)
    assert feature_maps(puzzles, torch.zeros(1, 4, 1, 8, 8), ("conv1",))["conv1"].shape == (4, 32, 8, 8)


def test_the_outputs_of_a_layer_are_flattened_and_of_its_last_use():
    images = IMAGE.repeat(300, 1, 1, 1)  # more than a batch
    assert layer_outputs(TinyNet(), images, "conv1").unique(dim=0).tolist() == [[2, -2, 6, 0, -1, 1, -3, 0]]
    assert layer_outputs(TinyNet(), images, "relu").unique(dim=0).tolist() == [[0, 5, 1, 0]]
    assert layer_outputs(TinyNet(), images, "head").shape == (300, 2)
    with pytest.raises(ValueError, match=r"no layer 'fc'; the layers are conv1, relu, conv2, head$"):
        layer_outputs(TinyNet(), images, "fc")


# --- what the pictures show ---------------------------------------------------------------------------------


def test_maps_are_over_their_own_largest_value_and_at_most_64():
    output = np.zeros((1, 70, 2, 2))
    output[0, 0] = [[1, -4], [0, 2]]
    output[0, 1] = [[0, 0], [0, 50]]
    (layer,) = figures.feature_maps_data(
        title="t", image=np.zeros((4, 4, 1)), notes=[], grid=1, outputs={"conv1": output}
    ).layers
    assert layer.maps.shape == (64, 2, 2)
    assert layer.maps[0].tolist() == [[0.25, -1], [0, 0.5]]
    assert layer.maps[1].tolist() == [[0, 0], [0, 1]]
    assert not layer.maps[2:].any()  # silent ones stay 0
    assert layer.title(1) == "conv1: the first 64 of 70 maps of 2 × 2"


def test_maps_of_one_pixel_share_a_scale():
    output = np.array([2.0, -8.0, 4.0]).reshape(1, 3, 1, 1)
    (layer,) = figures.feature_maps_data(
        title="t", image=np.zeros((4, 4, 1)), notes=[], grid=1, outputs={"stages.3": output}
    ).layers
    assert layer.maps.flatten().tolist() == [0.25, -1, 0.5]


def test_the_maps_of_tiles_are_put_together_row_by_row():
    tiles = np.arange(1.0, 5.0).reshape(4, 1, 1, 1) / 4
    (layer,) = figures.feature_maps_data(
        title="t", image=np.zeros((4, 4, 1)), notes=[], grid=2, outputs={"conv1": tiles}
    ).layers
    assert layer.maps.tolist() == [[[0.25, 0.5], [0.75, 1.0]]]


def test_filters_are_in_colour_unless_the_images_are_grey():
    weights = torch.tensor([[[[0.0, 1.0]], [[0.0, 2.0]], [[3.0, 4.0]]]])  # one filter, 3 channels, 1 x 2
    colour = figures.filters_data(title="t", layer="conv1", weights=weights, has_grey_images=False)
    assert colour.filters.tolist() == [[[[0, 0, 0.75], [0.25, 0.5, 1]]]]
    grey = figures.filters_data(title="t", layer="conv1", weights=weights, has_grey_images=True)
    assert grey.filters.tolist() == [[[0, 1]]]  # sums 3 and 7
    one = figures.filters_data(title="t", layer="conv1", weights=weights[:, :1], has_grey_images=False)
    assert one.filters.tolist() == [[[0, 1]]]


def test_confusion_is_in_percent_of_the_true_class():
    data = figures.confusion_data(title="t", counts=np.array([[3, 1], [0, 0]]), class_names=("a", "b"))
    assert data.matrix.tolist() == [[75, 25], [0, 0]]


def embedding(num_images: int, num_classes: int, *, superclasses: int | None = None) -> figures.Embedding:
    generator = np.random.default_rng(0)
    return figures.embedding_data(
        title="t",
        features=generator.normal(size=(num_images, 4)),
        labels=np.arange(num_images) % num_classes,
        class_names=[str(name) for name in range(num_classes)],
        superclass_of=None if superclasses is None else [name % superclasses for name in range(num_classes)],
        superclass_names=None if superclasses is None else [f"s{name}" for name in range(superclasses)],
    )


def test_perplexity_is_30_or_a_third_of_the_other_images():
    assert embedding(100, 2).perplexity == 30
    assert embedding(10, 2).perplexity == 3
    with pytest.raises(ValueError, match="at least 5 images, got 4"):
        embedding(4, 2)


def test_t_sne_is_coloured_by_class_then_superclass_then_without_a_legend():
    few, many, nameless = embedding(12, 3), embedding(60, 30, superclasses=5), embedding(60, 30)
    assert few.names == ("0", "1", "2")
    assert few.groups.tolist() == [0, 1, 2] * 4
    assert many.names == ("s0", "s1", "s2", "s3", "s4")
    assert many.groups.tolist() == [label % 5 for label in range(30)] * 2
    assert nameless.names is None
    assert np.array_equal(few.points, embedding(12, 3).points)  # the same picture each time
    for data in (few, many, nameless):
        assert png(figures.draw_embedding, data).startswith(b"\x89PNG")


# --- the image ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    return tuning_data(digits(), thinned=whole, subset_seed=0)


def test_an_index_is_of_the_validation_images(data):
    assert np.array_equal(chosen_image("3", data).pixels, data.images[data.val_indices[3]])


def test_a_file_is_cropped_at_its_centre_and_resized_like_the_data(tmp_path, data):
    pixels = np.zeros((64, 128, 3), dtype=np.uint8)
    pixels[:, 32:96] = (200, 100, 50)  # the centred square; all else is cropped away
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    chosen = chosen_image(str(tmp_path / "wide.png"), data)
    assert chosen.pixels.shape == (32, 32, 3)
    assert (chosen.pixels == (200, 100, 50)).all()
    Image.fromarray(np.full((8, 8), 77, dtype=np.uint8)).save(tmp_path / "small_grey.png")
    assert (chosen_image(str(tmp_path / "small_grey.png"), data).pixels == np.full((32, 32, 3), 77)).all()


def test_an_image_of_the_data_is_known_by_its_name_its_place_and_its_class(data):
    def find(name):
        place = int(data.val_indices[4]) if name == "validation" else int(data.train_indices[0])
        buffer = io.BytesIO()
        Image.fromarray(data.images[place]).save(buffer, format="PNG")
        return EncodedImage(contents=buffer.getvalue(), where=f"{name}.png")

    chosen = chosen_image("validation", data, find)
    assert (chosen.name, chosen.index) == ("validation.png (validation image 4)", 4)
    assert np.array_equal(chosen.pixels, data.images[data.val_indices[4]])
    assert chosen.label == data.labels[data.val_indices[4]]
    trained = chosen_image("training", data, find)
    assert (trained.name, trained.index) == ("training.png (a training image)", None)
    assert trained.label == data.labels[data.train_indices[0]]


# --- the verb -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """none-0000 trained for an epoch, and trials that were stopped, failed and are running."""
    run_dir = tmp_path_factory.mktemp("reports") / "run"
    write_trained_run(run_dir, "imbalance", TRIAL, dataset="digits", arms="none", max_epochs=1, image_size=16)
    with Ledger(run_dir) as ledger:
        for number in (1, 2, 3):
            payload = {"arm": "none", "number": number, "seed": 1, "params": {}, "hparams": {}}
            ledger.append(Event(kind=ASKED, trial_id=f"none-{number:04d}", payload=payload))
        ledger.append(finished("none-0001", "stopped"), finished("none-0002", "failed", "NaN"))
    return run_dir


@pytest.fixture(scope="module")
def puzzles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("reports") / "puzzles"
    write_trained_run(
        run_dir, "jigsaw", PUZZLES, stage="pretext", dataset="digits", arms="jigsaw", max_epochs=1, pretext_epochs=1,
        pretext_trials=1, trials_per_arm=1, label_fractions="1", image_size=16, train_images=200,
    )  # fmt: skip
    return run_dir


def picture_sizes(folder: Path) -> dict[str, tuple[int, int]]:
    sizes = {}
    for path in folder.glob("*.png"):
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            sizes[path.stem] = picture.size
    return sizes


def test_the_verb_in_a_process_of_its_own_writes_pictures_and_says_what_it_did(trained):
    command = [sys.executable, "-m", "study.inspect", str(trained), TRIAL, "--num-tsne", "60"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    folder = trained / "inspect" / TRIAL
    names = ("feature_maps.png", "filters.png", "confusion.png", "tsne.png", "inspect.json")
    first, *files = done.stdout.splitlines()
    assert files == [str(folder / name) for name in names]
    assert first.startswith("none-0000, epoch 1: val_balanced_accuracy 0.")
    assert first.endswith("as recorded; no test image was used")
    sizes = picture_sizes(folder)
    assert sizes.keys() == {"feature_maps", "filters", "confusion", "tsne"}
    assert all(width == 1440 and 200 < height < 3000 for width, height in sizes.values())

    facts = json.loads((folder / "inspect.json").read_text())
    with Ledger(trained) as ledger:
        recorded = ledger.book.trials[TRIAL].epochs[-1]
    assert (facts["trial"], facts["epoch"], facts["split"]) == (TRIAL, 1, "validation")
    assert facts["validation"]["val_accuracy"] == recorded["val_accuracy"]
    assert facts["validation"]["val_balanced_accuracy"] == recorded["val_balanced_accuracy"]
    assert facts["equals_recorded"] is True
    assert facts["layers"] == {"conv1": [32, 16, 16], "conv3": [64, 4, 4]}
    assert facts["tsne"]["num_images"] == 60
    assert facts["image"]["index"] == 0


def test_chosen_layers_and_a_file(trained, tmp_path):
    Image.fromarray(np.full((40, 50, 3), 90, dtype=np.uint8)).save(tmp_path / "photo.jpg")
    found = inspect_trial(trained, TRIAL, layers=("conv2", "relu:3"), image=str(tmp_path / "photo.jpg"), num_tsne=20)
    assert list(found.facts["layers"]) == ["conv2", "relu:3"]
    assert found.facts["image"]["file"] == str(tmp_path / "photo.jpg")
    assert found.facts["image"]["true_class"] is None


def test_all_layers_and_the_fully_connected_layer(trained):
    found = inspect_trial(trained, TRIAL, layers=("all",), image="3", num_tsne=20, tsne_layer="fc1")
    assert list(found.facts["layers"]) == [
        "conv1", "pool:1", "relu:1", "conv2", "pool:2", "relu:2", "conv3", "pool:3", "relu:3", "batch_norm",
    ]  # fmt: skip
    assert found.facts["tsne"]["layer"] == "fc1"
    assert found.facts["image"]["name"] == "validation image 3"


def test_a_puzzle_net_shows_filters_and_the_maps_of_its_tiles(puzzles):
    found = inspect_trial(puzzles, PUZZLES, layers=None, image="1", num_tsne=50)
    assert [path.name for path in found.files] == ["feature_maps.png", "filters.png", "inspect.json"]
    assert picture_sizes(puzzles / "inspect" / PUZZLES).keys() == {"feature_maps", "filters"}
    assert found.lines[1] == "left out: confusion and tsne: a puzzle net tells no classes apart"
    assert found.facts["layers"] == {"conv1": [32, 8, 8], "conv3": [64, 2, 2]}
    assert found.facts["equals_recorded"] is True


def test_another_recorded_accuracy_is_a_warning(trained, tmp_path):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    edit_ledger(run_dir, "UPDATE events SET payload = json_set(payload, '$.val_accuracy', 0.125) WHERE kind = 'epoch'")
    found = inspect_trial(run_dir, TRIAL, layers=None, image="0", num_tsne=5)
    assert found.facts["equals_recorded"] is False
    assert ["recorded as 0.125" in warning for warning in found.warnings] == [True]
    assert "as recorded" not in found.lines[0]


def test_weights_that_were_not_recorded_are_refused(trained, tmp_path):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    edit_ledger(run_dir, "UPDATE events SET payload = json_set(payload, '$.weights_sha256', 'ab') WHERE kind = 'epoch'")
    with pytest.raises(StudyError, match="does not hold the weights that the ledger has of none-0000"):
        inspect_trial(run_dir, TRIAL, layers=None, image="0", num_tsne=5)


def test_other_data_than_the_run_s_are_refused(trained, tmp_path):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    spec = json.loads((run_dir / "spec.json").read_text())
    (run_dir / "spec.json").write_text(json.dumps({**spec, "imbalance_ratio": 5}))
    with pytest.raises(StudyError, match=r"the data are not those that .* began with"):
        inspect_trial(run_dir, TRIAL, layers=None, image="0", num_tsne=5)


def test_a_checkpoint_that_is_damaged_or_gone(trained, tmp_path):
    run_dir = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("inspect"))
    checkpoint = run_dir / "checkpoints" / TRIAL / "epoch-0001.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    with pytest.raises(StudyError, match=r"the checkpoint of none-0000 is gone: .* holds none that is intact"):
        inspect_trial(run_dir, TRIAL, layers=None, image="0", num_tsne=5)
    shutil.rmtree(run_dir / "checkpoints")
    with pytest.raises(StudyError, match="the checkpoint of none-0000 is gone"):
        inspect_trial(run_dir, TRIAL, layers=None, image="0", num_tsne=5)
    assert not (run_dir / "inspect").exists()


BAD_INPUTS = {
    "no run": (["reports/no-such-run", TRIAL], "is not a run directory"),
    "unknown trial": (["RUN", "none-000"], "has no trial 'none-000'; did you mean 'none-0000'?"),
    "nothing near": (["RUN", "zzz"], "has no trial 'zzz'; completed are none-0000"),
    "stopped": (
        ["RUN", "none-0001"],
        "none-0001 was stopped, and only a completed trial can be looked into; of its arm",
    ),
    "failed": (["RUN", "none-0002"], "none-0002 failed, and only a completed trial"),
    "running": (["RUN", "none-0003"], "none-0003 is not finished, and only a completed trial"),
    "layer": (
        ["RUN", TRIAL, "--layers", "conv1,conv33"],
        "no layer 'conv33' with feature maps; the layers are conv1, pool:1, relu:1, conv2, pool:2, relu:2, conv3, "
        "pool:3, relu:3, batch_norm; did you mean 'conv3'?",
    ),
    "index": (
        ["RUN", TRIAL, "--image", "200"],
        "--image must be from 0 to 199, a validation image, or a file, got 200",
    ),
    "negative": (["RUN", TRIAL, "--image", "-1"], "--image must be from 0 to 199"),
    "no file": (["RUN", TRIAL, "--image", "no-such.png"], "there is no file 'no-such.png'"),
    "no name": (["RUN", TRIAL, "--image", "no-such.png"], "and the images of digits have no names"),
    "t-SNE layer": (
        ["RUN", TRIAL, "--tsne-layer", "fc2"],
        "--tsne-layer: there is no layer 'fc2'; the layers are conv1, conv2, conv3, pool, relu, batch_norm, fc1, "
        "dropout, head; did you mean 'fc1'?",
    ),
    "no image": (["RUN", TRIAL, "--image", __file__], "test_inspect.py cannot be decoded as an image"),
    "t-SNE": (["RUN", TRIAL, "--num-tsne", "4"], "--num-tsne must be at least 5, got 4"),
    "t-SNE word": (["RUN", TRIAL, "--num-tsne", "all"], "--num-tsne must be a whole number, got 'all'"),
    "option": (["RUN", TRIAL, "--layer", "conv1"], "unknown option '--layer'; did you mean '--layers'?"),
    "no trial": (["RUN"], "TRIAL"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_is_one_sentence(trained, case):
    arguments, message = BAD_INPUTS[case]
    with pytest.raises((StudyError, DataError)) as caught:
        inspect.main([str(trained) if word == "RUN" else word for word in arguments])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_input_ends_with_status_2_and_no_traceback(trained):
    status, stdout, stderr = run_here("study.inspect", str(trained), "none-0009")
    assert (status, stdout) == (2, "")
    assert_one_sentence(stderr)


def test_the_standard_library_s_inspect_is_what_import_inspect_gives():
    found = importlib.import_module("inspect")
    assert found is not inspect
    assert Path(found.__file__ or "").parent == Path(shutil.__file__).parent
