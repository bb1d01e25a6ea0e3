"""How many images a search spends until it has a configuration that few reach, beside other ways to search.

Nothing is trained: learning_curves.json has the validation scores of configurations that were all trained to their end,
and a search is replayed on them under a simulated clock. All slots train an epoch at a time, and an epoch is an epoch
whatever the configuration, so that time is images. What a search proposes becomes the nearest configuration that it has
not had yet, and this is what it is told to have been tried.

    python -m benchmarks.search RUN     makes learning_curves.json of a run directory: random search, nothing stopped
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.trial import TrialState
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler

from benchmarks.measured import Measured
from search_spaces.baseline import search_space
from search_spaces.declarations import StartTrial
from search_spaces.space import Arm, SearchSpace
from study.core.ledger import ASKED, EPOCH, Book, Event, Ledger, TrialRecord, finished
from study.core.stage import TUNE, Group, Stage
from study.engine.optuna_names import NamedTrial, OptunaNames
from study.engine.scheduler import asha_decision
from study.engine.searcher import ArmProposer
from study.records.tables import read_table
from study.tasks.baseline import BASELINE as STUDY
from trainables.tasks.baseline import BASELINE

TABLE = Path(__file__).with_name("learning_curves.json")
NUM_SEEDS, QUICK_SEEDS = 50, 3
SLOTS = 2
TOP_SHARE = 0.02
"""At most so many of the configurations meet the target."""
PRESET = STUDY.presets["standard"]
"""Whose number of trials (by which TPE knows when to begin) and rungs, as shares of the epochs, the study has."""
MOST_PASSES = 2
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """number: its place in the table; values: the validation score after each epoch."""

    number: int
    params: Mapping[str, Any]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class CurveTable:
    """What can be trained. images: of an epoch; space, arm: from where the configurations came."""

    images: int
    space: SearchSpace
    arm: Arm
    configurations: tuple[Configuration, ...]

    @property
    def num_epochs(self) -> int:
        return len(self.configurations[0].values)

    @property
    def target(self) -> float:
        """The lowest final score that no more than TOP_SHARE of the configurations meet; the best if more share it."""
        final = sorted((configuration.values[-1] for configuration in self.configurations), reverse=True)
        most = max(1, int(TOP_SHARE * len(final)))
        fit = (value for value in reversed(final[:most]) if final.count(value) + final.index(value) <= most)
        return next(fit, final[0])


def read_curves(path: Path = TABLE) -> CurveTable:
    content = json.loads(path.read_text())
    space = search_space(**content["space"])
    return CurveTable(
        images=content["images"],
        space=space,
        arm=space.arms[content["arm"]],
        configurations=tuple(
            Configuration(number=number, params=row["params"], values=tuple(row["values"]))
            for number, row in enumerate(content["configurations"])
        ),
    )


def distil(run_dir: Path, path: Path = TABLE) -> int:
    """Write the table of a baseline study's one arm, whose trials were all trained to their end. Returns how many."""
    spec, summary = (json.loads((run_dir / name).read_text()) for name in ("spec.json", "summary.json"))
    epochs = [row for row in read_table(run_dir / "epochs.parquet").to_pylist() if row["stage"] == TUNE]
    values: dict[str, list[float]] = {}
    for row in epochs:
        values.setdefault(row["trial_id"], []).append(row[summary["objective"]])
    with Ledger(run_dir) as ledger:
        trials = [trial for trial in ledger.book.trials.values() if trial.status == "completed"]
    rows = [
        {
            "params": {name: _short(value) for name, value in trial.params.items()},
            "values": [round(value, 5) for value in values[trial.trial_id]],
        }
        for trial in trials
    ]
    images, image_size = epochs[0]["images"], summary["dataset"]["image_size"]
    content = {
        "source": f"study.run {spec['task']} --arms {spec['arms'][0]} --dataset {spec['dataset']} "
        f"--image-size {image_size} --train-images {images} --trials-per-arm {spec['trials_per_arm']} "
        f"--max-epochs {spec['max_epochs']} --grace-epochs {spec['grace_epochs']} --searcher {spec['searcher']}",
        "commit": summary["commit"],
        "seed": spec["seed"],
        "numerics": spec["numerics"],
        "validation_images": summary["dataset"]["num_val"],
        "metric": summary["objective"],
        "images": images,
        "arm": spec["arms"][0],
        "space": {"num_train": images, "image_size": image_size, "padding": spec["padding"], "flip": True},
    }
    head = json.dumps(content, indent=1).removesuffix("\n}")
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    path.write_text(f'{head},\n "configurations": [\n{lines}\n ]\n}}\n')
    return len(rows)


def _short(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


class Nearness:
    """Distances between configurations: each knob a coordinate from 0 to 1 on its own range and scale.

    Choices that differ, and knobs that one of two lacks, are 1 apart; a range that hangs on a choice is that choice's.
    """

    def __init__(self, table: CurveTable) -> None:
        self._table = table
        self._places = [self._place(configuration.params) for configuration in table.configurations]

    def nearest(self, params: Mapping[str, Any], unused: Sequence[int]) -> Configuration:
        place = self._place(params)
        number = min(unused, key=lambda number: (_squared_distance(place, self._places[number]), number))
        return self._table.configurations[number]

    def _place(self, params: Mapping[str, Any]) -> dict[str, Any]:
        trial = StartTrial(params)
        self._table.space.sample(self._table.arm, trial)
        return {name: _coordinate(trial.params[name], range_) for name, range_ in trial.distributions.items()}


def _coordinate(value: Any, distribution: Any) -> Any:
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return str(value)
    low, high = distribution.low, distribution.high
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low) if high > low else 0.0


def _squared_distance(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    total = float(len(one.keys() ^ other.keys()))
    for name in one.keys() & other.keys():
        a, b = one[name], other[name]
        total += float(a != b) if isinstance(a, str) or isinstance(b, str) else (a - b) ** 2
    return total


class Search(Protocol):
    """Which configuration is next."""

    def propose(self, number: int, unused: Sequence[int]) -> Configuration: ...

    def learn(self, number: int, values: Sequence[float], *, is_complete: bool) -> None:
        """The search's trial of that number ended with these values."""


class Stopping(Protocol):
    """Whether a trial goes on after an epoch before its last. values: so far."""

    def goes_on(self, number: int, values: Sequence[float]) -> bool: ...


class RandomSearch:
    def __init__(self, table: CurveTable, seed: int) -> None:
        self._table, self._rng = table, np.random.default_rng(seed)

    def propose(self, number: int, unused: Sequence[int]) -> Configuration:
        return self._table.configurations[int(self._rng.choice(unused))]

    def learn(self, number: int, values: Sequence[float], *, is_complete: bool) -> None: ...


class OurSearch:
    """The study's TPE, start points included."""

    def __init__(self, table: CurveTable, seed: int, *, nearness: Nearness, stage: Stage) -> None:
        self._metric, self._nearness = stage.task.metric, nearness
        self._proposer = ArmProposer(stage=stage, arm=table.arm)

    def propose(self, number: int, unused: Sequence[int]) -> Configuration:
        asked, _ = self._proposer.ask(number, "proposal")
        self._proposer.tell(_record("proposal", number, [], "failed", self._metric))  # which TPE does not model
        found = self._nearness.nearest(asked, unused)
        self._proposer.ask(number, str(number), known=found.params)
        return found

    def learn(self, number: int, values: Sequence[float], *, is_complete: bool) -> None:
        status = "completed" if is_complete else "stopped"
        self._proposer.tell(_record(str(number), number, values, status, self._metric))


def _record(trial_id: str, number: int, values: Sequence[float], status: Any, metric: str) -> TrialRecord:
    asked = {"arm": "", "number": number, "seed": 0, "params": {}, "hparams": {}}
    book = Book()
    book.apply(Event(kind=ASKED, trial_id=trial_id, payload=asked))
    for epoch, value in enumerate(values, start=1):
        book.apply(Event(kind=EPOCH, trial_id=trial_id, payload={"epoch": epoch, metric: value}))
    book.apply(finished(trial_id, status))
    return book.trials[trial_id]


class RaysOptuna:
    """Ray's OptunaSearch: one TPESampler as Optuna makes it, which is told that a stopped trial was completed."""

    def __init__(self, table: CurveTable, seed: int, *, nearness: Nearness) -> None:
        self._table, self._nearness = table, nearness
        self._names = OptunaNames(table.space.branches(table.arm))
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        self._open: dict[int, optuna.Trial] = {}

    def propose(self, number: int, unused: Sequence[int]) -> Configuration:
        proposal, named = self._asked()
        self._study.tell(proposal, state=TrialState.FAIL)
        found = self._nearness.nearest(named.params, unused)
        taken = StartTrial(found.params)
        self._table.space.sample(self._table.arm, taken)
        self._study.enqueue_trial(self._names.inner_params(taken))
        self._open[number], _ = self._asked()
        return found

    def _asked(self) -> tuple[optuna.Trial, NamedTrial]:
        trial = self._study.ask()
        named = NamedTrial(trial, self._names)
        self._table.space.sample(self._table.arm, named)
        return trial, named

    def learn(self, number: int, values: Sequence[float], *, is_complete: bool) -> None:
        trial = self._open.pop(number)
        for epoch, value in enumerate(values, start=1):
            trial.report(value, epoch)
        self._study.tell(trial, values[-1])


class OurAsha:
    """The study's early stopping."""

    def __init__(self, stage: Stage) -> None:
        (arm,) = stage.arms
        self._reached: dict[int, list[float]] = {rung: [] for rung in stage.rungs(arm)}
        self._factor = stage.reduction_factor

    def goes_on(self, number: int, values: Sequence[float]) -> bool:
        peers = self._reached.get(len(values))
        if peers is None:
            return True
        decision = asha_decision(values[-1], peers, reduction_factor=self._factor, mode="max")
        peers.append(values[-1])
        return decision.decision == "continue"


class RaysStopping:
    """A scheduler of Ray's that looks at a trial's own results and those of others."""

    def __init__(self, scheduler: TrialScheduler) -> None:
        self._scheduler = scheduler
        self._trials: dict[int, _RayTrial] = {}
        self._controller: Any = SimpleNamespace(get_live_trials=list)  # as where no trial waits

    def goes_on(self, number: int, values: Sequence[float]) -> bool:
        if number not in self._trials:
            self._trials[number] = _RayTrial(str(number))
            self._scheduler.on_trial_add(self._controller, self._trials[number])
        result = {"training_iteration": len(values), "score": values[-1]}
        action = self._scheduler.on_trial_result(self._controller, self._trials[number], result)
        return bool(action == TrialScheduler.CONTINUE)


@dataclass(frozen=True)
class _RayTrial:
    trial_id: str


def epochs_to_target(table: CurveTable, search: Search, stopping: Stopping, *, slots: int = SLOTS) -> float:
    """Epochs of all trials until one that ran to its end meets the target.

    When all configurations were had, all may be had again; infinite if MOST_PASSES do not find any.
    """
    unused = list(range(len(table.configurations)))
    running: list[tuple[int, Configuration, list[float]]] = []
    num_epochs, num_trials = 0, 0
    while True:
        while num_trials < MOST_PASSES * len(table.configurations) and len(running) < slots:
            unused = unused or list(range(len(table.configurations)))
            configuration = search.propose(num_trials, unused)
            unused.remove(configuration.number)
            running.append((num_trials, configuration, []))
            num_trials += 1
        if not running:
            return math.inf
        num_epochs += len(running)  # all slots train at once
        for trial in list(running):
            number, configuration, values = trial
            values.append(configuration.values[len(values)])
            is_complete = len(values) == table.num_epochs
            if is_complete and values[-1] >= table.target:
                return num_epochs
            if is_complete or not stopping.goes_on(number, values):
                running.remove(trial)
                search.learn(number, values, is_complete=is_complete)


def epochs_of_top_k(table: CurveTable, seed: int, *, num_trials: int, rung: int, k: int) -> float:
    """The same of one rung: batches of random configurations, of each the best k after the rung run to their end."""
    order = np.random.default_rng(seed).permutation(len(table.configurations))
    num_epochs = 0
    for start in range(0, len(order), num_trials):  # a second pass would choose the same ones
        batch = [table.configurations[number] for number in order[start : start + num_trials]]
        num_epochs += rung * len(batch)
        best = sorted(batch, key=lambda configuration: -configuration.values[rung - 1])[:k]
        for place, configuration in enumerate(best, start=1):
            if configuration.values[-1] >= table.target:
                waves = -(-place // SLOTS)
                return num_epochs + (table.num_epochs - rung) * min(waves * SLOTS, len(best))
        num_epochs += (table.num_epochs - rung) * len(best)
    return math.inf


def stage_of(table: CurveTable, seed: int, **own: Any) -> Stage:
    """The stage of a study of the table's arm."""
    name = table.arm.name
    settings: dict[str, Any] = {
        "searcher": "tpe",
        "trials_per_arm": PRESET["trials_per_arm"],
        "grace_epochs": max(1, round(table.num_epochs * PRESET["grace_epochs"] / PRESET["max_epochs"])),
        "reduction_factor": PRESET["reduction_factor"],
    }
    return Stage(
        **{**settings, **own},
        name=TUNE,
        task=BASELINE,
        space=table.space,
        arms=(name,),
        groups=(Group(title="", control=None, arms=(name,)),),
        seed=seed,
        max_epochs=table.num_epochs,
    )


Replay = Callable[[int], float]
"""A seed -> the epochs that a search spends."""


def ours(table: CurveTable, nearness: Nearness, **own: Any) -> Replay:
    def replay(seed: int) -> float:
        stage = stage_of(table, seed, **own)
        search: Search = (
            RandomSearch(table, seed)
            if stage.searcher == "random"
            else OurSearch(table, seed, nearness=nearness, stage=stage)
        )
        return epochs_to_target(table, search, OurAsha(stage))

    return replay


def rays(table: CurveTable, search: Callable[[int], Search], scheduler: Callable[..., TrialScheduler]) -> Replay:
    def replay(seed: int) -> float:
        np.random.seed(seed)  # by which Ray draws a trial's bracket
        stopping = RaysStopping(scheduler(time_attr="training_iteration", metric="score", mode="max"))
        return epochs_to_target(table, search(seed), stopping)

    return replay


def replays(table: CurveTable) -> dict[str, dict[str, Replay]]:
    """Each way to search in one or more settings, of which the best counts; the study's own is the default alone."""
    nearness = Nearness(table)

    def random(seed: int) -> Search:
        return RandomSearch(table, seed)

    def optunas(seed: int) -> Search:
        return RaysOptuna(table, seed, nearness=nearness)

    def asha(grace: int, factor: int, brackets: int = 1) -> Callable[..., TrialScheduler]:
        return lambda **more: AsyncHyperBandScheduler(
            max_t=table.num_epochs, grace_period=grace, reduction_factor=factor, brackets=brackets, **more
        )

    def median_rule(grace: int) -> Callable[..., TrialScheduler]:
        return lambda **more: MedianStoppingRule(grace_period=grace, min_samples_required=3, **more)

    ashas = {  # Ray's default, and what else may suit
        f"grace {grace}, factor {factor}": asha(grace, factor) for grace, factor in ((1, 4), (1, 3), (2, 3), (3, 3))
    }
    return {
        "this study": {"default": ours(table, nearness)},
        "Ray's ASHA, random": {name: rays(table, random, scheduler) for name, scheduler in ashas.items()},
        "Ray's ASHA, OptunaSearch": {name: rays(table, optunas, scheduler) for name, scheduler in ashas.items()},
        "Ray's asynchronous HyperBand, random": {"3 brackets": rays(table, random, asha(1, 3, brackets=3))},
        "Ray's median rule, random": {
            f"after {grace} epochs": rays(table, random, median_rule(grace)) for grace in (1, 2)
        },
        "one rung, then the best k": {
            f"{n} after {rung}, best {k}": _top_k(table, num_trials=n, rung=rung, k=k)
            for n, rung, k in ((24, 1, 8), (24, 3, 4), (48, 1, 8), (48, 3, 4))
        },
    }


def _top_k(table: CurveTable, **setting: int) -> Replay:
    return lambda seed: epochs_of_top_k(table, seed, **setting)


def ratio_of_medians(spent: Sequence[float], others: Sequence[float]) -> tuple[float, float, float]:
    """The ratio, and a 95 % interval of it over seeds, by bootstrap. Where neither finds anything it is 1."""
    a, b = np.array(spent), np.array(others)
    drawn = np.random.default_rng(0).integers(0, len(a), (2, RESAMPLES, len(a)))
    drawn[:, 0] = np.arange(len(a))  # the first are the seeds themselves
    with np.errstate(invalid="ignore"):
        ratios = np.median(a[drawn[0]], axis=1) / np.median(b[drawn[1]], axis=1)
    ratios[np.isnan(ratios)] = 1.0
    low, high = np.quantile(ratios, (0.025, 0.975), method="nearest")
    return float(ratios[0]), float(low), float(high)


def run(*, quick: bool, repeats: int | None, folder: Path) -> list[Measured]:
    """Images to the target against each other way, in its best setting: the ratio of medians over seeds (repeats)."""
    return compared(read_curves(), range(repeats or (QUICK_SEEDS if quick else NUM_SEEDS)))


def compared(table: CurveTable, seeds: Sequence[int]) -> list[Measured]:
    spent: dict[str, tuple[str, list[float]]] = {}
    every: dict[str, dict[str, float]] = {}
    for name, settings in replays(table).items():
        found = {setting: [replay(seed) for seed in seeds] for setting, replay in settings.items()}
        best = min(found, key=lambda setting: float(np.median(found[setting])))
        spent[name] = best, found[best]
        every[name] = {setting: table.images * float(np.median(epochs)) for setting, epochs in found.items()}
    mine = spent["this study"][1]
    measured = []
    for name, (setting, epochs) in spent.items():
        if name == "this study":
            continue
        ratio, low, high = ratio_of_medians(mine, epochs)
        measured.append(
            Measured(
                name=f"images to a score of {table.target:.3f}, this study against {name}",
                values=(ratio,),
                at_most=0.67 if name == "Ray's ASHA, random" else 1.0,
                note=f"95 % interval {low:.2f}–{high:.2f} over {len(mine)} seeds; {name}: {setting}",
                detail={
                    "median images": every["this study"] | every[name],
                    "epochs": {"this study": mine, name: epochs},
                },
            )
        )
    return measured


if __name__ == "__main__":
    print(f"{distil(Path(sys.argv[1]))} configurations in {TABLE}")
