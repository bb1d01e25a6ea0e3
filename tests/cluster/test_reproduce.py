"""python -m study.reproduce: from the command line to the page, cut off twice on the way; and bad input."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from learner_cases import setup_of
from study_process import (
    SOONER,
    assert_one_sentence,
    ledger_events,
    of_kind,
    read_rows,
    read_summary,
    run_here,
    started,
)

from study.core.errors import StudyError
from study.core.spec import validated
from study.engine.console import StudyConsole
from study.probes.inspection import inspect_trial
from study.records.tables import RUN_EPOCHS, RUNS
from study.reproduce import main, parse
from study.reproduction.files import TAKEN_FROM
from study.reproduction.recipes import RECIPES
from study.reproduction.reuse import load_earlier, taken_over
from study.reproduction.runs import planned_runs, scaled_test
from study.reproduction.session import resume
from study.reproduction.spec import ReproductionSpec
from trainables.data.sources import load_dataset
from trainables.data.splits import retest_data, tuning_data, whole
from trainables.training.checkpoints import newest_epoch
from trainables.training.retest import train_and_test

pytestmark = pytest.mark.timeout(600)
RECIPE_NAMES = ["s1_jigsaw2x2", "s1_jigsaw_init", "s2_taskA_adam"]
ARGUMENTS = (
    "s1_jigsaw_init", "s2_taskA_adam", "--dataset", "digits", "--image-size", "16", "--seeds", "2", "--no-variants",
    "--scale", "0.5,s2=0.01", "--precision", "float32", "--name", "cut", SOONER,
)  # fmt: skip
SEEDS = (1000, 1001)


@dataclass
class Cut:
    run_dir: Path
    notes: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def cut(one_ray, tmp_path_factory) -> Cut:
    """Killed in the middle of a training, interrupted in the middle of another, brought to its end."""
    output_dir = tmp_path_factory.mktemp("reproduce")
    cut = Cut(output_dir / "cut")
    puzzles, classifier = (cut.run_dir / "checkpoints" / f"{name}-1000" for name in RECIPE_NAMES[:2])
    with started("study.reproduce", *ARGUMENTS, "--output-dir", str(output_dir)) as process:
        process.wait_until(lambda: newest_epoch(puzzles) >= 2, "killed while it learns puzzles")
        process.kill()
    cut.notes["killed"] = ledger_events(cut.run_dir)
    with started("study.resume", str(cut.run_dir)) as process:
        process.wait_until(lambda: newest_epoch(classifier) >= 2, "interrupted while the classifier trains")
        process.interrupt()
        cut.notes["interrupted"] = (process.wait(), process.stdout, process.stderr)
    cut.notes["folders"] = [path.name for path in (cut.run_dir / "checkpoints").iterdir()]
    cut.notes["page"] = (cut.run_dir / "report.html").read_text()
    cut.notes["ledger"] = ledger_events(cut.run_dir)
    cut.notes["end"] = run_here("study.resume", str(cut.run_dir))
    return cut


def test_it_ends_well_and_says_where_the_page_is(cut):
    status, stdout, stderr = cut.notes["end"]
    assert (status, stderr) == (0, "")
    assert "6/6 runs" in stdout
    assert str(cut.run_dir / "report.html") in stdout
    assert read_summary(cut.run_dir)["state"] == "complete"


def test_a_run_that_is_interrupted_says_how_to_go_on(cut):
    status, stdout, stderr = cut.notes["interrupted"]
    assert (status, stderr) == (130, "")
    assert f"python -m study.resume {cut.run_dir}" in stdout
    assert "study.resume" in cut.notes["page"]


def test_nothing_recorded_is_lost_and_nothing_is_done_twice(cut):
    events = ledger_events(cut.run_dir)
    for earlier in ("killed", "ledger"):
        assert events[: len(cut.notes[earlier])] == cut.notes[earlier]
    done = [(event["arm"], event["seed"]) for event in of_kind(events, "retest")]
    assert sorted(done) == sorted((name, seed) for name in RECIPE_NAMES for seed in SEEDS)
    for name in RECIPE_NAMES:
        rows = [row for row in read_rows(cut.run_dir, "epochs") if row["run"] == name and row["seed"] == 1000]
        num_epochs = 1 if name.startswith("s2") else RECIPES[name].training.num_epochs // 2
        assert [row["epoch"] for row in rows] == list(range(1, num_epochs + 1))


def test_a_training_that_was_cut_off_ends_with_the_weights_of_one_that_was_not(cut, tmp_path):
    dataset = load_dataset("digits", data_root=Path("nowhere"), download=False, image_size=16)
    spec = ReproductionSpec(dataset="digits", scale={"all": 0.5})
    (run,) = (run for run in planned_runs(spec) if run.name == "s1_jigsaw2x2")
    row, _ = train_and_test(
        run.training.task,
        retest_data(tuning_data(dataset, thinned=whole, subset_seed=0), thinned=run.thinned, subset_seed=1000),
        scaled_test(dataset, 0.5),
        hparams=dict(run.training.hparams),
        setup=setup_of(num_epochs=run.num_epochs, seed=1000),
        checkpoint_dir=tmp_path,
    )
    (ours,) = (r for r in read_rows(cut.run_dir, "runs") if (r["run"], r["seed"]) == ("s1_jigsaw2x2", 1000))
    assert ours["weights_sha256"] == row["weights_sha256"]
    assert ours["test_exact_accuracy"] == row["test_exact_accuracy"]


def test_the_tables_have_their_schemas_and_what_each_task_measures(cut):
    for table, schema in (("runs", RUNS), ("epochs", RUN_EPOCHS)):
        assert pq.read_schema(cut.run_dir / f"{table}.parquet").equals(schema)
    rows = {(row["run"], row["seed"]): row for row in read_rows(cut.run_dir, "runs")}
    for (name, _), row in rows.items():
        is_puzzle = name == "s1_jigsaw2x2"
        assert (row["test_exact_accuracy"] is None) != is_puzzle
        assert (row["test_accuracy"] is None) == is_puzzle
        assert (row["drawn_per_class"] is None) == is_puzzle
        last = [e for e in read_rows(cut.run_dir, "epochs") if (e["run"], e["seed"]) == (name, row["seed"])][-1]
        assert last["test_accuracy"] == row["test_accuracy"]
        assert last["train_eval_accuracy"] == row["train_eval_accuracy"]
    assert rows["s1_jigsaw_init", 1000]["weights_sha256"] != rows["s1_jigsaw_init", 1001]["weights_sha256"]


# --- what was trained before


def planned(*more: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Runs, pools and fingerprints of the reproduction with these further options."""
    spec = validated(ReproductionSpec, parse([*ARGUMENTS, *more])[0])
    dataset = load_dataset("digits", data_root=Path("data"), download=False, image_size=16)
    pool = tuning_data(dataset, thinned=whole, subset_seed=0)
    return {run.name: run for run in planned_runs(spec)}, {"digits": pool}, {"digits": dataset.fingerprint}


def test_what_an_earlier_reproduction_trained_is_taken_over_and_trained_no_more(cut, tmp_path):
    again = [*ARGUMENTS, "--reuse", str(cut.run_dir), "--output-dir", str(tmp_path)]
    status, said, _ = run_here("study.reproduce", *again)
    assert status == 0
    assert f"taken over: 6 runs of {cut.run_dir}" in said
    run_dir = tmp_path / "cut"
    for table in ("runs", "epochs"):
        assert read_rows(run_dir, table) == read_rows(cut.run_dir, table)
    (reused,) = read_summary(run_dir)["reused"]
    assert (reused["reproduction"], reused["runs"]) == (str(cut.run_dir), RECIPE_NAMES)
    assert reused["hardware"] == read_summary(cut.run_dir)["hardware"]
    assert f"from {cut.run_dir}: " in (run_dir / "report.html").read_text()
    # What was taken over there was trained where it was trained.
    (further,) = load_earlier([run_dir])
    assert further.trained("s2_taskA_adam", 1000)[TAKEN_FROM]["reproduction"] == str(cut.run_dir)


def test_another_scale_other_images_and_another_data_set_are_other_trainings(cut):
    earlier = load_earlier([cut.run_dir])
    runs, pools, fingerprints = planned()
    found = taken_over(earlier, runs, pools, fingerprints, SEEDS)
    assert [(one["arm"], one["seed"]) for one in found] == [(name, seed) for seed in SEEDS for name in RECIPE_NAMES]
    assert taken_over(earlier, runs, pools, fingerprints, (1002,)) == []
    assert taken_over(earlier, runs, pools, {"digits": "another"}, SEEDS) == []
    shifted = replace(pools["digits"], labels=np.roll(pools["digits"].labels, 1))
    assert taken_over(earlier, runs, {"digits": shifted}, fingerprints, SEEDS) == []
    rescaled, *_ = planned("--scale", "0.5,s2=0.02")
    assert {one["arm"] for one in taken_over(earlier, rescaled, pools, fingerprints, SEEDS)} == set(RECIPE_NAMES[:2])
    changed = replace(runs["s2_taskA_adam"].training, hparams={**runs["s2_taskA_adam"].training.hparams, "epsilon": 1})
    other = {**runs, "s2_taskA_adam": replace(runs["s2_taskA_adam"], training=changed)}
    assert {one["arm"] for one in taken_over(earlier, other, pools, fingerprints, SEEDS)} == set(RECIPE_NAMES[:2])


def test_what_a_run_begins_with_is_trained_again_for_it(cut):
    """Weights are not kept."""
    (earlier,) = load_earlier([cut.run_dir])
    classifier = RECIPE_NAMES[1]
    rows = {key: row for key, row in earlier.rows.items() if key != (classifier, 1000)}
    found = taken_over([replace(earlier, rows=rows)], *planned(), SEEDS)
    assert {one["arm"] for one in found if one["seed"] == 1000} == {"s2_taskA_adam"}
    assert {one["arm"] for one in found if one["seed"] == 1001} == set(RECIPE_NAMES)


def test_puzzles_that_a_classifier_begins_with_are_kept_until_the_end(cut):
    assert "s1_jigsaw2x2-1000" in cut.notes["folders"]
    assert not (cut.run_dir / "checkpoints").exists()


def test_the_page_is_rebuilt_from_the_tables_alone(cut):
    status, _, stderr = run_here("study.report", str(cut.run_dir))
    assert (status, stderr) == (0, "")
    page = (cut.run_dir / "report.html").read_text()
    for name in RECIPE_NAMES:
        assert name in page


def test_a_second_reproduction_of_that_name_is_refused(cut):
    with pytest.raises(StudyError, match=r"exists already.*study\.resume"):
        main(("s4", "--name", "cut", "--output-dir", str(cut.run_dir.parent)))


def test_a_recipe_that_has_changed_since_is_not_gone_on_with(cut, monkeypatch):
    recipe = RECIPES["s1_jigsaw_init"]
    changed = replace(recipe, training=recipe.training.with_changes({"learning_rate": 0.5}))
    recipes = [changed if name == recipe.name else RECIPES[name] for name in RECIPE_NAMES]
    monkeypatch.setattr("study.reproduction.runs.chosen_recipes", lambda names: recipes)
    with pytest.raises(StudyError, match="s1_jigsaw_init of this version of the project is not the training that"):
        resume(cut.run_dir, StudyConsole())


def test_a_reproduction_has_no_trial_to_look_into(cut):
    with pytest.raises(StudyError, match="is a reproduction, not a study"):
        inspect_trial(cut.run_dir, "s1_jigsaw_init", layers=None, image="0", num_tsne=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("s1_step_copi",), "no recipe 's1_step_copi'; did you mean 's1_step_copy'"),
        (("s9",), "no recipe 's9'; did you mean 's"),
        (("--scale", "0"), "--scale must be shares above 0 and up to 1"),
        (("--scale", "much"), "--scale.*much"),
        (("--scale", "1,s1_cn=0.1"), "--scale: there is no source, recipe or run 's1_cn'; did you mean 's1_cnn'"),
        (("--scale", "0.1,0.2"), "--scale must give one share for each name, got '0.1,0.2'"),
        (("s1_cnn", "--scale", "1,s2=0.1"), "--scale names s2, of which no run was chosen"),
        (("--seeds", "0"), "--seeds must be greater than or equal to 1, got 0"),
        (("--sedes", "1"), "unknown option '--sedes'; did you mean '--seeds'"),
        (("--data-root", "nowhere"), "not under the data root nowhere.*--dataset digits"),
        (("--dataset", "digitz"), "unknown data set 'digitz'.*did you mean 'digits'"),
        (("s4", "--dataset", "digits", "--tuned", "nowhere"), "--tuned: nowhere is not a directory"),
        (("s4", "--dataset", "digits", "--reuse", "nowhere"), "--reuse: nowhere is not a directory"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        main(arguments)
    assert "\n" not in str(error.value)


def test_a_mistake_on_the_command_line_ends_with_status_2():
    status, _, stderr = run_here("study.reproduce", "s1_step_copi")
    assert status == 2
    assert_one_sentence(stderr)


def test_scale_is_the_most_special_that_was_given():
    spec = validated(ReproductionSpec, {"scale": "1,s0=0.1,s0_base=0.2,s0_base.augmented=0.3"})
    scales = {run.name: run.scale for run in planned_runs(spec)}
    assert scales["s1_cnn"] == 1
    assert scales["s0_flag_downweight"] == 0.1
    assert (scales["s0_base"], scales["s0_base.augmented"]) == (0.2, 0.3)


def test_recipes_come_before_variants_and_no_variants_leaves_them_out():
    kinds = [run.kind for run in planned_runs(ReproductionSpec())]
    assert kinds[: len(RECIPES)] == ["recipe"] * len(RECIPES)
    assert "recipe" not in kinds[len(RECIPES) :]
    assert len(planned_runs(ReproductionSpec(variants=False))) == len(RECIPES)
