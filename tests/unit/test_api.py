"""The Python API: settings that check themselves as the command line does, and a run directory as an object."""

import inspect
import shlex
import signal
import sys
import threading
from pathlib import Path

import pytest
from fake_run import edit_summary, write_run
from study_process import run_here

import study
from study import Baseline, Cifar100, Imbalance, Jigsaw, Run, StudyError, api
from study.analysis.tables import load_tables
from study.cli import parse_study
from study.core.commands import command_line
from study.core.invocation import invocation
from study.core.spec import options_of
from study.page.answers import headlines
from study.page.tasks.registry import PAGES
from study.tasks.registry import STUDIES

SETTINGS = {"baseline": Baseline, "imbalance": Imbalance, "jigsaw": Jigsaw, "cifar100": Cifar100}


@pytest.mark.parametrize("task", STUDIES)
def test_every_task_s_settings_are_the_options_keyword_only_and_typed(task):
    parameters = inspect.signature(SETTINGS[task]).parameters
    options = options_of(STUDIES[task].spec)
    assert set(options) <= set(parameters)
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert all(parameters[name].annotation is not inspect.Parameter.empty for name in options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epochs": 0}, "--max-epochs must be greater than or equal to 1, got 0"),
        ({"epochs": 3}, "unknown setting 'epochs'; did you mean 'max_epochs'?"),
        ({"numerics": None}, "unknown setting 'numerics'; did you mean 'name'?"),
        ({"space": {"momentum": "1..0.5"}}, "--space momentum=1..0.5 is upside down: the lower end comes first"),
        ({"name": "a/b"}, "--name must be a plain folder name without slashes or a leading dot or dash, got 'a/b'"),
    ],
)
def test_a_setting_that_does_not_hold_is_refused_in_the_command_line_s_sentence(settings, message):
    with pytest.raises(StudyError) as caught:
        Imbalance(**settings)
    assert str(caught.value) == message


@pytest.fixture
def begun(monkeypatch, tmp_path):
    """What a study would have been begun with, [(task, page, values), ...]; the run directory is made up."""
    calls = []

    def begin(study, page, values, console):
        calls.append((study.name, page, values))
        return 0, ledgered(write_run(tmp_path / "run", task=study.name))

    monkeypatch.setattr(api, "begin", begin)
    return calls


def test_what_runs_is_what_the_recorded_command_runs(begun, tmp_path):
    """What was given and nothing else, as study.run gives its options."""
    settings = Imbalance(
        arms=("none", "focal"), retest_until=0.5, output_dir=tmp_path, space={"momentum": 0.9, "schedule": ["cosine"]}
    )
    assert settings.run().run_dir == tmp_path / "run"
    ((task, page, values),) = begun
    assert (task, page) == ("imbalance", PAGES["imbalance"])
    assert set(values) == {"arms", "retest_until", "output_dir", "space"}
    _, parsed = parse_study(shlex.split(command_line(task, values))[3:])
    assert Imbalance(**parsed) == settings


def test_a_study_may_be_run_from_any_thread_and_leaves_the_handlers_of_signals_as_they_were(begun):
    """In a thread, no signal can be handled; a notebook has handlers of its own."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    found = []
    thread = threading.Thread(target=lambda: found.append(Baseline().run()))
    thread.start()
    thread.join()
    assert found[0].state == Baseline().run().state == "complete"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.fixture
def run(tmp_path):
    return Run(ledgered(write_run(tmp_path / "it", task="imbalance")))


def ledgered(run_dir: Path) -> Path:
    (run_dir / "ledger.db").touch()
    return run_dir


def test_a_run_gives_its_tables_its_verdicts_and_its_winners(run):
    assert run.state == "complete"
    assert set(run.trials["arm"]) == set(run.epochs["arm"]) == set(run.winners)
    assert {"cutoff", "decision"} <= set(run.rungs.columns)
    means = run.retests.groupby("arm")["test_balanced_accuracy"].mean()
    assert run.winner.arm == means.idxmax()
    assert run.winner.scores.mean() == means.max()
    assert run.winner.hparams["learning_rate"] > 0
    assert run.verdicts == tuple(headlines(PAGES["imbalance"], load_tables(run.run_dir)))


def test_a_notebook_shows_the_verdict_and_a_link_with_names_escaped(tmp_path):
    run_dir = ledgered(write_run(tmp_path / "<b>", task="imbalance"))
    shown = Run(run_dir)._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "<b><b>" not in shown
    assert "%3Cb%3E/report.html" in shown


def test_a_run_without_a_retest_has_no_winner_yet_and_what_is_no_run_is_refused(tmp_path, run):
    edit_summary(run.run_dir, winners={})
    assert Run(run.run_dir).winners == {}
    with pytest.raises(StudyError, match="is not a run directory"):
        Run(tmp_path)


def test_a_name_that_the_package_lacks_is_said():
    with pytest.raises(AttributeError, match="module 'study' has no attribute 'Studdy'"):
        _ = study.Studdy


# --- the console script


def test_the_script_runs_every_verb_and_names_itself_in_what_it_says(monkeypatch):
    status, stdout, _ = run_here("study.__main__")
    assert (status, all(f"  {verb} " in stdout for verb in ("run", "resume", "lr-range", "cache"))) == (0, True)
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/ray-study"])
    assert invocation("study.lr_range") == "ray-study lr-range"
    assert command_line("imbalance", {"seed": 3}) == "ray-study run imbalance --seed 3"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("rnu",), "error: verb must be one of run, resume, fork, report, compare, reproduce, lr-range, inspect, "
         "replay, audit, export, cache, got 'rnu'; did you mean 'run'?\n"),
        (("run", "imbalance", "--max-epochs", "0"), "error: --max-epochs must be greater than or equal to 1, got 0\n"),
        (("lr_range", "imbalanse"), "error: task must be one of"),
    ],
)  # fmt: skip
def test_what_a_verb_refuses_the_script_refuses(words, message):
    status, _, stderr = run_here("study.__main__", *words)
    assert status == 2
    assert stderr.startswith(message)
