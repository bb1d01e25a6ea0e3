"""The page: its sentences, its tables against the frames, and that it is one safe file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_run import CLASS_NAMES, FAKES, FOURTEEN_ARMS, IMAGES_PER_EPOCH, edit_summary, write_run

from study import report
from study.analysis import results
from study.analysis.pareto import slowest_over_fastest
from study.analysis.tables import Tables, load_tables
from study.cli import run_main
from study.core.text import duration
from study.page import answers
from study.page import render as page
from study.page import tables as page_tables
from study.page import text as number_text
from study.page.methods import methods
from study.page.tasks.registry import PAGES, find_page, write_page_of
from study.records import tables as records

EVERY_FIGURE = tuple({figure.name: figure for shown in PAGES.values() for figure in shown.figures}.values())


class Rows(HTMLParser):
    """The cells of every table, the tags, every tag's resource addresses, and scripts in attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: set[str] = set()
        self.handlers: set[str] = set()
        self.addresses: list[str] = []
        self.scopes: list[str | None] = []
        self.alts: list[str | None] = []
        self._is_cell = False

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.handlers |= {name for name in values if name.startswith("on")}
        self.addresses += [str(values[name]) for name in ("src", "href", "srcset", "action") if name in values]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._is_cell = True
            if tag == "th":
                self.scopes.append(values.get("scope"))
        elif tag == "img":
            self.alts.append(values.get("alt"))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._is_cell = False

    def handle_data(self, data: str) -> None:
        if self._is_cell:
            self.tables[-1][-1][-1] += data


def parsed(html: str) -> Rows:
    rows = Rows()
    rows.feed(html)
    return rows


def written_figures(run_dir: Path) -> set[str]:
    tables = load_tables(run_dir)
    return {f"{figure.name}.png" for figure in find_page(tables.task).figures if figure.applies(tables)}


def without_images(html: str) -> str:
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)


# Every figure applies to them, and their panels take half of the time to draw that those of all arms take.
TWO_ARMS = ("none", "focal")


def undrawn(run_dir: Path) -> tuple[Tables, str]:
    """The page without its pictures, which take most of the time."""
    tables = load_tables(run_dir)
    return tables, page.render_page(find_page(tables.task), tables, [])


def set_scores(run_dir: Path, scores: dict[str, list[float]]) -> Tables:
    """Replace the retests by given test balanced accuracies, seeds 1, 2, ..."""
    template = records.read_table(run_dir / "retests.parquet").to_pylist()[0]
    rows = [
        {**template, "arm": arm, "trial_id": f"{arm}-0000", "seed": seed, "test_balanced_accuracy": value}
        for arm, values in scores.items()
        for seed, value in enumerate(values, start=1)
    ]
    records.write_table(run_dir / "retests.parquet", rows, records.RETESTS)
    return load_tables(run_dir)


def headline(tables: Tables) -> str:
    (sentence,) = answers.headlines(find_page(tables.task), tables)
    return sentence


def set_images(run_dir: Path, arm: str, factor: float) -> Tables:
    rows = records.read_table(run_dir / "trials.parquet").to_pylist()
    for row in rows:
        row["images"] = round(row["images"] * factor) if row["arm"] == arm else row["images"]
    schema = records.read_table(run_dir / "trials.parquet").schema
    records.write_table(run_dir / "trials.parquet", rows, schema)
    return load_tables(run_dir)


# --- the headline


def test_headline_of_a_measurable_difference(tmp_path: Path) -> None:
    # focal: mean .713333, interval .675388-.751279; differences .04 .03 .05 (see test_analysis)
    none = [0.66, 0.68, 0.68]
    tables = set_scores(write_run(tmp_path / "run"), {"none": none, "focal": [0.70, 0.71, 0.73]})
    assert headline(tables) == (
        "On CIFAR-10 with the first five classes cut to 1/10, focal gives the best test balanced "
        "accuracy: 71.3 % (95 % interval 67.5–75.1, n = 3 seeds), 4.0 points above no remedy (paired "
        "interval 1.5–6.5)."
    )


def test_headline_says_no_measurable_difference_and_how_wide_the_interval_is(tmp_path: Path) -> None:
    # differences .01 -.01 .03: mean .01, s .02, half-width 4.3027 * .02 / 1.732051 = .049683
    tables = set_scores(write_run(tmp_path / "run"), {"none": [0.7, 0.7, 0.7], "focal": [0.71, 0.69, 0.73]})
    text = headline(tables)
    assert "no measurable difference between the best arm and no remedy: focal" in text
    assert "1.0 points above no remedy (paired interval −4.0 to 6.0)" in text
    assert "9.9 points wide and includes 0" in text
    assert "gives the best" not in text


def test_headline_when_the_control_wins(tmp_path: Path) -> None:
    tables = set_scores(write_run(tmp_path / "run"), {"none": [0.70, 0.71, 0.73], "focal": [0.66, 0.68, 0.68]})
    text = headline(tables)
    assert "no remedy beats the control: none itself gives the best test balanced accuracy, 71.3 %" in text
    assert "the best remedy, focal, is 4.0 points below (paired interval 1.5–6.5)" in text


def test_headline_of_one_seed_invents_no_interval(tmp_path: Path) -> None:
    tables = set_scores(write_run(tmp_path / "run"), {"none": [0.66], "focal": [0.70]})
    text = headline(tables)
    assert "focal scores highest on the one seed tested" in text
    assert "70.0 %, 4.0 points above no remedy" in text
    assert "no interval" in text
    assert "95 %" not in text


def test_headline_when_the_control_was_not_retested(tmp_path: Path) -> None:
    tables = set_scores(write_run(tmp_path / "run"), {"focal": [0.70, 0.71, 0.73], "class_balanced": [0.6, 0.6, 0.6]})
    assert headline(tables) == (
        "On CIFAR-10 with the first five classes cut to 1/10, focal gives the best test balanced accuracy of 2 arms: "
        "71.3 % (95 % interval 67.5–75.1, n = 3 seeds)."
    )


def test_headline_of_one_arm_is_its_score(tmp_path: Path) -> None:
    tables = set_scores(write_run(tmp_path / "run", arms=["focal"], control=None), {"focal": [0.70, 0.71, 0.73]})
    assert headline(tables) == (
        "On CIFAR-10 with the first five classes cut to 1/10, focal reaches a test balanced accuracy of 71.3 % "
        "(95 % interval 67.5–75.1, n = 3 seeds)."
    )
    assert answers.remarks(find_page(tables.task), tables) == []


def test_headline_of_arms_that_share_no_seed_gives_no_difference(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run")
    set_scores(run_dir, {"none": [0.66, 0.68], "focal": [0.70, 0.71]})
    rows = records.read_table(run_dir / "retests.parquet").to_pylist()
    for row in rows:
        row["seed"] += 10 * (row["arm"] == "none")
    records.write_table(run_dir / "retests.parquet", rows, records.RETESTS)
    assert "no difference to no remedy can be given" in headline(load_tables(run_dir))


def test_headline_of_uneven_retests_says_how_many_seeds_are_shared(tmp_path: Path) -> None:
    tables = set_scores(write_run(tmp_path / "run"), {"none": [0.6, 0.6], "focal": [0.70, 0.71, 0.73]})
    assert "over the 2 seeds that both share" in headline(tables)
    tables = set_scores(tmp_path / "run", {"none": [0.6], "focal": [0.70, 0.71, 0.73]})
    assert "on the one seed that both share" in headline(tables)


def test_headline_without_retests_and_without_trials(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "a", interrupted=True))
    assert "there is no answer yet: no arm was retested" in headline(tables)
    tables = load_tables(write_run(tmp_path / "b", with_trials=False, interrupted=True))
    assert "there is no answer yet: no trial has been trained to its end and none was tested" in headline(tables)


def test_remarks_adjust_for_comparisons_and_name_who_cannot_be_told_apart(tmp_path: Path) -> None:
    tables = set_scores(
        write_run(tmp_path / "run"),
        {"none": [0.66, 0.68, 0.68], "focal": [0.70, 0.71, 0.73], "class_balanced": [0.69, 0.72, 0.72]},
    )
    text = " ".join(answers.remarks(find_page(tables.task), tables))
    assert "focal was picked as the best of 3 arms by these same test scores" in text
    # Two comparisons, 97.5 %: t(2, .9875) = 6.2053, half-width 6.2053 * .01 / 1.732051 = .035827
    assert "4.0 points above no remedy (paired interval 0.4–7.6, adjusted for 2 comparisons)" in headline(tables)
    # class_balanced - none: .03 .04 .04, half-width 6.2053 * .005774 / 1.732051 = .020684
    assert "Also measurably above none, adjusted for 2 comparisons: class_balanced." in text
    # focal - class_balanced: .01 -.01 .01
    assert "With 95 % confidence, the best of the 3 arms as tuned here is one of focal and class_balanced." in text
    assert "focal has the highest test balanced accuracy: 71.3 %" in headline(tables)
    assert headline(tables).endswith("; class_balanced may be as good.")
    # 1.96 * sqrt(.6989 * .3011 / 10000): the mean of the nine scores
    assert "of these 10,000 alone leaves a score uncertain by about ±0.9 points (95 %)" in text


def test_the_answer_is_the_arm_that_is_above_the_control_where_the_best_one_is_not(tmp_path: Path) -> None:
    tables = set_scores(
        write_run(tmp_path / "run"),
        {"none": [0.66, 0.68, 0.68], "focal": [0.70, 0.80, 0.75], "class_balanced": [0.69, 0.72, 0.72]},
    )
    text = " ".join(answers.remarks(find_page(tables.task), tables))
    # focal - none: .04 .12 .07, half-width 6.2053 * .0404145 / 1.732051 = .144790
    # class_balanced - none: .03 .04 .04, as above
    assert (
        "class_balanced, by 3.7 points (paired interval 1.6–5.7, adjusted for 2 comparisons), is measurably above no "
        "remedy. focal has the highest test balanced accuracy, 75.0 %" in headline(tables)
    )
    assert "but its distance to no remedy is not measurable: 7.7 points above no remedy (paired" in headline(tables)
    assert "measurably above" not in text


def test_a_measurable_difference_that_rounds_to_nothing_is_not_called_level(tmp_path: Path) -> None:
    tables = set_scores(
        write_run(tmp_path / "run"), {"none": [0.6601, 0.6702, 0.6803], "focal": [0.6605, 0.6706, 0.6807]}
    )
    assert "less than 0.1 points above no remedy (paired interval 0.0–0.1)" in headline(tables)
    assert "level" not in headline(tables)


# --- what a careful reader must know


def winners_numbered(run_dir: Path, numbers: dict[str, int]) -> Tables:
    """The trials of these arms renumbered, so that the winner of each has the given number."""
    rows = records.read_table(run_dir / "trials.parquet").to_pylist()
    for arm, taken in numbers.items():
        completed = [row for row in rows if row["arm"] == arm and row["status"] == "completed"]
        own = max(completed, key=lambda row: row["objective"])["number"]
        for row in rows:
            if row["arm"] == arm and row["number"] in {taken, own}:
                row["number"] = own if row["number"] == taken else taken
    schema = records.read_table(run_dir / "trials.parquet").schema
    records.write_table(run_dir / "trials.parquet", rows, schema)
    return load_tables(run_dir)


def given_remarks(tables: Tables) -> list[str]:
    return [text for text in answers.remarks(find_page(tables.task), tables) if "was given to begin with" in text]


def test_a_winner_that_the_search_was_given_is_said_to_be_no_find_of_its(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", arms=TWO_ARMS)
    assert given_remarks(winners_numbered(run_dir, {"none": 1, "focal": 2})) == []
    (some,) = given_remarks(winners_numbered(run_dir, {"none": 1, "focal": 0}))
    assert some.startswith("In focal the winner is a configuration that the search was given to begin with: nothing")
    (every,) = given_remarks(winners_numbered(run_dir, {"none": 0, "focal": 0}))
    assert every.startswith("In every arm the winner is")
    assert every.endswith("so what is compared are configurations as they were given, not tuned ones.")
    stage = {**load_tables(run_dir).stage("tune"), "num_given": {"none": 3, "focal": 0}}
    edit_summary(run_dir, stages=[stage])
    (recorded,) = given_remarks(winners_numbered(run_dir, {"none": 2, "focal": 0}))
    assert recorded.startswith("In none the winner is")


def test_an_arm_that_early_stopping_judges_late_is_named_in_methods_and_in_the_warning(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", arms=TWO_ARMS)
    assert "judged only after that" not in " ".join(methods(find_page("imbalance"), load_tables(run_dir)))
    table = records.read_table(run_dir / "rungs.parquet")
    first = min(row["rung_epoch"] for row in table.to_pylist())
    kept = [row for row in table.to_pylist() if row["arm"] != "focal" or row["rung_epoch"] > first]
    records.write_table(run_dir / "rungs.parquet", kept, table.schema)
    tables = set_images(run_dir, "focal", 3.0)
    count = sum(row["arm"] == "focal" for row in kept)
    assert f"are judged only after that: focal {count} times)" in " ".join(methods(find_page(tables.task), tables))
    warning = page_tables.budget_warning(tables)
    assert warning is not None
    assert "because early stopping judged focal late or never" in warning


def test_the_noise_of_times_is_that_within_trials(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", arms=TWO_ARMS)
    table = records.read_table(run_dir / "epochs.parquet")
    rows = table.to_pylist()
    for row in rows:
        row["train_seconds"] = 3.0 if row["epoch"] == 2 and row["arm"] == "none" else 2.0
    records.write_table(run_dir / "epochs.parquet", rows, table.schema)
    text = " ".join(page_tables.budget_sentences(load_tables(run_dir)))
    ratio = slowest_over_fastest(load_tables(run_dir)).median()
    assert ratio in {1.0, 1.25, 1.5}
    assert f"took {ratio:.1f} times as long as the fastest (median of trials; 1.5 times at most)" in text


# --- the budget


@pytest.mark.parametrize(("factor", "is_warned"), [(0.91, False), (0.89, True)])
def test_budget_warning_from_ten_percent_spread(tmp_path: Path, factor: float, is_warned: bool) -> None:
    run_dir = write_run(tmp_path / "run", early_stopping=False)
    tables = set_images(run_dir, "focal", factor)
    warning = page_tables.budget_warning(tables)
    assert (warning is not None) == is_warned
    if warning is not None:
        assert "a spread of 11.0 % of the larger (limit 10 %)" in warning
        assert f"{round(0.89 * 9 * IMAGES_PER_EPOCH) * 6:,}"[:4] in warning


def test_a_configuration_that_was_proposed_twice_is_counted(tmp_path: Path) -> None:
    tables, _ = undrawn(write_run(tmp_path))
    assert not any("tried before" in sentence for sentence in page_tables.budget_sentences(tables))
    trials = tables.trials.copy()
    second, third = trials.index[trials["arm"] == "focal"][1:3]
    configuration = [column for column in trials if column.startswith("config/")]
    trials.loc[third, configuration] = trials.loc[second, configuration]
    sentences = page_tables.budget_sentences(replace(tables, trials=trials))
    assert any("what an arm had tried before in 1 trial:" in sentence for sentence in sentences)


def test_budget_warning_names_early_stopping_as_the_reason(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", never_completed=["focal"]))
    assert "because early stopping ended more epochs" in str(page_tables.budget_warning(tables))


# --- the page


def test_arms_table_shows_the_frames_numbers(tmp_path: Path) -> None:
    tables, html = undrawn(write_run(tmp_path / "run", failed=["focal-0002"]))
    rows = {row[0]: row for row in parsed(html).tables[0][1:]}
    frame = results.arm_table(tables).set_index("arm")
    assert list(rows) == list(frame.index)
    for arm, expected in frame.iterrows():
        cells = rows[str(arm)]
        half_width = (expected["high"] - expected["low"]) / 2
        assert cells[1] == f"{100 * expected['mean']:.1f} ± {100 * half_width:.1f}"
        if arm == "none":
            assert cells[2] == "control"
        else:
            numbers = [float(text) for text in re.findall(r"[+−-]?\d+\.\d", cells[2].replace("−", "-"))]
            columns = ["difference_mean", "difference_low", "difference_high"]
            assert numbers == pytest.approx([100 * expected[column] for column in columns], abs=0.0501)
        for cell, column, scale in (
            (3, "test_accuracy", 100), (4, "test_macro_f1", 100), (5, "test_worst_class_recall", 100),
            (6, "test_nll", 1), (7, "test_ece", 100), (8, "val_objective", 100),
        ):  # fmt: skip
            assert float(cells[cell]) == pytest.approx(
                scale * expected[column], abs=0.0501 if scale == 100 else 0.000501
            )
        counts = [int(expected[status]) for status in ("completed", "stopped", "failed")]
        assert cells[9] == " / ".join(map(str, counts))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"arms": FOURTEEN_ARMS, "never_completed": ["focal"], "failed": ["none-0003"]},
        {"never_completed": ["none"]},
        {"retest_seeds": (1,)},
        {"interrupted": True},
        {"with_trials": False, "interrupted": True},
        {"arms": ["focal"], "control": None},
        *(
            {"task": task, **options}
            for task in FAKES
            for options in ({}, {"interrupted": True}, {"retest_seeds": (1,)})
        ),
        *({"task": task, "with_trials": False, "interrupted": True} for task in FAKES),
        {"task": "jigsaw", "never_completed": ["jigsaw_10pct", "scratch_100pct"]},
    ],
)
def test_no_nan_and_no_none_reaches_the_reader(tmp_path: Path, options: dict[str, Any]) -> None:
    tables, html = undrawn(write_run(tmp_path / "run", **options))
    assert re.search(r"\b(nan|NaN|inf|None|NaT)\b", html.split("<script>")[0]) is None
    assert len(table_with(html, "Trials")) == 1 + len(tables.arms)


def test_an_arm_without_a_completed_trial_is_listed_with_its_reason(tmp_path: Path) -> None:
    _, html = undrawn(write_run(tmp_path / "run", never_completed=["focal"]))
    assert "<b>focal</b>: no trial completed" in html


def test_an_interrupted_study_says_how_to_resume(tmp_path: Path) -> None:
    _, html = undrawn(write_run(tmp_path / "run", interrupted=True))
    assert "This study is interrupted" in html
    assert "python -m study.resume reports/demo" in html


def test_a_running_study_says_so_and_a_complete_one_says_nothing(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run")
    assert answers.state_sentence(load_tables(run_dir).summary["state"]) is None
    edit_summary(run_dir, state="running")
    _, html = undrawn(run_dir)
    assert "was running when the page was written" in html
    assert "python -m study.resume reports/demo" in html


def test_failed_trials_are_listed_with_their_message(tmp_path: Path) -> None:
    _, html = undrawn(write_run(tmp_path / "run", failed=["focal-0002"]))
    assert "RuntimeError: loss is not finite &lt;step 212&gt; &amp; stopped" in html


def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script></style></title>\"><img src=x onerror=alert(1)>' onload='alert(1)"
    evil += "<svg/onload=alert(1)>{{ 7 * 7 }}<!-- contents --><a href=javascript:alert(1)>"
    run_dir = write_run(tmp_path / "run", class_names=[evil, *CLASS_NAMES[1:]], failed=["focal-0002"])
    before = parsed(undrawn(run_dir)[1])
    summary = json.loads((run_dir / "summary.json").read_text())
    edit_summary(
        run_dir,
        name=evil,
        command=f"python -m study.run {evil}",
        commit=evil,
        dataset={**summary["dataset"], "name": evil, "origin": evil, "remarks": [evil]},
        hardware={"cpu": evil, "cpus": 2, "gpus": [evil], "memory_gb": None},
        versions={evil: evil},
        arm_descriptions=dict.fromkeys(summary["arms"], evil),
        not_retested={"none": evil},
    )
    trials = records.read_table(run_dir / "trials.parquet")
    messages = pa.array([message and evil for message in trials["message"].to_pylist()])
    place = trials.schema.get_field_index("message")
    pq.write_table(trials.set_column(place, "message", messages), run_dir / "trials.parquet")
    _, html = undrawn(run_dir)
    after = parsed(html)
    assert html.count("<script") == 1  # the page's own
    assert "&lt;script&gt;" in html
    assert "{{ 7 * 7 }}" in html
    assert (after.tags - before.tags, after.handlers, len(after.addresses)) == (set(), set(), len(before.addresses))


def test_winner_commands_survive_copying(tmp_path: Path) -> None:
    tables, html = undrawn(write_run(tmp_path / "run"))
    command = tables.summary["winners"]["focal"]["command"]
    texts = [re.sub(r"<[^>]+>", "", block) for block in re.findall(r"<pre>(.*?)</pre>", html, flags=re.S)]
    assert command in texts


def test_sparse_summary_is_enough(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run")
    optional = ("hardware", "versions", "numerics", "sessions", "arm_descriptions", "not_retested", "winners")
    edit_summary(run_dir, **dict.fromkeys(optional), ledger_milliseconds_per_event=None)
    _, html = undrawn(run_dir)
    assert '<h2 id="setting">Setting</h2>' in html


def test_write_page_writes_one_file_that_loads_nothing(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", arms=TWO_ARMS)
    path = write_page_of(run_dir)
    html = path.read_text(encoding="utf-8")
    rows = parsed(html)
    assert path == run_dir / "report.html"
    assert rows.addresses
    assert all(address.startswith(("data:", "#")) for address in rows.addresses)
    assert re.search(r"https?://|url\(|@import|<script[^>]", without_images(html)) is None
    assert '<html lang="en">' in html
    assert re.search(r"<title>[^<]+</title>", html)
    assert len(rows.alts) == len(written_figures(run_dir))
    assert all(rows.alts)
    assert set(rows.scopes) == {"col", "row"}
    assert html.count("<caption>") == len(rows.tables)
    assert {file.name for file in (run_dir / "figures").iterdir()} == written_figures(run_dir)
    assert not list(run_dir.rglob(".*.tmp"))


def test_a_figure_that_no_longer_applies_is_taken_away(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", with_trials=False, interrupted=True)
    (run_dir / "figures").mkdir()
    (run_dir / "figures" / "scores.png").write_bytes(b"old")
    html = write_page_of(run_dir).read_text(encoding="utf-8")
    assert not (run_dir / "figures" / "scores.png").exists()
    assert "No figure “The test balanced accuracy of each arm&#39;s winner”: no arm has been retested." in html


def test_every_figure_stands_in_a_section_of_the_page() -> None:
    for shown in PAGES.values():
        sections = {section.name for section in shown.sections} | {"results", "worth", "tuning", "budget", "retest"}
        assert {figure.section for figure in shown.figures} <= sections


@pytest.mark.parametrize("task", FAKES)
def test_figures_are_numbered_in_the_order_of_the_page(tmp_path: Path, task: str) -> None:
    tables = load_tables(write_run(tmp_path / "run", task=task, control_trials=2))  # which all figures apply to
    drawn = [
        page.PageFigure(
            number=number, name=figure.name, section=figure.section, title=figure.title, caption="", alt="",
            png=b"\x89PNG" + bytes(24), absent="",
        )
        for number, figure in enumerate(find_page(tables.task).figures, start=1)
    ]  # fmt: skip
    numbers = [
        int(number)
        for number in re.findall(r"<b>Figure (\d+)\.", page.render_page(find_page(tables.task), tables, drawn))
    ]
    assert numbers == list(range(1, len(drawn) + 1))


# --- the other tasks


def table_with(html: str, heading: str) -> list[list[str]]:
    """The first table that has a column of this heading."""
    return next(table for table in parsed(html).tables if heading in table[0])


def test_baseline_names_the_best_model_with_its_optimiser(tmp_path: Path) -> None:
    tables, html = undrawn(write_run(tmp_path / "run", task="baseline"))
    best = tables.trials[(tables.trials["arm"] == "resnet9") & (tables.trials["status"] == "completed")]
    name = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}[best.sort_values("objective").iloc[-1]["config/optimizer"]]
    assert headline(tables).startswith(f"On CIFAR-10, resnet9 (its winner uses {name}) gives the best test accuracy: ")
    assert "points above lenet (paired interval" in headline(tables)
    rows = {row[0]: row for row in table_with(html, "Optimiser")}
    assert rows["resnet9"][7] == name
    assert rows["Arm"][1:4] == ["Test accuracy", "Difference to lenet", "Macro-F1"]


def test_models_and_optimisers_give_the_number_of_trials(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", task="baseline", early_stopping=False)
    rows = records.read_table(run_dir / "trials.parquet").to_pylist()
    scores = {"lenet-0000": 0.611, "lenet-0003": 0.5, "lenet-0001": 0.7}
    for row in rows:
        row["objective"] = scores.get(row["trial_id"], 0.4)
    schema = records.read_table(run_dir / "trials.parquet").schema
    records.write_table(run_dir / "trials.parquet", rows, schema)
    _, html = undrawn(run_dir)
    found = {row[0]: row[1:] for row in table_with(html, "Model")}
    assert found["Model"] == ["Adam", "AdamW", "SGD"]
    assert found["lenet"] == ["70.0 * (2 of 2)", "40.0 (2 of 2)", "61.1 (2 of 2)"]


def test_tau_table_gives_gain_scores_and_paired_difference(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run")
    edit_summary(run_dir, taus=[0.0, 1.0])
    for name, column, values in (
        ("epochs.parquet", "val_balanced_accuracy_by_tau", {None: [0.60, 0.65]}),
        ("retests.parquet", "test_balanced_accuracy_by_tau", {1: [0.66, 0.70], 2: [0.69, 0.72], 3: [0.70, 0.75]}),
    ):
        table = records.read_table(run_dir / name)
        rows = table.to_pylist()
        for row in rows:
            row[column] = values[row.get("seed")] if row[column] is not None else None
        records.write_table(run_dir / name, rows, table.schema)
    tables, html = undrawn(run_dir)
    rows = {row[0]: row[1:] for row in table_with(html, "τ*")}
    # Of .66 .69 .70: mean .683333, s .0208167, half-width .051712; of .70 .72 .75: mean .723333, s .0251661,
    # half-width .062517; differences .04 .03 .05 (see test_analysis).
    assert rows["none"] == ["1", "+5.0", "68.3 ± 5.2", "72.3 ± 6.3", "+4.0 (1.5–6.5)"]
    assert "It costs no training" in html
    assert any(
        remark.startswith("Without further training, none") and "τ* = 1" in remark
        for remark in answers.remarks(find_page(tables.task), tables)
    )


def test_cifar100_shows_gap_superclass_and_what_was_not_run(tmp_path: Path) -> None:
    tables, html = undrawn(write_run(tmp_path / "run", task="cifar100"))
    assert "with resnet20, “both” gives the best test accuracy" in headline(tables)
    header, first = table_with(html, "Gap to training")[:2]
    gap = results.generalisation_gaps(tables)["both"]
    assert first[0] == "both"
    assert float(first[header.index("Gap to training")]) == pytest.approx(100 * gap, abs=0.0501)
    assert {"Top-5", "Super\u00adclass"} <= set(header)
    assert len(table_with(html, "Superclass")) == 11
    assert len(table_with(html, "Predicted class")) == 11
    assert "Not run here." in html


def test_cifar100_says_whether_a_recipe_memorises(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", task="cifar100")
    table = records.read_table(run_dir / "epochs.parquet")
    for end, says in ((2.05, "no test loss has risen more than 5 % above its least"), (2.4, "by 0.40 in “memorise”")):
        rows = table.to_pylist()
        last = max(row["epoch"] for row in rows)
        for row in rows:
            if row["test_loss"] is not None:
                row["train_eval_loss"] = 0.5
                row["test_loss"] = end if row["epoch"] == last and row["arm"] == "memorise" else 2.0
        records.write_table(run_dir / "epochs.parquet", rows, table.schema)
        text = " ".join(answers.remarks(find_page("cifar100"), load_tables(run_dir)))
        assert "Training losses end at 0.50 nats, where guessing has 4.61" in text
        assert says in text


def test_jigsaw_answers_for_each_share_of_the_labels(tmp_path: Path) -> None:
    tables, html = undrawn(write_run(tmp_path / "run", task="jigsaw"))
    first, second = answers.headlines(find_page(tables.task), tables)
    assert first.startswith("On CIFAR-10 with 10 % of the labels, solving puzzles first helps: jigsaw reaches a test")
    assert "points above scratch (paired interval" in first
    assert "points above scratch trained for as many epochs (paired interval" in first
    assert second.startswith("On CIFAR-10 with 100 % of the labels, solving puzzles first gives no measurable gain")
    assert html.count('<p class="answer">') == 2
    rows = table_with(html, "Minus scratch")
    assert [row[0] for row in rows[1:]] == ["10 % of the labels", "100 % of the labels"]
    assert rows[1][-1] == "helps"
    measures = {row[0]: row[1:] for row in table_with(html, "Measure")}
    assert measures["Puzzles solved exactly, by assignment"][2] == "4.2"
    assert measures["Tiles in place, by row-argmax"][2] == "25.0"
    assert any("The puzzle net of jigsaw_2x2" in remark for remark in answers.remarks(find_page(tables.task), tables))


def test_jigsaw_from_a_given_checkpoint_has_no_pretext(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", task="jigsaw")
    summary = json.loads((run_dir / "summary.json").read_text())
    edit_summary(
        run_dir,
        stages=summary["stages"][1:],
        **{
            name: {arm: value for arm, value in summary[name].items() if arm in summary["arms"]}
            for name in ("winners", "knobs", "arm_factors")
        },
        setting={**summary["setting"], "pretext_checkpoint": "elsewhere/jigsaw"},
    )
    for name in ("trials", "epochs", "rungs", "retests"):
        table = records.read_table(run_dir / f"{name}.parquet")
        rows = [row for row in table.to_pylist() if not row["stage"].startswith("pretext")]
        records.write_table(run_dir / f"{name}.parquet", rows, table.schema)
    (run_dir / "puzzles.parquet").unlink()
    tables, html = undrawn(run_dir)
    assert "solving puzzles first helps" in answers.headlines(find_page(tables.task), tables)[0]
    assert "No puzzle was solved here: the checkpoint elsewhere/jigsaw gives the convolutions" in html
    assert all(figure.data(tables) is None for figure in EVERY_FIGURE if figure.section == "pretext")


def test_jigsaw_of_one_seed_has_no_verdict(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", task="jigsaw", retest_seeds=(1,)))
    for sentence in answers.headlines(find_page(tables.task), tables):
        assert "there is no verdict on solving puzzles first, because one seed gives no interval" in sentence


# --- numbers as text, and the command


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (3.25, "3.2 s"),
        (59.6, "60 s"),
        (125, "2 min 05 s"),
        (7260, "2 h 01 min"),
        (6593.7, "1 h 50 min"),
        (None, "–"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_as_text() -> None:
    assert (number_text.percent(0.7123), number_text.percent(float("nan")), number_text.percent(None)) == (
        "71.2",
        "–",
        "–",
    )
    assert [number_text.points(value) for value in (0.063, -0.004, -0.0004)] == ["+6.3", "−0.4", "0.0"]
    assert [number_text.chance_percent(share) for share in (1 / 24, 1 / 362_880)] == ["4.2", "0.00028"]
    assert [number_text.percent(share) for share in (-0.0004, -0.0006)] == ["0.0", "−0.1"]
    assert (number_text.span(0.049, 0.077), number_text.span(-0.004, 0.021)) == ("4.9–7.7", "−0.4 to 2.1")
    assert (number_text.config_value(0.99999), number_text.config_value(128.0), number_text.config_value(None)) == (
        "0.99999",
        "128",
        "–",
    )


def test_report_rebuilds_the_page_from_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = write_run(tmp_path / "run", arms=TWO_ARMS, interrupted=True)
    assert report.main([str(run_dir)]) == 0
    assert (run_dir / "report.html").is_file()
    assert str(run_dir / "report.html") in capsys.readouterr().out


def test_pages_need_nothing_of_what_trains(tmp_path: Path) -> None:
    """PyTorch and Ray take longer to import than all the rest."""
    for library in ("torch", "torchvision", "ray"):
        (tmp_path / f"{library}.py").write_text("raise ImportError")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    command = [sys.executable, "-c", "import study.report, study.page.tasks.registry"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=True)


@pytest.mark.parametrize("name", ["missing", "."])
def test_report_of_a_bad_directory_is_one_sentence(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["study.report", str(tmp_path / name)])
    with pytest.raises(SystemExit) as exit_status:
        run_main(report.main)
    assert exit_status.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
