"""RECIPES: the five source systems' trainings as their reports state them, what was wrong with each, and what mends it.

A recipe is one entry: what is trained (a Training), what the report printed, its fault, and variants that mend it or
vary it. What a report does not state is chosen here, and `choices` says so. Accuracies are shares, 0-1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from study.errors import StudyError, nearest
from trainables.recipe import RECIPE, RECIPE_PUZZLES
from trainables.task import Task

Kind = Literal["recipe", "corrected", "control", "ablation", "cause"]
LAST_EPOCH = "last epoch"
"""Recipe.corrected, or the run of its cause, where that lies in what was reported and not in what was trained."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained. imbalance: "step" (first half of the classes to 1/10) or "exponential" (to 1/100).

    begins_with: the recipe whose weights of the same seed it begins with. score: the column of runs.parquet by which
    it is judged.
    """

    task: Task = RECIPE
    hparams: Mapping[str, Any]
    num_epochs: int
    imbalance: Literal["step", "exponential"] | None = None
    begins_with: str | None = None
    score: str = "test_accuracy"

    def with_changes(self, changes: Mapping[str, Any]) -> Training:
        """changes: fields of this class; its hparams are laid over those here."""
        hparams = {**self.hparams, **changes.get("hparams", {})}
        return replace(self, **{**changes, "hparams": hparams})


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A recipe's training with something changed: its fault mended, what it lacks as a control, an ablation's cell, or
    what would explain a difference to the report.
    """

    name: str
    kind: Kind
    says: str
    changes: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A number that a report printed. column: of runs.parquet, where ours stands."""

    what: str
    column: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training of a source system.

    corrected: the run whose number stands in the corrected column (a variant's, another recipe's), LAST_EPOCH or None.
    reported_per_class: the recalls that a report printed, the first classes' where not all are known. tuned: the study
    and the arm in which the same question was tuned. cause: why the number that comes out here differs from the
    reported one, where it does by more than 3 points, and the run without that cause, or LAST_EPOCH.
    """

    name: str
    says: str
    dataset: str
    training: Training
    reported: tuple[Reported, ...]
    fault: str
    choices: str
    corrected: str | None = None
    variants: tuple[Variant, ...] = ()
    reported_per_class: tuple[float, ...] = ()
    tuned: tuple[str, str] | None = None
    cause: tuple[str, str] | None = None

    @property
    def source(self) -> str:
        """s0 to s4."""
        return self.name[:2]

    @property
    def runs(self) -> dict[str, tuple[Kind, str, Training]]:
        """Run name -> its kind, what it is, and what is trained; the recipe's own first."""
        own: dict[str, tuple[Kind, str, Training]] = {self.name: ("recipe", self.says, self.training)}
        for variant in self.variants:
            changed = self.training.with_changes(variant.changes)
            own[f"{self.name}.{variant.name}"] = (variant.kind, variant.says, changed)
        return own


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A declared table: cells[row][column] is a run, whose score is shown with its interval.

    counts_images: whether to show how many different images each run trained on.
    """

    name: str
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    counts_images: bool = False

    @property
    def runs(self) -> tuple[str, ...]:
        return tuple(run for row in self.cells for run in row)


def _test(value: float) -> Reported:
    return Reported(what="test accuracy", column="test_accuracy", value=value)


def _train(value: float) -> Reported:
    return Reported(what="training accuracy", column="train_eval_accuracy", value=value)


_BEST_ON_TEST = "the best epoch on the judged set was reported"


def _hparams(model: str, optimizer: str, learning_rate: float, batch_size: int, **others: Any) -> dict[str, Any]:
    """Nothing that a report does not name: no augmentation, no schedule, no decay."""
    return {
        "model": model,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "schedule": "constant",
        "augmentation": "none",
        **others,
    }


# --- s0: a ResNet of eight blocks and a mask over the batches --------------------------------------------------

_S0 = _hparams("resnet8blocks", "sgd_heavy_ball", 0.005, 64, momentum=0.91, weight_decay=1e-4)
_MASK = {"sampler": "mask_in_loop", "full_batch_share": 0.1, "cut_loss_scale": 0.001}
_SMALL_CNN = {"model": "small_cnn"}
_S0_CHOICES = (
    "The ResNet is ResNet-18 with a CIFAR stem (eight basic blocks); a batch is full with probability 1/10, drawn anew "
    "for each batch."
)
_S0_RECIPES = (
    Recipe(
        name="s0_base",
        says="a ResNet of eight residual blocks, cross-entropy",
        dataset="cifar10",
        training=Training(hparams=_S0, num_epochs=30),
        reported=(_test(0.7916),),
        fault="no augmentation, no schedule",
        choices=_S0_CHOICES,
        corrected="s0_base.augmented",
        variants=(
            Variant(
                name="augmented",
                kind="corrected",
                says="crop and flip, cosine schedule",
                changes={"hparams": {"augmentation": "crop_flip", "schedule": "cosine"}},
            ),
        ),
        tuned=("baseline", "resnet18"),
    ),
    Recipe(
        name="s0_flag_downweight",
        says="about one batch in ten is full, of the others the first five classes are cut and the loss counts ×0.001",
        dataset="cifar10",
        training=Training(hparams={**_S0, **_MASK}, num_epochs=30),
        reported=(_test(0.6695),),
        fault="the mask is drawn inside the shuffled loop, so that over the epochs every image is seen; no untreated "
        "control",
        choices=_S0_CHOICES,
        corrected="s0_flag_downweight.thinned_once",
        variants=(
            Variant(
                name="thinned_once",
                kind="corrected",
                says="the first five classes are cut to 1/10 once, in the data set; all that is left of them lies in "
                "full batches",
                changes={"imbalance": "step", "hparams": {"sampler": "flag", "full_batch_share": None}},
            ),
            Variant(
                name="untreated",
                kind="control",
                says="cut to 1/10 once, every batch counts alike",
                changes={"imbalance": "step", "hparams": {"sampler": "shuffle", "full_batch_share": None}},
            ),
            Variant(
                name="small_cnn",
                kind="ablation",
                says="the same mask in the loop, s1's small CNN in the ResNet's place",
                changes={"hparams": _SMALL_CNN},
            ),
            Variant(
                name="small_cnn_thinned_once",
                kind="ablation",
                says="s1's small CNN on data that are cut to 1/10 once",
                changes={
                    "imbalance": "step",
                    "hparams": {**_SMALL_CNN, "sampler": "flag", "full_batch_share": None},
                },
            ),
        ),
        tuned=("imbalance", "flag_downweight"),
    ),
    Recipe(
        name="s0_flag_oversample",
        says="cut batches at ×0.001 are recorded and merged with the next full batch, over-sampled to balance and "
        "trained with class weights 1.1 and 1",
        dataset="cifar10",
        training=Training(hparams={**_S0, **_MASK, "class_weighting": "tail", "tail_class_weight": 1.1}, num_epochs=30),
        reported=(_test(0.6619),),
        fault="the over-sampled batch was built but never fed to the model: the full batch was",
        choices=_S0_CHOICES + " Its cut batches' weights (.001 and 1) come to 1: a cut batch has no image of the "
        "classes that would weigh .001. The merged images are trained on in batches of 64.",
        corrected="s0_flag_oversample.fed",
        variants=(
            Variant(
                name="fed",
                kind="corrected",
                says="the over-sampled batch is trained on; the mask is still drawn in the loop",
                changes={"hparams": {"sampler": "mask_in_loop_oversample"}},
            ),
            Variant(
                name="fed_thinned_once",
                kind="corrected",
                says="the same on data that are cut to 1/10 once",
                changes={"imbalance": "step", "hparams": {"sampler": "flag_oversample", "full_batch_share": None}},
            ),
        ),
        tuned=("imbalance", "warmup_oversample"),
    ),
)

# --- s1: a small CNN, step imbalance, and puzzles --------------------------------------------------------------

_S1 = _hparams("small_cnn", "adam", 1e-3, 64)
_S1_CHOICES = "Adam at 1e-3 and batches of 64: the report does not state its optimiser."
_ADAM_AND_SCALE = (
    "Adam does not mind the scale of a loss: with it, the mended weights change how a batch is averaged (over its "
    "weights, not its images), and not the learning rate."
)
_AUGMENTED = {"sampler": "augment_all", "photometric_strength": 0.3}
_S1_AUG_CHOICES = (
    _S1_CHOICES + " The five are the image, two flips, brightness and contrast, each × 0.7 to 1.3, drawn anew in each "
    "epoch."
)
_S1_RECIPES = (
    Recipe(
        name="s1_cnn",
        says="three convolutions, 'same' padding, on all of CIFAR-10",
        dataset="cifar10",
        training=Training(hparams=_S1, num_epochs=20),
        reported=(_test(0.7259),),
        fault=_BEST_ON_TEST,
        choices=_S1_CHOICES,
        corrected=LAST_EPOCH,
        variants=(
            Variant(
                name="valid_padding",
                kind="ablation",
                says="convolutions without padding",
                changes={"hparams": {"padding": "valid"}},
            ),
        ),
        tuned=("baseline", "small_cnn"),
    ),
    Recipe(
        name="s1_step_none",
        says="the small CNN, the first five classes cut to 1/10 once",
        dataset="cifar10",
        training=Training(hparams=_S1, num_epochs=20, imbalance="step"),
        reported=(_test(0.5924),),
        fault=f"none is named; as in s1_cnn, {_BEST_ON_TEST}",
        choices=_S1_CHOICES,
        corrected=LAST_EPOCH,
        tuned=("imbalance", "none"),
    ),
    Recipe(
        name="s1_step_copy",
        says="first five classes at 1/10, each image of theirs copied nine more times",
        dataset="cifar10",
        training=Training(hparams={**_S1, "sampler": "copy_all"}, num_epochs=20, imbalance="step"),
        reported=(_test(0.5820),),
        fault=f"none is named; as in s1_cnn, {_BEST_ON_TEST}",
        choices=_S1_CHOICES,
        corrected=LAST_EPOCH,
        tuned=("imbalance", "copy"),
    ),
    Recipe(
        name="s1_step_aug",
        says="first five classes at 1/10, five views of each image, those of the five then doubled",
        dataset="cifar10",
        training=Training(hparams={**_S1, **_AUGMENTED}, num_epochs=20, imbalance="step"),
        reported=(_test(0.6055),),
        fault="a vertical flip is among the views: pictures upside down, which the test set does not have",
        choices=_S1_AUG_CHOICES,
        corrected="s1_step_aug.no_vertical_flip",
        variants=(
            Variant(
                name="no_vertical_flip",
                kind="corrected",
                says="without the vertical flip, brightness again in its place",
                changes={"hparams": {"vertical_flip": False}},
            ),
        ),
        tuned=("imbalance", "augment_copies"),
    ),
    Recipe(
        name="s1_step_loss",
        says="first five classes at 1/10, class weights ΣN / N_j",
        dataset="cifar10",
        training=Training(hparams={**_S1, "loss": "summed_over_counts"}, num_epochs=20, imbalance="step"),
        reported=(_test(0.6280),),
        fault="the weights (5.5 and 55) are not normalised, so that the learning rate changes too",
        choices=f"{_S1_CHOICES} {_ADAM_AND_SCALE}",
        corrected="s1_step_loss.normalised",
        variants=(
            Variant(
                name="normalised",
                kind="corrected",
                says="weights of mean 1 and a weighted mean",
                changes={"hparams": {"loss": "cross_entropy", "class_weighting": "inverse", "class_weight_gamma": 1.0}},
            ),
        ),
        tuned=("imbalance", "weighted_loss"),
    ),
    Recipe(
        name="s1_step_aug_loss",
        says="first five classes at 1/10, five views of each image, and class weights ΣN / N_j",
        dataset="cifar10",
        training=Training(
            hparams={**_S1, **_AUGMENTED, "doubles_tail": False, "loss": "summed_over_counts"},
            num_epochs=20,
            imbalance="step",
        ),
        reported=(_test(0.6060),),
        fault="both of the faults before: the vertical flip, and weights that are not normalised",
        choices=f"{_S1_AUG_CHOICES} The set is not doubled here. {_ADAM_AND_SCALE}",
        corrected="s1_step_aug_loss.mended",
        variants=(
            Variant(
                name="mended",
                kind="corrected",
                says="without the vertical flip, brightness again in its place; weights of mean 1 and a weighted mean",
                changes={
                    "hparams": {
                        "vertical_flip": False,
                        "loss": "cross_entropy",
                        "class_weighting": "inverse",
                        "class_weight_gamma": 1.0,
                    }
                },
            ),
        ),
        tuned=("imbalance", "augment_copies_weighted_loss"),
        cause=(
            "for this training it is not stated which epoch was reported; ours is at its best early and then overfits",
            LAST_EPOCH,
        ),
    ),
    Recipe(
        name="s1_jigsaw2x2",
        says="2×2 puzzles: a shared tile CNN, a 4×4 Sinkhorn operator, BCE against the permutation matrix",
        dataset="cifar10",
        training=Training(
            task=RECIPE_PUZZLES,
            hparams={
                "optimizer": "adam",
                "learning_rate": 1e-3,
                "batch_size": 64,
                "weight_decay": 0.0,
                "schedule": "constant",
                "augmentation": "none",
                "grid": 2,
                "puzzle_loss": "bce",
                "temperature": 1.0,
                "sinkhorn_iterations": 20,
                "fixed_permutations": True,
            },
            num_epochs=10,
            score="test_exact_accuracy_argmax",
        ),
        reported=(
            Reported(what="puzzles solved, by row argmax", column="test_exact_accuracy_argmax", value=0.6593),
            Reported(what="tiles in place, by row argmax", column="test_tile_accuracy_argmax", value=0.7918),
            Reported(what="confidence", column="test_confidence", value=0.7309),
        ),
        fault="one permutation an image, the same in every epoch; the row argmax can give a place to two tiles",
        choices="Adam at 1e-3, batches of 64, 20 Sinkhorn iterations at temperature 1: the report states none of them.",
        corrected="s1_jigsaw2x2.fresh",
        variants=(
            Variant(
                name="fresh",
                kind="corrected",
                says="a fresh permutation for every view; solved by optimal assignment",
                changes={"score": "test_exact_accuracy", "hparams": {"fixed_permutations": False}},
            ),
            Variant(
                name="slower",
                kind="cause",
                says="SGD at .001 with momentum .9 in Adam's place",
                changes={"hparams": {"optimizer": "sgd_heavy_ball", "learning_rate": 1e-3}},
            ),
        ),
        cause=(
            "the report does not state its optimiser, and its net seems to have learnt more slowly than ours with "
            "Adam, which is where the report ended after about one epoch of ten; SGD at .001 learns more slowly",
            "s1_jigsaw2x2.slower",
        ),
        tuned=("jigsaw", "pretext"),
    ),
    Recipe(
        name="s1_jigsaw_init",
        says="s1_cnn that begins with the puzzles' convolutions and first FC layer",
        dataset="cifar10",
        training=Training(hparams=_S1, num_epochs=20, begins_with="s1_jigsaw2x2"),
        reported=(_test(0.7429),),
        fault="one run, and no control that trains as long as puzzles and classifier together",
        choices=_S1_CHOICES,
        corrected="s1_jigsaw_init.equal_epochs",
        variants=(
            Variant(
                name="equal_epochs",
                kind="control",
                says="from scratch for 30 epochs, as long as puzzles and classifier together",
                changes={"begins_with": None, "num_epochs": 30},
            ),
        ),
        tuned=("jigsaw", "jigsaw"),
    ),
)

# --- s2: EuroSAT -----------------------------------------------------------------------------------------------

_S2_CHOICES = "The network is small_cnn, 20 epochs, batches of 64: the report states none of them."
_S2_OPTIMIZERS = {
    "sgd": ("SGD", "sgd_heavy_ball", 0.01, 0.9),
    "adam": ("Adam", "adam", 1e-3, 0.9),
    "rmsprop": ("RMSprop", "rmsprop", 1e-3, 0.0),
}
_S2_TASK_A = tuple(
    Recipe(
        name=f"s2_taskA_{name}",
        says=f"a CNN on EuroSAT RGB, {title} at {learning_rate:g}",
        dataset="eurosat",
        training=Training(
            hparams=_hparams("small_cnn", optimizer, learning_rate, 64, momentum=momentum), num_epochs=20
        ),
        reported=(_test(0.967), _train(0.954)),
        fault=f"{_BEST_ON_TEST}, of the best of three optimisers",
        choices=_S2_CHOICES,
        corrected=LAST_EPOCH,
        tuned=("baseline", "small_cnn"),
    )
    for name, (title, optimizer, learning_rate, momentum) in _S2_OPTIMIZERS.items()
)
_ULTRANET = _hparams("ultranet18", "adam", 1e-3, 64, schedule="multi_step", augmentation="resized_crop_flip")
_ULTRANET_CHOICES = (
    "UltraNet18's block is a design of our own, since the source's figure of it is lost; 20 epochs, Adam at 1e-3, ×0.1 "
    "at 60 and 80 % of them, batches of 64."
)
_LT_CHOICES = _ULTRANET_CHOICES + " The long tail is exponential, 1/100, the last class the rarest; β = .9999."
_WRS = {"sampler": "weighted", "sampler_exponent": 0.0}
_CB = {"class_weighting": "class_balanced", "class_weight_beta": 0.9999}


def _long_tailed(name: str, says: str, remedy: Mapping[str, Any], reported: tuple[Reported, ...], arm: str) -> Recipe:
    return Recipe(
        name=f"s2_lt_{name}",
        says=says,
        dataset="eurosat",
        training=Training(hparams={**_ULTRANET, **remedy}, num_epochs=20, imbalance="exponential"),
        reported=reported,
        fault="the imbalance ratio is not stated",
        choices=_LT_CHOICES,
        tuned=("imbalance", arm),
    )


_S2_RECIPES = (
    *_S2_TASK_A,
    Recipe(
        name="s2_ultranet18",
        says="EuroSAT, ResNet-18's layout with two UltraBlocks a stage, random resized crop and flip",
        dataset="eurosat",
        training=Training(hparams=_ULTRANET, num_epochs=20),
        reported=(_test(0.8620), _train(0.9230)),
        fault="the block's figure is lost",
        choices=_ULTRANET_CHOICES,
        variants=(
            Variant(
                name="no_augmentation",
                kind="ablation",
                says="without augmentation",
                changes={"hparams": {"augmentation": "none"}},
            ),
            Variant(
                name="constant_lr",
                kind="ablation",
                says="without learning-rate decay",
                changes={"hparams": {"schedule": "constant"}},
            ),
            Variant(
                name="neither",
                kind="ablation",
                says="without augmentation and without learning-rate decay",
                changes={"hparams": {"augmentation": "none", "schedule": "constant"}},
            ),
        ),
        tuned=("baseline", "ultranet18"),
    ),
    _long_tailed("none", "EuroSAT long-tailed, untreated", {}, (_test(0.6709),), "none"),
    _long_tailed("cb", "EuroSAT long-tailed, class-balanced loss", _CB, (), "class_balanced"),
    _long_tailed("wrs", "EuroSAT long-tailed, WeightedRandomSampler (1/n)", _WRS, (), "weighted_sampler"),
    _long_tailed(
        "cb_wrs",
        "EuroSAT long-tailed, class-balanced loss and sampler",
        {**_CB, **_WRS},
        (_test(0.8487),),
        "class_balanced_weighted_sampler",
    ),
)

# --- s3: CIFAR-100 memorised -----------------------------------------------------------------------------------

_S3_RECIPES = (
    Recipe(
        name="s3_c100",
        says="a ResNet on CIFAR-100, batches of about 2,000, 500 epochs",
        dataset="cifar100",
        training=Training(hparams=_hparams("resnet18", "sgd_heavy_ball", 0.1, 2048), num_epochs=500),
        reported=(
            _test(0.493),
            Reported(what="test accuracy, last epoch", column="test_accuracy", value=0.4896),
        ),
        fault="memorised (it prints a training loss of 4e-6): no augmentation and no regularisation",
        choices="ResNet-18 with a CIFAR stem; SGD at .1 with momentum .9, constant: the report states neither.",
        corrected="s3_c100.regularised",
        variants=(
            Variant(
                name="regularised",
                kind="corrected",
                says="crop and flip, weight decay 5e-4",
                changes={"hparams": {"augmentation": "crop_flip", "weight_decay": 5e-4}},
            ),
        ),
        tuned=("cifar100", "both"),
    ),
)

# --- s4: the tutorial's CNN and a small ResNet -----------------------------------------------------------------

_LENET = _hparams("lenet", "sgd_heavy_ball", 1e-3, 4)
_LENET_CHOICES = (
    "SGD at .001 with momentum .9, as in the tutorial that the report follows. Of its table of classes three numbers "
    "are known to us, not of which of its two trainings: they stand beside the longer one."
)
_RESNET9 = _hparams("resnet9", "sgd_heavy_ball", 5e-3, 64, weight_decay=5e-4 * 64, schedule="cosine")
_MEAN_DECAY = Variant(
    name="plain_decay",
    kind="corrected",
    says="weight decay 5e-4, not times the batch size",
    changes={"hparams": {"weight_decay": 5e-4}},
)


def _lenet(
    name: str,
    num_epochs: int,
    reported: tuple[Reported, ...],
    variants: tuple[Variant, ...] = (),
    per_class: tuple[float, ...] = (),
) -> Recipe:
    return Recipe(
        name=name,
        says=f"the PyTorch tutorial's CNN, {num_epochs} epochs, batches of 4",
        dataset="cifar10",
        training=Training(hparams=_LENET, num_epochs=num_epochs),
        reported=reported,
        fault="under-trained",
        choices=_LENET_CHOICES,
        corrected="s4_lenet_4ep.longer",
        variants=variants,
        reported_per_class=per_class,
        tuned=("baseline", "lenet"),
    )


def _resnet9(name: str, says: str, augmentation: str, test: float, train: float) -> Recipe:
    return Recipe(
        name=name,
        says=says,
        dataset="cifar10",
        training=Training(hparams={**_RESNET9, "augmentation": augmentation}, num_epochs=24),
        reported=(_test(test), _train(train)),
        fault="the weight decay was multiplied by the batch size under a mean loss",
        choices="Momentum .9 is Polyak's, and the decay is on every parameter, as torch's SGD does. Its range test "
        "logged a shifted learning rate; the one that it chose is kept.",
        corrected=f"{name}.plain_decay",
        variants=(_MEAN_DECAY,),
        tuned=("baseline", "resnet9"),
    )


_S4_RECIPES = (
    _lenet("s4_lenet_2ep", 2, (_test(0.53),)),
    _lenet(
        "s4_lenet_4ep",
        4,
        (_test(0.57), _train(0.61)),
        (
            Variant(
                name="longer",
                kind="corrected",
                says="12 epochs",
                changes={"num_epochs": 12},
            ),
        ),
        per_class=(0.33, 0.79, 0.32),
    ),
    _resnet9("s4_resnet9_noaug", "a ResNet with one block a stage, no augmentation", "none", 0.82, 0.99),
    _resnet9("s4_resnet9_aug", "a ResNet with one block a stage, pad 4, random crop and flip", "crop_flip", 0.88, 0.91),
)

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe for recipe in (*_S0_RECIPES, *_S1_RECIPES, *_S2_RECIPES, *_S3_RECIPES, *_S4_RECIPES)
}
SOURCES = tuple(dict.fromkeys(recipe.source for recipe in RECIPES.values()))

ABLATIONS = (
    Ablation(
        name="mask",
        title="The mask in the loop, or the data thinned once",
        rows=("in the loop", "thinned once"),
        columns=("ResNet", "small CNN"),
        cells=(
            ("s0_flag_downweight", "s0_flag_downweight.small_cnn"),
            ("s0_flag_downweight.thinned_once", "s0_flag_downweight.small_cnn_thinned_once"),
        ),
        counts_images=True,
    ),
    Ablation(
        name="padding",
        title="Padding of the small CNN",
        rows=("same", "valid"),
        columns=("test accuracy",),
        cells=(("s1_cnn",), ("s1_cnn.valid_padding",)),
    ),
    Ablation(
        name="optimisers",
        title="Three optimisers",
        rows=("test accuracy",),
        columns=tuple(title for title, *_ in _S2_OPTIMIZERS.values()),
        cells=(tuple(recipe.name for recipe in _S2_TASK_A),),
    ),
    Ablation(
        name="augmentation",
        title="Augmentation and learning-rate decay",
        rows=("augmented", "as they are"),
        columns=("with decay", "without"),
        cells=(
            ("s2_ultranet18", "s2_ultranet18.constant_lr"),
            ("s2_ultranet18.no_augmentation", "s2_ultranet18.neither"),
        ),
    ),
    Ablation(
        name="remedies",
        title="Class-balanced loss and weighted sampler",
        rows=("cross-entropy", "class-balanced loss"),
        columns=("shuffled", "weighted sampler"),
        cells=(("s2_lt_none", "s2_lt_wrs"), ("s2_lt_cb", "s2_lt_cb_wrs")),
    ),
)


def chosen_recipes(names: Sequence[str]) -> tuple[Recipe, ...]:
    """The recipes of these names, sources and 'all', in the table's order; what one begins with is among them.

    Raises StudyError with the nearest name.
    """
    known = ["all", *SOURCES, *RECIPES]
    chosen: set[str] = set()
    for name in names or ("all",):
        if name not in known:
            raise StudyError(f"there is no recipe {name!r}{nearest(name, known)}; known: {', '.join(known)}")
        chosen |= {r.name for r in RECIPES.values() if name in {"all", r.source, r.name}}
    chosen |= {begins for name in chosen if (begins := RECIPES[name].training.begins_with)}
    return tuple(recipe for recipe in RECIPES.values() if recipe.name in chosen)
