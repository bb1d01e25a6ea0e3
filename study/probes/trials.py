"""A recorded trial set up as in the study, for what looks into single trainings."""

from __future__ import annotations

import torch

from study.core.spec import StudySpec
from study.core.stage import Stage
from trainables.training.setup import TrialSetup


def recorded_setup(spec: StudySpec, stage: Stage, *, arm: str, seed: int) -> TrialSetup:
    """The setup of the arm's training with that seed, by the run's numerics, whose threads this process then has."""
    assert spec.numerics is not None
    torch.set_num_threads(spec.numerics.num_threads)  # as in the trial: another number rounds differently
    return TrialSetup(
        num_epochs=stage.num_epochs(arm),
        seed=seed,
        numerics=spec.numerics,
        device=torch.device("cuda" if spec.gpus_per_trial and torch.cuda.is_available() else "cpu"),
    )
