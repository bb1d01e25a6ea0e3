"""Train one configuration without Ray: five epochs of balanced softmax on imbalanced digits, on whatever is at hand.

    python examples/one_trial.py

The learner is what a study's trials are made of, so it can be profiled, stepped through or put on a bare GPU box.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from trainables.common.numerics import Numerics
from trainables.data.sources import load_dataset
from trainables.data.splits import thinned_counts, tuning_data
from trainables.tasks.imbalance import IMBALANCE
from trainables.training.setup import TrialSetup


def main() -> None:
    dataset = load_dataset("digits", data_root=Path("data"), download=False, image_size=16)
    # The first five classes are cut to a tenth; validation stays balanced, and the test split is not touched.
    step = partial(thinned_counts, imbalance="step", ratio=10, minority="first")
    data = tuning_data(dataset, thinned=step, subset_seed=0)
    hparams = {"loss": "balanced_softmax", "balanced_softmax_tau": 1.0, "batch_size": 32, "augmentation": "crop"}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    setup = TrialSetup(num_epochs=5, seed=0, numerics=Numerics(), device=device)
    learner = IMBALANCE.learner(hparams, data, setup)
    for _ in range(setup.num_epochs):
        epoch = learner.train_epoch()
        score = IMBALANCE.validate(learner, data)["balanced_accuracy"]
        print(f"epoch {epoch.epoch}: loss {epoch.train_loss:.3f}, validation balanced accuracy {100 * score:.1f} %")


if __name__ == "__main__":
    main()
