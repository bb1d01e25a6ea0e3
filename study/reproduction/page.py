"""The page of a reproduction: its sentences, its tables and its figures in one self-contained report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.core.text import NOTHING, duration, listed, plural
from study.page import answers, methods, render
from study.page.render import PageFigure
from study.page.text import config_value, percent, points, span
from study.page.words import dataset_title, origin_text
from study.reproduction import claims, comparisons, results, tables
from study.reproduction.comparisons import TOLERANCE, Comparison
from study.reproduction.figures import figures_of
from study.reproduction.recipe import LAST_EPOCH
from study.reproduction.records import RecipeRecord, ReusedRecord, TunedRecord
from study.reproduction.results import Reproduction, Score, load_reproduction

TITLE = "What do the reports' recipes give when they are run as stated, and when their faults are mended?"


def write_reproduction_page(run_dir: Path, *, num_processes: int = 1) -> Path:
    """Draw every figure and write figures/*.png and report.html; a reader sees the old page or the new one.

    num_processes: see drawing.rendered.

    Raises ValueError, in one sentence, where run_dir is not a reproduction's run directory.
    """
    reproduction = load_reproduction(run_dir)
    drawn = render.draw_figures(figures_of(reproduction), reproduction, {}, num_processes=num_processes)
    return render.write_files(run_dir, drawn, render_page(reproduction, drawn))


def render_page(reproduction: Reproduction, drawn: Sequence[PageFigure]) -> str:
    summary = reproduction.summary
    return render.render_template(
        "reproduction.html.j2",
        drawn,
        title=TITLE,
        name=summary.name,
        headline=headline(reproduction),
        remarks=remarks(reproduction),
        warnings=warnings(reproduction),
        state_sentence=answers.state_sentence(summary.state, "reproduction"),
        resume_command=summary.resume_command if summary.state != "complete" else None,
        data_sentences=data_sentences(reproduction),
        main_table=tables.main_table(reproduction),
        further_table=tables.further_table(reproduction),
        class_tables=tables.class_tables(reproduction),
        gaps=gaps(reproduction),
        no_gaps=no_gaps(reproduction),
        faults_table=tables.faults_table(reproduction),
        claims_table=tables.claims_table(reproduction),
        ablations=tables.ablation_tables(reproduction),
        curves=tables.curve_tables(reproduction),
        speed_table=tables.speed_table(reproduction),
        numerics_sentence=numerics_sentence(reproduction),
        choices=tables.choices(reproduction),
        descriptions=tables.run_descriptions(reproduction),
        failures_table=tables.failures_table(reproduction),
        facts=facts(reproduction),
    )


# --- the answer ------------------------------------------------------------------------------------------------------


def headline(reproduction: Reproduction) -> str:
    """How many of the recipes came near their report, or why nothing compares."""
    num_recipes, num_ran = len(reproduction.recipes), len(_that_ran(reproduction))
    if num_ran == 0:
        return f"There is no answer yet: none of {plural(num_recipes, 'recipe')} has run."
    groups = comparisons.shared_numbers(reproduction)
    if not groups:
        return (
            f"{num_ran} of {plural(num_recipes, 'recipe')} ran, and no number compares with its report: "
            f"{_why_nothing_compares(reproduction)}."
        )
    best = sum(group[0].is_within for group in groups)
    last = sum(_best_at_the_end(group).is_within for group in groups)
    num_compared = sum(map(len, groups))
    rest = num_ran - num_compared
    shared = " Recipes that share one reported score count once, by the best of them." * (num_compared > len(groups))
    beside = f" {plural(rest, 'further recipe')} ran, but cannot be compared." * bool(rest)
    return (
        f"{best} of {plural(len(groups), 'reported test score')} came out within {percent(TOLERANCE, 0)} points by the "
        f"best epoch on test, as most reports took theirs, and {last} by the last epoch. They are those of the "
        f"{plural(num_compared, 'recipe')} that ran as stated (of {num_recipes}; {_seeds_each(groups)})."
        f"{shared}{beside} To be within {percent(TOLERANCE, 0)} points says nothing of differences between recipes, "
        "many of which are smaller."
    )


def _that_ran(reproduction: Reproduction) -> list[RecipeRecord]:
    return [recipe for recipe in reproduction.recipes if reproduction.has_run(recipe.name)]


def _best_at_the_end(group: Sequence[Comparison]) -> Comparison:
    """The comparison of the recipe whose last epoch is the best, at that epoch."""
    return max((one.at_last_epoch() for one in group), key=lambda one: one.last.mean if one.last else 0.0)


def _seeds_each(groups: Sequence[Sequence[Comparison]]) -> str:
    """'one seed each', '2 to 3 seeds each'."""
    counts = sorted({one.ours.n for group in groups for one in group if one.ours})
    if counts[-1] == 1:
        return "one seed each"
    return f"{f'{counts[0]} to ' if len(counts) > 1 else ''}{counts[-1]} seeds each"


def _why_nothing_compares(reproduction: Reproduction) -> str:
    override = reproduction.summary.dataset_override
    if override is not None:
        return f"all were trained on {dataset_title(override)}"
    if any(results.obstacle(reproduction, recipe.name) for recipe in _that_ran(reproduction)):
        return "they ran at a smaller scale"
    return "their reports printed none"


def remarks(reproduction: Reproduction) -> list[str]:
    """What choosing the epoch on test is worth, what a correction changes, what a claim is worth, what did not run."""
    return [
        *_flattery(reproduction),
        *_largest_correction(reproduction),
        *claims.answers(reproduction),
        *_not_run(reproduction),
    ]


def _flattery(reproduction: Reproduction) -> list[str]:
    flatteries = comparisons.flatteries(reproduction)
    if not flatteries:
        return []
    most = max(flatteries, key=lambda name: flatteries[name])
    mean = sum(flatteries.values()) / len(flatteries)
    return [
        "Choosing the epoch by the test split flatters: the best epoch on test lies above the last one by "
        f"{percent(mean)} points on average over {plural(len(flatteries), 'recipe')} as stated, by "
        f"{percent(flatteries[most])} at most ({most})."
    ]


def _largest_correction(reproduction: Reproduction) -> list[str]:
    """Of the corrections that are a training of their own, of recipes as stated; a control corrects nothing."""
    found = [
        (one, one.difference, one.before, one.after)
        for recipe in comparisons.as_stated(reproduction)
        for one in comparisons.corrections(reproduction, recipe)
        if one.run and one.difference and one.before and one.after and not one.is_control
    ]
    if not found:
        return []
    first, difference, before, after = max(found, key=lambda one: abs(one[1].mean))
    interval = "one pair of seeds, so no interval"
    if difference.low is not None and difference.high is not None:
        interval = f"paired 95 % interval {span(difference.low, difference.high)}"
    num_runs = len({one.run for one, *_ in found})
    picked = " As the largest of several it is rather overstated." if num_runs > 1 else ""
    return [
        f"Of the {plural(num_runs, 'training')} in full that correct{'s' * (num_runs == 1)} a recipe, that of "
        f"{first.recipe.name} changes most ({first.says}): {points(difference.mean)} "
        f"points ({interval}), from {percent(before.mean)} to {percent(after.mean)} %.{picked}"
    ]


def _not_run(reproduction: Reproduction) -> list[str]:
    """A sentence for each reason."""
    recipes_of: dict[str, list[str]] = {}
    for recipe in reproduction.recipes:
        absent = results.absence(reproduction, recipe.name)
        if absent is not None:
            recipes_of.setdefault(absent, []).append(recipe.name)
    sentences = []
    for reason, names in recipes_of.items():
        what, _, why = reason.partition(": ")
        sentence = f" {_upper(why).rstrip('.')}." if why else ""
        sentences.append(f"{plural(len(names), 'recipe')} {what}: {listed(names)}.{sentence}")
    return sentences


# --- what it was done on, and how far it came ---------------------------------------------------------------------


def warnings(reproduction: Reproduction) -> list[tuple[str, str]]:
    """Title and text of what makes the numbers of this page something else than a reproduction."""
    found = []
    override = reproduction.summary.dataset_override
    if override is not None:
        found.append(
            (
                "A smoke run.",
                f"Every recipe was trained on {dataset_title(override)} instead of its own data set: these numbers "
                "show that the recipes run, and compare neither with the reports nor with the tuned studies.",
            )
        )
    runs_at: dict[str, list[str]] = {}
    for name in reproduction.summary.runs:
        note = results.scale_note(reproduction, name)
        if note and reproduction.has_run(name):
            runs_at.setdefault(note, []).append(name)
    if runs_at:
        is_all = set(reproduction.runs["run"]) <= {name for names in runs_at.values() for name in names}
        each = "; ".join(
            f"{listed(names)}{', which ' if note.startswith('begins') else ' at '}{note}"
            for note, names in runs_at.items()
        )
        found.append(
            (
                "A smoke run." if is_all else "Smaller than stated.",
                f"{'Every run' if is_all else 'Some runs'} had fewer epochs and images than stated, so that the "
                f"numbers do not compare with the reports: {each}.",
            )
        )
    return found


def data_sentences(reproduction: Reproduction) -> list[str]:
    """A sentence a data set that was found, and the remarks on it."""
    sentences = []
    for name, dataset in reproduction.summary.datasets.items():
        # Recipes set no validation apart.
        sentences.append(
            f"Data: {origin_text(name, dataset.origin)}. {dataset.num_classes:,} classes; "
            f"{dataset.num_train + (dataset.num_val or 0):,} training and {dataset.num_test:,} test images."
        )
        sentences += dataset.remarks
    return sentences


# --- where the numbers differ -------------------------------------------------------------------------------------


def gaps(reproduction: Reproduction) -> list[tuple[str, str]]:
    """A recipe with a number further than 3 points from its report's, all such numbers, and what would explain them.

    Of recipes that share a reported number, the best one.
    """
    found = []
    for numbers in _compared_numbers(reproduction):
        far = [one for one in numbers if not one.is_within]
        if far:
            told = " ".join(map(_gap, far))
            found.append((far[0].recipe.name, f"{told} {_cause(reproduction, far[0])}"))
    return found


def _compared_numbers(reproduction: Reproduction) -> list[list[Comparison]]:
    """A recipe's reported numbers that compare, the main one first; of recipes that share theirs, of the best one."""
    found = []
    for recipe in [group[0].recipe for group in comparisons.shared_numbers(reproduction)]:
        each = [comparisons.compared(reproduction, recipe, reported) for reported in recipe.reported]
        found.append([one for one in each if one.difference is not None])
    return found


def _gap(comparison: Comparison) -> str:
    (ours, difference), reported = _ours(comparison), comparison.reported
    what = "" if reported.what == comparison.recipe.reported[0].what else f"{_upper(reported.what)}: "
    epoch = "on its best epoch on test" if comparison.is_best_compared else "at its last epoch"
    return f"{what}{percent(ours.mean)} % {epoch}, {_distance(difference)} the reported {percent(reported.value)} %."


def _ours(comparison: Comparison) -> tuple[Score, float]:
    """Our number and its difference to the reported one, where the two compare."""
    assert comparison.ours is not None
    assert comparison.difference is not None
    return comparison.ours, comparison.difference


def _distance(difference: float) -> str:
    return f"{percent(abs(difference))} points {'above' if difference > 0 else 'below'}"


def _cause(reproduction: Reproduction, far: Comparison) -> str:
    """What would explain the first of the numbers that are off. That it would does not show that it was so."""
    cause = far.recipe.cause
    if cause is None:
        return "No cause was found."
    text, run = f"A possible cause: {cause.text.rstrip('.')}.", cause.run
    if run == LAST_EPOCH:
        run, shown = "Its last epoch", far.at_last_epoch()
    else:
        absent = results.absence(reproduction, run)
        if absent is not None:
            return f"{text} The run that would test it, {run}: {absent}."
        shown = comparisons.compared(reproduction, far.recipe, far.reported, run)
    if shown.difference is None:
        return f"{text} The run that would test it, {run}, has no number that compares."
    ours, difference = _ours(shown)
    if shown.is_within:
        explained = "it would explain the difference, which does not show that it was the cause."
    elif abs(difference) < abs(_ours(far)[1]):
        explained = "it would explain a part of the difference at most."
    else:
        explained = "it would not explain the difference."
    return (
        f"{text} {run} gives {percent(ours.mean)} % (n = {ours.n}), {_distance(difference)} the reported number: "
        f"{explained}"
    )


def _upper(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def no_gaps(reproduction: Reproduction) -> str:
    num_compared = sum(map(len, _compared_numbers(reproduction)))
    if num_compared:
        return (
            f"Of the {plural(num_compared, 'reported number')} that compare{'s' * (num_compared == 1)}, none is "
            f"further than {percent(TOLERANCE, 0)} points from ours."
        )
    return "There is no number that compares with a report."


# --- setting ------------------------------------------------------------------------------------------------------


_PRECISIONS = {
    "bfloat16": "in mixed precision (bfloat16 by autocast), which the reports did not use",
    "float32": "in single precision (float32)",
}


def numerics_sentence(reproduction: Reproduction) -> str | None:
    """In which numerics everything was trained; None where that was not recorded."""
    summary = reproduction.summary
    if (precision := summary.numerics.get("precision")) is None:
        return None
    others: dict[str, list[str]] = {}
    for reused in summary.reused:
        others.setdefault(reused.numerics.get("precision", "numerics not recorded"), []).extend(reused.runs)
    others.pop(precision, None)
    if not others:
        return f"Everything here ran {_in_precision(precision)}."
    each = "; ".join(f"{listed(runs)} {_in_precision(other)}" for other, runs in others.items())
    return f"What was trained for this page ran {_in_precision(precision)}. Of what was taken over: {each}."


def _in_precision(precision: str) -> str:
    return _PRECISIONS.get(precision, f"in {precision}")


def facts(reproduction: Reproduction) -> list[tuple[str, str]]:
    """Name and value of what a rerun needs to know."""
    summary = reproduction.summary
    studies = {tuned.study for tuned in summary.tuned.values() if isinstance(tuned, TunedRecord)}
    return [
        ("Command", summary.command or NOTHING),
        ("State", summary.state),
        ("Seed", f"{config_value(summary.seed)}; {plural(summary.seeds, 'seed')} a run"),
        ("Seeds", ", ".join(map(str, sorted(set(reproduction.runs["seed"])))) or NOTHING),
        *methods.machine_facts(summary.model_dump()),
        *methods.session_facts(summary.sessions, _commit),
        ("Training time", _training_time(reproduction)),
        *(
            (f"Fingerprint of {dataset_title(name)}", dataset.fingerprint or NOTHING)
            for name, dataset in summary.datasets.items()
        ),
        *([("Tuned studies", ", ".join(sorted(studies)))] if studies else []),
        *(("Taken over", _taken_over(reused)) for reused in summary.reused),
        *methods.ledger_facts(summary.model_dump()),
    ]


def _taken_over(reused: ReusedRecord) -> str:
    """'s1_cnn and s1_step_none, from reports/one: AMD EPYC, PyTorch 2.15.0, bfloat16; commit 0123456789'."""
    machine, precision = reused.hardware.get("cpu", NOTHING), reused.numerics.get("precision", NOTHING)
    commits = ", ".join(commit[:10] for commit in reused.commits) or NOTHING
    return (
        f"{listed(list(reused.runs))}, from {reused.reproduction}: {machine}, "
        f"PyTorch {reused.versions.get('torch', NOTHING)}, {precision}; commit {commits}"
    )


def _commit(session: Mapping[str, Any]) -> str:
    """A later session may be of another version of the project."""
    commit = session.get("commit")
    return f"; commit {commit[:10]}" if commit else ""


def _training_time(reproduction: Reproduction) -> str:
    """All runs and seeds of a recipe summed."""
    seconds = reproduction.runs.groupby("recipe")["train_seconds"].sum()
    each = [f"{r.name} {duration(seconds[r.name])}" for r in reproduction.recipes if r.name in seconds]
    return f"{duration(seconds.sum())}, summed over runs and seeds: {', '.join(each)}" if each else NOTHING
