"""Stage: one Ray experiment of a study, whose arms, in groups, are tuned side by side with equal budgets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from search_spaces.space import SearchSpace
from study.core.errors import StudyError, last_line
from study.core.front import knee
from study.core.ledger import Book, TrialRecord
from study.core.search import PLAIN, Search, searches_of
from study.core.spec import Objective, Searcher, StudySpec
from trainables.common.plugins import plugins_in_use
from trainables.data.types import TuningData

if TYPE_CHECKING:  # slow to import: torch, which pages and the command line can do without
    import torch

    from trainables.common.numerics import Numerics
    from trainables.training.learner import Learner
    from trainables.training.task import Task

MOST_STARTUP = 250
"""A search models after so many trials at the latest: half of what it is ever shown (study.engine.shown_trials)."""
TUNE = "tune"
"""The name of every study's main and last stage, which the page's tables and verdicts are about."""


def retests_of(stage: str) -> str:
    """The stage column of a stage's retests: 'retest' for the main stage, 'NAME_retest' for one before it."""
    return "retest" if stage == TUNE else f"{stage}_retest"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Arms that answer one question. control: the arm that the others are judged against; title: '' if it is alone."""

    title: str
    control: str | None
    arms: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One Ray experiment of a study, on which searcher, scheduler and retest work.

    extra_epochs: epochs of an arm's full trial beyond max_epochs. Trials of warm_arms begin with the weights of the
    winner of the stage before, or with those in start_from, a checkpoint folder that the user gave. searches: those of
    each arm; trials_per_arm: the trials of each but the controls, which have control_trials; first_trials_per_arm: how
    many the study began with, None if these. retests_default: whether the configuration from which an arm starts is
    retested too. objective: what its searches are for; with more than the score, no trial is stopped early, and the
    knee of each front is retested too.
    """

    name: str
    task: Task
    space: SearchSpace
    arms: tuple[str, ...]
    groups: tuple[Group, ...]
    seed: int
    searcher: Searcher
    trials_per_arm: int
    max_epochs: int
    grace_epochs: int
    reduction_factor: int
    extra_epochs: Mapping[str, int] = field(default_factory=dict)
    warm_arms: frozenset[str] = frozenset()
    before: Stage | None = None
    start_from: str | None = None
    searches: tuple[Search, ...] = (PLAIN,)
    control_trials: int = 0
    first_trials_per_arm: int | None = None
    retests_default: bool = False
    objective: Objective = "score"

    @property
    def num_trials(self) -> int:
        return len(self.arms) * self.all_trials_per_arm

    @property
    def all_trials_per_arm(self) -> int:
        """The trials of all searches of an arm, those of its controls included."""
        return sum(map(self.trials_of, self.searches))

    @property
    def num_startup(self) -> int:
        """The trials of a search after which its sampler begins to model what it has seen.

        It follows from what the study began with: a search that models goes on to model when it gets more trials.
        """
        return min(MOST_STARTUP, max(3, (self.first_trials_per_arm or self.trials_per_arm) // 3))

    @property
    def num_searches(self) -> int:
        """The number of an arm's own searches."""
        return sum(search.control is None for search in self.searches)

    def trials_of(self, search: Search) -> int:
        """The trials of a search of each arm."""
        return self.trials_per_arm if search.control is None else self.control_trials

    @property
    def stops_early(self) -> bool:
        """Whether ASHA ends trials before their last epoch."""
        return self.objective == "score"

    @property
    def lends_weights(self) -> bool:
        """Whether another stage comes after it, which may begin with its weights."""
        return self.name != TUNE

    @property
    def retest_name(self) -> str:
        """The stage column of this stage's retests."""
        return retests_of(self.name)

    def num_epochs(self, arm: str) -> int:
        """The epochs of a full trial of the arm, and of its retest."""
        return self.max_epochs + self.extra_epochs.get(arm, 0)

    def rungs(self, arm: str) -> tuple[int, ...]:
        """The epochs at which ASHA decides: grace, grace * factor, ..., all before the last epoch.

        None where more than the score counts: a rung's order by score would stop what is fast.
        """
        if not self.stops_early:
            return ()
        rungs, epoch = [], min(self.grace_epochs, self.max_epochs)
        while epoch < self.num_epochs(arm):
            rungs.append(epoch)
            epoch *= self.reduction_factor
        return tuple(rungs)

    def first_learner(self, arm: str, data: TuningData, *, numerics: Numerics, device: torch.device) -> Learner:
        """Build the learner of the arm's first trial. Raises StudyError if that is not possible."""
        from trainables.training.setup import TrialSetup

        setup = TrialSetup(num_epochs=self.num_epochs(arm), seed=self.seed, numerics=numerics, device=device)
        hparams = self.space.start_hparams(self.space.arms[arm])
        start_from = self.start_from if arm in self.warm_arms else None
        try:
            return self.task.learner(hparams, data, setup, start_from=start_from)
        except ValueError as error:
            raise StudyError(f"{arm} cannot be trained: {last_line(error)}") from None

    def require_legal_space(self, arm: str) -> None:
        """Raise StudyError if a range that the user set holds a hyperparameter that the task refuses."""
        for override, value, hparams in self.space.extremes(self.space.arms[arm]):
            try:
                self.task.validated(hparams)
            except ValueError as error:
                allows = "" if value is None else f" allows {value}"
                raise StudyError(f"--space {override}{allows}: {arm} cannot be trained: {last_line(error)}") from None

    def winners(self, book: Book, search: Search | None = None) -> dict[str, TrialRecord]:
        """The best completed trial of each arm that has one. search: that one alone; None: all of the arm's own."""
        return book.winners(self.arms, self.task.metric, self.task.mode, search)

    def knees(self, book: Book, search: Search) -> dict[str, TrialRecord]:
        """The knee of the front of score and seconds of an epoch, of each arm whose completed trials have one."""
        sign = 1 if self.task.mode == "max" else -1
        found = {}
        for arm in self.arms:
            costs = {
                trial.trial_id: (-sign * score, seconds)
                for trial in book.of_arm(arm, search)
                if trial.status == "completed"
                and (score := trial.value(self.task.metric)) is not None
                and math.isfinite(score)
                and (seconds := trial.epoch_seconds) is not None
            }
            place = knee(np.array(list(costs.values()))) if costs else None
            if place is not None:
                found[arm] = book.trials[list(costs)[place]]
        return found

    def trials(self, book: Book) -> list[TrialRecord]:
        """The stage's trials, in the order in which they were asked for."""
        arms = set(self.arms)
        return [trial for trial in book.trials.values() if trial.arm in arms]


def ranges_set(stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """What the user set of the spaces: [{"entry": "learning_rate=0.01..0.1", "arms": those that have it}, ...]."""
    arms_of: dict[str, list[str]] = {}
    for stage in stages:
        for arm in stage.arms:
            for override in stage.space.arms[arm].overrides:
                arms_of.setdefault(str(override), []).append(arm)
    return [{"entry": entry, "arms": arms} for entry, arms in arms_of.items()]


def ranges_of(stage: Stage, arm: str) -> dict[str, str]:
    """The ranges that the user set for the arm, and for those whose weights it begins with, as --space took them."""
    arms = [stage.space.arms[arm]]
    if stage.before is not None and arm in stage.warm_arms:
        arms += [stage.before.space.arms[lender] for lender in stage.before.arms]
    return {override.name: override.text for one in arms for override in one.overrides}


def range_lines(ranges: Sequence[Mapping[str, Any]], arms: Sequence[str]) -> list[str]:
    """Entries of ranges_set as text: 'momentum=0.9 (all arms)'. arms: all of the main stage."""
    return [
        f"{one['entry']} ({'all arms' if list(one['arms']) == list(arms) else ', '.join(one['arms'])})"
        for one in ranges
    ]


def make_stage(spec: StudySpec, **own: object) -> Stage:
    """Make a stage with the spec's budget; own: other fields, and values that replace the spec's.

    Its task takes the plugins in use to the workers. A stage before the main one is tuned as often as that, and has no
    controls: no verdict is about it.
    """
    assert spec.trials_per_arm
    assert spec.max_epochs
    assert spec.grace_epochs
    assert spec.reduction_factor
    lends_weights = own.get("name") != TUNE
    common = {
        "seed": spec.seed,
        "searcher": spec.searcher,
        "objective": "score" if lends_weights else spec.objective,
        "trials_per_arm": spec.trials_per_arm,
        "max_epochs": spec.max_epochs,
        "grace_epochs": spec.grace_epochs,
        "reduction_factor": spec.reduction_factor,
        "searches": searches_of(spec.searches, None if lends_weights else spec.control),
        "control_trials": 0 if lends_weights else spec.control_trials,
        "first_trials_per_arm": None if lends_weights else spec.first_trials_per_arm,
        "retests_default": not lends_weights and bool(spec.retest_default),
    }
    stage = Stage(**{**common, **own})  # type: ignore[arg-type]
    return replace(stage, task=replace(stage.task, plugins=plugins)) if (plugins := plugins_in_use()) else stage
