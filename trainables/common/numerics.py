"""Numerics: the numerical settings of a study."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["float32", "bfloat16"]


class Numerics(BaseModel):
    """Numerical settings that change bits: chosen once per study, recorded in spec.json, kept by resume and retest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Precision = "float32"
    num_threads: int = Field(default=1, ge=1)
    channels_last: bool = True
