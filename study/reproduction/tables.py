"""The tables of a reproduction's page, as finished strings. A line break in a cell parts a number from what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from study.core.text import NOTHING, duration, plural
from study.page.tables import Table
from study.page.text import config_value, difference_cell, is_missing, mean_cell, percent, points, span
from study.page.words import METRIC_NAMES
from study.reproduction import results as reproductions
from study.reproduction.results import Comparison, Correction, Recipe, Reproduction, Score

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


def _score_lines(score: Score | None) -> str:
    """score_cell, its n on a line of its own: the main table is as wide as the page."""
    return NOTHING if score is None else _lines(score_cell(score, says_n=False), unbroken(f"n = {score.n}"))


def _lines(*parts: str | None) -> str:
    """The parts that there are, each on a line of its own."""
    return "\n".join(part for part in parts if part)


def _in_short(absent: str | None) -> str:
    """'not run: no EuroSAT under data' -> 'not run': the main table gives the reason, but of what was not chosen."""
    return absent if absent == reproductions.NOT_CHOSEN else (absent or NOTHING).partition(":")[0]


# --- the main table ------------------------------------------------------------------------------------------------


def main_table(reproduction: Reproduction) -> Table:
    """A row for every recipe, whether it ran or not."""
    rows, marks = [], []
    for recipe in reproduction.recipes:
        absent = reproductions.absence(reproduction, str(recipe["name"]))
        rows.append(_main_row(reproduction, recipe) if absent is None else _absent_row(reproduction, recipe, absent))
        comparison = reproductions.main_comparison(reproduction, recipe)
        is_within = comparison is not None and comparison.is_within
        marks.append("absent" if absent is not None else "within" if is_within else "")
    return Table(
        caption="Test accuracy in % (of puzzles: the share solved), mean ± standard deviation over n seeds. Best on "
        "test: the best epoch by the test split itself, as most reports picked theirs, of the same seeds; it is shown "
        f"for that comparison alone. Difference: best on test minus reported, in points; {WITHIN} within "
        f"{percent(reproductions.TOLERANCE, 0)} points. Corrected: at the last epoch; a control mends nothing, it is "
        "what the recipe is to be judged against. Tuned: the arm of a study that asks the same question, with its "
        "95 % t-interval.",
        columns=(
            "Recipe",
            "Reported",
            "Reproduced, last epoch",
            "Best on test",
            "Difference to reported",
            "Corrected, or control",
            "Tuned",
        ),
        rows=tuple(rows),
        marks=tuple(marks),
    )


def _main_row(reproduction: Reproduction, recipe: Recipe) -> tuple[str, ...]:
    name, column = str(recipe["name"]), reproductions.main_column(reproduction, recipe)
    comparison = reproductions.main_comparison(reproduction, recipe)
    return (
        _lines(
            name,
            str(recipe["says"]),
            reproductions.scale_note(reproduction, name),
            reproductions.shortfall(reproduction, name),
        ),
        _reported_cell(recipe, column),
        _score_lines(reproductions.score_of(reproductions.last_epoch(reproduction, name, column))),
        score_cell(reproductions.score_of(reproductions.best_on_test(reproduction, name, column)), says_n=False),
        difference_mark(comparison),
        _corrected_cell(reproduction, recipe),
        _tuned_cell(reproduction, recipe, column),
    )


def _absent_row(reproduction: Reproduction, recipe: Recipe, absent: str) -> tuple[str, ...]:
    """The reason stands across the columns of our numbers."""
    column = reproductions.main_column(reproduction, recipe)
    return (_lines(str(recipe["name"]), str(recipe["says"])), _reported_cell(recipe, column), absent)


def _reported_cell(recipe: Recipe, column: str) -> str:
    if not recipe["reported"]:
        return _lines(NOTHING, "no number printed")
    return _lines(percent(recipe["reported"][0]["value"]), _unless_accuracy(column))


def _unless_accuracy(column: str) -> str | None:
    return None if column == "test_accuracy" else column_name(column)


def difference_mark(comparison: Comparison | None) -> str:
    """'+0.4 ✓', or why ours does not compare."""
    if comparison is None:
        return NOTHING
    if comparison.obstacle is not None:
        return _lines(NOTHING, f"does not compare: {comparison.obstacle}")
    mark = f" {WITHIN}" if comparison.is_within else ""
    return unbroken(points(comparison.difference) + mark)


def _corrected_cell(reproduction: Reproduction, recipe: Recipe) -> str:
    found = reproductions.corrected(reproduction, recipe)
    if found is None:
        return NOTHING
    if found.after is None:
        return _lines(_in_short(found.absent), _says(found))
    short = None if found.run is None else reproductions.shortfall(reproduction, found.run)
    notes = (_other_score(reproduction, found), _other_scale(reproduction, found), short)
    return _lines(score_cell(found.after), _says(found), *notes)


def _says(correction: Correction) -> str:
    return f"control: {correction.says}" if correction.is_control else correction.says


def _other_score(reproduction: Reproduction, correction: Correction) -> str | None:
    """The name of the corrected score where it is another one than the recipe's own."""
    recipe = next(recipe for recipe in reproduction.recipes if recipe["name"] == correction.recipe)
    is_own = correction.column == reproductions.main_column(reproduction, recipe)
    return None if is_own else column_name(correction.column)


def _other_scale(reproduction: Reproduction, correction: Correction) -> str | None:
    """The corrected run's scale where it is another one than the recipe's own."""
    run = correction.run
    if run is None or reproduction.run(run) is None:
        return None
    if reproductions.same_scale(reproduction, correction.recipe, run):
        return None
    return reproductions.scale_note(reproduction, run) or "scale 1"


def _tuned_cell(reproduction: Reproduction, recipe: Recipe, column: str) -> str:
    tuned = reproduction.summary["tuned"].get(recipe["name"])
    if tuned is None:
        return NOTHING
    if "absent" in tuned:
        return _lines(NOTHING, str(tuned["absent"]))
    interval = "" if is_missing(tuned["low"]) else f" ({span(tuned['low'], tuned['high'])})"
    other = "" if tuned["column"] == column else f", {column_name(str(tuned['column']))}"
    number = unbroken(f"{percent(tuned['mean'])}{interval}")
    seeds = unbroken(f"n = {tuned['n']}")
    effort = [unbroken(plural(int(tuned[key]), key[:-1])) for key in ("epochs", "trials") if key in tuned]
    return _lines(number, f"{tuned['arm']}, {seeds}{other}", ", ".join(effort))


# --- further reported numbers --------------------------------------------------------------------------------------


def further_table(reproduction: Reproduction) -> Table | None:
    """All that a report printed beside its main number, of the recipes that ran."""
    rows = []
    for recipe in reproduction.recipes:
        if not reproduction.has_run(str(recipe["name"])):
            continue
        for reported in recipe["reported"][1:]:
            comparison = reproductions.comparison(reproduction, recipe, reported)
            rows.append(
                (
                    str(recipe["name"]),
                    comparison.what,
                    percent(comparison.reported),
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
        recalls = reproductions.recalls(reproduction, str(recipe["name"]))
        if recipe["reported_per_class"] and recalls is not None:
            found.append(_class_table(reproduction, recipe, recalls))
    return found


def _class_table(reproduction: Reproduction, recipe: Recipe, recalls: np.ndarray) -> Table:
    name, num_classes = str(recipe["name"]), recalls.shape[1]
    known = reproduction.summary["datasets"].get(reproduction.dataset_of(recipe)) or {}
    class_names = [str(title) for title in known.get("class_names") or range(num_classes)]
    obstacle = reproductions.obstacle(reproduction, name)
    reported = [] if obstacle is not None else [float(value) for value in recipe["reported_per_class"]]
    rows = []
    for number, class_name in enumerate(class_names):
        is_known = number < len(reported)
        column = recalls[:, number]
        spread = "" if len(column) < 2 else f" ± {percent(column.std(ddof=1))}"
        rows.append(
            (
                class_name,
                percent(reported[number]) if is_known else NOTHING,
                f"{percent(column.mean())}{spread}",
                points(column.mean() - reported[number]) if is_known else NOTHING,
            )
        )
    left_out = f" The reported recalls do not compare ({obstacle}) and are left out." if obstacle else ""
    mean = "mean ± standard deviation" if len(recalls) > 1 else "one seed"
    return Table(
        caption=f"{name}: test recall of each class (%) at the last epoch, {mean} (n = {len(recalls)}); "
        f"difference in points. – where the report's table is lost.{left_out}",
        columns=("Class", "Reported", "Reproduced", "Difference"),
        rows=tuple(rows),
    )


# --- faults and ablations ------------------------------------------------------------------------------------------


def faults_table(reproduction: Reproduction) -> Table:
    """A row a correction; a recipe without one keeps its fault."""
    rows = []
    for recipe in reproduction.recipes:
        fault = str(recipe["fault"])
        found = reproductions.corrections(reproduction, recipe)
        rows += [_correction_row(reproduction, fault, correction) for correction in found]
        if not found:
            rows.append((str(recipe["name"]), fault, "none was run"))
    return Table(
        caption="Each fault and what mends it. Before: the recipe as stated, at its last epoch (at its best epoch on "
        "test where reporting the last one is the correction); after: at the last epoch; in %. A control mends "
        "nothing: the recipe stands against it. Difference: after minus before, or recipe minus control, in points, "
        "paired over the seeds that both have, with its 95 % t-interval, not adjusted for the number of comparisons; "
        "none between runs of different scales, nor of a single epoch, which is its own best.",
        columns=("Recipe", "Fault", "Correction, or control", "Before → after", "Difference"),
        rows=tuple(rows),
    )


def _correction_row(reproduction: Reproduction, fault: str, correction: Correction) -> tuple[str, ...]:
    says = _lines(_says(correction), _other_score(reproduction, correction), _other_scale(reproduction, correction))
    if correction.after is None:
        return (correction.recipe, fault, says, _in_short(correction.absent))
    before = NOTHING if correction.before is None else percent(correction.before.mean)
    between = "against" if correction.is_control else "→"
    difference = correction.difference
    return (
        correction.recipe,
        fault,
        says,
        unbroken(f"{before} {between} {percent(correction.after.mean)}"),
        NOTHING if difference is None else unbroken(difference_cell(difference.mean, difference.low, difference.high)),
    )


def ablation_tables(reproduction: Reproduction) -> list[tuple[str, list[Table]]]:
    """The title of each ablation, its grid of scores, and that of its images where they are counted."""
    found = []
    for ablation in reproduction.summary["ablations"]:
        tables = [_grid(ablation, _scores_caption(reproduction, ablation), _score_cell_of(reproduction, ablation))]
        if ablation["counts_images"]:
            caption = (
                "Different training images that a run drew, however little their loss counted, and in brackets those "
                "of the classes that are cut; means over seeds."
            )
            tables.append(_grid(ablation, caption, _images_cell_of(reproduction, ablation)))
        found.append((str(ablation["title"]), tables))
    return found


def _grid(ablation: Mapping[str, Any], caption: str, cells: Sequence[Sequence[str]]) -> Table:
    rows = tuple((str(title), *row) for title, row in zip(ablation["rows"], cells, strict=True))
    return Table(caption=caption, columns=("", *map(str, ablation["columns"])), rows=rows)


def _scores_caption(reproduction: Reproduction, ablation: Mapping[str, Any]) -> str:
    runs = [run for row in ablation["cells"] for name in row if (run := reproduction.run(name)) is not None]
    scores = dict.fromkeys(column_name(str(run["score"])) for run in runs)
    what = " or ".join(scores) or "test accuracy"
    short = " × and a number: the scale; cells of different scales do not compare." * any(
        _scale_mark(reproduction, name) for row in ablation["cells"] for name in row
    )
    return f"{what.capitalize()} (%) at the last epoch, mean ± half the width of its 95 % t-interval (n seeds).{short}"


def _score_cell_of(reproduction: Reproduction, ablation: Mapping[str, Any]) -> list[list[str]]:
    return [[_ablation_score(reproduction, name) for name in row] for row in ablation["cells"]]


def _ablation_score(reproduction: Reproduction, name: str) -> str:
    run, absent = reproduction.run(name), reproductions.absence(reproduction, name)
    if run is None or absent is not None:
        return _in_short(absent)
    score = reproductions.score_of(reproductions.last_epoch(reproduction, name, str(run["score"])))
    if score is None:
        return NOTHING
    return unbroken(f"{mean_cell(score.mean, score.low, score.high, score.n)}{_scale_mark(reproduction, name)}")


def _scale_mark(reproduction: Reproduction, run: str) -> str:
    mark = reproductions.scale_mark(reproduction, run)
    return f" {mark}" if mark else ""


def _images_cell_of(reproduction: Reproduction, ablation: Mapping[str, Any]) -> list[list[str]]:
    return [[_ablation_images(reproduction, name) for name in row] for row in ablation["cells"]]


def _ablation_images(reproduction: Reproduction, name: str) -> str:
    images = reproductions.distinct_images(reproduction, name)
    if images is None:
        return _in_short(reproductions.absence(reproduction, name))
    cut = "" if images.cut is None else f" ({images.cut.mean:,.0f})"
    return unbroken(f"{images.total.mean:,.0f}{cut}")


# --- speed, choices, runs, setting ---------------------------------------------------------------------------------


def speed_table(reproduction: Reproduction) -> Table | None:
    rows = []
    for name in reproduction.summary["runs"]:
        speed = reproductions.convergence(reproduction, name)
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
    share = percent(reproductions.TARGET_SHARE, 0)
    return Table(
        caption=f"Epochs until the raw test score first reaches {share} % of the last epoch's, and the training images "
        "drawn until then; means over seeds. Last score in %, of the column that the run is judged by. Training time: "
        "of one seed's whole run, its evaluation left out.",
        columns=("Run", "Last score", f"Epochs to {share} %", "Images until then", "Training time"),
        rows=tuple(rows),
    )


def failures_table(reproduction: Reproduction) -> Table | None:
    rows = [
        (name, str(seed), str(message))
        for name, run in reproduction.summary["runs"].items()
        for seed, message in run["failures"].items()
    ]
    return Table(caption="Failed runs.", columns=("Run", "Seed", "Message"), rows=tuple(rows)) if rows else None


def choices(reproduction: Reproduction) -> list[tuple[str, str]]:
    """Recipes that share a text, and the text: what their report does not state, and what was chosen."""
    recipes_of: dict[str, list[str]] = {}
    for recipe in reproduction.recipes:
        recipes_of.setdefault(str(recipe["choices"]), []).append(str(recipe["name"]))
    return [(", ".join(names), text) for text, names in recipes_of.items() if text]


def run_descriptions(reproduction: Reproduction) -> list[tuple[str, str]]:
    """Every run and what it is: a recipe's own in full, another by what differs from it."""
    found = []
    for name, run in reproduction.summary["runs"].items():
        own = reproduction.run(str(run["recipe"]))
        settings = _settings(run)
        if own is None or name == run["recipe"]:
            shown, start = {key: value for key, value in settings.items() if value is not None}, "With"
        else:
            before, start = _settings(own), f"As {run['recipe']}, but"
            shown = {key: settings.get(key) for key in {**before, **settings} if settings.get(key) != before.get(key)}
        pairs = ", ".join(f"{key} {_value(value)}" for key, value in shown.items())
        found.append((name, f"{run['says']}. {start} {pairs or 'nothing changed'}."))
    return found


def _settings(run: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "epochs": run["num_epochs"],
        "training images": run.get("num_train"),
        "imbalance": run["imbalance"],
        "begins with": run.get("begins_with"),
        **run["config"],
    }


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return config_value(value) if isinstance(value, bool | float | str) else json.dumps(value)
