"""The typed, validated hyperparameters of a trial. Unknown keys are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Static: changes the program. Scalar: a number that may differ between trials that run side by side.
STATIC: dict[str, Any] = {"kind": "static"}
SCALAR: dict[str, Any] = {"kind": "scalar"}


class Hparams(BaseModel):
    """What every task's trial is given. warmup: the share of training in which the learning rate rises."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(json_schema_extra=STATIC)] = "small_cnn"
    optimizer: Annotated[str, Field(json_schema_extra=STATIC)] = "sgd"
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False, json_schema_extra=SCALAR)] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1, json_schema_extra=SCALAR)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False, json_schema_extra=SCALAR)] = 5e-4
    schedule: Annotated[str, Field(json_schema_extra=STATIC)] = "cosine"
    warmup: Annotated[float, Field(ge=0, le=0.5, json_schema_extra=SCALAR)] = 0.0
    batch_size: Annotated[int, Field(ge=2, json_schema_extra=STATIC)] = 128
    augmentation: Annotated[str, Field(json_schema_extra=STATIC)] = "crop_flip"

    @model_validator(mode="after")
    def _one_warmup(self) -> Self:
        if self.schedule == "one_cycle" and self.warmup > 0:
            raise ValueError(f"schedule 'one_cycle' has a warm-up of its own: warmup must be 0, got {self.warmup}")
        return self


class ClassifierHparams(Hparams):
    """What every classifier's trial is given. A knob is None where the parts named do not use it.

    padding, dropout, drop_path: of the models that have them; None is the model's own default. cutout_length: pixels.
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1, json_schema_extra=SCALAR)] = 0.0
    cutout_length: Annotated[int | None, Field(ge=1, json_schema_extra=STATIC)] = None
    randaugment_num_ops: Annotated[int | None, Field(ge=1, json_schema_extra=STATIC)] = None
    randaugment_magnitude: Annotated[int | None, Field(ge=0, le=30, json_schema_extra=STATIC)] = None
    mixing: Annotated[str, Field(json_schema_extra=STATIC)] = "none"
    mixing_alpha: Annotated[float | None, Field(gt=0, allow_inf_nan=False, json_schema_extra=SCALAR)] = None
    drop_path: Annotated[float | None, Field(ge=0, lt=1, json_schema_extra=SCALAR)] = None
    dropout: Annotated[float | None, Field(ge=0, lt=1, json_schema_extra=SCALAR)] = None
    padding: Annotated[str | None, Field(json_schema_extra=STATIC)] = None


class BaselineHparams(ClassifierHparams):
    """A model and an optimiser on the data as they are."""


class Cifar100Hparams(ClassifierHparams):
    """A residual network, with or without augmentation and regularisation."""


class ImbalanceHparams(ClassifierHparams):
    """A remedy: a loss, class weights and a sampler, each by its name in its table, and their own knobs.

    A knob is None where the parts named do not use it.
    """

    loss: Annotated[str, Field(json_schema_extra=STATIC)] = "cross_entropy"
    class_weighting: Annotated[str, Field(json_schema_extra=STATIC)] = "uniform"
    sampler: Annotated[str, Field(json_schema_extra=STATIC)] = "shuffle"

    class_weight_gamma: Annotated[float | None, Field(ge=0, le=2, json_schema_extra=SCALAR)] = None
    class_weight_beta: Annotated[float | None, Field(ge=0, lt=1, json_schema_extra=SCALAR)] = None
    tail_class_weight: Annotated[float | None, Field(gt=0, json_schema_extra=SCALAR)] = None
    reweight_start: Annotated[float | None, Field(ge=0, le=1, json_schema_extra=SCALAR)] = None
    head_start: Annotated[float | None, Field(ge=0, le=1, json_schema_extra=SCALAR)] = None
    focal_gamma: Annotated[float | None, Field(ge=0, json_schema_extra=SCALAR)] = None
    ldam_max_margin: Annotated[float | None, Field(gt=0, json_schema_extra=SCALAR)] = None
    ldam_scale: Annotated[float | None, Field(gt=0, json_schema_extra=SCALAR)] = None
    balanced_softmax_tau: Annotated[float | None, Field(ge=0, json_schema_extra=SCALAR)] = None
    post_hoc_tau: Annotated[float | None, Field(ge=0, json_schema_extra=SCALAR)] = None
    sampler_exponent: Annotated[float | None, Field(ge=0, le=1, json_schema_extra=SCALAR)] = None
    cut_loss_scale: Annotated[float | None, Field(gt=0, le=1, json_schema_extra=SCALAR)] = None
    photometric_strength: Annotated[float | None, Field(gt=0, lt=1, json_schema_extra=SCALAR)] = None

    @model_validator(mode="after")
    def _soft_targets_need_cross_entropy(self) -> Self:
        if self.loss != "cross_entropy" and (self.mixing != "none" or self.label_smoothing > 0):
            raise ValueError(
                f"loss {self.loss!r} takes no soft targets: mixing must be 'none' and label_smoothing 0, "
                f"got {self.mixing!r} and {self.label_smoothing}"
            )
        return self


class RecipeHparams(ImbalanceHparams):
    """A source system's classifier as its report states it, faults included: loss and sampler are of recipe's tables.

    decays_everything: weight decay on biases and normalisation too, as torch's optimisers do. vertical_flip: whether
    it is among the views of augment_all, brightness again in its place if not; doubles_tail: whether that set then
    holds the tail classes twice. full_batch_share: the probability with which mask_in_loop leaves a batch whole.
    """

    decays_everything: Annotated[bool, Field(json_schema_extra=STATIC)] = True
    vertical_flip: Annotated[bool, Field(json_schema_extra=STATIC)] = True
    doubles_tail: Annotated[bool, Field(json_schema_extra=STATIC)] = True
    full_batch_share: Annotated[float | None, Field(gt=0, le=1, json_schema_extra=SCALAR)] = None


class TransferHparams(ClassifierHparams):
    """A classifier whose trunk is fresh or has solved puzzles, on a share of the labels.

    label_fraction: the share of each class's training images. Where the trunk has solved puzzles,
    trunk_learning_rate_ratio is its learning rate over the head's, and carries_fc1 whether fc1 belongs to it.
    """

    # A number, but one that decides how many images and so how many steps there are.
    label_fraction: Annotated[float, Field(gt=0, le=1, json_schema_extra=STATIC)] = 1.0
    trunk_learning_rate_ratio: Annotated[float | None, Field(gt=0, allow_inf_nan=False, json_schema_extra=SCALAR)] = (
        None
    )
    carries_fc1: Annotated[bool, Field(json_schema_extra=STATIC)] = True


class JigsawHparams(Hparams):
    """A net that puts the shuffled tiles of an image back in place. gap: pixels; the rest as in permutations.py."""

    model: Annotated[Literal["jigsaw_net"], Field(json_schema_extra=STATIC)] = "jigsaw_net"
    grid: Annotated[int, Field(ge=2, json_schema_extra=STATIC)] = 2
    gap: Annotated[int, Field(ge=0, json_schema_extra=STATIC)] = 0
    color_jitter: Annotated[float | None, Field(gt=0, lt=1, json_schema_extra=SCALAR)] = None
    tile_normalisation: Annotated[bool, Field(json_schema_extra=STATIC)] = False
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False, json_schema_extra=SCALAR)] = 1.0
    sinkhorn_iterations: Annotated[int, Field(ge=1, json_schema_extra=STATIC)] = 20
    puzzle_loss: Annotated[str, Field(json_schema_extra=STATIC)] = "row_nll"


class RecipePuzzleHparams(JigsawHparams):
    """A source system's puzzles. fixed_permutations: each training image is always shuffled in one and the same way."""

    fixed_permutations: Annotated[bool, Field(json_schema_extra=STATIC)] = False


Precision = Literal["float32", "bfloat16"]


class Numerics(BaseModel):
    """Numerical settings that change bits: chosen once a study, recorded in spec.json, kept by resume and retest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Precision = "float32"
    num_threads: Annotated[int, Field(ge=1)] = 1
    channels_last: bool = True
