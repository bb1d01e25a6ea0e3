"""The tables of a reproduction's page, as finished strings. A line break in a cell parts a number from what it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from study.core.text import NOTHING, duration, plural
from study.page.table import Table
from study.page.text import config_value, is_missing, mean_cell, paired_cell, percent, points, span
from study.page.words import METRIC_NAMES
from study.reproduction import claims, comparisons, curve_figures, results
from study.reproduction.comparisons import Comparison, Correction
from study.reproduction.recipe import Ablation, EpochCurves, ReportedEpochs
from study.reproduction.records import NotTunedRecord, RecipeRecord, RunRecord
from study.reproduction.results import Reproduction, Score

WITHIN = "✓"
COLUMN_NAMES = {
    **METRIC_NAMES,
    "train_eval_accuracy": "training accuracy",
    "test_exact_accuracy": "puzzles solved, by optimal assignment",
    "test_tile_accuracy": "tiles in place, by optimal assignment",
    "test_exact_accuracy_argmax": "puzzles solved, by row argmax",
    "test_tile_accuracy_argmax": "tiles in place, by row argmax",
    "test_confidence": "confidence",
}


def column_name(column: str) -> str:
    return COLUMN_NAMES.get(column, column)


def unbroken(text: str) -> str:
    """The text with no-break spaces: a number, what it is ± of and its n stay on one line."""
    return text.replace(" ", "\u00a0")


def score_cell(score: Score | None, *, says_n: bool = True) -> str:
    """'71.3 ± 0.4 (n = 3)' in %, ± the standard deviation; one seed has none."""
    if score is None:
        return NOTHING
    spread = "" if score.sd is None else f" ± {percent(score.sd)}"
    seeds = f" (n = {score.n})" if says_n else ""
    return unbroken(f"{percent(score.mean)}{spread}{seeds}")


def _lines(*parts: str | None) -> str:
    """The parts that there are, each on a line of its own."""
    return "\n".join(part for part in parts if part)


def _in_short(absent: str | None) -> str:
    """'not run: no EuroSAT under data' -> 'not run': the main table gives the reason, but of what was not chosen."""
    return absent if absent == results.NOT_CHOSEN else (absent or NOTHING).partition(":")[0]


# --- the main table ------------------------------------------------------------------------------------------------


def main_table(reproduction: Reproduction) -> Table:
    """A row for every recipe, whether it ran or not."""
    rows, marks = [], []
    for recipe in reproduction.recipes:
        absent = results.absence(reproduction, recipe.name)
        comparison = comparisons.main_comparison(reproduction, recipe)
        rows.append(_main_row(reproduction, recipe, comparison, absent))
        marks.append("absent" if absent else "within" if comparison and comparison.is_within else "")
    return Table(
        caption="Test accuracy in % (of puzzles: the share solved), mean ± standard deviation over n seeds. Best on "
        "test: the best epoch by the test split itself, as most reports picked theirs, of the same seeds; it is shown "
        f"for that comparison alone. Difference: best on test minus reported, in points; {WITHIN} within "
        f"{percent(comparisons.TOLERANCE, 0)} points. Corrected: at the last epoch; a control mends nothing, it is "
        "what the recipe is to be judged against. Tuned: the arm of a study that asks the same question, with its "
        "95 % t-interval.",
        columns=(
            "Recipe", "Reported", "Reproduced, last epoch", "Best on test", "Difference to reported",
            "Corrected, or control", "Tuned",
        ),
        rows=tuple(rows),
        marks=tuple(marks),
    )  # fmt: skip


def _main_row(
    reproduction: Reproduction, recipe: RecipeRecord, comparison: Comparison | None, absent: str | None
) -> tuple[str, ...]:
    """Of a recipe that did not run, the reason stands across the columns of our numbers."""
    name, column = recipe.name, results.main_column(reproduction, recipe)
    reported = _lines(NOTHING, "no number printed")
    if recipe.reported:
        score = None if column == "test_accuracy" else column_name(column)
        reported = _lines(percent(recipe.reported[0].value), score)
    if absent is not None:
        return _lines(name, recipe.says), reported, absent
    last = results.score_of(results.last_epoch(reproduction, name, column))
    best = results.score_of(results.best_on_test(reproduction, name, column))
    return (
        _lines(name, recipe.says, results.scale_note(reproduction, name), results.shortfall(reproduction, name)),
        reported,
        # The n on a line of its own: the table is as wide as the page.
        _lines(score_cell(last, says_n=False), None if last is None else unbroken(f"n = {last.n}")),
        score_cell(best, says_n=False),
        difference_mark(comparison),
        _corrected_cell(reproduction, recipe),
        _tuned_cell(reproduction, recipe, column),
    )


def difference_mark(comparison: Comparison | None) -> str:
    """'+0.4 ✓', or why ours does not compare."""
    if comparison is None:
        return NOTHING
    if comparison.obstacle is not None:
        return _lines(NOTHING, f"does not compare: {comparison.obstacle}")
    mark = f" {WITHIN}" if comparison.is_within else ""
    return unbroken(points(comparison.difference) + mark)


def _corrected_cell(reproduction: Reproduction, recipe: RecipeRecord) -> str:
    found = comparisons.main_correction(reproduction, recipe)
    if found is None:
        return NOTHING
    if found.after is None:
        return _lines(_in_short(found.absent), _says(found))
    short = None if found.run is None else results.shortfall(reproduction, found.run)
    return _lines(score_cell(found.after), _says(found), *_otherwise(reproduction, found), short)


def _says(correction: Correction) -> str:
    return f"control: {correction.says}" if correction.is_control else correction.says


def _otherwise(reproduction: Reproduction, correction: Correction) -> tuple[str | None, str | None]:
    """The name of the corrected score and the corrected run's scale, where they are others than the recipe's own."""
    recipe, run = correction.recipe, correction.run
    is_own = correction.column == results.main_column(reproduction, recipe)
    scale = None
    if run is not None and reproduction.run(run) and not results.same_scale(reproduction, recipe.name, run):
        scale = results.scale_note(reproduction, run) or "scale 1"
    return None if is_own else column_name(correction.column), scale


def _tuned_cell(reproduction: Reproduction, recipe: RecipeRecord, column: str) -> str:
    tuned = reproduction.summary.tuned.get(recipe.name)
    if tuned is None:
        return NOTHING
    if isinstance(tuned, NotTunedRecord):
        return _lines(NOTHING, tuned.absent)
    interval = "" if is_missing(tuned.low) else f" ({span(tuned.low, tuned.high)})"  # type: ignore[arg-type]
    other = "" if tuned.column == column else f", {column_name(tuned.column)}"
    spent = ((tuned.epochs, "epoch"), (tuned.trials, "trial"))
    return _lines(
        unbroken(f"{percent(tuned.mean)}{interval}"),
        f"{tuned.arm}, {unbroken(f'n = {tuned.n}')}{other}",
        ", ".join(unbroken(plural(number, noun)) for number, noun in spent if number is not None),
    )


# --- further reported numbers --------------------------------------------------------------------------------------


def further_table(reproduction: Reproduction) -> Table | None:
    """All that a report printed beside its main number, of the recipes that ran."""
    rows = []
    for recipe in reproduction.recipes:
        if not reproduction.has_run(recipe.name):
            continue
        for reported in recipe.reported[1:]:
            comparison = comparisons.compared(reproduction, recipe, reported)
            rows.append(
                (
                    recipe.name,
                    reported.what,
                    percent(reported.value),
                    score_cell(comparison.last),
                    score_cell(comparison.best, says_n=False),
                    difference_mark(comparison),
                )
            )
    if not rows:
        return None
    return Table(
        caption="What else the reports printed, in %, mean ± standard deviation over n seeds. The difference is that "
        "of the best epoch on test, or of the last epoch where the number is of training images or is said to be the "
        "last epoch's. Training accuracy is of a fixed sample of un-augmented training images.",
        columns=("Recipe", "Number", "Reported", "Last epoch", "Best on test", "Difference to reported"),
        rows=tuple(rows),
    )


def class_tables(reproduction: Reproduction) -> list[Table]:
    """A table a recipe whose report printed recalls of classes, and which ran."""
    found = []
    for recipe in reproduction.recipes:
        recalls = results.of_classes(reproduction, recipe.name, "per_class_recall")
        if recipe.reported_per_class and recalls is not None:
            found.append(_class_table(reproduction, recipe, recalls))
    return found


def _class_table(reproduction: Reproduction, recipe: RecipeRecord, recalls: np.ndarray) -> Table:
    obstacle = results.obstacle(reproduction, recipe.name)
    reported = dict(enumerate(recipe.reported_per_class)) if obstacle is None else {}
    rows = []
    class_names = reproduction.class_names(reproduction.dataset_of(recipe), recalls.shape[1])
    for number, class_name in enumerate(class_names):
        column = recalls[:, number]
        spread = "" if len(column) < 2 else f" ± {percent(column.std(ddof=1))}"
        difference = column.mean() - reported[number] if number in reported else None
        rows.append(
            (class_name, percent(reported.get(number)), f"{percent(column.mean())}{spread}", points(difference))
        )
    left_out = f" The reported recalls do not compare ({obstacle}) and are left out." if obstacle else ""
    mean = "mean ± standard deviation" if len(recalls) > 1 else "one seed"
    return Table(
        caption=f"{recipe.name}: test recall of each class (%) at the last epoch, {mean} (n = {len(recalls)}); "
        f"difference in points. – where the report's table is lost.{left_out}",
        columns=("Class", "Reported", "Reproduced", "Difference"),
        rows=tuple(rows),
    )


# --- faults and ablations ------------------------------------------------------------------------------------------


def faults_table(reproduction: Reproduction) -> Table:
    """A row a correction; a recipe without one keeps its fault."""
    rows: list[tuple[str, ...]] = []
    for recipe in reproduction.recipes:
        found = comparisons.corrections(reproduction, recipe)
        name = f"{recipe.name}{_scale_mark(reproduction, recipe.name)}"
        rows += [(name, recipe.fault, *_correction_cells(reproduction, correction)) for correction in found]
        if not found:
            rows.append((name, recipe.fault, "none was run"))
    return Table(
        caption="Each fault and what mends it. Before: the recipe as stated, at its last epoch (at its best epoch on "
        "test where reporting the last one is the correction); after: at the last epoch; in %. A control mends "
        "nothing: the recipe stands against it. Difference: after minus before, or recipe minus control, in points, "
        "paired over the seeds that both have, with its 95 % t-interval, not adjusted for the number of comparisons; "
        "none between runs of different scales, nor of a single epoch, which is its own best. × and a number: the "
        "recipe's scale.",
        columns=("Recipe", "Fault", "Correction, or control", "Before → after", "Difference"),
        rows=tuple(rows),
    )


def _correction_cells(reproduction: Reproduction, correction: Correction) -> tuple[str, ...]:
    says = _lines(_says(correction), *_otherwise(reproduction, correction))
    if correction.after is None:
        return says, _in_short(correction.absent)
    before = NOTHING if correction.before is None else percent(correction.before.mean)
    between = "against" if correction.is_control else "→"
    return (
        says,
        unbroken(f"{before} {between} {percent(correction.after.mean)}"),
        unbroken(paired_cell(correction.difference)),
    )


def ablation_tables(reproduction: Reproduction) -> list[tuple[str, list[Table]]]:
    """The title of each ablation, its grid of scores, and that of its images where they are counted."""
    found = []
    for ablation in reproduction.summary.ablations:
        tables = [_grid(ablation, _scores_caption(reproduction, ablation), lambda run: _score(reproduction, run))]
        if ablation.counts_images:
            caption = (
                "Different training images that a run drew, however little their loss counted, and in brackets those "
                "of the classes that are cut; means over seeds."
            )
            tables.append(_grid(ablation, caption, lambda run: _images(reproduction, run)))
        found.append((ablation.title, tables))
    return found


def _grid(ablation: Ablation, caption: str, cell: Callable[[str], str]) -> Table:
    rows = zip(ablation.rows, ablation.cells, strict=True)
    return Table(
        caption=caption,
        columns=("", *ablation.columns),
        rows=tuple((title, *(cell(run) for run in runs)) for title, runs in rows),
    )


def _scores_caption(reproduction: Reproduction, ablation: Ablation) -> str:
    runs = [run for name in ablation.runs if (run := reproduction.run(name)) is not None]
    what = " or ".join(dict.fromkeys(column_name(run.score) for run in runs)) or "test accuracy"
    short = " × and a number: the scale; cells of different scales do not compare." * any(
        results.scale_mark(reproduction, name) for name in ablation.runs
    )
    return f"{what.capitalize()} (%) at the last epoch, mean ± half the width of its 95 % t-interval (n seeds).{short}"


def _score(reproduction: Reproduction, name: str) -> str:
    run, absent = reproduction.run(name), results.absence(reproduction, name)
    if run is None or absent is not None:
        return _in_short(absent)
    score = results.score_of(results.last_epoch(reproduction, name, run.score))
    if score is None:
        return NOTHING
    return unbroken(f"{mean_cell(score.mean, score.low, score.high, score.n)}{_scale_mark(reproduction, name)}")


def _scale_mark(reproduction: Reproduction, run: str) -> str:
    mark = results.scale_mark(reproduction, run)
    return f" {mark}" if mark else ""


def _images(reproduction: Reproduction, name: str) -> str:
    images = results.distinct_images(reproduction, name)
    if images is None:
        return _in_short(results.absence(reproduction, name))
    cut = "" if images.cut is None else f" ({images.cut.mean:,.0f})"
    return unbroken(f"{images.total.mean:,.0f}{cut}")


# --- claims ----------------------------------------------------------------------------------------------------------


def claims_table(reproduction: Reproduction) -> Table | None:
    """A row a claim and a net of which a run was chosen; None where the chosen recipes' reports claim nothing."""
    rows = [_claim_row(one) for one in claims.judgements(reproduction)]
    if not rows:
        return None
    return Table(
        caption="What the reports say of two of their trainings, or their numbers show, and what comes out here: both "
        "runs at their last epochs, so that no test image chose anything; accuracies in %, their differences in "
        "points. Difference: paired over the seeds that both have, with its 95 % t-interval, not adjusted for the "
        "number of claims. A claim holds where the interval lies on its side of 0.",
        columns=("Claim", "Reported", "Net", "Without → with", "Difference", "Verdict"),
        rows=tuple(rows),
    )


def _claim_row(one: claims.Judgement) -> tuple[str, ...]:
    claim, reported = one.claim, NOTHING
    if claim.reported is not None:
        untreated, treated = claim.reported
        gain = points(claims.reported_gain(claim))
        reported = _lines(unbroken(f"{percent(untreated)} → {percent(treated)}"), unbroken(gain))
    named = (_capital(claim.says), reported, _lines(one.net, one.obstacle))
    if one.difference is None or one.before is None or one.after is None:
        return *named, one.absent or NOTHING
    numbers = (claims.number_text(claim, score.mean) for score in (one.before, one.after))
    return *named, unbroken(" → ".join(numbers)), claims.difference_text(claim, one.difference), one.verdict or NOTHING


# --- declared curves -------------------------------------------------------------------------------------------------


def curve_tables(reproduction: Reproduction) -> list[tuple[str, str, list[Table]]]:
    """The title of each declared figure of curves whose runs were trained, its section, and its tables."""
    found = []
    for curves in reproduction.summary.curves:
        data = curve_figures.epoch_curves_data(curves, reproduction)
        if data is not None:
            reported = _reported_epochs_table(reproduction, curves)
            tables = [*([reported] if reported else []), _curve_ends_table(data)]
            found.append((curves.title, curve_figures.section(curves), tables))
    return found


def _reported_epochs_table(reproduction: Reproduction, curves: EpochCurves) -> Table | None:
    """A row an epoch that was printed: for each quantity the reported number, then those of the runs that compare."""
    runs = curve_figures.comparable(curves, reproduction)
    if not runs or not curves.reported:
        return None
    columns = [
        f"{_capital(reported.what)}, {label}"
        for reported in curves.reported
        for label in ("reported", *(label for label, _ in runs))
    ]
    each = [_reported_cells(reproduction, reported, [run for _, run in runs]) for reported in curves.reported]
    epochs = sorted({epoch for cells in each for epoch in cells})
    nothing = (NOTHING,) * (1 + len(runs))
    return Table(
        caption="The epochs that the report printed, and ours; accuracy in %, loss in nats; means over seeds, and from "
        "an epoch on over all later ones. – where a run had fewer epochs, or the report printed nothing.",
        columns=("Epoch", *columns),
        rows=tuple((name, *(c for cells in each for c in cells.get((first, name), nothing))) for first, name in epochs),
    )


def _reported_cells(
    reproduction: Reproduction, reported: ReportedEpochs, runs: Sequence[str]
) -> dict[tuple[int, str], tuple[str, ...]]:
    """(Epoch, its name) -> the reported number, then each run's."""
    ours = [results.over_epochs(reproduction, run, reported.column).set_index("epoch")["mean"] for run in runs]
    cells = {
        (epoch, str(epoch)): tuple(_value_of(reported.column, x) for x in (value, *(one.get(epoch) for one in ours)))
        for epoch, value in reported.values
    }
    if reported.later is not None:
        since, low, high = reported.later
        means = (_value_of(reported.column, one[one.index >= since].mean()) for one in ours)
        shown = f"{_value_of(reported.column, low)}–{_value_of(reported.column, high)}"
        cells[since, f"from {since} on"] = (shown, *means)
    return cells


def _value_of(column: str, value: float | None) -> str:
    if is_missing(value):
        return NOTHING
    return percent(value) if column.endswith("accuracy") else f"{value:.2f}"


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _curve_ends_table(data: curve_figures.CurvesData) -> Table:
    rows = []
    for run in data.runs:
        epoch, lowest = run.lowest("test_loss")
        rows.append(
            (
                run.label,
                f"{run.last('train_eval_loss'):.2g}",
                f"{lowest:.2f} at epoch {epoch}",
                f"{run.last('test_loss'):.2f}",
                percent(run.last("train_eval_accuracy")),
                percent(run.last("test_accuracy")),
            )
        )
    return Table(
        caption="Where the curves end; means over seeds, losses in nats. A test loss that was lower before rises while "
        "the training loss falls: what is learnt then is the training images.",
        columns=(
            "Run", "Training loss, last", "Lowest test loss", "Test loss, last", "Training accuracy (%), last",
            "Test accuracy (%), last",
        ),
        rows=tuple(rows),
    )  # fmt: skip


# --- speed, choices, runs, setting ---------------------------------------------------------------------------------


def speed_table(reproduction: Reproduction) -> Table | None:
    rows = []
    for name in reproduction.summary.runs:
        speed = results.convergence(reproduction, name)
        if speed is not None:
            seconds = reproduction.runs.loc[reproduction.runs["run"] == name, "train_seconds"].mean()
            rows.append(
                (
                    f"{name}{_scale_mark(reproduction, name)}",
                    percent(speed.score.mean),
                    f"{speed.epochs.mean:.1f} of {speed.num_epochs}",
                    f"{speed.images.mean:,.0f}",
                    duration(seconds),
                )
            )
    if not rows:
        return None
    share = percent(results.TARGET_SHARE, 0)
    return Table(
        caption=f"Epochs until the raw test score first reaches {share} % of the last epoch's, and the training images "
        "drawn until then; means over seeds. Last score in %, of the column that the run is judged by. Training time: "
        "of one seed's whole run, its evaluation left out.",
        columns=("Run", "Last score", f"Epochs to {share} %", "Images until then", "Training time"),
        rows=tuple(rows),
    )


def failures_table(reproduction: Reproduction) -> Table | None:
    runs = reproduction.summary.runs
    rows = tuple((name, seed, message) for name, run in runs.items() for seed, message in run.failures.items())
    return Table(caption="Failed runs.", columns=("Run", "Seed", "Message"), rows=rows) if rows else None


def choices(reproduction: Reproduction) -> list[tuple[str, str]]:
    """Recipes that share a text, and the text: what their report does not state, and what was chosen."""
    recipes_of: dict[str, list[str]] = {}
    for recipe in reproduction.recipes:
        recipes_of.setdefault(recipe.choices, []).append(recipe.name)
    return [(", ".join(names), text) for text, names in recipes_of.items() if text]


def run_descriptions(reproduction: Reproduction) -> list[tuple[str, str]]:
    """Every run and what it is: a recipe's own in full, another by what differs from it."""
    found = []
    for name, run in reproduction.summary.runs.items():
        own, settings = reproduction.run(run.recipe), _settings(run)
        if own is None or own is run:
            shown, start = {key: value for key, value in settings.items() if value is not None}, "With"
        else:
            before, start = _settings(own), f"As {run.recipe}, but"
            shown = {key: settings.get(key) for key in {**before, **settings} if settings.get(key) != before.get(key)}
        pairs = ", ".join(f"{key} {_value(value)}" for key, value in shown.items())
        found.append((name, f"{run.says}. {start} {pairs or 'nothing changed'}."))
    return found


def _settings(run: RunRecord) -> dict[str, Any]:
    return {
        "epochs": run.num_epochs,
        "training images": run.num_train,
        "imbalance": run.imbalance,
        "begins with": run.begins_with,
        **run.config,
    }


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return config_value(value) if isinstance(value, bool | float | str) else json.dumps(value)
