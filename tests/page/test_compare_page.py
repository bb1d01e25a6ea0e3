"""The page of a comparison: its sentences and tables, of runs that are finished, interrupted or empty."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_run import FOURTEEN_ARMS, edit_summary, write_run

from study.analysis.compare import Comparison, Pair, load_comparison
from study.page import compare as page
from study.page.figures import compare as figures
from study.page.tasks.registry import find_page

TWO_ARMS, FIVE = ("none", "focal"), (1, 2, 3, 4, 5)


def comparison_of(*run_dirs: Path, pairs: Sequence[Pair] | None = None) -> Comparison:
    return load_comparison(run_dirs, pairs)


def written(folder: Path, comparison: Comparison) -> str:
    folder.mkdir()
    text = page.write_comparison(folder, comparison, find_page(comparison.first.tables.task)).read_text()
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "PICTURE", text)


def said(comparison: Comparison) -> str:
    return " ".join(page.headlines(comparison, find_page(comparison.first.tables.task)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same study, and one in which focal is lifted, with a further arm and other settings."""
    folder = tmp_path_factory.mktemp("runs")
    first = write_run(folder / "first", arms=TWO_ARMS, retest_seeds=FIVE, early_stopping=False)
    other = write_run(
        folder / "other", arms=(*TWO_ARMS, "copy"), lift={"focal": 0.105}, retest_seeds=FIVE, early_stopping=False
    )
    (other / "spec.json").write_text('{"task": "imbalance", "seed": 0, "imbalance_ratio": 10.0, "download": false}')
    edit_summary(other, commit="d" * 40 + " + changes", name="other")
    return first, other


def test_the_headline_counts_what_differs_and_gives_every_interval(runs: tuple[Path, Path]) -> None:
    headline = said(comparison_of(*runs))
    assert headline.startswith(
        "other against first, on CIFAR-10 with the first five classes cut to 1/10: 1 of 2 compared arms differs "
        "measurably in test balanced accuracy: "
    )
    # .1 more of lift is .2 more of the recall of half the classes and .1 less of the others': 5 points in the mean.
    found = re.search(r"(\S+) points above first in “focal” \(paired interval (\S+)–(\S+) over 5 seeds, adj", headline)
    assert found is not None
    mean, low, high = map(float, found.groups())
    assert low < mean < high
    assert mean == pytest.approx(5.0, abs=1.0)
    assert "adjusted for 2 comparisons" in headline


def test_no_measurable_difference_is_said_with_the_largest(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    again = write_run(tmp_path / "again", arms=TWO_ARMS, retest_seeds=FIVE, early_stopping=False)
    headline = said(comparison_of(runs[0], again))
    assert (
        "no measurable difference in test balanced accuracy in any of 2 compared arms. The largest: level" in headline
    )
    assert "trained alike, bit for bit" in written(tmp_path / "page", comparison_of(runs[0], again))


def test_one_seed_is_no_evidence(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    single = write_run(tmp_path / "single", arms=TWO_ARMS, retest_seeds=(1,), lift={"focal": 0.1})
    headline = said(comparison_of(single, runs[0]))
    assert "no interval can be given for any of 2 compared arms" in headline
    assert headline.endswith("is no evidence.")


def test_what_is_the_same_is_not_listed(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    text = written(tmp_path / "page", comparison_of(*runs))
    settings = text[text.index('<h2 id="settings">') : text.index('<h2 id="machine-and-versions">')]
    assert re.findall(r'<th scope="row">(.*?)</th>', settings) == ["imbalance_ratio", "download"]
    machine = text[text.index('<h2 id="machine-and-versions">') : text.index('<h2 id="methods">')]
    assert re.findall(r'<th scope="row">(.*?)</th>', machine) == ["Commit"]
    assert "dddddddddddd + changes" in machine
    assert "The data of all runs are the same: CIFAR-10" in text
    assert "Unequal budgets." not in text
    assert "Not among the arms of first: copy." in text
    assert "other and first are paired by seed in 2 of 2 compared arms" in text


def test_the_page_is_one_file_without_addresses(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    text = written(tmp_path / "page", comparison_of(*runs))
    assert set(re.findall(r'(?:src|href)="([^#].*?)"', text)) == {"PICTURE", "data:,"}
    assert "{{" not in text
    assert sorted(path.name for path in (tmp_path / "page" / "figures").iterdir()) == [
        "compared_differences.png",
        "compared_scores.png",
    ]


def test_other_data_and_unequal_budgets_are_warned_of(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    other = write_run(tmp_path / "thinner", arms=TWO_ARMS, retest_seeds=FIVE)
    tables = load_comparison([runs[0], other]).runs[1].tables
    dataset = {**tables.summary["dataset"], "fingerprint": "beef" * 16, "class_counts": [45] * 5 + [4500] * 5}
    edit_summary(
        other,
        dataset=dataset,
        budget={**tables.summary["budget"], "trials_per_arm": 60},
        setting={"kind": "step", "ratio": 100.0, "classes": "first"},
    )
    comparison = comparison_of(runs[0], other)
    text = html.unescape(written(tmp_path / "page", comparison))
    assert "thinner did not have the data of first" in text
    assert "What differs: training images a class and the task's own: ratio." in text
    assert re.search(r"first gave an arm 6 trials of at most 9 epochs, which drew [\d,]+ training images", text)
    assert "thinner gave an arm 60 trials of at most 9 epochs" in text
    assert "are not paired, because the runs' data are not the same: Welch's intervals." in text
    assert "(unpaired interval" in said(comparison)
    assert ", on CIFAR-10" not in said(comparison)
    data = figures.differences_data(comparison)
    assert data is not None
    assert set(data.groups[0].arms["role"]) == {"unpaired"}
    assert data.groups[0].seeds.empty


def test_interrupted_and_empty_runs_say_what_is_missing(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    stopped = write_run(tmp_path / "stopped", arms=TWO_ARMS, interrupted=True)
    empty = write_run(tmp_path / "empty", arms=TWO_ARMS, interrupted=True, with_trials=False)
    comparison = comparison_of(runs[0], stopped, empty)
    text = written(tmp_path / "page", comparison)
    assert "Between first and stopped nothing can be compared: no arm was retested in both." in text
    assert "stopped is interrupted. Not retested on all seeds: none and focal." in text
    assert "not retested" in text
    assert "No figure “Differences to first”" in text
    nothing = written(tmp_path / "nothing", comparison_of(empty, stopped))
    assert "nothing can be compared" in nothing
    assert "No figure" in nothing


def test_a_failed_arm_of_a_finished_run_is_named_with_its_reason(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    partial = write_run(tmp_path / "partial", arms=TWO_ARMS, never_completed=("focal",))
    text = written(tmp_path / "page", comparison_of(runs[0], partial))
    assert "focal of partial was not retested: no trial completed." in text


def test_the_figures_hold_the_numbers_of_the_tables(runs: tuple[Path, Path]) -> None:
    comparison = comparison_of(*runs, pairs=[Pair(first="focal", other="copy")])
    scores, differences = figures.scores_data(comparison), figures.differences_data(comparison)
    assert scores is not None
    assert [panel.title for panel in scores.groups] == ["none", "focal", "copy"]
    assert [list(panel.arms["arm"]) for panel in scores.groups] == [["first", "other"], ["first", "other"], ["other"]]
    focal = comparison.first.scores("focal")
    assert scores.groups[1].arms["mean"].iloc[0] == pytest.approx(100 * focal.mean())
    assert scores.groups[1].reference == pytest.approx(100 * focal.mean())
    assert scores.groups[2].reference is None
    assert differences is not None
    pairs = 100 * (comparison.runs[1].scores("copy") - focal)
    assert list(differences.groups[0].seeds["value"]) == pytest.approx(list(pairs))
    assert list(differences.groups[0].arms["arm"]) == ["copy − focal"]
    assert "hold if these scores did not choose them" in page.methods(comparison)[1]
    assert "choose them" not in page.methods(comparison_of(*runs))[1]


def test_names_of_runs_are_no_markup(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    odd = write_run(tmp_path / "<b>$x$", arms=TWO_ARMS)
    text = written(tmp_path / "page", comparison_of(runs[0], odd))
    assert "<b>$x$" not in text
    assert "&lt;b&gt;$x$" in text


@pytest.mark.parametrize("task", ["baseline", "cifar100", "jigsaw"])
def test_every_task_s_runs_are_compared(tmp_path: Path, task: str) -> None:
    comparison = comparison_of(*(write_run(tmp_path / name, task=task) for name in ("a", "b", "c")))
    text = written(tmp_path / "page", comparison)
    assert text.count('class="answer"') == 2
    assert "adjusted for" in text


def test_fourteen_arms_are_told_in_three_and_a_count(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    lifts = {arm: 0.1 + 0.01 * position for position, arm in enumerate(FOURTEEN_ARMS)}
    first = write_run(tmp_path / "low", arms=FOURTEEN_ARMS, retest_seeds=range(9))
    other = write_run(tmp_path / "high", arms=FOURTEEN_ARMS, retest_seeds=range(9), lift=lifts)
    headline = said(comparison_of(first, other))
    assert headline.count("(paired interval") == 3
    assert re.search(r"; \d+ further arms differ by less\.$", headline)


def test_long_names_of_runs_stay_apart_in_the_figures(tmp_path: Path) -> None:
    names = [f"a-study-of-remedies-that-has-a-long-name-{end}" for end in ("monday", "tuesday")]
    comparison = comparison_of(*(write_run(tmp_path / name, arms=("none",)) for name in names))
    scores = figures.scores_data(comparison)
    assert scores is not None
    first, other = scores.groups[0].arms["arm"]
    assert first != other
    assert max(len(first), len(other)) <= 28
    assert set(scores.groups[0].seeds["arm"]) == {first, other}
