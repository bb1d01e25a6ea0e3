"""Optuna behind Ray: one study per search of an arm, in which each trial ends as it did: COMPLETE, PRUNED or FAIL."""

from __future__ import annotations

import itertools
import math
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from search_spaces.declarations import StartTrial, middle
from search_spaces.space import Arm, SearchSpace
from study.core.fork import Inherited, OldTrial
from study.core.ledger import ASKED, FINISHED, Event, Ledger, TrialRecord, finished
from study.core.search import PLAIN, Search
from study.core.stage import Stage
from study.engine.optuna_names import NamedTrial, OptunaNames, suggest
from study.engine.shown_trials import ShownTrials, to_show
from trainables.common.seeds import derive_seed

# Samplers that keep state in the Optuna study: their position in a sequence, or a generation.
KEEP_STATE = frozenset({"qmc", "cmaes"})
# Samplers that model only what all trials have, or the first one had: to them, a trial has the knobs of every branch.
WANT_ALL_KNOBS = frozenset({"qmc", "cmaes", "gp"})

NOTHING = Inherited()

MakeConfig = Callable[[TrialRecord], dict[str, Any]]


class ArmSearcher(Searcher):
    """A searcher for Ray: the searches of all arms take turns, each with an Optuna study that proposes its trials.

    The next trial goes to the search that has the smallest share of its trials, ties to the first; where all have
    equally many, to the one with the fewest. A proposal is a function of the study's seed, the arm and search, the
    trial's number and the ledger so far, so a resumed study proposes as an uninterrupted one.
    """

    def __init__(
        self,
        *,
        stage: Stage,
        ledger: Ledger,
        make_config: MakeConfig,
        should_end: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(metric=stage.task.metric, mode=stage.task.mode)
        self._stage, self._ledger = stage, ledger
        self._make_config = make_config
        self._should_end = should_end
        inherited = ledger.book.fork.arms if ledger.book.fork else {}
        self._turns = [(name, search) for search in stage.searches for name in stage.arms]
        self._proposers = {
            (name, search): ArmProposer(
                stage=stage, arm=stage.space.arms[name], search=search, inherited=inherited.get(name, NOTHING)
            )
            for name, search in self._turns
        }
        self._record_of_ray_id: dict[str, TrialRecord] = {}
        self._replay()
        # Trials that an earlier session left unfinished continue first, in the order in which they were asked for.
        self._unfinished = deque(t for t in stage.trials(ledger.book) if not t.is_finished)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._should_end():
            return Searcher.FINISHED
        if self._unfinished:
            record = self._unfinished.popleft()
        elif (turn := self._next_turn()) is not None:
            record = self._ask(*turn)
        else:
            return Searcher.FINISHED
        self._record_of_ray_id[trial_id] = record
        return self._make_config(record)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None: ...

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        record = self._record_of_ray_id.pop(trial_id, None)
        if record is None:
            return
        if error and not record.is_finished:
            self._ledger.append(finished(record.trial_id, "failed", "the worker failed"))
        if record.is_finished:  # else the study was interrupted, and the trial continues when it is resumed
            self._proposers[record.arm, record.of_search].tell(record)

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
        return True

    def save(self, checkpoint_path: str) -> None: ...  # the ledger holds the state

    def restore(self, checkpoint_path: str) -> None: ...

    @property
    def running(self) -> list[TrialRecord]:
        """The trials that were handed out and did not come back."""
        return list(self._record_of_ray_id.values())

    def optuna_study(self, arm: str, search: Search = PLAIN) -> optuna.Study:
        return self._proposers[arm, search].study

    def __deepcopy__(self, memo: dict[int, Any]) -> ArmSearcher:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def _next_turn(self) -> tuple[str, Search, int] | None:
        """(the arm and search whose turn it is, how many trials it has), or None if all have all their trials."""
        counts = {turn: len(self._ledger.book.of_arm(*turn)) for turn in self._turns}
        turn = min(self._turns, key=lambda turn: counts[turn] / self._stage.trials_of(turn[1]))  # ties go to the first
        return (*turn, counts[turn]) if counts[turn] < self._stage.trials_of(turn[1]) else None

    def _ask(self, arm: str, search: Search, number: int) -> TrialRecord:
        trial_id = "-".join([arm, *search.words, f"{number:04d}"])
        params, hparams = self._proposers[arm, search].ask(number, trial_id)
        # The same number has the same seed in every arm, so that weights and order are paired across arms; a control
        # shares those of the search that it is held against.
        seed = derive_seed(self._stage.seed, "trial", number, *replace(search, control=None).words)
        payload = {"arm": arm, "number": number, "seed": seed, "params": params, "hparams": hparams, **search.recorded}
        self._ledger.append(Event(kind=ASKED, trial_id=trial_id, payload=payload))
        return self._ledger.book.trials[trial_id]

    def _replay(self) -> None:
        """Rebuild the Optuna studies by the recorded asks and tells, in their order."""
        book = self._ledger.book
        told = {
            record.trial_id: proposer
            for turn, proposer in self._proposers.items()
            for record in proposer.remembered(book.of_arm(*turn))
        }
        for event in self._ledger.events(ASKED, FINISHED):
            proposer = told.get(event.trial_id or "")
            if proposer is None:  # of another stage, or of no use any more
                continue
            record = book.trials[event.trial_id or ""]
            if event.kind == ASKED:
                proposer.ask(record.number, record.trial_id, known=record.params)
            elif event.kind == FINISHED:
                proposer.tell(record)


class ArmProposer:
    """The Optuna study of one search of an arm. inherited: what it begins with, unless it is a control."""

    def __init__(self, *, stage: Stage, arm: Arm, search: Search = PLAIN, inherited: Inherited = NOTHING) -> None:
        self._search = search
        self._searcher = search.control or stage.searcher
        self._stage, self._task, self._space, self._arm = stage, stage.task, stage.space, arm
        best: Literal["maximize", "minimize"] = "maximize" if stage.task.mode == "max" else "minimize"
        self.study = optuna.create_study(
            directions=[best] if stage.objective == "score" else [best, "minimize"],
            storage=ShownTrials(stage.task.mode) if self._is_bounded else None,
        )
        self._names = OptunaNames(stage.space.branches(arm))
        self._open: dict[str, optuna.Trial] = {}
        # The first trials, which no sampler proposes; a control has none, for it is to know nothing.
        self._given = (
            []
            if search.control
            else (
                grid_points(stage.space, arm, stage.trials_per_arm)
                if stage.searcher == "grid"
                else [
                    *stage.space.start_points(arm),
                    *(trial.params for trial in inherited.tried_first),
                ]
            )
        )
        for trial in () if search.control else inherited.observed:
            self._observe(trial)

    def remembered(self, records: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
        """Those of the search's trials that proposals may still follow from."""
        if not self._is_bounded:
            return records
        sign = 1 if self._task.mode == "max" else -1
        return to_show(records, lambda record: sign * (record.value(self._task.metric) or 0.0))

    @property
    def _is_bounded(self) -> bool:
        """Whether the sampler is shown no more than MOST_SHOWN trials, or looks at none."""
        return self._stage.objective == "score" and self._searcher in {"tpe", "random", "grid"}

    def _observe(self, trial: OldTrial) -> None:
        """Tell Optuna a trial of another study."""
        params = self._inner_params(trial.params, complete=True)
        self.study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if trial.status == "completed" else TrialState.PRUNED,
                params=params,
                distributions={name: self._names.distributions[name] for name in params},
                value=trial.values[-1],
                intermediate_values={
                    epoch: value for epoch, value in enumerate(trial.values, start=1) if math.isfinite(value)
                },
            )
        )

    def ask(
        self, number: int, trial_id: str, *, known: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """(params, hyperparameters) of the arm's trial of that number. known: its params in the ledger, if any."""
        given = self._given[number] if number < len(self._given) else None
        params = known if known is not None else given
        if params is not None:
            self.study.enqueue_trial(self._inner_params(params, complete=given is not None))
        self.study.sampler = self._sampler(number)
        trial = self.study.ask()
        if known is not None and given is None and self._searcher in KEEP_STATE:
            _ = trial.relative_params  # proposed in vain, so that the state advances as when first asked for
        named = NamedTrial(trial, self._names)
        hparams = self._space.sample(self._arm, named)
        if self._searcher in WANT_ALL_KNOBS:
            self.study.sampler = _Middle()  # where the sampler itself has no proposal
            for name, distribution in self._names.distributions.items():
                if name not in trial.params:
                    suggest(trial, name, distribution)
        self._open[trial_id] = trial
        return named.params, hparams

    def _inner_params(self, params: Mapping[str, Any], *, complete: bool) -> dict[str, Any]:
        """params by their names inside Optuna. complete: with those of other branches, where a sampler wants them."""
        trial = StartTrial(params)
        self._space.sample(self._arm, trial)
        inner = self._names.inner_params(trial)
        if complete and self._searcher in WANT_ALL_KNOBS:
            return {**{name: middle(d) for name, d in self._names.distributions.items()}, **inner}
        return inner

    def tell(self, record: TrialRecord) -> None:
        """End the trial in Optuna as it really ended: COMPLETE, PRUNED at its last step, or FAIL.

        With several objectives, Optuna takes no value before the end, and no trial is stopped.
        """
        trial = self._open.pop(record.trial_id, None)
        if trial is None:
            return
        if self._stage.objective == "score":
            for row in record.epochs:
                value = row[self._task.metric]
                if math.isfinite(value):
                    trial.report(value, row["epoch"])
        values = [record.value(self._task.metric)]
        if self._stage.objective != "score":
            values.append(record.epoch_seconds)
        known = [value for value in values if value is not None and math.isfinite(value)]
        if record.status == "completed" and len(known) == len(values):
            self.study.tell(trial, known)
        else:
            self.study.tell(trial, state=TrialState.PRUNED if record.status == "stopped" else TrialState.FAIL)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        words = self._search.words
        seed = derive_seed(self._stage.seed, "sampler", self._arm.name, number, *words) % 2**32
        of_search = derive_seed(self._stage.seed, "sampler", self._arm.name, *words) % 2**32
        num_startup = self._stage.num_startup
        samplers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
            "tpe": lambda: optuna.samplers.TPESampler(
                seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=num_startup
            ),
            "random": lambda: optuna.samplers.RandomSampler(seed=seed),
            "gp": lambda: optuna.samplers.GPSampler(
                seed=seed, n_startup_trials=num_startup, warn_independent_sampling=False
            ),
            "cmaes": lambda: optuna.samplers.CmaEsSampler(
                seed=seed, n_startup_trials=num_startup, warn_independent_sampling=False
            ),
            # A search has one low-discrepancy sequence: the seed is its own, the position is the number of trials.
            "qmc": lambda: optuna.samplers.QMCSampler(
                seed=of_search,
                scramble=True,
                warn_independent_sampling=False,
                independent_sampler=optuna.samplers.RandomSampler(seed=seed),
            ),
            "grid": lambda: optuna.samplers.RandomSampler(seed=seed),
        }
        with warnings.catch_warnings():
            # TPE's group and QMCSampler are "experimental": Optuna may change how they are called. Versions are pinned.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return samplers[self._searcher]()


class _Middle(optuna.samplers.RandomSampler):
    """Proposes the middle of every range: for knobs of branches that a trial is not of."""

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        return middle(param_distribution)


def grid_points(space: SearchSpace, arm: Arm, num_points: int) -> list[dict[str, Any]]:
    """The arm's grid: the start point, then a full grid over the learning rate and the arm's own knobs.

    Every other knob stays at its start: a grid over all of them would need thousands of trials. Each numeric knob gets
    as many levels as num_points allows (at least 2), evenly spaced on the knob's scale. A grid longer than num_points
    is subsampled evenly; a shorter one is returned as it is, and the searcher adds random points.
    """
    start = space.start_point(arm)
    own = space.own_knobs(arm)
    knobs = {name: knob for name, knob in space.knobs(arm).items() if name == "learning_rate" or name in own}
    levels = max(2, round(num_points ** (1 / max(1, len(knobs)))))
    axes = [_levels(distribution, levels) for distribution in knobs.values()]
    grid = [{**start, **dict(zip(knobs, values, strict=True))} for values in itertools.product(*axes)]
    wanted = num_points - 1
    if len(grid) > wanted:
        grid = [grid[i * len(grid) // wanted] for i in range(wanted)] if wanted else []
    return [start, *grid]


def _levels(distribution: optuna.distributions.BaseDistribution, count: int) -> list[Any]:
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    fractions = [i / (count - 1) for i in range(count)]
    values = [low * (high / low) ** f if distribution.log else low + f * (high - low) for f in fractions]
    values = [min(max(value, low), high) for value in values]
    if isinstance(distribution, optuna.distributions.IntDistribution):
        return sorted({round(value) for value in values})
    return values
