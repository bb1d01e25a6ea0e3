"""The end of the page: the study's methods, and the facts that a rerun needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from study.analysis import budgets
from study.analysis.late import judged_late
from study.analysis.tables import Tables
from study.core.stage import TUNE, range_lines
from study.core.text import NOTHING, duration, listed, plural, plural_of
from study.page.task import TaskPage
from study.page.text import config_value, is_missing
from study.page.words import metric_name, num_drawn
from study.records.validation import split_sentence, step_sentence


def methods(page: TaskPage, tables: Tables) -> list[str]:
    budget, dataset = tables.summary["budget"], tables.summary["dataset"]
    step = step_sentence(dataset)
    return [
        *_own_parts(tables),
        *_ranges_set(tables),
        f"Split. {split_sentence(dataset)} {page.split}{_drawn(tables)}",
        f"Tuning. {_trials_an_arm(tables)} of at most {_epochs_a_trial(tables)}, its own searcher "
        f"({budget['searcher']}) and {_early_stopping(tables)}. {page.epoch}",
        f"Objective. {metric_name(tables.objective).capitalize()} at a trial's last epoch; the winner of an "
        f"arm is its best completed trial, ties going to the earlier one.{f' {step}' if step else ''}",
        *_objectives(tables),
        *_control(budget),
        f"Retest. Each {_whose(tables)}winner{_references(tables)} was retrained on "
        f"{plural(int(budget['retest_seeds']), 'fresh seed')} on {page.retest}{_drawn_anew(tables)}; "
        f"the same seeds in all arms, so that differences are paired.{_further_seeds(budget)} {page.test}",
        f"Intervals. Two-sided 95 % Student t-intervals over {plural_of(tables.unit)}, n − 1 degrees of freedom; "
        f"differences are taken {tables.unit} by {tables.unit} ({_shared(page, tables)}), and the intervals of "
        "all arms of a group to its control hold together at 95 % (Bonferroni). A standard deviation below half a test "
        "image is taken as half a test image. The arms that may be the best are those that no other is measurably "
        "above, each compared with all others at Bonferroni's level "
        f"(Gupta 1965). {_covered(tables)}",
        *page.notes(tables),
    ]


def _drawn(tables: Tables) -> str:
    """What --train-images left of the training part; nothing where all was taken."""
    if (drawn := num_drawn(tables.summary)) is None:
        return ""
    available = int(tables.summary["dataset"]["num_available"])
    return (
        f" Of the {available:,} training images that were left, {drawn:,} were drawn, in the proportions of the "
        "classes; the validation and test images stayed whole."
    )


def _drawn_anew(tables: Tables) -> str:
    drawn = num_drawn(tables.summary)
    return "" if drawn is None else f" (again {drawn:,} images, drawn by the seed)"


def _early_stopping(tables: Tables) -> str:
    budget = tables.summary["budget"]
    if tables.has_two_objectives:
        return "no early stopping, because an order by score alone would stop what is fast"
    return (
        f"its own early stopping (ASHA, first rung at epoch {budget['grace_epochs']}, "
        f"reduction factor {budget['reduction_factor']}{_judged_late(tables)})"
    )


def _judged_late(tables: Tables) -> str:
    late = [f"{arm} {plural(count, 'time')}" if count else f"{arm} never" for arm, count in judged_late(tables).items()]
    return f"; arms whose training changes on the way are judged only after that: {listed(late)}" if late else ""


def _objectives(tables: Tables) -> list[str]:
    """What else than the score arms were searched for; nothing where that is all."""
    if not tables.has_two_objectives:
        return []
    return [
        "Two objectives. Each arm was searched for a high validation score and a short training time at once: seconds "
        "of training an epoch, the mean over a trial's epochs, validation left out. Times are noisy, as Budget "
        "says, and another machine has others; proposals follow from the "
        "times that were recorded. An arm's front is its completed trials that no other beats in one "
        "without losing in the other. The winner is its end with the best score; its knee is the trial that lies "
        "farthest below the line between the front's ends, both objectives scaled to the front."
    ]


def _own_parts(tables: Tables) -> list[str]:
    """What came from the user's own files; nothing where there is none."""
    return [
        f"Own parts. {one['file']} (SHA-256 {one['sha256']}) adds {listed(one['parts']) or 'nothing'}; the run keeps a "
        "copy of it."
        for one in tables.summary.get("plugins") or []
    ]


def _ranges_set(tables: Tables) -> list[str]:
    """What the user set of the space; nothing where it is the task's own."""
    ranges = tables.summary.get("ranges_set")
    if not ranges:
        return []
    return [f"Space. The task's own, but for what was set: {'; '.join(range_lines(ranges, tables.arms))}."]


def _whose(tables: Tables) -> str:
    return "search's " if tables.num_searches > 1 else ""


def _shared(page: TaskPage, tables: Tables) -> str:
    """What two values of a pair have in common."""
    return page.shared if tables.unit == "seed" else f"the mean over its seeds, at each of which: {page.shared}"


def _covered(tables: Tables) -> str:
    """What the intervals cover, and what they leave out."""
    if tables.num_searches == 1:
        return (
            "All this covers the randomness of what a seed chooses, not that of the search, for each arm was tuned "
            "once, nor that of the test images."
        )
    return (
        "A value is the mean over the seeds of one search's winner, so that all this covers the randomness of the "
        "search and of what a seed chooses (Bouthillier et al. 2021), not that of the test images, nor of the one "
        "split into training and validation images that all searches had."
    )


def _control(budget: Mapping[str, Any]) -> list[str]:
    """What the control of a search is; nothing where there is none."""
    if not budget.get("control"):
        return []
    return [
        f"Control. Uniform random search drew {plural(int(budget['control_trials']), 'trial')} more in every arm from "
        "the same space, none of them given, with rungs of its own; its trials compete with no arm and inform no "
        "sampler. Its winner, and the default, are held against the arm's winner on the same seeds; all these "
        "differences hold together at 95 % (Bonferroni)."
    ]


def _references(tables: Tables) -> str:
    """What was retrained besides winners: ', the default and random search's winner'."""
    budget = tables.summary["budget"]
    others = ["the arm's default"] * bool(budget.get("retest_default"))
    others += ["random search's winner"] * bool(budget.get("control"))
    others += ["the knee of its front"] * tables.has_two_objectives
    return f", and so {listed(others)}," if others else ""


def _further_seeds(budget: Mapping[str, Any]) -> str:
    """The rule by which arms were retrained on more seeds; nothing where the number of seeds was fixed."""
    looks = budget.get("looks") or []
    if len(looks) < 2:
        return ""
    points = float(budget["retest_until"])
    wide = f" and was at least {points:g} points wide" if points else ""
    return (
        " The best arm, those that may be the best too, and the control went on to more seeds while an interval of "
        f"their differences included 0{wide}. By a rule stated beforehand, that was looked at with "
        f"{listed([str(look) for look in looks])} seeds; each look spends an equal share of the 5 % of error (alpha "
        "spending, Lan and DeMets 1983, by Bonferroni's inequality), so that the intervals hold although one looked "
        "several times."
    )


def _trials_an_arm(tables: Tables) -> str:
    """'Every arm got 6 trials', or the planned and the actual numbers if these differ."""
    in_each, num_searches = int(tables.summary["budget"]["trials_per_arm"]), tables.num_searches
    planned = in_each * num_searches
    counts = budgets.arm_budgets(tables)["num_trials"]
    if (counts == planned).all() and num_searches > 1:
        return f"Every arm was tuned {num_searches} times, each time with {plural(in_each, 'trial')}"
    if (counts == planned).all():
        return f"Every arm got {plural(planned, 'trial')}"
    return f"Every arm was to get {plural(planned, 'trial')} and got {counts.min()} to {counts.max()}"


def _epochs_a_trial(tables: Tables) -> str:
    """'9 epochs', or '9 to 15 epochs' if the arms' full trials differ in length."""
    lengths = sorted({int(num_epochs) for num_epochs in tables.stage(TUNE)["epochs_of"].values()})
    return plural(lengths[0], "epoch") if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]} epochs"


def facts(tables: Tables) -> list[tuple[str, str]]:
    """The facts that a rerun needs, as (name, value)."""
    summary = tables.summary
    return [
        ("Run command", str(summary.get("command", NOTHING))),
        *([("Begun with trials of", str(tables.fork["run"]))] if tables.fork else []),
        *(("Extended", f"{extension.time}: {extension.command}") for extension in tables.extensions),
        ("State", str(summary["state"])),
        ("Study seed", config_value(summary.get("seed"))),
        *machine_facts(summary),
        ("Data fingerprint", str(summary["dataset"].get("fingerprint", NOTHING))),
        *session_facts(summary.get("sessions") or [], _stage_times),
        *ledger_facts(summary),
    ]


def _stage_times(session: Mapping[str, Any]) -> str:
    audit = f", audit {duration(session['audit_seconds'])}" if session.get("audit_seconds") else ""
    return f", tuning {duration(session.get('tune_seconds'))}, retest {duration(session.get('retest_seconds'))}{audit}"


def session_facts(
    sessions: Sequence[Mapping[str, Any]], more: Callable[[Mapping[str, Any]], str]
) -> list[tuple[str, str]]:
    """The beginning, end and wall time of each session. more(session): further text."""
    return [
        (
            f"Session {number}" if len(sessions) > 1 else "Session",
            f"{session.get('started', NOTHING)} to {session.get('ended') or 'an end that was not recorded'}; wall time "
            f"{duration(session.get('wall_seconds'))}{more(session)}",
        )
        for number, session in enumerate(sessions, start=1)
    ]


def machine_facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The hardware, versions, commit and numerics in a summary.json."""
    hardware = summary.get("hardware") or {}
    gpus = [str(gpu) for gpu in hardware.get("gpus") or []]
    return [
        ("Processor", f"{hardware.get('cpu', NOTHING)}, {config_value(hardware.get('cpus'))} CPUs"),
        ("GPUs", ", ".join(gpus) or "none"),
        ("Memory", f"{hardware['memory_gb']:.1f} GB" if hardware.get("memory_gb") else NOTHING),
        ("Versions", _pairs(summary.get("versions"))),
        ("Commit", str(summary.get("commit") or "not in a git checkout")),
        ("Numerics", _pairs(summary.get("numerics"))),
    ]


def ledger_facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    milliseconds = summary.get("ledger_milliseconds_per_event")
    return [] if is_missing(milliseconds) else [("Ledger", f"{milliseconds:.2f} ms to record an event")]


def _pairs(values: Mapping[str, Any] | None) -> str:
    if not values:
        return NOTHING
    return ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()
    )
