"""A session of a study, from its spec to its page: begun by study.run, continued by study.resume."""

from __future__ import annotations

import contextlib
import datetime
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import filelock

from study.catalog import Study, find_study
from study.cli import command_line
from study.console import StudyConsole, duration, plural
from study.errors import StudyError
from study.launch import Cluster, connected, num_slots, signals_to, tune_arms
from study.ledger import LEDGER, SESSION, SESSION_END, Event, Ledger, TrialRecord
from study.records import write_records
from study.resolve import checked, resolved
from study.retest import retest, retest_seeds
from study.spec import StudySpec, validated
from study.summary import (
    State,
    describe_dataset,
    describe_machine,
    describe_versions,
    git_commit,
    write_json,
    write_summary,
)
from trainables.data.sources import load_dataset, resolve_dataset
from trainables.data.splits import test_data
from trainables.data.types import ImageDataset, TuningData

LOCK = ".lock"
WRITE_FREELY_SECONDS = 0.25


def begin(study: Study, values: Mapping[str, Any], console: StudyConsole) -> int:
    """Make a run directory and work on it. Returns the exit status. Raises StudyError or DataError before that."""
    spec = checked(study, values)
    dataset, data, found = _load(study, spec)
    with connected(spec.address) as cluster:
        spec = resolved(study, values, dataset=found, num_gpus=cluster.gpus)
        space = _space(study, spec, data)
        slots = num_slots(spec, cluster)
        with _new_run(spec), Ledger(spec.run_dir) as ledger:
            command = command_line(study, dict(values))
            session = _Session(
                study=study, spec=spec, space=space, dataset=dataset, data=data, ledger=ledger, console=console
            )
            return session.conduct(cluster=cluster, slots=slots, command=command)


def resume(run_dir: Path, console: StudyConsole) -> int:
    """Continue a run from its ledger. Returns the exit status. Raises StudyError or DataError."""
    study, spec = read_spec(run_dir)
    with _locked(run_dir), Ledger(run_dir) as ledger:
        dataset, data, _ = _load(study, spec)
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
                space=_space(study, spec, data),
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
    try:
        values = json.loads(path.read_text())
        study = find_study(values["task"])
    except (json.JSONDecodeError, KeyError, TypeError):
        raise StudyError(f"{path} is damaged: it is not a study's spec") from None
    # A run directory may have been moved; the data are still looked for from the folder that resume is started in.
    values |= {"name": run_dir.resolve().name, "output_dir": str(run_dir.parent)}
    return study, validated(study.spec, values)


class _Session:
    """A process's work on a study."""

    def __init__(
        self,
        *,
        study: Study,
        spec: StudySpec,
        space: Any,
        dataset: ImageDataset,
        data: TuningData,
        ledger: Ledger,
        console: StudyConsole,
    ) -> None:
        self._study, self._spec, self._space = study, spec, space
        self._dataset, self._data = dataset, data
        self._ledger, self._console = ledger, console
        self._run_dir = spec.run_dir
        self._written = 0.0
        self._write_seconds = 0.0

    def conduct(self, *, cluster: Cluster, slots: int, command: str) -> int:
        self._introduce(cluster, slots)
        started = time.monotonic()
        self._open_session(cluster, command)
        seconds: dict[str, float] = {}
        try:
            with (
                signals_to(_raise_interrupt),
                _timed(seconds, "tune_seconds"),
                self._console.tuning(self._spec, self._study.task, self._ledger.book, slots),
            ):
                interrupted = tune_arms(
                    spec=self._spec,
                    task=self._study.task,
                    space=self._space,
                    data=self._data,
                    ledger=self._ledger,
                    run_dir=self._run_dir,
                    slots=slots,
                    on_event=self._trial_changed,
                    on_interrupt=self._announce_interrupt,
                )
            if not interrupted:
                with signals_to(_raise_interrupt), _timed(seconds, "retest_seconds"):
                    lost = self._retest(slots)
                for line in lost:
                    self._console.say(f"retest lost: {line}")
                interrupted = bool(lost)
        except KeyboardInterrupt:
            interrupted = True
        except Exception:
            self._conclude("interrupted", {**seconds, "wall_seconds": time.monotonic() - started})
            raise
        state: State = "interrupted" if interrupted else "complete"
        return self._conclude(state, {**seconds, "wall_seconds": time.monotonic() - started})

    def _introduce(self, cluster: Cluster, slots: int) -> None:
        spec, data, say = self._spec, self._data, self._console.say
        say(f"data: {self._dataset.origin}")
        counts = ", ".join(map(str, data.class_counts))
        say(f"      training {data.num_train} images after thinning ({counts} a class)")
        say(f"      validation {len(data.val_indices)}, final test {len(self._dataset.test_labels)}")
        rungs = f"early stopping at {', '.join(map(str, spec.rungs))}" if spec.rungs else "no early stopping"
        say(
            f"plan: {plural(len(spec.arms or ()), 'arm')} x {plural(spec.trials_per_arm or 0, 'trial')} "
            f"of up to {plural(spec.max_epochs or 0, 'epoch')} ({rungs}), {slots} at a time; "
            f"then each arm's winner on {plural(spec.retest_seeds or 0, 'fresh seed')}"
        )
        say(f"run:  {self._run_dir}")
        if cluster.dashboard_url:
            token = "; it asks for a token: ray get-auth-token prints it" if cluster.needs_token else ""
            say(f"Ray dashboard: {cluster.dashboard_url}{token}")

    def _open_session(self, cluster: Cluster, command: str) -> None:
        payload = {
            "started": _now(),
            "ended": None,
            "command": command,
            "dataset": describe_dataset(self._dataset, self._data),
            "arm_descriptions": {name: self._space.arms[name].description for name in self._spec.arms or ()},
            "hardware": describe_machine(cpus=cluster.cpus, gpus=cluster.gpus),
            "versions": describe_versions(),
            "commit": git_commit(),
        }
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

    def _retest(self, slots: int) -> list[str]:
        task = self._study.task
        best = self._ledger.book.winners(self._spec.arms or (), task.metric, task.mode)
        total = len(best) * len(retest_seeds(self._spec))
        seeds = plural(len(retest_seeds(self._spec)), "fresh seed")
        self._console.say(f"retest: {plural(len(best), 'winner')}, each on {seeds}")

        def on_done(arm: str, seed: int) -> None:
            self._console.retested(self._ledger.book, best, total, arm, seed)
            self._write("running")

        return retest(
            spec=self._spec,
            study=self._study,
            ledger=self._ledger,
            data=self._data,
            test=test_data(self._dataset),
            checkpoints=(self._run_dir / "checkpoints").resolve(),
            num_slots=slots,
            on_done=on_done,
        )

    def _conclude(self, state: State, seconds: Mapping[str, float]) -> int:
        self._ledger.append(Event(kind=SESSION_END, payload={"ended": _now(), "state": state, **seconds}))
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
        if not self._ledger.book.retests:
            say("no arm has a tested winner: see the report for what failed")
            return 1
        return 0

    def _write(self, state: State) -> None:
        started = time.monotonic()
        write_derived(
            self._run_dir, study=self._study, spec=self._spec, space=self._space, ledger=self._ledger, state=state
        )
        self._written = time.monotonic()
        self._write_seconds = self._written - started


def write_derived(run_dir: Path, *, study: Study, spec: StudySpec, space: Any, ledger: Ledger, state: State) -> None:
    """The tables and summary.json, from the ledger."""
    write_records(
        run_dir,
        ledger.book,
        arms=spec.arms or (),
        factors={name: space.arms[name].factors for name in spec.arms or ()},
        metric=study.task.metric,
        mode=study.task.mode,
        active=state == "running",
    )
    write_summary(run_dir, spec=spec, study=study, ledger=ledger, state=state)


def _load(study: Study, spec: StudySpec) -> tuple[ImageDataset, TuningData, str]:
    options: dict[str, Any] = {
        "data_root": spec.data_root,
        "download": spec.download,
        "default": study.default_dataset,
    }
    found = resolve_dataset(spec.dataset, **options)
    dataset = load_dataset(spec.dataset, **options)
    try:
        return dataset, study.tuning_data(spec, dataset), found.name or str(found.path)
    except ValueError as error:
        raise StudyError(f"{dataset.name}: {error}") from None


def _space(study: Study, spec: StudySpec, data: TuningData) -> Any:
    space = study.search_space(spec, data)
    try:
        return space.starting_at(spec.start, spec.arms or ()) if spec.start else space
    except ValueError as error:
        raise StudyError(f"--start: {error}") from None


@contextlib.contextmanager
def _new_run(spec: StudySpec) -> Iterator[None]:
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
    with _locked(spec.run_dir):
        write_json(spec.run_dir / "spec.json", spec.model_dump(mode="json"))
        yield


@contextlib.contextmanager
def _locked(run_dir: Path) -> Iterator[None]:
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
    started = time.monotonic()
    try:
        yield
    finally:
        seconds[name] = time.monotonic() - started


def _raise_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
