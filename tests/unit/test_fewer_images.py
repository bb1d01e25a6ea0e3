"""--train-images: a study on fewer images than there are, validated and tested on all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from study.core.commands import winner_settings
from study.core.errors import StudyError
from study.engine.console import StudyConsole
from study.engine.study_session import StudySession, begin
from study.page.tasks.registry import PAGES
from study.tasks.registry import STUDIES
from study.tasks.resolve import resolved
from study.tasks.spec_file import spec_file
from study.tasks.study import load_data
from trainables.data.splits import retest_data
from trainables.data.types import TuningData

NUM_CLASSES = 10


def spec_of(task: str, **values: Any):
    return resolved(STUDIES[task], {"dataset": "digits", **values}, dataset="digits", num_gpus=0)


def data_of(task: str = "baseline", **values: Any) -> TuningData:
    return load_data(STUDIES[task], spec_of(task, **values))[1]


def test_they_are_drawn_from_the_training_part_by_the_seed():
    everything, some = data_of(), data_of(train_images=100)
    assert some.num_train == 100 < everything.num_train
    assert some.class_counts.tolist() == [10] * NUM_CLASSES
    assert some.val_indices.tolist() == everything.val_indices.tolist()
    assert set(some.train_indices) < set(everything.train_indices)
    assert data_of(train_images=100, seed=1).train_indices.tolist() != some.train_indices.tolist()


@pytest.mark.parametrize("verb", ["run", "print_spec"])
def test_a_budget_may_set_them(verb, monkeypatch, tmp_path):
    """They are known when the spec is complete, and the images are cut after that."""
    study = STUDIES["cifar100"]
    quick = {**study.presets["quick"], "train_images": 100}
    monkeypatch.setitem(study.presets, "quick", quick)
    seen = []
    looking = replace(study, stages=lambda spec, data: seen.append(data.num_train) or study.stages(spec, data))
    if verb == "print_spec":
        assert "#train_images = 100" in spec_file(looking, {"dataset": "digits"})
    else:
        monkeypatch.setattr(StudySession, "conduct", lambda session, **_: seen.append(session._data.num_train) or 0)
        values = {"dataset": "digits", "output_dir": tmp_path, "name": "it"}
        begin(looking, PAGES["cifar100"], values, StudyConsole())
    assert set(seen) == {100}


def test_where_there_are_no_more_nothing_changes():
    assert data_of(train_images=10_000).fingerprint == data_of().fingerprint


def test_a_task_thins_what_was_drawn():
    data = data_of("imbalance", train_images=500, imbalance_ratio=10.0)
    drawn = data_of("baseline", train_images=500).class_counts
    assert data.class_counts[5:].tolist() == drawn[5:].tolist()
    assert data.class_counts[:5].tolist() == [5] * 5


def test_a_retest_trains_on_as_many_drawn_anew():
    study, spec = STUDIES["baseline"], spec_of("baseline", train_images=100)
    pool = load_data(study, spec)[1]
    first, second = (retest_data(pool, thinned=study.kept(spec), subset_seed=seed) for seed in (1000, 1001))
    assert first.num_train == second.num_train == 100
    assert first.train_indices.tolist() != second.train_indices.tolist()


def test_a_winner_is_trained_again_on_as_many():
    alone = {"arms": ["lenet"], "start": {}}
    assert winner_settings(spec_of("baseline", train_images=100), alone)["train_images"] == 100


def test_fewer_than_there_are_classes_are_refused():
    with pytest.raises(StudyError, match="9 training images are too few for 10 classes"):
        data_of(train_images=9)
