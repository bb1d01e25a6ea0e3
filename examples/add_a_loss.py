"""Add a loss of one's own and train with it beside cross-entropy, without editing a package.

    python examples/add_a_loss.py

It is generalised cross-entropy (Zhang & Sabuncu 2018, "Generalized Cross Entropy Loss", eq. 6): (1 - p_y^q) / q, which
tends to cross-entropy as q falls to 0 and minds wrong labels less as q rises to 1. A loss that is to stay becomes an
entry of trainables/parts/losses.py in the same way: see CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from trainables.common.numerics import Numerics
from trainables.data.sources import load_dataset
from trainables.data.splits import tuning_data, whole
from trainables.hparams import ImbalanceHparams, Tables
from trainables.parts.losses import LOSSES, Loss, weighted_mean
from trainables.tasks.imbalance import IMBALANCE
from trainables.training.setup import TrialSetup


def generalised_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weights: Tensor,
    class_counts: Tensor,
    scalars: Mapping[str, Tensor],
) -> Tensor:
    """(1 - p_y^q) / q with q = gce_q, averaged by class weight. See losses.LossFunction for shapes."""
    q = scalars["gce_q"]
    log_p = -F.cross_entropy(logits, targets, reduction="none")
    return weighted_mean((1 - (q * log_p).exp()) / q, targets, class_weights)


class GceHparams(ImbalanceHparams):
    """The hyperparameters of imbalance, and gce_q. The table says what the loss needs; hparams refuse it without."""

    gce_q: float | None = Field(None, gt=0, le=1)

    @classmethod
    def tables(cls) -> Tables:
        own = Loss(function=generalised_cross_entropy, needs=("gce_q",))
        return {**super().tables(), "loss": {**LOSSES, "generalised_cross_entropy": own}}


def main() -> None:
    task = replace(IMBALANCE, name="gce", hparams=GceHparams)
    dataset = load_dataset("digits", data_root=Path("data"), download=False, image_size=16)
    data = tuning_data(dataset, thinned=whole, subset_seed=0)
    setup = TrialSetup(num_epochs=3, seed=0, numerics=Numerics(), device=torch.device("cpu"))
    own = {"loss": "generalised_cross_entropy", "gce_q": 0.7}
    for hparams in ({"loss": "cross_entropy"}, own):
        learner = task.learner({**hparams, "batch_size": 32, "augmentation": "crop"}, data, setup)
        for _ in range(setup.num_epochs):
            learner.train_epoch()
        print(f"{hparams['loss']}: validation accuracy {100 * task.validate(learner, data)['accuracy']:.1f} %")


if __name__ == "__main__":
    main()
