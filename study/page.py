"""The page: figures and tables of a run directory -> one self-contained report.html, PNGs embedded."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from study import analysis, figures
from study.analysis import LEVEL, MAX_IMAGE_SPREAD, Interval, Tables, Verdict
from trainables.files import write_durably

DATASET_TITLES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "eurosat": "EuroSAT",
    "digits": "scikit-learn's digits",
    "digit-pairs": "pairs of scikit-learn's digits",
}
TASK_TITLES = {"imbalance": "Class imbalance: which remedy helps?"}
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NOTHING = "–"
# The figures stand in these sections of the page, in the order of FIGURES.
FIGURE_SECTIONS = {
    "scores": "results", "differences": "results", "recall": "results", "confusion": "results",
    "curves": "tuning", "survivors": "tuning", "slices": "tuning", "own_slices": "tuning",
    "budget": "budget", "retest_curves": "retest",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PageFigure:
    """A drawn figure, or the reason why it is absent."""

    number: int | None
    name: str
    title: str
    caption: str
    alt: str
    png: bytes | None
    absent: str

    @property
    def data_uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png or b"").decode("ascii")

    @property
    def width(self) -> int:
        """Pixels, from the PNG's header, so that the page does not jump while it loads."""
        return int.from_bytes((self.png or b"")[16:20], "big")

    @property
    def height(self) -> int:
        return int.from_bytes((self.png or b"")[20:24], "big")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of finished strings; the first cell of a row is its header. marks: a row's CSS class or ''."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marks: tuple[str, ...] = ()


def write_page(run_dir: Path) -> Path:
    """Draw every figure and write figures/*.png and report.html; a reader sees the old page or the new one.

    Raises ValueError, in one sentence, where run_dir is not a run directory.
    """
    tables = analysis.load_tables(run_dir)
    drawn = draw_figures(tables)
    (run_dir / "figures").mkdir(exist_ok=True)
    for figure in drawn:
        path = run_dir / "figures" / f"{figure.name}.png"
        if figure.png is None:
            path.unlink(missing_ok=True)  # of an earlier state of the run
        else:
            write_durably(path, figure.png)
    path = run_dir / "report.html"
    write_durably(path, render_page(tables, drawn).encode("utf-8"))
    return path


def draw_figures(tables: Tables) -> list[PageFigure]:
    drawn: list[PageFigure] = []
    number = 0
    for figure in figures.FIGURES:
        data = figure.data(tables)
        number += data is not None
        drawn.append(
            PageFigure(
                number=number if data is not None else None,
                name=figure.name,
                title=figure.title,
                caption=figure.caption,
                alt=figure.alt(data) if data is not None else "",
                png=figures.render(figure, data) if data is not None else None,
                absent=figure.absent,
            )
        )
    return drawn


def render_page(tables: Tables, drawn: Sequence[PageFigure]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("study", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = typeset
    environment.filters["command_parts"] = command_parts
    sections: dict[str, list[PageFigure]] = {name: [] for name in (*FIGURE_SECTIONS.values(), "other")}
    for figure in drawn:
        sections[FIGURE_SECTIONS.get(figure.name, "other")].append(figure)
    summary = tables.summary
    return environment.get_template("report.html.j2").render(
        title=TASK_TITLES.get(str(summary.get("task")), f"Study of {summary.get('task')}"),
        name=summary["name"],
        headline=headline(tables),
        remarks=remarks(tables),
        data_sentence=data_sentence(summary),
        state_sentence=state_sentence(summary),
        resume_command=summary.get("resume_command") if summary["state"] != "complete" else None,
        arms_table=arms_table(tables),
        not_retested=not_retested(tables),
        descriptions=descriptions(summary),
        winners=_winner_commands(tables),
        winners_table=winners_table(tables),
        budget_warning=budget_warning(tables),
        budget_sentences=budget_sentences(tables),
        budget_table=budget_table(tables),
        failures_table=failures_table(tables),
        methods=methods(tables),
        facts=facts(tables),
        sections=sections,
    )


def typeset(text: str) -> str:
    """Keep a number and its unit on one line."""
    text = re.sub(r"(?<=\d) (?=%|points\b|s\b|min\b|h\b|seeds?\b)", "\u00a0", text)
    return text.replace("n = ", "n\u00a0=\u00a0").replace("t-interval", "t\u2011interval")


def command_parts(command: str) -> list[str]:
    """A command cut before each --option, so that lines break there; joined by spaces it is itself again."""
    return re.split(r" (?=--)", command)


# --- numbers as text ----------------------------------------------------------------------------------------


def percent(share: float | None, digits: int = 1) -> str:
    """0.712 -> '71.2'; nothing -> a dash."""
    return NOTHING if _is_missing(share) else f"{100 * float(share):.{digits}f}".replace("-", "−")  # type: ignore[arg-type]


def points(difference: float | None) -> str:
    """A signed difference of shares in points: 0.063 -> '+6.3'."""
    return NOTHING if _is_missing(difference) else f"{100 * float(difference):+.1f}".replace("-", "−")  # type: ignore[arg-type]


def span(low: float, high: float) -> str:
    """0.049, 0.077 -> '4.9–7.7'; with a negative end, '−0.4 to 2.1'."""
    separator = " to " if low < 0 or high < 0 else "–"
    return f"{percent(low)}{separator}{percent(high)}"


def level_text(level: float) -> str:
    """0.99 -> '99 %', 0.995833 -> '99.58 %'."""
    return f"{100 * level:.4g} %"


def duration(seconds: float | None) -> str:
    if _is_missing(seconds):
        return NOTHING
    value = float(seconds)  # type: ignore[arg-type]
    if value < 99.5:
        return f"{value:.0f} s" if value >= 10 or value == 0 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def config_value(value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return NOTHING if value is None else str(value)
    if isinstance(value, float):
        # Beta = 0.99999 must not become 1.
        return NOTHING if math.isnan(value) else f"{value:.6g}"
    return str(value)


def listed(names: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is_missing(value: Any) -> bool:
    return value is None or bool(pd.isna(value))


def _word(number: int) -> str:
    return NUMBER_WORDS[number] if 0 <= number < len(NUMBER_WORDS) else f"{number:,}"


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


# --- the answer ---------------------------------------------------------------------------------------------


def condition(summary: Mapping[str, Any]) -> str:
    """'On CIFAR-10 with the first five classes cut to 1/10'."""
    dataset, imbalance = summary["dataset"], summary["imbalance"]
    title = DATASET_TITLES.get(dataset["name"], str(dataset["name"]))
    ratio, which = float(imbalance["ratio"]), str(imbalance["classes"])
    if ratio == 1:
        return f"On {title}, all classes kept whole"
    if imbalance["kind"] == "step":
        num_cut = int(dataset["num_classes"]) // 2
        return f"On {title} with the {which} {_word(num_cut)} classes cut to 1/{ratio:g}"
    return f"On {title} with class counts falling exponentially to 1/{ratio:g} ({which} class rarest)"


def headline(tables: Tables) -> str:
    """The answer in one plain sentence, or why there is none yet."""
    verdict, place = analysis.verdict(tables), condition(tables.summary)
    if verdict.best is None or verdict.score is None:
        return _headline_without_retests(tables, place)
    control, score = _control_phrase(verdict), _score_text(verdict.score)
    if verdict.challenger is None:
        return f"{place}, {verdict.best} reaches a test balanced accuracy of {score}; no remedy was retested."
    if verdict.difference is None:
        return (
            f"{place}, {verdict.best} gives the best test balanced accuracy: {score}; no difference to "
            f"{control} can be given, because the two share no retest seed."
        )
    distance = percent(abs(verdict.difference.mean))
    if verdict.best == verdict.control:
        return (
            f"{place}, no remedy beats the control: {verdict.best} itself gives the best test balanced "
            f"accuracy, {score}; the best remedy, {verdict.challenger}, is {distance} points below "
            f"{_paired_text(verdict.difference, verdict.score)}."
        )
    side = "above" if verdict.difference.mean >= 0 else "below"
    if verdict.difference.half_width is None and verdict.score.n > 1:
        return (
            f"{place}, {verdict.best} has the highest test balanced accuracy, {score}, {distance} points "
            f"{side} {control} on the one seed that both share; one pair gives no interval, so this is no "
            "evidence of a difference."
        )
    if verdict.difference.half_width is None:
        return (
            f"{place}, {verdict.best} scores highest on the one seed tested, a test balanced accuracy of "
            f"{percent(verdict.score.mean)} %, {distance} points {side} {control}; one seed gives no "
            "interval, so this is no evidence of a difference."
        )
    if not verdict.difference.excludes_zero:
        return (
            f"{place}, there is no measurable difference between the best arm and {control}: "
            f"{verdict.best} has the highest test balanced accuracy, {score}, {distance} points {side} "
            f"{control} {_paired_text(verdict.difference, verdict.score)}; the interval is "
            f"{percent(2 * verdict.difference.half_width)} points wide and includes 0."
        )
    return (
        f"{place}, {verdict.best} gives the best test balanced accuracy: {score}, {distance} points {side} "
        f"{control} {_paired_text(verdict.difference, verdict.score)}."
    )


def _headline_without_retests(tables: Tables, place: str) -> str:
    best = analysis.winners(tables.trials).sort_values("objective", ascending=False, kind="stable")
    if best.empty:
        return f"{place}, there is no answer yet: no trial has completed and nothing was tested."
    first = best.iloc[0]
    return (
        f"{place}, there is no answer yet: no arm was retested. The highest validation balanced accuracy "
        f"so far is {percent(first['objective'])} % ({first['arm']}), a number that its own trials were "
        "chosen by."
    )


def _control_phrase(verdict: Verdict) -> str:
    return "no remedy" if verdict.control == "none" else verdict.control


def _score_text(score: Interval) -> str:
    if score.low is None or score.high is None:
        return f"{percent(score.mean)} % (one seed, so no interval)"
    low, high = max(score.low, 0.0), min(score.high, 1.0)  # a t-interval of few seeds may leave what is possible
    return f"{percent(score.mean)} % ({level_text(score.level)} interval {span(low, high)}, n = {score.n} seeds)"


def _paired_text(difference: Interval, score: Interval) -> str:
    if difference.low is None or difference.high is None:
        return "(one pair of seeds, so no interval)"
    # The difference is told without its sign ("points below"), so the interval is too.
    low, high = difference.low, difference.high
    if difference.mean < 0:
        low, high = -high, -low
    shared = "" if difference.n == score.n else f" over the {difference.n} seeds that both share"
    return f"(paired interval {span(low, high)}{shared})"


def remarks(tables: Tables) -> list[str]:
    """What a careful reader must know beside the headline."""
    verdict = analysis.verdict(tables)
    if verdict.best is None or verdict.score is None:
        return []
    sentences = []
    if verdict.num_arms > 1:
        sentences.append(_selection_remark(tables, verdict))
    if verdict.adjusted is not None and verdict.adjusted.low is not None and verdict.adjusted.high is not None:
        span_text = span(verdict.adjusted.low, verdict.adjusted.high)
        outcome = "excludes" if verdict.adjusted.excludes_zero else "includes"
        sentences.append(
            f"Adjusted for the {verdict.num_comparisons} comparisons with {verdict.control} (Bonferroni: "
            f"each interval at {level_text(verdict.adjusted.level)}), the difference {verdict.challenger} "
            f"− {verdict.control} lies within {span_text} points, which {outcome} 0."
        )
    above = [arm for arm in verdict.measurably_above_control if arm != verdict.best]
    if above:
        sentences.append(
            f"Also above {verdict.control} with a paired {level_text(LEVEL)} interval that excludes 0, "
            f"unadjusted: {listed(above)}."
        )
    if verdict.num_arms > 1:
        sentences.append(
            "The intervals are over the retest's seeds, not over the search: each arm was tuned once, and another "
            "search of its size might have found it another configuration."
        )
    if verdict.score.n < 2:
        sentences.append(f"With one seed no arm can be told from {verdict.best}.")
    elif verdict.indistinguishable_from_best:
        sentences.append(
            f"Not distinguishable from {verdict.best} (paired {level_text(LEVEL)} interval of the "
            f"difference to it includes 0, unadjusted): {listed(verdict.indistinguishable_from_best)}."
        )
    elif verdict.num_arms > 1:
        sentences.append(
            f"Every other arm is below {verdict.best} with a paired {level_text(LEVEL)} interval that "
            "excludes 0, unadjusted."
        )
    return sentences


def _selection_remark(tables: Tables, verdict: Verdict) -> str:
    text = (
        f"{verdict.best} was picked as the best of {verdict.num_arms} arms by these same test scores, "
        "which makes its number optimistic."
    )
    if verdict.chosen_on_validation is None or verdict.chosen_on_validation_score is None:
        return text
    if verdict.chosen_on_validation == verdict.best:
        return f"{text} It also has the highest validation score, which picks it without the test."
    return (
        f"{text} Picked without the test, by the highest validation score, the arm would be "
        f"{verdict.chosen_on_validation}: {_score_text(verdict.chosen_on_validation_score)}."
    )


def data_sentence(summary: Mapping[str, Any]) -> str:
    dataset = summary["dataset"]
    name, origin = str(dataset["name"]), str(dataset["origin"])
    counts = [int(count) for count in dataset["class_counts"]]
    title = DATASET_TITLES.get(name, name)
    source = origin if origin.startswith((name, title)) else f"{title}, {origin}"
    return (
        f"Data: {source}. {int(dataset['num_classes']):,} classes; {int(dataset['num_train']):,} training "
        f"images after thinning ({min(counts):,} to {max(counts):,} a class), {int(dataset['num_val']):,} "
        f"validation and {int(dataset['num_test']):,} test images of {dataset['image_size']} × "
        f"{dataset['image_size']} pixels."
    )


def state_sentence(summary: Mapping[str, Any]) -> str | None:
    if summary["state"] == "complete":
        return None
    if summary["state"] == "running":
        return "This study was running when the page was written. Should it have been killed, continue it with"
    return f"This study is {summary['state']}: what follows is what it had reached. Continue it with"


# --- tables -------------------------------------------------------------------------------------------------


def arms_table(tables: Tables) -> Table:
    control, ranked = tables.control, analysis.ranked_arms(tables)
    frame = analysis.arm_table(tables)
    rows, marks = [], []
    for row in frame.to_dict("records"):
        unfinished = row["running"] + row["interrupted"]
        trials = f"{row['completed']} / {row['stopped']} / {row['failed']}"
        rows.append(
            (
                str(row["arm"]),
                _mean_cell(row, is_n_common=frame["n"].nunique() <= 1),
                "control" if row["arm"] == control else _difference_cell(row),
                percent(row["test_accuracy"]),
                percent(row["test_macro_f1"]),
                percent(row["test_worst_class_recall"]),
                NOTHING if _is_missing(row["test_nll"]) else f"{row['test_nll']:.3f}",
                percent(row["test_ece"]),
                percent(row["val_objective"]),
                f"{trials} (+ {unfinished} unfinished)" if unfinished else trials,
            )
        )
        marks.append("best" if ranked[:1] == [row["arm"]] else "control" if row["arm"] == control else "")
    numbers = sorted({int(n) for n in frame["n"].dropna()})
    over = f"means over {_plural(numbers[0], 'seed')}" if len(numbers) == 1 else "means over n seeds"
    columns = [
        "Arm",
        "Balanced accuracy",
        f"Difference to {control}",
        "Accuracy",
        "Macro-F1",
        "Worst class",
        "NLL",
        "ECE",
        "Validation score",
        "Trials",
    ]
    return Table(
        caption=f"Test results of each arm's winner, {over}, the best arm first. ± is half the width of "
        "the 95 % t-interval; differences are paired by seed, their 95 % intervals not adjusted. "
        "Accuracies, F1, recall and ECE (15 bins) in %, differences in points, NLL in nats. Validation "
        "score: of the winning tuning trial. Trials: completed / stopped early / failed.",
        columns=tuple(columns),
        rows=tuple(rows),
        marks=tuple(marks),
    )


def _mean_cell(row: Mapping[Any, Any], *, is_n_common: bool) -> str:
    mean, low, high, n = percent(row["mean"]), row["low"], row["high"], row["n"]
    if mean == NOTHING:
        return NOTHING
    text = mean if _is_missing(low) else f"{mean} ± {percent((high - low) / 2)}"
    return text if is_n_common else f"{text} (n = {n:.0f})"


def _difference_cell(row: Mapping[Any, Any]) -> str:
    if _is_missing(row["difference_mean"]):
        return NOTHING
    text = points(row["difference_mean"])
    if _is_missing(row["difference_low"]):
        return f"{text} (no interval)"
    return f"{text} ({span(row['difference_low'], row['difference_high'])})"


def not_retested(tables: Tables) -> list[tuple[str, str]]:
    reasons = dict(tables.summary.get("not_retested") or {})
    retested = set(tables.retests["arm"])
    default = "the study is not finished" if tables.summary["state"] != "complete" else "no reason was recorded"
    return [(arm, str(reasons.get(arm, default))) for arm in tables.arms if arm not in retested]


def descriptions(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    texts = summary.get("arm_descriptions") or {}
    return [(arm, str(texts[arm])) for arm in summary["arms"] if arm in texts]


def _winner_commands(tables: Tables) -> list[tuple[str, str]]:
    found = tables.summary.get("winners") or {}
    return [(arm, str(found[arm]["command"])) for arm in tables.arms if arm in found]


def winners_table(tables: Tables) -> Table | None:
    found = tables.summary.get("winners") or {}
    arms = [arm for arm in tables.arms if arm in found]
    if not arms:
        return None
    names = list(dict.fromkeys(name for arm in arms for name in found[arm]["config"]))
    # A knob of no winner (null in all) would be an empty column.
    names = [name for name in names if any(found[arm]["config"].get(name) is not None for arm in arms)]
    rows = tuple(
        (
            arm,
            str(found[arm]["trial_id"]),
            percent(found[arm]["objective"]),
            *(config_value(found[arm]["config"].get(name)) for name in names),
        )
        for arm in arms
    )
    return Table(
        caption="The winning configurations; – where a hyperparameter is inactive. Validation score in %.",
        columns=("Arm", "Trial", "Validation score", *names),
        rows=rows,
    )


def budget_warning(tables: Tables) -> str | None:
    """The sentence that says that the arms' budgets were not equal, where they differ by more than 10 %."""
    budgets = analysis.arm_budgets(tables)
    spread = analysis.image_spread(budgets)
    if spread <= MAX_IMAGE_SPREAD:
        return None
    by_images = budgets.sort_values("num_images", kind="stable")
    least, most = by_images.iloc[0], by_images.iloc[-1]
    reasons = []
    if budgets["num_stopped"].sum() > 0:
        reasons.append("early stopping ended more epochs in some arms than in others")
    if (tables.trials["status"] == "failed").any():
        reasons.append("some trials failed")
    if tables.summary["budget"].get("time_budget") and budgets["num_trials"].nunique() > 1:
        reasons.append("the time budget was spent")
    if tables.summary["state"] != "complete":
        reasons.append("the study was interrupted")
    return (
        f"Budgets were not equal in images: tuning drew {int(least['num_images']):,} training images in "
        f"{least['arm']} and {int(most['num_images']):,} in {most['arm']}, a spread of {percent(spread)} % "
        f"of the larger (limit {percent(MAX_IMAGE_SPREAD, 0)} %), although every arm is given the same "
        "number of trials and of epochs a trial, because "
        f"{listed(reasons) if reasons else 'some trials ran fewer epochs'}."
    )


def budget_sentences(tables: Tables) -> list[str]:
    budgets = analysis.arm_budgets(tables)
    if budgets["num_trials"].sum() == 0:
        return ["No trial was run."]
    spent, saved = budgets["seconds"].sum(), budgets["saved_seconds"].sum()
    spread = analysis.image_spread(budgets)
    decisions = tables.rungs[tables.rungs["stage"] == "tune"]["decision"]
    sentences = [
        f"Tuning ran {_plural(int(budgets['num_trials'].sum()), 'trial')} over "
        f"{_plural(len(budgets), 'arm')} and drew {int(budgets['num_images'].sum()):,} training images in "
        f"{duration(spent)} of training and validation, summed over trials.",
        f"Early stopping took {_plural(len(decisions), 'decision')}, of which "
        f"{int((decisions == 'stop').sum()):,} stopped a trial. That left "
        f"{_plural(int(budgets['saved_epochs'].sum()), 'epoch')} unrun, about {duration(saved)}, or "
        f"{percent(saved / (spent + saved) if spent + saved > 0 else 0, 0)} % of what the same trials "
        "would have taken in full.",
    ]
    if spread <= MAX_IMAGE_SPREAD:
        sentences.append(
            f"The arms' images differ by at most {percent(spread)} % of the largest (limit "
            f"{percent(MAX_IMAGE_SPREAD, 0)} %)."
        )
    return sentences


def budget_table(tables: Tables) -> Table:
    rows = tuple(
        (
            row["arm"],
            f"{row['num_trials']:,}",
            f"{row['num_epochs']:,}",
            f"{row['num_images']:,}",
            duration(row["seconds"]),
            f"{row['num_stopped']:,}",
            f"{row['saved_epochs']:,}",
            duration(row["saved_seconds"]),
        )
        for row in analysis.arm_budgets(tables).to_dict("records")
    )
    return Table(
        caption="What tuning spent on each arm. Time saved is an estimate: epochs not run, each at the "
        "trial's own mean.",
        columns=(
            "Arm", "Trials", "Epochs", "Training images", "Time", "Stopped early", "Epochs saved", "Time "
            "saved",
        ),
        rows=rows,
    )  # fmt: skip


def failures_table(tables: Tables) -> Table | None:
    failed = tables.trials[tables.trials["status"] == "failed"]
    if failed.empty:
        return None
    rows = tuple(
        (
            str(row["trial_id"]),
            str(row["arm"]),
            str(row["epochs"]),
            "no message was recorded" if _is_missing(row["message"]) else str(row["message"]),
        )
        for row in failed.to_dict("records")
    )
    return Table(caption="Failed trials.", columns=("Trial", "Arm", "Epochs done", "Message"), rows=rows)


# --- methods and facts --------------------------------------------------------------------------------------


def methods(tables: Tables) -> list[str]:
    budget, dataset = tables.summary["budget"], tables.summary["dataset"]
    num_comparisons = analysis.verdict(tables).num_comparisons
    return [
        f"Split. {int(dataset['num_val']):,} validation images were cut from the training set, balanced "
        "over the classes, before thinning. Only the training part was thinned, once, in the data set. "
        "Tuning saw training and validation images, never the test split.",
        f"Tuning. {_trials_an_arm(tables)} of at most "
        f"{_plural(int(budget['max_epochs']), 'epoch')}, its own searcher ({budget['searcher']}) and its "
        f"own early stopping (ASHA, first rung at epoch {budget['grace_epochs']}, reduction factor "
        f"{budget['reduction_factor']}). An epoch draws as many images in every arm: the size of the "
        "thinned training set.",
        "Objective. Validation balanced accuracy at a trial's last epoch; the winner of an arm is its "
        "best completed trial, ties going to the earlier one.",
        f"Retest. Each winner was retrained on {_plural(int(budget['retest_seeds']), 'fresh seed')} on "
        "training and validation images joined and thinned anew, the seed choosing subset, initialisation "
        "and order; the same seeds in all arms, so that differences are paired. The test split was read "
        "once a seed.",
        "Intervals. Two-sided 95 % Student t-intervals over seeds, n − 1 degrees of freedom; differences "
        "are taken seed by seed. They cover the randomness of training and of the thinned subset, not "
        "that of the search: each arm was tuned once."
        + (
            f" The adjusted statement uses Bonferroni's correction for {num_comparisons} comparisons with the control."
            if num_comparisons > 1
            else ""
        ),
    ]


def _trials_an_arm(tables: Tables) -> str:
    """'Every arm got 6 trials', or what it was where the study ended before that."""
    planned = int(tables.summary["budget"]["trials_per_arm"])
    counts = analysis.arm_budgets(tables)["num_trials"]
    if (counts == planned).all():
        return f"Every arm got {_plural(planned, 'trial')}"
    return f"Every arm was to get {_plural(planned, 'trial')} and got {counts.min()} to {counts.max()}"


def facts(tables: Tables) -> list[tuple[str, str]]:
    """Name and value of what a rerun needs to know."""
    summary = tables.summary
    hardware, sessions = summary.get("hardware") or {}, summary.get("sessions") or []
    gpus = [str(gpu) for gpu in hardware.get("gpus") or []]
    rows = [
        ("Run command", str(summary.get("command", NOTHING))),
        ("State", str(summary["state"])),
        ("Study seed", config_value(summary.get("seed"))),
        ("Processor", f"{hardware.get('cpu', NOTHING)}, {config_value(hardware.get('cpus'))} CPUs"),
        ("GPUs", ", ".join(gpus) or "none"),
        ("Memory", f"{hardware['memory_gb']:.1f} GB" if hardware.get("memory_gb") else NOTHING),
        ("Versions", _pairs(summary.get("versions"))),
        ("Commit", str(summary.get("commit") or "not in a git checkout")),
        ("Numerics", _pairs(summary.get("numerics"))),
        ("Data fingerprint", str(summary["dataset"].get("fingerprint", NOTHING))),
    ]
    for number, session in enumerate(sessions, start=1):
        text = (
            f"{session.get('started', NOTHING)} to "
            f"{session.get('ended') or 'an end that was not recorded'}; wall time "
            f"{duration(session.get('wall_seconds'))}, tuning {duration(session.get('tune_seconds'))}, "
            f"retest {duration(session.get('retest_seconds'))}"
        )
        rows.append((f"Session {number}" if len(sessions) > 1 else "Session", text))
    milliseconds = summary.get("ledger_milliseconds_per_event")
    if not _is_missing(milliseconds):
        rows.append(("Ledger", f"{milliseconds:.2f} ms an event"))
    return rows


def _pairs(values: Mapping[str, Any] | None) -> str:
    if not values:
        return NOTHING
    return ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()
    )
