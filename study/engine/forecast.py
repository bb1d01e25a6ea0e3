"""What a study will cost: trainings, epochs, time and disk, reckoned from what single trainings were measured to cost.

All of it is arithmetic: study/probes/preflight.py measures.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from study.core.spec import StudySpec
from study.core.stage import Stage
from trainables.probes.rehearsal import Seconds
from trainables.training.checkpoints import NUM_KEPT

# What a study takes besides its trainings, as measured (docs/performance.md).
START_SECONDS = Seconds(wall=21.0, cpu=25.0)  # imports, data and Ray
WORKER_SECONDS = Seconds(wall=9.0, cpu=5.0)  # the start of a worker, anew for each part that trains
PAGE_SECONDS = Seconds(wall=15.0, cpu=15.0)
OTHER_BYTES = 5_000_000  # page, figures, tables, ledger and its backup, Ray's state


def share_that_goes_on(num_peers: int, reduction_factor: int) -> float:
    """The probability that ASHA lets a trial go on which is no better or worse than the peers at its rung before it.

    The first arrival goes on. The cutoff is the (1 - 1/reduction_factor) quantile of n peers, which lies at the place
    h = (n - 1) (1 - 1/reduction_factor) of their order from 0; of the n + 1 places that a newcomer may take among
    them, n - h are above it (scheduler.asha_decision).

    >>> [round(share_that_goes_on(n, 3), 3) for n in (0, 1, 2, 3, 1000)]
    [1.0, 0.5, 0.444, 0.417, 0.334]
    """
    if num_peers == 0:
        return 1.0
    return (num_peers - (num_peers - 1) * (1 - 1 / reduction_factor)) / (num_peers + 1)


def expected_survivors(num_arrivals: float, reduction_factor: int) -> float:
    """How many of the trials that reach a rung go on; num_arrivals may be an expected number, as is the result."""
    whole, part = divmod(num_arrivals, 1)
    going_on = sum(share_that_goes_on(number, reduction_factor) for number in range(int(whole)))
    return going_on + part * share_that_goes_on(int(whole), reduction_factor)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What ASHA makes of the trials of a search: the epochs of all of them, and how many run to their end."""

    epochs: float
    completed: float


def expected_of_search(num_trials: int, *, rungs: Sequence[int], num_epochs: int, reduction_factor: int) -> Expected:
    """The epochs that a search's trials will train for, if each value at a rung is as good as any other.

    >>> expected_of_search(2, rungs=(3,), num_epochs=9, reduction_factor=3)  # the second goes on half the time
    Expected(epochs=15.0, completed=1.5)
    """
    going_on, epochs, before = float(num_trials), 0.0, 0
    for rung in rungs:
        epochs += going_on * (rung - before)
        going_on, before = expected_survivors(going_on, reduction_factor), rung
    return Expected(epochs=epochs + going_on * (num_epochs - before), completed=going_on)


def makespan(seconds: Sequence[float], num_slots: int) -> float:
    """The time until all are done, num_slots at a time, each begun in its order as soon as there is a slot.

    >>> makespan([2.0, 2.0, 3.0], 2)
    5.0
    """
    slots = [0.0] * num_slots
    for duration in seconds:
        heapq.heapreplace(slots, slots[0] + duration)
    return max(slots)


@dataclass(frozen=True, kw_only=True)
class ArmCost:
    """What a training of an arm costs, on average over what is searched.

    build: its learner. epoch: an epoch of tuning, validated and saved; retest_epoch: one of a retest, which trains on
    train and validation together; test: the test at its end. The bytes are of a checkpoint and of the model in it.
    """

    build: Seconds
    epoch: Seconds
    retest_epoch: Seconds
    test: Seconds
    checkpoint_bytes: int
    model_bytes: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a study: how many trainings and epochs it has, and how long it takes. name: for people."""

    name: str
    trainings: int
    epochs: float
    seconds: Seconds


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a study will cost. further: retests that --retest-until may add, at most; not among the parts.

    disk_bytes: in the run directory; store_bytes: where --checkpoints says.
    """

    parts: tuple[Part, ...]
    further: Part | None
    disk_bytes: int
    store_bytes: int = 0

    @property
    def seconds(self) -> Seconds:
        return sum((part.seconds for part in self.parts), Seconds())


def forecast(stages: Sequence[Stage], spec: StudySpec, costs: Mapping[str, ArmCost], num_slots: int) -> Forecast:
    """The cost of a study. costs: by arm, of all stages; num_slots: trainings at a time."""
    num_seeds, main = spec.looks[0], stages[-1]
    parts = [Part(name="start", trainings=0, epochs=0, seconds=START_SECONDS)]
    checkpoints = weights = 0.0
    for stage in stages:
        tuning = _tuning(stage, costs, num_slots)
        if spec.time_budget is not None:
            tuning = _cut(tuning, spec.time_budget / len(stages))
        parts += [tuning, _retests(stage, costs, num_slots, per_arm=_entrants_per_arm(stage) * num_seeds)]
        checkpoints += _checkpoint_bytes(stage, costs, num_seeds)
        weights += stage.num_searches * sum(costs[arm].model_bytes for arm in stage.arms)
    if spec.audit and (audit := _audit(main, costs, num_slots, spec.audit)).trainings:
        parts.append(audit)
    parts.append(Part(name="page", trainings=0, epochs=0, seconds=PAGE_SECONDS))
    further = None
    if len(spec.looks) > 1:
        further = _retests(main, costs, num_slots, per_arm=spec.looks[-1] - num_seeds)
    largest = max(costs[arm].checkpoint_bytes for stage in stages for arm in stage.arms)
    checkpoints += num_slots * (NUM_KEPT + 1) * largest  # of what is being trained
    here, there = weights + checkpoints, 0.0
    if spec.checkpoints is not None:
        here, there = weights, checkpoints + weights  # which are in the run's copy
    return Forecast(parts=tuple(parts), further=further, disk_bytes=round(here) + OTHER_BYTES, store_bytes=round(there))


def _expected(stage: Stage, arm: str, num_trials: int) -> Expected:
    """What is expected of a search of the arm. Trials are compared from the epoch on from which its start is."""
    num_epochs, searched = stage.num_epochs(arm), stage.space.arms[arm]
    first = searched.first_stoppable_epoch(stage.space.start_hparams(searched), num_epochs)
    return expected_of_search(
        num_trials,
        rungs=[rung for rung in stage.rungs(arm) if rung >= first],
        num_epochs=num_epochs,
        reduction_factor=stage.reduction_factor,
    )


def _by_search(stage: Stage, arm: str) -> list[tuple[int, Expected]]:
    """(trials, what is expected of them) of each search of the arm."""
    counts = [stage.trials_of(search) for search in stage.searches]
    return [(count, _expected(stage, arm, count)) for count in counts]


def _tuning(stage: Stage, costs: Mapping[str, ArmCost], num_slots: int) -> Part:
    epochs, trials = 0.0, []
    for arm in stage.arms:
        for count, expected in _by_search(stage, arm):
            epochs += expected.epochs
            mean = costs[arm].build + costs[arm].epoch * (expected.epochs / count)
            trials += [(number / count, mean) for number in range(count)]  # searches take turns
    in_turn = [mean for _, mean in sorted(trials, key=lambda trial: trial[0])]
    return _part(f"tuning{_of(stage)}", in_turn, num_slots, epochs)


def _retests(stage: Stage, costs: Mapping[str, ArmCost], num_slots: int, *, per_arm: int) -> Part:
    each = {
        arm: costs[arm].build + costs[arm].retest_epoch * stage.num_epochs(arm) + costs[arm].test for arm in stage.arms
    }
    epochs = per_arm * sum(map(stage.num_epochs, stage.arms))
    return _part(f"retests{_of(stage)}", list(each.values()) * per_arm, num_slots, epochs)


def _audit(stage: Stage, costs: Mapping[str, ArmCost], num_slots: int, wanted: int) -> Part:
    own = {arm: _expected(stage, arm, stage.trials_per_arm) for arm in stage.arms}
    stopped = stage.num_searches * sum(stage.trials_per_arm - expected.completed for expected in own.values())
    number = min(wanted, round(stopped))
    each = [costs[arm].build + costs[arm].epoch * stage.num_epochs(arm) for arm in stage.arms]
    mean = sum(each, Seconds()) * (1 / len(each))
    epochs = number * sum(map(stage.num_epochs, stage.arms)) / len(stage.arms)
    return _part("audit", [mean] * number, num_slots, epochs)


def _part(name: str, trainings: Sequence[Seconds], num_slots: int, epochs: float) -> Part:
    wall = makespan([seconds.wall for seconds in trainings], num_slots) + WORKER_SECONDS.wall
    cpu = sum(seconds.cpu for seconds in trainings) + WORKER_SECONDS.cpu * num_slots
    return Part(name=name, trainings=len(trainings), epochs=epochs, seconds=Seconds(wall=wall, cpu=cpu))


def _of(stage: Stage) -> str:
    return f" ({stage.name})" if stage.lends_weights else ""


def _cut(tuning: Part, most_seconds: float) -> Part:
    """The part of tuning that a time budget leaves."""
    share = min(1.0, most_seconds / tuning.seconds.wall)
    return replace(
        tuning, trainings=round(share * tuning.trainings), epochs=share * tuning.epochs, seconds=tuning.seconds * share
    )


def _entrants_per_arm(stage: Stage) -> int:
    """At most: of each search its winner, the default, the control's winner and the knee, if none is another one."""
    return stage.num_searches * (1 + stage.retests_default + bool(stage.control_trials) + (not stage.stops_early))


def _checkpoint_bytes(stage: Stage, costs: Mapping[str, ArmCost], num_seeds: int) -> float:
    """Kept checkpoints: of completed trials, and of retests that another stage begins with."""
    kept = 0.0
    for arm in stage.arms:
        of_training = min(NUM_KEPT, stage.num_epochs(arm)) * costs[arm].checkpoint_bytes
        kept += of_training * sum(expected.completed for _, expected in _by_search(stage, arm))
        kept += stage.lends_weights * of_training * _entrants_per_arm(stage) * num_seeds
    return kept
