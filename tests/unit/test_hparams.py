"""Hyperparameters: what is refused before a trial begins, and in which words."""

import pytest
from learner_cases import few_digits, setup_of

from trainables.hparams import (
    ClassifierHparams,
    Hparams,
    ImbalanceHparams,
    JigsawHparams,
    RecipeHparams,
    TransferHparams,
)
from trainables.tasks.baseline import BASELINE

CLASSES = [Hparams, ClassifierHparams, ImbalanceHparams, RecipeHparams, TransferHparams, JigsawHparams]
NAMES = [(hparams, kind) for hparams in CLASSES for kind in hparams.tables()]


@pytest.mark.parametrize(("hparams", "kind"), NAMES, ids=lambda given: getattr(given, "__name__", given))
def test_a_name_that_is_in_no_table_is_refused_with_those_that_are(hparams, kind):
    allowed = ", ".join(hparams.tables()[kind])
    with pytest.raises(ValueError, match=f"{kind} must be one of {allowed}, got 'zzz'"):
        hparams(**{kind: "zzz"})


@pytest.mark.parametrize(
    ("kind", "name", "nearest"),
    [
        ("loss", "focl", "focal"),
        ("sampler", "weigthed", "weighted"),
        ("class_weighting", "class_balance", "class_balanced"),
        ("mixing", "mix_up", "mixup"),
        ("optimizer", "rmspop", "rmsprop"),
        ("schedule", "cosin", "cosine"),
        ("augmentation", "crop_flp", "crop_flip"),
    ],
)
def test_a_misspelt_name_gets_the_nearest_one(kind, name, nearest):
    with pytest.raises(ValueError, match=f"got '{name}'; did you mean '{nearest}'"):
        ImbalanceHparams(**{kind: name})


def test_a_default_is_no_exception():
    for hparams in CLASSES:
        hparams()


def test_a_knob_that_nothing_uses_is_let_be():
    """As old runs have them, and so that a configuration can be changed in one place."""
    assert ImbalanceHparams(focal_gamma=2.0, ldam_scale=30.0, mixing_alpha=0.5).loss == "cross_entropy"


def test_a_recipe_s_tables_are_longer_and_the_imbalance_study_s_are_not():
    RecipeHparams(sampler="copy_all", loss="summed_over_counts")
    for name in ({"sampler": "copy_all"}, {"loss": "summed_over_counts"}):
        with pytest.raises(ValueError, match="must be one of"):
            ImbalanceHparams(**name)
    with pytest.raises(ValueError, match="sampler 'mask_in_loop' needs full_batch_share, got None"):
        RecipeHparams(sampler="mask_in_loop", cut_loss_scale=0.1)
    with pytest.raises(ValueError, match="loss 'summed_over_counts' takes no soft targets"):
        RecipeHparams(loss="summed_over_counts", label_smoothing=0.1)


@pytest.mark.parametrize(
    ("hparams", "sentence"),
    [
        ({"augmentation": "crop_cutout"}, "augmentation 'crop_cutout' needs cutout_length, got None"),
        ({"learning_rate": -1.0}, "learning_rate must be greater than 0"),
        ({"lr": 0.1}, "lr is no hyperparameter of this task"),
        ({"learning_rat": 0.1}, r"learning_rat is no hyperparameter of this task; did you mean 'learning_rate'\?"),
    ],
)
def test_a_task_says_in_one_sentence_why_hyperparameters_do_not_hold(hparams, sentence):
    with pytest.raises(ValueError, match="^" + sentence + "$"):
        BASELINE.learner(hparams, few_digits(), setup_of(num_epochs=1))
