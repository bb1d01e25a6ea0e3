"""The page of a reproduction: its sentences, its tables and its figures in one self-contained report.html."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from study import figures_reproduction, page, page_methods, wording
from study import reproduction_analysis as reproductions
from study import reproduction_tables as tables
from study.number_text import (
    NOTHING,
    config_value,
    duration,
    listed,
    percent,
    plural,
    points,
    span,
)
from study.page import PageFigure
from study.reproduction_analysis import Comparison, Correction, Recipe, Reproduction

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
    compared = compared_recipes(reproduction)
    if not compared:
        return (
            f"{num_ran} of {plural(len(reproduction.recipes), 'recipe')} ran, and no number compares with its report: "
            f"{_why_nothing_compares(reproduction)}."
        )
    num_within = sum(bool(comparison.is_within) for _, comparison in compared)
    rest = num_ran - len(compared)
    beside = f" {plural(rest, 'further recipe')} ran, but cannot be compared." if rest else ""
    return (
        f"{num_within} of the {plural(len(compared), 'recipe')} that ran as stated came within "
        f"{percent(reproductions.TOLERANCE, 0)} points of the reported number, the best epoch on test taken, as the "
        f"reports took theirs.{beside}"
    )


def compared_recipes(reproduction: Reproduction) -> list[tuple[Recipe, Comparison]]:
    """The recipes that ran as stated and whose report printed a number."""
    found = [(recipe, reproductions.main_comparison(reproduction, recipe)) for recipe in reproduction.recipes]
    return [(recipe, one) for recipe, one in found if one is not None and one.difference is not None]


def _why_nothing_compares(reproduction: Reproduction) -> str:
    if reproduction.dataset_override is not None:
        return f"all were trained on {_dataset_title(reproduction.dataset_override)}"
    ran = [recipe for recipe in reproduction.recipes if reproduction.has_run(str(recipe["name"]))]
    if any(reproductions.obstacle(reproduction, str(recipe["name"])) for recipe in ran):
        return "they ran at a smaller scale"
    return "their reports printed none"


def _dataset_title(name: str) -> str:
    return wording.DATASET_TITLES.get(name, name)


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
    """Of the corrections that are a training of their own, of recipes as stated."""
    found: list[Correction] = []
    for recipe in reproductions.as_stated(reproduction):
        found += [one for one in reproductions.corrections(reproduction, recipe) if one.run and one.difference]
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
        for name, run in reproduction.summary["runs"].items()
        if reproduction.has_run(name) and (text := reproductions.scale_text(run))
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
    """'s1_cnn and s1_step_none at scale 0.05 (1 of 20 epochs, 5 % of the images); ...'."""
    runs_at: dict[str, list[str]] = {}
    for name, text in scales.items():
        runs_at.setdefault(text, []).append(name)
    return "; ".join(f"{listed(names)} at {text}" for text, names in runs_at.items())


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
    """A recipe further than 3 points from its report, and the cause."""
    return [
        (str(recipe["name"]), f"{_gap(comparison)} {_cause(reproduction, recipe)}")
        for recipe, comparison in compared_recipes(reproduction)
        if not comparison.is_within
    ]


def _gap(comparison: Comparison) -> str:
    ours, difference = comparison.ours, comparison.difference
    assert ours is not None
    assert difference is not None
    return (
        f"{percent(ours.mean)} % on its best epoch on test, {_distance(difference)} the reported "
        f"{percent(comparison.reported)} %."
    )


def _distance(difference: float) -> str:
    return f"{percent(abs(difference))} points {'above' if difference > 0 else 'below'}"


def _cause(reproduction: Reproduction, recipe: Recipe) -> str:
    cause = recipe["cause"]
    if cause is None:
        return "No cause was found."
    text, run = _sentence(str(cause["text"])), str(cause["run"])
    absent = reproductions.absence(reproduction, run)
    if absent is not None:
        return f"{text} The run that would show it, {run}: {absent}."
    shown = reproductions.comparison(reproduction, recipe, recipe["reported"][0], run)
    if shown.ours is None or shown.difference is None:
        return f"{text} The run that would show it, {run}, has no number that compares."
    return (
        f"{text} {run} gives {percent(shown.ours.mean)} % (n = {shown.ours.n}), "
        f"{_distance(shown.difference)} the reported number."
    )


def _sentence(text: str) -> str:
    """Upper case at its beginning, one full stop at its end."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def no_gaps(reproduction: Reproduction) -> str:
    if compared_recipes(reproduction):
        return f"No recipe is further than {percent(reproductions.TOLERANCE, 0)} points from its report."
    return "There is no number that compares with a report."


# --- setting ------------------------------------------------------------------------------------------------------


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
            f"{duration(wall if isinstance(wall, int | float) else None)}",
        )


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
