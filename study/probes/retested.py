"""A winner's model as its retest on the first seed left it, rebuilt from ledger and kept weights."""

from __future__ import annotations

from pathlib import Path

import torch

from study.core.errors import StudyError
from study.core.ledger import Ledger
from study.core.run_dir import WEIGHTS, retest_folder
from study.engine.requirements import require_same_data
from study.engine.retest import seeds_of_search
from study.tasks.resolve import read_spec
from study.tasks.study import load_data
from trainables.data.splits import retest_data
from trainables.training.checkpoints import read_newest_checkpoint
from trainables.training.predictor import Predictor
from trainables.training.setup import TrialSetup


def load_retested(run_dir: Path, arm: str, *, device: torch.device) -> Predictor:
    """The model of the arm's winner, in evaluation mode, on the device.

    The data set is loaded, because normalisation and some logits follow from the training images. Raises StudyError if
    the winner was not retested on the first seed, if its weights are gone or are not those that were recorded, or if
    the arm predicts no classes; DataError if the data cannot be loaded.
    """
    study, spec = read_spec(run_dir)
    with Ledger(run_dir) as ledger:
        book = ledger.book
    dataset, data, _ = load_data(study, spec)
    require_same_data(run_dir, data, book)
    stage = next((stage for stage in study.stages(spec, data) if arm in stage.arms), None)
    if stage is None or not stage.task.is_classifier:
        raise StudyError(f"{run_dir} has no arm {arm!r} of classifiers")
    winner = stage.winners(book).get(arm)
    (seed,) = seeds_of_search(spec, winner.search if winner else 1, 1)
    row = next((row for row in book.retested({arm: winner}) if row["seed"] == seed), None) if winner else None
    if winner is None or row is None:
        raise StudyError(f"{arm} has no winner that was retested on seed {seed} yet")
    folder = run_dir / WEIGHTS / retest_folder(winner.trial_id, seed)
    state = read_newest_checkpoint(folder)
    if state is None:
        raise StudyError(
            f"{folder} holds no intact weights: they were deleted, or the run was made by a version that kept none"
        )
    assert spec.numerics is not None
    trained_on = retest_data(data, thinned=study.kept(spec), subset_seed=seed)
    setup = TrialSetup(num_epochs=stage.num_epochs(arm), seed=seed, numerics=spec.numerics, device=device)
    learner = stage.task.learner(winner.hparams, trained_on, setup)
    learner.model.load_state_dict(state["model"])
    if learner.weights_sha256() != row["weights_sha256"]:
        raise StudyError(f"{folder} does not hold the weights that the ledger has of {arm} on seed {seed}")
    return Predictor(learner, dataset.class_names)
