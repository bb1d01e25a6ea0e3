"""A user's own part trains as the project's: the same function under another name gives the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from inspect_run import write_trained_run
from learner_cases import digits, few_digits, setup_of
from torch import nn

from study.core.plugins import keep_sources, use_given
from study.probes.inspection import inspect_trial
from study.probes.replay import replay_trial
from trainables.common.plugins import plugins_in_use, use
from trainables.data.sources import load_dataset
from trainables.data.types import DataError, TestData
from trainables.probes.inspection import penultimate_features
from trainables.tasks.imbalance import IMBALANCE

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "my_parts.py"

TWINS = """
from trainables import own
from trainables.data.augmentation import random_crop
from trainables.models import MODELS
from trainables.parts.class_weights import class_balanced_weights
from trainables.parts.losses import focal
from trainables.parts.mixing import mixup
from trainables.parts.optimizers import OPTIMIZERS
from trainables.parts.samplers import weighted
from trainables.parts.schedules import cosine

own.hyperparameter("my_beta", example=0.99, ge=0, lt=1)
own.loss("my_focal", needs=("focal_gamma",))(focal)
own.class_weighting("my_class_balanced", needs=("my_beta",))(class_balanced_weights)
own.sampler("my_weighted", needs=("sampler_exponent",))(weighted)
own.augmentation("my_crop")(random_crop)
own.model("my_small_cnn")(MODELS["small_cnn"])
own.optimizer("my_sgd")(OPTIMIZERS["sgd"])
own.schedule("my_cosine")(cosine)
"""
BUILT_IN = {
    "loss": "focal", "class_weighting": "class_balanced", "sampler": "weighted", "augmentation": "crop",
    "model": "small_cnn", "optimizer": "sgd", "schedule": "cosine",
}  # fmt: skip
KNOBS = {"focal_gamma": 2.0, "sampler_exponent": 0.5, "batch_size": 32}


@pytest.fixture(autouse=True)
def no_plugin_stays() -> Iterator[None]:
    yield
    use(())


def test_the_project_s_parts_under_other_names_train_to_the_same_weights(tmp_path: Path) -> None:
    path = tmp_path / "twins.py"
    path.write_text(TWINS)
    use_given([str(path)])
    task = replace(IMBALANCE, plugins=plugins_in_use())
    twins = {kind: f"my_{name}" for kind, name in BUILT_IN.items()} | {"my_beta": 0.99}
    hashes = []
    for hparams in (BUILT_IN | {"class_weight_beta": 0.99}, twins):
        learner = task.learner({**hparams, **KNOBS}, few_digits(), setup_of(num_epochs=2))
        hashes.append([learner.weights_sha256()])
        for _ in range(2):
            learner.train_epoch()
            hashes[-1].append(learner.weights_sha256())
    assert hashes[0] == hashes[1]
    assert len(set(hashes[0])) == 3


def test_a_trial_is_inspected_and_replayed_by_the_run_s_copy_where_the_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "my_parts.py"
    path.write_text(EXAMPLE.read_text())
    run_dir = tmp_path / "runs" / "run"
    settings = {"dataset": "digits", "image_size": 16, "max_epochs": 1, "plugin": [str(path)], "arms": ("two_layers",)}
    write_trained_run(run_dir, "baseline", "two_layers-0000", **settings)
    keep_sources(run_dir)
    use(())
    path.unlink()
    found = replay_trial(run_dir, "two_layers-0000")
    assert (found.num_epochs, found.differences) == (1, ())
    use(())
    inspected = inspect_trial(run_dir, "two_layers-0000", layers=None, image="0", num_tsne=100)
    assert inspected.facts["equals_recorded"]
    assert [file.name for file in inspected.files if file.suffix == ".png"] == ["confusion.png", "tsne.png"]
    assert inspected.facts["left_out"] == [
        "feature maps: no layer was named, and the model has no convolution",
        "filters: the model has no convolution",
    ]


def test_what_the_last_linear_layer_is_given_stands_for_features_where_a_model_has_none() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2))
    images = torch.randn(4, 3, 2, 2)
    torch.testing.assert_close(penultimate_features(model, images), model[:3](images).detach())
    with pytest.raises(ValueError, match="nor a linear layer: name a layer"):
        penultimate_features(nn.Sequential(nn.Flatten()), images)


def test_an_own_metric_is_a_column_of_the_test(tmp_path: Path) -> None:
    use_given([str(EXAMPLE)])
    task = replace(IMBALANCE, plugins=plugins_in_use())
    learner = task.learner({"batch_size": 32}, few_digits(), setup_of(num_epochs=1))
    test = TestData(images=digits().test_images[:20, ::2, ::2], labels=digits().test_labels[:20])
    row = task.test(learner, few_digits(), test)
    logits = learner.predict(torch.from_numpy(test.images.copy()), torch.arange(20))
    assert row["metric/mean_confidence"] == pytest.approx(float(logits.softmax(1).amax(1).mean()))


def test_an_own_data_set_has_its_name_and_what_is_wrong_with_it_is_said(tmp_path: Path) -> None:
    use_given([str(EXAMPLE)])
    dataset = load_dataset("ones_and_sevens", data_root=tmp_path, download=False)
    assert (dataset.name, dataset.class_names) == ("ones_and_sevens", ("1", "7"))
    assert len(dataset.test_labels) == 100
    text = "from trainables.own import dataset\nfrom trainables.data.digits import load_digits\n"
    text += "from dataclasses import replace\n"
    for returned, complaint in (
        ("None", "the data set 'mine' must return an ImageDataset, got NoneType"),
        ("1 / 0", "the data set 'mine' fails: ZeroDivisionError: division by zero"),
        (
            "replace(load_digits(), test_labels=load_digits().test_labels + 1)",
            "the data set 'mine' must have test_labels",
        ),
        (
            "replace(load_digits(), train_images=load_digits().train_images / 255)",
            "the data set 'mine' must have train_",
        ),
    ):
        path = tmp_path / "parts.py"
        path.write_text(f"{text}dataset('mine')(lambda *options: {returned})\n")
        use_given([str(path)])
        with pytest.raises(DataError, match=f"^{complaint}"):
            load_dataset("mine", data_root=tmp_path, download=False)
