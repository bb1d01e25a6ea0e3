"""A session of a study: begun by study.run, continued by study.resume."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from study.analysis.tables import load_tables
from study.core.commands import command_line, option_words
from study.core.entrants import Entrant, retested_anew
from study.core.errors import StudyError
from study.core.fork import Fork
from study.core.invocation import invocation
from study.core.ledger import FORKED, Event, Ledger, TrialRecord
from study.core.plugins import keep_sources, own_part_names, require_unchanged
from study.core.run_dir import (
    checkpoints_of,
    forget_unrecorded,
    new_run,
    numbered,
    require_checkpoints,
    resume_command,
    settings_of,
    worked_on_again,
)
from study.core.spec import SESSION_SETTINGS, StudySpec, placed
from study.core.stage import Stage, range_lines, ranges_set
from study.core.text import listed, plural
from study.engine.audit import audit, audit_order, choose, waiting_audits
from study.engine.cluster import Cluster, cluster_of, num_slots
from study.engine.console import StudyConsole
from study.engine.fork import forked
from study.engine.loggers import Loggers
from study.engine.metrics import StageMetrics
from study.engine.requirements import require_same_arms, require_same_data, require_trainable, require_weights
from study.engine.retest import retest
from study.engine.session import Session
from study.engine.tuning import require_start, tune_arms
from study.exports.installed import require_installed
from study.page.answers import headlines
from study.page.render import write_page
from study.page.task import TaskPage
from study.records.provenance import describe_dataset, require_same_source
from study.records.summary import State, write_summary
from study.records.validation import coarse_remark
from study.records.writer import RecordWriter
from study.tasks.extend import agreed, extended
from study.tasks.fork import fork_values
from study.tasks.resolve import checked, resolved
from study.tasks.study import Study, cut, load_data, load_images
from trainables.data.splits import retest_data, test_data
from trainables.data.types import ImageDataset, TuningData

WRITING_SHARE = 20
"""While trials end, writing the tables takes one in so many seconds."""


def begin(
    study: Study,
    page: TaskPage,
    values: Mapping[str, Any],
    console: StudyConsole,
    *,
    command: str | None = None,
    inherit: Callable[[Stage, TuningData], Fork] | None = None,
) -> tuple[int, Path]:
    """Make a run directory and work on it. Returns the exit status and the directory.

    command: what asked for it, if not study.run. inherit(main stage, data): what its searches begin with. Raises
    StudyError or DataError before the directory is made.
    """
    spec = checked(study, values)
    require_installed("--logger", *(spec.logger or ()))
    require_checkpoints(spec)
    dataset, found = load_images(study, spec)
    with cluster_of(spec) as cluster:
        given_name = spec.name
        spec = resolved(study, values, dataset=found, num_gpus=cluster.gpus)
        data = cut(study, spec, dataset)
        stages = study.stages(spec, data)
        slots = num_slots(spec, cluster)
        require_trainable(stages, data, spec)
        fork = inherit(stages[-1], data) if inherit else None
        assert spec.name is not None
        with new_run(spec, (given_name,) if given_name else numbered(spec.name)) as (spec, ledger):
            keep_sources(spec.run_dir)
            session = StudySession(
                study=study,
                page=page,
                spec=spec,
                stages=stages,
                dataset=dataset,
                data=data,
                ledger=ledger,
                console=console,
            )
            if fork is not None:
                for arms, text in fork.alike:
                    console.say(f"from {fork.run}: {listed(arms)}: {text}")
                ledger.append(Event(kind=FORKED, payload=fork.model_dump()))
            status = session.conduct(cluster=cluster, slots=slots, command=command or command_line(study.name, values))
            return status, spec.run_dir


def begin_fork(
    run_dir: Path, study: Study, page: TaskPage, given: Mapping[str, Any], console: StudyConsole
) -> tuple[int, Path]:
    """Begin a study by the settings of the run, replaced by those given, and with its trials. As `begin`."""
    task = [] if settings_of(run_dir)["task"] == study.name else [f"--task {study.name}"]
    return begin(
        study,
        page,
        fork_values(run_dir, study, given),
        console,
        command=" ".join([invocation("study.fork"), shlex.quote(str(run_dir)), *task, *option_words(given)]),
        inherit=lambda stage, data: forked(run_dir, study.name, stage, data),
    )


def resume(
    study: Study,
    page: TaskPage,
    spec: StudySpec,
    console: StudyConsole,
    *,
    allow_changed: bool = False,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    """Continue a run from its ledger. Returns the exit status. Raises StudyError or DataError.

    allow_changed: also with other source of this program than it was last worked on with. given: settings that are to
    grow (see study.tasks.extend), and where its Ray is (see study.core.spec.placed).
    """
    run_dir, checkpoints = spec.run_dir, checkpoints_of(spec)
    command = " ".join([resume_command(run_dir), *option_words(given)])
    for note in require_unchanged(run_dir, spec.plugin_sources):
        console.insist(f"note: {note}")
    with worked_on_again(run_dir) as ledger:
        if (changed := require_same_source(run_dir, ledger.book, allow_changed=allow_changed)) is not None:
            ledger.notices.append(changed)
        begun = agreed(spec, ledger)
        lasting = {name: value for name, value in given.items() if name not in SESSION_SETTINGS}
        spec = extended(study, begun, lasting, command=command, num_retests=len(ledger.book.retests))
        require_checkpoints(spec)
        dataset, data, _ = load_data(study, spec)
        require_same_data(run_dir, data, ledger.book)
        forget_unrecorded(checkpoints, ledger.book)
        with cluster_of(placed(spec, ledger.book.sessions, given)) as cluster:
            stages = study.stages(spec, data)
            require_weights(stages, ledger.book, checkpoints, num_seeds=spec.looks[0])
            if spec != begun:
                require_trainable(stages, data, spec)
                if changed is not None:
                    require_same_arms(stages, run_dir)
                console.say(f"extended by {listed(spec.extensions[-1].added)}")
            session = StudySession(
                study=study,
                page=page,
                spec=spec,
                stages=stages,
                dataset=dataset,
                data=data,
                ledger=ledger,
                console=console,
            )
            slots = num_slots(spec, cluster)
            return session.conduct(cluster=cluster, slots=slots, command=command, on_start=lambda: agreed(spec, ledger))


def begin_audit(
    study: Study,
    page: TaskPage,
    spec: StudySpec,
    console: StudyConsole,
    *,
    num_trials: int,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    """Audit early stopping in a finished study. Returns the exit status. Raises StudyError or DataError before that.

    given: where its Ray is (see study.core.spec.placed).
    """
    run_dir = spec.run_dir
    with worked_on_again(run_dir) as ledger:
        if not any(session.get("state") == "complete" for session in ledger.book.sessions):
            raise StudyError(f"{run_dir} is not finished: continue it by {resume_command(run_dir)}, then audit it")
        spec = agreed(spec, ledger)
        require_checkpoints(spec)
        dataset, data, _ = load_data(study, spec)
        require_same_data(run_dir, data, ledger.book)
        stages = study.stages(spec, data)
        stopped = audit_order(stages[-1], ledger.book, spec.seed)
        if not stopped:
            raise StudyError(f"{run_dir} has no trial that was stopped early in an arm with a winner: nothing to audit")
        for trial in stopped[:num_trials]:
            require_start(stages[-1], ledger.book, checkpoints_of(spec), trial.arm, search=trial.search)
        with cluster_of(placed(spec, ledger.book.sessions, given)) as cluster:
            session = AuditSession(
                study=study,
                page=page,
                spec=spec.model_copy(update={"audit": num_trials}),
                stages=stages,
                dataset=dataset,
                data=data,
                ledger=ledger,
                console=console,
            )
            words = [invocation("study.audit"), str(run_dir), f"--trials {num_trials}", *option_words(given)]
            return session.conduct(cluster=cluster, slots=num_slots(spec, cluster), command=" ".join(words))


class StudySession(Session):
    """A process's work on a study."""

    _spec: StudySpec

    def __init__(
        self,
        *,
        study: Study,
        page: TaskPage,
        spec: StudySpec,
        stages: tuple[Stage, ...],
        dataset: ImageDataset,
        data: TuningData,
        ledger: Ledger,
        console: StudyConsole,
    ) -> None:
        super().__init__(spec=spec, ledger=ledger, console=console)
        self._study, self._page, self._stages = study, page, stages
        self._dataset, self._data = dataset, data
        self._seconds = {"tune_seconds": 0.0, "retest_seconds": 0.0}
        self._metrics: StageMetrics | None = None
        self._loggers = Loggers(
            spec.logger or (), study=self._run_dir.name, run_dir=self._run_dir, stages=stages, say=console.insist
        )
        self._records = RecordWriter(self._run_dir, stages)
        self._written = 0.0
        self._write_seconds = 0.0

    def conduct(
        self, *, cluster: Cluster, slots: int, command: str, on_start: Callable[[], object] = lambda: None
    ) -> int:
        try:
            return super().conduct(cluster=cluster, slots=slots, command=command, on_start=on_start)
        finally:
            self._loggers.close()

    def work(self, slots: int) -> bool:
        self._loggers.catch_up(self._ledger.book)
        interrupted = any(
            self._run_stage(stage, slots, num_left=len(self._stages) - position)
            for position, stage in enumerate(self._stages)
        )
        self._loggers.overtaken(self._ledger.book)
        return interrupted or self._audit(slots, self._spec.audit or len(self._ledger.book.audit_chosen))

    def facts(self) -> Mapping[str, Any]:
        return {"dataset": describe_dataset(self._dataset, self._data)}

    def seconds(self) -> Mapping[str, float]:
        return self._seconds

    def _run_stage(self, stage: Stage, slots: int, *, num_left: int) -> bool:
        """Tune the stage's arms, then retest their winners. Returns whether that was interrupted or lost a retest.

        num_left: the number of remaining stages, this one included; they share the remaining time budget equally.
        """
        stage = self._startable(stage)
        if self._is_settled(stage):
            return self._retest_stage(stage, slots)
        spec = self._spec
        left = None if spec.time_budget is None else spec.time_budget - self._seconds["tune_seconds"]
        with (
            _timed(self._seconds, "tune_seconds"),
            self._console.tuning(stage, self._ledger.book, slots),
            StageMetrics(self._run_dir.name, stage, self._ledger.book) as self._metrics,
        ):
            interrupted = tune_arms(
                spec=spec,
                stage=stage,
                data=self._data,
                ledger=self._ledger,
                run_dir=self._run_dir,
                checkpoints=self._checkpoints,
                slots=slots,
                deadline=None if left is None else time.monotonic() + left / num_left,
                on_event=self.trial_changed,
                on_interrupt=self._announce_interrupt,
                say=self._console.insist,
            )
        self._ledger.back_up()
        return interrupted or self._retest_stage(stage, slots)

    def _retest_stage(self, stage: Stage, slots: int) -> bool:
        looks = self._spec.looks
        self._console.say(f"retest: {self._entrants_text(stage)}, each on {plural(looks[0], 'fresh seed')}")
        with _timed(self._seconds, "retest_seconds"):
            # Of a stage before another one, further seeds are retrained where that one asks for them.
            lost = self._retest(stage, slots, looks[:1] if stage.lends_weights else looks)
        self._ledger.back_up()
        for line in lost:
            self._console.insist(f"retest lost: {line}")
        return bool(lost)

    def _entrants_text(self, stage: Stage) -> str:
        """'6 winners', '6 winners, 5 defaults and 6 winners of random search'."""
        roles = [entrant.role for entrant in retested_anew(stage, self._ledger.book)]
        others = [
            plural(roles.count("default"), "default"),
            f"{plural(roles.count('random'), 'winner')} of random search",
            plural(roles.count("knee"), "knee"),
        ]
        told = [text for text in others if not text.startswith("0")]
        return listed([plural(roles.count("winner"), "winner"), *told])

    def _audit(self, slots: int, num_trials: int) -> bool:
        """Audit num_trials of the main stage's stopped trials and those chosen before. Returns whether one was lost."""
        stage, book = self._stages[-1], self._ledger.book
        if num_trials:
            choose(stage, self._ledger, seed=self._spec.seed, num_trials=num_trials)
        waiting = waiting_audits(stage, book)
        if num_trials and not waiting:
            done = f"{plural(len(book.audit_chosen), 'trial')} trained to the end already, and no further one to train"
            self._console.say(f"audit: {done if book.audit_chosen else 'no trial was stopped early'}")
        if not waiting:
            return False
        num_stopped = len(audit_order(stage, book, self._spec.seed))
        self._console.say(
            f"audit: {plural(len(waiting), 'trial')} of {num_stopped} that were stopped early, trained to their end"
        )

        def on_done(trial: TrialRecord) -> None:
            self._console.audited(book, stage, trial)
            self.write_progress()

        self._seconds["audit_seconds"] = 0.0
        with _timed(self._seconds, "audit_seconds"):
            lost = audit(
                spec=self._spec,
                stage=stage,
                ledger=self._ledger,
                data=self._data,
                checkpoints=self._checkpoints,
                num_slots=slots,
                on_done=on_done,
                say=self._console.insist,
            )
        for line in lost:
            self._console.insist(f"audit lost: {line}")
        return bool(lost)

    def _is_settled(self, stage: Stage) -> bool:
        """Whether trials of a later stage have begun with the weights of this one's winner, which must not change."""
        arms = {trial.arm for trial in self._ledger.book.trials.values()}
        return any(
            later.before is not None and later.before.name == stage.name and later.warm_arms & arms
            for later in self._stages
        )

    def _startable(self, stage: Stage) -> Stage:
        """The stage without its warm arms if the stage before has no winner, else unchanged."""
        before, book = stage.before, self._ledger.book
        if before is None or all(before.winners(book, search) for search in before.searches):
            return stage
        missing = ", ".join(arm for arm in stage.arms if arm in stage.warm_arms)
        self._console.insist(f"no trial of {', '.join(before.arms)} ran to its end: {missing} cannot begin")
        return replace(stage, arms=tuple(arm for arm in stage.arms if arm not in stage.warm_arms))

    def introduce(self, slots: int) -> None:
        spec, data, say = self._spec, self._data, self._console.say
        self.say_data(self._dataset)
        counts = data.class_counts
        each = ", ".join(map(str, counts)) if len(counts) <= 10 else f"{counts.min()} to {counts.max()}"
        each = str(counts[0]) if counts.min() == counts.max() else each
        say(f"      training {data.num_train} images ({each} a class)")
        say(f"      validation {len(data.val_indices)}, final test {len(self._dataset.test_labels)}")
        if coarse := coarse_remark(describe_dataset(self._dataset, data)):
            self._console.insist(f"note: {coarse}")
        for plugin in own_part_names():
            say(f"plugin: {plugin['file']} (SHA-256 {plugin['sha256'][:12]}): {listed(plugin['parts']) or 'no part'}")
        for line in range_lines(ranges_set(self._stages), self._stages[-1].arms):
            say(f"space: {line}")
        for stage in self._stages:
            rungs = ", ".join(map(str, stage.rungs(stage.arms[0])))
            say(
                f"plan: {plural(len(stage.arms), 'arm')} x {_trials_text(stage)} "
                f"of up to {plural(max(map(stage.num_epochs, stage.arms)), 'epoch')} "
                f"({f'early stopping at {rungs}' if rungs else 'no early stopping'}){_searched_for(stage)}, "
                f"{slots} at a time; "
                f"then each {_retested_text(stage)} on {plural(spec.retest_seeds or 0, 'fresh seed')}"
                f"{self._more_seeds()}"
            )

    def _more_seeds(self) -> str:
        looks = self._spec.looks
        return f", those not told apart on up to {looks[-1]}" if len(looks) > 1 else ""

    def trial_changed(self, trial: TrialRecord) -> None:
        self._console.trial_changed(trial)
        if self._metrics is not None:
            self._metrics.trial_changed(trial)
        self._loggers.trial_changed(trial)
        if not trial.is_finished:
            return
        if trial.status != "completed":  # no training continues from there, and large checkpoints fill the disk
            (self._checkpoints / trial.trial_id).remove_all()
        if time.monotonic() - self._written > WRITING_SHARE * self._write_seconds:
            self.write_progress()

    def _announce_interrupt(self) -> None:
        self._console.insist("stopping when the epochs in flight are done; Ctrl-C again stops at once")

    def _retest(self, stage: Stage, slots: int, looks: Sequence[int]) -> list[str]:
        total = len(retested_anew(stage, self._ledger.book)) * looks[0]

        def on_look(arms: Sequence[str], number: int) -> list[str]:
            nonlocal total
            if number == looks[0]:
                return []
            total += len(arms) * (number - looks[looks.index(number) - 1])
            self._console.say(f"retest: {listed(arms)} on up to {number} seeds, to tell them apart")
            return self._retest(stage.before, slots, (number,)) if stage.before and stage.warm_arms & set(arms) else []

        def on_done(entrant: Entrant, seed: int) -> None:
            self._console.retested(self._ledger.book, stage, total, entrant, seed)
            self._loggers.retested(self._ledger.book, stage, entrant, seed)
            self.write_progress()

        thinned = self._study.kept(self._spec)
        return retest(
            spec=self._spec,
            stage=stage,
            looks=looks,
            on_look=on_look,
            training_data=lambda seed: partial(retest_data, thinned=thinned, subset_seed=seed),
            ledger=self._ledger,
            data=self._data,
            test=test_data(self._dataset),
            run_dir=self._run_dir,
            checkpoints=self._checkpoints,
            num_slots=slots,
            on_done=on_done,
            say=self._console.insist,
        )

    def write_page(self) -> Path:
        return write_page(self._run_dir, self._page)

    def result(self) -> Sequence[str]:
        return headlines(self._page, load_tables(self._run_dir))

    def outcome(self) -> int:
        if self._ledger.book.retested(self._stages[-1].winners(self._ledger.book)):
            return 0
        self._console.insist("no arm has a tested winner: see the report for what failed")
        return 1

    def write(self, state: State) -> None:
        started = time.monotonic()
        self._records.write(self._ledger.book, active=state == "running")
        write_summary(
            self._run_dir, spec=self._spec, study=self._study, stages=self._stages, ledger=self._ledger, state=state
        )
        self._written = time.monotonic()
        self._write_seconds = self._written - started


class AuditSession(StudySession):
    """A process's work on the audit of a finished study."""

    def introduce(self, slots: int) -> None:
        self.say_data(self._dataset)

    def work(self, slots: int) -> bool:
        return self._audit(slots, self._spec.audit or 0)

    def outcome(self) -> int:
        return 0


def _trials_text(stage: Stage) -> str:
    """'6 trials', '3 searches x 6 trials (and 6 of random search)'."""
    searches = f"{plural(stage.num_searches, 'search')} x " * (stage.num_searches > 1)
    control = f" (and {stage.control_trials:,} of random search)" * bool(stage.control_trials)
    return f"{searches}{plural(stage.trials_per_arm, 'trial')}{control}"


def _searched_for(stage: Stage) -> str:
    return "" if stage.objective == "score" else ", for score and little training time an epoch at once"


def _retested_text(stage: Stage) -> str:
    """Whose winner is retested, and what it is held against: "arm's winner, its default and random search's winner"."""
    winner = "search's winner" if stage.num_searches > 1 else "arm's winner"
    others = ["its default"] * stage.retests_default + ["random search's winner"] * bool(stage.control_trials)
    others += ["the knee of its front"] * (stage.objective != "score")
    return listed([winner, *others])


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the duration of the block to seconds[name]."""
    started = time.monotonic()
    try:
        yield
    finally:
        seconds[name] += time.monotonic() - started
