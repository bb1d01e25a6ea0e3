"""Studies from Python: the command line's options as typed fields, and a run directory as frames, verdicts and winners.

from study import Imbalance, Run

run = Imbalance(arms=("none", "ldam_drw"), max_epochs=4).run()
run.winner.load_model()
Run("reports/NAME").resume()
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from pydantic import ValidationError

from study.analysis.results import ranked_arms
from study.analysis.tables import Tables, load_tables
from study.core.errors import StudyError, nearest
from study.core.run_dir import settings_of
from study.core.spec import StudySpec, error_sentence, options_of
from study.core.streams import Loudness
from study.engine.console import StudyConsole
from study.engine.signals import raise_interrupt, signals_to
from study.engine.study_session import begin, begin_fork, resume
from study.page.answers import headlines
from study.page.tasks.registry import PAGES, find_page, write_page_of
from study.probes.preflight import Preflight as Preflight
from study.probes.preflight import preflight
from study.probes.retested import load_retested
from study.tasks.baseline import BaselineSpec
from study.tasks.cifar100 import Cifar100Spec
from study.tasks.fork import task_to_fork
from study.tasks.imbalance import ImbalanceSpec
from study.tasks.jigsaw import JigsawSpec
from study.tasks.registry import STUDIES
from study.tasks.resolve import read_spec
from trainables.common.paths import user_path
from trainables.data.types import DataError as DataError
from trainables.training.predictor import Predictor


class Settings(StudySpec):
    """What the settings of all tasks do: they check themselves, and run. Fields are the options of study.run.

    Raises StudyError, in the sentence of the command line, for a setting that is not one or does not hold.
    """

    if not TYPE_CHECKING:  # type checkers and editors have the fields' own signature, which pydantic makes

        def __init__(self, **settings: Any) -> None:
            known = options_of(type(self))
            for name in settings:
                if name not in known:
                    raise StudyError(f"unknown setting {name!r}{nearest(name, known)}")
            try:
                super().__init__(**settings)
            except ValidationError as error:
                raise StudyError(error_sentence(type(self), error)) from None

    def preflight(self) -> Preflight:
        """Try the extremes of every arm's space, and reckon memory, time and disk; see study.run --dry-run.

        No run directory is made; print the result, or look at its fields. Raises StudyError or DataError.
        """
        return preflight(STUDIES[self.task], self._given)

    @property
    def _given(self) -> dict[str, Any]:
        return self.model_dump(mode="json", include=self.model_fields_set)

    def run(self, *, loudness: Loudness = "usual") -> Run:
        """Run the study, as study.run does with these options, and write its page. loudness: of its progress.

        An interruption (Ctrl-C, or the notebook's stop button) ends it cleanly: the run that is returned says so in its
        state, and its resume() goes on. Raises StudyError or DataError before a run directory is made.
        """
        console = StudyConsole(loudness=loudness)
        with signals_to(raise_interrupt):
            _, run_dir = begin(STUDIES[self.task], PAGES[self.task], self._given, console)
        return Run(run_dir)


class Baseline(BaselineSpec, Settings):
    """The settings of study.run baseline: which model and optimiser, and how good?"""


class Imbalance(ImbalanceSpec, Settings):
    """The settings of study.run imbalance: which remedy for class imbalance works?"""


class Jigsaw(JigsawSpec, Settings):
    """The settings of study.run jigsaw: does solving puzzles first help, and when?"""


class Cifar100(Cifar100Spec, Settings):
    """The settings of study.run cifar100: what makes a network generalise?"""


@dataclass(frozen=True, kw_only=True)
class Winner:
    """An arm's best completed trial. hparams: all its hyperparameters. command: what trains and tests it again.

    objective: its validation metric, 0-1, or loss. scores: the test score of each retest seed, 0-1; may be empty.
    """

    arm: str
    trial_id: str
    hparams: Mapping[str, Any]
    objective: float
    scores: pd.Series
    command: str
    run_dir: Path

    def load_model(self, device: str | torch.device = "cpu") -> Predictor:
        """The model that the retest on the first seed trained, with its preprocessing, in evaluation mode.

        It maps uint8[B, H, W, C] images to float32[B, num_classes] logits. The data set must be where it was. Raises
        StudyError or DataError; see load_retested.
        """
        return load_retested(self.run_dir, self.arm, device=torch.device(device))


class Run:
    """A study's run directory, whoever made it, as it was when it was first looked into.

    Raises StudyError if it is not one, or if a file in it is damaged.
    """

    def __init__(self, run_dir: str | PathLike[str]) -> None:
        self.run_dir = user_path(str(run_dir))
        settings_of(self.run_dir)

    def __repr__(self) -> str:
        return f"Run({str(self.run_dir)!r}), {self.state}"

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdicts, and a link to the page."""
        sentences = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self.verdicts)
        page = html.escape(self.page.resolve().as_uri())
        return f"<b>{html.escape(self.run_dir.name)}</b> ({self.state}){sentences}<a href='{page}'>report.html</a>"

    @cached_property
    def _tables(self) -> Tables:
        try:
            return load_tables(self.run_dir)
        except (ValueError, OSError) as error:
            raise StudyError(str(error)) from None

    @property
    def state(self) -> str:
        """running, interrupted or complete."""
        return str(self._tables.summary["state"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """spec.json: every setting, with what presets and the machine chose."""
        return settings_of(self.run_dir)

    @property
    def page(self) -> Path:
        return self.run_dir / "report.html"

    @property
    def trials(self) -> pd.DataFrame:
        """A row a trial; the columns are those of trials.parquet, and likewise below."""
        return self._tables.trials

    @property
    def epochs(self) -> pd.DataFrame:
        return self._tables.epochs

    @property
    def rungs(self) -> pd.DataFrame:
        return self._tables.rungs

    @property
    def retests(self) -> pd.DataFrame:
        return self._tables.retests

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The page's answers, one for each group of arms."""
        return tuple(headlines(find_page(self._tables.task), self._tables))

    @property
    def winners(self) -> dict[str, Winner]:
        """By arm, in declared order; of every stage. Arms without a completed trial have none."""
        return {arm: self._winner(arm, winner) for arm, winner in (self._tables.summary.get("winners") or {}).items()}

    @property
    def winner(self) -> Winner:
        """The winner with the best mean test score, of the first group of arms if there are several.

        Raises StudyError before the first retest.
        """
        ranked = ranked_arms(self._tables)
        if not ranked:
            raise StudyError(f"{self.run_dir} has no winner that was retested yet")
        return self.winners[ranked[0]]

    def resume(
        self,
        *,
        allow_changed: bool = False,
        trials_per_arm: int | None = None,
        retest_seeds: int | None = None,
        arms: Sequence[str] | None = None,
        loudness: Loudness = "usual",
        **others: Any,
    ) -> Run:
        """Go on with an interrupted study, or extend one, as study.resume does. Raises StudyError or DataError.

        allow_changed: also with other source of this program than it was last worked on with. trials_per_arm,
        retest_seeds: the new totals; arms: further ones. others: any other setting, which must be what it is.
        """
        study, spec = read_spec(self.run_dir)
        given = {"trials_per_arm": trials_per_arm, "retest_seeds": retest_seeds, "arms": arms, **others}
        console = StudyConsole(loudness=loudness)
        with signals_to(raise_interrupt):
            resume(study, PAGES[study.name], spec, console, allow_changed=allow_changed, given=given)
        return Run(self.run_dir)

    def fork(self, task: str | None = None, **settings: Any) -> Run:
        """Run another study, by this run's settings replaced by those given, with its trials, as study.fork does.

        task: another one than the run's. Raises StudyError or DataError before a run directory is made.
        """
        study = task_to_fork(self.run_dir, task)
        with signals_to(raise_interrupt):
            _, run_dir = begin_fork(self.run_dir, study, PAGES[study.name], settings, StudyConsole())
        return Run(run_dir)

    def report(self) -> Path:
        """Rebuild the page from the tables, as study.report does. Returns its path. Raises StudyError."""
        try:
            return write_page_of(self.run_dir)
        except (ValueError, OSError) as error:
            raise StudyError(str(error)) from None

    def _winner(self, arm: str, winner: Mapping[str, Any]) -> Winner:
        retests = self._tables.main_retests
        of_arm = retests[(retests["arm"] == arm) & (retests["trial_id"] == winner["trial_id"])].set_index("seed")
        return Winner(
            arm=arm,
            trial_id=winner["trial_id"],
            hparams=dict(winner["config"]),
            objective=winner["objective"],
            scores=of_arm[self._tables.score] if self._tables.score in of_arm else pd.Series(dtype="float64"),
            command=winner["command"],
            run_dir=self.run_dir,
        )
