"""What one stage hands to the next: weights of a winner that stays the winner, and of no half-trained net."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from learner_cases import digits
from study_cases import asked

from study.core.commands import winner_settings
from study.core.entrants import entrants
from study.core.errors import StudyError
from study.core.ledger import ASKED, EPOCH, RETEST, RETEST_FAILED, Event, Ledger, finished
from study.core.stage import Stage, ranges_of, ranges_set
from study.engine.console import StudyConsole
from study.engine.requirements import require_weights
from study.engine.retest import _fail_without_weights
from study.engine.study_session import StudySession
from study.engine.tuning import start_folder
from study.page.tasks.registry import PAGES
from study.tasks.registry import STUDIES
from study.tasks.resolve import resolved
from trainables.common.places import LocalPlace, place_at
from trainables.data.splits import tuning_data, whole
from trainables.training.checkpoints import write_checkpoint

STUDY = STUDIES["jigsaw"]
WARM = ("jigsaw_2x2", "jigsaw_10pct")
"""An arm of each stage."""


@pytest.fixture(scope="module")
def data():
    return tuning_data(digits(), thinned=whole, subset_seed=0)


@pytest.fixture
def spec(tmp_path):
    values = {"dataset": "digits", "max_epochs": 2, "pretext_epochs": 3, "output_dir": str(tmp_path), "name": "it"}
    return resolved(STUDY, values, dataset="digits", num_gpus=0)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path) as ledger:
        yield ledger


def completed(ledger: Ledger, stage: Stage, trial_id: str, value: float) -> None:
    row = {"epoch": 1, "images": 1, "train_seconds": 1.0, stage.task.metric: value}
    ledger.append(asked(trial_id), Event(kind=EPOCH, trial_id=trial_id, payload=row), finished(trial_id, "completed"))


def session(spec, stages, data, ledger) -> StudySession:
    return StudySession(
        study=STUDY,
        page=PAGES["jigsaw"],
        spec=spec,
        stages=stages,
        dataset=digits(),
        data=data,
        ledger=ledger,
        console=StudyConsole(),
    )


def test_an_arm_s_full_trial_and_its_rungs_are_its_own(spec, data):
    _, transfer = STUDY.stages(spec.model_copy(update={"max_epochs": 9, "grace_epochs": 3}), data)
    assert transfer.num_epochs("scratch_10pct") == transfer.num_epochs("jigsaw_10pct") == 9
    assert transfer.num_epochs("scratch_equal_epochs_10pct") == 12  # and the puzzles' 3
    assert transfer.rungs("scratch_10pct") == (3,)
    assert transfer.rungs("scratch_equal_epochs_10pct") == (3, 9)


def test_classifiers_begin_with_the_winner_s_weights_and_their_retests_with_those_of_its_seed(
    spec, data, ledger, tmp_path
):
    pretext, transfer = STUDY.stages(spec, data)
    completed(ledger, pretext, "jigsaw_2x2-0000", 0.5)
    completed(ledger, pretext, "jigsaw_2x2-0001", 0.75)
    folder = tmp_path.resolve() / "checkpoints"
    assert start_folder(transfer, ledger.book, LocalPlace(folder), "jigsaw_10pct") == str(folder / "jigsaw_2x2-0001")
    of_seed = start_folder(transfer, ledger.book, LocalPlace(folder), "jigsaw_10pct", 1000)
    assert of_seed == str(folder / "retest-jigsaw_2x2-0001-1000")
    assert start_folder(transfer, ledger.book, LocalPlace(folder), "scratch_10pct") is None


def test_a_classifier_s_search_begins_with_what_the_puzzles_search_of_its_number_found(spec, data, ledger, tmp_path):
    pretext, transfer = STUDY.stages(spec.model_copy(update={"searches": 2, "control": "random"}), data)
    assert (pretext.num_searches, len(pretext.searches), len(transfer.searches)) == (2, 2, 4)  # puzzles have no control
    completed(ledger, pretext, "jigsaw_2x2-0000", 0.5)
    row = {"epoch": 1, "images": 1, "train_seconds": 1.0, pretext.task.metric: 0.25}
    payload = {**asked("jigsaw_2x2-0000").payload, "search": 2}
    waiting = session(spec, (pretext, transfer), data, ledger)._startable(transfer)
    assert not waiting.warm_arms & set(waiting.arms)  # the second search has no puzzles yet
    ledger.append(Event(kind=ASKED, trial_id="jigsaw_2x2-s2-0000", payload=payload))
    ledger.append(Event(kind=EPOCH, trial_id="jigsaw_2x2-s2-0000", payload=row))
    ledger.append(finished("jigsaw_2x2-s2-0000", "completed"))
    assert session(spec, (pretext, transfer), data, ledger)._startable(transfer) == transfer
    folder = place_at("s3://bucket/mine-1f?region=eu-west-1")
    folders = [start_folder(transfer, ledger.book, folder, "jigsaw_10pct", seed, search=2) for seed in (None, 1005)]
    assert folders == [
        "s3://bucket/mine-1f/jigsaw_2x2-s2-0000?region=eu-west-1",
        "s3://bucket/mine-1f/retest-jigsaw_2x2-s2-0000-1005?region=eu-west-1",
    ]


def test_a_resume_is_refused_where_the_puzzles_weights_are_gone_that_something_would_begin_with(
    spec, data, ledger, tmp_path
):
    spec = spec.model_copy(update={"trials_per_arm": 1, "pretext_trials": 1, "retest_seeds": 1})
    stages = pretext, transfer = STUDY.stages(spec, data)
    warm = [arm for arm in transfer.arms if arm in transfer.warm_arms]

    def required() -> None:
        require_weights(stages, ledger.book, LocalPlace(tmp_path / "checkpoints"), num_seeds=1)

    required()  # the puzzles come first
    completed(ledger, pretext, "jigsaw_2x2-0000", 0.5)
    folder = tmp_path / "checkpoints" / "jigsaw_2x2-0000"
    with pytest.raises(StudyError, match=rf"^jigsaw_10pct begins with the weights in {folder}, whose last checkpoint"):
        required()
    state = {"learner": {"epoch": pretext.max_epochs}}
    write_checkpoint(folder, state, epoch=pretext.max_epochs)
    required()
    row = {"arm": "jigsaw_2x2", "trial_id": "jigsaw_2x2-0000", "seed": 1000}
    ledger.append(Event(kind=RETEST, payload=row))
    with pytest.raises(StudyError, match=r"the weights in \S*/retest-jigsaw_2x2-0000-1000, whose"):
        required()
    for arm in warm:
        completed(ledger, transfer, f"{arm}-0000", 0.5)
        ledger.append(Event(kind=RETEST, payload={"arm": arm, "trial_id": f"{arm}-0000", "seed": 1000}))
    shutil.rmtree(folder)
    required()  # nothing is left that would begin with them


def test_without_a_winner_the_arms_that_need_one_wait(spec, data, ledger, capsys):
    stages = STUDY.stages(spec, data)
    work = session(spec, stages, data, ledger)
    assert work._startable(stages[1]).arms == (
        "scratch_10pct", "scratch_equal_epochs_10pct", "scratch_100pct", "scratch_equal_epochs_100pct",
    )  # fmt: skip
    assert "jigsaw_10pct, jigsaw_100pct cannot begin" in capsys.readouterr().out
    completed(ledger, stages[0], "jigsaw_2x2-0000", 0.5)
    assert work._startable(stages[1]) == stages[1]


def test_the_winner_stays_once_a_classifier_has_begun_with_its_weights(spec, data, ledger):
    stages = STUDY.stages(spec, data)
    work = session(spec, stages, data, ledger)
    completed(ledger, stages[0], "jigsaw_2x2-0000", 0.5)
    ledger.append(asked("scratch_10pct-0000"))
    assert not work._is_settled(stages[0])
    ledger.append(asked("jigsaw_10pct-0000"))
    assert work._is_settled(stages[0])
    assert not work._is_settled(stages[1])


def test_a_seed_on_which_the_puzzles_failed_has_no_classifier_that_began_with_them(spec, data, ledger):
    pretext, transfer = STUDY.stages(spec, data)
    completed(ledger, pretext, "jigsaw_2x2-0000", 0.5)
    for arm in ("scratch_10pct", "jigsaw_10pct"):
        completed(ledger, transfer, f"{arm}-0000", 0.5)
    puzzles = {"arm": "jigsaw_2x2", "trial_id": "jigsaw_2x2-0000"}
    ledger.append(
        Event(kind=RETEST, payload={**puzzles, "seed": 1000}),
        Event(kind=RETEST_FAILED, payload={**puzzles, "seed": 1001, "message": "the loss was nan"}),
    )
    for _ in range(2):  # a resume finds it done
        _fail_without_weights(transfer, ledger, entrants(transfer, ledger.book), seeds=[1000, 1001])
    failures = ledger.book.failed_retests(transfer.winners(ledger.book))
    assert [(row["arm"], row["seed"]) for row in failures] == [("jigsaw_10pct", 1001)]
    assert failures[0]["message"] == "jigsaw_2x2 failed on this seed: the loss was nan"
    assert sum(event.kind == RETEST_FAILED for event in ledger.events()) == 2


def test_a_winner_s_settings_name_initialisation_and_share_with_and_without_puzzles(spec, data, ledger):
    for given in (spec, spec.model_copy(update={"arms": ("scratch",), "label_fractions": (1 / 3,)})):
        transfer = STUDY.stages(given, data)[-1]
        arm = transfer.arms[0]
        completed(ledger, transfer, f"{arm}-0000", 0.5)
        settings = winner_settings(given, STUDY.alone(transfer, ledger.book.trials[f"{arm}-0000"], ledger.book))
        assert settings["arms"] == ["scratch"]
        assert [float(fraction) for fraction in settings["label_fractions"]] == [given.label_fractions[0]]
        again = resolved(STUDY, {**settings, "dataset": "digits", "start": None}, dataset="digits", num_gpus=0)
        assert STUDY.stages(again, data)[-1].arms[0] == arm


def test_puzzles_keep_their_shares_in_their_own_command(spec, data, ledger):
    pretext, _ = STUDY.stages(spec.model_copy(update={"label_fractions": (0.2, 1.0)}), data)
    completed(ledger, pretext, "jigsaw_2x2-0000", 0.5)
    given = spec.model_copy(update={"label_fractions": (0.2, 1.0)})
    settings = winner_settings(given, STUDY.alone(pretext, ledger.book.trials["jigsaw_2x2-0000"], ledger.book))
    assert settings["label_fractions"] == [0.2, 1.0]
    assert settings["arms"] == ["jigsaw"]


def test_a_stage_is_what_the_page_calls_it(spec, data):
    pretext, transfer = STUDY.stages(spec, data)
    assert (pretext.name, pretext.retest_name, pretext.lends_weights) == ("pretext", "pretext_retest", True)
    assert (transfer.name, transfer.retest_name, transfer.lends_weights) == ("tune", "retest", False)
    assert replace(transfer, arms=("scratch_10pct",)).num_trials == transfer.trials_per_arm


# --- ranges that the user set


def test_the_ranges_of_the_puzzles_name_their_arm_and_all_others_are_the_classifiers(spec, data):
    ranges = {"jigsaw_2x2.gap": "0..4", "learning_rate": "0.01..0.1", "jigsaw_10pct.momentum": "0.9"}
    stages = STUDY.stages(spec.model_copy(update={"space": ranges}), data)
    pretext, transfer = (stage.space.axes(stage.space.arms[arm]) for stage, arm in zip(stages, WARM, strict=True))
    assert pretext["gap"]["high"] == 4
    assert pretext["learning_rate"]["high"] == 0.1
    assert (transfer["learning_rate"]["low"], "momentum" in transfer) == (0.01, False)
    set_of = {one["entry"]: one["arms"] for one in ranges_set(stages)}
    assert set_of["jigsaw_2x2.gap=0..4"] == ["jigsaw_2x2"]
    assert set_of["learning_rate=0.01..0.1"] == list(stages[-1].arms)
    with pytest.raises(StudyError, match=r"--space jigsaw_2x2.gap=0..4: the arms are scratch_10pct, scratch_100pct$"):
        STUDY.stages(spec.model_copy(update={"space": ranges, "arms": ("scratch",)}), data)


def test_a_winner_is_trained_again_in_the_ranges_that_its_arms_have(spec, data, ledger):
    """A fixed knob is no parameter of the trial: without its range the command would train at another value."""
    ranges = {"jigsaw_2x2.gap": "1", "momentum": "0.95", "scratch_10pct.learning_rate": "0.01..0.1"}
    given = spec.model_copy(update={"space": ranges})
    stages = STUDY.stages(given, data)
    for stage, arm in zip(stages, WARM, strict=True):
        completed(ledger, stage, f"{arm}-0000", 0.5)
    winner = ledger.book.trials["jigsaw_10pct-0000"]
    settings = winner_settings(given, STUDY.alone(stages[-1], winner, ledger.book), ranges_of(stages[-1], winner.arm))
    assert settings["space"] == {"momentum": "0.95", "jigsaw_2x2.gap": "1"}
    again = STUDY.stages(resolved(STUDY, settings, dataset="digits", num_gpus=0), data)
    assert [stage.space.start_hparams(stage.space.arms[arm]) for stage, arm in zip(again, WARM, strict=True)] == [
        stage.space.start_hparams(stage.space.arms[arm]) for stage, arm in zip(stages, WARM, strict=True)
    ]
