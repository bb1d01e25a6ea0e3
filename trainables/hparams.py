"""The typed, validated hyperparameters of a trial. Unknown keys are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

# Static: changes the program. Scalar: a number that may differ between trials that run side by side.
STATIC: dict[str, Any] = {"kind": "static"}
SCALAR: dict[str, Any] = {"kind": "scalar"}


class Hparams(BaseModel):
    """What every task's trial is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(json_schema_extra=STATIC)] = "small_cnn"
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False, json_schema_extra=SCALAR)] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1, json_schema_extra=SCALAR)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False, json_schema_extra=SCALAR)] = 5e-4
    schedule: Annotated[str, Field(json_schema_extra=STATIC)] = "cosine"
    batch_size: Annotated[int, Field(ge=2, json_schema_extra=STATIC)] = 128
    augmentation: Annotated[str, Field(json_schema_extra=STATIC)] = "crop_flip"


class ImbalanceHparams(Hparams):
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
    focal_gamma: Annotated[float | None, Field(ge=0, json_schema_extra=SCALAR)] = None
    ldam_max_margin: Annotated[float | None, Field(gt=0, json_schema_extra=SCALAR)] = None
    ldam_scale: Annotated[float | None, Field(gt=0, json_schema_extra=SCALAR)] = None
    balanced_softmax_tau: Annotated[float | None, Field(ge=0, json_schema_extra=SCALAR)] = None
    post_hoc_tau: Annotated[float | None, Field(ge=0, json_schema_extra=SCALAR)] = None
    sampler_exponent: Annotated[float | None, Field(ge=0, le=1, json_schema_extra=SCALAR)] = None
    cut_loss_scale: Annotated[float | None, Field(gt=0, le=1, json_schema_extra=SCALAR)] = None
    photometric_strength: Annotated[float | None, Field(gt=0, lt=1, json_schema_extra=SCALAR)] = None


Precision = Literal["float32", "bfloat16"]


class Numerics(BaseModel):
    """Numerical settings that change bits: chosen once a study, recorded in spec.json, kept by resume and retest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Precision = "float32"
    num_threads: Annotated[int, Field(ge=1)] = 1
    channels_last: bool = True
