"""Ray Tune as PyTorch's tutorial has it: a function of its own for the training, a DataLoader a trial, a checkpoint an
epoch, ASHA and OptunaSearch.

As the tutorial, but for what costs it most: the loader has no processes of its own, which would take the other trial's
core, an image is normalised by CIFAR-10's own numbers, and the data are read from one array.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.loader import batches
from benchmarks.setting import (
    BATCH_SIZE,
    GRACE_EPOCHS,
    LOGARITHMIC,
    MODEL,
    RANGES,
    REDUCTION_FACTOR,
    Tuned,
    given_setting,
    say,
)
from trainables.models import build_model


def main() -> None:
    setting = given_setting()
    folder = Path(setting.folder).resolve()
    arrays, data = folder / "tutorial.npz", setting.data()
    parts = {"train": data.train_indices, "val": data.val_indices}
    np.savez(
        arrays,
        **{f"{part}_images": data.images[indices] for part, indices in parts.items()},
        **{f"{part}_labels": data.labels[indices] for part, indices in parts.items()},
    )
    ray.init(address="local", num_cpus=setting.num_slots, include_dashboard=False, log_to_driver=False)
    started = time.perf_counter()
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train, arrays=arrays, num_epochs=setting.num_epochs), {"cpu": 1}),
        param_space={
            knob: tune.loguniform(*limits) if knob in LOGARITHMIC else tune.uniform(*limits)
            for knob, limits in RANGES.items()
        },
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            num_samples=setting.num_trials,
            search_alg=OptunaSearch(seed=setting.seed),
            scheduler=ASHAScheduler(
                max_t=setting.num_epochs, grace_period=GRACE_EPOCHS, reduction_factor=REDUCTION_FACTOR
            ),
        ),
        run_config=tune.RunConfig(name="tutorial", storage_path=str(folder / "tutorial"), verbose=0),
    )
    results = tuner.fit()
    seconds = time.perf_counter() - started
    if results.errors:
        raise results.errors[0]
    epochs = sum((result.metrics or {})["training_iteration"] for result in results)
    say(Tuned(seconds=seconds, trials=len(results), epochs=epochs))


def train(config: dict[str, float], arrays: Path, num_epochs: int) -> None:
    net = build_model(MODEL, num_classes=10, in_channels=3, image_size=32)
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(
        net.parameters(),
        lr=config["learning_rate"],
        momentum=config["momentum"],
        weight_decay=config["weight_decay"],
    )
    with np.load(arrays) as found:
        train_loader, val_loader = (
            batches(
                found[f"{part}_images"],
                found[f"{part}_labels"],
                batch_size=BATCH_SIZE,
                num_workers=0,
                is_training=part == "train",
            )
            for part in ("train", "val")
        )
    for epoch in range(num_epochs):
        net.train()
        for inputs, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), labels)
            loss.backward()
            optimizer.step()
        net.eval()
        correct = total = 0
        with torch.no_grad():
            for inputs, labels in val_loader:
                correct += int((net(inputs).argmax(1) == labels).sum())
                total += len(labels)
        state: dict[str, Any] = {"epoch": epoch, "net": net.state_dict(), "optimizer": optimizer.state_dict()}
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "data.pkl").write_bytes(pickle.dumps(state))
            tune.report({"accuracy": correct / total}, checkpoint=tune.Checkpoint.from_directory(folder))


if __name__ == "__main__":
    main()
