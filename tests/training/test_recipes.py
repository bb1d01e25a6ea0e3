"""Every recipe and variant trains on small data; what sets it apart from its neighbours is seen in what it draws."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learner_cases import setup_of
from torch.nn import functional as F

from study.records.tables import RUN_EPOCHS, RUNS
from study.reproduction.recipe import LAST_EPOCH, Training
from study.reproduction.recipes import ABLATIONS, CLAIMS, CURVES, RECIPES
from study.reproduction.runs import MIN_IMAGES_PER_CLASS, Run, chosen_recipes, planned_runs, scaled_counts
from study.reproduction.spec import ReproductionSpec
from study.tasks.registry import STUDIES
from trainables.data.augmentation import VIEWS
from trainables.data.sources import load_dataset
from trainables.data.splits import retest_data, test_data, tuning_data, whole
from trainables.data.types import TestData, TuningData
from trainables.models.resnet_cifar import CifarResNet
from trainables.parts.recipe_losses import summed_over_counts
from trainables.tasks.recipe import RECIPE, images_drawn
from trainables.training.learner import Learner
from trainables.training.retest import train_and_test

SPEC = ReproductionSpec(dataset="digits", scale={"all": 0.01, "s3": 0.002})  # s3: one epoch of its 500, not five
RUNS_BY_NAME = {run.name: run for run in planned_runs(SPEC)}
# 16 pixels, so that the ResNets are quick; without padding the small CNN needs more.
SMALL, LARGE = 16, 32
TOO_LARGE_FOR_SMALL = {"s1_cnn.valid_padding"}
EACH, FEW = 120, 6  # images of each class, before a recipe thins them


@pytest.fixture(scope="module")
def pools() -> dict[int, tuple[TuningData, TestData]]:
    pools = {}
    for size in (SMALL, LARGE):
        dataset = load_dataset("digits", data_root=Path("nowhere"), download=False, image_size=size)
        pools[size] = tuning_data(dataset, thinned=whole, subset_seed=0), test_data(dataset)
    return pools


def trained(run: Run, pools: Any, folder: Path, start_from: str | None = None) -> tuple[dict[str, Any], list[Any]]:
    pool, test = pools[LARGE if run.name in TOO_LARGE_FOR_SMALL else SMALL]
    return train_and_test(
        run.training.task,
        retest_data(pool, thinned=lambda counts: run.thinned(np.full_like(counts, FEW)), subset_seed=7),
        TestData(images=test.images[:50], labels=test.labels[:50]),
        hparams=dict(run.training.hparams),
        setup=setup_of(num_epochs=run.num_epochs, seed=7),
        checkpoint_dir=folder,
        start_from=start_from,
    )


@pytest.fixture
def narrow(monkeypatch):
    """ResNets of a quarter of their width, a tenth of the time: that they train as they are is shown in test_models."""
    build = CifarResNet.__init__

    @wraps(build)  # build_model looks at the signature
    def build_narrow(self, *, widths, **options):
        build(self, widths=[width // 4 for width in widths], **options)

    monkeypatch.setattr(CifarResNet, "__init__", build_narrow)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", RUNS_BY_NAME)
def test_every_run_trains_at_a_hundredth_on_embedded_data(name, pools, tmp_path):
    run = RUNS_BY_NAME[name]
    start_from = None
    if run.training.begins_with:
        trained(RUNS_BY_NAME[run.training.begins_with], pools, tmp_path / "before")
        start_from = str(tmp_path / "before")
    row, epochs = trained(run, pools, tmp_path / "own", start_from)
    assert len(epochs) == run.num_epochs == max(1, round(run.scale * run.training.num_epochs))
    assert row["num_train"] == run.thinned(np.full(10, FEW)).sum()
    assert 0 <= row[run.training.task.score] <= 1
    measured = {*row, *epochs[-1]}
    assert measured <= {*RUNS.names, "epoch", "images", "train_loss", "learning_rate", *_NOT_KEPT}


_NOT_KEPT = {"test_macro_f1", "test_ece", "class_counts"}  # the last are in summary.json


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_what_a_recipe_points_at_exists(recipe):
    assert recipe.corrected in {None, LAST_EPOCH, *RUNS_BY_NAME}
    assert recipe.training.begins_with in {None, *RECIPES}
    if recipe.cause:
        assert recipe.cause.run in {LAST_EPOCH, *RUNS_BY_NAME}
    task, arm = recipe.tuned
    assert arm in {*STUDIES[task].arm_names, "pretext"}
    columns = {reported.column for reported in recipe.reported}
    assert columns <= set(RUNS.names)


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda ablation: ablation.name)
def test_an_ablation_is_a_full_grid_of_runs(ablation):
    assert len(ablation.cells) == len(ablation.rows)
    assert {len(row) for row in ablation.cells} == {len(ablation.columns)}
    assert set(ablation.runs) <= set(RUNS_BY_NAME)
    assert len(set(ablation.runs)) == len(ablation.runs)


@pytest.mark.parametrize("curves", CURVES, ids=lambda curves: curves.name)
def test_declared_curves_are_of_runs_that_exist(curves):
    assert {run for _, run in curves.runs} <= set(RUNS_BY_NAME)
    assert {reported.column for reported in curves.reported} <= set(RUN_EPOCHS.names)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_a_claim_is_of_two_runs_of_one_data_set_that_differ(claim):
    for _, treated, control in claim.pairs:
        assert treated != control
        assert RUNS_BY_NAME[treated].recipe.dataset == RUNS_BY_NAME[control].recipe.dataset
    assert claim.column in RUNS.names


def test_a_share_of_the_images_is_taken_before_the_scale_and_leaves_the_test_split_whole():
    runs = planned_runs(ReproductionSpec(recipes=("s3",), scale={"s3_c100.tenth": 0.5}))
    (tenth,) = (run for run in runs if run.name == "s3_c100.tenth")
    assert tenth.thinned(np.full(100, 500)).tolist() == [25] * 100
    assert tenth.num_epochs == 30
    assert tenth.training.hparams["batch_size"] == 205


def test_the_long_tail_is_the_same_with_the_small_net():
    for recipe in (RECIPES[f"s2_lt_{name}"] for name in ("none", "cb", "wrs", "cb_wrs")):
        changed = recipe.runs[f"{recipe.name}.small_cnn"][2]
        assert changed == recipe.training.with_changes({"model": "small_cnn"})


def test_a_recipe_brings_what_it_begins_with():
    assert [recipe.name for recipe in chosen_recipes(("s1_jigsaw_init",))] == ["s1_jigsaw2x2", "s1_jigsaw_init"]
    assert len(chosen_recipes(())) == len(RECIPES)
    assert {recipe.source for recipe in chosen_recipes(("s4", "s0_base"))} == {"s0", "s4"}


def test_a_variant_changes_what_it_names_and_nothing_else():
    recipe = RECIPES["s1_step_loss"]
    changed = recipe.runs["s1_step_loss.normalised"][2]
    assert changed.num_epochs == recipe.training.num_epochs
    differing = {k for k in changed.hparams if changed.hparams[k] != recipe.training.hparams.get(k)}
    assert differing == {"loss", "class_weighting", "class_weight_gamma"}


@pytest.mark.parametrize(
    ("scale", "expected"), [(1.0, [5000, 30]), (0.1, [500, 20]), (0.001, [20, 20])], ids=["whole", "tenth", "least"]
)
def test_scaled_counts_keep_twenty_images_a_class(scale, expected):
    assert MIN_IMAGES_PER_CLASS == 20
    assert scaled_counts(np.array([5000, 30]), scale).tolist() == expected
    assert scaled_counts(np.array([5000, 7]), scale).tolist()[1] == 7


def learner_of(name: str, pools: Any, *, num_epochs: int = 3) -> tuple[Learner, TuningData]:
    """At scale 1 on digits, EACH of a class: balanced, as CIFAR-10 is. The small CNN stands in for the ResNets."""
    runs = planned_runs(ReproductionSpec(dataset="digits", recipes=(name.partition(".")[0],)))
    (run,) = (run for run in runs if run.name == name)
    training: Training = run.training
    data = retest_data(pools[SMALL][0], thinned=lambda counts: run.thinned(np.full_like(counts, EACH)), subset_seed=7)
    learner = training.task.learner(
        {**training.hparams, "model": "small_cnn"} if training.task is RECIPE else dict(training.hparams),
        data,
        setup_of(num_epochs=num_epochs, seed=7),
    )
    return learner, data


def test_the_corrected_oversample_recipe_trains_on_the_oversampled_batch_and_the_faulty_one_does_not(pools):
    drawn = {
        name: np.array(images_drawn(*learner_of(name, pools))["drawn_per_class"])
        for name in ("s0_flag_oversample", "s0_flag_oversample.fed", "s0_flag_downweight")
    }
    faulty, fed = drawn["s0_flag_oversample"], drawn["s0_flag_oversample.fed"]
    # The faulty one sees at full scale what the recipe without any over-sampling sees: the full batches.
    assert faulty.tolist() == drawn["s0_flag_downweight"].tolist()
    learner, data = learner_of("s0_flag_oversample.fed", pools)
    plan = learner.batches.epoch_plan(1)
    at_full_scale = (plan.loss_scales == 1).repeat_interleave(torch.tensor(plan.batch_sizes))
    labels = torch.from_numpy(data.labels[data.train_indices])[plan.positions[at_full_scale]]
    counts = torch.bincount(labels, minlength=10).double()
    # Of the tail there is about as much as of the head, which comes from the recorded cut batches too.
    assert float(counts[:5].mean()) == pytest.approx(float(counts[5:].mean()), rel=0.15)
    assert fed[5:].sum() > 2 * faulty[5:].sum()
    assert fed[:5].sum() > 2 * faulty[:5].sum()


def test_the_mask_in_the_loop_sees_every_image_in_the_end_and_thinning_once_does_not(pools):
    in_the_loop = images_drawn(*learner_of("s0_flag_downweight", pools, num_epochs=60))["distinct_per_class"]
    once = images_drawn(*learner_of("s0_flag_downweight.thinned_once", pools, num_epochs=60))["distinct_per_class"]
    assert in_the_loop[5:] == once[5:] == [EACH] * 5
    assert sum(in_the_loop[:5]) > 0.95 * 5 * EACH
    assert once[:5] == [EACH // 10] * 5


def test_a_masked_batch_holds_no_tail_image_and_counts_little(pools):
    learner, data = learner_of("s0_flag_downweight", pools)
    labels = torch.from_numpy(data.labels[data.train_indices])
    plan = learner.batches.epoch_plan(1)
    parts = labels[plan.positions].split(plan.batch_sizes)
    scales = plan.loss_scales.tolist()
    assert {round(scale, 6) for scale in scales} == {1.0, 0.001}
    for part, scale in zip(parts, scales, strict=True):
        assert (scale == 1) == bool((part < 5).any())


@pytest.mark.parametrize(
    ("name", "images", "upside_down"),
    [
        ("s1_step_aug", 5 * 5 * (EACH + 2 * 12), True),
        ("s1_step_aug.no_vertical_flip", 5 * 5 * (EACH + 2 * 12), False),
        ("s1_step_aug_loss", 5 * 5 * (EACH + 12), True),
        ("s1_step_aug_loss.mended", 5 * 5 * (EACH + 12), False),
    ],
)
def test_an_augmented_epoch_is_as_long_as_the_source_set(name, images, upside_down, pools):
    """Views x five classes x (a frequent one's images and a rare one's, which count twice where they are doubled)."""
    learner, data = learner_of(name, pools)
    plan = learner.batches.epoch_plan(1)
    assert len(plan.positions) == images
    assert (VIEWS.index("vertical_flip") in plan.views.tolist()) == upside_down
    different = 5 if upside_down else 4  # brightness, each time by another factor, stands twice
    assert len(set(zip(plan.positions.tolist(), plan.views.tolist(), strict=True))) == different * data.num_train


def test_a_copied_epoch_holds_every_class_alike(pools):
    learner, data = learner_of("s1_step_copy", pools)
    plan = learner.batches.epoch_plan(1)
    counts = np.bincount(data.labels[data.train_indices][plan.positions], minlength=10)
    assert counts.tolist() == [EACH] * 10
    assert set(plan.positions.tolist()) == set(range(data.num_train))


def test_weights_over_counts_are_not_normalised():
    logits, targets = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4
    counts = torch.tensor([10, 10, 100, 100])
    expected = F.cross_entropy(logits, targets, weight=220 / counts, reduction="none").mean()
    ours = summed_over_counts(logits, targets, class_weights=torch.ones(4), class_counts=counts, scalars={})
    torch.testing.assert_close(ours, expected)
    weighted_mean = F.cross_entropy(logits, targets, weight=220 / counts)
    assert ours > 5 * weighted_mean


def permutations_by_image(learner: Learner, epoch: int) -> dict[int, list[int]]:
    plan = learner.batches.epoch_plan(epoch)
    drawn = torch.cat([targets for _, targets, _ in learner.batches.draw(plan, epoch)])
    return dict(zip(plan.positions.tolist(), drawn.tolist(), strict=True))


def test_the_source_puzzles_are_the_same_in_every_epoch_and_the_corrected_ones_are_not(pools):
    fixed, _ = learner_of("s1_jigsaw2x2", pools)
    first = permutations_by_image(fixed, 1)
    assert first == permutations_by_image(fixed, 2)
    assert len({tuple(permutation) for permutation in first.values()}) == 24
    fresh, _ = learner_of("s1_jigsaw2x2.fresh", pools)
    changed = permutations_by_image(fresh, 1), permutations_by_image(fresh, 2)
    assert np.mean([changed[0][image] == changed[1][image] for image in changed[0]]) < 0.1


def test_the_decay_of_a_recipe_is_on_everything_as_torch_has_it(pools):
    learner, _ = learner_of("s4_resnet9_noaug", pools)
    assert {group["weight_decay"] for group in learner.optimizer.param_groups} == {5e-4 * 64}
    assert not learner.optimizer.param_groups[0]["nesterov"]
