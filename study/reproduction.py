"""A session of a reproduction, from its spec to its page: begun by study.reproduce, continued by study.resume."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from study.cli import option_words
from study.conduct import locked, new_run, now, raise_interrupt
from study.console import StudyConsole, duration, plural
from study.errors import StudyError, last_line, nearest
from study.launch import CHECKPOINTS, Cluster, connected, num_slots, signals_to
from study.ledger import LEDGER, SESSION, SESSION_END, Event, Ledger
from study.recipes import ABLATIONS, RECIPES, SOURCES, Kind, Recipe, Training, chosen_recipes
from study.records import RUN_EPOCHS, RUNS, write_table
from study.resolve import dated_name, machine_settings, require_place
from study.retest import fresh_seeds, record_outcome
from study.spec import OWN_DATASET, ReproductionSpec, validated
from study.summary import (
    State,
    describe_dataset,
    describe_machine,
    describe_versions,
    git_commit,
    write_json,
)
from study.training import Job, Outcome, run_jobs
from study.tuned import load_studies, tuned_beside
from trainables.checkpoints import newest_epoch
from trainables.data.sources import load_dataset
from trainables.data.splits import retest_data, test_data, thin, thinned_counts, tuning_data, whole
from trainables.data.types import DataError, ImageDataset, TestData, TuningData

MIN_IMAGES_PER_CLASS = 20  # however small the scale
# torch's names of classes that are made rare: the sources cut the first half, the long tail's code the last class.
_IMBALANCES: Mapping[str, Mapping[str, Any]] = {
    "step": {"imbalance": "step", "ratio": 10.0, "minority": "first"},
    "exponential": {"imbalance": "exponential", "ratio": 100.0, "minority": "last"},
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A recipe's training, or a variant's, at its scale. not_run: why it cannot be, or None."""

    name: str
    recipe: Recipe
    kind: Kind
    says: str
    training: Training
    scale: float
    dataset: str
    not_run: str | None = None

    @property
    def num_epochs(self) -> int:
        return max(1, round(self.scale * self.training.num_epochs))

    def thinned(self, class_counts: np.ndarray) -> np.ndarray:
        """How many of each class's images are trained on: first the scale's share, then what the imbalance leaves."""
        counts = scaled_counts(class_counts, self.scale)
        if self.training.imbalance is None:
            return counts
        return thinned_counts(counts, **_IMBALANCES[self.training.imbalance])


def scaled_counts(class_counts: np.ndarray, scale: float) -> np.ndarray:
    """int64[C]: the scale's share of each class, at least MIN_IMAGES_PER_CLASS where it has as many."""
    least = np.minimum(class_counts, MIN_IMAGES_PER_CLASS)
    return np.maximum(least, np.rint(scale * class_counts)).astype(np.int64)


def planned_runs(spec: ReproductionSpec) -> tuple[Run, ...]:
    """All runs of the chosen recipes: the recipes' own, in the table's order, then their variants.

    Raises StudyError.
    """
    recipes = chosen_recipes(spec.recipes)
    known = {"all", *SOURCES, *(name for recipe in RECIPES.values() for name in recipe.runs)}
    for name in spec.scale:
        if name not in known:
            raise StudyError(f"--scale: there is no source, recipe or run {name!r}{nearest(name, known)}")
    runs = []
    for recipe in recipes:
        for name, (kind, says, training) in recipe.runs.items():
            keys = (name, recipe.name, recipe.source, "all")
            scale = next(spec.scale[key] for key in keys if key in spec.scale)
            dataset = recipe.dataset if spec.dataset == OWN_DATASET else spec.dataset
            if kind == "recipe" or spec.variants:
                runs.append(
                    Run(
                        name=name,
                        recipe=recipe,
                        kind=kind,
                        says=says,
                        training=training,
                        scale=scale,
                        dataset=dataset,
                    )
                )
    return tuple(sorted(runs, key=lambda run: run.kind != "recipe"))


def begin(values: Mapping[str, Any], console: StudyConsole) -> int:
    """Make a run directory and work on it. Returns the exit status. Raises StudyError or DataError before that."""
    spec = validated(ReproductionSpec, values)
    require_place(spec)
    runs = planned_runs(spec)
    datasets, absent = _load_datasets(spec, runs)
    tuned = _tuned(spec, runs)
    with connected(spec.address) as cluster:
        settings = {name: getattr(spec, name) for name in spec.model_fields_set}
        name = spec.name or dated_name("reproduce", "-".join(spec.recipes[:3]) or "all")
        spec = validated(ReproductionSpec, {**settings, "name": name, **machine_settings(spec, cluster.gpus)})
        slots = num_slots(spec, cluster)
        command = " ".join(["python -m study.reproduce", *spec.recipes, *option_words(_options(values))])
        with new_run(spec), Ledger(spec.run_dir) as ledger:
            session = _Session(
                spec=spec, runs=runs, datasets=datasets, absent=absent, tuned=tuned, ledger=ledger, console=console
            )
            return session.conduct(cluster=cluster, slots=slots, command=command)


def resume(run_dir: Path, console: StudyConsole) -> int:
    """Continue a reproduction from its ledger. Returns the exit status. Raises StudyError or DataError."""
    if not (run_dir / LEDGER).is_file():
        raise StudyError(f"{run_dir} is not a run directory (it lacks {LEDGER})")
    # A run directory may have been moved; the data are still looked for from the folder that resume is started in.
    found = run_dir if run_dir.name and not run_dir.is_symlink() else run_dir.resolve()
    values = json.loads((run_dir / "spec.json").read_text())
    spec = validated(ReproductionSpec, {**values, "name": found.name, "output_dir": str(found.parent)})
    with locked(run_dir), Ledger(run_dir) as ledger:
        runs = planned_runs(spec)
        datasets, absent = _load_datasets(spec, runs)
        begun = ledger.book.sessions[0] if ledger.book.sessions else {"datasets": {}, "tuned": _tuned(spec, runs)}
        for name, facts in begun["datasets"].items():
            if name not in datasets or datasets[name].fingerprint != facts["fingerprint"]:
                raise StudyError(f"{name} is not what {run_dir} began with, or is not there any more")
        with connected(spec.address) as cluster:
            session = _Session(
                spec=spec,
                runs=runs,
                datasets=datasets,
                absent=absent,
                tuned=begun["tuned"],
                ledger=ledger,
                console=console,
            )
            command = f"python -m study.resume {run_dir}"
            return session.conduct(cluster=cluster, slots=num_slots(spec, cluster), command=command)


def _options(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "recipes"}


def _load_datasets(spec: ReproductionSpec, runs: Sequence[Run]) -> tuple[dict[str, ImageDataset], dict[str, str]]:
    """(the data sets that are there, why the others are not). Raises StudyError where none is there."""
    datasets, absent = {}, {}
    for name in dict.fromkeys(run.dataset for run in runs):
        try:
            datasets[name] = load_dataset(
                name, data_root=spec.data_root, download=spec.download, image_size=spec.image_size
            )
        except DataError as error:
            if spec.dataset != OWN_DATASET:
                raise
            absent[name] = str(error)
    if not datasets:
        raise StudyError(
            f"{next(iter(absent.values()))}; without it none of these recipes can run "
            "(a smoke run on embedded data: --dataset digits)"
        )
    return datasets, absent


def _tuned(spec: ReproductionSpec, runs: Sequence[Run]) -> dict[str, Any]:
    studies = load_studies(spec.tuned)
    recipes = {run.recipe.name: run.recipe for run in runs}
    beside = {name: tuned_beside(recipe, studies) for name, recipe in recipes.items()}
    return {name: found for name, found in beside.items() if found is not None}


class _Session:
    """A process's work on a reproduction."""

    def __init__(
        self,
        *,
        spec: ReproductionSpec,
        runs: Sequence[Run],
        datasets: Mapping[str, ImageDataset],
        absent: Mapping[str, str],
        tuned: Mapping[str, Any],
        ledger: Ledger,
        console: StudyConsole,
    ) -> None:
        self._spec, self._datasets, self._tuned = spec, datasets, tuned
        self._ledger, self._console = ledger, console
        self._run_dir = spec.run_dir
        self._pools = {
            name: tuning_data(dataset, thinned=whole, subset_seed=spec.seed) for name, dataset in datasets.items()
        }
        self._seeds = fresh_seeds(spec.seed, spec.seeds)
        self._runs = {
            run.name: replace(run, not_run=absent.get(run.dataset) or self._reason_not_to_run(run)) for run in runs
        }

    def conduct(self, *, cluster: Cluster, slots: int, command: str) -> int:
        self._introduce(cluster, slots)
        self._open_session(cluster, command)
        started = time.monotonic()
        lost: list[str] = []
        is_interrupted = False
        try:
            with signals_to(raise_interrupt):
                lost = self._train(slots)
        except KeyboardInterrupt:
            is_interrupted = True
        except Exception:
            self._conclude("interrupted", time.monotonic() - started)
            raise
        for line in lost:
            self._console.say(f"lost: {line}")
        return self._conclude("interrupted" if lost or is_interrupted else "complete", time.monotonic() - started)

    def _train(self, slots: int) -> list[str]:
        book = self._ledger.book
        over = {*book.retests, *book.retest_failures}
        pools = {name: ray.put(pool) for name, pool in self._pools.items()}
        tests: dict[tuple[str, float], Any] = {}
        jobs = []
        # Every recipe on its first seed, its variants, then the next seed: a run that is cut short has them all.
        for seed in self._seeds:
            for run in self._runs.values():
                if run.not_run or (run.name, seed) in over:
                    continue
                key = run.dataset, run.scale
                if key not in tests:
                    tests[key] = ray.put(scaled_test(self._datasets[run.dataset], run.scale))
                before = run.training.begins_with
                jobs.append(
                    Job(
                        name=run.name,
                        seed=seed,
                        task=run.training.task,
                        hparams=run.training.hparams,
                        num_epochs=run.num_epochs,
                        pool=pools[run.dataset],
                        cut=partial(retest_data, thinned=run.thinned, subset_seed=seed),
                        test=tests[key],
                        folder=self._folder(run.name, seed),
                        keeps_folder=any(other.training.begins_with == run.name for other in self._runs.values()),
                        start_from=str(self._folder(before, seed)) if before else None,
                        after=(before, seed) if before else None,
                    )
                )
        failed = {key: row["message"] for key, row in book.retest_failures.items()}
        return run_jobs(
            jobs,
            spec=self._spec,
            num_slots=slots,
            failed=failed,
            on_outcome=self._record,
            on_wait=self._say_progress,
        )

    def _record(self, job: Job, outcome: Outcome) -> None:
        record_outcome(self._ledger, arm=job.name, trial_id=job.name, seed=job.seed, outcome=outcome)
        if isinstance(outcome, str):
            self._console.say(f"{self._done()}  {job.name}, seed {job.seed} failed: {outcome}")
        else:
            row, epochs = outcome
            value, seconds = row[job.task.score], duration(row["train_seconds"])
            run = self._runs[job.name]
            says = f"{job.task.score.replace('_', ' ')} {100 * value:.1f} % after {plural(len(epochs), 'epoch')}"
            reported = run.recipe.reported
            if run.kind == "recipe" and reported and run.scale == 1 and self._spec.dataset == OWN_DATASET:
                says += f" (reported {100 * reported[0].value:.1f} %)"
            self._console.say(f"{self._done()}  {job.name}, seed {job.seed}: {says}, {seconds}")
        self._write("running")

    def _say_progress(self, running: Sequence[Job]) -> None:
        at = ", ".join(f"{job.name} at epoch {newest_epoch(job.folder)} of {job.num_epochs}" for job in running)
        self._console.say(f"{self._done()}  {at}")

    def _done(self) -> str:
        book = self._ledger.book
        total = len(self._seeds) * sum(run.not_run is None for run in self._runs.values())
        return f"[{len(book.retests) + len(book.retest_failures)}/{total} runs]"

    def _folder(self, run: str, seed: int) -> Path:
        return self._run_dir.resolve() / CHECKPOINTS / f"{run}-{seed}"

    def _reason_not_to_run(self, run: Run) -> str | None:
        """What would fail in every training fails here: why it cannot run on these data, or None."""
        spec = self._spec
        try:
            run.training.task.learner(
                run.training.hparams,
                self._data(run, self._seeds[0]),
                num_epochs=run.num_epochs,
                seed=self._seeds[0],
                numerics=spec.numerics,  # type: ignore[arg-type]
                device=torch.device("cpu"),
            )
        except ValueError as error:
            return last_line(error)
        return None

    def _data(self, run: Run, seed: int) -> TuningData:
        return retest_data(self._pools[run.dataset], thinned=run.thinned, subset_seed=seed)

    def _introduce(self, cluster: Cluster, slots: int) -> None:
        say = self._console.say
        for dataset in self._datasets.values():
            say(f"data: {dataset.origin}")
        runs = [run for run in self._runs.values() if run.not_run is None]
        recipes = sum(run.kind == "recipe" for run in runs)
        say(
            f"plan: {plural(recipes, 'recipe')} and {plural(len(runs) - recipes, 'variant')}, each on "
            f"{plural(len(self._seeds), 'seed')}, {slots} at a time"
        )
        for run in self._runs.values():
            if run.not_run is not None:
                say(f"      {run.name} is not run: {run.not_run}")
        scales = {run.scale for run in runs} - {1.0}
        if scales or self._spec.dataset != OWN_DATASET:
            say("      scaled down or on other data: such numbers do not compare with the reports'")
        say(f"run:  {self._run_dir}")
        if cluster.dashboard_url:
            token = "; it asks for a token: ray get-auth-token prints it" if cluster.needs_token else ""
            say(f"Ray dashboard: {cluster.dashboard_url}{token}")

    def _open_session(self, cluster: Cluster, command: str) -> None:
        payload = {
            "started": now(),
            "ended": None,
            "command": command,
            # By the data set's own fingerprint: which of its images are trained on is the seed's.
            "datasets": {
                name: {**describe_dataset(dataset, self._pools[name]), "fingerprint": dataset.fingerprint}
                for name, dataset in self._datasets.items()
            },
            "tuned": dict(self._tuned),
            "hardware": describe_machine(cpus=cluster.cpus, gpus=cluster.gpus),
            "versions": describe_versions(),
            "commit": git_commit(),
        }
        self._ledger.append(Event(kind=SESSION, payload=payload))
        self._write("running")

    def _conclude(self, state: State, wall_seconds: float) -> int:
        payload = {"ended": now(), "state": state, "wall_seconds": wall_seconds}
        self._ledger.append(Event(kind=SESSION_END, payload=payload))
        self._write(state)
        from study.reproduction_page import write_reproduction_page  # matplotlib: not before it is needed

        page = write_reproduction_page(self._run_dir)
        say = self._console.say
        if state == "interrupted":
            say(f"interrupted after {duration(wall_seconds)}; every finished run and epoch is kept")
            say(f"continue: python -m study.resume {self._run_dir}")
            say(f"report so far: {page}")
            return 130
        say(f"done in {duration(wall_seconds)}")
        say(f"report: {page}")
        return 0 if self._ledger.book.retests else 1

    def _write(self, state: State) -> None:
        """The tables and summary.json, from the ledger."""
        order = list(self._runs)
        rows = sorted(self._ledger.book.retests.values(), key=lambda row: (order.index(row["arm"]), row["seed"]))
        write_table(self._run_dir / "runs.parquet", [self._run_row(row) for row in rows], RUNS)
        epochs = [{"run": row["arm"], "seed": row["seed"], **epoch} for row in rows for epoch in row["epochs"]]
        write_table(self._run_dir / "epochs.parquet", epochs, RUN_EPOCHS)
        write_json(self._run_dir / "summary.json", self._summary(state))

    def _run_row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        run = self._runs[row["arm"]]
        names = {"run": run.name, "recipe": run.recipe.name, "kind": run.kind, "num_epochs": len(row["epochs"])}
        return {**row["epochs"][-1], **row, **names}

    def _summary(self, state: State) -> dict[str, Any]:
        spec, book = self._spec, self._ledger.book
        first, last = book.sessions[0], book.sessions[-1]
        recipes = {run.recipe.name: run.recipe for run in self._runs.values()}
        return {
            "name": spec.name,
            "task": spec.task,
            "state": state,
            "command": first["command"],
            "resume_command": f"python -m study.resume {spec.run_dir}",
            "seed": spec.seed,
            "seeds": spec.seeds,
            "dataset_override": None if spec.dataset == OWN_DATASET else spec.dataset,
            "recipes": [self._describe_recipe(recipe) for recipe in recipes.values()],
            "runs": {name: self._describe_run(run) for name, run in self._runs.items()},
            "ablations": [
                {
                    "name": ablation.name,
                    "title": ablation.title,
                    "rows": list(ablation.rows),
                    "columns": list(ablation.columns),
                    "cells": [list(row) for row in ablation.cells],
                    "counts_images": ablation.counts_images,
                }
                for ablation in ABLATIONS
                if set(ablation.runs) & set(self._runs)
            ],
            "tuned": first["tuned"],
            "datasets": last["datasets"],
            "sessions": [
                {name: value for name, value in session.items() if name not in {"datasets", "tuned"}}
                for session in book.sessions
            ],
            "hardware": last["hardware"],
            "versions": last["versions"],
            "commit": last["commit"],
            "numerics": spec.numerics.model_dump() if spec.numerics else {},
            "ledger_milliseconds_per_event": self._ledger.milliseconds_per_event(),
        }

    def _describe_recipe(self, recipe: Recipe) -> dict[str, Any]:
        cause = {"text": recipe.cause[0], "run": recipe.cause[1]} if recipe.cause else None
        return {
            "name": recipe.name,
            "source": recipe.source,
            "says": recipe.says,
            "dataset": recipe.dataset,
            "fault": recipe.fault,
            "choices": recipe.choices,
            "reported": [{"what": r.what, "column": r.column, "value": r.value} for r in recipe.reported],
            "reported_per_class": list(recipe.reported_per_class),
            "corrected": recipe.corrected,
            "cause": cause,
            "runs": [name for name in recipe.runs if name in self._runs],
        }

    def _describe_run(self, run: Run) -> dict[str, Any]:
        counts = self._class_counts(run)
        failures = self._ledger.book.retest_failures
        return {
            "recipe": run.recipe.name,
            "kind": run.kind,
            "says": run.says,
            "task": run.training.task.name,
            "score": run.training.task.score,
            "scale": run.scale,
            "num_epochs": run.num_epochs,
            "full_epochs": run.training.num_epochs,
            "num_train": int(counts.sum()) if counts is not None else None,
            "class_counts": counts.tolist() if counts is not None else None,
            "imbalance": run.training.imbalance,
            "begins_with": run.training.begins_with,
            "config": dict(run.training.hparams),
            "not_run": run.not_run,
            "failures": {str(seed): row["message"] for (name, seed), row in failures.items() if name == run.name},
        }

    def _class_counts(self, run: Run) -> np.ndarray | None:
        if run.not_run is not None:
            return None
        pool = self._pools[run.dataset]
        return run.thinned(np.bincount(pool.labels, minlength=pool.num_classes))


def scaled_test(dataset: ImageDataset, scale: float) -> TestData:
    """The scale's share of the test images of each class, at least MIN_IMAGES_PER_CLASS."""
    test = test_data(dataset)
    counts = scaled_counts(np.bincount(test.labels, minlength=len(dataset.class_names)), scale)
    indices = thin(test.labels, np.arange(len(test.labels), dtype=np.int64), counts, seed=0)
    return TestData(images=test.images[indices], labels=test.labels[indices])
