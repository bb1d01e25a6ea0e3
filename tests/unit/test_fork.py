"""A study that begins with another one's trials: which fit, what becomes of them, and that a resume knows them too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_run import edit_summary, write_run
from learner_cases import SPACE, start_hparams
from optuna.trial import TrialState
from study_cases import METRIC, asked, epoch_events, make_scheduler, make_stage
from study_process import assert_one_sentence, run_here
from test_searcher import conduct, make_searcher

from search_spaces.baseline import search_space as baseline_space
from search_spaces.declarations import StartTrial
from study.analysis.tables import load_tables
from study.core.errors import StudyError
from study.core.fork import Fork, Inherited
from study.core.ledger import FORKED, SESSION, Event, Ledger, finished
from study.core.run_dir import SPEC, new_run
from study.core.search import Search, searches_of
from study.core.stage import Stage
from study.engine import study_session
from study.engine.console import StudyConsole
from study.engine.fork import forked
from study.engine.study_session import StudySession, begin_fork, resume
from study.page.history import history_remarks
from study.page.tasks.registry import PAGES, find_page
from study.records.summary import write_summary
from study.records.writer import write_records
from study.tasks.fork import fork_values, task_to_fork
from study.tasks.imbalance import ImbalanceSpec
from study.tasks.registry import STUDIES
from study.tasks.resolve import read_spec
from study.tasks.study import load_data

DATA: Any = SimpleNamespace(fingerprint="these data")
RATES = (0.05, 0.02, 0.1, 0.2, 0.3)
SCORES = (0.5, 0.625, 0.75, 0.25, 0.375)
ENDS = ("completed", "completed", "completed", "stopped", "failed")


def hparams(arm: str, **values: Any) -> dict[str, Any]:
    return SPACE.sample(SPACE.arms[arm], StartTrial({**start_hparams(arm), **values}))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A study of none, 2 epochs: RATES, of which the first is the start, with SCORES and ENDS."""
    spec = ImbalanceSpec(task="imbalance", dataset="digits", output_dir=tmp_path, arms=("none",), trials_per_arm=5)
    with new_run(spec, ("old",)) as (spec, ledger):
        ledger.append(Event(kind=SESSION, payload={"command": "first"}))
        for number, (rate, score, end) in enumerate(zip(RATES, SCORES, ENDS, strict=True)):
            trial_id = f"none-{number:04d}"
            ledger.append(asked(trial_id, hparams=hparams("none", learning_rate=rate)))
            ledger.append(*epoch_events(trial_id, 1, score / 2))
            if end == "completed":
                ledger.append(*epoch_events(trial_id, 2, score))
            ledger.append(finished(trial_id, end))  # type: ignore[arg-type]
    summary = json.loads((write_run(tmp_path / "fake", arms=("none",)) / "summary.json").read_text())
    summary["stages"][0] |= {"objective": METRIC, "epochs_of": {"none": 2}}
    summary["dataset"]["fingerprint"] = DATA.fingerprint
    (spec.run_dir / "summary.json").write_text(json.dumps(summary))
    return spec.run_dir


def stage_of(*arms: str, entries: dict[str, str] | None = None, **values: Any) -> Stage:
    space = SPACE.overridden(entries, arms) if entries else SPACE
    return make_stage(arms=arms, space=space, max_epochs=2, **values)


def ids(trials: Sequence[Any]) -> list[str]:
    return [trial.trial_id for trial in trials]


def inherited(old: Path, stage: Stage, arm: str = "none", *, task: str = "imbalance", data: Any = DATA) -> Inherited:
    return forked(old, task, stage, data).arms[arm]


# --- which trials fit


def test_what_would_have_come_out_the_same_is_an_observation(old: Path) -> None:
    found = inherited(old, stage_of("none"))
    assert ids(found.observed) == ["none-0000", "none-0001", "none-0002", "none-0003"]
    assert [trial.values for trial in found.observed] == [(0.25, 0.5), (0.3125, 0.625), (0.375, 0.75), (0.125,)]
    assert (found.tried_first, found.why_not, found.left_out) == ((), None, {"failed or not finished": 1})


def test_a_trial_with_another_hyperparameter_is_none_even_where_no_knob_tells(old: Path) -> None:
    with Ledger(old) as ledger:
        ledger.append(asked("none-0005", hparams={**hparams("none", learning_rate=0.15), "model": "resnet18"}))
        ledger.append(*epoch_events("none-0005", 1, 0.5), *epoch_events("none-0005", 2, 0.875))
        ledger.append(finished("none-0005", "completed"))
    found = inherited(old, stage_of("none"))
    assert "none-0005" not in ids(found.observed)
    assert ids(found.tried_first) == ["none-0005"]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"data": SimpleNamespace(fingerprint="others")}, "other data"),
        ({"task": "baseline"}, "another task"),
        ({"max_epochs": 3}, "another number of epochs (2, here 3)"),
        ({"searcher": "random"}, "the searcher random, which learns from its own alone"),
        ({"objective": "score,seconds"}, "a search for more than the score"),
        ({"warm_arms": frozenset({"none"})}, "the weights of another stage that they began with"),
    ],
)
def test_else_the_best_that_ran_to_their_end_are_tried_first(old: Path, values: dict[str, Any], why: str) -> None:
    """As many as would be drawn at random beside the start, of which there are three with 6 trials an arm."""
    own = {name: values.pop(name) for name in ("data", "task") if name in values}
    stage = make_stage(arms=("none",), **{"max_epochs": 2, **values})
    found = inherited(old, stage, **own)
    assert found.why_not == why
    assert found.observed == ()
    assert ids(found.tried_first) == ["none-0002", "none-0001"]
    assert [trial.params["learning_rate"] for trial in found.tried_first] == [0.1, 0.02]
    assert found.left_out == {
        "stopped early": 1, "failed or not finished": 1, "the configuration of another one": 1,
    }  # fmt: skip


def test_more_than_there_is_room_for_is_left_out(old: Path) -> None:
    found = inherited(old, stage_of("none", trials_per_arm=2), data=SimpleNamespace(fingerprint="others"))
    assert ids(found.tried_first) == ["none-0002"]
    assert found.left_out["not among the best"] == 1


def test_a_trial_outside_a_range_is_left_out_by_the_knob_s_name(old: Path) -> None:
    found = inherited(old, stage_of("none", entries={"learning_rate": "0.04..0.15"}))
    assert ids(found.observed) == ["none-0000", "none-0002"]
    assert found.left_out == {"learning_rate outside its range": 2, "failed or not finished": 1}
    fixed = inherited(old, stage_of("none", entries={"learning_rate": "0.05"}))
    assert ids(fixed.observed) == ["none-0000"]
    assert fixed.left_out == {"learning_rate outside its range": 3, "failed or not finished": 1}


def test_a_wider_range_leaves_out_nothing(old: Path) -> None:
    assert len(inherited(old, stage_of("none", entries={"learning_rate": "0.001..1"})).observed) == 4


def test_an_arm_that_the_other_study_lacks_begins_with_what_its_arms_have_in_common_with_it(old: Path) -> None:
    found = inherited(old, stage_of("none", "focal"), "focal")
    assert found.why_not == "an arm that the other study lacks"
    assert ids(found.tried_first) == ["none-0002", "none-0001"]
    best = found.tried_first[0].params
    assert (best["learning_rate"], best["focal_gamma"]) == (0.1, start_hparams("focal")["focal_gamma"])


def test_another_task_tries_the_knobs_that_it_shares(old: Path) -> None:
    space = baseline_space(num_train=601, image_size=16, padding="same", flip=False)
    found = inherited(old, make_stage(arms=("lenet",), space=space, max_epochs=2), "lenet", task="baseline")
    assert found.why_not == "another task"
    assert {trial.params["learning_rate"] for trial in found.tried_first} <= set(RATES)
    assert found.tried_first


# --- what becomes of them


def begin_with(folder: Path, fork: Fork | None) -> Ledger:
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder)
    if fork is not None:
        ledger.append(Event(kind=FORKED, payload=fork.model_dump()))
    return ledger


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_observations_are_told_to_the_sampler_and_are_no_trials_of_the_study(
    old: Path, tmp_path: Path, sampler: str
) -> None:
    stage = stage_of("none", searcher=sampler, searches=searches_of(1, "random"), control_trials=6)
    with begin_with(tmp_path / "new", forked(old, "imbalance", stage, DATA)) as ledger:
        searcher = make_searcher(stage, ledger)
        assert searcher.optuna_study("none", Search(control="random")).trials == []
        told = searcher.optuna_study("none").trials
        assert [(trial.state, trial.value) for trial in told] == [
            (TrialState.COMPLETE, 0.5), (TrialState.COMPLETE, 0.625), (TrialState.COMPLETE, 0.75),
            (TrialState.PRUNED, 0.125),
        ]  # fmt: skip
        assert [trial.params["learning_rate"] for trial in told] == [0.05, 0.02, 0.1, 0.2]
        assert searcher.suggest("ray-0")["hparams"] == start_hparams("none")
        assert list(ledger.book.trials) == ["none-0000"]


def test_what_was_observed_decides_what_is_proposed_from_the_second_trial_on(old: Path, tmp_path: Path) -> None:
    """Without it, the first three are the start and draws at random."""
    stage = stage_of("none")
    fork = forked(old, "imbalance", stage, DATA)
    worse = {**fork.model_dump(), "arms": {"none": fork.arms["none"].model_dump()}}
    for trial, score in zip(worse["arms"]["none"]["observed"], (0.75, 0.25, 0.125, 0.875), strict=True):
        trial["values"] = (*trial["values"][:-1], score)
    proposed = []
    for name, known in {"none": None, "some": fork, "others": Fork.model_validate(worse)}.items():
        with begin_with(tmp_path / name, known) as ledger:
            searcher = make_searcher(stage, ledger)
            proposed.append([searcher.suggest(f"ray-{k}")["hparams"]["learning_rate"] for k in range(2)])
    assert len({first for first, _ in proposed}) == 1
    assert len({second for _, second in proposed}) == 3


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes"])
def test_configurations_are_tried_after_the_start_and_before_what_is_proposed(
    old: Path, tmp_path: Path, sampler: str
) -> None:
    stage = stage_of("none", searcher=sampler, searches=searches_of(1, "random"), control_trials=6)
    fork = forked(old, "imbalance", stage, SimpleNamespace(fingerprint="others"))
    with begin_with(tmp_path / "new", fork) as ledger:
        conduct(make_searcher(stage, ledger), make_scheduler(stage, ledger), slots=1)
        rates = {
            search: [trial.hparams["learning_rate"] for trial in ledger.book.of_arm("none", search)]
            for search in stage.searches
        }
    assert rates[Search()][:3] == [0.05, 0.1, 0.02]
    assert not {*rates[Search()][3:], *rates[Search(control="random")]} & set(RATES)  # a control knows nothing


@pytest.mark.parametrize("fingerprint", [DATA.fingerprint, "others"])
def test_a_resume_proposes_what_the_session_before_would_have(old: Path, tmp_path: Path, fingerprint: str) -> None:
    stage = stage_of("none")
    fork = forked(old, "imbalance", stage, SimpleNamespace(fingerprint=fingerprint))
    stories = []
    for name, cuts in {"whole": (), "cut": (1, 2)}.items():
        begin_with(tmp_path / name, fork).__exit__()
        for most in (*cuts, 1000):
            with Ledger(tmp_path / name) as ledger:
                conduct(make_searcher(stage, ledger), make_scheduler(stage, ledger), slots=1, max_suggestions=most)
                trials = list(ledger.book.trials.values())
        stories.append([(trial.trial_id, trial.params, trial.status, trial.rungs) for trial in trials])
    assert stories[0] == stories[1]


# --- settings


def test_the_settings_are_the_run_s_but_for_what_is_said(old: Path) -> None:
    study = task_to_fork(old, None)
    values = fork_values(old, study, {"max_epochs": 3, "name": "new"})
    assert (values["arms"], values["trials_per_arm"], values["max_epochs"]) == (["none"], 5, 3)
    assert values["output_dir"] == str(old.parent)
    assert not {"numerics", "validation_cut", "plugin_sources", "extensions", "task"} & values.keys()
    assert "name" not in fork_values(old, study, {})


def test_another_task_takes_over_what_all_tasks_have(old: Path) -> None:
    values = fork_values(old, task_to_fork(old, "baseline"), {})
    assert values["trials_per_arm"] == 5
    assert not {"arms", "start", "space", "imbalance_ratio", "model"} & values.keys()


def test_searches_that_are_to_tell_luck_begin_with_nothing(old: Path) -> None:
    with pytest.raises(StudyError, match=r"--searches is 3, .* study\.run imbalance --spec .*spec\.json"):
        fork_values(old, STUDIES["imbalance"], {"searches": 3})


def test_what_cannot_be_forked_is_refused_in_one_sentence(old: Path, tmp_path: Path) -> None:
    for words, message in (
        ((str(tmp_path),), "is not a run directory"),
        ((str(old), "--task", "imbalanse"), "did you mean 'imbalance'?"),
        ((str(old), "--trials", "3"), "unknown option '--trials'"),
        ((str(old), "--max-epochs", "0"), "--max-epochs must be greater than or equal to 1, got 0"),
    ):
        status, stdout, stderr = run_here("study.fork", *words)
        assert (status, stdout) == (2, "")
        assert_one_sentence(stderr)
        assert message in stderr
    (old / SPEC).write_text('{"task": "reproduce"}')
    shutil.rmtree(old / "backup")
    (old / "checksums.json").unlink()
    with pytest.raises(StudyError, match="is a reproduction, which searched nothing"):
        task_to_fork(old, None)


# --- the whole way, but for Ray


def conducted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands of sessions that only begin."""
    commands: list[str] = []

    def conduct(self: Any, *, command: str, on_start: Any = lambda: None, **_: Any) -> int:
        on_start()
        sizes = {"num_classes": 2, "num_train": 2, "num_val": 2, "num_test": 2, "class_names": ["a", "b"]}
        sizes |= {"class_counts": [1, 1], "image_size": 16, "channels": 1, "origin": "here"}
        facts = {
            "dataset": {"name": "digits", "fingerprint": "", **sizes},
            "hardware": {},
            "versions": {},
            "commit": None,
        }
        self._ledger.append(Event(kind=SESSION, payload={"command": command, **facts}))
        commands.append(command)
        return 0

    monkeypatch.setattr(StudySession, "conduct", conduct)
    monkeypatch.setattr(study_session, "require_same_source", lambda *_, **__: None)
    monkeypatch.setattr(study_session, "require_same_data", lambda *_: None)
    return commands


def test_a_fork_is_a_study_of_its_own_whose_ledger_has_what_it_began_with_and_that_can_be_extended(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = conducted(monkeypatch)
    given = {"name": "new", "image_size": 16, "arms": ("none", "focal"), "max_epochs": 2, "retest_seeds": 1}
    study, page = STUDIES["imbalance"], PAGES["imbalance"]
    _, run_dir = begin_fork(old, study, page, given, StudyConsole())
    assert run_dir == old.parent / "new"
    assert commands[0].startswith(f"python -m study.fork {old} --name new --image-size 16 --arms none,focal")
    with Ledger(run_dir) as ledger:
        assert ledger.book.fork is not None
        assert {arm: found.why_not for arm, found in ledger.book.fork.arms.items()} == {
            "none": "other data", "focal": "other data",
        }  # fmt: skip
        assert [event.kind for event in ledger.events()] == [FORKED, SESSION]
    more = {"trials_per_arm": 7, "arms": ["copy"]}
    assert resume(study, page, read_spec(run_dir)[1], StudyConsole(), given=more) == 0
    assert commands[1] == f"python -m study.resume {run_dir} --trials-per-arm 7 --arms copy"
    _, spec = read_spec(run_dir)
    assert (spec.trials_per_arm, spec.arms, len(spec.extensions)) == (7, ("none", "focal", "copy"), 1)
    with Ledger(run_dir) as ledger:
        assert [event.kind for event in ledger.events()] == [FORKED, SESSION, "extended", SESSION]
        stages = study.stages(spec, load_data(study, spec)[1])
        write_records(run_dir, ledger.book, stages=stages, active=False)
        write_summary(run_dir, spec=spec, study=study, stages=stages, ledger=ledger, state="complete")
        found = load_tables(run_dir)
        assert found.extensions == list(spec.extensions)
        inherited = ledger.book.fork.arms
        assert inherited["none"].tried_first
        assert found.stage("tune")["num_given"] == {
            "none": 1 + len(inherited["none"].tried_first),
            "focal": 1 + len(inherited["focal"].tried_first),
            "copy": 1,
        }
        assert found.fork == {
            "run": str(old), "num_retests": 0, "alike": [list(alike) for alike in ledger.book.fork.alike],
        }  # fmt: skip


# --- the page


def test_the_page_says_from_where_how_many_fitted_and_who_has_more_behind_it(old: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "it")
    fork = forked(old, "imbalance", stage_of("none", "focal", "copy"), DATA)
    edit_summary(run, fork={"run": fork.run, "num_retests": 3, "alike": fork.alike})
    tables = load_tables(run)
    began, tested = (remark for remark in history_remarks(find_page(tables.task), tables) if str(old) in remark)
    assert began == (
        f"The searches of this study began with trials of {old}, which are no part of its 6 trials an arm: none with 4 "
        "observations and 1 trial left out (failed or not finished 1); focal and copy with 0 observations, 2 "
        "configurations tried first and 3 trials left out (stopped early 1, failed or not finished 1, the "
        "configuration of another one 1); no observation, because of an arm that the other study lacks. An arm that "
        "began with more has more behind it."
    )
    assert tested.endswith("on the same test images, so that what was changed here may have been chosen by them.")
