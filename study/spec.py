"""StudySpec: everything a study is. Validated, saved beside its results, and the source of the command line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from study.errors import StudyError, nearest
from trainables.hparams import Numerics

Searcher = Literal["tpe", "random", "gp", "cmaes", "qmc", "grid"]
Budget = Literal["quick", "standard", "full"]
MAX_NAME_LENGTH = 100
MAX_SEED = 2**32 - 1  # a retest's are a thousandfold, in 64 bits
OWN_DATASET = "own"
REPRODUCE: Literal["reproduce"] = "reproduce"
Spec = TypeVar("Spec", bound="RunSpec")


def _option(default: Any, group: str, help: str, *, unit: str = "", metavar: str = "", **limits: Any) -> Any:
    """A field that is an option of the command line, in its group. limits: pydantic's, such as ge=1."""
    extra: dict[str, Any] = {"group": group, "unit": unit, "metavar": metavar}
    return Field(default, description=help, json_schema_extra=extra, **limits)


Count = Annotated[int, Field(ge=1)]


class RunSpec(BaseModel):
    """What every run directory is told: its data, its machine and its name. None: set by the machine at hand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str

    dataset: str = _option(
        "auto",
        "data",
        "auto, cifar10, cifar100, eurosat, digits, digit-pairs, or a PATH to a folder of images by class or of "
        "Parquet files",
    )
    data_root: Path = _option(Path("data"), "data", "folder that holds the data sets")
    download: bool = _option(False, "data", "download the data set into the data root if it is not there")
    image_size: int | None = _option(
        None, "data", "resize the images to this side; default as they are", unit="pixels", ge=16
    )

    seed: int = _option(0, "search", "the study's seed: all others follow from it", ge=0, le=MAX_SEED)

    cpus_per_trial: float | None = _option(None, "machine", "CPUs a trial; default 1", unit="CPUs", gt=0)
    gpus_per_trial: float | None = _option(
        None, "machine", "GPUs a trial, fractions allowed; default 0.25 with a GPU, else 0", unit="GPUs", ge=0
    )
    max_concurrent: Count | None = _option(None, "machine", "trials at once; default as many as fit", unit="trials")
    precision: Literal["auto", "float32", "bfloat16"] = _option(
        "auto", "machine", "auto takes bfloat16 where the processor has units for it"
    )
    address: str | None = _option(None, "machine", "an existing Ray cluster, e.g. auto or HOST:6379")

    name: str | None = _option(None, "output", "name of the run; default what it runs and the date")
    output_dir: Path = _option(Path("reports"), "output", "folder for runs")

    # Chosen once a run and kept through resume and retest; not an option.
    numerics: Numerics | None = None

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.strip():
            raise ValueError("must not be empty")
        if "/" in value or "\\" in value or value.startswith((".", "-")):
            raise ValueError(f"must be a plain folder name without slashes or a leading dot or dash, got {value!r}")
        if len(value) > MAX_NAME_LENGTH:
            raise ValueError(f"must be at most {MAX_NAME_LENGTH} characters long, got {len(value)}")
        if not value.isprintable():
            raise ValueError(f"must be of printable characters, got {value!r}")
        return value

    @field_validator("cpus_per_trial", "gpus_per_trial")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError(f"must be finite, got {value}")
        return value

    @property
    def run_dir(self) -> Path:
        assert self.name is not None
        return self.output_dir / self.name


class StudySpec(RunSpec):
    """What every study is told. A field that is None is set by the budget's preset or by the machine at hand."""

    budget: Budget | None = _option(
        None, "budget", "preset for the values below; quick without a GPU, standard with one"
    )
    arms: tuple[str, ...] | None = _option(None, "budget", "arms to compare, a,b,c or all", metavar="A,B,C")
    trials_per_arm: Count | None = _option(None, "budget", "configurations tried in each arm", unit="trials")
    max_epochs: Count | None = _option(None, "budget", "length of a full trial and of a retest", unit="epochs")
    grace_epochs: Count | None = _option(None, "budget", "no trial is stopped before; the first rung", unit="epochs")
    reduction_factor: int | None = _option(
        None, "budget", "ASHA keeps about one in this many at a rung; rungs are this factor apart", ge=2
    )
    retest_seeds: Count | None = _option(
        None, "budget", "fresh seeds on which each arm's winner is retrained", unit="seeds"
    )
    time_budget: float | None = _option(
        None, "budget", "stop tuning after this long, then retest; 90, 20m or 2h", unit="seconds", metavar="TIME", gt=0
    )

    searcher: Searcher = _option("tpe", "search", "how configurations are proposed")
    start: dict[str, str] | None = _option(
        None,
        "search",
        "the configuration that arms start from, KNOB=VALUE for all or ARM.KNOB=VALUE for one; "
        "with --trials-per-arm 1, the only one",
        metavar="KNOB=VALUE,...",
    )
    start_from_lr_range: Path | None = _option(
        None,
        "search",
        "a folder that study.lr_range wrote: arms start at the learning rate suggested there, where --start has none",
        metavar="DIR",
    )

    @field_validator("arms", mode="before")
    @classmethod
    def _split_arms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(","))
        return value

    @field_validator("start", mode="before")
    @classmethod
    def _split_start(cls, value: Any) -> Any:
        if isinstance(value, dict):  # a TOML table may hold numbers as numbers
            return {knob: str(setting) if type(setting) in {int, float} else setting for knob, setting in value.items()}
        if not isinstance(value, str):
            return value
        pairs = [part.strip().partition("=") for part in value.split(",")]
        if not all(name and equals and text for name, equals, text in pairs):
            raise ValueError(f"must be KNOB=VALUE,KNOB=VALUE, got {value!r}")
        return {name: text for name, _, text in pairs}

    @field_validator("time_budget", mode="before")
    @classmethod
    def _parse_duration(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([smh]?)", value.strip())
        if match is None:
            raise ValueError(f"must be seconds or a number with s, m or h such as 20m, got {value!r}")
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]

    @field_validator("time_budget")
    @classmethod
    def _finite_time(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError(f"must be finite, got {value}")
        return value

    @model_validator(mode="after")
    def _grace_within_epochs(self) -> StudySpec:
        if self.grace_epochs is not None and self.max_epochs is not None and self.grace_epochs > self.max_epochs:
            raise ValueError(f"grace_epochs must be at most max_epochs ({self.max_epochs}), got {self.grace_epochs}")
        return self


class ImbalanceSpec(StudySpec):
    """The imbalance study: how the training set is thinned."""

    task: Literal["imbalance"] = "imbalance"
    imbalance: Literal["step", "exponential"] = _option(
        "step", "imbalance", "half of the classes cut to 1/ratio, or a long tail"
    )
    imbalance_ratio: float = _option(
        10.0, "imbalance", "largest class over smallest; 1 leaves the set as it is", ge=1, allow_inf_nan=False
    )
    imbalance_classes: Literal["first", "last"] = _option("first", "imbalance", "which classes become rare")
    model: str = _option("small_cnn", "search", "the network")


class BaselineSpec(StudySpec):
    """The baseline study: its arms are models."""

    task: Literal["baseline"] = "baseline"
    padding: Literal["same", "valid"] = _option("same", "search", "of small_cnn's convolutions")


class JigsawSpec(StudySpec):
    """The jigsaw study: puzzles first, then transfer. Its arms are initialisations, each at every label fraction."""

    task: Literal["jigsaw"] = "jigsaw"
    grid: int = _option(
        2,
        "jigsaw",
        "2 or 3 tiles a side; of an image that it does not divide, the largest window that it does",
        ge=2,
        le=3,
    )
    pretext_trials: Count | None = _option(None, "jigsaw", "configurations tried for the puzzles", unit="trials")
    pretext_epochs: Count | None = _option(
        None, "jigsaw", "length of the puzzles' training, and what scratch_equal_epochs trains longer", unit="epochs"
    )
    pretext_checkpoint: Path | None = _option(
        None,
        "jigsaw",
        "a folder of checkpoints to begin with, in place of puzzles solved here; --pretext-epochs is then its own",
        metavar="DIR",
    )
    label_fractions: tuple[float, ...] | None = _option(
        None,
        "jigsaw",
        "shares of the labels to train on; default 0.01,0.1,1, and 0.1,1 on the embedded data",
        metavar="F,F",
    )

    @field_validator("label_fractions", mode="before")
    @classmethod
    def _split_fractions(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("label_fractions")
    @classmethod
    def _true_fractions(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is None:
            return None
        if not value or not all(0 < fraction <= 1 for fraction in value):
            raise ValueError(f"must be shares above 0 and up to 1, such as 0.1,1, got {', '.join(map(str, value))}")
        if len({f"{100 * fraction:g}" for fraction in value}) < len(value):  # as arms are named
            raise ValueError(f"must name each share once, got {', '.join(map(str, value))}")
        return tuple(sorted(value))


class Cifar100Spec(StudySpec):
    """The cifar100 study: from memorising to generalising."""

    task: Literal["cifar100"] = "cifar100"
    model: str | None = _option(None, "search", "the network; the arm deeper takes the next deeper one")


class ReproductionSpec(RunSpec):
    """A reproduction: which recipes, on how many seeds, at which scale, and what their numbers are set beside.

    scale: of a run, a recipe or a source (s0 to s4) by name, and of "all" others.
    """

    task: Literal["reproduce"] = REPRODUCE
    recipes: tuple[str, ...] = ()  # the command's own arguments
    dataset: str = _option(
        OWN_DATASET,
        "data",
        "own: each recipe's own; else a name or PATH to take in its place, such as digits: its numbers do not compare "
        "with the reports'",
    )
    seeds: Count = _option(3, "budget", "how often each run is trained, every time from fresh weights", unit="seeds")
    scale: dict[str, float] = _option(
        {"all": 1.0},
        "budget",
        "share of the epochs and of the images of each class: a number, or 1,s0=0.1 for one and a source, recipe or "
        "run otherwise; never below one epoch and 20 images a class before thinning",
        metavar="SHARE",
    )
    variants: bool = _option(True, "budget", "also train the corrected recipes and the cells of the ablations")
    tuned: tuple[Path, ...] = _option(
        (), "budget", "run directories of studies whose tuned arms stand beside the recipes", metavar="RUN,RUN"
    )

    @field_validator("scale", mode="before")
    @classmethod
    def _split_scale(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [part.strip().rpartition("=") for part in value.split(",")]
        names = [name or "all" for name, _, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError(f"must give one share for each name, got {value!r}")
        return {name: share for name, (_, _, share) in zip(names, pairs, strict=True)}

    @field_validator("scale")
    @classmethod
    def _true_scale(cls, value: dict[str, float]) -> dict[str, float]:
        if not all(0 < share <= 1 for share in value.values()):
            raise ValueError(f"must be shares above 0 and up to 1, got {', '.join(map(str, value.values()))}")
        return {"all": 1.0, **value}

    @field_validator("tuned", mode="before")
    @classmethod
    def _split_tuned(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def task_of(run_dir: Path) -> str | None:
    """The task in a run directory's spec.json; None where there is none that can be read."""
    try:
        values = json.loads((run_dir / "spec.json").read_text())
    except (OSError, ValueError):
        return None
    return values.get("task") if isinstance(values, dict) else None


def validated(spec_type: type[Spec], values: Mapping[str, Any]) -> Spec:
    """The spec of these values. Raises StudyError: the first thing wrong, in one sentence."""
    try:
        return spec_type.model_validate(dict(values))
    except ValidationError as error:
        raise StudyError(_sentence(spec_type, error)) from None


def _sentence(spec_type: type[RunSpec], error: ValidationError) -> str:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return _as_options(message)
    name = str(first["loc"][0])
    option = option_name(name)
    if first["type"] == "extra_forbidden":
        known = [option_name(field) for field in spec_type.model_fields]
        return f"unknown setting {name!r}{nearest(option, known)}"
    value = first["input"]
    if first["type"] == "literal_error":
        allowed = _choices(spec_type, name)
        return f"{option} must be one of {', '.join(allowed)}, got {value!r}{nearest(str(value), allowed)}"
    if first["type"] == "value_error":
        return f"{option} {message}"
    rule = message.removeprefix("Input should be ")
    return f"{option} must be {rule}, got {value!r}"


def _choices(spec_type: type[RunSpec], name: str) -> list[str]:
    return list(literal_choices(spec_type.model_fields[name].annotation))


def literal_choices(annotation: Any) -> tuple[str, ...]:
    """The values of a Literal, or of a Literal in a union with None; else ()."""
    args = get_args(annotation)
    if args and all(isinstance(arg, str) for arg in args):
        return args
    for arg in args:
        if choices := literal_choices(arg):
            return choices
    return ()


def option_name(field: str) -> str:
    return "--" + field.replace("_", "-")


def _as_options(message: str) -> str:
    return re.sub(r"\b(grace_epochs|max_epochs)\b", lambda match: option_name(match[0]), message)
