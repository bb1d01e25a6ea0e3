"""What earlier reproductions have trained already, taken over where training, seed and data are the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.analysis.tables import load_table
from study.core.errors import StudyError
from study.reproduction.files import TAKEN_FROM, run_record
from study.reproduction.records import ReproductionSummary, RunRecord
from study.reproduction.results import load_reproduction
from study.reproduction.runs import Run
from trainables.data.splits import index_sha256, retest_data
from trainables.data.types import TuningData

_SAME = ("task", "score", "scale", "num_epochs", "class_counts", "imbalance", "begins_with", "config")
"""What of two RunRecords must be equal for their weights to follow from the same training; seed and images apart."""
_NAMES = ("run", "recipe", "kind", "num_epochs")


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """An earlier reproduction. folder: as it was given; rows, epochs: of its finished runs, by run and seed."""

    folder: Path
    summary: ReproductionSummary
    rows: Mapping[tuple[str, int], Mapping[str, Any]]
    epochs: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]

    def trained(self, name: str, seed: int) -> dict[str, Any]:
        """The payload of a finished run's event: its row, its epochs, and where they come from."""
        row = {key: value for key, value in self.rows[name, seed].items() if key not in _NAMES}
        return {**row, "arm": name, "trial_id": name, "epochs": self.epochs[name, seed], TAKEN_FROM: self._origin(name)}

    def _origin(self, name: str) -> dict[str, Any]:
        """Of a run that was taken over there, too, where it was trained."""
        for reused in self.summary.reused:
            if name in reused.runs:
                return reused.model_dump(exclude={"runs"})
        summary = self.summary
        return {
            "reproduction": str(self.folder),
            "commits": tuple(dict.fromkeys(session["commit"] for session in summary.sessions if session.get("commit"))),
            "hardware": summary.hardware,
            "versions": summary.versions,
            "numerics": summary.numerics,
        }


def load_earlier(folders: Sequence[Path]) -> list[Earlier]:
    """Raises StudyError where one is not the run directory of a reproduction."""
    found = []
    for folder in folders:
        try:
            summary = load_reproduction(folder).summary
            rows = {(row["run"], row["seed"]): row for row in _rows(folder / "runs.parquet")}
            epochs: dict[tuple[str, int], list[dict[str, Any]]] = {}
            for row in _rows(folder / "epochs.parquet"):
                epochs.setdefault((row.pop("run"), row.pop("seed")), []).append(row)
        except ValueError as error:
            raise StudyError(f"--reuse: {error}") from None
        found.append(Earlier(folder=folder, summary=summary, rows=rows, epochs=epochs))
    return found


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table without what they lack."""
    for row in load_table(path).to_pylist():
        yield {name: value for name, value in row.items() if value is not None}


def taken_over(
    earlier: Sequence[Earlier],
    runs: Mapping[str, Run],
    pools: Mapping[str, TuningData],
    fingerprints: Mapping[str, str],
    seeds: Sequence[int],
) -> list[dict[str, Any]]:
    """The payloads of the events of all runs x seeds that one of them has trained already, the first that has it.

    fingerprints: of the data sets, by name. A run that others begin with is trained again where one of these is: its
    weights were not kept.
    """
    planned = {name: run for name, run in runs.items() if run.not_run is None}
    records = {name: run_record(run, pools) for name, run in planned.items()}
    sources: dict[tuple[str, int], Earlier] = {}
    for seed in seeds:
        for name, run in planned.items():
            for one in earlier:
                before, dataset = one.summary.runs.get(name), one.summary.datasets.get(run.dataset)
                if (
                    (name, seed) in one.rows
                    and before is not None
                    and _is_same(before, records[name])
                    and dataset is not None
                    and dataset.fingerprint == fingerprints[run.dataset]
                    and one.rows[name, seed]["train_indices_sha256"] == _images(run, pools, seed)
                ):
                    sources[name, seed] = one
                    break
    for name, run in planned.items():
        begins_with = run.training.begins_with
        for seed in seeds:
            if begins_with and (name, seed) not in sources:
                sources.pop((begins_with, seed), None)
    return [one.trained(name, seed) for (name, seed), one in sources.items()]


def _is_same(before: RunRecord, planned: RunRecord) -> bool:
    return all(getattr(before, field) == getattr(planned, field) for field in _SAME)


def _images(run: Run, pools: Mapping[str, TuningData], seed: int) -> str:
    data = retest_data(pools[run.dataset], thinned=run.thinned, subset_seed=seed)
    return index_sha256(data.train_indices)
