"""A study that is extended: what may grow, what its further trials are, and that no kill leaves it half extended."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from fake_run import edit_summary, write_run
from faults import Faults
from study_cases import asked, make_scheduler, make_stage
from study_process import assert_one_sentence, run_here
from test_audit import completed, stopped
from test_retest import Retested, Worker
from test_searcher import conduct, make_searcher

from study import Run, api
from study.analysis.results import arm_scores
from study.analysis.tables import load_tables
from study.cli import parse_study
from study.core import checksums, run_dir
from study.core.entrants import former_retests, outcomes, retested_anew
from study.core.errors import StudyError
from study.core.extension import Extension
from study.core.ledger import EPOCH, EXTENDED, SESSION, Event, Ledger, finished, reopened
from study.core.ledger_files import BACKUP
from study.core.run_dir import new_run
from study.core.search import searches_of
from study.core.spec import StudySpec
from study.engine.audit import audit_order, choose
from study.engine.requirements import require_same_arms
from study.page.history import history_remarks
from study.page.methods import facts
from study.page.tasks.registry import find_page
from study.records.tables import RETESTS, read_table, write_table
from study.tasks.extend import agreed, extended
from study.tasks.registry import STUDIES
from study.tasks.resolve import read_spec, resolved

IMBALANCE = STUDIES["imbalance"]
COMMAND = "python -m study.resume it --trials-per-arm 6"


def spec_of(folder: Path | str = "nowhere", **values: Any) -> StudySpec:
    """A study of none and focal with 4 trials, 9 epochs and 3 retest seeds."""
    settings = {"arms": ("none", "focal"), "trials_per_arm": 4, "max_epochs": 9, "retest_seeds": 3, "dataset": "digits"}
    given = {**settings, "output_dir": str(folder), "name": "it", **values}
    return resolved(IMBALANCE, given, dataset="digits", num_gpus=0)


def grown(spec: StudySpec, *, num_retests: int = 0, **given: Any) -> StudySpec:
    return extended(IMBALANCE, spec, given, command=COMMAND, num_retests=num_retests)


# --- what may grow


def test_numbers_become_the_new_totals_and_arms_are_added() -> None:
    spec = grown(spec_of(), trials_per_arm=6, retest_seeds=5, arms="focal,copy,none", num_retests=6)
    assert (spec.trials_per_arm, spec.retest_seeds, spec.arms) == (6, 5, ("none", "focal", "copy"))
    (extension,) = spec.extensions
    assert extension.before == {"trials_per_arm": 4, "retest_seeds": 3, "arms": ["none", "focal"]}
    assert extension.after == {"trials_per_arm": 6, "retest_seeds": 5, "arms": ["none", "focal", "copy"]}
    assert (extension.command, extension.num_retests) == (COMMAND, 6)
    assert extension.added == ["2 trials an arm", "2 retest seeds", "the arm copy"]
    twice = grown(spec, trials_per_arm=7)
    assert [one.added for one in twice.extensions] == [extension.added, ["1 trial an arm"]]
    assert (twice.first_trials_per_arm, spec_of().first_trials_per_arm) == (4, 4)


def test_what_is_so_already_extends_nothing() -> None:
    spec = spec_of()
    assert grown(spec, trials_per_arm=4, arms=("focal",), max_epochs=9, retest_seeds=None, seed=0) is spec


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        ({}, {"trials_per_arm": 3}, "--trials-per-arm is 4 in nowhere/it and can only grow, got 3"),
        ({}, {"retest_seeds": 2}, "--retest-seeds is 3 in nowhere/it and can only grow, got 2"),
        ({}, {"max_epochs": 27}, "--max-epochs is 9 in nowhere/it and cannot become 27: the learning rate of a trial "),
        ({}, {"searches": 3}, "--searches is 1 in nowhere/it and cannot become 3: "),
        ({}, {"seed": 1}, "--seed is 0 in nowhere/it and cannot become 1: "),
        ({}, {"precision": "bfloat16"}, "--precision is auto in nowhere/it and cannot become bfloat16: "),
        ({}, {"dataset": "cifar10"}, "--dataset is digits in nowhere/it and cannot become cifar10: "),
        ({}, {"imbalance_ratio": 100}, "--imbalance-ratio is 10.0 in nowhere/it and cannot become 100.0: "),
        ({}, {"space": "momentum=0.9"}, "--space is not given in nowhere/it and cannot become momentum=0.9: "),
        ({}, {"retest_until": "decide"}, "--retest-until is not given in nowhere/it and cannot become 0.0: a rule "),
        ({"retest_until": 1}, {"retest_seeds": 5}, "--retest-seeds is 3 in nowhere/it and cannot become 5: a rule "),
        ({"searches": 2}, {"retest_seeds": 5}, "--retest-seeds is 3 in nowhere/it and cannot become 5: the seeds of "),
        ({"searcher": "grid"}, {"trials_per_arm": 6}, "--trials-per-arm is 4 in nowhere/it and cannot become 6: a gr"),
        ({}, {"arms": "none,focall"}, "--arms must be all or some of .*, got 'focall'; did you mean 'focal'"),
        ({}, {"trials": 6}, "unknown setting 'trials'"),
        ({}, {"trials_per_arm": "six"}, "--trials-per-arm must be a valid integer"),
    ],
)
def test_what_may_not_change_is_refused_with_both_values(
    settings: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyError, match=f"^{message}"):
        grown(spec_of(**settings), **given)


def test_a_refusal_gives_the_command_of_another_study() -> None:
    with pytest.raises(StudyError, match=r"study\.fork nowhere/it --max-epochs 27$"):
        grown(spec_of(), max_epochs=27)


# --- its trials


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes"])
def test_a_study_that_was_extended_has_the_trials_of_one_that_began_larger(tmp_path: Path, sampler: str) -> None:
    """As long as both begin to model at the same trial."""

    def trials(folder: str, *totals: int) -> list[tuple[Any, ...]]:
        (tmp_path / folder).mkdir()
        for position, total in enumerate(totals):
            with Ledger(tmp_path / folder) as ledger:
                stage = make_stage(
                    arms=("none", "focal"), trials_per_arm=total, first_trials_per_arm=totals[0], max_epochs=3,
                    searcher=sampler, searches=searches_of(1, "random"), control_trials=total,
                )  # fmt: skip
                if position:
                    ledger.append(Event(kind=EXTENDED, payload=extension_of(total).model_dump()))
                conduct(make_searcher(stage, ledger), make_scheduler(stage, ledger), slots=1)
                found = list(ledger.book.trials.values())
        assert [trial.extension for trial in found] == sorted(trial.extension for trial in found)
        assert {trial.extension for trial in found} == set(range(len(totals)))
        return sorted((trial.trial_id, trial.params, trial.status, trial.rungs) for trial in found)

    assert trials("extended", 4, 5, 8) == trials("whole", 8)


def test_further_trials_are_modelled_from_where_the_study_first_began_to(tmp_path: Path, monkeypatch: Any) -> None:
    seen = []
    tpe = optuna.samplers.TPESampler

    def spy(**options: Any) -> optuna.samplers.TPESampler:
        seen.extend(options["n_startup_trials"] for _ in range(bool(options)))
        return tpe(**options)

    monkeypatch.setattr(optuna.samplers, "TPESampler", spy)
    spec = grown(spec_of(tmp_path, trials_per_arm=12), trials_per_arm=48)
    with Ledger(tmp_path) as ledger:
        stage = make_stage(
            arms=("none",), trials_per_arm=spec.trials_per_arm, first_trials_per_arm=spec.first_trials_per_arm
        )
        make_searcher(stage, ledger).suggest("ray-0")
    assert seen == [4]


def extension_of(total: int = 6, *, num_retests: int = 0, **more: Any) -> Extension:
    return Extension(
        time="2026-11-30T12:00:00+00:00",
        command=COMMAND,
        num_retests=num_retests,
        before={"trials_per_arm": 4, **{name: before for name, (before, _) in more.items()}},
        after={"trials_per_arm": total, **{name: after for name, (_, after) in more.items()}},
    )


# --- a kill, or damage, between settings and ledger


def begun(folder: Path) -> StudySpec:
    with new_run(spec_of(folder), ("it",)) as (spec, ledger):
        ledger.append(Event(kind=SESSION, payload={"command": "first"}), asked("none-0000"))
        ledger.back_up()
    return spec


def states(run: Path) -> tuple[StudySpec, list[Extension]]:
    """What a resume makes of the run: its settings, and the extensions that its ledger has."""
    with reopened(run) as ledger:
        spec = agreed(read_spec(run)[1], ledger)
        assert read_spec(run)[1] == spec
        return spec, list(ledger.book.extensions)


class Killed(BaseException):
    """No code of the project catches it."""


@pytest.mark.faults
def test_a_kill_between_any_two_writes_leaves_the_study_as_it_was_or_extended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: Faults
) -> None:
    """The writes are the ledger's event, checksums.json, spec.json and the copy of it."""

    def dies_at(fatal: int, write: Callable[..., None]) -> Callable[..., None]:
        def counted(*arguments: Any) -> None:
            nonlocal done
            if done == fatal:
                raise Killed
            write(*arguments)
            done += 1

        return counted

    numbers = []
    for fatal in faults.each(range(5), few=5):
        run = begun(tmp_path / str(fatal)).run_dir
        before, done = read_spec(run)[1], 0
        after = grown(before, trials_per_arm=6)
        with monkeypatch.context() as patch, Ledger(run) as ledger:
            patch.setattr(ledger, "append", dies_at(fatal, ledger.append))
            patch.setattr(checksums, "write_durably", dies_at(fatal, checksums.write_durably))
            patch.setattr(run_dir, "write_durably", dies_at(fatal, run_dir.write_durably))
            if fatal < 4:
                with pytest.raises(Killed):
                    agreed(after, ledger)
            else:
                assert agreed(after, ledger) == after
        spec, recorded = states(run)
        assert (spec, recorded) in [(before, []), (after, list(after.extensions))], fatal
        assert (run / BACKUP / "spec.json").read_bytes() == (run / "spec.json").read_bytes()
        assert states(run) == (spec, recorded)
        numbers.append(spec.trials_per_arm)
    assert numbers == [4, 6, 6, 6, 6]


@pytest.mark.faults
@pytest.mark.parametrize("damaged", ["ledger", "settings", "copy", "settings of before the copy was written"])
def test_what_damage_took_from_one_of_them_the_other_one_has(tmp_path: Path, damaged: str) -> None:
    spec = begun(tmp_path)
    run, path, copy = spec.run_dir, spec.run_dir / "spec.json", spec.run_dir / BACKUP / "spec.json"
    old, backup = copy.read_bytes(), (run / BACKUP / "ledger.db").read_bytes()
    with Ledger(run) as ledger:
        after = agreed(grown(spec, trials_per_arm=6), ledger)
    if damaged == "ledger":  # its backup is of before
        (run / "ledger.db").write_bytes(b"")
        (run / BACKUP / "ledger.db").write_bytes(backup)
    elif damaged == "copy":
        copy.write_bytes(b"{}")
    else:
        path.write_bytes(b"{}")
        if damaged != "settings":
            copy.write_bytes(old)
    assert states(run) == (after, list(after.extensions))


def test_a_run_that_was_never_extended_is_not_written_again(tmp_path: Path) -> None:
    spec = begun(tmp_path)
    written = (spec.run_dir / "spec.json").stat().st_mtime_ns
    assert states(spec.run_dir) == (spec, [])
    assert (spec.run_dir / "spec.json").stat().st_mtime_ns == written


# --- winners, retests and audits


def test_a_new_winner_is_retested_on_the_same_seeds_and_the_old_one_s_retests_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Retested("imbalance", tmp_path, arms=("none", "focal"), trials_per_arm=1, retest_seeds=2)
    stage, worker = study.stages[0], Worker(lambda arm, seed: 0.7)
    assert not study.run(stage, worker, monkeypatch)
    study.spec = extended(
        study.study, study.spec, {"trials_per_arm": 2, "retest_seeds": 3}, command=COMMAND, num_retests=4
    )
    study.ledger.append(Event(kind=EXTENDED, payload=study.spec.extensions[0].model_dump()))
    trained = {"epoch": 1, "images": 1, "train_seconds": 1.0, stage.task.metric: 0.9}
    study.ledger.append(asked("focal-0001"), Event(kind=EPOCH, trial_id="focal-0001", payload=trained))
    study.ledger.append(finished("focal-0001", "completed"))
    worker.done.clear()
    assert not study.run(stage, worker, monkeypatch)
    assert sorted(worker.done) == [("focal", 1000), ("focal", 1001), ("focal", 1002), ("none", 1002)]
    book = study.ledger.book
    counted = [(row["trial_id"], row["seed"]) for _, row in outcomes(book.retests, retested_anew(stage, book))]
    assert sorted(counted) == [(won, seed) for won in ("focal-0001", "none-0000") for seed in range(1000, 1003)]
    assert [(row["trial_id"], row["seed"]) for row in former_retests(stage, book)] == [
        ("focal-0000", 1000), ("focal-0000", 1001),
    ]  # fmt: skip


def test_the_audit_of_an_extended_study_stays_a_random_sample_of_all_that_was_stopped(tmp_path: Path) -> None:
    """Its order is that of their names; what comes before the last one that was audited has to be audited, too."""
    stage, audited = make_stage(arms=("none",)), []
    with Ledger(tmp_path) as ledger:
        ledger.append(*completed("none-0000", [0.5, 0.75], num_peers=0))
        for number in range(1, 40):
            ledger.append(*stopped(f"none-{number:04d}", [0.25], cutoff=0.5, num_peers=number))
            if number in (5, 39):
                choose(stage, ledger, seed=0, num_trials=2)
                audited.append(set(ledger.book.audit_chosen))
        order = [trial.trial_id for trial in audit_order(stage, ledger.book, 0)]
    first, all_of_them = audited
    assert len(first) == 2
    assert first < all_of_them == set(order[: len(all_of_them)])


# --- what it means


def with_summary(folder: Path, **changes: Any) -> Path:
    stage = make_stage()
    knobs = {arm: stage.space.axes(stage.space.arms[arm]) for arm in stage.arms}
    write_run(folder, arms=("none", "focal"))
    edit_summary(folder, **{"knobs": knobs, "objective": stage.task.metric, "score": stage.task.score, **changes})
    return folder


def test_the_arms_of_a_run_have_to_be_those_of_the_program_that_extends_it(tmp_path: Path) -> None:
    stages = (make_stage(arms=("none", "focal", "copy")),)  # copy is new
    require_same_arms(stages, with_summary(tmp_path))
    knobs = json.loads((tmp_path / "summary.json").read_text())["knobs"]
    knobs["focal"]["focal_gamma"]["high"] = 5.0
    with pytest.raises(StudyError, match=r"focal_gamma of focal was .*'high': 5.0.* and is .*'high': 3.0"):
        require_same_arms(stages, with_summary(tmp_path, knobs=knobs))
    with pytest.raises(StudyError, match="the metric was val_loss and is val_balanced_accuracy"):
        require_same_arms(stages, with_summary(tmp_path, objective="val_loss"))


# --- the page


def remarks_of(run: Path) -> list[str]:
    tables = load_tables(run)
    return history_remarks(find_page(tables.task), tables)


def test_the_page_says_what_was_added_when_and_that_the_results_were_known(tmp_path: Path) -> None:
    run = write_run(tmp_path / "it")
    assert remarks_of(run) == []
    later = extension_of(8, num_retests=18, retest_seeds=(3, 4), arms=(["none"], ["none", "copy", "focal"]))
    edit_summary(run, extensions=[extension_of(5).model_dump(), later.model_dump()])
    first, second, caution = remarks_of(run)
    assert first == "1 trial an arm was added on 2026-11-30, before any retest."
    assert second == (
        "4 trials an arm, 1 retest seed and the arms copy and focal were added on 2026-11-30, after the first retest."
    )
    assert caution.startswith("Whether to extend it was decided after its results could be looked at: ")
    assert [value for name, value in facts(load_tables(run)) if name == "Extended"] == [
        f"2026-11-30T12:00:00+00:00: {COMMAND}"
    ] * 2
    edit_summary(run, extensions=[extension_of(5, arms=(["none"], ["none", "copy"])).model_dump()])
    assert remarks_of(run) == ["1 trial an arm and the arm copy were added on 2026-11-30, before any retest."]


def test_the_page_counts_no_retest_of_an_earlier_winner_and_says_where_they_are(tmp_path: Path) -> None:
    run = write_run(tmp_path / "it")
    scores = arm_scores(load_tables(run))
    rows = read_table(run / "retests.parquet").to_pylist()
    former = {**rows[0], "arm": "focal", "trial_id": "focal-0000", "role": "former", "test_balanced_accuracy": 0.0}
    write_table(run / "retests.parquet", [*rows, former], RETESTS)
    edit_summary(run, extensions=[extension_of().model_dump()])
    assert arm_scores(load_tables(run)).equals(scores)
    assert remarks_of(run)[1:] == [
        "Another trial won focal before: the retests of earlier winners (1) are in retests.parquet, role former, and "
        "in no number of this page."
    ]


# --- the verb and the API


def test_the_verb_refuses_in_one_sentence_and_helps(tmp_path: Path) -> None:
    run = begun(tmp_path).run_dir
    for words, message in (
        (("--max-epochs", "27"), "--max-epochs is 9"),
        (("--imbalance-ratio", "5"), "--imbalance-ratio is 10.0"),
        (("--trials-per-arm", "2"), "--trials-per-arm is 4"),
        (("--trials", "9"), "unknown option '--trials'"),
    ):
        status, stdout, stderr = run_here("study.resume", str(run), *words)
        assert (status, stdout) == (2, "")
        assert_one_sentence(stderr)
        assert message in stderr
    status, stdout, _ = run_here("study.resume", "--help")
    assert status == 0
    assert "--trials-per-arm N" in stdout
    assert "--max-epochs" not in stdout
    assert states(run)[1] == []


def test_a_reproduction_is_not_extended(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"task": "reproduce"}')
    status, _, stderr = run_here("study.resume", str(tmp_path), "--trials-per-arm", "6")
    assert (status, "is a reproduction, whose settings stay as they are" in stderr) == (2, True)


def test_python_says_what_the_command_line_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun(tmp_path).run_dir
    with pytest.raises(StudyError, match=r"--max-epochs is 9 in .* and cannot become 27"):
        Run(run).resume(max_epochs=27)
    asked_for = []
    monkeypatch.setattr(api, "resume", lambda *_, given, **__: asked_for.append(given))
    Run(run).resume(trials_per_arm=6, arms=["copy"])
    assert asked_for == [{"trials_per_arm": 6, "retest_seeds": None, "arms": ["copy"]}]


def test_another_study_by_the_settings_of_an_extended_one_is_not_an_extended_one(tmp_path: Path) -> None:
    spec = begun(tmp_path)
    with Ledger(spec.run_dir) as ledger:
        agreed(grown(spec, trials_per_arm=6), ledger)
    _, values = parse_study(["imbalance", "--spec", str(spec.run_dir / "spec.json")])
    assert values["trials_per_arm"] == 6
    assert "extensions" not in values
