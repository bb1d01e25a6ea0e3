"""python -m benchmarks: its figures on hand-made seconds, its table and JSON, and what it says of a wrong name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from study_process import run_here

from benchmarks import __main__ as command
from benchmarks import data as images
from benchmarks import table as tables
from benchmarks.data import dataset_options, provide, tuning_set
from benchmarks.interleave import interleaved, ratios
from benchmarks.measured import Measured
from benchmarks.registry import BENCHMARKS, chosen
from benchmarks.setting import FIXED, RANGES, Setting, Tuned
from benchmarks.table import as_json, is_there, table
from benchmarks.trials import Alone, Work, figures, read_study
from study.core.errors import StudyError
from study.tasks.baseline import BASELINE
from study.tasks.resolve import checked, resolved
from study.tasks.study import cut, load_images


@pytest.fixture
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory in whose reach no data lie, and few images to make up."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(images, "NUM_MADE_UP", {"train": 200, "test": 20})


def test_sides_run_in_turn_and_in_reverse_each_second_time() -> None:
    ran: list[str] = []
    took = interleaved({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, 3)
    assert ran == ["a", "b", "b", "a", "a", "b"]
    assert [len(repeats) for repeats in took.values()] == [3, 3]


def test_a_ratio_is_of_one_repeat_and_the_median_of_the_ratios() -> None:
    one = Measured(name="", values=ratios([2.0, 9.0, 20.0], [1.0, 3.0, 4.0]), at_least=3.0)
    assert one.values == (2.0, 3.0, 5.0)
    assert one.median == 3.0
    assert one.is_met
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0], [1.0, 2.0])


def tuned(*seconds_and_epochs: tuple[float, int]) -> list[Tuned]:
    return [Tuned(seconds=seconds, trials=24, epochs=epochs) for seconds, epochs in seconds_and_epochs]


def test_a_study_is_held_against_each_peer_by_slot_seconds_an_epoch() -> None:
    found = figures(
        {
            "the study": tuned((100.0, 40), (120.0, 40), (100.0, 40)),  # 5, 6 and 5 s
            "the tutorial": tuned((300.0, 40), (360.0, 30), (200.0, 40)),  # 15, 24 and 10 s
            "1 job": tuned((160.0, 40), (168.0, 40), (180.0, 40)),  # 8, 8.4 and 9 s
            "2 jobs": tuned((90.0, 40), (90.0, 30), (104.0, 40)),  # 4.5, 6 and 5.2 s
        },
        2,
        optuna=("1 job", "2 jobs"),
        detail={"a": 1},
    )
    assert [one.name.rpartition(": ")[2] for one in found] == ["the tutorial", "the tutorial", "2 jobs"]  # the best
    assert found[0].values == pytest.approx((3.0, 4.0, 2.0))
    assert found[1].values == pytest.approx((3.0, 3.0, 2.0))  # 24 trials in 100 s are 864 an hour
    assert found[2].values == pytest.approx((0.9, 1.0, 1.04))
    assert (found[0].at_least, found[2].at_least) == (3.0, 0.97)
    assert "5.00 s, 864 trials an hour" in found[0].note


def test_syne_tune_has_a_row_where_it_ran() -> None:
    both = {name: tuned((100.0, 50)) for name in ("the study", "the tutorial", "1 job")}
    found = figures({**both, "Syne Tune": tuned((180.0, 60))}, 2, optuna=("1 job",), detail={})
    assert found[-1].name.endswith("Syne Tune")
    assert found[-1].values == pytest.approx((1.5,))


def test_perfect_packing_trains_and_judges_in_every_slot_all_the_time() -> None:
    alone = Alone(trained=1_000.0, judged=4_000.0)
    work = Work(seconds=66.0, trained=100_000, judged=80_000)  # 100 s and 20 s in two slots: 60 s
    assert work.over_perfect(alone, 2) == pytest.approx(1.1)


def test_a_study_is_read_from_its_tables() -> None:
    run_dir = Path(__file__).resolve().parents[2] / "reports/gallery/baseline"
    tuned, tuning, retest = read_study(run_dir)
    assert (tuned.trials, tuned.epochs) == (24, 78)
    assert (tuning.trained, tuning.judged) == (78 * 45_000, 78 * 5_000)
    assert (retest.trained, retest.judged) == (6 * 9 * 50_000, 6 * 10_000)  # two winners, three seeds, nine epochs
    assert tuned.seconds == tuning.seconds > retest.seconds > 0


def test_the_table_has_a_figure_its_spread_and_its_aim() -> None:
    lines = table(
        [
            Measured(name="a", values=(0.97, 0.95, 0.961), at_least=0.96, note="900 images/s"),
            Measured(name="longer", values=(1.2,), at_most=1.1),
            Measured(name="resume", values=(1234.0,), unit="s"),
        ]
    ).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["measure", "median", "lowest–highest", "aim", ""]
    assert cells[2] == ["a (900 images/s)", "0.961×", "0.95–0.97", "≥ 0.96", "met"]
    assert cells[3] == ["longer", "1.2×", "1.2–1.2", "≤ 1.1", "missed"]
    assert cells[4] == ["resume", "1,234 s", "1,234–1,234", "", ""]
    assert len({len(line) for line in lines}) == 1


def test_the_json_holds_what_was_measured_and_where() -> None:
    measured = {"images": [Measured(name="a", values=(1.0, 3.0), at_most=1.5, detail={"seconds": {"x": [1.0]}})]}
    found = json.loads(json.dumps(as_json(measured, date="2026-01-01T00:00:00+00:00", quick=True)))
    assert found["quick"] is True
    assert found["hardware"]["cpu"]
    assert found["versions"]["torch"]
    assert "commit" in found
    (one,) = found["measured"]["images"]
    assert (one["median"], one["is_met"], one["values"]) == (2.0, False, [1.0, 3.0])
    assert one["detail"] == {"seconds": {"x": [1.0]}}


def test_an_unknown_benchmark_is_refused_with_the_nearest_name() -> None:
    status, _, complained = run_here("benchmarks.__main__", "serch")
    assert status == 2
    assert complained == (
        f"error: a benchmark must be one of {', '.join(BENCHMARKS)}, got 'serch'; did you mean 'search'?\n"
    )
    assert chosen([]) == tuple(BENCHMARKS)


def test_the_command_measures_what_is_named_and_writes_the_json(
    no_data: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    given = []

    def run(name: str, *, quick: bool, repeats: int | None, folder: Path) -> list[Measured]:
        given.append((name, quick, dataset_options(folder)["dataset"].endswith("made-up")))
        return [Measured(name=f"of {name}", values=(1.0,))]

    monkeypatch.setattr(command, "run", run)
    assert command.main(["start", "images", "--quick", "--out", "deep/out.json"]) == 0
    assert given == [("start", True, True), ("images", True, True)]
    assert "of images" in capsys.readouterr().out
    assert list(json.loads(Path("deep/out.json").read_text())["measured"]) == ["start", "images"]


def test_a_peer_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(tables, "PEERS", {"no_such_tuner": "no-such-tuner", "json": "json"})
    assert not is_there("no_such_tuner")
    assert "no-such-tuner is not installed" in capsys.readouterr().out
    assert is_there("json")
    assert capsys.readouterr().out == ""


def test_images_are_made_up_where_there_are_none_and_never_in_place_of_those_named(
    tmp_path: Path, no_data: None
) -> None:
    with pytest.raises(StudyError, match="--data-root must hold cifar10, and nowhere does not"):
        provide(tmp_path, Path("nowhere"))
    provide(tmp_path, None)
    data = tuning_set(tmp_path, 100)
    assert (data.images.shape[1:], data.num_classes, data.num_train) == ((32, 32, 3), 10, 100)


def test_a_study_of_the_setting_searches_its_ranges_alone(tmp_path: Path, no_data: None) -> None:
    provide(tmp_path, None)
    setting = Setting(folder=str(tmp_path), num_trials=2, num_epochs=3, num_images=100, num_slots=1)
    values = setting.study_settings("one")
    dataset, found = load_images(BASELINE, checked(BASELINE, values))
    spec = resolved(BASELINE, values, dataset=found, num_gpus=0)
    (stage,) = BASELINE.stages(spec, cut(BASELINE, spec, dataset))
    (branch,) = stage.space.branches(stage.space.arms["small_cnn"])
    assert set(branch.distributions) == set(RANGES)
    start = stage.space.start_hparams(stage.space.arms["small_cnn"])
    assert {knob: start[knob] for knob in FIXED} == FIXED
