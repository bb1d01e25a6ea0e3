"""A session of a study, from its spec to its page: begun by study.run, continued by study.resume."""

from __future__ import annotations

import contextlib
import datetime
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import filelock
import torch

from study.catalog import Study, find_study, load_data
from study.cli import command_line
from study.console import StudyConsole, duration, plural
from study.errors import StudyError, last_line
from study.launch import Cluster, connected, num_slots, signals_to, tune_arms
from study.ledger import LEDGER, SESSION, SESSION_END, Event, Ledger, TrialRecord
from study.records import write_records
from study.resolve import checked, resolved
from study.retest import retest, retest_seeds
from study.spec import REPRODUCE, RunSpec, StudySpec, task_of, validated
from study.stage import Stage
from study.summary import (
    State,
    describe_dataset,
    describe_machine,
    describe_versions,
    git_commit,
    write_json,
    write_summary,
)
from trainables.data.splits import retest_data, test_data
from trainables.data.types import ImageDataset, TuningData

LOCK = ".lock"
WRITE_FREELY_SECONDS = 0.25


def begin(study: Study, values: Mapping[str, Any], console: StudyConsole) -> int:
    """Make a run directory and work on it. Returns the exit status. Raises StudyError or DataError before that."""
    spec = checked(study, values)
    dataset, data, found = load_data(study, spec)
    with connected(spec.address) as cluster:
        spec = resolved(study, values, dataset=found, num_gpus=cluster.gpus)
        stages = study.stages(spec, data)
        require_trainable(stages, data, spec)
        slots = num_slots(spec, cluster)
        command = command_line(study, dict(values))
        with new_run(spec), Ledger(spec.run_dir) as ledger:
            session = _Session(
                study=study, spec=spec, stages=stages, dataset=dataset, data=data, ledger=ledger, console=console
            )
            return session.conduct(cluster=cluster, slots=slots, command=command)


def resume(run_dir: Path, console: StudyConsole) -> int:
    """Continue a run from its ledger. Returns the exit status. Raises StudyError or DataError."""
    study, spec = read_spec(run_dir)
    with locked(run_dir), Ledger(run_dir) as ledger:
        dataset, data, _ = load_data(study, spec)
        known = ledger.book.sessions[0]["dataset"]["fingerprint"] if ledger.book.sessions else data.fingerprint
        if data.fingerprint != known:
            raise StudyError(
                f"the data are not those that {run_dir} began with "
                f"(fingerprint {data.fingerprint[:12]}, was {known[:12]})"
            )
        with connected(spec.address) as cluster:
            session = _Session(
                study=study,
                spec=spec,
                stages=study.stages(spec, data),
                dataset=dataset,
                data=data,
                ledger=ledger,
                console=console,
            )
            command = f"python -m study.resume {run_dir}"
            return session.conduct(cluster=cluster, slots=num_slots(spec, cluster), command=command)


def read_spec(run_dir: Path) -> tuple[Study, StudySpec]:
    """The study and spec of a run directory, found where it lies now. Raises StudyError."""
    path = run_dir / "spec.json"
    if not path.is_file() or not (run_dir / LEDGER).is_file():
        raise StudyError(f"{run_dir} is not a run directory (it lacks spec.json or {LEDGER})")
    if task_of(run_dir) == REPRODUCE:
        raise StudyError(f"{run_dir} is a reproduction, not a study: its runs keep no checkpoint to look into")
    try:
        values = json.loads(path.read_text())
        study = find_study(values["task"])
    except (json.JSONDecodeError, KeyError, TypeError):
        raise StudyError(f"{path} is damaged: it is not a study's spec") from None
    # A run directory may have been moved; the data are still looked for from the folder that resume is started in.
    # "." and a link have no name of their own, but what they lead to has.
    found = run_dir if run_dir.name and not run_dir.is_symlink() else run_dir.resolve()
    values |= {"name": found.name, "output_dir": str(found.parent)}
    return study, validated(study.spec, values)


class _Session:
    """A process's work on a study."""

    def __init__(
        self,
        *,
        study: Study,
        spec: StudySpec,
        stages: tuple[Stage, ...],
        dataset: ImageDataset,
        data: TuningData,
        ledger: Ledger,
        console: StudyConsole,
    ) -> None:
        self._study, self._spec, self._stages = study, spec, stages
        self._dataset, self._data = dataset, data
        self._ledger, self._console = ledger, console
        self._run_dir = spec.run_dir
        self._written = 0.0
        self._write_seconds = 0.0

    def conduct(self, *, cluster: Cluster, slots: int, command: str) -> int:
        self._introduce(cluster, slots)
        started = time.monotonic()
        self._open_session(cluster, command)
        seconds = {"tune_seconds": 0.0, "retest_seconds": 0.0}
        try:
            interrupted = any(
                self._run_stage(stage, slots, seconds, num_left=len(self._stages) - position)
                for position, stage in enumerate(self._stages)
            )
        except KeyboardInterrupt:
            interrupted = True
        except Exception:
            self._conclude("interrupted", {**seconds, "wall_seconds": time.monotonic() - started})
            raise
        state: State = "interrupted" if interrupted else "complete"
        return self._conclude(state, {**seconds, "wall_seconds": time.monotonic() - started})

    def _run_stage(self, stage: Stage, slots: int, seconds: dict[str, float], *, num_left: int) -> bool:
        """Tune the stage's arms, then retest their winners. Returns whether that was interrupted.

        num_left: the stages that are still to come, with this one. They share alike what is left of the time given.
        """
        stage = self._startable(stage)
        if self._is_settled(stage):
            return self._retest_stage(stage, slots, seconds)
        spec = self._spec
        left = None if spec.time_budget is None else spec.time_budget - seconds["tune_seconds"]
        with (
            signals_to(raise_interrupt),
            _timed(seconds, "tune_seconds"),
            self._console.tuning(stage, self._ledger.book, slots),
        ):
            interrupted = tune_arms(
                spec=spec,
                stage=stage,
                data=self._data,
                ledger=self._ledger,
                run_dir=self._run_dir,
                slots=slots,
                deadline=None if left is None else time.monotonic() + left / num_left,
                on_event=self._trial_changed,
                on_interrupt=self._announce_interrupt,
            )
        return interrupted or self._retest_stage(stage, slots, seconds)

    def _retest_stage(self, stage: Stage, slots: int, seconds: dict[str, float]) -> bool:
        with signals_to(raise_interrupt), _timed(seconds, "retest_seconds"):
            lost = self._retest(stage, slots)
        for line in lost:
            self._console.say(f"retest lost: {line}")
        return bool(lost)

    def _is_settled(self, stage: Stage) -> bool:
        """Whether trials of another stage have begun with the weights of this one's winner: it must stay the winner."""
        arms = {trial.arm for trial in self._ledger.book.trials.values()}
        return any(
            later.before is not None and later.before.name == stage.name and later.warm_arms & arms
            for later in self._stages
        )

    def _startable(self, stage: Stage) -> Stage:
        """Without the arms that begin with another stage's weights, where that stage has no winner."""
        if stage.before is None or stage.before.winners(self._ledger.book):
            return stage
        missing = ", ".join(arm for arm in stage.arms if arm in stage.warm_arms)
        self._console.say(f"no trial of {', '.join(stage.before.arms)} ran to its end: {missing} cannot begin")
        return replace(stage, arms=tuple(arm for arm in stage.arms if arm not in stage.warm_arms))

    def _introduce(self, cluster: Cluster, slots: int) -> None:
        spec, data, say = self._spec, self._data, self._console.say
        say(f"data: {self._dataset.origin}")
        counts = data.class_counts
        each = ", ".join(map(str, counts)) if len(counts) <= 10 else f"{counts.min()} to {counts.max()}"
        say(f"      training {data.num_train} images ({each} a class)")
        say(f"      validation {len(data.val_indices)}, final test {len(self._dataset.test_labels)}")
        for stage in self._stages:
            rungs = ", ".join(map(str, stage.rungs(stage.arms[0])))
            say(
                f"plan: {plural(len(stage.arms), 'arm')} x {plural(stage.trials_per_arm, 'trial')} "
                f"of up to {plural(max(map(stage.num_epochs, stage.arms)), 'epoch')} "
                f"({f'early stopping at {rungs}' if rungs else 'no early stopping'}), {slots} at a time; "
                f"then each arm's winner on {plural(spec.retest_seeds or 0, 'fresh seed')}"
            )
        say_where(self._console, self._run_dir, cluster)

    def _open_session(self, cluster: Cluster, command: str) -> None:
        payload = {**session_facts(cluster, command), "dataset": describe_dataset(self._dataset, self._data)}
        self._ledger.append(Event(kind=SESSION, payload=payload))
        self._write("running")

    def _trial_changed(self, trial: TrialRecord) -> None:
        self._console.trial_changed(trial)
        if not trial.is_finished:
            return
        if trial.status != "completed":  # nobody goes on from there, and a large model's fill a disk
            shutil.rmtree(self._run_dir / "checkpoints" / trial.trial_id, ignore_errors=True)
        # Once that takes noticeable time, deriving the tables may take about a twentieth of the whole.
        if self._write_seconds < WRITE_FREELY_SECONDS or (time.monotonic() - self._written > 20 * self._write_seconds):
            self._write("running")

    def _announce_interrupt(self) -> None:
        self._console.say("stopping when the epochs in flight are done; Ctrl-C again stops at once")

    def _retest(self, stage: Stage, slots: int) -> list[str]:
        best = stage.winners(self._ledger.book)
        total = len(best) * len(retest_seeds(self._spec))
        seeds = plural(len(retest_seeds(self._spec)), "fresh seed")
        self._console.say(f"retest: {plural(len(best), 'winner')}, each on {seeds}")

        def on_done(arm: str, seed: int) -> None:
            self._console.retested(self._ledger.book, stage, total, arm, seed)
            self._write("running")

        thinned = self._study.thinned(self._spec)
        return retest(
            spec=self._spec,
            stage=stage,
            cut=lambda seed: partial(retest_data, thinned=thinned, subset_seed=seed),
            ledger=self._ledger,
            data=self._data,
            test=test_data(self._dataset),
            run_dir=self._run_dir,
            num_slots=slots,
            on_done=on_done,
        )

    def _conclude(self, state: State, seconds: Mapping[str, float]) -> int:
        self._ledger.append(Event(kind=SESSION_END, payload={"ended": now(), "state": state, **seconds}))
        self._write(state)
        from study.page import write_page  # matplotlib and pandas: not before they are needed

        page = write_page(self._run_dir)
        say = self._console.say
        if state == "interrupted":
            say(f"interrupted after {duration(seconds['wall_seconds'])}; all that was finished is kept")
            say(f"continue: python -m study.resume {self._run_dir}")
            say(f"report so far: {page}")
            return 130
        say(f"done in {duration(seconds['wall_seconds'])}")
        say(f"report: {page}")
        if not self._ledger.book.retested(self._stages[-1].winners(self._ledger.book)):
            say("no arm has a tested winner: see the report for what failed")
            return 1
        return 0

    def _write(self, state: State) -> None:
        started = time.monotonic()
        write_derived(
            self._run_dir, study=self._study, spec=self._spec, stages=self._stages, ledger=self._ledger, state=state
        )
        self._written = time.monotonic()
        self._write_seconds = self._written - started


def write_derived(
    run_dir: Path, *, study: Study, spec: StudySpec, stages: Sequence[Stage], ledger: Ledger, state: State
) -> None:
    """The tables and summary.json, from the ledger."""
    write_records(run_dir, ledger.book, stages=stages, active=state == "running")
    write_summary(run_dir, spec=spec, study=study, stages=stages, ledger=ledger, state=state)


def require_trainable(stages: Sequence[Stage], data: TuningData, spec: StudySpec) -> None:
    """Build the learner of every arm's first trial. Raises StudyError: what would fail in every trial fails here."""
    assert spec.numerics is not None
    for stage in stages:
        for arm in stage.arms:
            try:
                stage.task.learner(
                    stage.space.start_hparams(stage.space.arms[arm]),
                    data,
                    num_epochs=stage.num_epochs(arm),
                    seed=spec.seed,
                    numerics=spec.numerics,
                    device=torch.device("cpu"),
                    start_from=stage.start_from if arm in stage.warm_arms else None,
                )
            except ValueError as error:
                raise StudyError(f"{arm} cannot be trained: {last_line(error)}") from None


def say_where(console: StudyConsole, run_dir: Path, cluster: Cluster) -> None:
    """Where the results will lie, and where the work can be watched."""
    console.say(f"run:  {run_dir}")
    if cluster.dashboard_url:
        token = "; it asks for a token: ray get-auth-token prints it" if cluster.needs_token else ""
        console.say(f"Ray dashboard: {cluster.dashboard_url}{token}")


def session_facts(cluster: Cluster, command: str) -> dict[str, Any]:
    """What the ledger keeps of every session as it begins."""
    return {
        "started": now(),
        "ended": None,
        "command": command,
        "hardware": describe_machine(cpus=cluster.cpus, gpus=cluster.gpus),
        "versions": describe_versions(),
        "commit": git_commit(),
    }


@contextlib.contextmanager
def new_run(spec: RunSpec) -> Iterator[None]:
    """Make the run directory, locked while the block lasts, with its spec.json. Raises StudyError."""
    try:
        spec.output_dir.mkdir(parents=True, exist_ok=True)
        spec.run_dir.mkdir()  # atomic: of two processes with one name, one gets it
    except FileExistsError:
        raise StudyError(
            f"{spec.run_dir} exists already: choose another --name, "
            f"or continue it by python -m study.resume {spec.run_dir}"
        ) from None
    except OSError as error:
        raise StudyError(f"--output-dir {spec.output_dir} cannot be written to: {error.strerror}") from None
    with locked(spec.run_dir):
        write_json(spec.run_dir / "spec.json", spec.model_dump(mode="json"))
        yield


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Raises StudyError where another process works on it."""
    lock = filelock.FileLock(run_dir / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise StudyError(f"{run_dir} is being worked on by another process") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the block's time to seconds[name]."""
    started = time.monotonic()
    try:
        yield
    finally:
        seconds[name] += time.monotonic() - started


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """A signal's handler."""
    raise KeyboardInterrupt


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
