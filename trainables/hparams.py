"""The typed hyperparameters of a trial. Unknown keys and names are rejected, and parts without a knob they need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainables.common.nearest import nearest
from trainables.parts.part import OWN_KNOBS

if TYPE_CHECKING:
    from trainables.parts.losses import Loss
    from trainables.parts.samplers import Sampler

Tables = Mapping[str, Mapping[str, Any]]
"""Hyperparameter -> the table in which it names an entry. The hyperparameters in an entry's needs must not be None.

They are imported when they are asked for: their functions need torch, which is slow to import, and a page asks only for
the limits of hyperparameters.
"""


class Hparams(BaseModel):
    """The hyperparameters common to all tasks. warmup: the share of training during which the learning rate rises.

    decays_everything: whether weight decay is on biases and normalisation too, the default of torch's optimisers.
    """

    # Extra ones are those of OWN_KNOBS: they are fields in all but name.
    model_config = ConfigDict(frozen=True, extra="allow")
    model: str = "small_cnn"
    optimizer: str = "sgd"
    learning_rate: float = Field(0.05, gt=0, allow_inf_nan=False)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0, allow_inf_nan=False)
    schedule: str = "cosine"
    warmup: float = Field(0.0, ge=0, le=0.5)
    batch_size: int = Field(128, ge=2)
    augmentation: str = "crop_flip"
    decays_everything: bool = False

    @classmethod
    def tables(cls) -> Tables:
        from trainables.data.augmentation import AUGMENTATIONS
        from trainables.parts.optimizers import OPTIMIZERS
        from trainables.parts.schedules import SCHEDULES

        return {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "augmentation": AUGMENTATIONS}

    @model_validator(mode="after")
    def _extra_ones_are_own_knobs(self) -> Self:
        extra = self.__pydantic_extra__ or {}
        for name, value in extra.items():
            if name not in OWN_KNOBS:
                known = [*type(self).model_fields, *OWN_KNOBS]
                raise ValueError(f"{name} is no hyperparameter of this task{nearest(name, known)}")
            extra[name] = OWN_KNOBS[name].validated(value)
        return self

    @model_validator(mode="after")
    def _parts_are_known_and_have_what_they_need(self) -> Self:
        for kind, table in self.tables().items():
            name = getattr(self, kind)
            if name not in table:
                raise ValueError(f"{kind} must be one of {', '.join(table)}, got {name!r}{nearest(name, table)}")
            for knob in getattr(table[name], "needs", ()):
                if getattr(self, knob, None) is None:  # an own knob that is not given is no attribute
                    raise ValueError(f"{kind} {name!r} needs {knob}, got None")
        return self

    @model_validator(mode="after")
    def _one_warmup(self) -> Self:
        if self.schedule == "one_cycle" and self.warmup > 0:
            raise ValueError(f"schedule 'one_cycle' has a warm-up of its own: warmup must be 0, got {self.warmup}")
        return self


class ClassifierHparams(Hparams):
    """The hyperparameters common to all classifiers. A knob is None if no part that is named uses it.

    padding, dropout, drop_path: options of some models; None means the model's default. cutout_length: in pixels.
    """

    label_smoothing: float = Field(0.0, ge=0, lt=1)
    cutout_length: int | None = Field(None, ge=1)
    randaugment_num_ops: int | None = Field(None, ge=1)
    randaugment_magnitude: int | None = Field(None, ge=0, le=30)
    mixing: str = "none"
    mixing_alpha: float | None = Field(None, gt=0, allow_inf_nan=False)
    drop_path: float | None = Field(None, ge=0, lt=1)
    dropout: float | None = Field(None, ge=0, lt=1)
    padding: str | None = None

    @classmethod
    def tables(cls) -> Tables:
        from trainables.parts.mixing import MIXINGS

        return {**super().tables(), "mixing": MIXINGS}


class BaselineHparams(ClassifierHparams):
    """A model and an optimiser on the unchanged data."""


class Cifar100Hparams(ClassifierHparams):
    """A residual network, with or without augmentation and regularisation."""


class ImbalanceHparams(ClassifierHparams):
    """A remedy: a loss, a class weighting and a sampler, each named in its table, and their knobs.

    A knob is None if no part that is named uses it.
    """

    loss: str = "cross_entropy"
    class_weighting: str = "uniform"
    sampler: str = "shuffle"

    class_weight_gamma: float | None = Field(None, ge=0, le=2)
    class_weight_beta: float | None = Field(None, ge=0, lt=1)
    tail_class_weight: float | None = Field(None, gt=0)
    reweight_start: float | None = Field(None, ge=0, le=1)
    head_start: float | None = Field(None, ge=0, le=1)
    focal_gamma: float | None = Field(None, ge=0)
    ldam_max_margin: float | None = Field(None, gt=0)
    ldam_scale: float | None = Field(None, gt=0)
    balanced_softmax_tau: float | None = Field(None, ge=0)
    post_hoc_tau: float | None = Field(None, ge=0)
    sampler_exponent: float | None = Field(None, ge=0, le=1)
    cut_loss_scale: float | None = Field(None, gt=0, le=1)
    photometric_strength: float | None = Field(None, gt=0, lt=1)

    @classmethod
    def tables(cls) -> Tables:
        from trainables.parts.class_weights import CLASS_WEIGHTINGS
        from trainables.parts.losses import LOSSES
        from trainables.parts.samplers import SAMPLERS

        return {**super().tables(), "loss": LOSSES, "class_weighting": CLASS_WEIGHTINGS, "sampler": SAMPLERS}

    @property
    def loss_entry(self) -> Loss:
        entry: Loss = self.tables()["loss"][self.loss]
        return entry

    @property
    def sampler_entry(self) -> Sampler:
        entry: Sampler = self.tables()["sampler"][self.sampler]
        return entry

    @model_validator(mode="after")
    def _soft_targets_need_a_loss_that_takes_them(self) -> Self:
        if not self.loss_entry.takes_soft_targets and (self.mixing != "none" or self.label_smoothing > 0):
            raise ValueError(
                f"loss {self.loss!r} takes no soft targets: mixing must be 'none' and label_smoothing 0, "
                f"got {self.mixing!r} and {self.label_smoothing}"
            )
        return self


class RecipeHparams(ImbalanceHparams):
    """A source system's classifier as its report states it, faults and natural epoch lengths included.

    vertical_flip: whether it is among the views of augment_all, or replaced by a second brightness view; doubles_tail:
    whether that set holds the tail classes twice. full_batch_share: the probability that mask_in_loop leaves a batch
    full.
    """

    decays_everything: bool = True
    vertical_flip: bool = True
    doubles_tail: bool = True
    full_batch_share: float | None = Field(None, gt=0, le=1)

    @classmethod
    def tables(cls) -> Tables:
        from trainables.parts.natural_samplers import NATURAL_SAMPLERS
        from trainables.parts.recipe_losses import RECIPE_LOSSES

        return {**super().tables(), "loss": RECIPE_LOSSES, "sampler": NATURAL_SAMPLERS}


class TransferHparams(ClassifierHparams):
    """A classifier trained on a share of the labels, its trunk fresh or pre-trained on puzzles.

    label_fraction: the share of each class's training images. If the trunk is pre-trained,
    trunk_learning_rate_ratio is its learning rate over the head's, and carries_fc1 says whether fc1 belongs to it.
    """

    label_fraction: float = Field(1.0, gt=0, le=1)
    trunk_learning_rate_ratio: float | None = Field(None, gt=0, allow_inf_nan=False)
    carries_fc1: bool = True


class JigsawHparams(Hparams):
    """A net that puts shuffled tiles back in place: see puzzles.py and tasks/jigsaw.py. gap: in pixels."""

    model: Literal["jigsaw_net"] = "jigsaw_net"
    grid: int = Field(2, ge=2)
    gap: int = Field(0, ge=0)
    color_jitter: float | None = Field(None, gt=0, lt=1)
    tile_normalisation: bool = False
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    sinkhorn_iterations: int = Field(20, ge=1)
    puzzle_loss: str = "row_nll"

    @classmethod
    def tables(cls) -> Tables:
        from trainables.puzzles import PUZZLE_LOSSES

        return {**super().tables(), "puzzle_loss": PUZZLE_LOSSES}


class RecipePuzzleHparams(JigsawHparams):
    """A source system's puzzles. fixed_permutations: whether a training image is always shuffled in the same way."""

    fixed_permutations: bool = False
