"""What the study relies on in Ray, seen in a cluster of its own: slots, GPUs, lost workers, reused ones, throughput."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from optuna.trial import TrialState
from rich.console import Console
from study_process import (
    epochs_so_far,
    finished_trials,
    ledger_events,
    of_kind,
    ray_here,
    read_rows,
    read_summary,
    wait_until,
)

from study.core.errors import last_line
from study.core.ledger import Ledger, TrialRecord
from study.core.plugins import use_given
from study.core.spec import StudySpec
from study.engine import study_session, tuning
from study.engine.cluster import connected, num_slots
from study.engine.console import StudyConsole
from study.engine.searcher import ArmSearcher
from study.engine.tuning import tune_arms
from study.page.tasks.registry import PAGES
from study.tasks.registry import STUDIES
from study.tasks.resolve import read_spec, resolved
from trainables.common.numerics import Numerics
from trainables.common.places import LocalPlace
from trainables.common.plugins import plugins_in_use, use
from trainables.data.sources import load_dataset
from trainables.data.splits import tuning_data
from trainables.data.types import TuningData
from trainables.hparams import ImbalanceHparams
from trainables.jobs import train_and_validate_in_worker
from trainables.tasks.imbalance import IMBALANCE
from trainables.training.setup import TrialSetup
from trainables.training.task import Task

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("undrawn")]

STUDY = STUDIES["imbalance"]
FOUR_ARMS = ("none", "weighted_sampler", "ldam_drw", "focal")
DIVERGES, LOSES_ITS_WORKER = "none-0001", "weighted_sampler-0001"
KILLED_AFTER = 2  # epochs
STATE_OF = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True, kw_only=True)
class Observed:
    """A tuning that is over. starts: of each start of a trial in a worker, trial_id, pid, gpu_ids, all_there."""

    spec: StudySpec
    data: TuningData
    searcher: ArmSearcher
    events: list[dict[str, Any]]
    starts: list[dict[str, Any]]
    seconds: float  # from tune_arms to the last result

    def starts_of(self, trial_id: str) -> list[dict[str, Any]]:
        return [start for start in self.starts if start["trial_id"] == trial_id]

    def hashes(self, trial_id: str) -> list[str]:
        return [e["weights_sha256"] for e in of_kind(self.events, "epoch") if e["trial_id"] == trial_id]

    def asked(self, trial_id: str) -> dict[str, Any]:
        [event] = [event for event in of_kind(self.events, "asked") if event["trial_id"] == trial_id]
        return event

    def message(self, trial_id: str) -> str | None:
        [event] = [event for event in of_kind(self.events, "finished") if event["trial_id"] == trial_id]
        return event["message"]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with ray_here(num_cpus=4, num_gpus=2):
        yield


def tuned(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    wait_for: int = 1,
    space_of: Callable[[Any], Any] = lambda space: space,
    on_event: Callable[[TrialRecord, Callable[[], list[dict[str, Any]]]], None] = lambda trial, starts: None,
    say: Callable[[str], None] = lambda line: None,
    image_size: int = 16,
    **values: Any,
) -> Observed:
    """Tune on digits and watch. wait_for: the first trials wait until so many have started (at most a minute)."""
    spec = resolved(
        STUDY, {"dataset": "digits", "precision": "float32", "name": "facts", **values}, dataset="digits", num_gpus=2.0
    )
    dataset = load_dataset("digits", data_root=folder, download=False, image_size=image_size)
    data = tuning_data(dataset, thinned=STUDY.thinned(spec), subset_seed=spec.seed)
    (stage,) = STUDY.stages(spec, data)
    searchers: list[ArmSearcher] = []

    class KeptSearcher(ArmSearcher):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            searchers.append(self)

    monkeypatch.setattr(tuning, "ArmSearcher", KeptSearcher)
    probes = folder / "probes"
    probes.mkdir()
    with Ledger(folder) as ledger, connected(None) as resources:
        resources.start(print)

        def starts() -> list[dict[str, Any]]:
            records = [json.loads(path.read_text()) for path in sorted(probes.glob("*.json"))]
            return [{**record, "trial_id": _trial_of(record, ledger)} for record in records]

        begun = time.time()
        interrupted = tune_arms(
            spec=spec,
            stage=replace(stage, task=_watched(IMBALANCE, probes, wait_for), space=space_of(stage.space)),
            data=data,
            ledger=ledger,
            run_dir=folder,
            checkpoints=LocalPlace(folder / "checkpoints"),
            slots=num_slots(spec, resources),
            deadline=None if spec.time_budget is None else time.monotonic() + spec.time_budget,
            on_event=lambda trial: on_event(trial, starts),
            say=say,
        )
        assert not interrupted
        events = ledger_events(folder)
        last_result = max(event["at"] for event in of_kind(events, "epoch"))
        return Observed(
            spec=spec,
            data=data,
            searcher=searchers[-1],
            events=events,
            starts=starts(),
            seconds=last_result - begun,
        )


def _watched(task: Task, probes: Path, wait_for: int) -> Task:
    """The task, whose workers leave a note at each start of a trial, and train on the CPU: the GPUs are made up."""

    def build_learner(hparams: Any, data: Any, setup: TrialSetup) -> Any:
        name = f"{time.time_ns()}-{os.getpid()}"
        (probes / f"{name}.begun").touch()
        deadline = time.monotonic() + 60
        while len(list(probes.glob("*.begun"))) < wait_for and time.monotonic() < deadline:
            time.sleep(0.05)
        note = {
            "pid": os.getpid(),
            "gpu_ids": [str(gpu) for gpu in ray.get_gpu_ids()],
            "all_there": time.monotonic() < deadline,
            "seed": setup.seed,
            "hparams": hparams.model_dump(),
        }
        (probes / f".{name}").write_text(json.dumps(note))
        (probes / f".{name}").rename(probes / f"{name}.json")
        return task.build_learner(hparams, data, replace(setup, device=torch.device("cpu")))

    return replace(task, build_learner=build_learner)


def _trial_of(note: dict[str, Any], ledger: Ledger) -> str:
    [trial_id] = [
        trial.trial_id
        for trial in ledger.book.trials.values()
        if trial.seed == note["seed"] and ImbalanceHparams.model_validate(trial.hparams).model_dump() == note["hparams"]
    ]
    return trial_id


def hashes_alone(observed: Observed, trial_id: str, num_epochs: int) -> list[str]:
    """The trial's weights after each epoch where it runs by itself: no Ray, no worker, no other trial before it."""
    asked = observed.asked(trial_id)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        learner = IMBALANCE.build_learner(
            ImbalanceHparams.model_validate(asked["hparams"]),
            observed.data,
            TrialSetup(
                num_epochs=observed.spec.max_epochs or 0,
                seed=asked["seed"],
                numerics=observed.spec.numerics,
                device=torch.device("cpu"),
            ),
        )
        hashes = []
        for _ in range(num_epochs):
            learner.train_epoch()
            hashes.append(learner.weights_sha256())
        return hashes
    finally:
        torch.set_num_threads(threads)


def _with_a_diverging_trial(space: Any) -> Any:
    """The second trial of arm none gets a learning rate at which nothing stays finite."""

    def suggest(trial: Any) -> dict[str, Any]:
        return {"learning_rate": 1e30} if trial.number == 1 else {}

    return replace(space, arms={**space.arms, "none": replace(space.arms["none"], suggest=suggest)})


@pytest.fixture(scope="module")
def eventful(cluster, tmp_path_factory) -> Observed:
    """Four slots, two on each GPU; one trial diverges, one loses its worker after KILLED_AFTER epochs."""
    killed = []

    def kill_once(trial: TrialRecord, starts: Callable[[], list[dict[str, Any]]]) -> None:
        if trial.trial_id == LOSES_ITS_WORKER and trial.num_epochs == KILLED_AFTER and not killed:
            killed.extend(start["pid"] for start in starts() if start["trial_id"] == LOSES_ITS_WORKER)
            os.kill(killed[-1], signal.SIGKILL)

    with pytest.MonkeyPatch.context() as monkeypatch:
        return tuned(
            tmp_path_factory.mktemp("eventful"),
            monkeypatch,
            wait_for=4,
            space_of=_with_a_diverging_trial,
            on_event=kill_once,
            arms=FOUR_ARMS,
            trials_per_arm=3,
            max_epochs=4,
            grace_epochs=3,
            reduction_factor=3,
            gpus_per_trial=0.5,
        )


def test_two_trials_share_a_gpu_and_four_run_at_once(eventful):
    first_four = eventful.starts[:4]
    assert all(start["all_there"] for start in first_four)
    assert len({start["pid"] for start in first_four}) == 4
    assert Counter(gpu for start in first_four for gpu in start["gpu_ids"]) == {"0": 2, "1": 2}


def test_every_trial_has_exactly_one_gpu_and_the_ledger_says_which(eventful):
    assert all(len(start["gpu_ids"]) == 1 for start in eventful.starts)
    for event in of_kind(eventful.events, "epoch"):
        assert [event["gpu_ids"]] in [start["gpu_ids"] for start in eventful.starts_of(event["trial_id"])]


def test_a_loss_that_is_not_finite_fails_the_trial_at_once(eventful):
    assert finished_trials(eventful.events)[DIVERGES] == "failed"
    assert "at epoch 1, batch 2 of " in eventful.message(DIVERGES)
    assert len(eventful.starts_of(DIVERGES)) == 1  # not tried again
    assert eventful.hashes(DIVERGES) == []
    failed = [trial for trial, status in finished_trials(eventful.events).items() if status == "failed"]
    assert failed == [DIVERGES]


def test_optuna_is_told_what_the_ledger_says(eventful):
    status = finished_trials(eventful.events)
    assert len(status) == len(FOUR_ARMS) * 3
    for arm in FOUR_ARMS:
        trials = eventful.searcher.optuna_study(arm).trials
        assert [trial.state for trial in trials] == [STATE_OF[status[f"{arm}-{n:04d}"]] for n in range(3)]
        for trial in trials:
            if trial.state is TrialState.COMPLETE:
                epochs = [e for e in of_kind(eventful.events, "epoch") if e["trial_id"] == f"{arm}-{trial.number:04d}"]
                assert trial.value == epochs[-1]["val_balanced_accuracy"]


def test_a_trial_whose_worker_is_killed_goes_on_from_its_checkpoint(eventful):
    first, second = eventful.starts_of(LOSES_ITS_WORKER)[:2]
    assert first["pid"] != second["pid"]
    epochs = [epoch for trial, epoch in epochs_so_far(eventful.events) if trial == LOSES_ITS_WORKER]
    assert epochs == list(range(1, len(epochs) + 1))
    assert len(epochs) > KILLED_AFTER
    assert finished_trials(eventful.events)[LOSES_ITS_WORKER] in {"completed", "stopped"}


def test_the_loss_of_a_worker_leaves_no_trace_in_the_weights(eventful):
    hashes = eventful.hashes(LOSES_ITS_WORKER)
    assert hashes == hashes_alone(eventful, LOSES_ITS_WORKER, len(hashes))


def test_workers_are_reused(eventful):
    # Four slots and one worker lost. While Ray starts another in its place the trial goes on in one that has become
    # free; the new one then builds a trial's learner in vain.
    assert len({start["pid"] for start in eventful.starts}) <= 4 + 1
    assert len(eventful.starts) <= len(FOUR_ARMS) * 3 + 1 + 1


def test_a_trial_on_a_used_worker_is_the_trial_on_a_fresh_one(eventful):
    """Every trial that ran where another arm, or a diverged trial, had been before it."""
    checked = []
    for position, start in enumerate(eventful.starts):
        before = [s["trial_id"] for s in eventful.starts[:position] if s["pid"] == start["pid"]]
        arm = start["trial_id"].rsplit("-", 1)[0]
        if start["trial_id"] in {DIVERGES, LOSES_ITS_WORKER} or not before or before[-1].startswith(arm):
            continue
        if DIVERGES not in before and len(checked) >= 3:
            continue
        hashes = eventful.hashes(start["trial_id"])
        assert hashes == hashes_alone(eventful, start["trial_id"], len(hashes)), start["trial_id"]
        checked.append(start["trial_id"])
    assert checked


def test_a_trial_that_loses_every_worker_fails_and_the_study_goes_on(tmp_path, monkeypatch):
    kills = []

    def kill_always(trial: TrialRecord, starts: Callable[[], list[dict[str, Any]]]) -> None:
        if trial.trial_id == "none-0000" and not trial.is_finished:
            kills.append(next(s["pid"] for s in reversed(starts()) if s["trial_id"] == "none-0000"))
            os.kill(kills[-1], signal.SIGKILL)

    monkeypatch.setattr(tuning, "WORKER_RETRIES", 1)  # each loss costs a new worker's start
    observed = tuned(
        tmp_path, monkeypatch, on_event=kill_always, arms=("none",), trials_per_arm=2, max_epochs=7, grace_epochs=7,
        max_concurrent=1, gpus_per_trial=0.0,
    )  # fmt: skip
    assert len(kills) == tuning.WORKER_RETRIES + 1
    assert finished_trials(observed.events) == {"none-0000": "failed", "none-0001": "completed"}
    assert observed.message("none-0000")
    assert "Traceback" not in observed.message("none-0000")
    # Each new worker begins by repeating the last epoch's result, and is killed when it does.
    assert [epoch for trial, epoch in epochs_so_far(observed.events) if trial == "none-0000"] == [1]
    states = [trial.state for trial in observed.searcher.optuna_study("none").trials]
    assert states == [TrialState.FAIL, TrialState.COMPLETE]


@pytest.mark.faults
def test_rays_memory_monitor_ends_a_worker_and_not_the_study(tmp_path, monkeypatch, faults):
    """A worker is killed, and Ray says of it what it says when its memory monitor did that."""
    from ray.air.execution._internal.actor_manager import RayActorManager

    kills, said = [], []
    told = RayActorManager._actor_task_failed

    def kill_once(trial: TrialRecord, starts: Callable[[], list[dict[str, Any]]]) -> None:
        if trial.num_epochs == 1 and not kills:
            kills.append(next(s["pid"] for s in reversed(starts()) if s["trial_id"] == trial.trial_id))
            os.kill(kills[-1], signal.SIGKILL)

    def by_the_monitor(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if len(kills) == 1:
            kills.append(0)
            exception = ray.exceptions.OutOfMemoryError("Memory on the node was 15.20GB used / 16.00GB limit (0.95)")
        told(manager, tracked_actor_task, exception)

    monkeypatch.setattr(RayActorManager, "_actor_task_failed", by_the_monitor)
    for _ in faults.each([kill_once]):
        observed = tuned(
            tmp_path, monkeypatch, on_event=kill_once, say=said.append, arms=("none",), trials_per_arm=2, max_epochs=2,
            grace_epochs=2, max_concurrent=2, gpus_per_trial=0.0,
        )  # fmt: skip
    assert finished_trials(observed.events) == dict.fromkeys(["none-0000", "none-0001"], "completed")
    for trial_id in ("none-0000", "none-0001"):
        assert [epoch for trial, epoch in epochs_so_far(observed.events) if trial == trial_id] == [1, 2]
        assert observed.hashes(trial_id) == hashes_alone(observed, trial_id, 2)
    [line] = said
    assert "when the machine used 15.2 of 16.0 GB; 1 training at a time from now on" in line


@pytest.mark.alone
def test_the_slots_are_kept_busy(tmp_path, monkeypatch):
    """12 trials of one epoch on 2 slots: at most 1.2 x their own seconds / 2, and 15 s to start two workers."""
    observed = tuned(
        tmp_path, monkeypatch, arms=("none",), trials_per_arm=12, max_epochs=1, max_concurrent=2,
        gpus_per_trial=0.0, searcher="random", imbalance_ratio=1.5, image_size=32,
    )  # fmt: skip
    epochs = of_kind(observed.events, "epoch")
    assert len(epochs) == 12
    busy = sum(event["train_seconds"] + event["eval_seconds"] for event in epochs)
    print(f"\n12 trials: {observed.seconds:.1f} s from fit() to the last result, {busy / 2:.1f} s of work on each slot")
    assert observed.seconds <= 1.2 * busy / 2 + 15


def begin(output_dir: Path, **values: Any) -> tuple[int, str]:
    """(exit status, what the console said) of a study in this process and cluster."""
    said = io.StringIO()
    settings = {
        "dataset": "digits", "image_size": 16, "arms": ("none",), "trials_per_arm": 200, "max_epochs": 1,
        "retest_seeds": 1,
        "gpus_per_trial": 0.0, "max_concurrent": 1, "output_dir": output_dir, "name": "timed", "time_budget": "1",
    }  # fmt: skip
    status, _ = study_session.begin(
        STUDY, PAGES[STUDY.name], {**settings, **values}, StudyConsole(Console(file=said, soft_wrap=True))
    )
    return status, said.getvalue()


def test_a_time_budget_ends_the_tuning_and_says_what_it_could_not_test(tmp_path):
    status, said = begin(tmp_path, arms=("none", "focal"))
    run_dir = tmp_path / "timed"
    trials, summary = read_rows(run_dir, "trials"), read_summary(run_dir)
    assert summary["state"] == "complete"
    assert len(trials) < 2 * 200
    assert {trial["status"] for trial in trials} <= {"completed", "interrupted"}
    with_winner = {trial["arm"] for trial in trials if trial["status"] == "completed"}
    assert {row["arm"] for row in read_rows(run_dir, "retests")} == with_winner
    assert set(summary["not_retested"]) == {"none", "focal"} - with_winner
    assert status == (0 if with_winner else 1)
    assert ("no arm has a tested winner" in said) == (not with_winner)
    assert '<p class="answer">' in (run_dir / "report.html").read_text()


def test_after_a_time_budget_what_completed_is_retested(tmp_path, monkeypatch):
    """Time is up when three trials are done; resumed for another second, the retests are still the winners'."""
    run_dir = tmp_path / "timed"

    def clock() -> float:
        return 1e9 if len(finished_trials(ledger_events(run_dir))) >= 3 else 0.0

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "time", SimpleNamespace(monotonic=clock))
        status, said = begin(tmp_path)
    assert status == 0, said
    assert 3 <= len(finished_trials(ledger_events(run_dir))) <= 5
    assert_retests_are_the_winners(run_dir)
    assert study_session.resume(*read_as_resume_does(run_dir), StudyConsole(Console(file=io.StringIO()))) == 0
    assert_retests_are_the_winners(run_dir)


def read_as_resume_does(run_dir: Path) -> tuple[Any, Any, Any]:
    study, spec = read_spec(run_dir)
    return study, PAGES[study.name], spec


def assert_retests_are_the_winners(run_dir: Path) -> None:
    [row] = [row for row in read_rows(run_dir, "retests") if row["role"] == "winner"]  # there is its default, too
    assert row["trial_id"] == read_summary(run_dir)["winners"]["none"]["trial_id"]
    completed = [trial for trial in read_rows(run_dir, "trials") if trial["status"] == "completed"]
    best = max(trial["objective"] for trial in completed)
    assert row["trial_id"] == min(trial["trial_id"] for trial in completed if trial["objective"] == best)


@contextmanager
def second_node() -> Iterator[None]:
    """Another raylet, which has one CPU and the resource elsewhere."""
    address = ray.get_runtime_context().gcs_address
    words = ["start", "--block", "--address", address, "--num-cpus", "1", "--resources", '{"elsewhere": 1}']
    words.append("--include-log-monitor=false")
    script = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-c", script, *words], **quiet)  # type: ignore[call-overload]
    try:
        wait_until(lambda: "elsewhere" in ray.cluster_resources(), "the second node did not come", seconds=60)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_own_parts_train_on_another_node_without_their_file_and_a_package_that_it_lacks_is_named(tmp_path, monkeypatch):
    data = tuning_data(
        load_dataset("digits", data_root=tmp_path, download=False, image_size=16),
        thinned=STUDY.thinned(STUDY.spec()),
        subset_seed=0,
    )
    parts = tmp_path / "parts.py"
    text = "from trainables.own import loss\nfrom trainables.parts.losses import focal\n"
    lacking = f"import only_here\n{text}"
    text += "loss('mine', needs=('focal_gamma',))(focal)\n"
    library = tmp_path / "library"
    library.mkdir()
    (library / "only_here.py").touch()
    monkeypatch.syspath_prepend(str(library))
    train = ray.remote(train_and_validate_in_worker).options(resources={"elsewhere": 1}, max_retries=0)

    def trained_elsewhere(source: str, loss: str) -> Any:
        parts.write_text(source)
        use_given([str(parts)])
        task = replace(IMBALANCE, plugins=plugins_in_use())
        parts.unlink()
        options = {"num_epochs": 1, "seed": 3, "numerics": Numerics(), "checkpoint_dir": tmp_path / loss}
        return train.remote(task, data, hparams={"loss": loss, "focal_gamma": 2.0}, **options)

    try:
        with second_node():
            hashes = [ray.get(trained_elsewhere(text, loss))[1][0]["weights_sha256"] for loss in ("focal", "mine")]
            with pytest.raises(ray.exceptions.RayTaskError) as failed:
                ray.get(trained_elsewhere(lacking, "focal"))
    finally:
        use(())
    assert hashes[0] == hashes[1]
    assert "parts.py, line 1: it needs the package 'only_here', which is not installed on" in last_line(failed.value)
