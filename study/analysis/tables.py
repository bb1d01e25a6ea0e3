"""A run directory's tables and summary, read and checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from study.analysis.consistency import require_consistent
from study.analysis.summary import require_summary
from study.core.checksums import DamagedFileError, read_checked
from study.core.errors import nearest
from study.core.extension import Extension
from study.core.parsing import parse_json, readable
from study.core.run_dir import resume_command
from study.core.search import Search
from study.core.stage import TUNE, Group, retests_of
from study.records import tables as records

Unit = Literal["seed", "search"]
_SCHEMAS = {
    "trials": records.TRIALS,
    "epochs": records.EPOCHS,
    "rungs": records.RUNGS,
    "retests": records.RETESTS,
    "puzzles": records.PUZZLES,
    "audit": records.AUDIT,
}
_ONLY_SOME_HAVE = ("puzzles", "audit")


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The content of a run directory: two JSON documents, four tables, and those of puzzles and audits, if any."""

    spec: Mapping[str, Any]
    summary: Mapping[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    rungs: pd.DataFrame
    retests: pd.DataFrame
    puzzles: pd.DataFrame | None = None
    audit: pd.DataFrame | None = None

    @property
    def task(self) -> str:
        return str(self.summary["task"])

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms of the main stage in declared order."""
        return tuple(self.summary["arms"])

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        return tuple(
            Group(title=str(group["title"]), control=group["control"], arms=tuple(group["arms"]))
            for group in self.summary["groups"]
        )

    @property
    def controls(self) -> dict[str, str | None]:
        """Arm -> the control of its group."""
        return {arm: group.control for group in self.groups for arm in group.arms}

    @property
    def score(self) -> str:
        """The column of retests by which arms are judged, 0-1."""
        return str(self.summary["score"])

    @property
    def score_step(self) -> float:
        """What one test image is worth in a score, 0-1."""
        return 1 / int(self.summary["dataset"]["num_test"])

    @property
    def num_looks(self) -> int:
        """At how many numbers of seeds the retest may have ended, depending on what it had found."""
        return len(self.summary["budget"].get("looks") or [None])

    @property
    def num_searches(self) -> int:
        """How often every arm was tuned."""
        return int(self.summary.get("budget", {}).get("searches") or 1)

    @property
    def unit(self) -> Unit:
        """What intervals are over: seeds, or searches, each with the mean over its seeds."""
        return "seed" if self.num_searches == 1 else "search"

    @property
    def has_two_objectives(self) -> bool:
        """Whether arms were searched for more than the score, without early stopping."""
        return (self.summary.get("budget", {}).get("objective") or "score") != "score"

    @property
    def objective(self) -> str:
        """The column of epochs that the main stage optimised, 0-1."""
        return str(self.summary["objective"])

    @cached_property
    def tuning(self) -> pd.DataFrame:
        """The trials of the main stage, those of controls left out."""
        return of_arms(self.trials[self.trials["stage"] == TUNE])

    @cached_property
    def control_trials(self) -> pd.DataFrame:
        """The trials of the controls, which compete with no arm."""
        trials = self.trials[self.trials["stage"] == TUNE]
        return trials.drop(of_arms(trials).index)

    @cached_property
    def tuning_epochs(self) -> pd.DataFrame:
        epochs = self.epochs[self.epochs["stage"] == TUNE]
        return epochs[~epochs["trial_id"].isin(self.control_trials["trial_id"])] if len(self.control_trials) else epochs

    @cached_property
    def tuning_rungs(self) -> pd.DataFrame:
        rungs = self.rungs[self.rungs["stage"] == TUNE]
        return rungs[~rungs["trial_id"].isin(self.control_trials["trial_id"])] if len(self.control_trials) else rungs

    @cached_property
    def main_retests(self) -> pd.DataFrame:
        """The retests of the main stage's winners; with a column unit where intervals are not over seeds."""
        return self._with_unit(of_winners(self.retests[self.retests["stage"] == retests_of(TUNE)]))

    @cached_property
    def references(self) -> pd.DataFrame:
        """The retests of what winners are held against, on the seeds of each search, with columns role and is_winner.

        role: default or random. Where the winner itself is that configuration (is_winner), its retests are repeated.
        """
        retests = self.retests[self.retests["stage"] == retests_of(TUNE)]
        found = [
            retests[
                (retests["arm"] == one["arm"])
                & (retests["search"] == one["search"])
                & (retests["trial_id"] == one["trial_id"])
            ].assign(role=one["role"], is_winner=one["same_as"] == "winner")
            for one in self.summary.get("references") or []
        ]
        return self._with_unit(pd.concat(found) if found else retests.iloc[:0].assign(role="", is_winner=False))

    def _with_unit(self, retests: pd.DataFrame) -> pd.DataFrame:
        return retests if self.unit == "seed" else retests.assign(unit=retests[self.unit])

    @cached_property
    def retest_epochs(self) -> pd.DataFrame:
        """The epochs of the retests of the main stage's winners."""
        epochs = self.epochs[self.epochs["stage"] == retests_of(TUNE)]
        retests = self.retests[self.retests["stage"] == retests_of(TUNE)]
        others = retests.drop(self.main_retests.index)
        return epochs[~epochs["trial_id"].isin(others["trial_id"] + "-seed-" + others["seed"].astype(str))]

    @property
    def extensions(self) -> list[Extension]:
        """What the study was given more of after it had begun, oldest first."""
        return [Extension.model_validate(one) for one in self.summary.get("extensions") or []]

    @property
    def fork(self) -> Mapping[str, Any] | None:
        """What the searches began with of another study's trials: its run, num_retests and alike; None: nothing."""
        return self.summary.get("fork")

    def factors(self, arm: str) -> dict[str, str]:
        """The arm's factors by name; for runs that did not record them, from its trials' factor/* columns."""
        recorded = self.summary.get("arm_factors")
        if recorded is not None:
            return dict(recorded.get(arm, {}))
        own = self.trials[self.trials["arm"] == arm]
        columns = [column for column in map(str, own) if column.startswith("factor/")]
        return {
            column.removeprefix("factor/"): str(own[column].iloc[0]) for column in columns if own[column].notna().any()
        }

    def stage(self, name: str) -> Mapping[str, Any]:
        """The entry of a stage in summary.json. Raises KeyError if the study has no stage of that name."""
        for stage in self.summary["stages"]:
            if stage["name"] == name:
                return dict(stage)
        raise KeyError(name)


def load_tables(run_dir: Path) -> Tables:
    """Read a run directory. Raises ValueError, in one sentence, if it is none, is damaged, or contradicts itself."""
    if not run_dir.is_dir():
        raise ValueError(
            f"{run_dir} is not a directory; a run directory is wanted, such as reports/NAME"
            f"{nearest(run_dir.name, _runs_beside(run_dir))}"
        )
    summary = load_summary(run_dir)
    frames = {
        name: _study_frame(run_dir / f"{name}.parquet", schema, summary)
        for name, schema in reversed(_SCHEMAS.items())  # a study that goes on may write meanwhile: trials come last
        if name not in _ONLY_SOME_HAVE or (run_dir / f"{name}.parquet").is_file()
    }
    for name, column in (("epochs", summary["objective"]), ("retests", summary["score"])):
        if column not in frames[name]:
            raise ValueError(f"{run_dir / 'summary.json'} judges by {column!r:.100}, which {name}.parquet lacks")
    try:
        require_consistent(summary, frames, _SCHEMAS)
    except ValueError as error:
        raise ValueError(f"{run_dir}/{error}") from None
    return Tables(spec=load_json(run_dir / "spec.json"), summary=summary, **frames)


def _runs_beside(run_dir: Path) -> list[str]:
    """The names of the run directories in the folder in which run_dir was looked for."""
    try:
        return sorted(path.parent.name for path in run_dir.parent.glob("*/summary.json"))
    except OSError:  # it may not be read
        return []


def load_summary(run_dir: Path) -> dict[str, Any]:
    """A study's summary.json. Raises ValueError, as load_tables."""
    summary = load_json(run_dir / "summary.json")
    try:
        require_summary(summary)
    except ValueError as error:
        raise ValueError(f"{run_dir / 'summary.json'} {error}") from None
    return summary


def load_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path.parent} is not a run directory: it has no {path.name}")
    try:
        value = readable(parse_json(read_checked(path).decode()))
    except DamagedFileError as error:
        raise ValueError(f"{error}; {resume_command(path.parent)} writes it again") from None
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value


def _study_frame(path: Path, schema: pa.Schema, summary: Mapping[str, Any]) -> pd.DataFrame:
    """A table with all columns of the schema. Raises ValueError, saying what wrote it, if it lacks some."""
    table = load_table(path)
    try:
        frame: pd.DataFrame = records.with_missing_columns(table, schema).to_pandas()
    except ValueError as error:
        commit = summary.get("commit")
        writer = f"commit {commit} of this project" if commit else "a version of this project that noted no commit"
        raise ValueError(
            f"{path} was written by {writer} and cannot be read by this one: {error}; read it with the version that "
            "wrote it"
        ) from error
    return frame


def load_table(path: Path) -> pa.Table:
    """Raises ValueError, in one sentence, where it is missing or damaged."""
    if not path.is_file():
        raise ValueError(f"{path.parent} is not a run directory: it has no {path.name}")
    try:
        return records.read_table(path)
    except DamagedFileError as error:
        raise ValueError(f"{error}; {resume_command(path.parent)} writes it again") from None
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def of_arms(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials of the arms' own searches, without controls, of which runs made before there were any know nothing."""
    return trials[trials["control"].isna()] if "control" in trials else trials


def by_search(trials: pd.DataFrame) -> list[tuple[Search, pd.DataFrame]]:
    """The trials of each search of each arm of each stage, in the order of the table."""
    if "search" not in trials:
        trials = trials.assign(search=1, control=None)
    keys = [trials["stage"], trials["arm"], trials["search"].fillna(1).astype(int), trials["control"].fillna("")]
    groups: list[tuple[Any, pd.DataFrame]] = list(trials.groupby(keys, sort=False))
    return [(Search(number=number, control=control or None), own) for (_, _, number, control), own in groups]


def of_winners(retests: pd.DataFrame) -> pd.DataFrame:
    """The retests of winners, without those of what they are held against, of which earlier runs know nothing."""
    return retests[retests["role"].isna() | (retests["role"] == "winner")] if "role" in retests else retests


def row_tuples(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples, typed Any because pandas' stubs do not know the columns' types."""
    return iter(frame.itertuples(index=False))


def python_value(value: Any) -> Any:
    """A value of a table as Python's own, where it is NumPy's."""
    return value.item() if isinstance(value, np.generic) else value


def knob(trials: pd.DataFrame, name: str) -> pd.Series:
    """The trials' values of a hyperparameter: the column config/NAME, or factor/NAME if it is a factor.

    A trial without a value has NaN or None; so have all trials if there is no such column.
    """
    for column in (f"config/{name}", f"factor/{name}"):
        if column in trials and trials[column].notna().any():
            return trials[column]
    return pd.Series(None, index=trials.index, dtype="object")
