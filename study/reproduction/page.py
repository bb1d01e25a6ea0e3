"""The page of a reproduction: its sentences, its tables and its figures in one self-contained report.html."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from study.core.text import NOTHING, duration, listed, plural
from study.page import methods as page_methods
from study.page import render as page
from study.page.render import PageFigure
from study.page.text import config_value, percent, points, span
from study.page.words import dataset_title
from study.reproduction import figures as figures_reproduction
from study.reproduction import results as reproductions
from study.reproduction import tables
from study.reproduction.recipe import LAST_EPOCH
from study.reproduction.results import Comparison, Correction, Recipe, Reproduction

TITLE = "What do the reports' recipes give when they are run as stated, and when their faults are mended?"


@dataclass(frozen=True, kw_only=True)
class Warning:
    """What makes the numbers of this page something else than a reproduction."""

    title: str
    text: str


def write_reproduction_page(run_dir: Path) -> Path:
    """Draw every figure and write figures/*.png and report.html; a reader sees the old page or the new one.

    Raises ValueError, in one sentence, where run_dir is not a reproduction's run directory.
    """
    reproduction = reproductions.load_reproduction(run_dir)
    drawn = page.draw_figures(figures_reproduction.figures_of(reproduction), reproduction, {})
    return page.write_files(run_dir, drawn, render_page(reproduction, drawn))


def render_page(reproduction: Reproduction, drawn: Sequence[PageFigure]) -> str:
    summary = reproduction.summary
    return page.render_template(
        "reproduction.html.j2",
        drawn,
        title=TITLE,
        name=summary["name"],
        headline=headline(reproduction),
        remarks=remarks(reproduction),
        warnings=warnings(reproduction),
        state_sentence=state_sentence(reproduction),
        resume_command=summary.get("resume_command") if summary["state"] != "complete" else None,
        data_sentences=data_sentences(reproduction),
        main_table=tables.main_table(reproduction),
        further_table=tables.further_table(reproduction),
        class_tables=tables.class_tables(reproduction),
        gaps=gaps(reproduction),
        no_gaps=no_gaps(reproduction),
        faults_table=tables.faults_table(reproduction),
        ablations=tables.ablation_tables(reproduction),
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
    num_ran = sum(reproduction.has_run(str(recipe["name"])) for recipe in reproduction.recipes)
    if num_ran == 0:
        return f"There is no answer yet: none of {plural(len(reproduction.recipes), 'recipe')} has run."
    groups = reproductions.shared_numbers(reproduction)
    if not groups:
        return (
            f"{num_ran} of {plural(len(reproduction.recipes), 'recipe')} ran, and no number compares with its report: "
            f"{_why_nothing_compares(reproduction)}."
        )
    best = sum(bool(group[0][1].is_within) for group in groups)
    last = sum(bool(_best_at_the_end(group).is_last_within) for group in groups)
    num_compared = sum(map(len, groups))
    rest = num_ran - num_compared
    shared = " Recipes that share one reported score count once, by the best of them." * (num_compared > len(groups))
    beside = f" {plural(rest, 'further recipe')} ran, but cannot be compared." * bool(rest)
    return (
        f"{best} of {plural(len(groups), 'reported test score')} came out within "
        f"{percent(reproductions.TOLERANCE, 0)} points by the best epoch on test, as most reports took theirs, and "
        f"{last} by the last epoch. They are those of the {plural(num_compared, 'recipe')} that ran as stated (of "
        f"{len(reproduction.recipes)}; {_seeds_each(groups)}).{shared}{beside}"
    )


def _best_at_the_end(group: Sequence[tuple[Recipe, Comparison]]) -> Comparison:
    return max((one for _, one in group), key=lambda one: one.last.mean if one.last else 0.0)


def _seeds_each(groups: Sequence[Sequence[tuple[Recipe, Comparison]]]) -> str:
    """'one seed each', '2 to 3 seeds each'."""
    counts = sorted({one.ours.n for group in groups for _, one in group if one.ours})
    if counts[-1] == 1:
        return "one seed each"
    return f"{f'{counts[0]} to ' if len(counts) > 1 else ''}{counts[-1]} seeds each"


def _why_nothing_compares(reproduction: Reproduction) -> str:
    if reproduction.dataset_override is not None:
        return f"all were trained on {_dataset_title(reproduction.dataset_override)}"
    ran = [recipe for recipe in reproduction.recipes if reproduction.has_run(str(recipe["name"]))]
    if any(reproductions.obstacle(reproduction, str(recipe["name"])) for recipe in ran):
        return "they ran at a smaller scale"
    return "their reports printed none"


def _dataset_title(name: str) -> str:
    return dataset_title(name)


def remarks(reproduction: Reproduction) -> list[str]:
    """What choosing the epoch on test is worth, what a correction changes, and what could not run."""
    return [*_flattery(reproduction), *_largest_correction(reproduction), *_not_run(reproduction)]


def _flattery(reproduction: Reproduction) -> list[str]:
    flatteries = reproductions.flatteries(reproduction)
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
    found: list[Correction] = []
    for recipe in reproductions.as_stated(reproduction):
        found += [
            one
            for one in reproductions.corrections(reproduction, recipe)
            if one.run and one.difference and not one.is_control
        ]
    if not found:
        return []
    first = max(found, key=_size)
    difference, before, after = first.difference, first.before, first.after
    assert difference is not None
    assert before is not None
    assert after is not None
    interval = "one pair of seeds, so no interval"
    if difference.low is not None and difference.high is not None:
        interval = f"paired 95 % interval {span(difference.low, difference.high)}"
    picked = f" It is the largest of {len(found)}, and so rather overstated." if len(found) > 1 else ""
    return [
        f"The correction that changes most is one of {first.recipe} ({first.says}): {points(difference.mean)} points "
        f"({interval}), from {percent(before.mean)} to {percent(after.mean)} %.{picked}"
    ]


def _size(correction: Correction) -> float:
    return 0.0 if correction.difference is None else abs(correction.difference.mean)


def _not_run(reproduction: Reproduction) -> list[str]:
    """A sentence for each reason."""
    recipes_of: dict[str, list[str]] = {}
    for recipe in reproduction.recipes:
        absent = reproductions.absence(reproduction, str(recipe["name"]))
        if absent is not None:
            recipes_of.setdefault(absent, []).append(str(recipe["name"]))
    sentences = []
    for reason, names in recipes_of.items():
        what, _, why = reason.partition(": ")
        sentences.append(
            f"{plural(len(names), 'recipe')} {what}: {listed(names)}. {_sentence(why) if why else ''}".rstrip()
        )
    return sentences


# --- what it was done on, and how far it came ---------------------------------------------------------------------


def warnings(reproduction: Reproduction) -> list[Warning]:
    found = []
    if reproduction.dataset_override is not None:
        title = _dataset_title(reproduction.dataset_override)
        found.append(
            Warning(
                title="A smoke run.",
                text=f"Every recipe was trained on {title} instead of its own data set: these numbers show that the "
                "recipes run, and compare neither with the reports nor with the tuned studies.",
            )
        )
    scales = {
        name: text
        for name in reproduction.summary["runs"]
        if reproduction.has_run(name) and (text := reproductions.scale_note(reproduction, name))
    }
    if scales:
        is_all = all(name in scales for name in set(reproduction.runs["run"]))
        found.append(
            Warning(
                title="A smoke run." if is_all else "Smaller than stated.",
                text=f"{'Every run' if is_all else 'Some runs'} had fewer epochs and images than stated, so that the "
                f"numbers do not compare with the reports: {_scale_list(scales)}.",
            )
        )
    return found


def _scale_list(scales: dict[str, str]) -> str:
    """'s1_cnn and s0_base at scale 0.05 (1 of 20 epochs, 2,500 training images); ...'."""
    runs_at: dict[str, list[str]] = {}
    for name, text in scales.items():
        runs_at.setdefault(text, []).append(name)
    return "; ".join(
        f"{listed(names)}{', which ' if text.startswith('begins') else ' at '}{text}" for text, names in runs_at.items()
    )


def state_sentence(reproduction: Reproduction) -> str | None:
    state = reproduction.summary["state"]
    if state == "complete":
        return None
    if state == "running":
        return "This reproduction was running when the page was written. Should it have been killed, continue it with"
    return f"This reproduction is {state}: what follows is what it had reached. Continue it with"


def data_sentences(reproduction: Reproduction) -> list[str]:
    """A sentence a data set that was found."""
    found = []
    for name, dataset in reproduction.summary["datasets"].items():
        title, origin = _dataset_title(name), str(dataset["origin"])
        source = origin if origin.startswith((name, title)) else f"{title}, {origin}"
        num_train = int(dataset["num_train"]) + int(dataset.get("num_val") or 0)  # recipes set no validation apart
        found.append(
            f"Data: {source}. {int(dataset['num_classes']):,} classes; {num_train:,} training and "
            f"{int(dataset['num_test']):,} test images."
        )
    return found


# --- where the numbers differ -------------------------------------------------------------------------------------


def gaps(reproduction: Reproduction) -> list[tuple[str, str]]:
    """A recipe with a number further than 3 points from its report's, all such numbers, and what would explain them.

    Of recipes that share a reported number, the best one.
    """
    found = []
    for recipe, comparisons in _compared_numbers(reproduction):
        far = [one for one in comparisons if not one.is_within]
        if far:
            told = " ".join(_gap(reproduction, recipe, one) for one in far)
            found.append((str(recipe["name"]), f"{told} {_cause(reproduction, recipe, far[0])}"))
    return found


def _compared_numbers(reproduction: Reproduction) -> list[tuple[Recipe, list[Comparison]]]:
    """Every reported number that compares, the main one first; of recipes that share theirs, of the best one."""
    found = []
    for (recipe, _), *_ in reproductions.shared_numbers(reproduction):
        each = [reproductions.comparison(reproduction, recipe, reported) for reported in recipe["reported"]]
        found.append((recipe, [one for one in each if one.difference is not None]))
    return found


def _gap(reproduction: Reproduction, recipe: Recipe, comparison: Comparison) -> str:
    ours, difference = comparison.ours, comparison.difference
    assert ours is not None
    assert difference is not None
    is_main = comparison.what == recipe["reported"][0]["what"]
    what = "" if is_main else f"{_upper(comparison.what)}: "
    epoch = "on its best epoch on test" if comparison.is_best_compared else "at its last epoch"
    return (
        f"{what}{percent(ours.mean)} % {epoch}, {_distance(difference)} the reported {percent(comparison.reported)} %."
    )


def _distance(difference: float) -> str:
    return f"{percent(abs(difference))} points {'above' if difference > 0 else 'below'}"


def _cause(reproduction: Reproduction, recipe: Recipe, far: Comparison) -> str:
    """What would explain the first of the numbers that are off. That it would does not show that it was so."""
    cause = recipe["cause"]
    if cause is None:
        return "No cause was found."
    text, run = f"A possible cause: {str(cause['text']).rstrip('.')}.", str(cause["run"])
    if run == LAST_EPOCH:
        run, shown = "Its last epoch", replace(far, is_best_compared=False)
    else:
        absent = reproductions.absence(reproduction, run)
        if absent is not None:
            return f"{text} The run that would test it, {run}: {absent}."
        reported = {"what": far.what, "column": far.column, "value": far.reported}
        shown = reproductions.comparison(reproduction, recipe, reported, run)
    if shown.ours is None or shown.difference is None:
        return f"{text} The run that would test it, {run}, has no number that compares."
    return (
        f"{text} {run} gives {percent(shown.ours.mean)} % (n = {shown.ours.n}), "
        f"{_distance(shown.difference)} the reported number: {_explained(far, shown)}"
    )


def _explained(far: Comparison, shown: Comparison) -> str:
    assert far.difference is not None
    assert shown.difference is not None
    if shown.is_within:
        return "it would explain the difference, which does not show that it was the cause."
    if abs(shown.difference) < abs(far.difference):
        return "it would explain a part of the difference at most."
    return "it would not explain the difference."


def _upper(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _sentence(text: str) -> str:
    """Upper case at its beginning, one full stop at its end."""
    return f"{_upper(text).rstrip('.')}."


def no_gaps(reproduction: Reproduction) -> str:
    num_compared = sum(len(comparisons) for _, comparisons in _compared_numbers(reproduction))
    if num_compared:
        return (
            f"Of the {plural(num_compared, 'reported number')} that compare{'s' * (num_compared == 1)}, none is "
            f"further than {percent(reproductions.TOLERANCE, 0)} points from ours."
        )
    return "There is no number that compares with a report."


# --- setting ------------------------------------------------------------------------------------------------------


_PRECISIONS = {
    "bfloat16": "in mixed precision (bfloat16 by autocast), which the reports did not use",
    "float32": "in single precision (float32)",
}


def numerics_sentence(reproduction: Reproduction) -> str | None:
    """In which numerics everything was trained; None where that was not recorded."""
    precision = (reproduction.summary.get("numerics") or {}).get("precision")
    return None if precision is None else f"Everything here ran {_PRECISIONS.get(precision, f'in {precision}')}."


def facts(reproduction: Reproduction) -> list[tuple[str, str]]:
    """Name and value of what a rerun needs to know."""
    summary = reproduction.summary
    return [
        ("Command", str(summary.get("command", NOTHING))),
        ("State", str(summary["state"])),
        ("Seed", f"{config_value(summary.get('seed'))}; {plural(reproduction.num_seeds, 'seed')} a run"),
        ("Seeds", _seeds(reproduction)),
        *page_methods.machine_facts(summary),
        *_sessions(summary.get("sessions") or []),
        ("Training time", _training_time(reproduction)),
        *(
            (f"Fingerprint of {_dataset_title(name)}", str(dataset.get("fingerprint", NOTHING)))
            for name, dataset in summary["datasets"].items()
        ),
        *_tuned_studies(reproduction),
        *page_methods.ledger_facts(summary),
    ]


def _seeds(reproduction: Reproduction) -> str:
    return ", ".join(str(seed) for seed in sorted(set(reproduction.runs["seed"]))) or NOTHING


def _sessions(sessions: Sequence[dict[str, object]]) -> Iterable[tuple[str, str]]:
    for number, session in enumerate(sessions, start=1):
        wall = session.get("wall_seconds")
        yield (
            f"Session {number}" if len(sessions) > 1 else "Session",
            f"{session.get('started', NOTHING)} to {session.get('ended') or 'an end that was not recorded'}; wall time "
            f"{duration(wall if isinstance(wall, int | float) else None)}{_commit(session)}",
        )


def _commit(session: Mapping[str, object]) -> str:
    """A later session may be of another version of the project."""
    commit = session.get("commit")
    return f"; commit {str(commit)[:10]}" if commit else ""


def _training_time(reproduction: Reproduction) -> str:
    """All runs and seeds of a recipe summed."""
    seconds = reproduction.runs.groupby("recipe")["train_seconds"].sum()
    names = [str(recipe["name"]) for recipe in reproduction.recipes if recipe["name"] in seconds]
    if not names:
        return NOTHING
    each = ", ".join(f"{name} {duration(seconds[name])}" for name in names)
    return f"{duration(seconds.sum())}, summed over runs and seeds: {each}"


def _tuned_studies(reproduction: Reproduction) -> list[tuple[str, str]]:
    studies = {str(one["study"]) for one in reproduction.summary["tuned"].values() if "study" in one}
    return [("Tuned studies", ", ".join(sorted(studies)))] if studies else []
