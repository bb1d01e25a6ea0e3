"""RunSpec and StudySpec: the validated settings of a run, saved in spec.json; command lines are made from them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from search_spaces import overrides
from study.core.errors import StudyError, nearest
from study.core.extension import Extension
from study.core.looks import look_sizes
from study.core.parsing import shown, table_of
from study.core.plugins import PluginSource
from study.core.search import Control
from trainables.common.numerics import Numerics
from trainables.common.paths import user_path
from trainables.common.places import require_uri
from trainables.data.cache import BESIDE, CLEAR_COMMAND, user_cache
from trainables.data.sources import SOURCES
from trainables.data.splits import ValidationCut

Searcher = Literal["tpe", "random", "gp", "cmaes", "qmc", "grid"]
Objective = Literal["score", "score,seconds"]
OBJECTIVE_SEARCHERS = ("tpe", "random")
"""What searches for several objectives: TPE by fronts, and random search, which looks at none."""
Budget = Literal["quick", "standard", "full"]
LoggerName = Literal["mlflow", "wandb"]
Scope = Literal["training", "study", "session"]
MAX_NAME_LENGTH = 100
MAX_NAME_BYTES = 200  # file systems take 255, and a range test's folder adds to it
MOST_RETEST_SEEDS = 20
MIN_SHARE = 0.0001  # of a CPU or GPU: Ray counts in ten-thousandths
MAX_SEED = 2**32 - 1  # a retest's seeds are a thousand times as large, and must fit in 64 bits
REPRODUCE: Literal["reproduce"] = "reproduce"
Spec = TypeVar("Spec", bound="RunSpec")
CHOSEN_ONCE = ("numerics", "validation_cut", "plugin_sources", "extensions", "checkpoint_folder")
"""The fields of spec.json that are no settings of another run."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of the command line, made from a field of a spec.

    group: its heading in --help. scope: "training" for settings of a single training, accepted by every verb that
    trains; "study" for the number and choice of trainings, accepted by study.run alone; "session" for those that each
    session of a run may have otherwise. is_repeated: whether the
    command that trains a winner again includes it. reads_text: whether its validator takes the text as it was typed.
    collects: whether it may be given several times; its validator takes all the texts.
    """

    group: str
    scope: Scope
    unit: str
    metavar: str
    is_repeated: bool
    reads_text: bool
    collects: bool


def option(
    default: Any,
    group: str,
    help: str,
    *,
    scope: Scope = "study",
    unit: str = "",
    metavar: str = "",
    is_repeated: bool = False,
    reads_text: bool = False,
    collects: bool = False,
    **limits: Any,
) -> Any:
    """A field that is an option of the command line (see Option). limits: constraints of pydantic, such as ge=1."""
    extra: dict[str, Any] = {
        "group": group,
        "scope": scope,
        "unit": unit,
        "metavar": metavar,
        "is_repeated": is_repeated,
        "reads_text": reads_text,
        "collects": collects,
    }
    return Field(default, description=help, json_schema_extra=extra, **limits)


def options_of(spec: type[BaseModel]) -> dict[str, Option]:
    """The fields of a spec that are options, by name, in declared order."""
    extras: dict[str, Any] = {name: field.json_schema_extra for name, field in spec.model_fields.items()}
    return {name: Option(**extra) for name, extra in extras.items() if extra is not None}


def group_names(spec: type[BaseModel]) -> list[str]:
    """The headings of a spec's options in the order of --help: the task's own come right after 'data'."""
    groups = list(dict.fromkeys(option.group for option in options_of(spec).values()))
    first = [group for group in ("data",) if group in groups]
    last = [group for group in ("budget", "search", "machine", "output") if group in groups]
    return [*first, *(group for group in groups if group not in (*first, *last)), *last]


Count = Annotated[int, Field(ge=1)]


def _path(value: Any) -> Path:
    if not isinstance(value, str | Path):
        raise ValueError(f"must be a path, got {shown(value)}")
    return user_path(value)


UserPath = Annotated[Path, BeforeValidator(_path)]


class RunSpec(BaseModel):
    """The settings that all runs share: data, machine and name. A field that is None is set by the machine at hand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str

    dataset: str = option(
        "auto",
        "data",
        f"auto, {', '.join(SOURCES)}, or a PATH to a folder of images by class or of Parquet files",
        scope="training",
        is_repeated=True,
    )
    data_root: UserPath = option(
        Path("data"), "data", "folder that holds the data sets", scope="training", is_repeated=True
    )
    download: bool = option(
        False, "data", "download the data set into the data root if it is not there", scope="training"
    )
    image_size: int | None = option(
        None,
        "data",
        "resize the images to this side; default as they are",
        unit="pixels",
        ge=16,
        scope="training",
        is_repeated=True,
    )
    drop_duplicates: bool = option(
        False,
        "data",
        "train on one of the images that are the same pixel by pixel, and on none that is also a test image",
        scope="training",
        is_repeated=True,
    )
    cache_dir: UserPath | None = option(
        None,
        "data",
        f"folder for the decoded copies of data sets; default {BESIDE} beside the data where there is one, else "
        f"{user_cache() or 'none: there is no home folder'}; {CLEAR_COMMAND} lists them, {CLEAR_COMMAND} --clear "
        "removes them",
        scope="training",
    )

    seed: int = option(0, "search", "the study's seed: all others follow from it", ge=0, le=MAX_SEED, scope="training")

    cpus_per_trial: float | None = option(
        None, "machine", "CPUs a trial; default 1", unit="CPUs", gt=0, scope="training"
    )
    gpus_per_trial: float | None = option(
        None,
        "machine",
        "GPUs a trial, fractions allowed; default 0.25 with a GPU, else 0",
        unit="GPUs",
        ge=0,
        scope="training",
    )
    max_concurrent: Count | None = option(None, "machine", "trials at once; default as many as fit", unit="trials")
    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto", "machine", "auto takes bfloat16 where the processor has units for it", scope="training"
    )
    address: str | None = option(
        None,
        "machine",
        "an existing Ray cluster, e.g. auto or HOST:6379; local, the default, starts one here",
        scope="session",
    )
    insecure_cluster: bool = option(
        False,
        "machine",
        "join the cluster at --address although it asks for no token: whoever reaches it owns it",
        scope="session",
    )
    dashboard: bool = option(
        True, "machine", "start Ray's dashboard with Ray, a dozen processes that take seconds", scope="session"
    )

    name: str | None = option(None, "output", "name of the run; default what it runs and the date", scope="training")
    output_dir: UserPath = option(Path("reports"), "output", "folder for runs", scope="training")
    checkpoints: str | None = option(
        None,
        "output",
        "keep the trials' checkpoints in a folder at s3://BUCKET/FOLDER, gs://, abfs:// or file:///FOLDER, so that no "
        "node but the driver's needs the run directory; default there",
        metavar="URI",
    )

    # The run's own folder there, by a name that no other run has; not an option.
    checkpoint_folder: str | None = None

    # Chosen once per run and kept through resume and retest; not an option.
    numerics: Numerics | None = None

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.strip():
            raise ValueError("must not be empty")
        _require_plain_folder(value)
        if len(value) > MAX_NAME_LENGTH:
            raise ValueError(f"must be at most {MAX_NAME_LENGTH} characters long, got {len(value)}")
        if not value.isprintable():
            raise ValueError(f"must be of printable characters, got {value!r}")
        if (size := len(os.fsencode(value))) > MAX_NAME_BYTES:
            raise ValueError(f"must be at most {MAX_NAME_BYTES} bytes long, got {size}")
        return value

    @field_validator("address")
    @classmethod
    def _none_of_this_machine(cls, value: str | None) -> str | None:
        return None if value == "local" else value

    @field_validator("checkpoint_folder")
    @classmethod
    def _plain_folder(cls, value: str | None) -> str | None:
        if value is not None:
            _require_plain_folder(value)
        return value

    @field_validator("checkpoints")
    @classmethod
    def _uri_without_secrets(cls, value: str | None) -> str | None:
        if value is not None:
            require_uri(value)
        return value

    @field_validator("cpus_per_trial", "gpus_per_trial")
    @classmethod
    def _share_that_ray_takes(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError(f"must be finite, got {value}")
        if value and value < MIN_SHARE:
            raise ValueError(f"must be at least {MIN_SHARE}, got {value}")
        return value

    @field_validator("gpus_per_trial")
    @classmethod
    def _whole_above_one(cls, value: float | None) -> float | None:
        if value and value > 1 and not value.is_integer():
            raise ValueError(f"must be up to 1, or a whole number, got {value}")
        return value

    @property
    def run_dir(self) -> Path:
        assert self.name is not None
        return self.output_dir / self.name


class StudySpec(RunSpec):
    """The settings that all studies share. A field that is None is set by the budget's preset or by the machine."""

    budget: Budget | None = option(
        None, "budget", "preset for the values below; quick without a GPU, standard with one"
    )
    arms: tuple[str, ...] | None = option(None, "budget", "arms to compare, a,b,c or all", metavar="A,B,C")
    trials_per_arm: Count | None = option(None, "budget", "configurations tried in each arm", unit="trials")
    max_epochs: Count | None = option(None, "budget", "length of a full trial and of a retest", unit="epochs")
    grace_epochs: Count | None = option(None, "budget", "no trial is stopped before; the first rung", unit="epochs")
    reduction_factor: int | None = option(
        None, "budget", "ASHA keeps about one in this many at a rung; rungs are this factor apart", ge=2
    )
    retest_seeds: Count | None = option(
        None, "budget", "fresh seeds on which each arm's winner is retrained", unit="seeds"
    )
    retest_until: float | None = option(
        None,
        "budget",
        "retrain the best arms and the control on more seeds than --retest-seeds, until the intervals of their "
        "differences are narrower than this or exclude 0; decide: until they exclude 0",
        unit="points",
        metavar="POINTS",
        ge=0,
        allow_inf_nan=False,
        reads_text=True,
    )
    max_retest_seeds: Count | None = option(
        None, "budget", f"with --retest-until, on so many seeds at most; default {MOST_RETEST_SEEDS}", unit="seeds"
    )
    audit: Count | None = option(
        None,
        "budget",
        "after the retest, train so many of the trials that were stopped early to their end, drawn at random, to see "
        "what stopping cost; default none",
        unit="trials",
    )
    time_budget: float | None = option(
        None,
        "budget",
        "stop tuning after this long, then retest; 90, 20m or 2h",
        unit="seconds",
        metavar="TIME",
        gt=0,
        reads_text=True,
    )

    retest_default: bool | None = option(
        None,
        "budget",
        "retrain the configuration that each arm starts from on fresh seeds too, as its winner is; default with every "
        "budget but quick, and with --control",
    )

    plugin: tuple[str, ...] | None = option(
        None,
        "search",
        "a file of your own parts, or an installed module or entry point with them: losses, models, samplers, arms and "
        "more, beside the built-in ones; may be given repeatedly",
        metavar="FILE",
        scope="training",
        is_repeated=True,
        collects=True,
    )

    train_images: Count | None = option(
        None,
        "data",
        "train on so many images at most, drawn by the seed in the proportions of the classes; validation and test "
        "images are not thinned; default all",
        unit="images",
        scope="training",
        is_repeated=True,
    )

    # What each plugin was when the run began; not an option.
    plugin_sources: tuple[PluginSource, ...] = ()

    # What the settings above have grown by since the run began, oldest first; not an option.
    extensions: tuple[Extension, ...] = ()

    # Chosen once per run and kept through resume and retest; not an option. Runs that do not say were cut equally.
    validation_cut: ValidationCut = "equally"

    searcher: Searcher = option("tpe", "search", "how configurations are proposed")
    objective: Objective = option(
        "score",
        "search",
        "what each arm is searched for; score,seconds: also for little training time an epoch, without early stopping; "
        "retested are then the trial with the best score and the knee of the front",
    )
    searches: Count = option(
        1,
        "search",
        "tune every arm so many times, each with the whole budget, and retest each search's winner: intervals then "
        "cover the luck of the search",
        unit="searches",
    )
    control: Control | None = option(
        None, "search", "search each arm by this too, with the same early stopping, to see whether tuning was worth it"
    )
    control_share: float | None = option(
        None,
        "search",
        "with --control, the trials that it gets, as a share of --trials-per-arm; default 1: as many",
        gt=0,
        le=1,
    )
    start: dict[str, str] | None = option(
        None,
        "search",
        "the configuration that arms start from, KNOB=VALUE for all or ARM.KNOB=VALUE for one; "
        "with --trials-per-arm 1, the only one",
        metavar="KNOB=VALUE,...",
        scope="training",
        collects=True,
    )
    space: dict[str, str] | None = option(
        None,
        "search",
        "search a knob where you say: KNOB=LOW..HIGH, KNOB=LOW..HIGH:log, KNOB='A|B' or, to fix it, KNOB=VALUE; "
        "ARM.KNOB for one arm, KNOB@CHOICE where that was chosen before (learning_rate@adam); may be given repeatedly",
        metavar="KNOB=RANGE,...",
        scope="training",
        collects=True,
    )
    start_from_lr_range: UserPath | None = option(
        None,
        "search",
        "a folder that study.lr_range wrote: arms start at the learning rate suggested there, where --start has none",
        metavar="DIR",
    )

    logger: tuple[LoggerName, ...] | None = option(
        None,
        "output",
        "log each trial and retest while the study runs, as a run of MLflow or of Weights & Biases; may be given "
        "repeatedly",
        metavar="NAME",
        collects=True,
    )

    @field_validator("arms", mode="before")
    @classmethod
    def _split_arms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(","))
        return value

    @field_validator("logger", mode="before")
    @classmethod
    def _split_loggers(cls, value: Any) -> Any:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            return value
        return tuple(dict.fromkeys(name.strip() for text in texts for name in text.split(",")))

    @field_validator("plugin", mode="before")
    @classmethod
    def _single_plugin(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("arms")
    @classmethod
    def _any_arm(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value == ():
            raise ValueError("must name an arm, got none")
        return value

    @field_validator("start", mode="before")
    @classmethod
    def _split_start(cls, value: Any) -> Any:
        return table_of(value, "KNOB=VALUE,KNOB=VALUE") or None

    @field_validator("space", mode="before")
    @classmethod
    def _split_space(cls, value: Any) -> Any:
        return table_of(value, "KNOB=RANGE,KNOB=RANGE")

    @field_validator("space")
    @classmethod
    def _true_ranges(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        overrides.parsed(value or {})
        return value or None

    @field_validator("retest_until", mode="before")
    @classmethod
    def _decide(cls, value: Any) -> Any:
        return 0.0 if value == "decide" else value

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

    @model_validator(mode="after")
    def _seeds_beyond_the_first(self) -> StudySpec:
        most = self.max_retest_seeds
        if most is not None and self.retest_until is None:
            raise ValueError("max_retest_seeds belongs to retest_until, which is not given")
        if most is not None and self.retest_seeds is not None and most < self.retest_seeds:
            raise ValueError(f"max_retest_seeds must be at least retest_seeds ({self.retest_seeds}), got {most}")
        return self

    @model_validator(mode="after")
    def _searches_that_go_together(self) -> StudySpec:
        if self.control_share is not None and self.control is None:
            raise ValueError("control_share belongs to --control, which is not given")
        if self.searches > 1 and self.retest_until is not None:
            raise ValueError(
                "retest_until adds seeds, by which an interval over --searches does not become narrower: leave out one "
                "of the two"
            )
        return self

    @model_validator(mode="after")
    def _objectives_that_go_together(self) -> StudySpec:
        if self.objective == "score":
            return self
        if self.searcher not in OBJECTIVE_SEARCHERS:
            raise ValueError(
                f"--objective {self.objective} is searched by --searcher {' or '.join(OBJECTIVE_SEARCHERS)}, got "
                f"{self.searcher}"
            )
        if self.control is not None:
            raise ValueError(
                f"--control judges searches by their score alone: leave it out, or --objective {self.objective}"
            )
        if self.audit is not None:
            raise ValueError(
                f"--audit is of trials that were stopped early, of which --objective {self.objective} has none"
            )
        if self.retest_until is not None:
            raise ValueError(
                f"--retest-until adds seeds by the score alone: leave it out, or --objective {self.objective}"
            )
        return self

    @property
    def first_trials_per_arm(self) -> int | None:
        """The trials_per_arm with which the study began."""
        grown = [one.before["trials_per_arm"] for one in self.extensions if "trials_per_arm" in one.before]
        return grown[0] if grown else self.trials_per_arm

    @property
    def control_trials(self) -> int:
        """The trials of the control of a search of an arm; 0 without one."""
        if self.control is None:
            return 0
        return max(1, round((self.control_share or 1.0) * (self.trials_per_arm or 1)))

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of seeds after which the retest may end; one where --retest-until is not given."""
        first = self.retest_seeds or 0
        most = self.max_retest_seeds or max(first, MOST_RETEST_SEEDS)
        return (first,) if self.retest_until is None else look_sizes(first, most)


SESSION_SETTINGS = tuple(name for name, option in options_of(RunSpec).items() if option.scope == "session")
"""Where a session's Ray is: spec.json has what the run began with, the ledger what each session had."""


def placed(spec: Spec, sessions: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> Spec:
    """The spec of the run's next session: where its Ray is as given, else as in the last one. Raises StudyError.

    sessions: those that the ledger has. A cluster is joined without a token where that was said of this cluster.
    """
    known = {name: getattr(spec, name) for name in SESSION_SETTINGS}
    if sessions:
        known |= {name: sessions[-1][name] for name in SESSION_SETTINGS if name in sessions[-1]}
    asked = {name: given[name] for name in SESSION_SETTINGS if given.get(name) is not None}
    if asked.get("address", known["address"]) != known["address"]:
        known["insecure_cluster"] = False
    return validated(type(spec), {**spec.model_dump(), **known, **asked})


def validated(spec_type: type[Spec], values: Mapping[str, Any]) -> Spec:
    """Make a spec of these values. Raises StudyError, which names the first thing wrong in one sentence."""
    try:
        return spec_type.model_validate(dict(values))
    except ValidationError as error:
        raise StudyError(error_sentence(spec_type, error)) from None


def error_sentence(spec_type: type[RunSpec], error: ValidationError) -> str:
    """What is wrong first, in one sentence, with the setting named as an option."""
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
        meant = nearest(value if isinstance(value, str) else shown(value), allowed)
        return f"{option} must be one of {', '.join(allowed)}, got {shown(value)}{meant}"
    if first["type"] == "value_error":
        return f"{option} {message}"
    rule = message.removeprefix("Input should be ")
    return f"{option} must be {rule}, got {shown(value)}"


def _require_plain_folder(name: str) -> None:
    if "/" in name or "\\" in name or name.startswith((".", "-")):
        raise ValueError(f"must be a plain folder name without slashes or a leading dot or dash, got {name!r}")


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
    return re.sub(
        r"\b(grace_epochs|max_epochs|max_retest_seeds|retest_seeds|retest_until|control_share)\b",
        lambda match: option_name(match[0]),
        message,
    )
