"""A recorded training done again, without Ray, and compared with the record epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.core.errors import StudyError, last_line, nearest
from study.core.ledger import EPOCH, RETEST, SESSION, Book, Ledger, TrialRecord
from study.core.run_dir import checkpoints_of
from study.core.spec import StudySpec
from study.core.stage import Stage
from study.core.text import plural
from study.engine.requirements import require_same_data
from study.engine.tuning import require_start
from study.probes.trials import recorded_setup
from study.records.differences import Difference, compared, epoch_differences
from study.records.provenance import describe_machine, describe_versions
from study.records.tables import retest_id
from study.tasks.resolve import read_spec
from study.tasks.study import Study, load_data
from trainables.data.splits import index_sha256, retest_data
from trainables.data.types import TuningData
from trainables.training.learner import Learner, NonFiniteLossError
from trainables.training.task import Task
from trainables.training.trial import trial_epoch

FAILURE = "failure"
_DIVERGED = "the training loss was "  # how the message of a NonFiniteLossError begins


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A training as the ledger has it. retest_seed: of a retest, else None. epochs: rows of epochs.parquet.

    A retest's first row also has the hash of its training images, and its last row that of the final weights.
    divergence: the message of a trial that failed in the epoch after the last one, because its loss was not finite.
    """

    name: str
    trial: TrialRecord
    retest_seed: int | None
    epochs: tuple[Mapping[str, Any], ...]
    divergence: str | None = None


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The outcome: how many epochs were trained again, their differences in order, the verdict for the console."""

    num_epochs: int
    differences: tuple[Difference, ...]
    verdict: tuple[str, ...]


def replay_trial(
    run_dir: Path,
    name: str,
    *,
    num_epochs: int | None = None,
    say: Callable[[str], None] = lambda line: None,
    warn: Callable[[str], None] = lambda line: None,
) -> Replay:
    """Train a recorded trial, or a retest TRIAL-seed-N, again from its seed, hyperparameters, numerics and data.

    num_epochs: only so many of its epochs; None: all that were recorded. Writes nothing and reads no test image. Raises
    StudyError or DataError if the run or the trial is unknown, the data are others, or weights that it began with are
    gone.
    """
    study, spec = read_spec(run_dir)
    with Ledger(run_dir) as ledger:
        book = ledger.book
        recorded = find_recorded(book, run_dir, name)
        sessions = _sessions_of(ledger, recorded)
    if num_epochs is not None and not 1 <= num_epochs <= len(recorded.epochs):
        raise StudyError(
            f"--epochs must be from 1 to {len(recorded.epochs)}, as many as were recorded of {name}, got {num_epochs}"
        )
    if not recorded.epochs and recorded.divergence is None:
        raise StudyError(f"{name} has no recorded epoch to compare with")
    _, data, _ = load_data(study, spec)
    require_same_data(run_dir, data, book)
    stage = next(stage for stage in study.stages(spec, data) if recorded.trial.arm in stage.arms)
    for line in machine_warnings(sessions, spec):
        warn(line)
    learner, data = _rebuilt(recorded, study, spec, stage, data, book, run_dir)
    rows = recorded.epochs[:num_epochs]
    differences: list[Difference] = []
    done = 0
    for found in _compared(recorded, rows, stage.task, learner, data):
        done += 1
        differences += found
        say(f"epoch {done}: {'; '.join(map(str, found)) or 'equal'}")
    ending = ""
    if num_epochs is None and not differences and recorded.divergence is not None:
        other = _diverges(recorded, learner)
        ending = ", and then it fails as recorded"
        say(f"epoch {len(rows) + 1}: {other or recorded.divergence}")
        differences += [other] if other else []
    verdict = tuple(_verdict(recorded, rows, done, differences, ending))
    return Replay(num_epochs=done, differences=tuple(differences), verdict=verdict)


def find_recorded(book: Book, run_dir: Path, name: str) -> Recorded:
    """The trial or retest of that name. Raises StudyError, with the nearest name, if there is none."""
    if name in book.trials:
        trial = book.trials[name]
        message = trial.message or ""
        return Recorded(
            name=name,
            trial=trial,
            retest_seed=None,
            epochs=tuple(trial.epochs),
            divergence=message if trial.status == "failed" and message.startswith(_DIVERGED) else None,
        )
    retests = {retest_id(row): row for row in book.retests.values()}
    if name not in retests:
        known = ", ".join(list(book.trials)[:5]) + (", ..." if len(book.trials) > 5 else "")
        hint = nearest(name, [*book.trials, *retests]) or (f"; it has {known}" if known else "")
        raise StudyError(f"{run_dir} has no trial {name!r}{hint}")
    row = retests[name]
    epochs = [dict(epoch) for epoch in row["epochs"]]
    if epochs:
        epochs[0]["train_indices_sha256"] = row.get("train_indices_sha256")
        epochs[-1]["weights_sha256"] = row.get("weights_sha256")
    return Recorded(name=name, trial=book.trials[row["trial_id"]], retest_seed=row["seed"], epochs=tuple(epochs))


def _sessions_of(ledger: Ledger, recorded: Recorded) -> list[Mapping[str, Any]]:
    """The sessions in which the training was recorded."""
    current: Mapping[str, Any] = {}
    found: list[Mapping[str, Any]] = []
    for event in ledger.events():
        if event.kind == SESSION:
            current = event.payload
        elif recorded.retest_seed is None:
            if event.kind == EPOCH and event.trial_id == recorded.name and current not in found:
                found.append(current)
        elif event.kind == RETEST and (event.payload["trial_id"], event.payload["seed"]) == (
            recorded.trial.trial_id,
            recorded.retest_seed,
        ):
            found = [current]
    return found


def machine_warnings(sessions: Sequence[Mapping[str, Any]], spec: StudySpec) -> list[str]:
    """What is other here than where the training was recorded: hardware and versions, by which bits may differ."""
    here = describe_machine(cpus=0, gpus=0)
    versions = describe_versions()
    unlike: list[str] = []
    for session in sessions:
        hardware = session.get("hardware") or {}
        if "cpu" in hardware and hardware["cpu"] != here["cpu"]:
            unlike.append(f"the processor was {hardware['cpu']} and is {here['cpu']}")
        if spec.gpus_per_trial and list(hardware.get("gpus") or []) != here["gpus"]:
            was, now = (", ".join(map(str, gpus)) or "none" for gpus in (hardware.get("gpus") or [], here["gpus"]))
            unlike.append(f"the GPUs were {was} and are {now}")
        for package, version in (session.get("versions") or {}).items():
            if package in versions and versions[package] != version:
                unlike.append(f"{package} was {version} and is {versions[package]}")
    unlike = list(dict.fromkeys(unlike))
    return [f"{'; '.join(unlike)}: so the same training may round otherwise"] if unlike else []


def _rebuilt(
    recorded: Recorded, study: Study, spec: StudySpec, stage: Stage, data: TuningData, book: Book, run_dir: Path
) -> tuple[Learner, TuningData]:
    """The learner before its first epoch, and its data."""
    trial, seed = recorded.trial, recorded.retest_seed
    search = trial.search if seed is None else book.retests[trial.trial_id, seed].get("search", 1)
    start_from = require_start(stage, book, checkpoints_of(spec), trial.arm, seed, search=search)
    if seed is not None:
        data = retest_data(data, thinned=study.kept(spec), subset_seed=seed)
    setup = recorded_setup(spec, stage, arm=trial.arm, seed=trial.seed if seed is None else seed)
    try:
        return stage.task.learner(trial.hparams, data, setup, start_from=start_from), data
    except (ValueError, RuntimeError, KeyError) as error:
        raise StudyError(f"{recorded.name} cannot be built again: {last_line(error)}") from None


def _compared(
    recorded: Recorded, rows: Sequence[Mapping[str, Any]], task: Task, learner: Learner, data: TuningData
) -> Iterator[list[Difference]]:
    """Train an epoch for each row; yields its differences. Ends after an epoch whose loss is not finite."""
    for row in rows:
        try:
            again = trial_epoch(task, learner, data) if recorded.retest_seed is None else _retest_epoch(learner)
        except NonFiniteLossError as error:
            yield [Difference(epoch=row["epoch"], quantity=FAILURE, recorded=None, again=str(error))]
            return
        yield epoch_differences(row, again)


def _retest_epoch(learner: Learner) -> dict[str, Any]:
    """An epoch of a retest, which has no validation images; what follows it reads the test split, and is left out."""
    summary = learner.train_epoch()
    return {
        "images": summary.images,
        "train_loss": summary.train_loss,
        "learning_rate": summary.learning_rate,
        "train_indices_sha256": index_sha256(learner.batches.train_indices.numpy()),
        "weights_sha256": learner.weights_sha256(),
    }


def _diverges(recorded: Recorded, learner: Learner) -> Difference | None:
    """Train the epoch in which the trial failed. Returns the difference if it does not fail in the same way."""
    message = None
    try:
        learner.train_epoch()
    except NonFiniteLossError as error:
        message = str(error)
    if message == recorded.divergence:
        return None
    return Difference(epoch=len(recorded.epochs) + 1, quantity=FAILURE, recorded=recorded.divergence, again=message)


def _verdict(
    recorded: Recorded, rows: Sequence[Mapping[str, Any]], done: int, differences: Sequence[Difference], ending: str
) -> Iterator[str]:
    """ending: how the training ended after these epochs, if it is to be said."""
    names = list(dict.fromkeys(name for row in rows for name in compared(row)))
    if not differences:
        said = f"; compared: {', '.join(names)}" if names else ""
        yield f"{recorded.name}: nothing differs in {plural(done, 'epoch')}{ending}{said}"
        return
    first = differences[0]
    yield f"{recorded.name} first differs at epoch {first.epoch}, in {first.quantity}: {first}"
    unequal = {difference.epoch for difference in differences if difference.quantity == "weights_sha256"}
    last = rows[done - 1] if done else {}
    if last.get("weights_sha256") is not None and last["epoch"] not in unequal and first.quantity != FAILURE:
        yield (
            f"The weights after epoch {last['epoch']} are those recorded: the training is the same, and what differs "
            "is the record, or how it was measured."
        )
    elif largest := _largest_loss(differences):
        yield f"The training loss differs by at most {abs(largest.amount or 0.0):.3g} (epoch {largest.epoch})."


def _largest_loss(differences: Sequence[Difference]) -> Difference | None:
    losses = [d for d in differences if d.quantity == "train_loss" and not math.isnan(d.amount or 0.0)]
    return max(losses, key=lambda difference: abs(difference.amount or 0.0), default=None)
