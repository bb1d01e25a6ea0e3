"""A session of a reproduction, from its spec to its page: begun by study.reproduce, continued by study.resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ray
import torch

from study.core.commands import option_words
from study.core.errors import StudyError, last_line
from study.core.invocation import invocation
from study.core.ledger import RETEST, Book, Event, Ledger
from study.core.run_dir import (
    new_run,
    numbered,
    remove_checkpoints,
    require_checkpoints,
    require_place,
    resume_command,
    settings_of,
    worked_on_again,
)
from study.core.spec import placed, validated
from study.core.text import duration, listed, plural
from study.engine.cluster import cluster_of, num_slots
from study.engine.console import StudyConsole
from study.engine.jobs import Job, Outcome, run_jobs
from study.engine.retest import fresh_seeds, record_outcome
from study.engine.session import Session
from study.records.provenance import describe_dataset, require_same_source
from study.records.summary import State
from study.reproduction.files import write_reproduction
from study.reproduction.page import write_reproduction_page
from study.reproduction.reuse import Earlier, load_earlier, taken_over
from study.reproduction.runs import Run, load_run_data, planned_runs, scaled_test
from study.reproduction.spec import OWN_DATASET, ReproductionSpec
from study.reproduction.tuned import load_studies, tuned_beside
from study.tasks.resolve import dated_name, machine_settings
from trainables.common.places import Place
from trainables.data.sources import SOURCES
from trainables.data.splits import retest_data, tuning_data, whole
from trainables.data.types import DataError, ImageDataset
from trainables.training.checkpoints import newest_epoch
from trainables.training.setup import TrialSetup


def begin(values: Mapping[str, Any], console: StudyConsole) -> int:
    """Make a run directory and work on it. Returns the exit status. Raises StudyError or DataError before that."""
    spec = validated(ReproductionSpec, values)
    require_place(spec)
    require_checkpoints(spec)
    earlier = load_earlier(spec.reuse)
    runs, datasets = _runs_and_data(spec)
    tuned = _tuned(spec, runs)
    with cluster_of(spec) as cluster:
        settings = {name: getattr(spec, name) for name in spec.model_fields_set}
        names = (spec.name,) if spec.name else numbered(dated_name("reproduce", "-".join(spec.recipes[:3]) or "all"))
        spec = validated(ReproductionSpec, {**settings, **machine_settings(spec, cluster.gpus)})
        slots = num_slots(spec, cluster)
        options = {name: value for name, value in values.items() if name != "recipes"}
        command = " ".join([invocation("study.reproduce"), *spec.recipes, *option_words(options)])
        with new_run(spec, names) as (spec, ledger):
            session = ReproductionSession(
                spec=spec, runs=runs, datasets=datasets, tuned=tuned, ledger=ledger, console=console
            )
            if earlier:
                session.take_over(earlier)
            return session.conduct(cluster=cluster, slots=slots, command=command)


def resume(
    run_dir: Path,
    console: StudyConsole,
    *,
    allow_changed: bool = False,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    """Continue a reproduction from its ledger. Returns the exit status. Raises StudyError or DataError.

    allow_changed: as of a study. given: where its Ray is (see study.core.spec.placed).
    """
    command = " ".join([resume_command(run_dir), *option_words(given)])
    spec = validated(ReproductionSpec, settings_of(run_dir))
    with worked_on_again(run_dir) as ledger:
        if (changed := require_same_source(run_dir, ledger.book, allow_changed=allow_changed)) is not None:
            ledger.notices.append(changed)
        require_checkpoints(spec)
        runs, datasets = _runs_and_data(spec)
        _require_same_trainings(run_dir, runs, ledger.book)
        _require_same_data(run_dir, datasets, ledger.book)
        with cluster_of(placed(spec, ledger.book.sessions, given)) as cluster:
            tuned = _tuned_now_or_before(spec, runs, ledger.book)
            session = ReproductionSession(
                spec=spec, runs=runs, datasets=datasets, tuned=tuned, ledger=ledger, console=console
            )
            slots = num_slots(spec, cluster)
            return session.conduct(cluster=cluster, slots=slots, command=command)


def _require_same_data(run_dir: Path, datasets: Mapping[str, ImageDataset], book: Book) -> None:
    """Raises StudyError where a data set that an earlier session had is another or is gone. New ones are welcome."""
    for session in book.sessions:
        for name, facts in session["datasets"].items():
            if name not in datasets or datasets[name].fingerprint != facts["fingerprint"]:
                raise StudyError(f"{name} is not what {run_dir} was trained on, or is not there any more")


def _require_same_trainings(run_dir: Path, runs: Sequence[Run], book: Book) -> None:
    """Raises StudyError where a run of an earlier session is another training now, or is not in the table any more."""
    before = {name: training for session in book.sessions for name, training in session.get("trainings", {}).items()}
    known = {run.name: _training_of(run) for run in runs}
    changed = [name for name, training in before.items() if known.get(name) != training]
    if changed:
        raise StudyError(
            f"{', '.join(changed)} of this version of the project is not the training that {run_dir} has: begin "
            "another reproduction"
        )


def _training_of(run: Run) -> dict[str, Any]:
    """All that a run's weights depend on but for its seed and its data, as JSON keeps it."""
    training = run.training
    return {
        "task": training.task.name,
        "hparams": dict(training.hparams),
        "num_epochs": run.num_epochs,
        "imbalance": training.imbalance,
        "begins_with": training.begins_with,
        "scale": run.scale,
        **({} if training.share == 1 else {"share": training.share}),  # ledgers of before know none
    }


def _runs_and_data(spec: ReproductionSpec) -> tuple[list[Run], dict[str, ImageDataset]]:
    """The planned runs, which say so where their data set is not there, and the data sets that are.

    Raises StudyError where none is there.
    """
    runs = planned_runs(spec)
    datasets: dict[str, ImageDataset] = {}
    absent: dict[str, str] = {}
    errors = []
    for name in dict.fromkeys(run.dataset for run in runs):
        try:
            datasets[name] = load_run_data(spec, name)
        except DataError as error:
            if spec.dataset != OWN_DATASET:
                raise
            is_there = SOURCES[name].lies_under(spec.data_root)
            absent[name] = str(error) if is_there else f"{SOURCES[name].title} is not under the data root"
            errors.append(error)
    if not datasets:
        raise StudyError(
            f"{errors[0]}; without it none of these recipes can run (a smoke run on embedded data: --dataset digits)"
        )
    return [replace(run, not_run=absent.get(run.dataset)) for run in runs], datasets


def _tuned(spec: ReproductionSpec, runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Recipe -> the record of its tuned arm, as JSON keeps it."""
    studies = load_studies(spec.tuned)
    recipes = {run.recipe.name: run.recipe for run in runs}
    beside = {name: tuned_beside(recipe, studies) for name, recipe in recipes.items()}
    return {name: record.model_dump() for name, record in beside.items() if record is not None}


def _tuned_now_or_before(spec: ReproductionSpec, runs: Sequence[Run], book: Book) -> dict[str, dict[str, Any]]:
    """As an earlier session found it, where the studies are not there any more."""
    try:
        return _tuned(spec, runs)
    except StudyError:
        if not book.sessions:
            raise
        return dict(book.sessions[-1]["tuned"])


class ReproductionSession(Session):
    """A process's work on a reproduction."""

    _spec: ReproductionSpec
    kept = "every finished run and epoch is kept"

    def __init__(
        self,
        *,
        spec: ReproductionSpec,
        runs: Sequence[Run],
        datasets: Mapping[str, ImageDataset],
        tuned: Mapping[str, Mapping[str, Any]],
        ledger: Ledger,
        console: StudyConsole,
    ) -> None:
        super().__init__(spec=spec, ledger=ledger, console=console)
        self._datasets, self._tuned = datasets, tuned
        self._pools = {
            name: tuning_data(dataset, thinned=whole, subset_seed=spec.seed) for name, dataset in datasets.items()
        }
        self._seeds = fresh_seeds(spec.seed, spec.seeds)
        self._runs = {run.name: replace(run, not_run=run.not_run or self._reason_not_to_run(run)) for run in runs}

    def work(self, slots: int) -> bool:
        lost = self._train(slots)
        for line in lost:
            self._console.insist(f"lost: {line}")
        return bool(lost)

    def take_over(self, earlier: Sequence[Earlier]) -> None:
        """Record what earlier reproductions have trained."""
        fingerprints = {name: dataset.fingerprint for name, dataset in self._datasets.items()}
        found = taken_over(earlier, self._runs, self._pools, fingerprints, self._seeds)
        self._ledger.append(*(Event(kind=RETEST, payload=payload) for payload in found))
        folders = listed([str(one.folder) for one in earlier])
        self._console.say(f"taken over: {plural(len(found), 'run')} of {folders}")

    def _train(self, slots: int) -> list[str]:
        book = self._ledger.book
        over = {*book.retests, *book.retest_failures}
        # Every recipe on its first seed, its variants, then the next seed: a run that is cut short has them all.
        waiting = [
            (run, seed)
            for seed in self._seeds
            for run in self._runs.values()
            if not run.not_run and (run.name, seed) not in over
        ]
        pools = {name: ray.put(pool) for name, pool in self._pools.items()}
        scales = dict.fromkeys((run.dataset, run.scale) for run, _ in waiting)
        tests = {(name, scale): ray.put(scaled_test(self._datasets[name], scale)) for name, scale in scales}
        return run_jobs(
            [self._job(run, seed, pools[run.dataset], tests[run.dataset, run.scale]) for run, seed in waiting],
            spec=self._spec,
            num_slots=slots,
            failed={key: row["message"] for key, row in book.retest_failures.items()},
            on_outcome=self._record,
            on_wait=self._say_progress,
            say=self._console.insist,
        )

    def _job(self, run: Run, seed: int, pool: ray.ObjectRef, test: ray.ObjectRef) -> Job:
        before = run.training.begins_with
        return Job(
            name=run.name,
            seed=seed,
            task=run.training.task,
            hparams=run.training.hparams,
            num_epochs=run.num_epochs,
            pool=pool,
            training_data=partial(retest_data, thinned=run.thinned, subset_seed=seed),
            test=test,
            folder=self._folder(run.name, seed),
            keeps_folder=any(other.training.begins_with == run.name for other in self._runs.values()),
            start_from=str(self._folder(before, seed)) if before else None,
            after=(before, seed) if before else None,
        )

    def _record(self, job: Job, outcome: Outcome) -> None:
        record_outcome(self._ledger, arm=job.name, trial_id=job.name, seed=job.seed, outcome=outcome)
        says = f" failed: {outcome}" if isinstance(outcome, str) else f": {self._gives(self._runs[job.name], *outcome)}"
        say = self._console.insist if isinstance(outcome, str) else self._console.say
        say(f"{self._done()}  {job.name}, seed {job.seed}{says}")
        self.write_progress()

    def _gives(self, run: Run, row: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> str:
        """'test accuracy 71.3 % after 20 epochs (reported 72.6 %), 45 s'."""
        score, reported = run.training.score, run.recipe.reported
        says = f"{score.replace('_', ' ')} {100 * row[score]:.1f} % after {plural(len(epochs), 'epoch')}"
        if run.kind == "recipe" and reported and run.scale == 1 and self._spec.dataset == OWN_DATASET:
            says += f" (reported {100 * reported[0].value:.1f} %)"
        return f"{says}, {duration(row['train_seconds'])}"

    def _say_progress(self, running: Sequence[Job]) -> None:
        at = ", ".join(f"{job.name} at epoch {newest_epoch(job.folder)} of {job.num_epochs}" for job in running)
        self._console.say(f"{self._done()}  {at}")

    def _done(self) -> str:
        book = self._ledger.book
        total = len(self._seeds) * sum(run.not_run is None for run in self._runs.values())
        return f"[{len(book.retests) + len(book.retest_failures)}/{total} runs]"

    def _folder(self, run: str, seed: int) -> Place:
        return self._checkpoints / f"{run}-{seed}"

    def _reason_not_to_run(self, run: Run) -> str | None:
        """What would fail in every training fails here: why it cannot run on these data, or None."""
        assert self._spec.numerics
        seed = self._seeds[0]
        setup = TrialSetup(
            num_epochs=run.num_epochs, seed=seed, numerics=self._spec.numerics, device=torch.device("cpu")
        )
        try:
            data = retest_data(self._pools[run.dataset], thinned=run.thinned, subset_seed=seed)
            run.training.task.learner(run.training.hparams, data, setup)
        except ValueError as error:
            return last_line(error)
        return None

    def introduce(self, slots: int) -> None:
        say = self._console.say
        for dataset in self._datasets.values():
            self.say_data(dataset)
        runs = [run for run in self._runs.values() if run.not_run is None]
        recipes = sum(run.kind == "recipe" for run in runs)
        say(
            f"plan: {plural(recipes, 'recipe')} and {plural(len(runs) - recipes, 'variant')}, each on "
            f"{plural(len(self._seeds), 'seed')}, {slots} at a time"
        )
        for reason in dict.fromkeys(run.not_run for run in self._runs.values() if run.not_run):
            names = [run.name for run in self._runs.values() if run.not_run == reason]
            self._console.insist(f"      not run, because {reason}: {', '.join(names)}")
        scales = {run.scale for run in runs} - {1.0}
        if scales or self._spec.dataset != OWN_DATASET:
            say("      scaled down or on other data: such numbers do not compare with the reports'")

    def facts(self) -> Mapping[str, Any]:
        return {
            # By the data set's own fingerprint: which of its images are trained on is the seed's.
            "datasets": {
                name: {**describe_dataset(dataset, self._pools[name]), "fingerprint": dataset.fingerprint}
                for name, dataset in self._datasets.items()
            },
            "tuned": dict(self._tuned),
            "trainings": {run.name: _training_of(run) for run in self._runs.values()},
        }

    def write_page(self) -> Path:
        return write_reproduction_page(self._run_dir)

    def outcome(self) -> int:
        remove_checkpoints(self._checkpoints)  # nothing begins with them any more
        return 0 if self._ledger.book.retests else 1

    def write(self, state: State) -> None:
        write_reproduction(spec=self._spec, runs=self._runs, pools=self._pools, ledger=self._ledger, state=state)
