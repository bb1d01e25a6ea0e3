"""The page's section on whether tuning was worth it: its sentences and its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study.analysis import worth
from study.analysis.tables import Tables
from study.analysis.worth import Gain
from study.core.text import NOTHING, listed, plural
from study.page.table import Table
from study.page.task import TaskPage
from study.page.text import adjusted_text, interval_cell, paired_cell, percent
from study.page.words import metric_name

REFERENCES = {"default": "the default", "random": "random search's winner"}


@dataclass(frozen=True, kw_only=True)
class WorthSection:
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]


def worth_section(page: TaskPage, tables: Tables) -> WorthSection | None:
    """The section, or None if a study held its winners against nothing."""
    found = worth.gains(tables)
    if not found and tables.control_trials.empty:
        return None
    of_role = {role: [gain for gain in found if gain.role == role] for role in REFERENCES}
    verdicts = [sentence for role, gains in of_role.items() if gains for sentence in _verdict(page, role, gains)]
    waiting = ["Whether tuning was worth it is not known yet: nothing that it is held against was retested."]
    return WorthSection(
        sentences=(*(verdicts or waiting), *_how(tables, of_role), *_replay(tables)),
        tables=(_gains_table(page, tables, of_role),) if found else (),
    )


def _verdict(page: TaskPage, role: str, gains: Sequence[Gain]) -> list[str]:
    """Where the winners gained measurably on the reference, where they lost, and where nothing can be told."""
    reference, each = REFERENCES[role], plural(len(gains), "arm")
    compared = [gain for gain in gains if gain.difference is not None]
    up, down, same = (
        [gain for gain in compared if gain.difference and gain.difference.excludes_zero and gain.difference.mean > 0],
        [gain for gain in compared if gain.difference and gain.difference.excludes_zero and gain.difference.mean < 0],
        [page.arm_phrase(gain.arm) for gain in gains if gain.is_winner],
    )
    if up:
        place = f" in {len(up)} of {each}" * (len(gains) > 1)
        text = f"Tuning gained measurably on {reference}{place}: {_named(page, up)}{_adjusted(up)}"
    else:
        text = f"Tuning brought no measurable gain on {reference}" + f" in any of the {each}" * (len(gains) > 1)
    rest = [gain for gain in compared if gain not in up and gain not in down]
    if rest and any(gain.difference and gain.difference.low is None for gain in rest):
        text += "; one seed gives no interval"
    elif up and rest:
        text += f"; in {listed([page.arm_phrase(gain.arm) for gain in rest])} no gain is measurable"
    sentences = [f"{text}."]
    if down:
        sentences.append(f"It ended measurably below {reference} in {_named(page, down)}{_adjusted(down)}.")
    if same:
        what = "its default" if role == "default" else "what random search found too"
        sentences.append(f"The winner of {listed(same)} is {what}, trained again once and not twice.")
    return sentences


def _named(page: TaskPage, gains: Sequence[Gain]) -> str:
    """'focal by 1.2 points (0.3 to 2.1)', the largest first."""
    ranked = sorted(gains, key=lambda gain: -abs(gain.difference.mean) if gain.difference else 0.0)
    return listed(
        [
            f"{page.arm_phrase(gain.arm)} by {_points(abs(gain.difference.mean))} points"
            for gain in ranked
            if gain.difference is not None
        ]
    )


def _points(difference: float) -> str:
    return "less than 0.1" if percent(difference) == "0.0" else percent(difference)


def _adjusted(gains: Sequence[Gain]) -> str:
    first = gains[0].difference
    return f" (paired intervals{adjusted_text(first)})" if first is not None else ""


def _how(tables: Tables, of_role: dict[str, list[Gain]]) -> list[str]:
    """What was spent on the answer, and what the comparison with random search is worth."""
    sentences = []
    if of_role["default"]:
        sentences.append(
            "The default is the configuration that an arm starts from, which its search tries first; it was retrained "
            "on the same fresh seeds as the winner."
        )
    num_control, num_own = worth.control_share(tables)
    if num_control:
        equal = "as many as" if num_control == num_own else f"and not {num_own} as"
        unfair = "" if num_control == num_own else " A gain on it may be that of more trials."
        sentences.append(
            f"Random search had {plural(num_control, 'trial')} an arm, {equal} the arm's own search, with early "
            f"stopping of its own; it drew {worth.control_images(tables):,} training images.{unfair}"
        )
    return sentences


def _replay(tables: Tables) -> list[str]:
    """What a single rung would have spent, where the records tell; and where they do not."""
    replays = worth.replays(tables)
    unknown = list(dict.fromkeys(arm for arm, known in replays if known.num_unknown))
    if not replays:
        return []
    rung, k = int(tables.summary["budget"]["grace_epochs"]), max(known.k for _, known in replays)
    rule = f"One rung, then the best {k}" if k > 1 else "One rung, then the best one"
    text = f"{rule}: random search's trials as if all had run to epoch {rung} and only the best there to the end"
    if not unknown:
        return [f"{text}, replayed from the records."]
    where = "in any arm" if len(unknown) == len({arm for arm, _ in replays}) else f"for {listed(unknown)}"
    return [
        f"{text}. It cannot be replayed {where}: among the best at that epoch are trials that early stopping ended "
        "later, so that nobody knows how they would have ended."
    ]


def _gains_table(page: TaskPage, tables: Tables, of_role: dict[str, list[Gain]]) -> Table:
    by_arm = {arm: {role: _of(gains, arm) for role, gains in of_role.items()} for arm in tables.arms}
    roles = [role for role, gains in of_role.items() if gains]
    rows = tuple(
        (
            arm,
            interval_cell(next(gain.winner for gain in found.values() if gain is not None)),
            *(cell for role in roles for cell in _cells(found[role])),
        )
        for arm, found in by_arm.items()
        if any(found.values())
    )
    titles = {"default": ("Default", "Winner − default"), "random": ("Random search", "Winner − random search")}
    differences = [gain.difference for gains in of_role.values() for gain in gains if gain.difference is not None]
    adjusted = adjusted_text(differences[0]) if differences else ""
    return Table(
        caption=f"{metric_name(tables.score).capitalize()} of each arm's winner, of the default and of random search's "
        "winner, retrained on the same fresh seeds: in %, ± half the width of the 95 % t-interval. Differences are "
        f"paired, in points, and their intervals hold together at 95 %{adjusted}.",
        columns=("Arm", "Winner", *(title for role in roles for title in titles[role])),
        rows=rows,
    )


def _of(gains: Sequence[Gain], arm: str) -> Gain | None:
    return next((gain for gain in gains if gain.arm == arm), None)


def _cells(gain: Gain | None) -> tuple[str, str]:
    if gain is None:
        return NOTHING, NOTHING
    return interval_cell(gain.reference), "the winner itself" if gain.is_winner else paired_cell(gain.difference)
