"""The page: its sentences, its tables against the frames, and that it is one safe file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fake_run import CLASS_NAMES, FOURTEEN_ARMS, IMAGES_PER_EPOCH, edit_summary, write_run

from study import analysis, figures, page, records, report
from study.analysis import Tables
from study.cli import run_main


class Rows(HTMLParser):
    """The cells of every table, and every tag's resource addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.addresses: list[str] = []
        self.scopes: list[str | None] = []
        self.alts: list[str | None] = []
        self._is_cell = False

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [
            str(values[name]) for name in ("src", "href", "srcset", "action") if name in values
        ]
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


def without_images(html: str) -> str:
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)


def undrawn(run_dir: Path) -> tuple[Tables, str]:
    """The page without its pictures, which take most of the time."""
    tables = analysis.load_tables(run_dir)
    return tables, page.render_page(tables, [])


def set_scores(run_dir: Path, scores: dict[str, list[float]]) -> Tables:
    """Replace the retests by given test balanced accuracies, seeds 1, 2, ..."""
    template = records.read_table(run_dir / "retests.parquet").to_pylist()[0]
    rows = [
        {**template, "arm": arm, "seed": seed, "test_balanced_accuracy": value}
        for arm, values in scores.items()
        for seed, value in enumerate(values, start=1)
    ]
    records.write_table(run_dir / "retests.parquet", rows, records.RETESTS)
    return analysis.load_tables(run_dir)


def set_images(run_dir: Path, arm: str, factor: float) -> Tables:
    rows = records.read_table(run_dir / "trials.parquet").to_pylist()
    for row in rows:
        row["images"] = round(row["images"] * factor) if row["arm"] == arm else row["images"]
    schema = records.read_table(run_dir / "trials.parquet").schema
    records.write_table(run_dir / "trials.parquet", rows, schema)
    return analysis.load_tables(run_dir)


# --- the headline


def test_headline_of_a_measurable_difference(tmp_path: Path) -> None:
    # focal: mean .713333, interval .675388-.751279; differences .04 .03 .05 (see test_analysis)
    none = [0.66, 0.68, 0.68]
    tables = set_scores(write_run(tmp_path / "run"), {"none": none, "focal": [0.70, 0.71, 0.73]})
    assert page.headline(tables) == (
        "On CIFAR-10 with the first five classes cut to 1/10, focal gives the best test balanced "
        "accuracy: 71.3 % (95 % interval 67.5–75.1, n = 3 seeds), 4.0 points above no remedy (paired "
        "interval 1.5–6.5)."
    )


def test_headline_says_no_measurable_difference_and_how_wide_the_interval_is(tmp_path: Path) -> None:
    # differences .01 -.01 .03: mean .01, s .02, half-width 4.3027 * .02 / 1.732051 = .049683
    tables = set_scores(write_run(tmp_path / "run"), {"none": [0.7, 0.7, 0.7], "focal": [0.71, 0.69, 0.73]})
    text = page.headline(tables)
    assert "no measurable difference between the best arm and no remedy: focal" in text
    assert "1.0 points above no remedy (paired interval −4.0 to 6.0)" in text
    assert "9.9 points wide and includes 0" in text
    assert "gives the best" not in text


def test_headline_when_the_control_wins(tmp_path: Path) -> None:
    tables = set_scores(
        write_run(tmp_path / "run"), {"none": [0.70, 0.71, 0.73], "focal": [0.66, 0.68, 0.68]}
    )
    text = page.headline(tables)
    assert "no remedy beats the control: none itself gives the best test balanced accuracy, 71.3 %" in text
    assert "the best remedy, focal, is 4.0 points below (paired interval 1.5–6.5)" in text


def test_headline_of_one_seed_invents_no_interval(tmp_path: Path) -> None:
    tables = set_scores(write_run(tmp_path / "run"), {"none": [0.66], "focal": [0.70]})
    text = page.headline(tables)
    assert "focal scores highest on the one seed tested" in text
    assert "70.0 %, 4.0 points above no remedy" in text
    assert "no interval" in text
    assert "95 %" not in text


def test_headline_when_the_control_was_not_retested(tmp_path: Path) -> None:
    tables = set_scores(
        write_run(tmp_path / "run"), {"focal": [0.70, 0.71, 0.73], "class_balanced": [0.6, 0.6, 0.6]}
    )
    assert "no difference to no remedy can be given" in page.headline(tables)


def test_headline_of_uneven_retests_says_how_many_seeds_are_shared(tmp_path: Path) -> None:
    tables = set_scores(write_run(tmp_path / "run"), {"none": [0.6, 0.6], "focal": [0.70, 0.71, 0.73]})
    assert "over the 2 seeds that both share" in page.headline(tables)
    tables = set_scores(tmp_path / "run", {"none": [0.6], "focal": [0.70, 0.71, 0.73]})
    assert "on the one seed that both share" in page.headline(tables)


def test_headline_without_retests_and_without_trials(tmp_path: Path) -> None:
    tables = analysis.load_tables(write_run(tmp_path / "a", interrupted=True))
    assert "there is no answer yet: no arm was retested" in page.headline(tables)
    tables = analysis.load_tables(write_run(tmp_path / "b", with_trials=False, interrupted=True))
    assert "there is no answer yet: no trial has completed" in page.headline(tables)


@pytest.mark.parametrize(
    ("imbalance", "text"),
    [
        ({"kind": "step", "ratio": 100.0, "classes": "last"}, "with the last five classes cut to 1/100"),
        (
            {"kind": "exponential", "ratio": 50, "classes": "last"},
            "falling exponentially to 1/50 (last class rarest)",
        ),
        ({"kind": "step", "ratio": 1.0, "classes": "first"}, "On CIFAR-10, all classes kept whole"),
    ],
)
def test_condition(tmp_path: Path, imbalance: dict[str, Any], text: str) -> None:
    run_dir = write_run(tmp_path / "run")
    edit_summary(run_dir, imbalance=imbalance)
    assert text in page.condition(analysis.load_tables(run_dir).summary)


def test_remarks_adjust_for_comparisons_and_name_who_cannot_be_told_apart(tmp_path: Path) -> None:
    tables = set_scores(
        write_run(tmp_path / "run"),
        {"none": [0.66, 0.68, 0.68], "focal": [0.70, 0.71, 0.73], "class_balanced": [0.69, 0.72, 0.72]},
    )
    text = " ".join(page.remarks(tables))
    assert "focal was picked as the best of 3 arms by these same test scores" in text
    # Two comparisons, 97.5 %: t(2, .9875) = 6.2053, half-width 6.2053 * .01 / 1.732051 = .035827
    assert "2 comparisons with none (Bonferroni: each interval at 97.5 %)" in text
    assert "lies within 0.4–7.6 points, which excludes 0" in text
    # focal - class_balanced: .01 -.01 .01, half-width .0287
    assert "Not distinguishable from focal (paired 95 % interval of the difference to it includes 0" in text
    assert "unadjusted): class_balanced." in text


# --- the budget


@pytest.mark.parametrize(("factor", "is_warned"), [(0.91, False), (0.89, True)])
def test_budget_warning_from_ten_percent_spread(tmp_path: Path, factor: float, is_warned: bool) -> None:
    run_dir = write_run(tmp_path / "run", early_stopping=False)
    tables = set_images(run_dir, "focal", factor)
    warning = page.budget_warning(tables)
    assert (warning is not None) == is_warned
    if warning is not None:
        assert "a spread of 11.0 % of the larger (limit 10 %)" in warning
        assert f"{round(0.89 * 9 * IMAGES_PER_EPOCH) * 6:,}"[:4] in warning


def test_budget_warning_names_early_stopping_as_the_reason(tmp_path: Path) -> None:
    tables = analysis.load_tables(write_run(tmp_path / "run", never_completed=["focal"]))
    assert "because early stopping ended more epochs" in str(page.budget_warning(tables))


# --- the page


def test_arms_table_shows_the_frames_numbers(tmp_path: Path) -> None:
    tables, html = undrawn(write_run(tmp_path / "run", failed=["focal-0002"]))
    rows = {row[0]: row for row in parsed(html).tables[0][1:]}
    frame = analysis.arm_table(tables).set_index("arm")
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
    ],
)
def test_no_nan_and_no_none_reaches_the_reader(tmp_path: Path, options: dict[str, Any]) -> None:
    tables, html = undrawn(write_run(tmp_path / "run", **options))
    assert re.search(r"\b(nan|NaN|inf|None|NaT)\b", html) is None
    assert len(parsed(html).tables[0]) == 1 + len(tables.arms)


def test_an_arm_without_a_completed_trial_is_listed_with_its_reason(tmp_path: Path) -> None:
    _, html = undrawn(write_run(tmp_path / "run", never_completed=["focal"]))
    assert "<b>focal</b>: no trial completed" in html


def test_an_interrupted_study_says_how_to_resume(tmp_path: Path) -> None:
    _, html = undrawn(write_run(tmp_path / "run", interrupted=True))
    assert "This study is interrupted" in html
    assert "python -m study.resume reports/demo" in html


def test_a_running_study_says_so_and_a_complete_one_says_nothing(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run")
    assert page.state_sentence(analysis.load_tables(run_dir).summary) is None
    edit_summary(run_dir, state="running")
    _, html = undrawn(run_dir)
    assert "was running when the page was written" in html
    assert "python -m study.resume reports/demo" in html


def test_failed_trials_are_listed_with_their_message(tmp_path: Path) -> None:
    _, html = undrawn(write_run(tmp_path / "run", failed=["focal-0002"]))
    assert "RuntimeError: loss is not finite &lt;step 212&gt; &amp; stopped" in html


def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    run_dir = write_run(tmp_path / "run", class_names=[evil, *CLASS_NAMES[1:]])
    summary = json.loads((run_dir / "summary.json").read_text())
    edit_summary(
        run_dir,
        name=evil,
        command=f"python -m study.run {evil}",
        dataset={**summary["dataset"], "name": evil, "origin": evil},
        hardware={"cpu": evil, "cpus": 2, "gpus": [evil], "memory_gb": None},
        not_retested={"none": evil},
    )
    _, html = undrawn(run_dir)
    assert "<script" not in html
    assert "&lt;script&gt;" in html


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
    assert "<h2>Setting</h2>" in html


def test_write_page_writes_one_file_that_loads_nothing(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run")
    path = page.write_page(run_dir)
    html = path.read_text(encoding="utf-8")
    rows = parsed(html)
    assert path == run_dir / "report.html"
    assert rows.addresses
    assert all(address.startswith("data:") for address in rows.addresses)
    assert re.search(r"https?://|url\(|@import|<script", without_images(html)) is None
    assert '<html lang="en">' in html
    assert re.search(r"<title>[^<]+</title>", html)
    assert len(rows.alts) == len(figures.FIGURES)
    assert all(rows.alts)
    assert set(rows.scopes) == {"col", "row"}
    assert html.count("<caption>") == len(rows.tables)
    written = {file.name for file in (run_dir / "figures").iterdir()}
    assert written == {f"{figure.name}.png" for figure in figures.FIGURES}
    assert not list(run_dir.rglob(".*.tmp"))


def test_a_figure_that_no_longer_applies_is_taken_away(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", with_trials=False, interrupted=True)
    (run_dir / "figures").mkdir()
    (run_dir / "figures" / "scores.png").write_bytes(b"old")
    html = page.write_page(run_dir).read_text(encoding="utf-8")
    assert not (run_dir / "figures" / "scores.png").exists()
    assert "No figure “Test balanced accuracy of each arm&#39;s winner”: no arm has been retested." in html


def test_every_figure_has_a_place_on_the_page() -> None:
    assert set(page.FIGURE_SECTIONS) == {figure.name for figure in figures.FIGURES}


# --- numbers as text, and the command


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (3.25, "3.2 s"), (59.6, "60 s"), (125, "2 min 05 s"), (7260, "2 h 01 min"), (None, "–")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert page.duration(seconds) == text


def test_numbers_as_text() -> None:
    assert (page.percent(0.7123), page.percent(float("nan")), page.percent(None)) == ("71.2", "–", "–")
    assert (page.points(0.063), page.points(-0.004)) == ("+6.3", "−0.4")
    assert (page.span(0.049, 0.077), page.span(-0.004, 0.021)) == ("4.9–7.7", "−0.4 to 2.1")
    assert (page.config_value(0.99999), page.config_value(128.0), page.config_value(None)) == (
        "0.99999",
        "128",
        "–",
    )


def test_report_rebuilds_the_page_from_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = write_run(tmp_path / "run", interrupted=True)
    assert report.main([str(run_dir)]) == 0
    assert (run_dir / "report.html").is_file()
    assert str(run_dir / "report.html") in capsys.readouterr().out


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
